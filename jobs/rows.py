"""What the ledger holds, as values: jobs and photos, and the names of their states."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .workflow import Prompt

RUNNING, PAUSED, INTERRUPTED = "running", "paused", "interrupted"
CANCELLED, FINISHED, STOPPED = "cancelled", "finished", "stopped"
WAITING, QUEUED, DONE, FAILED, SKIPPED, GONE = (
    "waiting", "queued", "done", "failed", "skipped", "gone",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How a job is run; nothing of it decides about what it makes."""

    retries: int = 2
    """Attempts after a photo's first one."""
    group: int = 1
    """Photos of equal size that share a prompt."""
    limit: int | None = None
    """A dry run: so many of the first photos only."""
    auto_resume: bool = False
    """Whether it goes on by itself when the host starts again."""


@dataclass(frozen=True)
class Job:
    """A graph for the photos of a folder, with its results in another."""

    id: int
    created: float
    state: str
    reason: str | None
    """Why it is paused or stopped, a sentence."""
    name: str
    graph_text: str
    """The graph as JSON, which may be long and is seldom asked for."""
    source: Path
    target: Path
    settings: Settings
    saves: int
    """How many outputs each photo has."""
    likeness: str
    left_out: str | None
    """What the last scan passed over, a sentence."""
    lost: int
    """How many things of it may be photos of the folder; a link that leads out is none."""

    @cached_property
    def graph(self) -> Prompt:
        """Not to be changed: whoever holds the job sees it."""
        return json.loads(self.graph_text)


@dataclass(frozen=True)
class Photo:
    """A photo of a job, as the ledger knows it."""

    id: int
    job: int
    path: str
    place: str
    size: int
    mtime_ns: int
    width: int | None
    height: int | None
    sha256: str | None
    state: str
    attempts: int
    crashes: int
    alone: int
    seconds: float | None
    error: str | None
