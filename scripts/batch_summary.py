"""How a batch ended: for a person, for a program, and as an exit code."""

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from batch_options import DONE, FAILED, PAUSED, STOPPED, WRONG
from batch_progress import duration

LISTED = 20
"""So many failures, and so many kinds of notes, are printed at most."""


@dataclass
class Summary:
    """How a batch ended."""

    exit_code: int
    reason: str | None = None
    job: int | None = None
    state: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """Photos by state."""
    outputs: int = 0
    """Files in the output folder."""
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Photos with their reasons."""
    notes: list[tuple[str, list[str]]] = field(default_factory=list)
    """What could not be carried into results, by photo."""
    left_there: list[str] = field(default_factory=list)
    """Folders of the server that nobody but the batch needed."""

    def tell(self, target: Path) -> None:
        """Print it."""
        if self.job is not None:
            print(plain(f"{self._numbers()} in {duration(self.seconds)}: {target}"))
        for path, reason in self.failures[:LISTED]:
            print(plain(f"  {reason}" if reason.startswith(path) else f"  {path}: {reason}"))
        if (more := len(self.failures) - LISTED) > 0:
            print(f"  ... and {more} more, which --json tells")
        said = Counter(note for _, notes in self.notes for note in notes)
        for note, count in said.most_common(LISTED):
            print(plain(f"  {count} photo{'s' * (count > 1)}: {note}"))
        if self.left_there and self.exit_code in (DONE, FAILED):
            sent, made = self.left_there
            print(plain(f"The server keeps what was sent in {sent} and what was made in {made}: "
                        f"delete both there, and forget job {self.job} in its Photo jobs tab, "
                        "when you want no more of it."))  # fmt: skip
        reason = "\n".join(map(plain, (self.reason or "").splitlines()))  # it may quote a log
        if self.exit_code in (WRONG, STOPPED):
            print(f"batch: {reason}", file=sys.stderr)
        elif reason:
            print(reason)
        if self.exit_code in (STOPPED, PAUSED):
            print("The same command goes on from here.")

    def _numbers(self) -> str:
        before = self.counts.get("skipped", 0)
        done = self.counts.get("done", 0) + before
        earlier = f" ({before} by an earlier job)" if before else ""
        gone = f", {self.counts['gone']} gone" if self.counts.get("gone") else ""
        noun = "photo" if done == 1 else "photos"
        return f"{done} {noun} done{earlier}, {self.counts.get('failed', 0)} failed{gone}"

    def json(self) -> str:
        """All of it, in letters that every encoding and terminal takes."""
        lists = {
            "failures": [{"path": path, "error": reason} for path, reason in self.failures],
            "notes": [{"path": path, "notes": notes} for path, notes in self.notes],
        }
        return json.dumps({**asdict(self), **lists}, indent=1)

    def write(self, to: str) -> None:
        """Write it as JSON into a file, or with `-` to standard output."""
        if to == "-":
            print(self.json())
            return
        try:
            Path(to).write_text(self.json() + "\n", encoding="utf-8")
        except OSError as error:
            print(f"batch: {to} cannot be written ({error.strerror})", file=sys.stderr)
            self.exit_code = self.exit_code or STOPPED


def plain(text: str) -> str:
    """A line with what would steer a terminal, and may be in a file's name, written out."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
