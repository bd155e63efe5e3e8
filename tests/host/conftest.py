"""A host whose routes are called, on a machine with one allowed folder and some that are not."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import comfyui
import environment
import pytest
from caller import Web
from filelock import FileLock
from PIL import Image
from restoreflow.jobs.folders import Folders, default_file


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A host with an allow list of its own."""
    if Path(sys.prefix) != environment.python().parents[1]:
        pytest.skip("a real ComfyUI is started by `run.py test` only")
    home = Path(os.path.realpath(tmp_path_factory.mktemp("machine")))
    for name in ("photos/trip", "photos/.hidden", "photosecret", "secret"):
        (home / name).mkdir(parents=True)
    for name in ("photos/b.jpg", "photos/trip/c d.png", "photosecret/a.jpg", "secret/key.jpg"):
        Image.new("RGB", (60, 40), (200, 30, 30)).save(home / name)
    for name in ("photos/notes.txt", "photos/.hidden/a.jpg", "photos/Thumbs.db"):
        (home / name).write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        allowed = Folders(default_file())
        with comfyui.Host(comfyui.find(), home / "host") as running:
            web = Web(running, home)
            assert not web.own.exists(), "loading the pack must open nothing"
            web.own.mkdir()
            with FileLock(web.own / "jobs.sqlite.lock"):
                web.locked_out = web.ask("/jobs")
            allowed.allow(web.photos)
            yield web
        allowed.disallow(web.photos)


@pytest.fixture(scope="session")
def job(web: Web) -> int:
    """A finished job."""
    answer = web.start("made")
    assert answer.status == 201
    return web.settled(answer.json["job"]["id"])["id"]
