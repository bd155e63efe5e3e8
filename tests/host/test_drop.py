"""Photos dropped on a real host: they arrive whole, and nowhere but in a folder of their own."""

import socket
import sys

import pytest
from caller import BYTES, Answer, Web, refused, wait_until

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


def drop(web: Web, path: str, body: bytes = b"data", batch: str = "a trip", **headers) -> Answer:
    return web.ask("/drop", body, {**BYTES, **headers}, batch=batch, path=path)


def test_dropped_photos_lie_in_a_folder_of_their_own(web):
    folder = web.input / "restoreflow" / "a trip"
    for path, body in {"a.JPG": b"1" * 3_000_000, "Grüße/b 1.png": b"2"}.items():
        answer = drop(web, path, body)
        assert answer.json == {"folder": str(folder), "path": path}
        assert (folder / path).read_bytes() == body
    assert drop(web, "a.JPG", b"3").json["path"] == "a (2).JPG"
    assert drop(web, "a.JPG", b"4", **{"Content-Type": "image/jpeg"}).json["path"] == "a (3).JPG"
    assert (folder / "a.JPG").read_bytes() == b"1" * 3_000_000
    names = sorted(path.name for path in folder.rglob("*"))
    assert names == ["Grüße", "a (2).JPG", "a (3).JPG", "a.JPG", "b 1.png"]


def test_a_photo_that_is_dropped_again_is_there_already(web):
    sent = {b"1": "a.jpg", b"2": "a (2).jpg"}
    for _ in range(2):
        for body, path in sent.items():
            assert drop(web, "a.jpg", body, batch="again").json["path"] == path
    folder = web.input / "restoreflow" / "again"
    assert {path.read_bytes(): path.name for path in folder.iterdir()} == sent


@pytest.mark.parametrize(
    "path",
    [
        *("", "/a.jpg", "../a.jpg", "b/../../a.jpg", "b//a.jpg", "./a.jpg", "b/" * 30 + "a.jpg"),
        *("..\\a.jpg", "C:\\a.jpg", "a\0.jpg", "a\n.jpg", "a" * 300 + ".jpg"),
        *(".a.jpg", ".b/a.jpg", "__MACOSX/a.jpg"),
        *("a", "a.txt", "a.jpg.exe", "a.jpg.json", "b.jpg/a.svg"),
    ],
)
def test_a_dropped_photo_goes_nowhere_else(web, path):
    before = set(web.host.folder.rglob("*"))
    refused(drop(web, path), 400)
    assert set(web.host.folder.rglob("*")) == before


@pytest.mark.parametrize("batch", ["", ".", "..", "../x", "x/y", ".x", "x\\y", "/x"])
def test_a_batch_is_one_folder(web, batch):
    before = set(web.host.folder.rglob("*"))
    refused(drop(web, "a.jpg", batch=batch), 400)
    assert set(web.host.folder.rglob("*")) == before


def test_a_dropped_photo_says_what_it_is(web):
    for kind in ("text/plain", "multipart/form-data; boundary=x", "Text/Plain; charset=utf-8"):
        refused(drop(web, "a.jpg", batch="x", **{"Content-Type": kind}), 415, "octet-stream")
    refused(web.ask("/drop", b"x", {}, batch="x", path="a.jpg"), 415, "octet-stream")
    refused(drop(web, "a.jpg", b"", batch="empty"), 400, "arrived empty")
    drop(web, "a.jpg", batch="file")
    refused(drop(web, "a.jpg/b.jpg", batch="file"), 400, "cannot be kept")
    assert not list(web.input.rglob(".*")) and not (web.input / "restoreflow" / "x").exists()


@POSIX
def test_links_among_dropped_photos_are_no_way_out(web):
    folder = web.input / "restoreflow" / "with links"
    folder.mkdir(parents=True)
    (folder / "out").symlink_to(web.home / "secret")
    (folder / "back").symlink_to(web.photos)
    (folder / "key.jpg").symlink_to(web.home / "secret" / "key.jpg")
    (folder.parent / "gone").symlink_to(web.home / "secret")
    refused(drop(web, "out/a.jpg", batch="with links"), 400, "not in a folder")
    refused(drop(web, "back/a.jpg", batch="with links"), 400, "read but not written")
    refused(drop(web, "a.jpg", batch="gone"), 400, "not in a folder")
    key = (web.home / "secret" / "key.jpg").read_bytes()
    assert drop(web, "key.jpg", key, batch="with links").json["path"] == "key (2).jpg"
    assert [path.name for path in (web.home / "secret").iterdir()] == ["key.jpg"]


def test_half_a_photo_leaves_nothing(web):
    with socket.create_connection(("127.0.0.1", web.host.port)) as line:
        head = "POST /restoreflow/drop?batch=half&path=a.jpg HTTP/1.1\r\nHost: x\r\n"
        kind = "Content-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
        line.sendall(f"{head}{kind}".encode() + b"x" * 50_000)
        folder = web.input / "restoreflow" / "half"
        wait_until(lambda: folder.is_dir() and list(folder.iterdir()))
    wait_until(lambda: not list(folder.iterdir()))
    assert "Error handling request" not in web.host.log.read_text()
