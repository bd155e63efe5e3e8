"""A server that plays the Hub's protocol and GitHub's, well or badly, as a test wants it."""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from huggingface_hub import constants
from loopback import running

COMMIT = "c0" * 20
TEMPLATE = "/{repo_id}/resolve/{revision}/{filename}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Play:
    """A server's part: what it serves, how it misbehaves, and what it was asked."""

    def __init__(self, url: str, data: bytes) -> None:
        self.url, self.data = url, data
        self.stated: dict[str, str] = {}
        """Headers of the Hub's that differ from the truth."""
        self.answers: list[tuple[int, dict[str, str]]] = []
        """Statuses to give before any file, one a request."""
        self.redirect: str | None = None
        self.cuts: list[int] = []
        """After how many bytes to close the connection, one a GET."""
        self.tells_length = True
        self.etag: str | None = None
        self.pace, self.piece = 0.0, 1 << 16
        """Seconds before each piece, and its bytes."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def gets(self) -> list[dict[str, str]]:
        return [headers for method, _, headers in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        length = {"Content-Length": str(len(body))} if self.server.play.tells_length else {}
        for name, value in {**length, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.body(body)

    def body(self, body: bytes) -> None:
        play = self.server.play
        end = play.cuts.pop(0) if play.cuts else len(body)
        with contextlib.suppress(OSError):
            for start in range(0, end, play.piece):
                time.sleep(play.pace)
                self.wfile.write(body[start : min(end, start + play.piece)])
        self.close_connection = end < len(body) or not play.tells_length

    def do_GET(self) -> None:
        play = self.server.play
        if self.path.startswith("/api/"):  # the Hub's library asks for more than the file
            return self.answer(404, {})
        headers = {name.title(): value for name, value in self.headers.items()}
        play.asked.append((self.command, self.path, headers))
        if play.answers:
            return self.answer(*play.answers.pop(0))
        digest = sha256(play.data)
        stated = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(play.data)),
                  "X-Linked-Etag": f'"{digest}"', **play.stated}  # fmt: skip
        if play.redirect:
            return self.answer(302, {"Location": play.redirect + self.path, **stated})
        etag = play.etag or f'"bytes-{digest[:8]}"'
        headers = {**stated, "ETag": etag}
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(play.data))
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range", etag)
        if asked and condition == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(play.data) - 1}/{len(play.data)}"
            return self.answer(206, headers, play.data[start:])
        return self.answer(200, headers, play.data)

    do_HEAD = do_GET  # noqa: N815


@contextlib.contextmanager
def served(data: bytes) -> Iterator[Play]:
    """A server of one file."""
    with running(Handler, lambda url: Play(url, data)) as play:
        yield play


def alone(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """No proxy, no setting, no token and no cache of this machine's."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "restoreflow_fetch"):
        patch.delenv(name, raising=False)
        patch.delenv(name.upper(), raising=False)
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setenv("HF_TOKEN", "hf_secret")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)


def as_hub(patch: pytest.MonkeyPatch, url: str) -> None:
    """Let huggingface_hub take this address for the Hub's."""
    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + TEMPLATE)
