"""Deep Optimal Transport in a real host: around a core upscale model, kept in files, cached."""

import io

import numpy as np
import pytest
import torch
from client import PromptError
from fakes import save
from PIL import Image
from spandrel.architectures.ESRGAN import ESRGAN
from workflow_parts import DEMO, LATENT_DEMO

LOADED = {"weights": DEMO, "precision": "auto", "ema": True}
FIT = {"patch": "3", "shrinkage": 0.001, "max_gain": 10.0, "mean": "keep"}
UPSCALER = "tiny-4x.safetensors"


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture(scope="module")
def photos(client, tmp_path_factory) -> tuple[str, str]:
    """A soft and a grainy picture."""
    folder, names = tmp_path_factory.mktemp("photos"), []
    for number, (name, grain) in enumerate((("soft", 4), ("grainy", 30))):
        random = np.random.default_rng(number)
        small = Image.fromarray(random.integers(40, 216, (9, 12, 3), np.uint8))
        pixels = np.asarray(small.resize((96, 72), Image.Resampling.BICUBIC)).astype(float)
        pixels = np.clip(pixels + random.normal(0, grain, pixels.shape), 0, 255).astype(np.uint8)
        path = folder / f"{name}.png"
        Image.fromarray(pixels).save(path)
        names.append(client.upload(path))
    return tuple(names)


@pytest.fixture
def graph(photos) -> dict:
    """PMRF's posterior mean, transported in the latents of the demo's VAE."""
    return {
        "photo": node("LoadImage", image=photos[0]),
        "natural": node("LoadImage", image=photos[1]),
        "estimator": node("RestoreFlowLoadPosteriorMean", **LOADED),
        "mean": node(
            "RestoreFlowPosteriorMean", posterior_mean=["estimator", 0], image=["photo", 0]
        ),
        "vae": node("RestoreFlowLoadRestorationVAE", **{**LOADED, "weights": LATENT_DEMO}),
        "fit": node(
            "RestoreFlowFitTransport",
            **{"restored": ["mean", 0], "natural": ["natural", 0], "vae": ["vae", 0], **FIT},
        ),
        "encode": node("RestoreFlowEncode", vae=["vae", 0], image=["mean", 0], mode="mean", seed=0),
        "apply": node("RestoreFlowApplyTransport", transport=["fit", 0], latent=["encode", 0]),
        "decode": node("RestoreFlowDecode", vae=["vae", 0], latent=["apply", 0]),
        "knob": node(
            "RestoreFlowTradeOff", faithful=["mean", 0], lifelike=["decode", 0], realism=1.0
        ),
        "shown": node("PreviewImage", images=["knob", 0]),
    }


def picture(client, entry: dict) -> np.ndarray:
    """What the preview shows; the file also holds the graph."""
    (file,) = client.pictures(entry, "shown")
    return np.asarray(Image.open(io.BytesIO(file)))


def executed(entry: dict) -> set[str]:
    """The nodes of a run that were not taken from the host's cache."""
    messages = dict(entry["status"]["messages"])
    return set(entry["prompt"][2]) - set(messages["execution_cached"]["nodes"])


def test_moving_the_knob_runs_nothing_else(client, graph):
    graph["knob"]["inputs"]["realism"] = 0.75
    assert executed(client.run(graph)) >= {"fit", "apply", "knob"}
    graph["knob"]["inputs"]["realism"] = 0.25
    assert executed(client.run(graph)) == {"knob", "shown"}


def test_a_transport_is_saved_and_loaded_again(client, graph, host):
    del graph["knob"], graph["shown"]
    kept = {
        "keep": node("RestoreFlowSaveTransport", transport=["fit", 0], name="one", replace=False),
        "shown": node("PreviewImage", images=["decode", 0]),
    }
    entry = client.run({**graph, **kept})
    fitted = picture(client, entry)
    file = host.folder / "models" / "restoreflow_transports" / "one.safetensors"
    assert file.is_file()
    graph["apply"]["inputs"]["transport"] = ["loaded", 0]
    loaded = node("RestoreFlowLoadTransport", file="one.safetensors")
    again = {**graph, "loaded": loaded, "shown": kept["shown"]}
    del again["fit"], again["natural"]
    assert np.array_equal(picture(client, client.run(again)), fitted)
    offered = client.json("/object_info/RestoreFlowLoadTransport")["RestoreFlowLoadTransport"]
    assert "one.safetensors" in str(offered["input"]["required"]["file"])
    loaded["inputs"]["file"] = "../../restoreflow/one.safetensors"
    with pytest.raises(PromptError, match="There is no transport"):
        client.submit(again)


def test_around_a_core_upscale_model_in_pixels(client, graph, host, photos):
    torch.manual_seed(0)
    file = host.folder / "models" / "upscale_models" / UPSCALER
    file.parent.mkdir(parents=True, exist_ok=True)
    save(file, {"": ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict()})
    prompt = {
        "photo": graph["photo"],
        "natural": graph["natural"],
        "model": node("UpscaleModelLoader", model_name=UPSCALER),
        "large": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["photo", 0]),
        "fit": node(
            "RestoreFlowFitTransport",
            **{"restored": ["large", 0], "natural": ["natural", 0], **FIT},
        ),
        "apply": node("RestoreFlowApplyTransportImage", transport=["fit", 0], image=["large", 0]),
        "shown": node("PreviewImage", images=["apply", 0]),
    }
    entry = client.run(prompt)
    assert picture(client, entry).shape == (288, 384, 3)
    prompt["fit"]["inputs"].update(natural_folder="no such folder")
    with pytest.raises(PromptError, match="no such folder"):
        client.run(prompt)
