"""What a job's report says, as a table and to be looked at, whatever files may be called."""

import base64
import csv
import hashlib
import io
import re
import time
import tracemalloc
from html.parser import HTMLParser

import numpy as np
import pytest
from job_host import graph
from PIL import Image
from restoreflow.jobs import contact_sheet as sheets
from restoreflow.jobs.contact_sheet import contact_sheet
from restoreflow.jobs.ledger import Ledger
from restoreflow.jobs.progress import page
from restoreflow.jobs.report import COLUMNS, csv_report, photo_facts
from restoreflow.jobs.rows import Settings
from restoreflow.jobs.scan import Found, scan

NASTY = "<img src=x onerror=alert(1)>'\"&.png"


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "user" / "jobs.sqlite")
    yield ledger
    ledger.database.close()


def create(ledger, place, *names: str, name: str = "a job"):
    """A job with these photos waiting, which exist if there is a folder `in`."""
    job = ledger.create(name, graph(), place / "in", place / "out", Settings())
    if (place / "in").is_dir():
        for one in names:
            (place / "in" / one).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 40), (200, 30, 30)).save(place / "in" / one)
        found = scan(place / "in", {".png", ".jpg"})
    else:
        found = [Found(one, 10, 1) for one in names]
    ledger.merge(job.id, ledger.begin_scan(job.id), found)
    return job


def finish(ledger, job, path: str, node: str = "10", **measures: float) -> str:
    """Make a photo done; the sha256 of its output."""
    photo = next(p for p in page(ledger, job.id, count=10**6) if p.path == path)
    ledger.set_size(photo.id, 60, 40)
    file = job.target / f"{path}.{node}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (30, 200, 30)).save(file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    place = file.relative_to(job.target).as_posix()
    ledger.outputs.announce(photo.id, node, place, sha256)
    ledger.outputs.commit(photo.id, node, 1.23456, time.time())
    for name, value in measures.items():
        ledger.record(photo.id, name, value)
    return sha256


def fail(ledger, job, path: str, reason: str) -> None:
    photo = next(p for p in page(ledger, job.id, count=10**6) if p.path == path)
    ledger.queue([photo.id])
    ledger.fail(photo.id, reason, 0)


def table(ledger, job) -> list[dict[str, str]]:
    data = b"".join(csv_report(ledger, job))
    assert data.startswith("\ufeff".encode()) and data.endswith(b"\r\n")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))


