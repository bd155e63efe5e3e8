"""A client of the pack's routes: photo jobs on a running ComfyUI."""

import ipaddress
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar

import job_token

Json = dict[str, Any]
Answer = TypeVar("Answer")

SECONDS = 60
"""For one answer; a server that computes on every core is slow."""
PAUSES = (1, 3)
"""In seconds, between attempts at a question, which changes nothing on the server."""
PAGE, PIECE = 500, 1 << 20
HEADER = "X-RestoreFlow-Token"


class ServerError(Exception):
    """The server cannot do it now; one sentence says why."""


class SilenceError(ServerError):
    """There was no answer."""


class RequestError(Exception):
    """The server will not do it as asked; one sentence says why."""


@dataclass(frozen=True)
class Order:
    """What a job shall do; its name tells it from every other, so that it is found again."""

    name: str
    graph: Json
    more: Json = field(default_factory=dict)
    """What POST /restoreflow/jobs takes besides."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is for the server that was named, and for no other."""

    def redirect_request(self, *_: Any) -> None:
        """No."""


class JobServer:
    """The photo jobs of one ComfyUI.

    Args:
        hint: where to look when something is amiss with it.
    """

    def __init__(self, url: str, hint: str = "") -> None:
        self.url, self.hint = url, hint
        self.is_here = is_loopback(urllib.parse.urlsplit(url).hostname or "")
        proxies = [urllib.request.ProxyHandler({})] if self.is_here else []
        self._opener = urllib.request.build_opener(NoRedirect, *proxies)
        self._headers: dict[str, str] = {}

    # Jobs

    def node_definitions(self) -> Json:
        """What the canvas, too, knows of every node."""
        return self.ask("/object_info")

    def authorise(self) -> bool:
        """Whether the server is on this machine and this user's: any of our folders will do then.

        Raises:
            ServerError: it says so, but its token is no such thing.
        """
        if not self.is_here:
            return False
        try:
            file = Path(self.get("/restoreflow/token")["file"])
            token = job_token.read(file)
        except RequestError:  # it sees us come from another machine: it is in a container
            return False
        except job_token.TokenError as error:
            raise ServerError(str(error)) from error
        if token is not None:
            self._headers[HEADER] = token
        return token is not None

    def jobs(self) -> list[Json]:
        """All jobs, the newest first."""
        return self.get("/restoreflow/jobs")["jobs"]

    def find(self, name: str) -> Json | None:
        """The newest job of that name."""
        return next((job for job in self.jobs() if job["name"] == name), None)

    def create(self, order: Order, source: str, target: str) -> Json:
        """Start a job for two folders of the server's machine."""
        places = {"name": order.name, "source": source, "target": target}
        return self.post("/restoreflow/jobs", {**order.more, **places, "graph": order.graph})["job"]

    def job(self, number: int) -> Json:
        """How far a job is."""
        return self.get(f"/restoreflow/jobs/{number}")["job"]

    def resume(self, number: int, retry_failed: bool = False) -> Json:
        """Go on with a job, whatever its state; one that runs does so anyway."""
        order = {"retry_failed": retry_failed}
        return self.post(f"/restoreflow/jobs/{number}/resume", order)["job"]

    def pause(self, number: int) -> Json:
        """Stop a job at once; what it was at is done again when it goes on."""
        return self.post(f"/restoreflow/jobs/{number}/pause", {"now": True})["job"]

    def photos(self, number: int, after: str = "") -> Iterator[Json]:
        """A job's photos in their order, from behind a place."""
        while True:
            query = {"after": after, "count": str(PAGE)}
            page = self.get(f"/restoreflow/jobs/{number}/photos", **query)["photos"]
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1]["place"]

    # The wire

    def get(self, path: str, /, **query: str) -> Any:
        """The answer to a question, asked again where the network fails."""
        question = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        return patiently(lambda: self.ask(question))

    def post(self, path: str, order: Mapping[str, Any]) -> Any:
        """The answer to an order."""
        return self.ask(path, json.dumps(order).encode(), {"Content-Type": "application/json"})

    def ask(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """An answer in JSON."""
        with self.open(path, body, headers) as answer:
            try:
                return json.load(answer)
            except (OSError, HTTPException, ValueError) as error:
                raise self.silence(error) from error

    def open(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        """An answer as it comes.

        Raises:
            RequestError: the order is wrong.
            ServerError: the server is not there, is no RestoreFlow's, or cannot.
        """
        sent = {**self._headers, **(headers or {})}
        request = urllib.request.Request(self.url + path, body, sent)
        try:
            return self._opener.open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            raise self.refusal(error) from error
        except (OSError, HTTPException) as error:
            raise self.silence(error) from error

    def pieces(self, answer: HTTPResponse) -> Iterator[bytes]:
        """The whole of a long answer."""
        try:
            while piece := answer.read(PIECE):
                yield piece
            if answer.length:
                raise HTTPException("it ended too early")
        except (OSError, HTTPException) as error:
            raise self.silence(error) from error

    def refusal(self, error: urllib.error.HTTPError) -> Exception:
        """What the server says against it."""
        try:
            sentence = json.loads(error.read())["error"]
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            why = "; is there a RestoreFlow with photo jobs in it?" if error.code == 404 else ""
            return ServerError(f"{self.url} answers {error.code} {error.reason}{why}")
        is_ours = error.code in (400, 403, 404)
        return RequestError(sentence) if is_ours else ServerError(sentence)

    def silence(self, error: Exception) -> SilenceError:
        """What to say when there is no answer."""
        reason = getattr(error, "reason", None) or error
        return SilenceError(
            f"{self.url} does not answer ({reason}): {self.hint or 'is it running?'}"
        )


def patiently(question: Callable[[], Answer]) -> Answer:
    """The answer to a question that may be asked again where the network fails."""
    for pause in PAUSES:
        try:
            return question()
        except SilenceError:
            time.sleep(pause)
    return question()


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's, reached by nobody else."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
