"""Calls of the pack's routes: who may make them, what they ask, and how they are answered.

Any page in the user's browser can send requests to this host. Those of foreign pages are refused:
by what the browser says of their origin, and because a change needs a content type for which a
browser asks first. What is answered to whom beyond that is the folders' and the token's business.
"""

import asyncio
import ipaddress
import json
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from aiohttp import web

from ..jobs import token
from ..jobs.database import LedgerError
from ..jobs.folders import FolderError, command
from ..jobs.graph import GraphError
from ..jobs.overlap import is_disk_full
from ..jobs.photos import PhotoError
from . import jobs

TOKEN = "X-RestoreFlow-Token"
STATUS = {FolderError: 400, GraphError: 400, PhotoError: 400, LedgerError: 409}
AS_IT_IS = {"X-Content-Type-Options": "nosniff"}
KINDS = {dict: "an object", str: "a text", int: "a whole number", bool: "true or false"}
PIECE = 1 << 18
"""Bytes of a stream that are made and sent at once."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A call that is not answered as wished; one sentence says why."""

    def __init__(self, status: int, text: str, command: str | None = None) -> None:
        super().__init__(text)
        self.status, self.command = status, command


@dataclass(frozen=True)
class Stream:
    """An answer made while it is sent."""

    parts: Iterator[bytes]
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request that was let in, with its body."""

    request: web.Request
    body: Mapping[str, Any]

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number of the query; what is more than `most` is cut to it."""
        try:
            value = int(self.request.query.get(name, default))
        except ValueError:
            value = least - 1
        if value < least:
            raise RefusedError(400, f"{name} must be a whole number of at least {least}.")
        return min(value, most)

    def field(self, name: str, kind: type[T], default: T | None = None) -> T | None:
        """A value of the body; without it, the default."""
        value = self.body.get(name)
        if value is None:
            return default
        if type(value) is not kind:  # to Python, true is a number
            raise RefusedError(400, f"{name} must be {KINDS[kind]}; got {value!r:.80}.")
        return value

    def folder(self, path: str | None, write: bool = False) -> Path:
        """The real path of a folder that this call may use, there or not.

        Raises:
            RefusedError: it may not.
        """
        if self.is_of_the_user() and path and os.path.isabs(path) and "\0" not in path:
            return Path(os.path.realpath(path))
        return allowed(path or "", write)

    def is_of_the_user(self) -> bool:
        """Whether it comes from this machine's user, who has read the token.

        Raises:
            RefusedError: it brings a token that is not the right one.
        """
        offered = self.request.headers.get(TOKEN)
        if offered is None:
            return False
        if not is_local(self.request) or not token.fits(jobs.user_folder(), offered):
            raise RefusedError(403, f"{TOKEN} is not this machine's; ask /restoreflow/token anew.")
        return True


Answer = Mapping[str, Any] | Stream | web.StreamResponse


def handler(
    answer: Callable[[Call], Answer], pool: Executor | None = None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A route's handler that answers in a thread: the host's event loop goes on meanwhile.

    Args:
        pool: whose threads; the event loop's own by default.
    """

    @guarded
    async def handle(request: web.Request) -> web.StreamResponse:
        jobs.engine()  # made by this one thread only
        body = await _json(request) if request.method == "POST" else {}
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(pool, answer, Call(request, body))
        if isinstance(found, Stream):
            return await _sent(request, found)
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)

    return handle


def guarded(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that foreign pages do not reach, and that tells errors as the routes do."""

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            if is_foreign(request):
                raise RefusedError(403, "Another site's page may not use this ComfyUI's photos.")
            return await handle(request)
        except web.HTTPException as error:
            return _told(error.status, error.reason)
        except RefusedError as error:
            return _told(error.status, str(error), error.command)
        except tuple(STATUS) as error:
            status = next(STATUS[kind] for kind in STATUS if isinstance(error, kind))
            return _told(status, str(error))
        except (OSError, sqlite3.OperationalError) as error:
            if not is_disk_full(error):
                raise
            return _told(507, "The disk is full; make room and try again.")

    return guard


def allowed(path: str, write: bool = False) -> Path:
    """The real path of a folder that anybody may use here, there or not.

    Raises:
        RefusedError: nobody may; with the command that allows it, where one would.
    """
    try:
        return jobs.folders().resolve(path, write)
    except FolderError as error:
        helps = command(path, write)
        told = helps if str(error).endswith(helps) else None
        raise RefusedError(400, str(error), told) from error


def is_foreign(request: web.Request) -> bool:
    """Whether a browser sent it for a page of another site than this host."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    try:
        own = origin is None or urlsplit(origin).netloc.lower() == request.host.lower()
    except ValueError:
        own = False
    return site not in (None, "same-origin", "none") or not own


def is_local(request: web.Request) -> bool:
    """Whether it was sent on this machine, and handed on by nobody."""
    if request.transport is None or any(
        name in request.headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP")
    ):
        return False
    peer = request.transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return False
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def attachment(name: str) -> dict[str, str]:
    """The headers of an answer that a browser keeps as a file of that name."""
    return {**AS_IT_IS, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, '')}"}


async def _json(request: web.Request) -> Mapping[str, Any]:
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise RefusedError(415, "A change is asked for with the content type application/json.")
    try:
        body = json.loads(await request.read())
        json.dumps(body, ensure_ascii=False).encode()  # half a character has no place in a ledger
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be an object in JSON.")
    return body


async def _sent(request: web.Request, stream: Stream) -> web.StreamResponse:
    response = web.StreamResponse(headers={**stream.headers, "Content-Type": stream.kind})
    await response.prepare(request)
    try:
        while piece := await asyncio.to_thread(_piece, stream.parts):
            await response.write(piece)
    except ConnectionError:
        pass  # who asked has gone
    except Exception:  # whoever reads must see that it is not all
        log.exception("RestoreFlow: %s broke off", request.path)
        request.transport.abort()
    else:
        await response.write_eof()
    return response


def _piece(parts: Iterator[bytes]) -> bytes:
    held = bytearray()
    for part in parts:
        held += part
        if len(held) >= PIECE:
            break
    return bytes(held)


def _told(status: int, text: str, command: str | None = None) -> web.Response:
    told = {"error": text, **({"command": command} if command else {})}
    return web.json_response(told, status=status)
