"""How far a job is, and its photos page by page: what a tab, a progress bar and a report show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ledger import PHOTO, Ledger
from .rows import DONE, FAILED, GONE, QUEUED, SKIPPED, WAITING, Photo

RECENT = 100
"""Photos, of those done last, whose time tells how long the others will take."""


@dataclass(frozen=True)
class Progress:
    """Where a job stands."""

    counts: dict[str, int]
    """Photos by state."""
    bytes: int
    """Of all photos that are there."""
    seconds_per_photo: float | None
    """Lately; None before the first is done."""

    @property
    def total(self) -> int:
        """Photos that are there."""
        return sum(self.counts.get(s, 0) for s in (WAITING, QUEUED, DONE, FAILED, SKIPPED))

    @property
    def left(self) -> int:
        """Photos still to be done."""
        return self.counts.get(WAITING, 0) + self.counts.get(QUEUED, 0)

    @property
    def per_minute(self) -> float | None:
        """Photos a minute."""
        return 60 / self.seconds_per_photo if self.seconds_per_photo else None

    @property
    def seconds_left(self) -> float | None:
        """Until all are done at that pace."""
        return None if self.seconds_per_photo is None else self.left * self.seconds_per_photo


def progress(ledger: Ledger, job: int) -> Progress:
    """Count a job's photos; some 10 ms for 100,000."""
    connection = ledger.database.connection()
    rows = connection.execute(
        "SELECT state, count(*), sum(size) FROM photo WHERE job = ? GROUP BY state", (job,)
    ).fetchall()
    (seconds,) = connection.execute(
        "SELECT avg(seconds) FROM (SELECT seconds FROM photo WHERE job = ? AND finished IS NOT NULL"
        " AND state = 'done' ORDER BY finished DESC LIMIT ?)",
        (job, RECENT),
    ).fetchone()
    total = sum(size for state, _, size in rows if state != GONE)
    return Progress({state: count for state, count, _ in rows}, total, seconds)


def page(
    ledger: Ledger, job: int, states: Sequence[str] = (), after: str = "", count: int = 100
) -> list[Photo]:
    """Photos in their order, of some states or all: so many behind the `place` of another."""
    among = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
    rows = ledger.database.connection().execute(
        f"SELECT {PHOTO} FROM photo WHERE job = ? AND place > ? {among} ORDER BY place LIMIT ?",
        (job, after, *states, count),
    )
    return [Photo(*row) for row in rows]


def latest(ledger: Ledger, job: int, count: int = 10) -> list[Photo]:
    """The photos done last, the newest first, then some that were done before the job."""
    rows = ledger.database.connection().execute(
        f"SELECT {PHOTO} FROM photo WHERE job = ? AND finished IS NOT NULL AND state = 'done'"
        " ORDER BY finished DESC LIMIT ?",
        (job, count),
    )
    done = [Photo(*row) for row in rows]
    return [*done, *page(ledger, job, [SKIPPED], count=count - len(done))]


def measures(ledger: Ledger, photo: int) -> dict[str, float | None]:
    """What was measured of a photo, by name."""
    rows = ledger.database.connection().execute(
        "SELECT name, value FROM measure WHERE photo = ? ORDER BY name", (photo,)
    )
    return dict(tuple(row) for row in rows)
