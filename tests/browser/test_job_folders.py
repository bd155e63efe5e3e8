"""The photos of a job, in the real front ends: dropped, chosen from the disk, or refused."""

from collections.abc import Callable
from pathlib import Path

import comfyui
import pytest
from caller import GRAPH
from job_server import JobServer, Order
from PIL import Image

pytest.importorskip("canvas", reason="Playwright is not installed")

from canvas import Canvas  # noqa: E402
from photo_tab import PhotoTab, watched  # noqa: E402
from playwright.sync_api import expect  # noqa: E402


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with eight photos, some of them in a folder of their own, and a text."""
    folder = tmp_path / "holiday"
    (folder / "sea").mkdir(parents=True)
    for number in range(8):
        place = folder / "sea" if number > 5 else folder
        Image.new("RGB", (300, 200), (30 * number, 90, 200)).save(place / f"{number}.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The photos below a folder, by their paths in it."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*.png")}


def test_dropped_photos_are_sent_to_the_host(
    page: Canvas, photos: Path, served: comfyui.Host
) -> None:
    tab = PhotoTab(page)
    files = sorted(one for one in photos.iterdir() if one.is_file())
    kinds = {".png": "image/png", ".txt": "text/plain"}
    tab.drop(*((one.name, kinds[one.suffix], one.read_bytes()) for one in files))
    expect(tab.facts).to_contain_text("6 photos")
    folder = Path(tab.photos.input_value())
    assert folder.parent == served.folder / "input" / "restoreflow"
    assert contents(folder) == {one.name: one.read_bytes() for one in photos.glob("*.png")}


def test_folder_from_the_disk_keeps_its_tree(
    page: Canvas, photos: Path, served: comfyui.Host
) -> None:
    tab = PhotoTab(page)
    with watched(page, "/restoreflow/drop") as in_flight:
        with page.page.expect_file_chooser() as asked:
            tab.button("Folder…").click()
        asked.value.set_files(photos)
        expect(tab.facts).to_contain_text("8 photos")
    assert len(in_flight) == 8 and max(in_flight) <= 3
    folder = Path(tab.photos.input_value())
    assert folder.name.startswith("holiday ") and contents(folder) == contents(photos)
    expect(tab.results).to_have_value(str(served.folder / "output" / f"{folder.name}_restored"))


def test_results_of_two_folders_of_one_name_are_kept_apart(
    page: Canvas, photos: Path, served: comfyui.Host
) -> None:
    tab = PhotoTab(page)
    name = photos.parent.name
    places = [served.folder / "input" / year / name for year in ("2019", "2020")]
    for place in places:
        place.mkdir(parents=True)
        Image.new("RGB", (30, 20)).save(place / "a.png")
    output = served.folder / "output" / f"{name}_restored"
    JobServer(served.url).create(Order("2019", GRAPH), str(places[0]), str(output))
    for place, suggested in zip(places, (output, f"{output}_2"), strict=True):
        tab.enter(place)
        expect(tab.results).to_have_value(str(suggested))


def test_folder_that_is_not_allowed_shows_the_command(
    page: Canvas, tmp_path: Path, keep_picture: Callable[[str], None]
) -> None:
    tab = PhotoTab(page)
    tab.enter(tmp_path)
    command = f"python run.py allow {tmp_path}"
    expect(tab.alert.get_by_role("code")).to_have_text(command)
    expect(tab.start).to_be_disabled()
    keep_picture("jobs_refused")
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.alert.get_by_role("button").click()
    expect(tab.alert.get_by_role("button")).to_have_text("Copied")
    assert page.page.evaluate("navigator.clipboard.readText()") == command
    page.errors.clear()  # the browser notes every answer that is no success


def test_a_job_of_the_command_line_says_why_it_shows_no_pictures(
    page: Canvas, photos: Path, served: comfyui.Host, keep_picture: Callable[[str], None]
) -> None:
    server = JobServer(served.url)
    assert server.authorise()
    order = Order(f"by command {int(page.vue)}", GRAPH)
    server.create(order, str(photos), str(photos.parent / "results"))
    job = PhotoTab(page).job(order.name)
    job.reaches("Finished")
    head = job.element.get_by_role("button", name=order.name)
    if head.get_attribute("aria-expanded") == "false":  # a tab's first job opens by itself
        head.click()
    expect(job.element.get_by_text("Its pictures are not shown: ")).to_be_visible()
    expect(job.element.get_by_role("code")).to_have_text(f"python run.py allow {photos}")
    expect(job.slider).to_be_hidden()
    keep_picture("jobs_by_command")
    job.button("Forget…").click()
    job.button("Forget").click()
    expect(job.element).to_have_count(0)
    page.errors.clear()
