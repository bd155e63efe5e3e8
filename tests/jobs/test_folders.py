"""Which folders jobs may use, and every way round that is refused."""

import json
import os
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from restoreflow.jobs import folders as module
from restoreflow.jobs.folders import Allowed, FolderError, Folders, refusal

KEPT = {"folders.json", "folders.json.lock"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@pytest.fixture
def home(tmp_path) -> Path:
    """A machine with folders of the host, of the user and of nobody's business."""
    home = Path(os.path.realpath(tmp_path))
    for name in ("host/input", "host/output", "photos/2024", "photosecret", "secret"):
        (home / name).mkdir(parents=True)
    (home / "secret" / "key").touch()
    return home


@pytest.fixture
def folders(home) -> Folders:
    always = [
        Allowed(str(home / "host" / "input"), False),
        Allowed(str(home / "host" / "output"), True),
    ]
    return Folders(home / "user" / "folders.json", always)


def refused(folders: Folders, path: object, write: bool = False) -> str:
    with pytest.raises(FolderError) as error:
        folders.resolve(path, write)
    text = str(error.value)
    assert "\n" not in text and text.startswith(("This is no path", str(path)))
    return text


def test_none_is_lost_that_is_allowed_at_the_same_time(folders, home):
    places = [home / "photos" / f"{number}" for number in range(20)]
    for place in places:
        place.mkdir()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda place: Folders(folders.file).allow(place), places))
    assert {one.path for one in Folders(folders.file).list()} == set(map(str, places))


def test_the_hosts_folders_need_no_command(folders, home):
    assert folders.resolve(str(home / "host" / "input" / "a")) == home / "host" / "input" / "a"
    assert folders.resolve(str(home / "host" / "output"), write=True) == home / "host" / "output"
    assert "may be read but not written" in refused(folders, str(home / "host" / "input"), True)
    assert not (home / "user").exists()


def test_allowed_changed_listed_and_taken_back(folders, home):
    photos = str(home / "photos")
    refused(folders, photos)
    assert folders.allow(f"{photos}/") == Allowed(photos, False)
    assert folders.resolve(photos + "/2024/") == home / "photos" / "2024"
    assert folders.resolve(photos + "/not there yet") == home / "photos" / "not there yet"
    refused(folders, photos, write=True)
    folders.allow(photos, write=True)
    assert folders.resolve(photos, write=True) == home / "photos"
    assert folders.list()[2:] == [Allowed(photos, True)]
    assert Folders(folders.file).list() == [Allowed(photos, True)]
    assert {path.name for path in folders.file.parent.iterdir()} == KEPT
    (home / "photos" / "2024").rmdir()
    (home / "photos").rmdir()
    folders.disallow(photos)
    refused(folders, photos)
    with pytest.raises(FolderError, match="nothing to undo"):
        folders.disallow(photos)
    with pytest.raises(FolderError, match="no such folder"):
        folders.allow(photos)


def test_a_refusal_says_the_command_and_nothing_else(folders, home):
    there, nowhere = str(home / "secret"), str(home / "nowhere")
    texts = {refused(folders, path).replace(path, "X") for path in (there, nowhere)}
    texts |= {refused(folders, f"{there}/key").replace(f"{there}/key", "X")}
    assert len(texts) == 1  # whether something is there shows in nothing
    assert refused(folders, there).endswith(f"python run.py allow {there}")
    assert refused(folders, there, write=True).endswith(f"python run.py allow {there} --write")
    odd = str(home / "it's; rm -rf $HOME")
    command = refused(folders, odd).split("with: ")[1]
    assert shlex.split(command) == ["python", "run.py", "allow", odd]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "no path"),
        ("\0", "no path"),
        ("{photos}\0/../secret", "no path"),
        ("{photos}\nx", "no path"),
        (None, "no path"),
        (7, "no path"),
        ("{photos}/../secret", "goes up"),
        ("{photos}/2024/..", "goes up"),
        ("photos", "no full path"),
        ("./photos", "no full path"),
        ("~/photos", "no full path"),
        ("{home}/photosecret", "not in a folder"),
        ("{home}", "not in a folder"),
        ("/", "not in a folder"),
        ("{home}/secret/key", "not in a folder"),
        ("{photos}/" + "x" * 5000 + "/../a", "goes up"),
        ("{home}/" + "x" * 5000, "not in a folder"),
    ],
)
def test_ways_out_are_refused(folders, home, path, says):
    folders.allow(home / "photos", write=True)
    if isinstance(path, str):
        path = path.replace("{photos}", str(home / "photos")).replace("{home}", str(home))
    for write in (False, True):
        assert says in refused(folders, path, write)


