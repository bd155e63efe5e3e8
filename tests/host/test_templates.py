"""Every template on a real ComfyUI, with small random networks where no weights are shipped."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import build_workflows
import numpy as np
import pytest
import torch
from client import Client
from fakes import (
    published_mean_names,
    save,
    tiny_elir,
    tiny_flow,
    tiny_looformer,
    tiny_mean,
    tiny_simvae,
)
from graphs import Column, GraphError, Node, Template, Wire, template
from onnx_files import DETECTOR, spots, spotted, yunet
from PIL import Image
from restoreflow.jobs.workflow import BYPASSED, Prompt, to_prompt
from restoreflow.models.networks.simvae import SimVAEShape
from spandrel.architectures.ESRGAN import ESRGAN
from workflow_parts import SIM_VAE, UPSCALER
from workflows_faces import TEMPLATES as OF_FACES
from workflows_latent import ELIR_BLIND, ELIR_FACE, LATENT_FLOW, SIM_VAE_FACE

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
BUILT = [*TEMPLATES, *sorted((ROOT / "subgraphs").glob("*.json"))]
LEVELS = {"pmrf-face-512.safetensors": 3}
"""Of the published flow, where it is not the controlled experiments' 2."""
ELIR = {ELIR_FACE: {"middle": 3}, ELIR_BLIND: {"width": 96}}
"""What tells the tasks of ELIR's files apart."""
UPSCALES = "ImageUpscaleWithModel"
SAVES = ("SaveImage", "RestoreFlowSaveRestoredPhoto")
SPOTS = ((100, 110), (240, 150))
"""White spots (x, y), which the detector of these tests takes for faces."""
TIMES = 4
"""By so much the upscale model enlarges."""
LATENTS = 32
"""Channels of the Sim-VAE and its flow."""


def declared(path: Path) -> set[str]:
    """The names of all weights that a template needs and the pack does not hold."""
    nodes = json.loads(path.read_text())["nodes"]
    return {model["name"] for node in nodes for model in node["properties"].get("models", [])}


RUNS = [(path, "") for path in TEMPLATES] + [(path, "sub") for path in TEMPLATES if declared(path)]
"""Each template, and with its weights in which folder."""


@pytest.fixture(scope="module")
def info(client: Client) -> dict[str, Any]:
    return client.json("/object_info")


@pytest.fixture(scope="module")
def below(request: pytest.FixtureRequest, host) -> Iterator[str]:
    """Random weights under every declared name, in that folder below the model folder.

    Nothing stays for the tests after.
    """
    folder = host.folder / "models" / "restoreflow" / request.param
    folder.mkdir(parents=True, exist_ok=True)
    names = {DETECTOR}.union(*map(declared, TEMPLATES)) - {UPSCALER}
    files = [folder / name for name in sorted(names)]
    files.append(host.folder / "models" / "upscale_models" / UPSCALER)
    files[-1].parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        write_weights(file)
    yield request.param
    for file in files:
        file.unlink()


@pytest.fixture
def public_flow(host) -> Iterator[None]:
    """A random Latent-PMRF flow where the authors' would be, with its settings beside it."""
    file = host.folder / "models" / "restoreflow" / LATENT_FLOW
    file.parent.mkdir(parents=True)
    save(file, {"": tiny_looformer(channels=LATENTS).state_dict()})
    config = {"block_types": ["neighborhood", "global"], "window_sizes": [3, 0]}
    file.with_name("config.json").write_text(json.dumps(config))
    yield
    shutil.rmtree(file.parent)


def write_weights(path: Path) -> None:
    """Random networks, in the container in which that file is published."""
    if path.name == DETECTOR:
        path.write_bytes(yunet(spots(), 64, 64))
    elif path.name.startswith("elir_"):
        torch.save(tiny_elir(**ELIR.get(path.name, {})), path)
    elif path.name == UPSCALER:
        network = ESRGAN(num_filters=8, num_blocks=1, scale=TIMES)
        save(path, {"": network.state_dict()})
    elif path.name == SIM_VAE:
        save(path, {"": tiny_simvae(SimVAEShape((8, 12, 16, 16), 1, 1, LATENTS)).state_dict()})
    else:
        write_pmrf(path)


def write_pmrf(path: Path) -> None:
    """A posterior mean and a flow of pictures."""
    mean = published_mean_names(tiny_mean())
    flow = tiny_flow(levels=LEVELS.get(path.name, 2))
    if path.suffix == ".safetensors":
        save(path, {"model.": flow.state_dict(), "mmse_model.": mean})
        return
    state = {f"model.{name}": tensor for name, tensor in flow.state_dict().items()}
    state |= {f"mmse_model.{name}": tensor for name, tensor in mean.items()}
    settings = {"stage": "flow", "mmse_model_arch": "swinir_M", "mmse_noise_std": 0.1}
    averages = [parameter.detach() for parameter in flow.parameters()]
    content = {
        "state_dict": state,
        "hyper_parameters": settings,
        "ema": {"shadow_params": averages},
    }
    torch.save(content, path)


def nodes(prompt: Prompt, kind: str) -> list[dict[str, Any]]:
    """The inputs of every node of a type."""
    return [node["inputs"] for node in prompt.values() if node["class_type"] == kind]


