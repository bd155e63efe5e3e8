"""jobs/workflow.py makes of every file the same prompt as the front ends do themselves."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfyui
import pytest
from client import Client

pytest.importorskip("canvas", reason="Playwright is not installed")

import canvas  # noqa: E402
from restoreflow.jobs.workflow import BYPASSED, MUTED, Prompt, to_prompt  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
LOADED = "file => app.loadGraphData(file)"
SELECT = "id => app.canvas.selectItems([app.graph.getNodeById(id)])"
PROMPT = """async () => {
    const serialized = JSON.parse(JSON.stringify(app.graph.serialize()));
    return JSON.stringify([(await app.graphToPrompt()).output, serialized]);
}"""


@pytest.fixture(scope="module", params=[False], ids=["classic"])
def page(request: pytest.FixtureRequest, client: Client) -> Iterator[canvas.Canvas]:
    """A page of each front end; how nodes are drawn changes no prompt."""
    with canvas.canvas(client) as opened:
        opened.open_empty()
        yield opened


@pytest.fixture(scope="module")
def info(served: comfyui.Host, client: Client) -> dict[str, Any]:
    """What that host says of its nodes."""
    return client.json("/object_info")


def compare(page: canvas.Canvas, file: dict, info: dict[str, Any]) -> Prompt:
    """The prompt, equal for the file, for the front end, and for what the front end saves."""
    page.page.evaluate(LOADED, file)
    shown, saved = json.loads(page.page.evaluate(PROMPT))
    wanted = bare(shown)
    assert bare(to_prompt(file, info)) == wanted
    assert bare(to_prompt(saved, info)) == wanted
    return wanted


def bare(prompt: Prompt) -> Prompt:
    """Without titles."""
    return {key: {k: node[k] for k in ("class_type", "inputs")} for key, node in prompt.items()}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template(path: Path, page: canvas.Canvas, info: dict[str, Any]) -> None:
    assert compare(page, json.loads(path.read_text(encoding="utf-8")), info)


# Hand-made files


def node(number: int, kind: str, values=(), inputs=(), outputs=("IMAGE",), **more: Any) -> dict:
    """A node of a file; inputs are (name, type, link), with a W before the name of a widget's."""
    slots = []
    for name, wanted, link in inputs:
        slot = {"name": name.removeprefix("W "), "type": wanted, "link": link}
        slots.append({**slot, "widget": {"name": slot["name"]}} if name[:2] == "W " else slot)
    return {
        **{"id": number, "type": kind, "pos": [300 * number, 100], "size": [250, 100]},
        **{"flags": {}, "order": number, "mode": 0, "properties": {}, "inputs": slots},
        "outputs": [{"name": kind, "type": kind, "links": []} for kind in outputs],
        "widgets_values": list(values),
        **more,
    }


def workflow(*nodes: dict, links: list[tuple], **more: Any) -> dict:
    """A file; links are (origin, its slot, target, its slot, type), numbered from 1."""
    nodes = copy.deepcopy(nodes)
    there = {node["id"]: node for node in nodes}
    for number, (origin, slot, *_) in enumerate(links, 1):
        there[origin]["outputs"][slot]["links"].append(number)
    return {
        **{"nodes": list(nodes), "links": [[n, *link] for n, link in enumerate(links, 1)]},
        **{"last_node_id": 99, "last_link_id": 99, "version": 0.4, "groups": [], **more},
    }


LOAD = node(1, "LoadImage", ["example.png", "image"], outputs=["IMAGE", "MASK"])
SAVE = node(3, "SaveImage", ["out"], [("images", "IMAGE", 2)], [])
NOTE = node(9, "MarkdownNote", ["# read me"], (), ())
CHAIN = [(1, 0, 2, 0, "IMAGE"), (2, 0, 3, 0, "IMAGE")]


def between(kind: str, *values: Any, **more: Any) -> dict:
    return node(2, kind, values, [("image", "IMAGE", 1)], **more)


def rerouted() -> dict:
    reroute = node(2, "Reroute", (), [("", "*", 1)])
    return workflow(LOAD, reroute, SAVE, links=CHAIN)


def rerouted_after_a_bypass() -> dict:
    reroute = node(4, "Reroute", (), [("", "*", 2)])
    last = {**SAVE, "inputs": [{"name": "images", "type": "IMAGE", "link": 3}]}
    links = [CHAIN[0], (2, 0, 4, 0, "*"), (4, 0, 3, 0, "IMAGE")]
    return workflow(LOAD, between("ImageInvert", mode=BYPASSED), reroute, last, links=links)


