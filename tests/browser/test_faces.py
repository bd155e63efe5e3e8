"""Faces From Points in the real front ends: clicks on the photo, the text they write, a run."""

import io
from collections.abc import Callable, Iterator

import comfyui
import numpy as np
import pytest
import torch
from client import Client
from PIL import Image, ImageOps

pytest.importorskip("canvas", reason="Playwright is not installed")

from canvas import Canvas  # noqa: E402
from playwright.sync_api import Locator, expect  # noqa: E402
from restoreflow.faces.align import align  # noqa: E402
from restoreflow.faces.detections import Faces  # noqa: E402
from skimage.data import astronaut  # noqa: E402

POINTS = [(204, 101), (246, 103), (223, 126), (204, 140), (244, 141)]
OTHER = [(300, 300), (340, 300), (320, 320), (303, 340), (337, 340)]
GRAPH = """scaled => {
    const put = (type, x, y) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, y];
        app.graph.add(node);
        return node;
    };
    const load = put('LoadImage', 0, 100), faces = put('RestoreFlowFacesFromPoints', 400, 100);
    const align = put('RestoreFlowAlignFaces', 900, 100), shown = put('PreviewImage', 900, 300);
    const file = load.widgets.find(widget => widget.name === 'image');
    file.options.values.push?.('astronaut.png');
    file.value = 'astronaut.png';
    file.callback?.('astronaut.png');
    let photo = load;
    if (scaled) {
        photo = put('ImageScaleBy', 0, 600);
        photo.widgets.find(widget => widget.name === 'scale_by').value = 2;
        load.connect(0, photo, 0);
    }
    photo.connect(0, faces, faces.findInputSlot('image'));
    photo.connect(0, align, 0);
    faces.connect(0, align, align.findInputSlot('faces'));
    align.connect(0, shown, 0);
}"""
# On a busy machine, nodes still grow and the view still moves after the photo has come.
RESTS = """async () => {
    const read = () => {
        const sheet = document.querySelector('.rf-photo .rf-sheet');
        if (!sheet?.style.width || !sheet.querySelector('img').naturalWidth) return null;
        const {x, y, width} = sheet.getBoundingClientRect();
        return [x, y, width].join();
    };
    const before = read();
    for (let frame = 0; frame < 10; frame++)
        await new Promise(done => setTimeout(() => requestAnimationFrame(done), 40));
    return before !== null && before === read();
}"""
TEXT = """() => app.graph._nodes.find(node => node.type === 'RestoreFlowFacesFromPoints')
    .widgets.find(widget => widget.name === 'points').value"""


@pytest.fixture(scope="module", autouse=True)
def photo(served: comfyui.Host) -> Iterator[None]:
    """The astronaut among the host's input files; also mirrored, and under a painted mask."""
    folder, picture = served.folder / "input", Image.fromarray(astronaut())
    picture.save(folder / "astronaut.png")
    ImageOps.mirror(picture).save(folder / "mirrored.png")
    picture.putalpha(0)
    picture.save(folder / "masked.png")
    yield
    for name in ("astronaut", "mirrored", "masked"):
        (folder / f"{name}.png").unlink()


def empty(page: Canvas) -> None:
    """Nothing on the canvas; the old Nodes 2.0 show a removed node in the next of its number."""
    if page.vue:
        page.open_empty()
    else:
        page.page.evaluate("() => app.graph.clear()")


def put(page: Canvas, scaled: bool = False) -> Locator:
    """The graph with its photo in sight; returns the stage."""
    empty(page)
    page.page.evaluate(GRAPH, scaled)
    page.wait_for_nodes(5 if scaled else 4)
    page.fit()
    return page.page.get_by_role("application", name="Photo to mark faces in")


def sheet(page: Canvas) -> dict[str, float]:
    """Where the whole photo lies on the screen, once it is there and rests."""
    page.page.wait_for_function(RESTS)
    return page.page.locator(".rf-photo .rf-sheet").bounding_box()


def choose(page: Canvas, name: str) -> None:
    """Another file in Load Image."""
    page.set("LoadImage", "image", name)


def click(page: Canvas, points: list[tuple[float, float]], side: int = 512) -> None:
    """Click on places of the photo."""
    box = sheet(page)
    for x, y in points:
        page.page.mouse.click(
            box["x"] + x / side * box["width"], box["y"] + y / side * box["height"]
        )


def typed(page: Canvas) -> np.ndarray:
    """The text's faces, [N, 5, 2]."""
    lines = page.page.evaluate(TEXT).splitlines()
    return np.array([line.replace(",", " ").split() for line in lines], float).reshape(-1, 5, 2)


