"""Both front ends, each in the classic canvas and in Nodes 2.0, on one page for a whole file."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import comfyui
import environment
import pytest

canvas = pytest.importorskip("canvas", reason="Playwright is not installed")

from client import Client  # noqa: E402


@pytest.fixture(scope="session")
def newest_host(
    host: comfyui.Host, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[comfyui.Host]:
    """A second ComfyUI, with the newest front end instead of its own."""
    folder = tmp_path_factory.mktemp("newest")
    front_end = environment.newest_front_end()
    with comfyui.Host(host.installation, folder, front_end=front_end) as running:
        yield running


@pytest.fixture(scope="session", params=["host", "newest_host"], ids=["own", "newest"])
def served(request: pytest.FixtureRequest) -> comfyui.Host:
    """A ComfyUI with its own front end, then one with the newest."""
    if canvas.browser() is None:
        pytest.skip("no Chromium was found: install it, or set RESTOREFLOW_BROWSER")
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def client(served: comfyui.Host) -> Client:
    """A client of that ComfyUI."""
    return Client(served.url)


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes2"])
def page(request: pytest.FixtureRequest, client: Client) -> Iterator[canvas.Canvas]:
    """An empty page of it, in the classic canvas, then in Nodes 2.0."""
    with canvas.canvas(client, vue=request.param, width=2400, height=1300) as opened:
        opened.open_empty()
        yield opened


@pytest.fixture(autouse=True)
def quiet_console(page: canvas.Canvas) -> Iterator[None]:
    """Fails a test in which the console spoke of the pack."""
    page.errors.clear()
    yield
    assert page.own_errors == []


@pytest.fixture
def keep_picture(
    page: canvas.Canvas, request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str], None]:
    """Takes a screenshot, into the folder RESTOREFLOW_SCREENSHOTS if that is set."""
    folder = Path(os.environ.get("RESTOREFLOW_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    front_end, mode = request.node.callspec.id.split("-")[:2]

    def take(name: str) -> None:
        page.page.screenshot(path=folder / f"{name}_{front_end}_{mode}.png")

    return take
