"""What the bench runs: each system as the pack runs it, and as its published code would.

Networks have the published shapes and random weights that keep a signal's size; the demo's are the
shipped ones. Both sides see the same weights and inputs. Ours are the very functions that the
nodes call.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import bench_convolutions as plain
import bench_transformers as transformers
import torch
from bench_attention import Attention, by_shifts
from bench_measure import matmul_precision
from bench_windows import Grid
from golden import as_checkpoint
from measure_demo import WEIGHTS as DEMO
from measure_flow_map import FLOW_MAP
from restoreflow.models import checkpoint as files
from restoreflow.models.checkpoint import Checkpoint
from restoreflow.models.contracts import Part
from restoreflow.models.families import demo, elir, latent_pmrf, pmrf
from restoreflow.models.networks.hdit import HDiT, Level, Mapping
from restoreflow.models.networks.looformer import LooUFormer
from restoreflow.models.networks.lunet import LUnet
from restoreflow.models.networks.rrdb import RRDBNet
from restoreflow.models.networks.simvae import SimVAE, SimVAEShape
from restoreflow.models.networks.taesd import TAESD
from restoreflow.sampling import autoencode, lookahead, restore
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn

FORMS = FLOAT32, MIXED, BFLOAT16 = "float32", "mixed", "bfloat16"
"""Forms of ours; mixed: flows in bfloat16 and all else in float32, as the nodes choose. The state
is float32 in each."""
FACTOR = 8
"""Pixels a latent's side, of ELIR and Latent-PMRF."""
SWINIR_SIDE = 64
"""Of the grid whose masks SwinIR's published file holds."""
WINDOW = 7
CONDITIONING_GAIN = 0.25
"""Of the layers that scale norms: a trained network's stay near 1."""
VELOCITY, PICTURE = 0.12, 0.15
"""Std of a velocity of pictures that are nearly restored, and of the contrast of a picture."""
LATENT_VELOCITY = 0.3


@dataclass(frozen=True)
class Sizes:
    """How large networks and pictures are."""

    side: int
    """Of the picture, in pixels."""
    demo_side: int
    hdit: tuple[Level, ...]
    swinir: dict[str, Any]
    looformer: tuple[Level, ...]
    simvae: SimVAEShape
    elir: dict[str, int]
    mapping: Mapping
    latents: int = 32
    """Channels of Latent-PMRF's."""


NATIVE = Sizes(
    side=512,
    demo_side=256,
    hdit=(
        Level(256, 2, 4, 768, WINDOW),
        Level(512, 2, 8, 1536, WINDOW),
        Level(1024, 8, 16, 3072, None),
    ),
    swinir={"embed_dim": 180, "depths": [6] * 8, "num_heads": [6] * 8},
    looformer=(
        Level(256, 2, 4, 768, WINDOW),
        Level(512, 4, 8, 1536, WINDOW),
        Level(1024, 6, 16, 3072, None),
    ),
    simvae=SimVAEShape(channels=32),
    elir={"width": 128, "middle": 3, "hidden": 96, "blocks": 3, "taesd": 64},
    mapping=Mapping(768, 2, 2304),
)
"""As published; of the LooUFormer, whose widths are not, the ones that its facts name."""
QUICK = Sizes(
    side=128,
    demo_side=32,
    hdit=(Level(16, 1, 2, 32, WINDOW), Level(32, 1, 2, 64, WINDOW), Level(48, 1, 2, 96, None)),
    swinir={"embed_dim": 12, "depths": [2], "num_heads": [2]},
    looformer=(Level(16, 1, 2, 64, WINDOW), Level(32, 1, 4, 64, None)),
    simvae=SimVAEShape((8, 12, 16, 16), 1, 1, 4),
    elir={"width": 32, "middle": 3, "hidden": 8, "blocks": 1, "taesd": 8},
    mapping=Mapping(24, 1, 48),
    latents=4,
)
"""Tiny: whether the bench itself works."""