def test_clicks_become_text_and_faces_come_out_where_clicked(
    page: Canvas, client: Client, keep_picture: Callable[[str], None]
) -> None:
    put(page)
    guide = page.page.locator(".rf-guide")
    sheet(page)
    expect(guide).to_have_text("Click the left eye of a face, as seen in the picture.")
    click(page, POINTS[:3])
    expect(guide).to_contain_text("Face 1: click the left corner of the mouth")
    keep_picture("faces_begun")
    click(page, POINTS[3:])
    click(page, OTHER)
    expect(guide).to_contain_text("2 faces are marked")
    points = typed(page)
    one = 512 / sheet(page)["width"]  # pixels of the photo for one of the screen
    assert np.abs(points - np.array([POINTS, OTHER])).max() <= 1 + one
    page.run()
    page.wait_for_pictures()
    keep_picture("faces_marked")
    shown = page.results("Preview Image")
    files = [client.get("/view", **file) for file in shown]
    crops = [np.asarray(Image.open(io.BytesIO(file))) / 255 for file in files]
    picture = torch.from_numpy(astronaut() / 255).permute(2, 0, 1)[None].float()
    given = Faces.from_points(torch.tensor(points), torch.zeros(2).long(), 512, 512)
    wanted = align(picture, given).permute(0, 2, 3, 1).numpy()
    assert np.abs(np.stack(crops)[..., :3] - wanted).max() < 0.01


def test_points_are_shown_again_when_the_workflow_is_opened(page: Canvas) -> None:
    put(page)
    click(page, POINTS)
    saved = page.page.evaluate("() => app.graph.serialize()")
    (node,) = (one for one in saved["nodes"] if one["type"] == "RestoreFlowFacesFromPoints")
    assert node["widgets_values"] == [page.page.evaluate(TEXT)]
    prompt = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    (inputs,) = (
        one["inputs"]
        for one in prompt.values()
        if one["class_type"] == "RestoreFlowFacesFromPoints"
    )
    assert set(inputs) == {"image", "points"}
    empty(page)
    points = page.page.locator(".rf-point")
    expect(points).to_have_count(0)
    page.page.evaluate("async graph => { await app.loadGraphData(graph); }", saved)
    page.wait_for_nodes(4)
    page.fit()
    expect(points).to_have_count(5)
    photo = sheet(page)  # where points rest, too
    box = points.nth(2).bounding_box()
    x = (box["x"] + box["width"] / 2 - photo["x"]) / photo["width"] * 512
    assert x == pytest.approx(POINTS[2][0], abs=3)


def test_points_are_corrected_and_taken_back(page: Canvas) -> None:
    put(page)
    click(page, OTHER)
    before = typed(page)
    dots = page.page.locator(".rf-point")
    expect(dots).to_have_count(5)
    box = dots.nth(2).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x + 10, y + 4)
    page.page.mouse.move(x + 20, y - 10)
    page.page.mouse.up()
    moved = typed(page)
    assert (moved[0, 2] - before[0, 2] > [2, -60]).all() and moved[0, 2, 1] < before[0, 2, 1]
    assert np.array_equal(np.delete(moved, 2, 1), np.delete(before, 2, 1))
    tools = page.page.locator(".rf-faces")
    tools.get_by_role("button", name="Undo").click()
    assert np.array_equal(typed(page), before)
    click(page, POINTS[:2])
    expect(dots).to_have_count(7)
    tools.get_by_role("button", name="Remove face").click()
    expect(dots).to_have_count(5)
    assert np.array_equal(typed(page), before)
    tools.get_by_role("button", name="Clear").click()
    expect(dots).to_have_count(0)
    assert page.page.evaluate(TEXT) == ""
    tools.get_by_role("button", name="Undo").click()
    assert np.array_equal(typed(page), before)


def test_without_a_mouse(page: Canvas) -> None:
    stage = put(page)
    sheet(page)
    stage.focus()
    count = page.page.evaluate("() => app.graph._nodes.length")
    stage.press("ArrowLeft")
    for key in ("Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", " "):
        stage.press(key)
    dots = page.page.locator(".rf-point")
    expect(dots).to_have_count(3)
    stage.press("Backspace")
    expect(dots).to_have_count(2)
    stage.press("Tab")
    focused = page.page.locator(".rf-point:focus")
    expect(focused).to_have_accessible_name("Face 1, left eye")
    before = page.page.evaluate(TEXT)
    focused.press("Shift+ArrowUp")
    assert page.page.evaluate(TEXT) != before
    focused.press("Delete")
    expect(dots).to_have_count(0)
    expect(stage).to_be_focused()
    assert page.page.evaluate("() => app.graph._nodes.length") == count


