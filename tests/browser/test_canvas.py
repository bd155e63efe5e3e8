"""The pack in the real front ends: templates open, blueprints unpack, nodes explain themselves."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import comfyui
import pytest
from client import Client

pytest.importorskip("canvas", reason="Playwright is not installed")

from canvas import Canvas, overlaps, template  # noqa: E402
from restoreflow.models.checkpoint import EXTENSIONS  # noqa: E402
from workflow_parts import UPSCALER  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
HELP = sorted((ROOT / "web" / "docs").glob("*.md"))


FOLDERS = ("restoreflow", "upscale_models")
SHIPPED = {path.name for path in (ROOT / "models" / "embedded").iterdir()}


def needed(name: str) -> set[str]:
    """The weights that a template's loaders name and that do not come with the pack."""
    kinds = ("RestoreFlowLoad", "UpscaleModelLoader")
    loaders = [node for node in template(name)["nodes"] if node["type"].startswith(kinds)]
    values = {node["widgets_values"][0] for node in loaders}
    return {value for value in values if Path(value).suffix in EXTENSIONS} - SHIPPED


def absent(name: str, client: Client) -> set[str]:
    """Those that the host does not have."""
    found = (client.json(f"/experiment/models/{folder}") for folder in FOLDERS)
    return needed(name) - {file["name"] for files in found for file in files}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_opens_cleanly(
    name: str, page: Canvas, client: Client, keep_picture: Callable[[str], None]
) -> None:
    page.load(name)
    page.fit()
    if page.issues():
        told = re.findall(r"[\w.-]+\.(?:safetensors|ckpt|pth?)", page.missing_models())
        assert set() != set(told) <= {Path(file).name for file in absent(name, client)}
    keep_picture(name)
    opened, wanted = page.graph(), template(name)
    assert page.nodes() == sorted(node["type"] for node in wanted["nodes"])
    assert sorted(opened["links"]) == sorted(link[1:] for link in wanted["links"])
    for node in wanted["nodes"]:
        (there,) = (other for other in opened["nodes"] if other["id"] == node["id"])
        assert (there["widgets_values"] or None) == node.get("widgets_values")
    assert page.unknown() == []
    assert overlaps(page.boxes()) == []


@pytest.fixture
def weights_in_place(served: comfyui.Host) -> Iterator[None]:
    """Every weight that a template asks for lies on the host, as far as names tell."""
    wanted = {weight for name in TEMPLATES for weight in needed(name)}
    models = served.folder / "models"
    files = [models / FOLDERS[file == UPSCALER] / file for file in wanted]
    for file in (files := [file for file in files if not file.exists()]):
        file.parent.mkdir(exist_ok=True, parents=True)
        file.touch()
    yield
    for file in files:
        file.unlink()
        if file.parent.name not in FOLDERS:
            file.parent.rmdir()


@pytest.mark.usefixtures("weights_in_place")
def test_weights_that_are_there_are_not_missed(page: Canvas, client: Client) -> None:
    page.command("Comfy.RefreshNodeDefinitions")
    for name in filter(needed, TEMPLATES):
        assert absent(name, client) == set()
        page.load(name)
        page.fit()
        assert page.issues() == []


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprint_unpacks_into_its_parts(
    path: Path, page: Canvas, served: comfyui.Host, keep_picture: Callable[[str], None]
) -> None:
    (subgraph,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    page.open_empty()
    page.page.keyboard.press("n")
    page.page.get_by_placeholder("Search").first.fill(path.stem)
    page.page.get_by_text(path.stem, exact=True).first.click()
    page.page.mouse.click(1000, 500)
    page.wait_for_nodes(1)
    slots = page.page.evaluate("() => app.graph._nodes[0].inputs.map(slot => slot.name)")
    assert slots == [slot["name"] for slot in subgraph["inputs"]]
    keep_picture(f"{path.stem}_inserted")
    page.page.evaluate("() => app.canvas.selectItems([app.graph._nodes[0]])")
    page.command("Comfy.Graph.UnpackSubgraph")
    page.wait_for_nodes(len(subgraph["nodes"]))
    page.fit()
    keep_picture(f"{path.stem}_unpacked")
    assert page.nodes() == sorted(node["type"] for node in subgraph["nodes"])
    inner = [link for link in subgraph["links"] if {-10, -20}.isdisjoint(ends(link))]
    assert page.page.evaluate("() => app.graph.links.size") == len(inner)
    assert page.unknown() == []
    # The Nodes 2.0 of ComfyUI 0.3.75 heaps up whatever it unpacks until it is loaded again.
    if served.front_end or not page.vue:
        assert overlaps(page.boxes()) == []


def ends(link: dict[str, int]) -> tuple[int, int]:
    return link["origin_id"], link["target_id"]


def test_every_node_opens_its_help(page: Canvas, keep_picture: Callable[[str], None]) -> None:
    page.open_empty()
    for path in HELP:
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
        page.add(path.stem)
        shown = page.help(headings[0]).splitlines()
        assert [line for line in shown if line in headings] == headings
    keep_picture("help")
