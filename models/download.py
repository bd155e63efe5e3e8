"""One published file, streamed into a folder: resumed where it was cut, verified, then named.

Beside `<name>` there may be `<name>.part` (what has come so far), `<name>.part.lock` (held while
fetching) and `<name>.lock.json` (which revision and sha256 it is); no list of weights shows them.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from .hub import Known, Stated, forbidden
from .transfer import AgainError, FetchError, Job, ignore, refusal, transfer, unreachable

ATTEMPTS = 3
"""In a row without a byte more; then the sentence, and what has come waits for the next run."""
LONGEST_WAIT = 20.0
"""Seconds that a server may ask for before it is better to give the prompt back."""


def fetch(
    known: Known,
    folder: Path,
    *,
    progress: Callable[[int, int], None] = ignore,
    check: Callable[[], None] = ignore,
    tell: Callable[[str], None] = ignore,
) -> Path:
    """Bring a known weight into a folder; whoever else fetches it there is waited for.

    Args:
        progress: called with the bytes that have come and those there are.
        check: called often; what it raises ends the fetching, and the next one goes on from there.
        tell: called with a sentence at the start, while waiting and at the end.

    Raises:
        FetchError: offline or not allowed, refused, not there, cut off for long, another file than
            was stated, or no room; names the file, and the address and folder where they help.
    """
    raised: list[OSError] = []
    callbacks = [_noting(raised, callback) for callback in (progress, check, tell)]
    job = Job(known, folder, *callbacks)
    if job.target.is_file():
        return job.target
    if why := forbidden():
        raise job.absent(why)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(job):
            if not job.target.is_file():
                _download(job)
    except OSError as error:
        if error in raised:
            raise
        raise _unwritable(job, error) from error
    return job.target


def _noting(raised: list[OSError], callback: Callable[..., None]) -> Callable[..., None]:
    """The callback, its own errors noted so that none is taken for the folder's."""

    def call(*arguments: object) -> None:
        try:
            callback(*arguments)
        except OSError as error:
            raised.append(error)
            raise

    return call


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Hold the file's lock, which threads and processes share and which dies with its holder."""
    from filelock import FileLock, Timeout

    lock, told = FileLock(job.beside(".part.lock")), False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            job.check()
            if not told:
                job.tell(f"{job.known.name} is being fetched by another prompt; waiting for it.")
            told = True
    try:
        yield
    finally:
        lock.release()
        if job.target.is_file():  # whoever comes now finds the file, whichever lock it holds
            with suppress(OSError):
                job.beside(".part.lock").unlink(missing_ok=True)


def _download(job: Job) -> None:
    """Attempt it, going on where it was cut, until it is there or nothing moves any more."""
    known, left = job.known, ATTEMPTS
    job.tell(
        f"Fetching {known.label}, {known.licence} licence, from {known.source.url()} "
        f"into {job.folder}."
    )
    while True:
        have = job.have()
        job.check()
        try:
            stated = _stated(job)
            return _finish(job, stated, transfer(job, stated))
        except AgainError as error:
            left = ATTEMPTS if job.have() > have else left - 1
            if not left or error.wait > LONGEST_WAIT:
                raise
            wait = error.wait
        _pause(job, wait)


def _pause(job: Job, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (rest := end - time.monotonic()) > 0:
        job.check()
        time.sleep(min(rest, 0.1))


def _stated(job: Job) -> Stated:
    """What the source states, its gaps filled with what the pack knows."""
    known = job.known
    try:
        stated = known.source.stated()
    except Exception as error:
        response = getattr(error, "response", None)
        if response is None:
            raise unreachable(job, error) from error
        raise refusal(job, response) from error
    if stated.identity is None:
        raise job.absent("what answered is no Hub: look at HF_ENDPOINT and at your proxy")
    sha256 = known.sha256 or stated.sha256
    if stated.sha256 not in (None, sha256):
        raise FetchError(
            f"The Hub holds another {known.name} (sha256 {stated.sha256}) than the one that "
            f"RestoreFlow knows (sha256 {sha256}); it was not fetched, update RestoreFlow."
        )
    size = stated.size or (known.size if known.exact else None)
    return replace(stated, size=size, sha256=sha256)


def _finish(job: Job, stated: Stated, sha256: str) -> None:
    """Verify the part and give it its name."""
    name, before = job.known.name, job.remembered()
    same = before.get("etag") == stated.identity
    expected = stated.sha256 or (before.get("sha256") if same else None)
    if sha256 != (expected or sha256):
        job.part.unlink()
        raise FetchError(
            f"{name} came damaged: its sha256 is {sha256}, but {expected} was stated; it was "
            "deleted, run again to fetch it anew."
            if stated.sha256
            else f"{name} is another file (sha256 {sha256}) than the one fetched before (sha256 "
            f"{expected}), and was deleted; delete {name}.lock.json to take the new one."
        )
    job.remember(
        {"url": job.known.source.url(), "revision": stated.revision, "etag": stated.identity,
         "size": job.have(), "sha256": sha256, "stated": stated.sha256 is not None}
    )  # fmt: skip
    os.replace(job.part, job.target)
    job.tell(
        f"{name} is there; its sha256 is {sha256}, as stated."
        if stated.sha256
        else f"{name} is there; no sha256 is stated for it, so {sha256} is remembered."
    )


def _unwritable(job: Job, error: OSError) -> FetchError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return FetchError(
            f"There is no room for {job.known.label} in {job.folder}; make room and run again, "
            f"what has come ({job.have()} bytes in {job.part.name}) is kept."
        )
    why = error.strerror or error
    return FetchError(f"{job.known.label} cannot be written into {job.folder} ({why}).")
