"""Before / After in the real front ends: two pictures after a run, a line that moves."""

from collections.abc import Callable

import pytest
from client import Client

pytest.importorskip("canvas", reason="Playwright is not installed")

from canvas import Canvas  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

GRAPH = """seed => {
    const put = (type, x, y) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, y];
        app.graph.add(node);
        return node;
    };
    const load = put('LoadImage', 0, 100), half = put('ImageScaleBy', 400, 100);
    const both = put('ImageBatch', 400, 350), compare = put('RestoreFlowBeforeAfter', 760, 100);
    half.widgets.find(widget => widget.name === 'scale_by').value = 0.5 + seed / 100;
    load.connect(0, half, 0);
    load.connect(0, both, 0);
    load.connect(0, both, 1);
    half.connect(0, compare, 0);
    both.connect(0, compare, 1);
}"""

SIZES = """() => [...document.querySelectorAll('.rf-stage img')]
    .map(picture => picture.naturalWidth).sort()"""


def test_two_pictures_on_the_node(page: Canvas, keep_picture: Callable[[str], None]) -> None:
    page.open_empty()
    page.page.evaluate(GRAPH, int(page.vue))
    page.wait_for_nodes(4)
    page.fit()
    page.run()
    page.page.wait_for_function(f"({SIZES})().every(Boolean)")
    small, large = page.page.evaluate(SIZES)
    assert small < large
    stage = page.page.get_by_role("slider", name="Before and after")
    box = stage.bounding_box()
    assert box["width"] > 150 and box["height"] > 120
    y = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + box["width"] / 2, y)
    zoom = page.page.evaluate("app.canvas.ds.scale")
    page.page.mouse.wheel(0, 300)
    page.page.mouse.wheel(0, -300)
    page.page.mouse.wheel(0, 300)
    page.page.wait_for_function("before => app.canvas.ds.scale < before", arg=zoom)
    page.fit()
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] * 0.3, y)
    page.page.mouse.up()
    expect(stage).to_have_attribute("aria-valuenow", "30")
    zoom = page.page.evaluate("app.canvas.ds.scale")
    page.page.mouse.wheel(0, -300)
    stage.press("ArrowLeft")
    expect(stage).to_have_attribute("aria-valuenow", "28")
    assert page.page.evaluate("app.canvas.ds.scale") == zoom, "the canvas took the wheel"
    place = page.page.locator(".rf-place")
    expect(place).to_have_text("1 / 2")
    stage.press("PageDown")
    expect(place).to_have_text("2 / 2")
    keep_picture("before_after")


def test_pictures_are_remembered_and_never_saved(page: Canvas, client: Client) -> None:
    saved = page.page.evaluate("() => app.graph.serialize()")
    (node,) = (one for one in saved["nodes"] if one["type"] == "RestoreFlowBeforeAfter")
    assert not node.get("widgets_values")
    prompt = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    (inputs,) = (
        one["inputs"] for one in prompt.values() if one["class_type"] == "RestoreFlowBeforeAfter"
    )
    assert set(inputs) == {"before", "after"}
    page.page.evaluate("async graph => { await app.loadGraphData(graph); }", saved)
    page.wait_for_nodes(4)
    page.page.wait_for_function(f"({SIZES})().length === 2 && ({SIZES})().every(Boolean)")
