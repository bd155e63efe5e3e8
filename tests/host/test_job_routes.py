"""Photo jobs over the routes of a real host: asked for, watched, handed out."""

import csv
import io
import re
import sys
import zipfile
from urllib.parse import quote

import comfyui
import pytest
from caller import GRAPH, Web, refused, wait_until
from PIL import Image
from restoreflow.jobs.files import TEMPORARY
from restoreflow.jobs.folders import Folders, default_file
from restoreflow.jobs.outputs import sha256_of

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


def with_input(key: str, **inputs: object) -> dict:
    """The graph with other inputs of a node."""
    return {**GRAPH, key: {**GRAPH[key], "inputs": {**GRAPH[key]["inputs"], **inputs}}}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("graph", None, "needs a graph"),
        ("graph", [], "must be an object"),
        ("graph", {}, "API form"),
        ("graph", {"1": GRAPH["1"]}, "needs a Save Restored Photo"),
        ("graph", {**GRAPH, "3": {"class_type": "X", "inputs": []}}, "inputs of a node"),
        ("graph", with_input("1", group=1000), "group must be from 1 to 64"),
        ("graph", with_input("2", suffix="../../x"), "cannot be the name"),
        ("graph", with_input("2", suffix="\0"), "cannot be the name"),
        ("name", "\ud800", "object in JSON"),
        ("target", "/\ud800", "object in JSON"),
        ("source", 7, "must be a text"),
        ("retries", True, "must be a whole number"),
        ("retries", 11, "from 0 to 10"),
        ("limit", 0, "from 1"),
        ("auto_resume", 1, "must be true or false"),
        ("workflow", "text", "must be an object"),
    ],
)
def test_a_job_is_asked_for_in_full(web, field, value, says):
    count = len(web.ask("/jobs").json["jobs"])
    refused(web.start("never", **{field: value}), 400, says)
    assert len(web.ask("/jobs").json["jobs"]) == count


def test_a_job_from_folder_to_report(web, job):
    assert [found["id"] for found in web.ask("/jobs").json["jobs"]][-1] == job
    told = web.ask(f"/jobs/{job}").json
    assert told["job"]["counts"] == {"done": 2} and told["job"]["total"] == 2
    assert {"left", "bytes", "per_minute", "seconds_left", "limit", "auto_resume"} < set(
        told["job"]
    )
    first, second = web.ask(f"/jobs/{job}/photos").json["photos"]
    assert {photo["id"] for photo in told["latest"]} == {first["id"], second["id"]}
    assert (first["path"], first["outputs"]) == ("b.jpg", ["b_restored.jpg"])
    assert (second["path"], second["outputs"]) == ("trip/c d.png", ["trip/c d_restored.png"])
    assert second["sha256"] == [sha256_of(web.output / "made" / "trip" / "c d_restored.png")]
    assert (second["width"], second["height"], second["state"]) == (60, 40, "done")
    assert (first["notes"], second["notes"]) == ([], [])
    page = web.ask(f"/jobs/{job}/photos", after=first["place"], count=1, state=["done", "failed"])
    assert page.json["photos"] == [second]
    assert web.ask(f"/jobs/{job}/photos", state="failed").json == {"photos": []}
    refused(web.ask(f"/jobs/{job}/photos", state="odd"), 400, "no state of a photo")
    refused(web.ask(f"/jobs/{job}/photos", count="x"), 400, "whole number")


def test_photos_are_shown_before_and_after(web, job):
    photo = web.ask(f"/jobs/{job}/photos").json["photos"][1]["id"]
    for side, size in {16: (16, 11), 5000: (60, 40)}.items():
        for name in ("before", "after"):
            answer = web.ask(f"/photos/{photo}/{name}", side=side)
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert Image.open(io.BytesIO(answer.body)).size == size
    refused(web.ask(f"/photos/{photo}/before", side=0), 400, "at least 16")
    refused(web.ask(f"/photos/{photo}/after", output=1), 404, "has 1 result.")
    refused(web.ask(f"/photos/{photo}/after", output=-1), 400, "whole number")
    answer = web.ask(f"/photos/{photo}/output")
    assert answer.body == (web.output / "made" / "trip" / "c d_restored.png").read_bytes()
    name = quote("c d_restored.png", "")
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{name}"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_results_and_reports_are_handed_out(web, job):
    made = zipfile.ZipFile(io.BytesIO(web.ask(f"/jobs/{job}/result.zip").body))
    pictures = ["b_restored.jpg", "trip/c d_restored.png"]
    names = [name for path in pictures for name in (path, f"{path}.json")]
    assert made.testzip() is None and made.namelist() == [*names, "report.csv"]
    answer = web.ask(f"/jobs/{job}/report.csv")
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''made.csv"
    rows = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"))))
    assert [row["state"] for row in rows] == ["done", "done"]
    answer = web.ask(f"/jobs/{job}/report.html")
    assert answer.headers["Content-Security-Policy"] == "sandbox allow-scripts"
    assert "Content-Disposition" not in answer.headers
    assert len(re.findall(rb"<img class=(before|after) src='data:image/jpeg", answer.body)) == 4


