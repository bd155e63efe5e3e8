"""What the engine asks of its surroundings: the host's queue, and the photo files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from .workflow import Prompt


class RefusedError(ValueError):
    """The host will not run the graph at all: no photo could be done; one sentence says why."""


@dataclass(frozen=True)
class State:
    """What became of a prompt."""

    kind: Literal["waiting", "running", "done", "failed", "gone"]
    """`gone`: somebody took it out of the queue or interrupted it, or the host knows nothing."""
    reason: str = ""
    """Why it failed, a sentence."""
    node: str = ""
    """The id of the node at which it failed."""


class Port(Protocol):
    """The host's queue; called by the engine's thread only, never while it holds a lock."""

    def submit(self, graph: Prompt) -> str:
        """Put a prompt at the queue's end -> its id; RefusedError if the host rejects the graph."""

    def state(self, prompt: str) -> State:
        """Where a prompt is; asked about twice a photo, so it should cost nothing to speak of."""

    def cancel(self, prompt: str) -> None:
        """Take a prompt out of the queue, or interrupt it; its state is `gone` sooner or later."""

    def forget(self, prompt: str) -> None:
        """Delete an ended prompt from the host's history, which keeps each one's whole graph."""

    def others(self) -> int:
        """How many prompts wait that are not the engine's."""


class Photos(Protocol):
    """Photo files, as the module `photos` has them."""

    SUFFIXES: Collection[str]

    def size(self, path: Path) -> tuple[int, int]:
        """A photo's width and height as it is seen, from the file's head; asked for groups only."""

    def delete_leftovers(self, folder: Path) -> int:
        """Delete the temporary files of writers that died, while this process writes there."""
