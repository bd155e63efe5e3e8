"""Which photo comes next, and what becomes of those in the host's queue: the engine's one step."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from stat import S_ISDIR

from . import graph as graphs
from .database import LedgerError
from .flight import WINDOW, Flight, Flights
from .ledger import Ledger
from .port import Photos, Port, RefusedError, State
from .rows import FINISHED, PAUSED, STOPPED, Job, Photo
from .scan import Found, left_out, lost, scan, stem

BATCH = 500
"""Files that a scan enters at once, before photos get their turn again."""
LOOK = 50
"""Photos already done that are passed over at once, for the same reason."""
TURN = 60.0
"""Seconds that a job keeps its turn while another waits: at each change of graphs the host may
forget the networks of one and read those of the other."""
AHEAD = 4
"""Groups' worth of photos that are looked through for those of equal size."""


@dataclass(eq=False)
class Run:
    """A job that is running."""

    job: Job
    scanning: Iterator[None] | None
    folder: tuple[int, int] | None
    """Which folder its photos are in; a name alone may be an empty mount point by now."""
    disk: int | None
    """Which one its results go to, for the same reason."""
    turn: int = 0
    """When its last turn began; the job that waited longest is next."""


class Dispatcher:
    """Keeps the host's queue filled from the jobs that run; used by the engine's thread."""

    def __init__(
        self,
        ledger: Ledger,
        port: Port,
        photos: Photos,
        flights: Flights,
        clock: Callable[[], float],
    ) -> None:
        self.ledger, self.port, self.photos = ledger, port, photos
        self.flights, self.clock = flights, clock
        self.runs: dict[int, Run] = {}
        self._turn, self._since = 0, 0.0
        self._passed_over = 0
        self._unsaid: dict[int, tuple[str, str | None]] = {}

    def admit(self, job: Job) -> None:
        """Run a job, beginning with a look at what its folder holds now."""
        self._unsaid.pop(job.id, None)
        disk = (_identity(job.target) or (None,))[0]
        self.runs[job.id] = Run(job, self._scan(job), _identity(job.source), disk)
        self.flights.wake()

    def halt(self, job: int, state: str, reason: str | None = None, withdraw: str = "all") -> None:
        """Run a job no longer; any thread may say so."""
        self.runs.pop(job, None)
        self.flights.withdraw(job, withdraw)
        self._unsaid[job] = state, reason
        self._say()

    def _say(self) -> None:
        """Record the states of halted jobs; a full disk may not let it happen until later."""
        for job, said in list(self._unsaid.items()):
            with suppress(sqlite3.Error):
                self.ledger.set_state(job, *said)
                self._unsaid.pop(job, None)

    def as_said(self, job: Job) -> Job:
        """A job in the state that it is in, though the ledger may not know it yet."""
        state, reason = self._unsaid.get(job.id, (job.state, job.reason))
        return replace(job, state=state, reason=reason)

    def fail(self, photo: Photo, job: Job, reason: str, final: bool = False) -> None:
        """A photo's attempt failed; one whose file was removed meanwhile is gone, not failed.

        If a whole folder went away, the photo waits, and the job pauses until it is back.
        """
        is_gone = _is_gone(job.source / photo.path)
        if why := self._source_trouble(job, is_gone) or self.target_trouble(job, not final):
            self.hold_up(photo, why)
        elif is_gone:
            self.ledger.leave(photo.id)
        else:
            self.ledger.fail(photo.id, reason, 0 if final else job.settings.retries)

    def hold_up(self, photo: Photo, reason: str) -> None:
        """A photo could not be done for no fault of its own: it waits, and its job pauses."""
        if photo.job in self.runs:
            self.halt(photo.job, PAUSED, reason, "waiting")
        self.ledger.take_back([photo.id])

    def _source_trouble(self, job: Job, is_gone: bool) -> str | None:
        run = self.runs.get(job.id)
        if _identity(job.source) != run.folder if run else is_gone:
            return f"{job.source} is not there any more: bring it back and resume."
        left = scan(job.source, self.photos.SUFFIXES, without=job.target)
        return _no_photos(job) if is_gone and next(left, None) is None else None

    def target_trouble(self, job: Job, has_failed: bool = False) -> str | None:
        """Why nothing can be written into a job's folder now, if it is so; a sentence.

        Args:
            has_failed: whether something may not have been writable, so that rights are worth
                asking for, of which not all disks tell the truth.
        """
        run, found = self.runs.get(job.id), _identity(job.target)
        if found is None:
            return f"{job.target} is not there: bring its disk back, or make it anew, and resume."
        if os.path.realpath(job.target) != str(job.target):
            return f"{job.target} leads elsewhere by a link now: put the folder back and resume."
        if run and run.disk not in (None, found[0]):
            return f"{job.target} is on another disk now: bring the one before back and resume."
        if has_failed and not os.access(job.target, os.W_OK):
            return f"Nothing can be written into {job.target}: see to its rights and resume."
        return None

    def step(self, look_at_all: bool = False) -> bool:
        """Do what can be done now; whether there is more to do at once.

        Args:
            look_at_all: ask the host about every prompt, not only those that are likely over.
        """
        self._passed_over = 0
        self._say()
        for flight in self.flights.list():
            with self._alone(flight.job):
                self._look(flight, look_at_all)
        for run in list(self.runs.values()):
            with self._alone(run.job.id):
                if run.scanning and next(run.scanning, True):
                    run.scanning = None
        self._fill()
        for run in list(self.runs.values()):
            with self._alone(run.job.id):
                self._finish(run)
        return self._passed_over >= LOOK or any(run.scanning for run in list(self.runs.values()))

    @contextmanager
    def _alone(self, job: int) -> Iterator[None]:
        """What goes wrong in here halts that job and no other; a deleted one may go wrong."""
        try:
            yield
        except Exception as error:
            if job in self.runs:
                logging.getLogger(__name__).exception("photo job %s came to a halt", job)
                self.halt(job, PAUSED, f"The job came to a halt: {error}")

    # The folder

    def _scan(self, job: Job) -> Iterator[None]:
        """Bring the ledger up to what is in the folders, a batch at each step."""
        if why := self.target_trouble(job):  # before what lay there is taken for deleted
            self.halt(job.id, PAUSED, why)
            return
        number = self.ledger.begin_scan(job.id)
        troubles: list[tuple[str, str]] = []
        found = scan(
            job.source,
            self.photos.SUFFIXES,
            without=job.target,
            trouble=lambda path, why: troubles.append((path, why)),
        )
        is_empty = True
        for batch in _batches(islice(found, job.settings.limit)):
            is_empty = False
            self.ledger.merge(job.id, number, batch)
            yield
        if (why := dict(troubles).get(".")) is not None:
            self.halt(job.id, PAUSED, f"{job.source} cannot be scanned: {why}.")
            return
        if is_empty and self.ledger.has_photos(job.id):
            self.halt(job.id, PAUSED, _no_photos(job))
            return
        self.ledger.end_scan(job.id, number, left_out(troubles), lost(troubles))
        after = ""
        while number > 1 and (page := self.ledger.finished(job.id, after, BATCH)):
            for photo in page:
                if not self.ledger.outputs.is_there(photo.id, job):
                    self.ledger.miss(photo.id)
            after = page[-1].place
            yield

    # Into the host's queue

    def _fill(self) -> None:
        while self.runs:
            count = len(self.flights.in_host())
            if count >= WINDOW or (count and self.port.others()):
                return
            if any(flight.is_suspect for flight in self.flights.list()):
                return
            runs = sorted(self.runs.values(), key=self._order)
            if not any(self._serve(run) for run in runs):
                return

    def _order(self, run: Run) -> tuple[bool, int]:
        """Sorts jobs: the one whose turn it is, then those that waited longest."""
        is_over = self.clock() - self._since >= TURN
        return is_over or run.turn < self._turn, run.turn

    def _serve(self, run: Run) -> bool:
        """Queue a job's next prompt; whether there was one."""
        with self._alone(run.job.id):
            photos = self._choose(run.job)
            if not photos or (photos[0].crashes and self.flights.list()):
                return False
            if self._order(run)[0]:
                self._turn, self._since = self._turn + 1, self.clock()
                run.turn = self._turn
            self._submit(run.job, photos)
            return True
        return False

    def _choose(self, job: Job) -> list[Photo]:
        """The photos of a job's next prompt; those that are done already are passed over."""
        group = job.settings.group
        while self._passed_over < LOOK:
            photos = self.ledger.waiting(job.id, group * AHEAD if group > 1 else 1)
            fresh = [photo for photo in photos if not self._pass_over(photo, job)]
            if fresh or not photos:
                return self._mates(fresh, job, group) if group > 1 else fresh
        return []

    def _pass_over(self, photo: Photo, job: Job) -> bool:
        earlier = self.ledger.outputs.earlier(photo, job)
        if earlier is not None:
            self.ledger.outputs.skip(photo.id, earlier)
            self._passed_over += 1
        return earlier is not None

    def _mates(self, photos: Sequence[Photo], job: Job, group: int) -> list[Photo]:
        """The first photo with the next ones of its size."""
        if not photos or photos[0].alone:
            return list(photos[:1])
        size = self._size(photos[0], job)
        mates = (photo for photo in photos[1:] if not photo.alone)
        same = (photo for photo in mates if size and self._size(photo, job) == size)
        return [photos[0], *islice(same, group - 1)]

    def _size(self, photo: Photo, job: Job) -> tuple[int, int] | None:
        """A photo's pixel size; None of one that cannot be read, whose own attempt will say why."""
        if photo.width and photo.height:
            return photo.width, photo.height
        try:
            size = self.photos.size(job.source / photo.path)
        except (OSError, ValueError):
            return None
        self.ledger.set_size(photo.id, *size)
        return size

    def _submit(self, job: Job, chosen: Sequence[Photo]) -> None:
        photos = [photo.id for photo in chosen]
        is_suspect = any(photo.crashes for photo in chosen)
        flight = Flight(job.id, tuple(photos), self.clock(), is_suspect)
        self.ledger.queue(photos)
        self.flights.add(flight)
        try:
            flight.prompt = self.port.submit(graphs.with_photos(job.graph, flight.asker, photos))
        except Exception as error:
            self.flights.remove(flight)
            self.ledger.take_back(photos)
            state = STOPPED if isinstance(error, RefusedError) else PAUSED
            self.halt(job.id, state, f"The host does not take the graph: {error}")
            return
        if job.id not in self.runs:  # halted in this very moment
            flight.withdraw = "all"

    # Out of it

    def _look(self, flight: Flight, anyway: bool) -> None:
        """Ask what became of a prompt, and settle the photos that it leaves open."""
        if flight.end is None and flight.withdraw and not flight.is_withdrawn:
            if flight.withdraw == "all" or self.port.state(flight.prompt).kind == "waiting":
                self.port.cancel(flight.prompt)
                flight.is_withdrawn = flight.is_due = True
            else:
                flight.withdraw = ""
        if flight.end is None and (flight.is_due or anyway):
            state = self.port.state(flight.prompt)
            if state.kind in ("waiting", "running"):
                return
            flight.end = state
            self.port.forget(flight.prompt)
        if flight.end is not None:
            with self.flights.changed:
                written_yet = {photo for photo, _ in flight.writing}
                left = sorted(flight.unsettled - written_yet)
            if left:
                with suppress(LedgerError):  # the job was deleted: nothing of it is recorded
                    self._settle(flight, flight.end, left)
                self.flights.settled(left)
            if not flight.unsettled:
                self.flights.remove(flight)

    def _settle(self, flight: Flight, end: State, left: Sequence[int]) -> None:
        """Record what became of photos whose prompt is over without them."""
        if flight.is_withdrawn or end.kind == "gone":
            self.ledger.take_back(left)
            if not flight.is_withdrawn:
                self.halt(flight.job, PAUSED, "Its prompt was taken out of the host's queue.")
        elif end.kind == "failed" and not self._sees_photo(flight, end):
            self.ledger.take_back(left)  # as a missing model, it would fail every photo
            self.halt(flight.job, STOPPED, end.reason)
        elif len(flight.photos) > 1:
            self.ledger.take_back(left, alone=True)
        else:
            reason = end.reason if end.kind == "failed" else "The graph ended without saving."
            job = self.ledger.job(flight.job)
            self.fail(self.ledger.photo(left[0]), job, reason)

    def _sees_photo(self, flight: Flight, end: State) -> bool:
        return graphs.sees_photo(self.ledger.job(flight.job).graph, end.node)

    def _finish(self, run: Run) -> None:
        number = run.job.id
        if run.scanning or self._passed_over or self.flights.list(number):
            return
        if number in self.runs and not self.ledger.waiting(number, 1):
            self.halt(number, FINISHED)


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another of its name; None if there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if S_ISDIR(status.st_mode) else None


def _no_photos(job: Job) -> str:
    """Why a job waits whose folder is empty: it may be the mount point of a disk that is away."""
    return (
        f"{job.source} holds no photos any more: is its disk there? Bring them back and resume, or "
        "delete the job."
    )


def _is_gone(file: Path) -> bool:
    """Whether there is no file of that name; a disk that does not answer knows nothing of it."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Parts of what was found, some BATCH each, that leave together what may get one name."""
    batch: list[Found] = []
    for _, alike in groupby(found, _neighbourhood):
        batch += alike
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _neighbourhood(found: Found) -> tuple[str, str]:
    """A photo's folder, and its name to the first dot, by which it lies beside those alike."""
    folder, _, name = stem(found.path).rpartition("/")
    return folder, name.partition(".")[0]