class How(NamedTuple):
    """What a baseline is given of the machine's best."""

    attention: Attention
    kernels: transformers.Kernels = transformers.Kernels()


@dataclass(frozen=True)
class Bench:
    """Where and how large everything is."""

    device: torch.device
    sizes: Sizes
    steps: int
    """Of a flow, at most; 0: as many as published."""

    def count(self, published: int) -> int:
        return min(self.steps or published, published)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device)

    def part(self, load: Callable[[Checkpoint], Part], file: Checkpoint, form: str) -> Any:
        """A part as a node loads it, in a form's precision."""
        part = load(file)
        halved = form == BFLOAT16 or (form == MIXED and not part.exact)
        part.cast(torch.bfloat16 if halved else torch.float32)
        part.network.to(self.device)
        return part

    def plain(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same weights for a baseline."""
        return {name: tensor.to(self.device) for name, tensor in state.items()}


@dataclass(frozen=True)
class Trial:
    """A part of a system on inputs of any batch: ours in several forms, and its baseline."""

    system: str
    part: str
    size: str
    draw: Callable[[int], tuple[Tensor, ...]]
    """Batch -> inputs on the device."""
    ours: Callable[[str], Callable[..., Tensor]]
    """Form -> (inputs) -> result, its weights loaded."""
    baseline: Callable[..., Tensor]
    """(how, inputs) -> result."""
    full: dict[str, int]
    """Pictures of the full batch, by kind of device; where memory lacks, half as many."""
    evaluations: int = 1
    """Of a network, in one call."""
    planned: int = 1
    """The same for one picture, as published."""
    forms: tuple[str, ...] = (FLOAT32, BFLOAT16)
    exact: bool = False
    """Whether the nodes keep it in float32."""
    adds_up: bool = False
    """Whether a picture takes this and the system's other such parts."""
    span: float | None = 1.0
    """Range of the result's values; None: the baseline's."""
    grid: Grid | None = field(default=None)
    """The finest windowed attention, where there is one."""

    def in_form(self, form: str) -> str:
        """Which of its own forms a whole in this form takes."""
        if form in self.forms:
            return form
        return FLOAT32 if self.exact else BFLOAT16


# Weights


def random_state(network: nn.Module) -> dict[str, Tensor]:
    """Weights that keep a signal's size; temperatures and mixes stay what they begin as."""
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            gain = CONDITIONING_GAIN if "norm" in name else 1.0
            nn.init.normal_(weight, std=gain * weight[0].numel() ** -0.5)
        elif name.endswith("bias"):
            nn.init.normal_(weight, std=0.05)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


def scale_output(
    state: dict[str, Tensor], last: str, result: Tensor, std: float, centre: float = 0.0
) -> None:
    """Change the last layer so that this result would have had this std, about this centre."""
    state[f"{last}.weight"] *= std / result.std()
    if f"{last}.bias" in state:
        state[f"{last}.bias"].fill_(centre)


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


# Systems


def pmrf_weights(sizes: Sizes) -> dict[str, Tensor]:
    """Both networks, under the names of the Hub's file."""
    state = random_state(HDiT(sizes.hdit, sizes.mapping))
    windows = [level.kernel_size for level in sizes.hdit]
    small = transformers.HDiT(state, windows, by_shifts, transformers.Kernels())
    velocity = small(torch.rand(1, 3, 128, 128), torch.tensor([0.5]))
    scale_output(state, "patch_out.proj", velocity, VELOCITY)
    network = swinir(sizes)
    mean = random_state(network)
    scale_output(mean, "conv_last", network(torch.rand(1, 3, 64, 64)), PICTURE)
    mean = {k.replace("conv_first.", "conv_first.1."): v for k, v in mean.items()}
    return under("model.", state) | under("mmse_model.", mean)


def swinir(sizes: Sizes) -> SwinIR:
    """spandrel's, whose code is the published one's."""
    with warnings.catch_warnings():  # its use of torch.meshgrid
        warnings.filterwarnings("ignore", "torch.meshgrid")
        return SwinIR(
            img_size=SWINIR_SIDE, window_size=8, mlp_ratio=2, upscale=8, upsampler="nearest+conv",
            start_unshuffle=8, **sizes.swinir,
        ).eval()  # fmt: skip


def pmrf_face(bench: Bench) -> list[Trial]:
    """PMRF for faces: SwinIR, then the HDiT's flow."""
    file = as_checkpoint({"": pmrf_weights(bench.sizes)})
    return [pmrf_mean(bench, file), pmrf_flow(bench, file)]


def pmrf_mean(bench: Bench, file: Checkpoint) -> Trial:
    """Its posterior mean."""
    side, published = bench.sizes.side, swinir(bench.sizes)
    state = file.part("mmse_model.")
    state = {k.replace("conv_first.1.", "conv_first."): v for k, v in state.items()}
    published.load_state_dict(state)
    published.requires_grad_(False).to(bench.device)

    def baseline(how: How, degraded: Tensor) -> Tensor:
        with matmul_precision("high"):
            return published(degraded).clip(0, 1)

    # Its masks of shifted windows are float32 but for the size whose masks are in the file.
    forms = (FLOAT32, BFLOAT16) if side == FACTOR * SWINIR_SIDE else (FLOAT32,)
    return Trial(
        "PMRF face", "posterior mean", f"{side} px", lambda n: (bench.uniform(n, 3, side, side),),
        lambda form: partial(restore.posterior_mean, bench.part(pmrf.load_mean, file, form)),
        baseline, {"cpu": 2, "cuda": 32}, forms=forms, exact=True, adds_up=True,
    )  # fmt: skip


def pmrf_flow(bench: Bench, file: Checkpoint) -> Trial:
    """Its flow."""
    side, finest = bench.sizes.side, bench.sizes.hdit[0]
    windows = [level.kernel_size for level in bench.sizes.hdit]
    weights, steps = bench.plain(file.part("model.")), bench.count(pmrf.STEPS)

    def ours(form: str) -> Callable[..., Tensor]:
        return partial(restore.sample, bench.part(pmrf.load_flow, file, form), steps=steps)

    def baseline(how: How, mean: Tensor, noise: Tensor) -> Tensor:
        network = transformers.HDiT(weights, windows, how.attention, how.kernels)
        with matmul_precision("high"):
            return transformers.follow_pmrf(network, mean, noise, steps)

    return Trial(
        "PMRF face", "flow", f"{side} px",
        lambda n: (bench.uniform(n, 3, side, side), bench.normal(n, 3, side, side)),
        ours, baseline, {"cpu": 2, "cuda": 32}, steps, pmrf.STEPS, adds_up=True,
        grid=Grid(side // transformers.PATCH, finest.heads, finest.width // finest.heads, WINDOW),
    )  # fmt: skip


def elir_weights(sizes: Sizes) -> dict[str, Tensor]:
    """All networks, under the names of a released file."""
    own = sizes.elir
    autoencoder = TAESD(own["taesd"], 16, 3)
    networks = {
        "enc.": autoencoder.encoder,
        "dec.": autoencoder.decoder,
        "mmse.": RRDBNet(16, own["hidden"], own["blocks"]),
        "fmir.": LUnet(16, own["width"], (1, 2, 1, 2), own["middle"], 160),
    }
    states = {prefix: random_state(network) for prefix, network in networks.items()}
    state = {name: t for prefix, part in states.items() for name, t in under(prefix, part).items()}
    z = torch.randn(1, 16, 16, 16)
    scale_output(state, "enc.layers.14", plain.taesd_encode(state, torch.rand(1, 3, 128, 128)), 1)
    scale_output(state, "fmir.final_proj", plain.lunet(state, z, 0.5), LATENT_VELOCITY)
    scale_output(state, "dec.layers.18", plain.taesd_decode(state, z), PICTURE, 0.5)
    return state


def elir_face(bench: Bench) -> list[Trial]:
    """ELIR for faces, whole, and its flow alone."""
    side, state = bench.sizes.side, elir_weights(bench.sizes)
    weights, file = bench.plain(state), as_checkpoint({"": state})
    steps, noise_std, latent = elir.FACES_STEPS, elir.FACES_NOISE, side // FACTOR

    def whole(form: str) -> Callable[..., Tensor]:
        loaders = (elir.load_autoencoder, elir.load_mean, elir.load_flow)
        autoencoder, mean, flow = (bench.part(load, file, form) for load in loaders)

        def run(picture: Tensor, noise: Tensor) -> Tensor:
            z = restore.posterior_mean(mean, autoencode.encode(autoencoder, picture))
            return autoencode.decode(autoencoder, restore.sample(flow, z, noise))

        return run

    def flow(form: str) -> Callable[..., Tensor]:
        part = bench.part(elir.load_flow, file, form)
        domain = part.domain  # the wire's latents are scaled, the published code's are not

        def run(z: Tensor, noise: Tensor) -> Tensor:
            return domain.to_network(restore.sample(part, domain.to_wire(z), noise))

        return run

    def draw(batch: int) -> tuple[Tensor, Tensor]:
        return bench.normal(batch, 16, latent, latent), bench.normal(batch, 16, latent, latent)

    full = {"cpu": 4, "cuda": 64}
    return [
        Trial(
            "ELIR face", f"whole, K = {steps}", f"{side} px",
            lambda n: (bench.uniform(n, 3, side, side), bench.normal(n, 16, latent, latent)),
            whole, lambda how, y, noise: plain.elir(weights, y, noise, noise_std, steps), full,
            forms=(FLOAT32, MIXED, BFLOAT16),
        ),
        Trial(
            "ELIR face", "flow", f"{latent} latents", draw, flow,
            lambda how, z, noise: plain.elir_follow(weights, z + noise_std * noise, steps), full,
            steps, steps, span=None,
        ),
    ]  # fmt: skip


def sim_vae(bench: Bench) -> list[Trial]:
    """Sim-VAE, Latent-PMRF's autoencoder: there and back."""
    side, shape = bench.sizes.side, bench.sizes.simvae
    state = random_state(SimVAE(shape))
    latents = plain.simvae_encode(state, torch.rand(1, 3, 64, 64))
    scale_output(state, "encoder.conv_out", latents, 1)
    decoded = plain.simvae_decode(state, torch.randn(1, shape.channels, 8, 8))
    scale_output(state, "decoder.conv_out", decoded, PICTURE)
    weights, file = bench.plain(state), as_checkpoint({"": state})

    def ours(form: str) -> Callable[[Tensor], Tensor]:
        part = bench.part(latent_pmrf.load_autoencoder, file, form)
        return lambda picture: autoencode.decode(part, autoencode.encode(part, picture))

    def baseline(how: How, picture: Tensor) -> Tensor:
        return plain.simvae_decode(weights, plain.simvae_encode(weights, picture))

    return [
        Trial(
            "Sim-VAE", "encode and decode", f"{side} px",
            lambda n: (bench.uniform(n, 3, side, side),), ours, baseline, {"cpu": 2, "cuda": 16},
            exact=True,
        )
    ]  # fmt: skip


def latent_flow(bench: Bench) -> list[Trial]:
    """Latent-PMRF's flow alone."""
    levels, channels = bench.sizes.looformer, bench.sizes.latents
    side, finest = bench.sizes.side // FACTOR, levels[0]
    windows = [level.kernel_size for level in levels]
    state = random_state(LooUFormer(levels, bench.sizes.mapping, channels))
    small = transformers.LooUFormer(state, windows, by_shifts)
    velocity = small(torch.randn(1, channels, 32, 32), torch.tensor([0.5]))
    scale_output(state, "proj_out.proj", velocity, LATENT_VELOCITY)
    kinds = ["neighborhood" if window else "global" for window in windows]
    config = {"block_types": kinds, "window_sizes": [WINDOW] * len(kinds)}
    weights, file = bench.plain(state), as_checkpoint({"": state}, config)
    steps = bench.count(latent_pmrf.STEPS)

    def ours(form: str) -> Callable[..., Tensor]:
        return partial(restore.sample, bench.part(latent_pmrf.load_flow, file, form), steps=steps)

    def baseline(how: How, mean: Tensor, noise: Tensor) -> Tensor:
        network = transformers.LooUFormer(weights, windows, how.attention)
        return transformers.follow_latent_pmrf(network, mean, noise, steps)

    def draw(batch: int) -> tuple[Tensor, Tensor]:
        shape = (batch, channels, side, side)
        return bench.normal(*shape), bench.normal(*shape)

    return [
        Trial(
            "Latent-PMRF", "flow", f"{side} latents", draw, ours, baseline,
            {"cpu": 4, "cuda": 64}, steps, latent_pmrf.STEPS, span=None,
            grid=Grid(side, finest.heads, finest.width // finest.heads, WINDOW),
        )
    ]  # fmt: skip


def demo_flow(bench: Bench) -> list[Trial]:
    """The demo's flow in pixels, with its shipped weights."""
    side, file = bench.sizes.demo_side, files.read(DEMO)
    part = demo.load_flow(file)
    weights = bench.plain({k: v.float() for k, v in file.part(demo.FLOW_PREFIX).items()})
    steps, noise_std = bench.count(part.steps), part.noise_std

    def ours(form: str) -> Callable[..., Tensor]:
        return partial(restore.sample, bench.part(demo.load_flow, file, form), steps=steps)

    def baseline(how: How, mean: Tensor, noise: Tensor) -> Tensor:
        x = mean + noise_std * noise
        for i in range(steps):
            x = x + plain.flow_unet(weights, x, i / steps, (i + 1) / steps) / steps
        return x.clamp(0, 1)

    return [
        Trial(
            "Demo flow", "flow", f"{side} px",
            lambda n: (smooth(bench, n, side), bench.normal(n, 3, side, side)), ours, baseline,
            {"cpu": 4, "cuda": 64}, steps, part.steps,
        )
    ]  # fmt: skip


def demo_flow_map(bench: Bench) -> list[Trial]:
    """The demo's flow map as a denoiser: one evaluation, halfway between its two ends."""
    side, file, noise_std = bench.sizes.demo_side, files.read(FLOW_MAP), 0.1
    part = demo.load_flow(file)
    weights = bench.plain({k: v.float() for k, v in file.part(demo.FLOW_PREFIX).items()})
    s = lookahead.signal(noise_std, part.noise_std)
    t = lookahead.ahead(s, 0.5)

    def ours(form: str) -> Callable[[Tensor], Tensor]:
        own = bench.part(demo.load_flow, file, form)
        return lambda photo: lookahead.denoised(own, photo, noise_std, lookahead=0.5)[0]

    def baseline(how: How, photo: Tensor) -> Tensor:
        x = s * photo + (1 - s) * part.source_mean
        return (x + (1 - s) * plain.flow_unet(weights, x, s, t)).clamp(0, 1)

    return [
        Trial(
            "Demo flow map", "denoise", f"{side} px",
            lambda n: ((smooth(bench, n, side) + noise_std * bench.normal(n, 3, side, side)),),
            ours, baseline, {"cpu": 4, "cuda": 64},
        )
    ]  # fmt: skip


def smooth(bench: Bench, batch: int, side: int) -> Tensor:
    """[batch, 3, side, side] in [0, 1] with edges no sharper than a photo's."""
    return nn.functional.interpolate(bench.uniform(batch, 3, 8, 8), size=side, mode="bilinear")


SYSTEMS: dict[str, Callable[[Bench], list[Trial]]] = {
    "pmrf": pmrf_face,
    "elir": elir_face,
    "simvae": sim_vae,
    "latent": latent_flow,
    "demo": demo_flow,
    "map": demo_flow_map,
}
"""By the names of the command line."""
