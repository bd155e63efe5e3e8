"""The names of a job's results: none for two photos, and none that depends on the order."""

from itertools import permutations

import pytest
from job_host import graph
from restoreflow.jobs import outputs
from restoreflow.jobs.encoding import Saving
from restoreflow.jobs.ledger import Ledger
from restoreflow.jobs.naming import result_path
from restoreflow.jobs.photos import PhotoError
from restoreflow.jobs.progress import page
from restoreflow.jobs.rows import Settings
from restoreflow.jobs.scan import Found, stem


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "jobs.sqlite")
    yield ledger
    ledger.database.close()


@pytest.fixture
def job(ledger, tmp_path):
    (tmp_path / "out").mkdir()
    return ledger.create("a job", graph(), tmp_path / "in", tmp_path / "out", Settings())


def enter(ledger, job, *paths: str) -> None:
    ledger.merge(job.id, ledger.begin_scan(job.id), [Found(path, 1, 1) for path in paths])


def name(ledger, job, path: str, node: str = "10", suffix: str = "_r", **how) -> str:
    photo = next(photo for photo in page(ledger, job.id) if photo.path == path)
    found = result_path(ledger, photo, job, node, Saving(**how), suffix)
    return found.relative_to(job.target).as_posix()


def save(ledger, job, path: str, node: str = "10", **how) -> str:
    """Play a Save node; the name that it took."""
    photo = next(photo for photo in page(ledger, job.id) if photo.path == path)
    taken = name(ledger, job, path, node, **how)
    assert ledger.outputs.rival(photo, job, taken, node) is None
    ledger.outputs.announce(photo.id, node, taken, "0" * 64)
    (job.target / taken).parent.mkdir(exist_ok=True)
    (job.target / taken).write_bytes(path.encode())
    return taken


def test_most_names_are_plain(ledger, job):
    enter(ledger, job, "a.jpg", "a.heic", "b/a.png", "IMG_1.HEIC", "IMG_1.JPG", "img_1.mov.jpg")
    assert name(ledger, job, "a.jpg") == "a_r.jpg" and name(ledger, job, "a.heic") == "a_r.png"
    assert name(ledger, job, "b/a.png") == "b/a_r.png"
    assert name(ledger, job, "IMG_1.HEIC") == "IMG_1_r.png"


@pytest.mark.parametrize("order", [*permutations(["a.heic", "a.jpg", "a.png"])])
def test_photos_of_one_name_keep_their_suffixes_in_any_order(ledger, job, order):
    enter(ledger, job, *order)
    expected = {path: f"{path}_r.png" for path in order}
    assert {path: save(ledger, job, path, format="png") for path in order} == expected
    assert {path: name(ledger, job, path, format="png") for path in order} == expected


def test_the_same_in_another_case_or_with_other_accents_is_one_name(ledger, job):
    enter(ledger, job, "Mu\u0308ller.heic", "M\u00fcller.png", "A.heic", "a.PNG")
    for path in ("Mu\u0308ller.heic", "M\u00fcller.png", "A.heic", "a.PNG"):
        assert name(ledger, job, path).startswith(f"{path}_r")
    assert stem("STRASSE/a.b.jpg") == stem("straße/A.B.png") != stem("strasse/a.jpg")


def test_a_suffix_is_kept_only_where_it_tells_names_apart(ledger, job):
    enter(ledger, job, "A.jpg", "a.jpg", "b.JPG", "b.jpg")
    assert [name(ledger, job, path) for path in ("A.jpg", "a.jpg")] == ["A_r.jpg", "a_r.jpg"]
    assert [name(ledger, job, path) for path in ("b.JPG", "b.jpg")] == ["b_r.JPG", "b_r.jpg"]
    shared = [name(ledger, job, path, format="png") for path in ("b.JPG", "b.jpg")]
    assert shared == ["b.JPG_r.png", "b.jpg_r.png"]


def test_where_the_disk_knows_no_case_the_second_makes_way(ledger, job, monkeypatch):
    enter(ledger, job, "A.jpg", "a.jpg")
    assert save(ledger, job, "A.jpg") == "A_r.jpg"
    monkeypatch.setattr(outputs, "are_same", lambda one, other: one != other)
    assert name(ledger, job, "a.jpg") == "a.jpg_r.jpg"


def test_one_that_comes_later_makes_way(ledger, job):
    enter(ledger, job, "a.heic")
    assert save(ledger, job, "a.heic") == "a_r.png"
    enter(ledger, job, "a.heic", "a.png")
    assert save(ledger, job, "a.png") == "a.png_r.png"
    assert save(ledger, job, "a.heic") == "a_r.png", "it has its name already"
    assert (job.target / "a_r.png").read_bytes() == b"a.heic"


def test_two_nodes_of_a_photo_take_two_names(ledger, job):
    enter(ledger, job, "a.png")
    assert save(ledger, job, "a.png", "10") == "a_r.png"
    assert save(ledger, job, "a.png", "11", format="png") == "a.png_r.png"


def test_a_result_of_another_photo_is_a_rival_where_the_disk_says_so(ledger, job):
    enter(ledger, job, "a.png", "b.png")
    save(ledger, job, "a.png")
    (other,) = (photo for photo in page(ledger, job.id) if photo.path == "b.png")
    assert ledger.outputs.rival(other, job, "a_r.png", "10") == "a.png"
    if not (job.target / "A_R.png").exists():  # play a disk that knows no case
        (job.target / "A_R.png").hardlink_to(job.target / "a_r.png")
    assert ledger.outputs.rival(other, job, "A_R.png", "10") == "a.png"
    assert ledger.outputs.rival(other, job, "b_r.png", "10") is None


def test_no_name_leads_out(ledger, job, tmp_path):
    enter(ledger, job, "a.png", "trip/b.png")
    (tmp_path / "elsewhere").mkdir()
    (job.target / "trip").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PhotoError, match="trip leads out of .* by a link: put a folder in its"):
        name(ledger, job, "trip/b.png")
    with pytest.raises(PhotoError, match="lies outside of"):
        name(ledger, job, "a.png", suffix="/../../x")
