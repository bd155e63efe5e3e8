"""The files that photos became: what the ledger says of them, held against what lies on the disk.

An output is announced, with its sha256, before its file gets its name, and done after it. Whatever
ends the process in between, the next one knows the file for the job's own, and whether it is whole.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .database import Database
from .rows import Job, Photo
from .scan import are_same, folded

CHUNK = 1 << 20


@dataclass(frozen=True)
class Output:
    """A file below its job's output folder."""

    photo: int
    node: str
    path: str
    sha256: str
    size: int | None
    mtime_ns: int | None
    state: str


OUTPUT = "photo, node, path, sha256, size, mtime_ns, state"


class Outputs:
    """The outputs of all jobs."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def of(self, photo: int) -> list[Output]:
        """A photo's outputs by the order of their nodes."""
        rows = self.database.connection().execute(
            f"SELECT {OUTPUT} FROM output WHERE photo = ? ORDER BY node", (photo,)
        )
        return [Output(*row) for row in rows]

    def announce(
        self, photo: int, node: str, path: str, sha256: str, notes: Sequence[str] = ()
    ) -> None:
        """A file of that content is about to get that name; it is so said for good on return.

        Args:
            notes: what the file cannot hold.
        """
        with self.database.writing(durable=True) as connection:
            connection.execute(
                "INSERT INTO output (photo, node, path, folded, sha256, state)"
                " VALUES (?, ?, ?, ?, ?, 'announced')"
                " ON CONFLICT (photo, node) DO UPDATE SET"
                " path = excluded.path, folded = excluded.folded,"
                " before = CASE WHEN path = excluded.path THEN before || ' ' || sha256 ELSE '' END,"
                " sha256 = excluded.sha256, state = excluded.state",
                (photo, node, path, folded(path), sha256),
            )
            self.note(photo, node, notes)

    def note(self, photo: int, node: str, notes: Sequence[str]) -> None:
        """What was lost of a photo on its way into a node's file, in place of what was said before.

        Args:
            node: none for what was lost when the photo was read.
        """
        with self.database.writing() as connection:
            connection.execute("DELETE FROM note WHERE photo = ? AND node = ?", (photo, node))
            rows = [(photo, node, text) for text in notes]
            connection.executemany("INSERT OR IGNORE INTO note VALUES (?, ?, ?)", rows)

    def notes(self, photo: int) -> list[str]:
        """What was lost of a photo, each a sentence, and each once."""
        rows = self.database.connection().execute(
            "SELECT text FROM note WHERE photo = ? ORDER BY node, text", (photo,)
        )
        return list(dict.fromkeys(text for (text,) in rows))

    def commit(self, photo: int, node: str, seconds: float, now: float) -> bool:
        """An announced file has its name; whether that was the last one and the photo is done."""
        with self.database.writing() as connection:
            row = connection.execute(
                "SELECT output.path, target, saves FROM output JOIN photo ON photo.id = photo"
                " JOIN job ON job.id = job WHERE photo.id = ? AND node = ?",
                (photo, node),
            ).fetchone()
            if row is None:  # the job was deleted meanwhile
                return True
            self._take_in(photo, node, Path(row["target"], row["path"]))
            is_done = self._done(photo) >= row["saves"]
            if is_done:
                connection.execute(
                    "UPDATE photo SET state = 'done', error = NULL, seconds = ?, finished = ?"
                    " WHERE id = ? AND state <> 'failed'",
                    (seconds, now, photo),
                )
        return is_done

    def found(self, photo: int, target: Path) -> int:
        """How many of a photo's outputs are done, counting announced files that are there."""
        for output in self.of(photo):
            file = target / output.path
            if output.state == "announced" and sha256_of(file) == output.sha256:
                self._take_in(photo, output.node, file)
        return self._done(photo)

    def own(self, photo: Photo, job: Job, path: str, node: str) -> bool:
        """Whether the file of that name was made of this photo by a job of this kind.

        Such a file may be replaced. Any other is a stranger's, also that of another graph, whose
        result is not lost because a knob was turned, or of another photo: a.jpg beside a.png, or
        one of the same name in another folder, even if both became the same file.

        Args:
            node: only what this Save node made counts.
        """
        makers = self._makers(job, path)
        like = (photo.place, job.likeness, node)
        is_made = any((m["place"], m["likeness"], m["node"]) == like for m in makers)
        return is_made and all(maker["source"] == str(job.source) for maker in makers)

    def maker(self, job: Job, path: str) -> tuple[str, str] | None:
        """Who made the file of that name in a job's output folder: a job's name and its source."""
        makers = self._makers(job, path)
        others = [maker for maker in makers if maker["source"] != str(job.source)]
        return next(((maker["name"], maker["source"]) for maker in (*others, *makers)), None)

    def _makers(self, job: Job, path: str) -> list[sqlite3.Row]:
        """Whatever announced the file that has this name now in a job's output folder."""
        rows = self.database.connection().execute(
            "SELECT output.sha256, before, place, source, likeness, node, name FROM output"
            " JOIN photo ON photo.id = photo JOIN job ON job.id = job"
            " WHERE output.path = ? AND target = ?",
            (path, str(job.target)),
        ).fetchall()  # fmt: skip
        found = sha256_of(job.target / path) if rows else None
        return [row for row in rows if found in (row["sha256"], *row["before"].split())]

    def path(self, photo: int, node: str) -> str | None:
        """Where a node has announced a photo's file last, if it ever did."""
        found = self.database.connection().execute(
            "SELECT path FROM output WHERE photo = ? AND node = ?", (photo, node)
        ).fetchone()  # fmt: skip
        return found and found["path"]

    def rival(self, photo: Photo, job: Job, path: str, node: str) -> str | None:
        """The other photo of the job that has that name for a result, or this one for another.

        A name in another case is the same where the disk says so.
        """
        rows = self.database.connection().execute(
            "SELECT output.path, photo.path AS source FROM output JOIN photo ON photo.id = photo"
            " WHERE folded = ? AND job = ? AND NOT (photo.id = ? AND node = ?)",
            (folded(path), job.id, photo.id, node),
        )
        for row in rows:
            if row["path"] == path or are_same(job.target / row["path"], job.target / path):
                return row["source"]
        return None

    def earlier(self, photo: Photo, job: Job) -> int | None:
        """The photo whose outputs are what this one's would be, all of them still as they were.

        That is a photo at the same place of this or another job, of the same content, graph and
        settings. Contents are compared by what the disk says of the file, or else by sha256.
        """
        rows = self.database.connection().execute(
            "SELECT old.id, old.mtime_ns, old.sha256, other.source"
            " FROM job AS other JOIN photo AS old ON old.job = other.id AND old.place = ?"
            " WHERE other.likeness = ? AND old.size = ?"
            " AND (old.state IN ('done', 'skipped') OR old.id = ?)",
            (photo.place, job.likeness, photo.size, photo.id),
        )
        for number, mtime_ns, sha256, source in rows.fetchall():
            untouched = mtime_ns == photo.mtime_ns and source == str(job.source)
            same = number != photo.id and untouched
            if not self.is_whole(number, job):
                continue
            if same or (sha256 and sha256_of(job.source / photo.path) == sha256):
                return number
        return None

    def skip(self, photo: int, earlier: int) -> None:
        """A photo needs no work, because an earlier one's outputs are its own."""
        with self.database.writing() as connection:
            if photo == earlier:
                connection.execute("UPDATE photo SET state = 'done' WHERE id = ?", (photo,))
                return
            connection.execute(
                "UPDATE photo SET state = 'skipped', error = NULL, sha256 ="
                " (SELECT sha256 FROM photo WHERE id = ?) WHERE id = ?",
                (earlier, photo),
            )
            connection.execute("DELETE FROM output WHERE photo = ?", (photo,))
            connection.execute(
                f"INSERT INTO output ({OUTPUT}, folded)"
                " SELECT ?, node, path, sha256, size, mtime_ns, state, folded"
                " FROM output WHERE photo = ?",
                (photo, earlier),
            )
            connection.execute("DELETE FROM note WHERE photo = ?", (photo,))
            connection.execute(
                "INSERT INTO note SELECT ?, node, text FROM note WHERE photo = ?", (photo, earlier)
            )

    def is_whole(self, photo: int, job: Job) -> bool:
        """Whether all of a photo's outputs are done and lie there as they were."""
        outputs = self.of(photo)
        return len(outputs) >= job.saves and all(is_unchanged(job.target, o) for o in outputs)

    def is_there(self, photo: int, job: Job) -> bool:
        """Whether each of a photo's outputs is done and lies there, maybe changed by a person.

        What a person changed is left so, with a note; it is no reason to make the photo again.
        """
        outputs = self.of(photo)
        if len(outputs) < job.saves or any(output.state != "done" for output in outputs):
            return False
        changed = [output for output in outputs if not is_unchanged(job.target, output)]
        for output in changed:  # what another job made is no person's work on this result
            is_gone = not os.path.lexists(job.target / output.path)
            if is_gone or self._makers(job, output.path):
                return False
        if changed:
            text = "{} was changed after it was made; it was left so."
            rows = [(photo, output.node, text.format(output.path)) for output in changed]
            with self.database.writing() as connection:
                connection.executemany("INSERT OR IGNORE INTO note VALUES (?, ?, ?)", rows)
        return True

    def _take_in(self, photo: int, node: str, file: Path) -> None:
        status = file.stat()
        with self.database.writing() as connection:
            connection.execute(
                "UPDATE output SET state = 'done', size = ?, mtime_ns = ?"
                " WHERE photo = ? AND node = ?",
                (status.st_size, status.st_mtime_ns, photo, node),
            )

    def _done(self, photo: int) -> int:
        return self.database.connection().execute(
            "SELECT count(*) FROM output WHERE photo = ? AND state = 'done'", (photo,)
        ).fetchone()[0]  # fmt: skip


def is_unchanged(target: Path, output: Output) -> bool:
    """Whether a done output still lies there as it was; read only if it was touched since."""
    file = target / output.path
    try:
        status = file.stat()
    except OSError:
        return False
    if output.state != "done" or status.st_size != output.size:
        return False
    return status.st_mtime_ns == output.mtime_ns or sha256_of(file) == output.sha256


def sha256_of(file: Path) -> str | None:
    """The sha256 of a file's content, None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(file, "rb") as data:
            while chunk := data.read(CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