def primitive() -> dict:
    inputs = [("image", "IMAGE", 1), ("W scale_by", "FLOAT", 3)]
    scale = node(2, "ImageScaleBy", ["lanczos", 1.0], inputs)
    number = node(4, "PrimitiveNode", [0.25, "fixed"], (), ["FLOAT"])
    number["outputs"][0]["widget"] = {"name": "scale_by"}
    return workflow(LOAD, scale, SAVE, number, links=[*CHAIN, (4, 0, 2, 1, "FLOAT")])


def bypassed_of_two() -> dict:
    """A node lets through the input that fits, here its first one of two."""
    inputs = [("image", "IMAGE", 1), ("alpha", "MASK", 3)]
    joined = node(2, "JoinImageWithAlpha", (), inputs, mode=BYPASSED)
    return workflow(LOAD, joined, SAVE, links=[*CHAIN, (1, 1, 2, 1, "MASK")])


def seeded() -> dict:
    flow = node(4, "RestoreFlowLoadFlow", ["demo-denoise-25.safetensors"], (), ["FLOW"])
    inputs = [("flow", "FLOW", 3), ("image", "IMAGE", 1)]
    sampler = node(2, "RestoreFlowSampleImage", [2**53, "randomize", 3, -1.0, "euler"], inputs)
    return workflow(
        LOAD, sampler, SAVE, flow, links=[(1, 0, 2, 1, "IMAGE"), CHAIN[1], (4, 0, 2, 0, "FLOW")]
    )


def photo_job() -> dict:
    first = node(1, "RestoreFlowJobPhoto", ["", 0, 2],
                 outputs=["IMAGE", "MASK", "PHOTO", "STRING", "INT"])  # fmt: skip
    inputs = [("image", "IMAGE", 2), ("photo", "PHOTO", 3)]
    last = node(3, "RestoreFlowSaveRestoredPhoto", ["_new", "png"], inputs)
    links = [*CHAIN, (1, 2, 3, 1, "PHOTO")]
    return workflow(first, between("ImageInvert"), last, links=links)


FILES = {
    "plain": workflow(LOAD, between("ImageInvert"), SAVE, links=CHAIN),
    "widgets": workflow(LOAD, between("ImageScaleBy", "area", 0.5), SAVE, links=CHAIN),
    "noted": workflow(LOAD, between("ImageInvert"), SAVE, NOTE, links=CHAIN),
    "rerouted": rerouted(),
    "rerouted after a bypass": rerouted_after_a_bypass(),
    "primitive": primitive(),
    "bypassed": workflow(LOAD, between("ImageInvert", mode=BYPASSED), SAVE, links=CHAIN),
    "bypassed of two": bypassed_of_two(),
    "muted": workflow(LOAD, between("ImageInvert", mode=MUTED), SAVE, links=CHAIN),
    "seeded": seeded(),
    "photo job": photo_job(),
}


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, page: canvas.Canvas, info: dict[str, Any]) -> None:
    assert compare(page, FILES[name], info)


INSTANCE = 52
"""Other than all inside it: the newest front end renumbers what has the same number twice."""


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_subgraph(path: Path, page: canvas.Canvas, info: dict[str, Any]) -> None:
    """A blueprint between a photo and a file, with other values than its own; then passed over."""
    prompt = compare(page, around(path), info)
    assert f"{INSTANCE}:1" in prompt
    for command in ("Bypass", "Mute"):
        page.page.evaluate(SELECT, INSTANCE)
        page.command(f"Comfy.Canvas.ToggleSelectedNodes.{command}")
        shown, saved = json.loads(page.page.evaluate(PROMPT))
        assert bare(to_prompt(saved, info)) == bare(shown)
        assert set(shown) == {"51", "53"}


def around(path: Path) -> dict:
    """A file with a blueprint in it."""
    file = json.loads(path.read_text(encoding="utf-8"))
    (instance,) = file["nodes"]
    values = [other(value) for value in instance.get("widgets_values", [])]
    (place,) = [n for n, slot in enumerate(instance["inputs"]) if slot["name"] == "image"]
    instance["inputs"][place]["link"] = 1
    nodes = (
        LOAD | {"id": 51},
        instance | {"id": INSTANCE, "widgets_values": values},
        SAVE | {"id": 53},
    )
    links = [(51, 0, INSTANCE, place, "IMAGE"), (INSTANCE, 0, 53, 0, "IMAGE")]
    return {**file, **workflow(*nodes, links=links)}


def other(value: Any) -> Any:
    """Another value for a widget."""
    return value + 1 if isinstance(value, int) and not isinstance(value, bool) else value
