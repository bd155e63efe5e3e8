"""Photo jobs: started, paused, resumed and cancelled here; what nodes do to a photo is told here.

One thread keeps the host's queue filled; it begins with the first job and sleeps until something
happens. A photo is done when the last of its outputs is, whatever its prompt does afterwards.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import graph as graphs
from .database import LedgerError
from .dispatch import Dispatcher
from .flight import Flights
from .folders import FolderError
from .ledger import Ledger
from .overlap import is_disk_full
from .photos import HeldUpError, PhotoError
from .port import Photos, Port
from .rows import CANCELLED, FINISHED, PAUSED, RUNNING, Job, Settings
from .scan import are_same, ignore
from .workflow import Prompt

POLL = 0.5
"""Seconds after which the engine looks even if nothing was told."""
SOON = 0.002
"""Seconds until it looks again at a prompt that has done its work and should be ending."""


class Engine:
    """All jobs of an installation.

    Args:
        clock: the time in seconds since 1970.
        prefetch: called with the photos that the host will ask for next, whenever that changes.
        drop: where photos are put by others than jobs, and may be left half-written.
    """

    def __init__(
        self,
        ledger: Ledger,
        port: Port,
        photos: Photos,
        clock: Callable[[], float] = time.time,
        prefetch: Callable[[Sequence[int]], None] = ignore,
        drop: Path | None = None,
    ) -> None:
        self.drop = drop
        self.ledger, self.photos, self.clock, self.prefetch = ledger, photos, clock, prefetch
        self.flights = Flights()
        self.dispatcher = Dispatcher(ledger, port, photos, self.flights, clock)
        self._lock = threading.RLock()
        self._alone = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    # Life

    def open(self) -> None:
        """Take up what the last process left; jobs that ran are interrupted, or go on if they may.

        Raises:
            LedgerError: another process has these jobs.
        """
        with self._lock:
            if self._alone is not None:
                return
            self._alone = _held(self.ledger.database.file)
            try:
                unsettled = {photo.job for photo in self.ledger.queued()}
                targets = {self.ledger.job(job).target for job in unsettled}
                interrupted = self.ledger.recover()
            except BaseException:  # as with a full disk: the next try begins anew
                self._alone.release()
                self._alone = None
                raise
            left_in = targets | {job.target for job in interrupted} | {self.drop}
            self._tidy(left_in - {None})
            for job in interrupted:
                if job.settings.auto_resume:
                    self.resume(job.id)

    def _tidy(self, folders: Collection[Path]) -> None:
        """Have leftovers deleted, beside all else: to look through a folder may take minutes."""

        def tidy() -> None:
            for folder in folders:
                self.photos.delete_leftovers(folder)

        threading.Thread(target=tidy, name="photo leftovers", daemon=True).start()

    def stop(self) -> None:
        """End the thread; jobs that ran are interrupted when an engine opens next."""
        with self._lock:
            self._stopping = True
            self.flights.wake()
            if self._thread is not None:
                self._thread.join()
                self._thread = None
            if self._alone is not None:
                self._alone.release()
                self._alone = None
            self.dispatcher.runs.clear()
            self.flights.clear()
            self._stopping = False

    # Commands

    def create(
        self,
        name: str,
        graph: Prompt,
        source: Path,
        target: Path,
        settings: Settings | None = None,
        workflow: Mapping[str, Any] | None = None,
    ) -> Job:
        """Start a job for the photos below `source`, with its results below `target`.

        Args:
            workflow: the graph as the canvas saves it, to be embedded in the results.

        Raises:
            GraphError: no job can be made of the graph.
            FolderError: results would come among the photos, or there is no room for them.
            LedgerError: another process has these jobs.
        """
        graphs.check(graph)
        _expect_apart(source, target)
        self.open()
        _make(target)
        settings = replace(settings or Settings(), group=graphs.group_of(graph))
        graph = graphs.needed(graph)
        job = self.ledger.create(name, graph, source, target, settings, workflow)
        self._run(job)
        return job

    def resume(self, job: int, forgive: bool = False) -> None:
        """Go on with a job in whatever state, with what its folder holds now.

        Args:
            forgive: try photos again that have failed.

        Raises:
            LedgerError: there is no such job, or another process has it.
        """
        self.open()
        with self._lock:
            found = self.ledger.job(job)
            if job in self.dispatcher.runs:
                return
            flying = {photo for flight in self.flights.list(job) for photo in flight.photos}
            lost = [p.id for p in self.ledger.queued(job) if p.id not in flying]
            self.ledger.take_back(lost)
            if forgive:
                self.ledger.forgive(job)
            self.ledger.set_state(job, RUNNING)
            self._tidy([found.target])  # a disk that was away may have taken a half-written file
            self._run(found)

    def job(self, number: int) -> Job:
        """A job as it is now; the ledger's own word may be older, as while the disk is full.

        Raises:
            LedgerError: there is none of that number.
        """
        return self.dispatcher.as_said(self.ledger.job(number))

    def jobs(self) -> list[Job]:
        """All jobs as they are now, the oldest first."""
        return [self.dispatcher.as_said(job) for job in self.ledger.jobs()]

    def pause(self, job: int, reason: str | None = None, now: bool = False) -> None:
        """Queue no more of a job's photos; what runs is finished, or cancelled if it is `now`."""
        if job in self.dispatcher.runs or self.job(job).state == RUNNING:
            self.dispatcher.halt(job, PAUSED, reason, "all" if now else "waiting")

    def cancel(self, job: int) -> None:
        """End a job, also what runs of it; one that has ended stays as it is."""
        if self.job(job).state not in (FINISHED, CANCELLED):
            self.dispatcher.halt(job, CANCELLED)

    def delete(self, job: int) -> None:
        """End a job and forget it; its results stay."""
        self.cancel(job)
        self.ledger.delete(job)

    # What nodes tell

    def upcoming(self) -> list[int]:
        """The photos that the host will ask for next, in that order."""
        return self.flights.upcoming()

    def opened(
        self, photo: int, sha256: str, width: int, height: int, notes: Sequence[str] = ()
    ) -> None:
        """A photo was read, with that content and upright size, and but for what the notes say."""
        self.flights.opened(photo, self.clock())
        with self.ledger.database.writing():
            self.ledger.set_content(photo, sha256)
            self.ledger.set_size(photo, width, height)
            self.ledger.outputs.note(photo, "", notes)

    def own(self, photo: int, path: str, node: str, replace: bool = False) -> bool:
        """Whether the file of that name in the output folder is the job's own, to be replaced.

        Args:
            node: the Save node that asks, which may replace only what it made itself.
            replace: whether a foreign file may be replaced, too.

        Raises:
            HeldUpError: nothing may be written into that folder now.
            PhotoError: it is the result of another photo of the job, or of another node, or a
                foreign file that may not be replaced.
        """
        row = self.ledger.photo(photo)
        job = self.ledger.job(row.job)
        if why := self.dispatcher.target_trouble(job):
            raise HeldUpError(None, why)
        if rival := self.ledger.outputs.rival(row, job, path, node):
            raise PhotoError(f"{path} is the result of {rival} already: choose another suffix.")
        is_own = self.ledger.outputs.own(row, job, path, node)
        if not (is_own or replace) and os.path.lexists(job.target / path):
            raise PhotoError(self._taken(job, path))
        return is_own

    def _taken(self, job: Job, path: str) -> str:
        """Why a file that is there is not replaced, and what to do; a sentence."""
        maker = self.ledger.outputs.maker(job, path)
        if maker is None:
            return (
                f"{path} is there already and is not what this job would write there (it was "
                "changed, or made by somebody else or by a job that was forgotten): move it away, "
                "choose another suffix or folder, or switch replace on."
            )
        name, source = maker
        return (
            f"{path} is there already, made by the job {name} for the photos of {source}: choose "
            "another suffix or output folder, or switch replace on if that result may go."
        )

    def writing(self, photo: int, node: str) -> None:
        """A Save node leaves an output to the background; `written` must follow.

        Raises:
            ValueError: it did so before in this prompt, and one picture would replace the other.
        """
        if not self.flights.writing(photo, node):
            reason = "A Save node ran twice for one photo: give it one picture for each photo."
            self.failed(photo, reason, final=True)
            raise ValueError(reason)

    def announce(
        self, photo: int, node: str, path: str, sha256: str, notes: Sequence[str] = ()
    ) -> None:
        """A file, complete and on the disk, is about to get that name in the output folder.

        Args:
            notes: what it cannot hold of its photo, each a sentence.

        Raises:
            LedgerError: the job was deleted, and the file is wanted no more.
        """
        self.ledger.photo(photo)
        self.ledger.outputs.announce(photo, node, path, sha256, notes)

    def saved(self, photo: int, node: str) -> None:
        """The announced file has its name."""
        now = self.clock()
        seconds = self.flights.seconds(photo, now)
        if self.ledger.outputs.commit(photo, node, seconds, now):
            self.flights.settled([photo], now)

    def written(self, photo: int, node: str) -> None:
        """The background has ended with an output, well or not."""
        self.flights.written(photo, node)

    def failed(self, photo: int, reason: str, final: bool = False) -> None:
        """A photo cannot be done, and another attempt would not help if that is `final`."""
        row = self.ledger.photo(photo)
        self.dispatcher.fail(row, self.ledger.job(row.job), reason, final)
        self.flights.settled([photo])

    def held_up(self, photo: int, reason: str) -> None:
        """Nothing can be written now, as on a full disk: its job pauses, and the photo waits."""
        self.dispatcher.hold_up(self.ledger.photo(photo), reason)
        self.flights.settled([photo])

    # The thread

    def _run(self, job: Job) -> None:
        with self._lock:
            self.dispatcher.admit(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="photo jobs", daemon=True)
                self._thread.start()

    def _loop(self) -> None:
        wait, looked, shown, trouble = SOON, 0.0, [], ""
        while not self._stopping:
            now = time.monotonic()
            if is_time := now - looked >= POLL:
                looked = now
            try:
                more = self.dispatcher.step(look_at_all=is_time)
            except Exception as error:  # a thread that died would leave jobs running for ever
                more = False
                if str(error) != trouble:  # it may last, but is told once
                    trouble = str(error)
                    logging.getLogger(__name__).exception("photo jobs came to a halt")
                for job in list(self.dispatcher.runs):
                    self.pause(job, f"The jobs came to a halt: {error}")
            if (ahead := self.upcoming()) != shown:
                shown = ahead
                self.prefetch(ahead)
            if not more:
                due = any(flight.is_due for flight in self.flights.in_host())
                wait = SOON if self.flights.wait(wait if due else POLL) else min(2 * wait, POLL)


def _expect_apart(source: Path, target: Path) -> None:
    """Let folders pass of which no result comes to lie among the photos.

    An output folder inside of the other one is passed over when photos are looked for. One around
    it would have the folders of photos mirrored beside, and at worst into, the photos' own.

    Raises:
        FolderError: they are others.
    """
    if any(are_same(folder, target) for folder in (source, *source.parents)):
        raise FolderError(
            f"The photos of {source} lie in {target} themselves, where results would come among "
            "them: choose another output folder."
        )


def _make(target: Path) -> None:
    """Make a job's output folder: from now on, it is not there only if its disk is away.

    Raises:
        FolderError: it cannot be made.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise FolderError(
            f"{target} cannot be made ({error.strerror}): choose another output folder."
        ) from error


def _held(file: Path):
    """The right to run the jobs of a ledger, which one process has at a time and loses by ending.

    Raises:
        LedgerError: another process has it.
    """
    from filelock import FileLock, Timeout

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{file}.lock", thread_local=False)  # any thread may stop the engine
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LedgerError(
            "Another ComfyUI with the same user folder runs its photo jobs; use that one or end it."
        ) from error
    return lock
