"""The photos of a folder: which there are, and in which order."""

import os
import random
import sys

import pytest
from restoreflow.jobs.scan import LINK, left_out, lost, natural_key, scan

SUFFIXES = {".jpg", ".png"}


def paths(root, **more) -> list[str]:
    return [found.path for found in scan(root, SUFFIXES, **more)]


def touch(root, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_natural_order_through_the_folders(tmp_path):
    ordered = [
        "1.jpg", "2/a.jpg", "2/B10.png", "02.jpg", "2.jpg", "10.jpg", "a/1.jpg", "a/b/1.jpg",
        "a/b.jpg", "a.jpg", "A1.jpg", "a1.png", "img2.jpg", "IMG3.JPG", "img10.jpg", "img10 1.jpg",
        "é.jpg",
    ]  # fmt: skip
    shuffled = sorted(ordered, key=lambda name: random.Random(name).random())
    touch(tmp_path, *shuffled)
    found = paths(tmp_path)
    assert set(found) == set(ordered)
    assert found == sorted(found, key=natural_key)
    names = [name for name in found if name.lower().startswith("img")]
    assert names == ["img2.jpg", "IMG3.JPG", "img10 1.jpg", "img10.jpg"]
    assert found.index("2/a.jpg") < found.index("2/B10.png") < found.index("10.jpg")
    assert found.index("a/1.jpg") + 1 == found.index("a/b/1.jpg")


def test_size_and_time_of_change(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"12345")
    os.utime(tmp_path / "a.jpg", ns=(7, 123456789))
    (found,) = scan(tmp_path, SUFFIXES)
    assert (found.size, found.mtime_ns) == (5, 123456789)


def test_hidden_and_system_files_and_other_kinds_are_no_photos(tmp_path):
    touch(
        tmp_path, "a.jpg", ".hidden.jpg", "._a.jpg", ".restoreflow-part.jpg", ".trash/a.jpg",
        "Thumbs.db/a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg", "$RECYCLE.BIN/a.jpg", "desktop.ini",
        ".DS_Store", "a.txt", "jpg", "b.jpg.json",
    )  # fmt: skip
    (tmp_path / "folder.jpg").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
    assert paths(tmp_path) == ["a.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_that_leave_or_loop(tmp_path):
    root = tmp_path / "root"
    touch(tmp_path, "root/a/1.jpg", "root/.store/2", "outside/3.jpg")
    (root / "loop").symlink_to(root)
    (root / "a" / "up").symlink_to("..")
    (root / "again").symlink_to("a")
    (root / "away").symlink_to(tmp_path / "outside")
    (root / "away.jpg").symlink_to(tmp_path / "outside" / "3.jpg")
    (root / "nothing.jpg").symlink_to("nowhere")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "kept.jpg").symlink_to(".store/2")
    troubles = []
    assert paths(root, trouble=lambda *given: troubles.append(given)) == ["a/1.jpg", "kept.jpg"]
    (tmp_path / "door").symlink_to(root)
    assert paths(tmp_path / "door") == ["a/1.jpg", "kept.jpg"]
    assert troubles == [("away", LINK), ("away.jpg", LINK)] and lost(troubles) == 0
    assert left_out(troubles).startswith("2 things were left out: away: it is a link")


def test_a_folder_passed_over(tmp_path):
    touch(tmp_path, "a.jpg", "out/b.jpg", "in/out/c.jpg")
    assert paths(tmp_path, without=tmp_path / "out") == ["a.jpg", "in/out/c.jpg"]


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "locked/b.jpg", "z.jpg")
    reads = os.scandir

    def refusing(folder):
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return reads(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    troubles = []
    found = paths(tmp_path, trouble=lambda path, why: troubles.append(f"{path}: {why}"))
    assert found == ["a.jpg", "z.jpg"]
    assert troubles == ["locked/: the folder cannot be read (Permission denied)"]
    assert paths(tmp_path / "nowhere") == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_unicode_is_told(tmp_path):
    (tmp_path / "ok.jpg").touch()
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb"):
        pass
    troubles = []
    assert paths(tmp_path, trouble=lambda *given: troubles.append(given)) == ["ok.jpg"]
    assert troubles[0][1] == "the name is not Unicode" and troubles[0][0].encode()


def test_photos_come_before_the_folder_is_through(tmp_path):
    touch(tmp_path, *(f"{folder}/{n}.jpg" for folder in "abc" for n in range(3)))
    found = scan(tmp_path, SUFFIXES)
    assert next(found).path == "a/0.jpg"
    (tmp_path / "c" / "9.jpg").touch()
    assert [entry.path for entry in found][-1] == "c/9.jpg"
