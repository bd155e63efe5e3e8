"""Photo jobs in the real front ends: from a folder to a finished report."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import comfyui
import pytest
from client import Client
from demo_photos import TRIAL, add_noise
from PIL import Image

pytest.importorskip("canvas", reason="Playwright is not installed")

from canvas import Canvas  # noqa: E402
from photo_tab import PhotoTab, watched  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

MANY = 60

# A graph as a person has it who has restored single photos so far.
SINGLE = """() => {
    app.graph.clear();
    const put = (type, x) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, 200];
        app.graph.add(node);
        return node;
    };
    const load = put('LoadImage', 0);
    const invert = put('ImageInvert', 400), save = put('SaveImage', 700);
    load.connect(0, invert, 0);
    invert.connect(0, save, 0);
}"""


DRAWN = """() => [...document.querySelectorAll('.rf-latest img')]
    .every(picture => picture.naturalWidth || !picture.offsetParent)"""


@pytest.fixture(scope="module")
def album(page: Canvas, served: comfyui.Host) -> Path:
    """A folder with five photos, a sixth in a folder of its own, and one that is cut off."""
    folder = served.folder / "input" / f"album {int(page.vue)}"
    (folder / "summer").mkdir(parents=True)
    for number, photo in enumerate(TRIAL[:6]):
        place = folder / "summer" if number == 5 else folder
        Image.fromarray(add_noise(photo.clean, number)).save(place / f"{photo.name}.jpg")
    whole = (folder / "cat.jpg").read_bytes()
    (folder / "cut off.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def test_from_folder_to_finished_report(
    page: Canvas,
    album: Path,
    served: comfyui.Host,
    client: Client,
    keep_picture: Callable[[str], None],
) -> None:
    tab = PhotoTab(page)
    page.page.evaluate(SINGLE)
    page.settle()
    tab.button("Add both nodes").click()
    page.wait_for_nodes(5)
    expect(tab.button("Add both nodes")).to_be_hidden()
    tab.find("input", album.name)
    expect(tab.facts).to_have_text(re.compile(r"7 photos, \d+ kB"))
    results = served.folder / "output" / f"{album.name}_restored"
    expect(tab.results).to_have_value(str(results))
    keep_picture("jobs_new")
    tab.button("Try three photos").click()
    tab.job(f"{album.name} (3 photos to try)").reaches("Finished")
    assert len(list(results.rglob("*.jpg"))) == 3

    with watched(page, "/restoreflow/jobs") as in_flight:
        tab.start.click()
        job = tab.job(album.name)
        expect(job.element).not_to_contain_text("to try")
        job.reaches("Finished")
    assert max(in_flight) <= 2, "a poll overtakes another; a command may come between"
    expect(job.element).to_contain_text(re.compile(r"7.of.7.photos"))
    assert len(list(results.rglob("*.jpg"))) == 6 and (results / "summer").is_dir()
    job.element.get_by_text("1 photo failed").click()
    expect(job.element.locator(".rf-path")).to_have_text("cut off.jpg")
    expect(job.element.locator(".rf-reason")).to_contain_text("cut off")
    links = job.links()
    report = client.get(links["Report"]).decode()
    assert "cut off.jpg" in report and report.count("<img") >= 6
    with zipfile.ZipFile(io.BytesIO(client.get(links["Results as ZIP"]))) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".jpg")]) == 6
    assert client.get(links["Table as CSV"]).count(b".jpg") >= 7
    page.page.wait_for_function(DRAWN)
    keep_picture("jobs_finished")


def test_slider_moves_by_pointer_and_keys(
    page: Canvas, album: Path, keep_picture: Callable[[str], None]
) -> None:
    job = PhotoTab(page).job(album.name)
    box = job.slider.bounding_box()
    job.slider.click(position={"x": box["width"] / 4, "y": box["height"] / 2})
    expect(job.slider).to_have_attribute("aria-valuenow", "25")
    job.slider.press("ArrowRight")
    job.slider.press("Shift+ArrowRight")
    expect(job.slider).to_have_attribute("aria-valuenow", "37")
    job.slider.press("PageDown")
    expect(job.place).to_have_text(re.compile("^2 / "))
    job.element.get_by_role("button", name="Compare ").last.click()
    large = page.page.get_by_role("dialog", name="Before and after")
    expect(large.locator(".rf-place")).to_have_text(re.compile(r"^(\d+) / \1$"))
    page.page.wait_for_function(
        "[...document.querySelectorAll('.rf-viewer img')].every(one => one.naturalWidth)"
    )
    sheet = large.locator(".rf-sheet").first
    fitted = sheet.get_attribute("style")
    page.page.mouse.wheel(0, -400)
    expect(sheet).not_to_have_attribute("style", fitted)
    keep_picture("jobs_large")
    large.get_by_role("slider").dblclick()
    expect(sheet).to_have_attribute("style", fitted)
    page.page.keyboard.press("Escape")
    expect(large).to_be_hidden()


def test_job_pauses_resumes_and_is_there_after_a_reload(
    page: Canvas, album: Path, served: comfyui.Host
) -> None:
    many = served.folder / "input" / f"many {int(page.vue)}"
    many.mkdir()
    for number in range(MANY):
        Image.new("RGB", (640, 480), (number, 80, 120)).save(many / f"{number}.png")
    tab = PhotoTab(page)
    tab.enter(many)
    tab.start.click()
    job = tab.job(many.name)
    job.button("Pause").click()
    job.reaches("Paused")
    expect(job.button("Resume")).to_be_focused()

    page.open_empty()
    job = PhotoTab(page).job(many.name)
    job.reaches("Paused")
    PhotoTab(page).job(album.name).reaches("Finished")
    job.button("Resume").click()
    job.reaches("Finished")
    expect(job.element).to_contain_text(re.compile(rf"{MANY}.of.{MANY}.photos"))
    page.page.wait_for_function(DRAWN)  # or the host would be asked for pictures it has forgotten
    job.button("Forget…").click()
    expect(job.button("Keep")).to_be_focused()
    job.button("Forget").click()
    expect(job.element).to_have_count(0)


def test_nodes_on_an_empty_canvas_wait_for_their_wires(page: Canvas) -> None:
    tab = PhotoTab(page)
    page.page.evaluate("app.graph.clear()")
    tab.button("Add both nodes").click()
    page.wait_for_nodes(2)
    expect(tab.element.get_by_text("Wire Job Photo into your graph")).to_be_visible()
    page.page.evaluate("""() => {
        const [first, save] = app.graph._nodes;
        first.connect(0, save, 0);
    }""")
    tab.element.hover(position={"x": 5, "y": 5})
    expect(tab.element.get_by_text("Wire Job Photo into your graph")).to_be_hidden()


def test_a_closed_tab_asks_for_nothing(page: Canvas) -> None:
    tab = PhotoTab(page)
    tab.toggle()
    expect(tab.element).to_be_hidden()
    with watched(page, "/restoreflow/") as in_flight:
        page.page.wait_for_timeout(6000)  # the tab's longest pause is 5 s
    assert in_flight == []
