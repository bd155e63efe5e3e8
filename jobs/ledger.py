"""What is to be done and what was done: jobs, their photos and the state of each."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from . import graph as graphs
from .database import Database, LedgerError
from .outputs import Outputs
from .rows import INTERRUPTED, RUNNING, Job, Photo, Settings
from .scan import Found, natural_key, stem
from .workflow import Prompt

CRASHES = 10
"""So often may the host end with a photo in its queue before the photo is held to be the cause."""


PHOTO = ", ".join(f"photo.{column.name}" for column in fields(Photo))


class Ledger:
    """All jobs of an installation, in one file; any thread may ask and tell.

    Args:
        clock: the time in seconds since 1970.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self.database, self.clock = Database(file), clock
        self.outputs = Outputs(self.database)

    # Jobs

    def create(
        self,
        name: str,
        graph: Prompt,
        source: Path,
        target: Path,
        settings: Settings,
        workflow: Mapping[str, Any] | None = None,
    ) -> Job:
        """A new job, running.

        Args:
            workflow: the graph as the canvas saves it, to be embedded in the results.

        Raises:
            GraphError: no job can be made of the graph.
        """
        graphs.check(graph)
        # The third part held settings once; jobs of then are still recognised by it.
        likeness = graphs.digest([graphs.graph_hash(graph), str(target), {}])
        with self.database.writing() as connection:
            number = connection.execute(
                "INSERT INTO job (created, state, name, graph, workflow, source, target, settings,"
                " saves, likeness) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self.clock(), RUNNING, name, json.dumps(graph), workflow and json.dumps(workflow),
                 str(source), str(target), json.dumps(asdict(settings)),
                 len(graphs.fed_saves(graph)), likeness),
            ).lastrowid  # fmt: skip
        return self.job(number)

    def job(self, number: int) -> Job:
        """One job.

        Raises:
            LedgerError: there is none of that number.
        """
        row = self._rows("SELECT * FROM job WHERE id = ?", number).fetchone()
        if row is None:
            raise LedgerError(f"There is no job {number} (any more).")
        return _job(row)

    def workflow(self, job: int) -> dict[str, Any] | None:
        """A job's graph as the canvas saves it, if it was told."""
        row = self._rows("SELECT workflow FROM job WHERE id = ?", job).fetchone()
        return json.loads(row["workflow"]) if row and row["workflow"] else None

    def jobs(self, *states: str) -> list[Job]:
        """All jobs, or those in some states, the oldest first."""
        among = f"WHERE state IN ({_marks(states)})" if states else ""
        return [_job(row) for row in self._rows(f"SELECT * FROM job {among} ORDER BY id", *states)]

    def set_state(self, job: int, state: str, reason: str | None = None) -> None:
        """Put a job into a state, for a reason if a person would ask for one."""
        self._write("UPDATE job SET state = ?, reason = ? WHERE id = ?", state, reason, job)

    def delete(self, job: int) -> None:
        """Forget a job and all its rows; files stay."""
        self._write("DELETE FROM job WHERE id = ?", job)

    # Scanning: what is in the folder -> rows

    def begin_scan(self, job: int) -> int:
        """The number of a new scan, which `merge` and `end_scan` take."""
        with self.database.writing():
            self._write("UPDATE job SET scans = scans + 1 WHERE id = ?", job)
            return self._rows("SELECT scans FROM job WHERE id = ?", job).fetchone()[0]

    def merge(self, job: int, scan: int, found: Iterable[Found]) -> None:
        """Enter photos that were found: a new or changed one waits, another stays as it was."""
        rows = [
            (job, f.path, natural_key(f.path), f.size, f.mtime_ns, scan, stem(f.path))
            for f in found
        ]
        with self.database.writing() as connection:
            connection.executemany(MERGE, rows)

    def has_photos(self, job: int) -> bool:
        """Whether any scan has found a photo of a job that is not known to be gone."""
        return bool(
            self._rows(
                "SELECT 1 FROM photo WHERE job = ? AND state <> 'gone' LIMIT 1", job
            ).fetchone()
        )

    def end_scan(self, job: int, scan: int, left_out: str | None, lost: int = 0) -> None:
        """What was not found and not done yet is gone.

        Args:
            left_out: what the scan passed over, a sentence.
            lost: how many things of it may be photos of the folder.
        """
        with self.database.writing():
            self._write("UPDATE job SET left_out = ?, lost = ? WHERE id = ?", left_out, lost, job)
            self._write(
                "UPDATE photo SET state = 'gone' WHERE job = ? AND scan <> ?"
                " AND state IN ('waiting', 'failed')",
                job, scan,
            )  # fmt: skip

    # Photos

    def photo(self, number: int) -> Photo:
        """One photo.

        Raises:
            LedgerError: there is none of that number.
        """
        row = self._rows(f"SELECT {PHOTO} FROM photo WHERE id = ?", number).fetchone()
        if row is None:
            raise LedgerError(f"There is no photo {number} in the jobs (any more).")
        return Photo(*row)

    def rank(self, photo: Photo) -> int:
        """How many photos of its job come before a photo."""
        return self._rows(
            "SELECT count(*) FROM photo WHERE job = ? AND place < ?", photo.job, photo.place
        ).fetchone()[0]

    def siblings(self, photo: Photo) -> list[str]:
        """The paths of the job's other photos whose path is the same but for case and suffix."""
        rows = self._rows(
            "SELECT path FROM photo WHERE job = ? AND stem = ? AND id <> ?",
            photo.job, stem(photo.path), photo.id,
        )  # fmt: skip
        return [path for (path,) in rows]

    def waiting(self, job: int, count: int) -> list[Photo]:
        """The next photos: in their order, but one that failed before after all others.

        Last come those that the host ended with, which may be to blame for it.
        """
        rows = self._rows(
            f"SELECT {PHOTO} FROM photo WHERE job = ? AND state = 'waiting'"
            " ORDER BY crashes, attempts, place LIMIT ?", job, count,
        )  # fmt: skip
        return [Photo(*row) for row in rows]

    def queue(self, photos: Sequence[int]) -> None:
        """They are in the host's queue from now on; outputs of before count no more."""
        marks = _marks(photos)
        with self.database.writing():
            self._write(f"UPDATE photo SET state = 'queued' WHERE id IN ({marks})", *photos)
            self._write(f"UPDATE output SET state = 'old' WHERE photo IN ({marks})", *photos)

    def take_back(self, photos: Sequence[int], alone: bool = False) -> None:
        """Queued photos wait again, no attempt counted; from now on each alone, if said so."""
        self._write(
            "UPDATE photo SET state = 'waiting', alone = max(alone, ?)"
            f" WHERE state = 'queued' AND id IN ({_marks(photos)})",
            int(alone), *photos,
        )  # fmt: skip

    def fail(self, photo: int, reason: str, retries: int) -> None:
        """An attempt failed, maybe after its output: it waits for another, or was the last one."""
        self._write(
            "UPDATE photo SET attempts = attempts + 1, error = ?, finished = ?,"
            " state = CASE WHEN attempts >= ? THEN 'failed' ELSE 'waiting' END"
            " WHERE id = ? AND state IN ('waiting', 'queued', 'done')",
            reason, self.clock(), retries, photo,
        )  # fmt: skip

    def finished(self, job: int, after: str, count: int) -> list[Photo]:
        """The photos that have outputs, page by page in their order: those behind a place."""
        rows = self._rows(
            f"SELECT {PHOTO} FROM photo WHERE job = ? AND place > ? AND state IN"
            " ('done', 'skipped') ORDER BY place LIMIT ?", job, after, count,
        )  # fmt: skip
        return [Photo(*row) for row in rows]

    def miss(self, photo: int) -> None:
        """A photo's outputs are not there any more as they were: it is to be done again."""
        self._write("UPDATE photo SET state = 'waiting', attempts = 0 WHERE id = ?", photo)

    def leave(self, photo: int) -> None:
        """A photo's file was removed."""
        self._write("UPDATE photo SET state = 'gone' WHERE id = ?", photo)

    def forgive(self, job: int) -> None:
        """The failed photos of a job get all their attempts once more."""
        self._write(
            "UPDATE photo SET state = 'waiting', attempts = 0, crashes = 0"
            " WHERE job = ? AND state = 'failed'", job,
        )  # fmt: skip

    def set_size(self, photo: int, width: int, height: int) -> None:
        """A photo's size in pixels, upright."""
        self._write("UPDATE photo SET width = ?, height = ? WHERE id = ?", width, height, photo)

    def set_content(self, photo: int, sha256: str) -> None:
        """What was read of a photo is what its outputs are made from."""
        self._write("UPDATE photo SET sha256 = ? WHERE id = ?", sha256, photo)

    def record(self, photo: int, name: str, value: float) -> None:
        """A measure of a photo; a later one of the same name replaces it."""
        self._write("INSERT OR REPLACE INTO measure VALUES (?, ?, ?)", photo, name, float(value))

    def queued(self, job: int | None = None) -> list[Photo]:
        """The photos of a job, or of all jobs, that are said to be in the host's queue."""
        rows = self._rows(
            f"SELECT {PHOTO} FROM job JOIN photo ON job = job.id"
            " WHERE photo.state = 'queued' AND job.id = coalesce(?, job.id)", job,
        )  # fmt: skip
        return [Photo(*row) for row in rows]

    def recover(self) -> list[Job]:
        """After the host ended in whatever way: the jobs that ran, now interrupted.

        A queued photo is done if all it announced lies on the disk, else it waits again.
        """
        for photo in self.queued():
            job = self.job(photo.job)
            with self.database.writing():
                if self.outputs.found(photo.id, job.target) >= job.saves:
                    self._write(DONE_WITHOUT_TIME, self.clock(), photo.id)
                else:
                    reason = f"The host ended {CRASHES} times while it had this photo."
                    self._write(CRASHED, CRASHES, CRASHES, reason, photo.id)
        jobs = self.jobs(RUNNING)
        for job in jobs:
            self.set_state(job.id, INTERRUPTED, "The host ended while this job ran.")
        return jobs

    def _rows(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self.database.connection().execute(statement, values)

    def _write(self, statement: str, *values: Any) -> None:
        with self.database.writing() as connection:
            connection.execute(statement, values)


# A changed file waits; its outputs stay known, for if it was only touched nothing is to be done.
MERGE = """
INSERT INTO photo (job, path, place, size, mtime_ns, scan, stem, state)
VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting')
ON CONFLICT (job, place) DO UPDATE SET
    scan = excluded.scan,
    state = CASE WHEN state = 'queued' OR (state <> 'gone' AND size = excluded.size
        AND mtime_ns = excluded.mtime_ns) THEN state ELSE 'waiting' END,
    attempts = CASE WHEN state = 'queued' OR (state <> 'gone' AND size = excluded.size
        AND mtime_ns = excluded.mtime_ns) THEN attempts ELSE 0 END,
    width = CASE WHEN mtime_ns = excluded.mtime_ns THEN width END,
    height = CASE WHEN mtime_ns = excluded.mtime_ns THEN height END,
    size = CASE WHEN state = 'queued' THEN size ELSE excluded.size END,
    mtime_ns = CASE WHEN state = 'queued' THEN mtime_ns ELSE excluded.mtime_ns END
"""
DONE_WITHOUT_TIME = "UPDATE photo SET state = 'done', error = NULL, finished = ? WHERE id = ?"
CRASHED = """
UPDATE photo SET crashes = crashes + 1, alone = 1,
    state = CASE WHEN crashes + 1 >= ? THEN 'failed' ELSE 'waiting' END,
    error = CASE WHEN crashes + 1 >= ? THEN ? ELSE error END
WHERE id = ?
"""


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _job(row: sqlite3.Row) -> Job:
    told = json.loads(row["settings"])  # an older version's may hold more
    settings = Settings(**{one.name: told[one.name] for one in fields(Settings)})
    folders = {"source": Path(row["source"]), "target": Path(row["target"])}
    known = {**dict(row), **folders, "settings": settings, "graph_text": row["graph"]}
    return Job(**{one.name: known[one.name] for one in fields(Job)})
