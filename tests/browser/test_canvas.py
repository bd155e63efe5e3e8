"""The pack in the real front end: its templates open, its blueprints unpack, the demo runs."""

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

canvas = pytest.importorskip("canvas", reason="Playwright is not installed")

from canvas import Canvas, overlaps, template  # noqa: E402
from client import Client  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))

pytestmark = pytest.mark.skipif(
    canvas.browser() is None, reason="no Chromium was found: install it, or set RESTOREFLOW_BROWSER"
)


def keep_picture(page: Canvas, name: str, tmp_path: Path) -> None:
    """A screenshot, into the folder RESTOREFLOW_SCREENSHOTS if that is set."""
    folder = Path(os.environ.get("RESTOREFLOW_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.page.screenshot(path=folder / f"{name}.png")


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_template_opens_cleanly(name: str, vue: bool, client: Client, tmp_path: Path) -> None:
    wanted = sorted(node["type"] for node in template(name)["nodes"])
    with canvas.canvas(client, vue) as page:
        page.open(name)
        page.fit()
        keep_picture(page, f"{name}_{'nodes2' if vue else 'classic'}", tmp_path)
        assert page.nodes() == wanted
        assert page.unknown() == []
        assert page.dialogs() == []
        assert overlaps(page.boxes()) == []
        assert page.own_errors == []


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprint_unpacks_into_its_parts(path: Path, client: Client, tmp_path: Path) -> None:
    (subgraph,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    with canvas.canvas(client) as page:
        page.open_empty()
        page.page.keyboard.press("n")
        page.page.get_by_placeholder("Search").first.fill(path.stem)
        page.page.get_by_text(path.stem, exact=True).first.click()
        page.page.mouse.click(1000, 500)
        page.wait_for_nodes(1)
        slots = page.page.evaluate("() => app.graph._nodes[0].inputs.map(slot => slot.name)")
        assert slots == [slot["name"] for slot in subgraph["inputs"]]
        keep_picture(page, f"{path.stem}_inserted", tmp_path)
        page.page.evaluate("() => app.canvas.selectItems([app.graph._nodes[0]])")
        page.command("Comfy.Graph.UnpackSubgraph")
        page.wait_for_nodes(len(subgraph["nodes"]))
        keep_picture(page, f"{path.stem}_unpacked", tmp_path)
        assert page.nodes() == sorted(node["type"] for node in subgraph["nodes"])
        inner = [link for link in subgraph["links"] if {-10, -20}.isdisjoint(ends(link))]
        assert page.page.evaluate("() => app.graph.links.size") == len(inner)
        assert page.unknown() == []
        assert overlaps(page.boxes()) == []
        assert page.own_errors == []


def ends(link: dict[str, int]) -> tuple[int, int]:
    return link["origin_id"], link["target_id"]


def test_demo_template_runs_with_live_preview(client: Client, tmp_path: Path) -> None:
    photo = tmp_path / "small photo.png"
    Image.linear_gradient("L").resize((128, 96)).convert("RGB").save(photo)
    with canvas.canvas(client) as page:
        page.open("restore_noisy_photo")
        page.set("LoadImage", "image", client.upload(photo))
        page.set("RestoreFlowSampleImage", "steps", 4)
        previews = page.run()
        page.wait_for_pictures()
        page.fit()
        keep_picture(page, "restore_noisy_photo_ran", tmp_path)
        (saved,) = page.results("Restored")
        assert previews >= 4
        assert Image.open(io.BytesIO(client.get("/view", **saved))).size == (128, 96)
        assert page.own_errors == []
