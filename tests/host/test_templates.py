"""Every template on a real ComfyUI, with small random networks where no weights are shipped."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import build_workflows
import numpy as np
import pytest
import torch
from client import Client
from fakes import published_mean_names, save, tiny_flow, tiny_mean
from graphs import Column, GraphError, Node, Template, Wire, template
from PIL import Image
from restoreflow.jobs.workflow import Prompt, to_prompt

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
BUILT = [*TEMPLATES, *sorted((ROOT / "subgraphs").glob("*.json"))]
LEVELS = {"pmrf-face-512.safetensors": 3}
"""Of the published flow, where it is not the controlled experiments' 2."""


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
    files = [folder / name for name in sorted(set().union(*map(declared, TEMPLATES)))]
    for file in files:
        write_weights(file)
    yield request.param
    for file in files:
        file.unlink()


def write_weights(path: Path) -> None:
    """A posterior mean and a flow, in the container in which that file is published."""
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
    for settings in nodes(prompt, "RestoreFlowSampleImage"):
        settings["steps"] = 2
    for kind in ("RestoreFlowLoadPosteriorMean", "RestoreFlowLoadFlow"):
        for settings in nodes(prompt, kind):
            if below and settings["weights"] in declared(path):
                settings["weights"] = f"{below}\\{settings['weights']}"  # as Windows writes it
    entry = client.run(prompt)
    saved = next(key for key, node in prompt.items() if node["class_type"] == "SaveImage")
    (picture,) = client.pictures(entry, saved)
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    with Image.open(host.folder / "input" / "example.png") as example:
        width, height = example.size
    for settings in nodes(prompt, "ImageScale"):
        width, height = settings["width"], settings["height"]
    assert pixels.shape == (height, width, 3)
    assert pixels.std() > 1
