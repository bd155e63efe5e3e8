"""Who calls a route, and how what goes wrong is told, without a host around it."""

import asyncio
import errno
import json
import sqlite3
from itertools import repeat
from types import SimpleNamespace

import pytest
from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from restoreflow.jobs.database import LedgerError
from restoreflow.jobs.folders import FolderError
from restoreflow.jobs.graph import GraphError
from restoreflow.jobs.photos import HeldUpError, PhotoError


@pytest.fixture(scope="module")
def calls(nodes):
    return nodes.routes.calls


def request(**headers: str) -> web.Request:
    return make_mocked_request("GET", "/", {"Host": "photos.example:8188", **headers})


@pytest.mark.parametrize(
    ("origin", "is_foreign"),
    [
        ("http://photos.example:8188", False),
        ("https://PHOTOS.example:8188", False),
        ("http://photos.example", True),
        ("http://photos.example:8188.evil.example", True),
        ("http://evil.example/photos.example:8188", True),
        ("http://photos.example:8188@evil.example", True),
        ("http://[", True),
        ("null", True),
        ("", True),
    ],
)
def test_whose_page_it_is(calls, origin, is_foreign):
    assert calls.is_foreign(request(Origin=origin)) is is_foreign


@pytest.mark.parametrize(
    ("peer", "is_local"),
    [
        (("127.0.0.1", 4711), True),
        (("127.8.9.1", 4711), True),
        (("::1", 4711, 0, 0), True),
        (("::ffff:127.0.0.1", 4711, 0, 0), True),
        (("192.168.0.7", 4711), False),
        (("::ffff:192.168.0.7", 4711, 0, 0), False),
        (("fe80::1%eth0", 4711, 0, 2), False),
        ("", False),
        (None, False),
    ],
)
def test_on_which_machine_it_was_sent(calls, peer, is_local):
    transport = SimpleNamespace(get_extra_info=lambda name: peer if name == "peername" else None)
    sent = SimpleNamespace(transport=transport, headers={})
    assert calls.is_local(sent) is is_local
    sent.headers["X-Forwarded-For"] = "127.0.0.1"
    assert not calls.is_local(sent)
    assert not calls.is_local(SimpleNamespace(transport=None, headers={}))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FolderError("It is so."), 400),
        (GraphError("It is so."), 400),
        (PhotoError("It is so."), 400),
        (LedgerError("It is so."), 409),
        (web.HTTPRequestEntityTooLarge(1, 2), 413),
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (HeldUpError(errno.ENOSPC, "It is so."), 507),
        (sqlite3.OperationalError("database or disk is full"), 507),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(calls, error, status):
    async def fail(_):
        raise error

    answer = asyncio.run(calls.guarded(fail)(request()))
    assert answer.status == status and set(json.loads(answer.text)) == {"error"}


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("a bug")])
def test_a_fault_of_ours_is_the_hosts_to_log(calls, error):
    async def fail(_):
        raise error

    with pytest.raises(type(error)):
        asyncio.run(calls.guarded(fail)(request()))


@pytest.mark.parametrize("body", [b'{"a": "\\ud800"}', b'{"a": NULL}', b"[]", b"\xff"])
def test_a_body_is_an_object_of_whole_characters(calls, body):
    async def send() -> int:
        app = web.Application()
        app.router.add_post("/", calls.handler(lambda _: {}))
        async with TestClient(TestServer(app)) as client:
            kind = {"Content-Type": "application/json"}
            return (await client.post("/", data=body, headers=kind)).status

    assert asyncio.run(send()) == 400


def downloaded(calls, parts, enough: int | None = None) -> int:
    """Download a stream of parts, or the beginning of it; how many bytes came."""

    async def download() -> int:
        app = web.Application()
        app.router.add_get("/", calls.handler(lambda _: calls.Stream(parts, "application/zip")))
        async with TestClient(TestServer(app)) as client, client.get("/") as answer:
            return len(await (answer.content.read(enough) if enough else answer.read()))

    return asyncio.run(download())


def test_a_stream_that_breaks_off_is_seen_to(calls, caplog):
    def broken():
        yield bytes(calls.PIECE)
        raise OSError(errno.EIO, "Input/output error")

    assert downloaded(calls, iter([b"a", b"b" * calls.PIECE, b"c"])) == calls.PIECE + 2
    with pytest.raises(ClientPayloadError):
        downloaded(calls, broken())
    assert "broke off" in caplog.text


def test_who_goes_during_a_stream_ends_it_without_a_word(calls, caplog):
    assert downloaded(calls, repeat(bytes(1 << 16)), 10)
    assert not caplog.records