class Page(HTMLParser):
    """The tags, their attributes and the text of a page."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_table_says_all_that_the_ledger_knows(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png", "Grüße/b, 1.png", "c.png", "d.png")
    first = finish(ledger, job, "a.png", psnr=30.5, other=2)
    second = finish(ledger, job, "Grüße/b, 1.png", psnr=float("nan"))
    ledger.outputs.announce(2, "9", "old.png", "0" * 64)  # not done
    ledger.outputs.note(1, "", ["It is CMYK.", "It is odd."])
    fail(ledger, job, "c.png", 'c.png is "cut", off:\ncopy it again.')
    rows = table(ledger, job)
    assert list(rows[0]) == [*COLUMNS, "other", "psnr"]
    by_path = {row["path"]: row for row in rows}
    assert by_path["a.png"] == {
        "path": "a.png", "state": "done", "attempts": "1", "seconds": "1.235", "width": "60",
        "height": "40", "outputs": "a.png.10.png", "output sha256": first, "error": "",
        "notes": "It is CMYK. It is odd.", "other": "2.0", "psnr": "30.5",
    }  # fmt: skip
    assert by_path["Grüße/b, 1.png"]["output sha256"] == second
    assert by_path["Grüße/b, 1.png"]["psnr"] == ""
    assert by_path["c.png"]["error"] == 'c.png is "cut", off:\ncopy it again.'
    assert (by_path["c.png"]["state"], by_path["c.png"]["attempts"]) == ("failed", "1")
    assert (by_path["d.png"]["state"], by_path["d.png"]["seconds"]) == ("waiting", "")


def test_several_outputs_share_a_cell(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png")
    sums = [finish(ledger, job, "a.png", node) for node in ("10", "11")]
    (row,) = table(ledger, job)
    assert row["outputs"] == "a.png.10.png | a.png.11.png"
    assert row["output sha256"] == " | ".join(sums)
    facts = photo_facts(ledger, page(ledger, job.id)[0])
    assert (facts["outputs"], facts["sha256"]) == (row["outputs"].split(" | "), sums)


def test_what_was_lost_is_told_once_and_of_the_last_attempt_only(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png", "b.png")
    finish(ledger, job, "a.png")
    first, second = (photo.id for photo in page(ledger, job.id))
    for notes in (["It was CMYK."], ["It is grey."]):
        ledger.outputs.note(first, "", notes)
    for node in ("10", "11"):
        ledger.outputs.announce(first, node, f"{node}.png", "0" * 64, ["PNG holds no IPTC."])
    assert ledger.outputs.notes(first) == ["It is grey.", "PNG holds no IPTC."]
    ledger.outputs.skip(second, first)
    facts = [photo_facts(ledger, photo)["notes"] for photo in page(ledger, job.id)]
    assert facts == [["It is grey.", "PNG holds no IPTC."]] * 2
    listed = Page(b"".join(contact_sheet(ledger, job, pictures=False)))
    assert listed.texts.count("It is grey. PNG holds no IPTC.") == 2
    ledger.outputs.announce(first, "10", "10.png", "0" * 64)
    ledger.outputs.announce(first, "11", "11.png", "0" * 64)
    assert ledger.outputs.notes(first) == ["It is grey."]
    ledger.delete(job.id)
    assert ledger.outputs.notes(first) == []


def test_the_sheet_tells_beside_a_photo_what_was_lost(ledger, tmp_path):
    (tmp_path / "in").mkdir()
    job = create(ledger, tmp_path, "a.png")
    finish(ledger, job, "a.png")
    ledger.outputs.note(1, "", [f"It has {NASTY}."])
    found = Page(b"".join(contact_sheet(ledger, job)))
    assert f"It has {NASTY}." in found.texts and len(found.all("img")) == 2


@pytest.mark.parametrize("limit", [1, 3])
def test_a_dry_run_is_told(ledger, tmp_path, limit):
    settings = Settings(limit=limit)
    job = ledger.create("dry", graph(), tmp_path / "in", tmp_path / "out", settings)
    told = "the first photo" if limit == 1 else "the first 3 photos"
    assert told in Page(b"".join(contact_sheet(ledger, job))).texts


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
def test_no_name_is_a_formula(ledger, tmp_path, start):
    name = f'{start}HYPERLINK("http://evil","x").png'
    job = create(ledger, tmp_path, name)
    fail(ledger, job, name, f"{name} is bad.")
    (row,) = table(ledger, job)
    assert (row["path"], row["error"]) == (f"'{name}", f"'{name} is bad.")


def test_numbers_may_be_negative(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png")
    finish(ledger, job, "a.png", change=-0.5)
    assert table(ledger, job)[0]["change"] == "-0.5"


def test_the_sheet_shows_failures_then_before_and_after(ledger, tmp_path):
    (tmp_path / "in").mkdir()
    job = create(ledger, tmp_path, "a.png", "b.png", "c.png", "d.png")
    for path in ("a.png", "c.png"):
        finish(ledger, job, path, psnr=30.5)
    fail(ledger, job, "b.png", "b.png is damaged: copy it again.")
    ledger.set_state(job.id, "paused", "The disk was full.")
    (tmp_path / "out" / "c.png.10.png").unlink()
    text = b"".join(contact_sheet(ledger, ledger.job(job.id))).decode()
    found = Page(text.encode())
    order = ["The disk was full.", "b.png is damaged: copy it again.", "30.5", "a.png", "d.png"]
    places = [found.texts.index(part) for part in order]
    assert places == sorted(places)
    images = found.all("img")
    assert [image["class"] for image in images] == ["before", "after", "before"]
    assert [attributes["class"] for attributes in found.all("div")][-2:] == ["pair", "pair alone"]
    for image in images:
        kind, data = image["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (60, 40)


def test_the_sheet_loads_nothing_and_runs_its_own_script_only(ledger, tmp_path):
    (tmp_path / "in").mkdir()
    job = create(ledger, tmp_path, "a.png", NASTY, name=f"</title></style>{NASTY}")
    for path in ("a.png", NASTY):
        finish(ledger, job, path, **{f"</bdi>{NASTY}": 1})
    text = b"".join(contact_sheet(ledger, job))
    found = Page(text)
    links = [v for _, a in found.tags for k, v in a.items() if k in ("src", "href", "srcset")]
    assert links and all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert not any(name.startswith("on") for _, a in found.tags for name in a)
    assert NASTY in found.texts and len(found.all("img")) == 4
    assert len(found.all("script")) == 1 and b"url(" not in text and b"@import" not in text
    script = re.search(rb"<script>(.*)</script>", text, re.S)[1]
    known = base64.b64encode(hashlib.sha256(script).digest()).decode()
    (policy,) = [a["content"] for a in found.all("meta") if "http-equiv" in a]
    assert f"script-src 'sha256-{known}'" in policy and "default-src 'none'" in policy


def test_the_sheet_shows_no_other_file_as_a_result(ledger, tmp_path):
    (tmp_path / "in").mkdir()
    job = create(ledger, tmp_path, "a.png")
    finish(ledger, job, "a.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "out" / "a.png.10.png")
    found = Page(b"".join(contact_sheet(ledger, job)))
    assert [image["class"] for image in found.all("img")] == ["before"]


def test_the_sheet_counts_one_photo_and_few_bytes(ledger, tmp_path):
    texts = Page(b"".join(contact_sheet(ledger, create(ledger, tmp_path, "a.png")))).texts
    assert texts[texts.index("10 bytes") + 1] == "in all"
    assert texts[texts.index("photo") - 1] == "1" and "photos" not in texts[texts.index("photo") :]
    assert [sheets._size(n) for n in (999, 1500, 2.5e6, 3e9)] == [
        "999 bytes", "1.5 kB", "2.5 MB", "3.0 GB",
    ]  # fmt: skip


def test_without_leave_nothing_is_shown_but_all_is_listed(ledger, tmp_path):
    (tmp_path / "in").mkdir()
    job = create(ledger, tmp_path, "a.png")
    finish(ledger, job, "a.png")
    found = Page(b"".join(contact_sheet(ledger, job, pictures=False)))
    assert not found.all("img") and "a.png" in found.texts


def test_so_many_are_shown_and_the_others_listed(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "PICTURES", 2)
    (tmp_path / "in").mkdir()
    names = [f"{number}.png" for number in range(4)]
    job = create(ledger, tmp_path, *names)
    for name in names:
        finish(ledger, job, name)
    found = Page(b"".join(contact_sheet(ledger, job)))
    assert len(found.all("figure")) == 2
    assert [found.texts.count(name) for name in names] == [1, 1, 1, 1]


def test_a_job_without_photos_has_a_report(ledger, tmp_path):
    job = create(ledger, tmp_path)
    assert table(ledger, job) == []
    assert Page(b"".join(contact_sheet(ledger, job))).all("h1")


def test_ten_thousand_photos_take_the_memory_of_a_few(ledger, tmp_path):
    job = create(ledger, tmp_path, *(f"{number}.png" for number in range(10_000)))
    with ledger.database.writing() as connection:
        connection.execute("UPDATE photo SET state = 'done', seconds = 1 WHERE id > 5000")
        connection.execute("INSERT INTO measure SELECT id, 'psnr', 30.0 FROM photo")
    for make in (csv_report, contact_sheet):
        tracemalloc.start()
        lengths = np.array([len(part) for part in make(ledger, job)])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(lengths) > 10_000 and peak < 3e6, make
