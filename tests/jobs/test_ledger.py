"""The ledger: what is kept, counted, recovered and recognised."""

import hashlib
import os
import sqlite3
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from job_host import graph
from restoreflow.jobs import database
from restoreflow.jobs.database import Database, LedgerError
from restoreflow.jobs.ledger import CRASHES, Ledger
from restoreflow.jobs.progress import page, progress
from restoreflow.jobs.rows import Job, Photo, Settings
from restoreflow.jobs.scan import Found


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    ticks = count(1000)
    ledger = Ledger(tmp_path / "user" / "jobs.sqlite", clock=lambda: float(next(ticks)))
    yield ledger
    ledger.database.close()


def create(ledger: Ledger, place: Path, *found: Found, made: dict | None = None, **settings) -> Job:
    job = ledger.create("a job", made or graph(), place, place / "out", Settings(**settings))
    ledger.merge(job.id, ledger.begin_scan(job.id), found)
    return job


def photos(ledger: Ledger, job: Job, *states: str) -> list[Photo]:
    return page(ledger, job.id, states)


def states(ledger: Ledger, job: Job) -> dict[str, str]:
    return {photo.path: photo.state for photo in photos(ledger, job)}


def save(ledger: Ledger, job: Job, photo: Photo, data: bytes = b"made", node: str = "10") -> bool:
    """Play a Save node; whether the photo is done."""
    name = f"{photo.path}.{node}"
    ledger.outputs.announce(photo.id, node, name, hashlib.sha256(data).hexdigest())
    job.target.mkdir(exist_ok=True)
    (job.target / name).write_bytes(data)
    return ledger.outputs.commit(photo.id, node, 0.5, ledger.clock())


