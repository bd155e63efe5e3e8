"""How a batch ended: for a person, for a program, and as an exit code."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from batch_options import PAUSED, STOPPED, WRONG
from batch_progress import duration

LISTED = 20
"""So many failures are printed at most."""


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

    def tell(self, target: Path) -> None:
        """Print it."""
        if self.job is not None:
            print(plain(f"{self._numbers()} in {duration(self.seconds)}: {target}"))
        for path, reason in self.failures[:LISTED]:
            print(plain(f"  {reason}" if reason.startswith(path) else f"  {path}: {reason}"))
        if (more := len(self.failures) - LISTED) > 0:
            print(f"  ... and {more} more, which --json tells")
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
        return f"{done} photos done{earlier}, {len(self.failures)} failed"

    def json(self) -> str:
        """All of it."""
        failures = [{"path": path, "error": reason} for path, reason in self.failures]
        return json.dumps({**asdict(self), "failures": failures}, indent=1, ensure_ascii=False)

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
