"""The prompts that are on their way through the host, and what is still open of each."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from .port import State

WINDOW = 2
"""Of the engine's prompts in the host's queue: one that runs and one that comes next."""


@dataclass(eq=False)
class Flight:
    """A prompt for some photos of a job."""

    job: int
    photos: tuple[int, ...]
    begun: float
    is_suspect: bool = False
    """Whether the host ended with its photo before: nothing else shall be in the queue then."""
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    """Goes with the prompt: any other that names the photos is not the engine's."""
    prompt: str = ""
    """The host's id; none while it is being submitted."""
    unsettled: set[int] = field(default_factory=set)
    """Photos that are neither done nor failed."""
    writing: set[tuple[int, str]] = field(default_factory=set)
    """Photo and node of what is being encoded or written in the background."""
    saves: set[tuple[int, str]] = field(default_factory=set)
    """The same of all that was left to the background."""
    opened: set[int] = field(default_factory=set)
    """Photos that were read: it runs."""
    withdraw: str = ""
    """Whether to cancel it: no, `waiting` if it does not run yet, or `all`."""
    is_withdrawn: bool = False
    is_due: bool = False
    """Whether it has most likely left the host's queue, so that asking is worth while."""
    end: State | None = None
    """How it left the host's queue."""

    @property
    def asker(self) -> str:
        """What Job Photo shows for its photos."""
        return f"{self.job}:{self.secret}"


class Flights:
    """All prompts in flight; the condition is notified when the engine should look again."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._all: list[Flight] = []
        self._settled = 0.0
        self._woken = False

    def add(self, flight: Flight) -> None:
        with self.changed:
            flight.unsettled.update(flight.photos)
            self._all.append(flight)

    def remove(self, flight: Flight) -> None:
        with self.changed:
            self._all.remove(flight)

    def clear(self) -> None:
        """Forget all of them: the engine has stopped."""
        with self.changed:
            self._all.clear()

    def list(self, job: int | None = None) -> list[Flight]:
        """All of them or a job's, in the order in which they were submitted."""
        with self.changed:
            return [flight for flight in self._all if job in (None, flight.job)]

    def of(self, photo: int) -> Flight | None:
        """The one that a photo is in."""
        return next((flight for flight in self.list() if photo in flight.photos), None)

    def are_for(self, asker: str, photos: Sequence[int]) -> bool:
        """Whether all those photos are in the flight that shows this."""
        flights = [self.of(photo) for photo in photos]
        return all(f and secrets.compare_digest(f.asker.encode(), asker.encode()) for f in flights)

    def in_host(self) -> list[Flight]:
        """Those in the host's queue."""
        return [flight for flight in self.list() if flight.end is None]

    def upcoming(self) -> list[int]:
        """The photos that the host will ask for next, in that order."""
        with self.changed:
            flights = self.in_host()
            return [p for f in flights for p in f.photos if p in f.unsettled - f.opened]

    def opened(self, photo: int, now: float) -> None:
        """A photo was read: whatever was submitted before its prompt has left the host."""
        with self.changed:
            found = self.of(photo)
            if found and not found.opened:
                found.begun = now
                for flight in self._all[: self._all.index(found)]:
                    flight.is_due = True
                self.wake()
            if found:
                found.opened.add(photo)

    def writing(self, photo: int, node: str) -> bool:
        """An output is left to the background: the photo is open though its prompt may end.

        Returns:
            Whether it is that node's first one of the photo.
        """
        with self.changed:
            flight = self.of(photo)
            if flight is None:
                return True
            if (photo, node) in flight.saves:
                return False
            flight.saves.add((photo, node))
            flight.writing.add((photo, node))
            return True

    def written(self, photo: int, node: str) -> None:
        """The background has ended with an output, well or not."""
        with self.changed:
            if flight := self.of(photo):
                flight.writing.discard((photo, node))
                self.wake()

    def seconds(self, photo: int, now: float) -> float:
        """How long the host has been at a photo: since its prompt began or the last one was done.

        So the seconds of all photos add up to the time that they took together.
        """
        flight = self.of(photo)
        return max(now - max(flight.begun, self._settled), 0.0) if flight else 0.0

    def settled(self, photos: Sequence[int], now: float = 0.0) -> None:
        """Photos are done, at that time, or failed or taken back."""
        with self.changed:
            self._settled = max(self._settled, now)
            for photo in photos:
                if flight := self.of(photo):
                    flight.unsettled.discard(photo)
                    flight.writing = {one for one in flight.writing if one[0] != photo}
                    flight.is_due |= not flight.unsettled
            self.wake()

    def withdraw(self, job: int, what: str) -> None:
        """Have a job's prompts cancelled: `waiting` or `all`."""
        with self.changed:
            for flight in self.list(job):
                flight.withdraw = what
            self.wake()

    def wake(self) -> None:
        """Have the engine look at once."""
        with self.changed:
            self._woken = True
            self.changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Sleep until woken; whether it was."""
        with self.changed:
            self.changed.wait_for(lambda: self._woken, seconds)
            woken, self._woken = self._woken, False
            return woken
