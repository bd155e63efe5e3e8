"""The demo template in the real front ends: it runs, and its result brings the graph back."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from client import Client
from PIL import Image

pytest.importorskip("canvas", reason="Playwright is not installed")

from canvas import Canvas  # noqa: E402

SIZE = (128, 96)
STEPS = 4


class Result(NamedTuple):
    """Of the template's run: how often a preview was shown, the graph, the saved file."""

    previews: int
    graph: dict[str, Any]
    file: bytes


@pytest.fixture(scope="module")
def result(page: Canvas, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The demo template, opened by its address and run on a small photo."""
    photo = tmp_path_factory.mktemp("photos") / "small photo.png"
    Image.linear_gradient("L").resize(SIZE).convert("RGB").save(photo)
    page.open("restore_noisy_photo")
    page.set("LoadImage", "image", client.upload(photo))
    page.set("RestoreFlowSampleImage", "steps", STEPS)
    page.set("RestoreFlowSampleImage", "seed", int(page.vue))  # else the host has it already
    graph = page.graph()
    previews = page.run()
    page.wait_for_pictures()
    page.fit()
    (saved,) = page.results("Restored")
    return Result(previews, graph, client.get("/view", **saved))


def test_demo_template_runs_with_live_preview(
    result: Result, keep_picture: Callable[[str], None]
) -> None:
    keep_picture("restore_noisy_photo_ran")
    assert result.previews >= STEPS
    assert Image.open(io.BytesIO(result.file)).size == SIZE


def test_saved_result_brings_the_graph_back(
    result: Result, page: Canvas, keep_picture: Callable[[str], None]
) -> None:
    page.open_empty()
    page.drop("restored.png", "image/png", result.file)
    page.wait_for_nodes(len(result.graph["nodes"]))
    keep_picture("restored_dropped")
    assert page.graph() == result.graph
    assert page.unknown() == []
