"""What golden files hold, and how this implementation's numbers are held against theirs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pack  # noqa: F401 - makes restoreflow importable
import torch
from restoreflow.models.checkpoint import Checkpoint
from safetensors import safe_open
from torch import Tensor

TOLERANCE = 1e-4
WHOLE = 2**20
"""A tile that no picture exceeds: the published code knows no tiles."""


class Golden(NamedTuple):
    """A golden file's tensors and what it says of itself."""

    name: str
    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def weights(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


class Comparison(NamedTuple):
    """One line of the table."""

    name: str
    absolute: float
    relative: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.absolute <= self.tolerance


Kind = tuple[Callable[[Golden], bool], Callable[[Golden], Iterator[Comparison]]]
"""Whether a file is of a kind, and what it is compared with."""


def compare(name: str, ours: Tensor, theirs: Tensor, tolerance: float = TOLERANCE) -> Comparison:
    """The largest difference, absolute and relative to the largest expected value."""
    if ours.shape != theirs.shape:
        return Comparison(f"{name}: {list(ours.shape)}, not {list(theirs.shape)}", *[torch.inf] * 3)
    difference = (ours.double() - theirs.double()).abs().max().item()
    largest = theirs.double().abs().max().item()
    return Comparison(name, difference, difference / max(largest, 1e-12), tolerance)


def same(name: str, ours: object, theirs: object) -> Comparison:
    """Equal or not, for what is no number."""
    error = 0.0 if ours == theirs else torch.inf
    return Comparison(name, error, error, 0.0)


def as_checkpoint(parts: dict[str, dict[str, Tensor]], config: dict | None = None) -> Checkpoint:
    """Tensors under prefixes, as a file would hold them."""
    tensors = {prefix + name: t for prefix, part in parts.items() for name, t in part.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Checkpoint("golden", shapes, config or {}, tensors=tensors)


def select(shapes: dict[str, tuple], prefix: str) -> dict[str, tuple]:
    return {
        name.removeprefix(prefix): shape
        for name, shape in shapes.items()
        if name.startswith(prefix)
    }


def same_keys(ours: dict, theirs: dict, prefix: str) -> Iterator[Comparison]:
    yield same(f"{prefix}* ({len(theirs)} names)", set(ours), set(theirs))
    yield same(f"{prefix}* (shapes)", ours, theirs)
    yield same(f"{prefix}* (order)", list(ours), list(theirs))


def read(path: Path) -> Golden:
    """A safetensors file with its metadata, or a JSON file."""
    if path.suffix == ".json":
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("it holds no facts")
        return Golden(path.name, {}, facts)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    text = next((metadata[k] for k in ("metadata_json", "info", "json") if k in metadata), "{}")
    return Golden(path.name, tensors, json.loads(text))