def test_photos_of_one_name_and_what_was_lost_of_them(web):
    source = web.input / "twins"
    source.mkdir()
    Image.new("CMYK", (60, 40), (0, 90, 90, 0)).save(source / "a.jpg")
    Image.new("RGBA", (60, 40), (200, 30, 30, 99)).save(source / "a.png")
    made = with_input("2", format="jpeg", replace=True)
    number = web.start("twins", source=str(source), graph=made).json["job"]["id"]
    assert web.settled(number)["counts"] == {"done": 2}
    first, second = web.ask(f"/jobs/{number}/photos").json["photos"]
    assert first["outputs"] == ["a.jpg_restored.jpg"]
    assert second["outputs"] == ["a.png_restored.jpg"]
    assert first["notes"] == ["It is CMYK; it was converted to RGB."]
    assert second["notes"] == ["JPEG holds no transparency; the photo was laid on white."]
    for kind in ("csv", "html"):
        body = web.ask(f"/jobs/{number}/report.{kind}").body.decode()
        assert all(note in body for note in first["notes"] + second["notes"])


def test_results_do_not_come_around_the_photos(web):
    source = web.input / "around" / "photos"
    source.mkdir(parents=True)
    for target in (source, source.parent):
        answer = web.start("never", source=str(source), target=str(target))
        refused(answer, 400, "choose another output folder")


def test_a_job_is_cancelled_resumed_and_deleted(web):
    number = web.start("again", limit=1).json["job"]["id"]
    assert web.settled(number)["counts"] == {"done": 1}
    assert web.post(f"/jobs/{number}/cancel").json["job"]["state"] == "finished"
    assert web.post(f"/jobs/{number}/resume", retry_failed=True).json["job"]["id"] == number
    assert web.settled(number)["counts"] == {"done": 1}
    assert web.post(f"/jobs/{number}/delete").json == {}
    refused(web.ask(f"/jobs/{number}"), 404, "no job")
    assert (web.output / "again" / "b_restored.jpg").is_file()


def test_a_job_that_may_goes_on_when_the_host_starts(web, tmp_path):
    count, source = 200, tmp_path / "host" / "input" / "many"
    source.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8)).save(source / f"{number}.png")
    target = tmp_path / "host" / "output" / "many"

    def made() -> int:
        return len(list(target.glob("*.png")))

    with comfyui.Host(web.host.installation, tmp_path / "host") as running:
        first = Web(running, tmp_path)
        assert first.start("many", source=str(source), auto_resume=True).status == 201
        wait_until(made)
    assert made() < count
    left = tmp_path / "host" / "input" / "restoreflow" / "a trip" / f".x{TEMPORARY}"
    left.parent.mkdir(parents=True)
    left.touch()  # as by a host that ended while a photo was dropped
    with comfyui.Host(web.host.installation, tmp_path / "host"):
        wait_until(lambda: made() == count, 300)  # and nobody asks for anything
        wait_until(lambda: not left.exists())


def test_no_other_file_is_handed_out_as_a_result(web):
    source = web.input / "replaced"
    source.mkdir()
    Image.new("RGB", (8, 8)).save(source / "a.jpg")
    number = web.start("replaced", source=str(source)).json["job"]["id"]
    web.settled(number)
    photo = web.ask(f"/jobs/{number}/photos").json["photos"][0]["id"]
    Image.new("RGB", (9, 9)).save(web.output / "replaced" / "a_restored.jpg")
    for name in ("after", "output"):
        refused(web.ask(f"/photos/{photo}/{name}"), 404, "not in its folder any more as the job")


@POSIX
def test_a_link_put_in_place_of_a_photo_shows_nothing(web):
    source = web.input / "swapped"
    source.mkdir()
    Image.new("RGB", (8, 8)).save(source / "a.jpg")
    number = web.start("swapped", source=str(source)).json["job"]["id"]
    web.settled(number)
    photo = web.ask(f"/jobs/{number}/photos").json["photos"][0]["id"]
    for file in (source / "a.jpg", web.output / "swapped" / "a_restored.jpg"):
        file.unlink()
        file.symlink_to(web.home / "secret" / "key.jpg")
    for name in ("before", "after", "output"):
        refused(web.ask(f"/photos/{photo}/{name}"), 404, "not in its folder")
    made = zipfile.ZipFile(io.BytesIO(web.ask(f"/jobs/{number}/result.zip").body))
    assert "a_restored.jpg" not in made.namelist()
    assert b"data:image" not in web.ask(f"/jobs/{number}/report.html").body


def test_what_is_allowed_no_more_is_shown_no_more(web, job):
    photo = web.ask(f"/jobs/{job}/photos").json["photos"][0]["id"]
    folders = Folders(default_file())
    folders.disallow(web.photos)
    try:
        told = refused(web.ask(f"/photos/{photo}/before"), 400, "not in a folder")
        assert told["command"] == f"python run.py allow {web.photos}"
        refused(web.post(f"/jobs/{job}/resume"), 400, "not in a folder")
        assert b"data:image" not in web.ask(f"/jobs/{job}/report.html").body
        for path in (f"/jobs/{job}", f"/jobs/{job}/report.csv", f"/photos/{photo}/after"):
            assert web.ask(path).status == 200
    finally:
        folders.allow(web.photos)
