"""The bytes of one published file, brought into its `.part` and resumed where they were cut."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import WeightsError
from .hub import Hub, Known, Stated

CHUNK = 1 << 13
"""Small: a slow line is left between two chunks, and a cut loses the chunk that was coming."""
KINDS = {"etag": str, "identity": str, "part": dict, "sha256": str, "size": int}
"""What the entries of a `.lock.json` that are read must be."""


class FetchError(WeightsError):
    """A weight that could not be fetched; one sentence says why and what to do."""


class AgainError(FetchError):
    """A failure that may pass: worth another attempt after `wait` seconds."""

    wait = 1.0


def ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """One file on its way into one folder."""

    known: Known
    folder: Path
    progress: Callable[[int, int], None] = ignore
    check: Callable[[], None] = ignore
    tell: Callable[[str], None] = ignore

    def beside(self, suffix: str) -> Path:
        return self.folder / (self.known.name + suffix)

    @property
    def target(self) -> Path:
        return self.beside("")

    @property
    def part(self) -> Path:
        return self.beside(".part")

    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def remembered(self) -> dict[str, Any]:
        """What the `.lock.json` says; an entry of another kind than it should be says nothing."""
        try:
            text = self.beside(".lock.json").read_text(encoding="utf-8")
            entries = json.loads(text, object_hook=_sound)
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}

    def remember(self, entries: dict[str, Any]) -> None:
        text = json.dumps(entries, indent=2) + "\n"
        self.beside(".lock.json").write_text(text, encoding="utf-8")

    def absent(self, why: str, kind: type[FetchError] = FetchError) -> FetchError:
        return kind(self.known.by_hand(why, self.folder))


def _sound(entries: dict[str, Any]) -> dict[str, Any]:
    return {
        name: entry for name, entry in entries.items() if isinstance(entry, KINDS.get(name, object))
    }


def transfer(job: Job, stated: Stated) -> str:
    """Bring the part to its full length; returns its sha256."""
    record = job.remembered()
    begun = record.get("part", {})
    etag, size = begun.get("etag"), stated.size or begun.get("size")
    same = begun.get("identity") == stated.identity and size and (etag or stated.sha256)
    if not same or job.have() > size:
        job.part.unlink(missing_ok=True)
    digest, have = _hash(job), job.have()
    if have and have == size:
        return digest.hexdigest()
    if shutil.disk_usage(job.folder).free < (size or job.known.size) - have:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with _ask(job, stated.url, have, etag) as response:
        if not _goes_on(job, response, have):
            size = stated.size or _told(job, response)  # before what has come is dropped
            job.part.unlink(missing_ok=True)
            digest, have, etag = hashlib.sha256(), 0, response.headers.get("ETag", "")
            strong = etag if etag.startswith('"') else None  # weak ones promise no equal bytes
            begun = {"identity": stated.identity, "etag": strong, "size": size}
            job.remember({**record, "part": begun})
        _receive(job, size, response, have, digest)
    return digest.hexdigest()


def _told(job: Job, response: Any) -> int:
    """The file's length, where only the answer that brings it tells."""
    length = _number(response, "Content-Length")
    if length is None:
        raise job.absent("its server does not tell how long it is")
    if length < job.known.size / 2:  # no estimate is that wrong
        raise job.absent(f"its server sent {length} bytes in its place, try again later")
    return length


def _number(response: Any, header: str) -> int | None:
    """What a header counts; None where it is missing or no number."""
    text = response.headers.get(header, "")
    return int(text) if text.isdecimal() else None


def _hash(job: Job) -> Any:
    digest = hashlib.sha256()
    if job.part.is_file():
        with open(job.part, "rb") as file:
            while chunk := file.read(1 << 20):
                job.check()
                digest.update(chunk)
    return digest


def _ask(job: Job, url: str, have: int, etag: str | None) -> Any:
    """The answer to a request for the bytes that are missing."""
    import requests
    from huggingface_hub import constants

    headers = {**job.known.source.headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        headers |= {"If-Range": etag} if etag else {}
    try:  # requests drops the token where it is redirected to another host
        return requests.get(
            url,
            headers=headers,
            auth=lambda request: request,  # else ~/.netrc would replace the token
            stream=True,
            timeout=(constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT),
        )
    except OSError as error:  # every error of requests, and a certificate file that is missing
        raise unreachable(job, error) from error


def _goes_on(job: Job, response: Any, have: int) -> bool:
    """Whether the answer continues the part; False where it is the whole file once more."""
    start = response.headers.get("Content-Range", "")
    if response.status_code == 206 and start.startswith(f"bytes {have}-"):
        return True
    if response.status_code in (206, 416):  # another part than was asked for: begin anew
        job.part.unlink(missing_ok=True)
    if response.status_code != 200:
        raise refusal(job, response)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind.endswith(("html", "json")):
        raise job.absent(
            "a page or a message answered in its place, perhaps a proxy's or one to log in"
        )
    return False


def _receive(job: Job, size: int, response: Any, have: int, digest: Any) -> None:
    """Append what comes to the part, and to its digest."""
    length = _number(response, "Content-Length")
    if length is not None and have + length != size:
        raise _wrong_length(job, have + length, size)
    percent = -1  # a message a chunk would be thousands
    with open(job.part, "ab") as file:
        for chunk in _chunks(response):
            have += len(chunk)
            if have > size:
                break
            file.write(chunk)
            digest.update(chunk)
            if have * 100 // size > percent:
                percent = have * 100 // size
                job.progress(have, size)
            job.check()
        file.flush()
        os.fsync(file.fileno())
    if have > size:  # only now: Windows deletes no open file
        raise _wrong_length(job, have, size)
    if have < size:
        raise AgainError(
            f"{job.known.name} was cut off after {have} of {size} bytes; run again to go on "
            "from there."
        )


def _chunks(response: Any) -> Iterator[bytes]:
    """What comes, until it ends or is cut off: the length tells which."""
    from requests import RequestException

    with suppress(RequestException):
        yield from response.iter_content(CHUNK)


# Sentences


def _wrong_length(job: Job, served: int, stated: int) -> FetchError:
    job.part.unlink(missing_ok=True)
    return FetchError(
        f"{job.known.name} is served with {served} bytes, but {stated} were stated; what came "
        "was deleted, perhaps a proxy or a log-in page answered in its place."
    )


def unreachable(job: Job, error: Exception) -> FetchError:
    # The kind of error only: its text may quote the token or a signed address.
    return job.absent(f"its address cannot be reached ({type(error).__name__})")


def refusal(job: Job, response: Any) -> FetchError:
    status = response.status_code
    if status in (408, 429) or status >= 500:
        asked = _number(response, "Retry-After")
        when = "later" if asked is None else f"in {asked} seconds"
        again = job.absent(f"the server is too busy ({status}), run again {when}", AgainError)
        again.wait = AgainError.wait if asked is None else asked
        return again
    if status in (401, 403) and isinstance(job.known.source, Hub):
        return job.absent(
            f"the server refuses it ({status}): set HF_TOKEN to a token that may read it, or "
            "unset an outdated one"
        )
    words = {401: "refuses it", 403: "refuses it", 404: "has it no more", 410: "has it no more"}
    said = f"{words[status]} ({status})" if status in words else f"answered {status}"
    return job.absent(f"the server {said}")