def test_a_photo_from_other_nodes_is_shown_after_a_run(
    page: Canvas, keep_picture: Callable[[str], None]
) -> None:
    stage = put(page, scaled=True)
    expect(stage).to_contain_text("Run the graph once to see the photo here")
    page.run()
    expect(stage.locator(".rf-message")).to_be_hidden()
    click(page, [(2 * x, 2 * y) for x, y in POINTS], side=1024)
    one = 1024 / sheet(page)["width"]
    assert np.abs(typed(page) - 2 * np.array([POINTS])).max() <= 1 + one
    page.page.get_by_title("Open large").click()
    large = page.page.get_by_role("dialog", name="Mark faces")
    expect(large.locator(".rf-point")).to_have_count(5)
    large.get_by_title("Larger").click()
    keep_picture("faces_large")
    large.get_by_role("button", name="Close").click()
    expect(large).to_have_count(0)


def test_what_is_typed_is_shown(page: Canvas) -> None:
    put(page)
    sheet(page)
    swapped = [OTHER[1], OTHER[0], OTHER[2], OTHER[4], OTHER[3]]
    text = "  ".join(f"({x}, {y})" for x, y in swapped)
    page.set("RestoreFlowFacesFromPoints", "points", text)
    expect(page.page.locator(".rf-point")).to_have_count(5)
    expect(page.page.locator(".rf-guide")).to_contain_text("left and right look exchanged")


def test_a_photo_that_has_changed_since_the_run_takes_no_clicks(page: Canvas) -> None:
    stage = put(page, scaled=True)
    page.set("ImageScaleBy", "scale_by", 1.5)  # else the host has the last test's result at hand
    page.run()
    click(page, POINTS[:2])
    before, box = page.page.evaluate(TEXT), sheet(page)
    dots = page.page.locator(".rf-point")
    expect(dots).to_have_count(2)
    for change in (("LoadImage", "image", "mirrored.png"), ("ImageScaleBy", "scale_by", 3)):
        page.set(*change)
        expect(stage).to_contain_text("What leads here has changed: run the graph again")
        page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(dots.first).to_be_hidden()
        assert page.page.evaluate(TEXT) == before
    choose(page, "astronaut.png")
    page.set("ImageScaleBy", "scale_by", 1.5)
    expect(stage.locator(".rf-message")).to_be_hidden()
    page.set("RestoreFlowFacesFromPoints", "points", "")
    page.run()
    page.page.evaluate("""() => {
        const find = type => app.graph._nodes.find(node => node.type === type);
        const reroute = LiteGraph.createNode('Reroute');
        app.graph.add(reroute);
        find('LoadImage').connect(0, reroute, 0);
        reroute.connect(0, find('ImageScaleBy'), 0);
    }""")
    expect(stage.locator(".rf-message")).to_be_visible()
    page.run()  # the host has nothing to do
    expect(stage.locator(".rf-message")).to_be_hidden()
    choose(page, "mirrored.png")
    expect(stage.locator(".rf-message")).to_be_visible()
    page.run()
    expect(stage.locator(".rf-message")).to_be_hidden()


def test_points_of_another_photo_are_named_so(page: Canvas) -> None:
    put(page)
    click(page, POINTS[:2])
    guide = page.page.locator(".rf-guide")
    choose(page, "mirrored.png")
    expect(guide).to_contain_text("These points were set on another photo, astronaut.png.")
    choose(page, "astronaut.png")
    expect(guide).to_have_text("Face 1: click the nose, as seen in the picture.")
    choose(page, "mirrored.png")
    page.page.locator(".rf-faces").get_by_role("button", name="Clear").click()
    expect(guide).to_have_text("Click the left eye of a face, as seen in the picture.")


def test_a_painted_mask_hides_no_face(page: Canvas) -> None:
    put(page)
    choose(page, "masked.png")
    page.page.wait_for_function("""() => {
        const picture = document.querySelector('.rf-photo img');
        if (!picture.src.includes('masked.png') || !picture.complete) return false;
        const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
        const context = canvas.getContext('2d');
        context.drawImage(picture, -225, -115);
        return context.getImageData(0, 0, 1, 1).data[3] === 255;
    }""")


def test_a_thousand_faces_leave_the_page_alone(page: Canvas) -> None:
    put(page)
    sheet(page)
    face = " ".join(f"{x}, {y}" for x, y in POINTS)
    page.set("RestoreFlowFacesFromPoints", "points", "\n".join([face] * 1000))
    dots = page.page.locator(".rf-point")
    expect(dots).to_have_count(500)
    assert dots.first.get_attribute("aria-label") == "Face 901, left eye"
    changes = page.page.evaluate("""async () => {
        let changes = 0;
        const watcher = new MutationObserver(records => { changes += records.length; });
        const photo = document.querySelector('.rf-photo');
        watcher.observe(photo, {childList: true, subtree: true, attributes: true});
        await new Promise(done => setTimeout(done, 1200));
        watcher.disconnect();
        return changes;
    }""")
    assert changes == 0
