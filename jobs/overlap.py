"""Reading the next photos and writing the last ones while the network works, in bounded memory."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from .database import LedgerError
from .photos import FULL, DiskError, HeldUpError

Read = TypeVar("Read")
Announce = Callable[[str, str, Sequence[str]], None]
"""Told, right before a file gets its name, its path below the output folder with `/`, its sha256
and what it cannot hold; what this raises must leave the name alone."""


class Reports(Protocol):
    """Whom the writer tells what became of a photo: the engine."""

    def writing(self, photo: int, node: str) -> None: ...
    def announce(
        self, photo: int, node: str, path: str, sha256: str, notes: Sequence[str] = ()
    ) -> None: ...
    def saved(self, photo: int, node: str) -> None: ...
    def written(self, photo: int, node: str) -> None: ...
    def failed(self, photo: int, reason: str, final: bool = False) -> None: ...
    def held_up(self, photo: int, reason: str) -> None: ...


class Writer:
    """Encodes and writes in the background, one output after the other.

    Args:
        room: outputs that may wait; the next one waits in its node until there is room.
    """

    def __init__(self, reports: Reports, room: int = 2) -> None:
        self.reports = reports
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(room)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, photo: int, node: str, write: Callable[[Announce], object]) -> None:
        """Leave an output to the background, where `write` writes the file."""
        self.reports.writing(photo, node)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="photo writer", daemon=True)
                self._thread.start()
        self._queue.put(lambda: self._write(photo, node, write))

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            if self._thread is not None:
                self._queue.put(None)
                self._thread.join()
                self._thread = None

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task()

    def _write(self, photo: int, node: str, write: Callable[[Announce], object]) -> None:
        reports = self.reports
        try:
            write(partial(reports.announce, photo, node))
            reports.saved(photo, node)
        except Exception as error:
            self._tell(photo, error)
        finally:
            reports.written(photo, node)

    def _tell(self, photo: int, error: Exception) -> None:
        try:
            if isinstance(error, HeldUpError) or is_disk_full(error):
                self.reports.held_up(photo, _sentence(error))
            else:
                self.reports.failed(photo, _sentence(error), is_final(error))
        except LedgerError:  # its job was deleted
            pass
        except Exception:  # the ledger cannot be written: it stays queued until resumed
            logging.getLogger(__name__).exception("photo %s cannot be recorded", photo)


def is_final(error: Exception) -> bool:
    """Whether another attempt must fail, too: what a ValueError says of a photo stays true."""
    return isinstance(error, ValueError) and not isinstance(error, DiskError)


def is_disk_full(error: Exception) -> bool:
    """Whether there was no room, for a file or for the ledger itself."""
    return getattr(error, "errno", None) in FULL or "disk is full" in str(error)


def _sentence(error: Exception) -> str:
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    return text if text.endswith(".") else f"{text}."


class Reader(Generic[Read]):
    """Reads photos before they are asked for.

    Args:
        read: a photo's number -> the photo.
        weight: how many bytes a photo takes.
        room: no more is read ahead while so many bytes lie here; the last one may go beyond.
    """

    def __init__(
        self, read: Callable[[int], Read], weight: Callable[[Read], int], room: int = 1 << 30
    ) -> None:
        self.read, self.weight, self.room = read, weight, room
        self._changed = threading.Condition()
        self._wanted: list[int] = []
        self._held: dict[int, tuple[Read | Exception, int]] = {}
        self._reading: int | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def expect(self, photos: Sequence[int]) -> None:
        """These are asked for next; whatever else was read ahead is dropped."""
        with self._changed:
            self._wanted = list(photos)
            self._held = {photo: kept for photo, kept in self._held.items() if photo in photos}
            if self._thread is None and photos:
                self._thread = threading.Thread(target=self._work, name="photo reader", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def take(self, photo: int) -> Read:
        """A photo, read ahead or now; raises what reading it raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._reading != photo)
            found = self._held.pop(photo, None)
            self._wanted = [other for other in self._wanted if other != photo]
            self._changed.notify_all()
        if found is None:
            return self.read(photo)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def close(self) -> None:
        """Drop what was read, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._thread, self._held, self._wanted, self._closing = None, {}, [], False

    def _next(self) -> int | None:
        if sum(bytes for _, bytes in self._held.values()) >= self.room:
            return None
        return next((photo for photo in self._wanted if photo not in self._held), None)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._next() is not None)
                if self._closing:
                    return
                photo = self._reading = self._next()
            try:
                found = self.read(photo)
                kept = (found, self.weight(found))
            except Exception as error:
                kept = (error, 0)
            with self._changed:
                self._reading = None
                if photo in self._wanted:
                    self._held[photo] = kept
                self._changed.notify_all()
