"""What the templates are put together from: weights, nodes and columns that many of them share."""

from typing import Any

from graphs import Column, Model, Node, Wire
from restoreflow.models import hub

DEMO, LATENT_DEMO = "demo-denoise-25.safetensors", "demo-latent-pmrf-25.safetensors"
FACE = "pmrf-face-512.safetensors"
SIM_VAE = "sim-vae-c32.safetensors"
FOLDER = "restoreflow"
"""Of the models, below ComfyUI's own."""

DRIVE = "https://drive.google.com/drive/folders/1dfjZATcQ451uhvFH42tKnfMNHRkL6N_A"
"""Where PMRF's authors share the weights of their controlled experiments."""
SIM_VAE_CARD = "https://huggingface.co/sienna223/Sim-VAE-c32"
UPSCALER = "RealESRGAN_x4plus.safetensors"
UPSCALER_FROM = f"https://huggingface.co/Comfy-Org/Real-ESRGAN_repackaged/resolve/main/{UPSCALER}"
BY_HAND = {
    **{
        f"pmrf-{task}-256.ckpt": DRIVE
        for task in ("denoise", "super-resolve", "colorize", "inpaint")
    },
    SIM_VAE: f"{SIM_VAE_CARD}/resolve/main/diffusion_pytorch_model.safetensors",
}
"""Where weights are to be had that the pack does not fetch."""

BLUE, RED, VIOLET, TEAL, GREEN, GOLD = "#3f789e", "#A88", "#88A", "#8AA", "#8A8", "#b58b2a"

PHOTO = Wire("photo", "IMAGE")
MEAN = Wire("mean", "posterior mean")
LIFELIKE = Wire("sampler", "lifelike")


def load_mean(weights: str) -> Node:
    return Node("RestoreFlowLoadPosteriorMean", {"weights": weights}, models=models(weights))


def load_flow(weights: str) -> Node:
    return Node("RestoreFlowLoadFlow", {"weights": weights}, models=models(weights))


def models(weights: str) -> tuple[Model, ...]:
    """Where a weight file is to be had; nothing if it comes with the pack or is not public."""
    url = address(weights)
    return (Model(weights, url, FOLDER),) if url else ()


def address(weights: str) -> str | None:
    """Where everyone finds a weight file, whatever mirror this machine asks."""
    known = hub.named(weights)
    if known is None:
        return BY_HAND.get(weights)
    source = known.source
    if isinstance(source, hub.Hub):
        return f"https://huggingface.co/{source.repo}/resolve/{source.revision}/{source.file}"
    return source.url()


def photo(title: str = "") -> Node:
    return Node("LoadImage", {"image": "example.png"}, title)


def square(side: int, image: Wire = PHOTO) -> Node:
    """A photo's middle as a square of `side` pixels."""
    size = {"upscale_method": "lanczos", "width": side, "height": side, "crop": "center"}
    return Node("ImageScale", {"image": image, **size}, f"Scale to {side} x {side}")


def mean(image: Wire) -> Node:
    loaded = Wire("load mean", "posterior mean")
    return Node("RestoreFlowPosteriorMean", {"posterior_mean": loaded, "image": image})


def mean_latent(latent: Wire) -> Node:
    loaded = Wire("load mean", "posterior mean")
    return Node("RestoreFlowPosteriorMeanLatent", {"posterior_mean": loaded, "latent": latent})


def sampler(**settings: Any) -> Node:
    wires = {"flow": Wire("load flow", "flow"), "image": MEAN}
    return Node("RestoreFlowSampleImage", {**wires, **settings})


def trade_off(realism: float | Wire, faithful: Wire = MEAN, lifelike: Wire = LIFELIKE) -> Node:
    mixed = {"faithful": faithful, "lifelike": lifelike, "realism": realism}
    return Node("RestoreFlowTradeOff", mixed)


def load_vae(weights: str) -> Node:
    return Node("RestoreFlowLoadRestorationVAE", {"weights": weights}, models=models(weights))


def encode(image: Wire) -> Node:
    return Node("RestoreFlowEncode", {"vae": Wire("load vae", "vae"), "image": image})


def decode(latent: Wire, title: str = "") -> Node:
    return Node("RestoreFlowDecode", {"vae": Wire("load vae", "vae"), "latent": latent}, title)


def sampler_latent(latent: Wire, bypassed: bool = False, **settings: Any) -> Node:
    wires = {"flow": Wire("load flow", "flow"), "latent": latent}
    return Node("RestoreFlowSampleLatent", {**wires, **settings}, bypassed=bypassed)


def preview(image: Wire, title: str = "Posterior mean (faithful)") -> Node:
    return Node("PreviewImage", {"images": image}, title)


def save(image: Wire, prefix: str) -> Node:
    """Keeps a picture; a longer prefix would be cut off on the node."""
    kept = {"images": image, "filename_prefix": f"RestoreFlow/{prefix}"}
    return Node("SaveImage", kept, "Restored")


def choice(title: str, knob: Node, prefix: str) -> Column:
    """The knob and the picture that is kept."""
    return Column(
        {"trade-off": knob, "save": save(Wire("trade-off", "image"), prefix)}, title, GOLD
    )
