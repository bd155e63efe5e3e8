"""Photo jobs in the real front ends: from a folder to a finished report."""

import io
import os
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
from playwright.sync_api import Route, expect  # noqa: E402

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
    expect(job.element.locator(".rf-reason")).to_contain_text("is damaged or cut off")
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


@pytest.mark.parametrize("width", [320, 0])
def test_a_narrow_tab_is_whole(
    page: Canvas, album: Path, keep_picture: Callable[[str], None], width: int
) -> None:
    """At 320 points, and as narrow as the front end lets anybody draw it."""
    tab = PhotoTab(page)
    job = tab.job(album.name)
    window = page.page.viewport_size
    page.page.set_viewport_size({"width": 1280, "height": 1300})
    wide = tab.element.bounding_box()["width"]
    narrow = tab.draw(width)
    assert narrow <= 330
    expect(job.element.get_by_text("1 photo failed")).to_be_visible()
    job.slider.scroll_into_view_if_needed()
    expect(job.element.locator(".rf-fact")).to_have_count(3)  # each whole where there is room
    assert "\u00a0" not in job.element.locator(".rf-facts").inner_text()
    assert tab.cut() == []
    for name in ("Run again", "Retry 1 photo", "Forget…", "Next", "1:1", "Fit", "Open large"):
        job.button(name).click(trial=True)
    keep_picture(f"jobs_narrow_{width}")
    tab.draw(wide)
    page.page.set_viewport_size(window)


def test_names_of_any_kind_stay_in_their_places(
    page: Canvas, served: comfyui.Host, keep_picture: Callable[[str], None]
) -> None:
    odd = served.folder / "input" / f"odd {int(page.vue)}"
    odd.mkdir()
    names = [f"{'w' * 200}.jpg", "\u05e9\u05dc\u05d5\u05dd.jpg", "a\u202egpj.b.jpg"]
    if os.name != "nt":
        names.append("\x1b[2Jc\x07.jpg")
    for name in names:
        (odd / name).write_bytes(b"no photo")
    tab = PhotoTab(page)
    tab.enter(odd)
    tab.name.fill(f"{odd.name} \u202e\u05e9 {'w' * 100}")
    tab.start.click()
    job = tab.job(odd.name)
    job.reaches("Finished")
    job.element.get_by_text(f"{len(names)} photos failed").click()
    paths = job.element.locator(".rf-path")
    expect(paths).to_have_count(len(names))
    shown = paths.all_inner_texts()
    assert names[0] in shown and names[1] in shown and r"a\u202egpj.b.jpg" in shown
    assert os.name == "nt" or r"\u001b[2Jc\u0007.jpg" in shown
    assert job.element.locator(".rf-name").first.inner_text().startswith(rf"{odd.name} \u202e")
    assert tab.cut() == []
    keep_picture("jobs_names")


def test_photos_that_vanish_and_notes_are_shown(page: Canvas, served: comfyui.Host) -> None:
    """A job as its server might tell of it."""
    folder = served.folder / "input" / f"noted {int(page.vue)}"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (number, 80, 120)).save(folder / f"{number}.png")
    (folder / "bad.png").write_bytes(b"no photo")
    tab = PhotoTab(page)
    tab.enter(folder)
    tab.start.click()
    job = tab.job(folder.name)
    job.reaches("Finished")
    expect(job.element.get_by_text("1 photo failed")).to_be_visible()
    expect(job.element.get_by_text("with a note")).to_be_hidden()
    (folder / "bad.png").unlink()
    number = job.links()["Report"].split("/")[-2]

    def add_notes(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        for photo in told["latest"][:2]:
            photo["notes"] = ["PNG holds no IPTC; it was left out."]
        route.fulfill(response=answer, json=told)

    page.page.route(f"**/restoreflow/jobs/{number}", add_notes)
    job.button("Run again").click()
    expect(job.element.locator(".rf-facts")).to_contain_text("1 gone")
    job.element.get_by_text("1 photo gone").click()
    expect(job.element.get_by_text("It was removed from the folder")).to_be_visible()
    job.element.get_by_text("2 photos with a note, of the last 3").click()
    expect(job.element.get_by_text("PNG holds no IPTC; it was left out.").first).to_be_visible()
    page.page.unroute(f"**/restoreflow/jobs/{number}")


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
