"""The results of a job as one ZIP file, written while it is read: nothing lies anywhere between."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from .ledger import Ledger
from .outputs import is_unchanged
from .pictures import inside
from .report import csv_report, rows
from .rows import DONE, SKIPPED, Job

CHUNK = 1 << 20
"""Bytes of a file that are held at once."""


class _Passage:
    """What a ZIP is written into; it holds only what was not taken yet, and cannot go back."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """All there is can be taken at any time."""

    def take(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data


def archive(ledger: Ledger, job: Job) -> Iterator[bytes]:
    """A ZIP of a job's results, piece by piece, as they lie below its output folder.

    It holds what the ledger says is done and what still lies there as it was, the notes beside it,
    and the job's report. Photos are compressed already, so they are stored as they are.
    """
    passage = _Passage()
    with zipfile.ZipFile(passage, "w") as made:
        for name, file in _results(ledger, job):
            info = zipfile.ZipInfo.from_file(file, name, strict_timestamps=False)
            yield from _entry(made, passage, info, _content(file))
        yield from _entry(made, passage, "report.csv", csv_report(ledger, job))
    yield passage.take()


def _entry(
    made: zipfile.ZipFile, passage: _Passage, info: zipfile.ZipInfo | str, parts: Iterable[bytes]
) -> Iterator[bytes]:
    with made.open(info, "w") as entry:
        for part in parts:
            entry.write(part)
            yield passage.take()


def _content(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as data:
        while chunk := data.read(CHUNK):
            yield chunk


def _results(ledger: Ledger, job: Job) -> Iterator[tuple[str, Path]]:
    """The files of a job: names below its output folder, and where they really lie."""
    for found in rows(ledger, job.id, (DONE, SKIPPED)):
        paths = {o.path: None for o in found.outputs if is_unchanged(job.target, o)}
        for name in (name for path in paths for name in (path, f"{path}.json")):
            if (file := inside(job.target, name)) is not None:
                yield name, file
