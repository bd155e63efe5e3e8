"""Laws over every template, blueprint and help page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_url
from PIL import Image
from restoreflow.models import hub

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
FILES = TEMPLATES + BLUEPRINTS
OWN = {
    name
    for path in (ROOT / "nodes").glob("*.py")
    for name in re.findall(r'node_id="(\w+)"', path.read_text(encoding="utf-8"))
}
CORE = {"ImageScale", "ImageScaleBy", "LoadImage", "PreviewImage", "SaveImage", "MarkdownNote"}
CORE |= {"UpscaleModelLoader", "ImageUpscaleWithModel"}
SHIPPED = {path.name for path in (ROOT / "models" / "embedded").iterdir()}
TITLE = 30  # a node's title lies above its position
INPUTS, OUTPUTS = -10, -20  # the two ends of a subgraph

Graph = dict[str, Any]

every_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}"
)


def graphs(path: Path) -> list[Graph]:
    """The graph of a file and every subgraph in it."""
    graph = json.loads(path.read_text(encoding="ascii"))
    return [graph, *subgraphs(graph)]


def subgraphs(graph: Graph) -> list[Graph]:
    return graph.get("definitions", {}).get("subgraphs", [])


def texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, but those of notes."""
    if isinstance(value, dict):
        if value.get("type") != "MarkdownNote":
            for inner in value.values():
                yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def words(graph: Graph) -> list[str]:
    """Every paragraph that a person reads: of the notes, of a blueprint's description."""
    notes = [node for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    read = [graph.get("description", ""), *(note["widgets_values"][0] for note in notes)]
    return [line for text in read for line in text.splitlines()]


def links(graph: Graph) -> list[tuple]:
    """(id, origin, its slot, target, its slot, type)."""
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return [
        tuple(link[name] for name in names) if isinstance(link, dict) else tuple(link)
        for link in graph["links"]
    ]


def test_there_is_something_to_test() -> None:
    assert TEMPLATES
    assert BLUEPRINTS
    assert OWN


@every_file
def test_name_is_plain(path: Path) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", path.stem)


def test_blueprints_and_templates_have_different_names() -> None:
    """The front end takes a template for the blueprint of the same name."""
    assert not {path.stem for path in TEMPLATES} & {path.stem for path in BLUEPRINTS}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_has_a_thumbnail(path: Path) -> None:
    thumbnail = path.with_suffix(".jpg")
    assert thumbnail.stat().st_size < 200_000
    with Image.open(thumbnail) as picture:
        assert picture.format == "JPEG"
        assert 200 <= min(picture.size) <= max(picture.size) <= 1200


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_has_a_note(path: Path) -> None:
    (graph,) = graphs(path)
    notes = [node for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    assert any(note["widgets_values"][0].startswith("# ") for note in notes)


@every_file
def test_nodes_exist(path: Path) -> None:
    for graph in graphs(path):
        known = OWN | CORE | {inner["id"] for inner in subgraphs(graph)}
        assert {node["type"] for node in graph["nodes"]} <= known


@every_file
def test_own_nodes_say_where_they_come_from(path: Path) -> None:
    for graph in graphs(path):
        for node in graph["nodes"]:
            if node["type"] in OWN:
                assert node["properties"]["cnr_id"] == "restoreflow"


@every_file
def test_no_path_of_a_machine(path: Path) -> None:
    for graph in graphs(path):
        for text in texts(graph):
            assert not re.match(r"[/~]|[A-Za-z]:[/\\]", text), text
            assert "\\" not in text, text


@every_file
def test_links_hold(path: Path) -> None:
    for graph in graphs(path):
        nodes = {node["id"]: node for node in graph["nodes"]}
        ends = {INPUTS: {"outputs": graph.get("inputs")}, OUTPUTS: {"inputs": graph.get("outputs")}}
        assert len(nodes) == len(graph["nodes"])
        for link, origin, out, target, into, kind in links(graph):
            source = {**nodes, **ends}[origin]["outputs"][out]
            sink = {**nodes, **ends}[target]["inputs"][into]
            assert link in source.get("links", source.get("linkIds", ()))
            assert link in (sink.get("link"), *sink.get("linkIds", ()))
            assert kind in source["type"].split(",")
            assert kind in sink["type"].split(",")


@every_file
def test_no_slot_names_a_missing_link(path: Path) -> None:
    for graph in graphs(path):
        there = {link[0] for link in links(graph)}
        for node in graph["nodes"]:
            named = {slot.get("link") for slot in node.get("inputs", ())} - {None}
            for slot in node.get("outputs", ()):
                named |= set(slot.get("links") or ())
            assert named <= there


@every_file
def test_no_nodes_overlap(path: Path) -> None:
    for graph in graphs(path):
        boxes = [(*node["pos"], *node["size"], node["type"]) for node in graph["nodes"]]
        for number, (x, y, width, height, kind) in enumerate(boxes):
            for left, top, wide, high, other in boxes[:number]:
                apart = (
                    x + width <= left
                    or left + wide <= x
                    or y + height <= top - TITLE
                    or top + high <= y - TITLE
                )
                assert apart, f"{kind} covers {other}"


@every_file
def test_weights_are_shipped_or_the_node_says_where_they_are(path: Path) -> None:
    """Only what the canvas itself says is not public may be nowhere to be had."""
    for graph in graphs(path):
        withheld = [line for line in words(graph) if "not public" in line]
        for node in graph["nodes"]:
            values = texts(node.get("widgets_values", []))
            named = {text for text in values if re.search(r"\.(safetensors|pth|pt|ckpt)$", text)}
            declared = node["properties"].get("models", [])
            known = SHIPPED | {model["name"] for model in declared}
            assert known - SHIPPED <= named
            for name in named - known:
                assert any(name in line for line in withheld), name
            for model in declared:
                own = node["type"] in OWN
                assert model["directory"] == ("restoreflow" if own else "upscale_models")
                assert model["url"].startswith("https://")


@every_file
def test_known_weights_come_from_where_the_pack_fetches_them(path: Path) -> None:
    for graph in graphs(path):
        for node in graph["nodes"]:
            for model in node["properties"].get("models", []):
                if known := hub.named(model["name"]):
                    assert model == {**model, "name": known.name, "url": address(known.source)}


def address(source: hub.Hub | hub.Release) -> str:
    """Where the pack fetches from, without a mirror."""
    if isinstance(source, hub.Release):
        return source.url()
    place = {"revision": source.revision, "endpoint": "https://huggingface.co"}
    return hf_hub_url(source.repo, source.file, **place)


@every_file
def test_runs_again_with_the_same_seed(path: Path) -> None:
    for graph in graphs(path):
        for node in graph["nodes"]:
            values = node.get("widgets_values", [])
            assert not {"randomize", "increment", "decrement"} & {
                value for value in values if isinstance(value, str)
            }


@pytest.mark.parametrize("name", sorted(OWN))
def test_node_has_a_help_page(name: str) -> None:
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="ascii")
    assert page.startswith("# ")
    assert "## Input" in page
    assert "## Output" in page


def test_every_help_page_has_a_node() -> None:
    assert {path.stem for path in (ROOT / "web" / "docs").iterdir()} == OWN
