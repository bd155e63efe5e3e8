"""A job's results as a ZIP that never lies anywhere."""

import csv
import hashlib
import io
import os
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from job_host import graph
from restoreflow.jobs.archive import archive
from restoreflow.jobs.ledger import Ledger
from restoreflow.jobs.progress import page
from restoreflow.jobs.rows import Settings
from restoreflow.jobs.scan import Found


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "user" / "jobs.sqlite")
    yield ledger
    ledger.database.close()


def create(ledger, place: Path, *names: str):
    job = ledger.create("a job", graph(), place / "in", place / "out", Settings())
    ledger.merge(job.id, ledger.begin_scan(job.id), [Found(name, 10, 1) for name in names])
    return job


def finish(ledger, job, path: str, data: bytes) -> Path:
    """Make a photo done with that output, whose file is returned."""
    photo = next(p for p in page(ledger, job.id) if p.path == path)
    file = job.target / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    ledger.outputs.announce(photo.id, "10", path, hashlib.sha256(data).hexdigest())
    ledger.outputs.commit(photo.id, "10", 1.0, time.time())
    return file


def opened(ledger, job) -> zipfile.ZipFile:
    made = zipfile.ZipFile(io.BytesIO(b"".join(archive(ledger, job))))
    assert made.testzip() is None
    return made


def test_it_holds_what_is_done_at_its_place(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png", "Grüße/b 1.png", "c.png", "d.png")
    finish(ledger, job, "a.png", b"A" * 3_000_000)
    note = finish(ledger, job, "Grüße/b 1.png", b"B").with_name("b 1.png.json")
    note.write_text("{}")
    (job.target / "c.png").write_bytes(b"a stranger")
    (job.target / "e.png").write_bytes(b"another")
    made = opened(ledger, job)
    assert made.namelist() == ["a.png", "Grüße/b 1.png", "Grüße/b 1.png.json", "report.csv"]
    assert made.read("a.png") == b"A" * 3_000_000 and made.read("Grüße/b 1.png") == b"B"
    assert {info.compress_type for info in made.infolist()} == {zipfile.ZIP_STORED}
    rows = list(csv.DictReader(io.StringIO(made.read("report.csv").decode("utf-8-sig"))))
    assert [row["state"] for row in rows] == ["done", "waiting", "waiting", "done"]


def test_what_was_removed_or_changed_is_left_out(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png", "b.png", "c.png", "d.png")
    files = [finish(ledger, job, f"{name}.png", name.encode()) for name in "abcd"]
    files[0].unlink()
    files[1].write_bytes(b"longer")
    os.utime(files[2])  # touched, and the same all the same
    files[3].unlink()
    files[3].mkdir()
    assert opened(ledger, job).namelist() == ["c.png", "report.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_no_link_leads_out_of_the_folder(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png", "b.png")
    secret = tmp_path / "secret"
    secret.write_bytes(b"a")
    for name in ("a.png", "b.png"):
        file = finish(ledger, job, name, b"a")
        stamp = file.stat().st_mtime_ns
        os.utime(secret, ns=(stamp, stamp))
        file.unlink()
    (job.target / "a.png").symlink_to(secret)
    (job.target / "a.png.json").symlink_to(secret)
    assert opened(ledger, job).namelist() == ["report.csv"]


def test_old_dates_are_moved_to_where_zip_begins(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png")
    os.utime(finish(ledger, job, "a.png", b"a"), (0, 0))
    assert opened(ledger, job).getinfo("a.png").date_time[0] == 1980


def test_it_takes_the_memory_of_a_piece(ledger, tmp_path):
    job = create(ledger, tmp_path, "a.png")
    finish(ledger, job, "a.png", bytes(64 << 20))
    tracemalloc.start()
    length = sum(map(len, archive(ledger, job)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length > 64 << 20 and peak < 6 << 20


def test_beyond_four_gigabytes_a_file_is_still_one(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    job = create(ledger, tmp_path, "a.png", "b.png")
    for name in ("a.png", "b.png"):
        finish(ledger, job, name, name.encode() * 1000)
    assert opened(ledger, job).read("b.png") == b"b.png" * 1000