@POSIX
def test_links_are_followed_before_they_are_judged(folders, home):
    folders.allow(home / "photos")
    (home / "photos" / "out").symlink_to(home / "secret")
    (home / "photos" / "file").symlink_to(home / "secret" / "key")
    (home / "photos" / "loop").symlink_to("loop")
    (home / "photos" / "in").symlink_to("2024")
    (home / "door").symlink_to(home / "photos")
    for name in ("out", "out/key", "file", "out/not there"):
        refused(folders, str(home / "photos" / name))
    assert folders.resolve(str(home / "photos" / "in")) == home / "photos" / "2024"
    assert folders.resolve(str(home / "door" / "2024")) == home / "photos" / "2024"
    (home / "host" / "input").rmdir()
    (home / "host" / "input").symlink_to(home / "secret")  # the host's own may be a link
    assert folders.resolve(str(home / "host" / "input" / "key")) == home / "secret" / "key"


@POSIX
def test_an_allowed_folder_that_became_a_link_counts_no_more(folders, home):
    folders.allow(home / "photos")
    (home / "photos").rename(home / "moved")
    (home / "photos").symlink_to(home / "secret")
    refused(folders, str(home / "photos"))
    refused(folders, str(home / "secret" / "key"))


def test_two_spellings_of_a_disk_that_takes_both(folders, home, monkeypatch):
    folders.allow(home / "photos")
    mark = module._mark
    monkeypatch.setattr(module, "_mark", lambda path: mark(path.replace("PHOTOS", "photos")))
    shouted = str(home / "PHOTOS" / "2024")
    assert str(folders.resolve(shouted)) == shouted
    monkeypatch.setattr(module, "_mark", lambda path: None)  # a disk that cannot tell
    refused(folders, shouted)
    assert folders.resolve(str(home / "photos" / "2024"))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("C:\\photos\\..\\secret", "goes up"),
        ("C:/photos/../secret", "goes up"),
        ("C:photos", "no full path"),
        ("\\photos", "no full path"),
        ("/photos", "no full path"),
        ("\\\\?\\C:\\photos", "a device"),
        ("\\\\.\\PhysicalDrive0", "a device"),
        ("//?/C:/photos", "a device"),
        ("C:\\photos\\a.jpg:stream", "a device or a stream"),
        ("\\\\evil\\share\\a", "not in a folder"),
        ("//evil/share/a", "not in a folder"),
    ],
)
def test_windows_paths_are_refused_before_a_disk_or_share_is_touched(path, says):
    assert says in refusal(path, PureWindowsPath, {"c:", "\\\\nas\\photos"})


def test_windows_and_posix_paths_that_pass():
    shares = {"c:", "\\\\nas\\photos"}
    for path in ("C:\\photos\\", "c:/photos", "D:\\a", "\\\\NAS\\photos\\2024", "//nas/Photos/a"):
        assert refusal(path, PureWindowsPath, shares) is None
    assert refusal("/photos/a:b", PurePosixPath, set()) is None


def test_a_list_that_cannot_be_read_or_written(folders, home, monkeypatch):
    folders.file.parent.mkdir()
    for text in ("{", "[]", '{"folders": [{"path": 1}]}', '{"folders": 3}'):
        folders.file.write_text(text)
        with pytest.raises(FolderError, match="mend or delete it"):
            folders.resolve(str(home / "photos"))
    folders.file.write_text(json.dumps({"folders": [{"path": str(home), "write": "yes"}]}))
    refused(folders, str(home), write=True)
    with monkeypatch.context() as context:
        context.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
        with pytest.raises(FolderError, match="No space"):
            folders.allow(home)
    assert {path.name for path in folders.file.parent.iterdir()} == KEPT