@pytest.mark.parametrize("path", BUILT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_file_is_what_its_description_gives(path: Path, info: dict[str, Any]) -> None:
    content = build_workflows.build(info).get(path)
    assert content is not None, f"{path.name} has no description in scripts/build_workflows.py"
    assert path.read_text() == content, (
        "rebuild the files with the environment's Python: python scripts/build_workflows.py"
    )


def test_every_description_has_its_file(info: dict[str, Any]) -> None:
    assert set(build_workflows.build(info)) == set(BUILT)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("Gone"), "save: this host has no node Gone"),
        (Node("SaveImage", {"picture": 1}), "save: SaveImage has no input picture"),
        (Node("SaveImage", {"images": Wire("photo", "image")}), "no output image of photo"),
        (Node("SaveImage", {"images": Wire("gone", "IMAGE")}), "no output IMAGE of gone"),
    ],
)
def test_a_description_that_does_not_fit_says_where(
    node: Node, message: str, info: dict[str, Any]
) -> None:
    wanted = Template("x", [Column({"photo": Node("LoadImage"), "save": node})], [])
    with pytest.raises(GraphError, match=message):
        template(wanted, info)


@pytest.mark.parametrize(
    ("path", "below"), RUNS, indirect=["below"], ids=lambda value: getattr(value, "stem", value)
)
def test_template_runs(path: Path, below: str, host, client: Client, info: dict[str, Any]) -> None:
    prompt = to_prompt(json.loads(path.read_text()), info)
    for settings in (node["inputs"] for node in prompt.values()):
        if below and settings.get("weights") in declared(path):
            settings["weights"] = f"{below}\\{settings['weights']}"  # as Windows writes it
    check_run(prompt, host, client)


@pytest.mark.usefixtures("below")
@pytest.mark.parametrize("below", [""], indirect=True)
@pytest.mark.parametrize("wanted", OF_FACES, ids=lambda wanted: wanted.name)
@pytest.mark.parametrize("faces", [SPOTS, ()], ids=["people", "nobody"])
def test_faces_are_pasted_where_they_are_and_nowhere_else(
    faces: tuple, wanted: Template, host, client: Client, info: dict[str, Any]
) -> None:
    pixels = spotted(faces)
    Image.fromarray(pixels).save(host.folder / "input" / "faces.png")
    prompt = to_prompt(template(wanted, info), info)
    hasten(prompt)
    nodes(prompt, "LoadImage")[0]["image"] = "faces.png"
    for settings in nodes(prompt, "PreviewImage"):  # crops themselves, too, where there are any
        settings["images"] = [find(prompt, "RestoreFlowAlignFaces"), 0]
    paste = prompt[prompt[find(prompt, "SaveImage")]["inputs"]["images"][0]]["inputs"]
    prompt["canvas"] = {"class_type": "PreviewImage", "inputs": {"images": paste["image"]}}
    entry = client.run(prompt)
    canvas, result = (
        np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        for key in ("canvas", find(prompt, "SaveImage"))
        for picture in client.pictures(entry, key)
    )
    changed = (result != canvas).any(2)
    assert changed.any() == bool(faces)
    assert not changed[250 * len(changed) // len(pixels) :].any()
    shown = entry["outputs"].get(find(prompt, "PreviewImage"), {"images": ()})
    assert len(shown["images"]) == len(faces)


def find(prompt: Prompt, kind: str) -> str:
    """The first node of a type."""
    return next(key for key, node in prompt.items() if node["class_type"] == kind)


@pytest.mark.usefixtures("public_flow")
@pytest.mark.parametrize("below", [""], indirect=True)
def test_a_flow_that_is_not_public_runs_once_it_is(
    below: str, host, client: Client, info: dict[str, Any]
) -> None:
    workflow = json.loads((ROOT / "workflows" / f"{SIM_VAE_FACE.template}.json").read_text())
    (sampler,) = (node for node in workflow["nodes"] if node["mode"] == BYPASSED)
    assert sampler["type"] == "RestoreFlowSampleLatent"
    sampler["mode"] = 0
    check_run(to_prompt(workflow, info), host, client)


def hasten(prompt: Prompt) -> None:
    """Few steps show as much of random networks as many."""
    for kind in ("RestoreFlowSampleImage", "RestoreFlowSampleLatent", "RestoreFlowPlugAndPlay"):
        for settings in nodes(prompt, kind):
            settings["steps"] = 2


def check_run(prompt: Prompt, host, client: Client) -> None:
    """A template restores the example to a picture of the size that it should have."""
    hasten(prompt)
    for settings in nodes(prompt, "RestoreFlowSelectFaces"):
        settings["largest"] = 2  # the example has dozens of white spots
    with Image.open(host.folder / "input" / "example.png") as example:
        width, height = of_photo = example.size
    for settings in nodes(prompt, "ImageScale"):
        width, height = settings["width"], settings["height"]
    for settings in nodes(prompt, "ImageScaleBy"):
        settings["scale_by"] /= 8  # to a picture that takes no longer than the others
        larger = TIMES if prompt[settings["image"][0]]["class_type"] == UPSCALES else 1
        width, height = (round(side * larger * settings["scale_by"]) for side in of_photo)
    if nodes(prompt, "RestoreFlowMask"):  # painted over, as the mask editor leaves a photo
        with Image.open(host.folder / "input" / "example.png") as example:
            painted = example.convert("RGB")
        painted.putalpha(Image.linear_gradient("L").resize(painted.size))
        painted.save(host.folder / "input" / "painted.png")
        nodes(prompt, "LoadImage")[0]["image"] = "painted.png"
    for settings in nodes(prompt, "RestoreFlowJobPhoto"):
        settings["folder"] = "alone"
        (host.folder / "input" / "alone").mkdir(exist_ok=True)
        shutil.copy(host.folder / "input" / "example.png", host.folder / "input" / "alone")
    entry = client.run(prompt)
    saved = next(key for key, node in prompt.items() if node["class_type"] in SAVES)
    (picture,) = client.pictures(entry, saved)
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    assert pixels.shape == (height, width, 3)
    assert pixels.std() > 1