def test_nothing_is_opened_before_it_is_asked(tmp_path):
    Ledger(tmp_path / "user" / "jobs.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_job_comes_back_as_it_was_told(ledger, tmp_path):
    settings = Settings(retries=1, group=3, limit=5, auto_resume=True)
    job = ledger.create("Grüße", graph(saves=2), tmp_path / "in", tmp_path / "out", settings)
    assert (job.settings, job.graph, job.saves) == (settings, graph(saves=2), 2)
    assert (job.source, job.target) == (tmp_path / "in", tmp_path / "out")
    assert ledger.jobs() == [job] == ledger.jobs("running", "paused") and not ledger.jobs("paused")
    ledger.delete(job.id)
    assert ledger.create("x", graph(), tmp_path, tmp_path / "o", settings).id > job.id
    for missing in (ledger.job, ledger.photo):
        with pytest.raises(LedgerError, match="There is no"):
            missing(job.id)


def test_listing_jobs_reads_no_graph(ledger, tmp_path, monkeypatch):
    create(ledger, tmp_path)
    with monkeypatch.context() as context:
        context.setattr(Job, "graph", None)
        (job,) = ledger.jobs()
    assert job.graph == graph()


def test_deleting_a_job_deletes_its_rows(ledger, tmp_path):
    job = create(ledger, tmp_path, Found("a", 1, 1))
    (photo,) = photos(ledger, job)
    save(ledger, job, photo)
    ledger.record(photo.id, "psnr", float("nan"))
    ledger.delete(job.id)
    for table in ("job", "photo", "output", "measure"):
        query = f"SELECT count(*) FROM {table}"
        assert ledger.database.connection().execute(query).fetchone()[0] == 0
    assert ledger.outputs.commit(photo.id, "10", 1, 1)  # a late report is no error


def test_the_order_and_what_a_rescan_changes(ledger, tmp_path):
    names = ["10.jpg", "a/2.jpg", "2.jpg", "a/10.jpg"]
    job = create(ledger, tmp_path, *(Found(name, 1, 1) for name in names))
    assert list(states(ledger, job)) == ["2.jpg", "10.jpg", "a/2.jpg", "a/10.jpg"]
    two, ten, far, _ = photos(ledger, job)
    ledger.queue([two.id])
    save(ledger, job, two)
    ledger.queue([ten.id])
    ledger.fail(far.id, "broken", retries=0)
    scan = ledger.begin_scan(job.id)
    found = [Found("2.jpg", 1, 1), Found("10.jpg", 9, 9), Found("a/2.jpg", 1, 2)]
    ledger.merge(job.id, scan, [*found, Found("3.jpg", 1, 1)])
    ledger.end_scan(job.id, scan, "b: unreadable")
    assert states(ledger, job) == {
        "2.jpg": "done",
        "3.jpg": "waiting",
        "10.jpg": "queued",
        "a/2.jpg": "waiting",
        "a/10.jpg": "gone",
    }
    assert ledger.photo(ten.id).size == 1  # as it was queued; the next scan sees the change
    assert ledger.photo(far.id).attempts == 0 and ledger.job(job.id).left_out == "b: unreadable"
    scan = ledger.begin_scan(job.id)
    ledger.merge(job.id, scan, [Found("a/10.jpg", 1, 1)])
    ledger.end_scan(job.id, scan, None)
    assert states(ledger, job)["a/10.jpg"] == "waiting" and states(ledger, job)["3.jpg"] == "gone"


def test_attempts_are_counted_and_bounded(ledger, tmp_path):
    job = create(ledger, tmp_path, Found("a", 1, 1), Found("b", 1, 1))
    first = photos(ledger, job)[0].id
    for attempt in (1, 2, 3):
        assert ledger.photo(first).state == "waiting"
        ledger.queue([first])
        ledger.take_back([first])  # counts for nothing
        ledger.queue([first])
        ledger.fail(first, f"no {attempt}", retries=2)
        assert ledger.waiting(job.id, 9)[0].path == "b"  # what failed waits behind the others
    assert (ledger.photo(first).state, ledger.photo(first).error) == ("failed", "no 3")
    ledger.fail(first, "late", retries=2)
    assert ledger.photo(first).error == "no 3"
    ledger.forgive(job.id)
    assert (ledger.photo(first).state, ledger.photo(first).attempts) == ("waiting", 0)


def test_a_photo_is_done_with_its_last_output(ledger, tmp_path):
    job = create(ledger, tmp_path, Found("a", 1, 1), made=graph(saves=2))
    (photo,) = photos(ledger, job)
    ledger.queue([photo.id])
    assert not save(ledger, job, photo, node="10")
    assert states(ledger, job) == {"a": "queued"}
    assert save(ledger, job, photo, node="11")
    done = ledger.photo(photo.id)
    assert (done.state, done.seconds, done.error) == ("done", 0.5, None)
    ledger.queue([photo.id])  # again: what was saved before counts no more
    assert not save(ledger, job, photo, node="11")


def test_recovery_after_an_end_at_any_moment(ledger, tmp_path):
    found = [Found(name, 1, 1) for name in ("announced", "done", "named", "queued", "waiting")]
    job = create(ledger, tmp_path, *found)
    paused = create(ledger, tmp_path, Found("x", 1, 1))
    ledger.set_state(paused.id, "paused")
    rows = {photo.path: photo for photo in photos(ledger, job)}
    ledger.queue([rows[name].id for name in ("announced", "done", "named", "queued")])
    ledger.queue([photos(ledger, paused)[0].id])
    save(ledger, job, rows["done"])
    sha256 = hashlib.sha256(b"made").hexdigest()
    for name in ("announced", "named"):
        ledger.outputs.announce(rows[name].id, "10", name, sha256)
    (job.target / "named").write_bytes(b"made")
    (job.target / "announced").write_bytes(b"half")
    ledger.database.close()
    assert [one.id for one in ledger.recover()] == [job.id]
    assert states(ledger, job) == {
        "announced": "waiting", "done": "done", "named": "done", "queued": "waiting",
        "waiting": "waiting",
    }  # fmt: skip
    assert states(ledger, paused) == {"x": "waiting"}
    assert [ledger.job(one.id).state for one in (job, paused)] == ["interrupted", "paused"]
    assert ledger.photo(rows["queued"].id).attempts == 0 and ledger.recover() == []


def test_a_photo_that_ends_the_host_again_and_again_fails(ledger, tmp_path):
    job = create(ledger, tmp_path, Found("a", 1, 1))
    (photo,) = photos(ledger, job)
    for _ in range(CRASHES):
        assert states(ledger, job) == {"a": "waiting"}
        ledger.queue([photo.id])
        ledger.recover()
    assert states(ledger, job) == {"a": "failed"}
    assert "ended 10 times" in ledger.photo(photo.id).error


def test_photos_that_the_host_ended_with_come_last_and_alone(ledger, tmp_path):
    job = create(ledger, tmp_path, *(Found(name, 1, 1) for name in "abc"))
    ledger.queue([photo.id for photo in photos(ledger, job)[:2]])
    ledger.recover()
    assert [photo.path for photo in ledger.waiting(job.id, 3)] == ["c", "a", "b"]
    assert [photo.alone for photo in ledger.waiting(job.id, 3)] == [0, 1, 1]


def test_own_files_are_known_by_all_that_was_announced(ledger, tmp_path):
    job = create(ledger, tmp_path, Found("a", 1, 1), Found("b", 1, 1))
    photo, neighbour = photos(ledger, job)

    def own(photo: Photo = photo, job: Job = job) -> bool:
        return ledger.outputs.own(photo, job, "a.10", "10")

    assert not own()
    for data in (b"one", b"two"):
        ledger.queue([photo.id])
        save(ledger, job, photo, data)
    ledger.queue([photo.id])
    ledger.outputs.announce(photo.id, "10", "a.10", hashlib.sha256(b"three").hexdigest())
    for data in (b"one", b"two", b"three"):  # whichever of them the power left there
        (job.target / "a.10").write_bytes(data)
        assert own()
    assert not ledger.outputs.own(photo, job, "a.10", "11")  # nor is another node's
    assert not own(neighbour)  # another photo's result is nobody's to replace
    assert not own(photo, create(ledger, tmp_path, made=graph(saves=2)))
    (job.target / "a.10").write_bytes(b"a person's")
    assert not own()


def test_what_another_folders_photo_became_is_not_ones_own(ledger, tmp_path):
    found, out = Found("a", 1, 1), tmp_path / "out"
    made = [ledger.create(name, graph(), tmp_path / name, out, Settings()) for name in ("x", "y")]
    for job in made:
        ledger.merge(job.id, ledger.begin_scan(job.id), [found])
    first, second = (photos(ledger, job)[0] for job in made)
    save(ledger, made[0], first)
    assert ledger.outputs.own(first, made[0], "a.10", "10")
    assert not ledger.outputs.own(second, made[1], "a.10", "10")
    assert ledger.outputs.maker(made[1], "a.10") == ("x", str(tmp_path / "x"))
    ledger.outputs.skip(second.id, first.id)  # now it is the result of both
    for photo, job in zip((first, second), made, strict=True):
        assert not ledger.outputs.own(photo, job, "a.10", "10")
    ledger.delete(made[0].id)
    assert ledger.outputs.own(second, made[1], "a.10", "10")


def test_an_earlier_photo_is_recognised_by_content(ledger, tmp_path):
    source = tmp_path / "a"
    source.write_bytes(b"x")
    mtime = source.stat().st_mtime_ns
    job = create(ledger, tmp_path, Found("a", 1, mtime))
    (old,) = photos(ledger, job)
    save(ledger, job, old)
    for mtime_ns, sha256, known in (
        (mtime, None, True),
        (7, None, False),
        (7, "another", False),
        (7, hashlib.sha256(b"x").hexdigest(), True),
    ):
        ledger.set_content(old.id, sha256)
        (new,) = photos(ledger, create(ledger, tmp_path, Found("a", 1, mtime_ns)))
        assert (ledger.outputs.earlier(new, ledger.job(new.job)) == old.id) is known
    file = job.target / "a.10"
    for change in (lambda: file.write_bytes(b"mode"), lambda: file.write_bytes(b"m"), file.unlink):
        change()
        assert ledger.outputs.earlier(new, job) is None


def test_a_connection_a_thread_and_none_is_left(ledger, tmp_path):
    job = create(ledger, tmp_path, *(Found(f"{n}", 1, 1) for n in range(40)))
    rows, found = photos(ledger, job), []

    def work(part: list[Photo]) -> None:
        found.append(ledger.database.connection())
        for photo in part:
            ledger.queue([photo.id])
            ledger.record(photo.id, "psnr", 1)
            ledger.fail(photo.id, "no", retries=0)

    threads = [threading.Thread(target=work, args=(rows[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 4 and progress(ledger, job.id).counts == {"failed": 40}
    ledger.database.close()
    for connection in found:
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")


def test_an_announcement_is_on_the_disk_and_the_rest_is_not_waited_for(ledger, tmp_path):
    (photo,) = photos(ledger, create(ledger, tmp_path, Found("a", 1, 1)))

    def level() -> int:
        return ledger.database.connection().execute("PRAGMA synchronous").fetchone()[0]

    with ledger.database.writing() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal" and level() == 1
    with ledger.database.writing(durable=True):
        assert level() == 2
    with pytest.raises(ZeroDivisionError), ledger.database.writing() as connection:
        ledger.record(photo.id, "psnr", 1)
        raise ZeroDivisionError
    assert connection.execute("SELECT count(*) FROM measure").fetchone()[0] == 0


def test_versions(tmp_path, monkeypatch):
    file, now = tmp_path / "jobs.sqlite", database.VERSION
    Database(file).connection().close()
    monkeypatch.setattr(database, "VERSION", now + 2)
    steps = {now: "ALTER TABLE job ADD COLUMN a", now + 1: "ALTER TABLE job ADD COLUMN b"}
    monkeypatch.setattr(database, "MIGRATIONS", steps)
    one, other = Database(file), Database(file)
    for each in (one, other):
        each.connection().execute("SELECT a, b FROM job")
        each.close()
    monkeypatch.undo()
    says = rf"newer RestoreFlow \(version {now + 2}, this one knows {now}\)"
    with pytest.raises(LedgerError, match=says):
        Database(file).connection()


def tables(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Tables and indices with their columns."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    kinds = ("table", "index")
    columns = {
        name: {row[1 if kind == "table" else 2] for row in
               connection.execute(f"PRAGMA {kind}_info({name})")}
        for (name,) in names for kind in kinds
        if connection.execute(f"PRAGMA {kind}_info({name})").fetchone()
    }  # fmt: skip
    return columns


def test_a_ledger_of_the_first_version_goes_on(ledger, tmp_path):
    """`ledger_1.sql` is what that version wrote: a job, one with other settings, two photos."""
    old = Ledger(tmp_path / "old.sqlite")
    with sqlite3.connect(old.database.file) as connection:
        connection.executescript((Path(__file__).parent / "ledger_1.sql").read_text("utf-8"))
    connection.close()
    assert tables(old.database.connection()) == tables(ledger.database.connection())
    job, other = old.jobs()
    assert (job.settings, other.settings) == (Settings(), Settings(limit=3))
    again = old.create("again", graph(), Path("/in"), Path("/out"), Settings(retries=0))
    assert again.likeness == job.likeness != other.likeness, "what was done is skipped"
    heic, png = photos(old, job)
    assert old.siblings(png) == [heic.path] and old.outputs.path(heic.id, "10") == "Ä/IMG_0.png"
    assert old.outputs.rival(png, job, "Ä/IMG_0.png", "10") == heic.path
    assert old.outputs.notes(heic.id) == []
    old.outputs.note(heic.id, "", ["It is CMYK."])
    assert old.outputs.notes(heic.id) == ["It is CMYK."]
    old.database.close()


def test_counting_100_000_photos(ledger, tmp_path, capsys):
    begun = time.thread_time()
    job = create(ledger, tmp_path, *(Found(f"{n % 100}/{n}.jpg", 10, 1) for n in range(100_000)))
    merged = time.thread_time() - begun
    ledger.database.connection().execute(
        "UPDATE photo SET state = 'done', seconds = 2, finished = id WHERE id % 2"
    )
    ledger.database.connection().execute("UPDATE photo SET state = 'failed' WHERE id % 50 = 0")
    begun = time.thread_time()
    stand = progress(ledger, job.id)
    counted = time.thread_time() - begun
    assert stand.counts == {"done": 50_000, "failed": 2000, "waiting": 48_000}
    assert (stand.bytes, stand.per_minute, stand.seconds_left) == (1_000_000, 30, 96_000)
    begun, seen, after = time.thread_time(), 0, ""
    while failures := page(ledger, job.id, ["failed"], after):
        seen, after = seen + len(failures), failures[-1].place
    paged = (time.thread_time() - begun) / 21
    begun = time.thread_time()
    ledger.waiting(job.id, 1)
    following = time.thread_time() - begun
    with capsys.disabled():  # the processor's time: what it costs whoever shares the machine
        print(
            f"\nof 100,000: merge {merged:.2f} s, progress {counted * 1000:.0f} ms, a page of "
            f"failures {paged * 1000:.1f} ms, the next photo {following * 1000:.2f} ms"
        )
    assert seen == 2000 and counted < 5 and os.path.getsize(ledger.database.file) < 100_000_000
