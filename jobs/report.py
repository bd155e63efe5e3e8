"""What became of a job's photos: facts for a tab, rows for reports, a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .ledger import Ledger
from .outputs import Output
from .progress import measures, page, progress
from .rows import DONE, Job, Photo

PAGE = 500
"""Photos that are asked for, and held, at once."""
COLUMNS = (
    *("path", "state", "attempts", "seconds", "width", "height"),
    *("outputs", "output sha256", "error", "notes"),
)
FORMULAS = tuple("=+-@\t\r\n＝＋－＠")
"""A text that begins so is a formula, or part of one, to spreadsheets of some country."""
BETWEEN = " | "
"""Between several outputs in one cell; no name holds it, as Windows forbids the bar."""


@dataclass(frozen=True)
class Row:
    """A photo with what it became."""

    photo: Photo
    outputs: list[Output]
    """Those that are done."""
    notes: list[str]
    """What was lost on the way, each a sentence."""
    measures: dict[str, float | None]


@dataclass(frozen=True)
class Summary:
    """A measure over all photos of a job."""

    name: str
    photos: int
    mean: float
    least: float
    most: float


def row(ledger: Ledger, photo: Photo) -> Row:
    """A photo with what it became."""
    outputs = [output for output in ledger.outputs.of(photo.id) if output.state == "done"]
    return Row(photo, outputs, ledger.outputs.notes(photo.id), measures(ledger, photo.id))


def job_facts(ledger: Ledger, job: Job) -> dict[str, Any]:
    """A job and how far it is, as JSON."""
    now = progress(ledger, job.id)
    same = ("id", "created", "state", "reason", "name", "left_out", "lost")
    return {
        **{name: getattr(job, name) for name in same},
        **{"source": str(job.source), "target": str(job.target)},
        **{"limit": job.settings.limit, "auto_resume": job.settings.auto_resume},
        **{"counts": now.counts, "total": now.total, "left": now.left, "bytes": now.bytes},
        **{"per_minute": now.per_minute, "seconds_left": now.seconds_left},
    }


def photo_facts(ledger: Ledger, photo: Photo) -> dict[str, Any]:
    """A photo and what it became, as JSON."""
    same = ("id", "path", "place", "state", "error", "seconds", "width", "height", "size")
    found = row(ledger, photo)
    facts = {name: getattr(photo, name) for name in same}
    outputs = {
        "outputs": [output.path for output in found.outputs],
        "sha256": [output.sha256 for output in found.outputs],
        "source_sha256": photo.sha256,
    }
    return {**facts, **outputs, "notes": found.notes, "measures": found.measures}


def rows(ledger: Ledger, job: int, states: Sequence[str] = ()) -> Iterator[Row]:
    """The photos of a job, of some states or all, in their order; few are held at a time."""
    after = ""
    while photos := page(ledger, job, states, after, PAGE):
        for photo in photos:
            yield row(ledger, photo)
        after = photos[-1].place


def summaries(ledger: Ledger, job: int) -> list[Summary]:
    """What was measured in a job, by name; photos whose value is no number count for nothing."""
    found = ledger.database.connection().execute(
        "SELECT name, count(value), avg(value), min(value), max(value) FROM measure"
        " WHERE photo IN (SELECT id FROM photo WHERE job = ?)"
        " GROUP BY name HAVING count(value) ORDER BY name",
        (job,),
    )
    return [Summary(*values) for values in found]


def csv_report(ledger: Ledger, job: Job) -> Iterator[bytes]:
    """A table of all photos (RFC 4180, UTF-8), piece by piece, with a column for each measure.

    It begins with the mark by which Excel knows UTF-8. A text that a spreadsheet would compute is
    written behind an apostrophe.
    """
    names = [summary.name for summary in summaries(ledger, job.id)]
    yield b"\xef\xbb\xbf" + _line([*COLUMNS, *names])
    for found in rows(ledger, job.id):
        photo = found.photo
        yield _line(
            [
                *(photo.path, photo.state, photo.attempts + (photo.state == DONE)),
                *(_seconds(photo.seconds), photo.width, photo.height),
                BETWEEN.join(output.path for output in found.outputs),
                BETWEEN.join(output.sha256 for output in found.outputs),
                photo.error,
                " ".join(found.notes),
                *(found.measures.get(name) for name in names),
            ]
        )


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _line(cells: Sequence[str | float | None]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([_safe(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().encode()


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULAS) else cell
