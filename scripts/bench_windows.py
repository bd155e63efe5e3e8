"""Exact neighbourhood attention as others compute it: what the bench's baselines choose from.

Every public formulation that runs on a machine is timed there, and the fastest serves the baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from bench_attention import Attention, by_gathered_rows, by_shifts
from bench_measure import medians
from torch import Tensor

TOLERANCE = 1e-2
"""Of the largest difference between two formulations: TF32's rounding, and less than what one
neighbour too many or too few would make."""


@dataclass(frozen=True)
class Grid:
    """The queries of one call."""

    side: int
    heads: int
    width: int
    """Of a head."""
    window: int

    def draw(self, batch: int, device: torch.device) -> list[Tensor]:
        """q, k, v [B, side, side, heads, width], as long as networks make them."""
        shape = (batch, self.side, self.side, self.heads, self.width)
        return [torch.randn(shape, device=device) * self.width**-0.25 for _ in range(3)]


@dataclass(frozen=True)
class Candidate:
    """A formulation on one grid: its time, or why it does not run there."""

    grid: Grid
    batch: int
    name: str
    seconds: float | None = None
    failure: str = ""
    is_chosen: bool = False

    def __str__(self) -> str:
        said = self.failure or f"{1000 * self.seconds:.2f} ms"
        return f"{self.name}: {said}" + (" (chosen)" if self.is_chosen else "")


def fastest(
    grid: Grid, batch: int, device: torch.device, repeats: int, compiles: bool
) -> tuple[Attention, list[Candidate]]:
    """The fastest formulation of those that run and agree, and what became of each."""
    q, k, v = grid.draw(batch, device)
    expected = by_shifts(q, k, v, grid.window)
    running, found = {}, []
    for name, form in candidates(device, compiles).items():
        try:
            difference = (form(q, k, v, grid.window) - expected).abs().max().item()
        except Exception as error:  # a missing compiler, kernel or package fails in its own way
            found.append(Candidate(grid, batch, name, failure=_short(error)))
            continue
        if difference > TOLERANCE:
            failure = f"differs by {difference:.0e}"
            found.append(Candidate(grid, batch, name, failure=failure))
        else:
            running[name] = form
    calls = {name: partial(form, q, k, v, grid.window) for name, form in running.items()}
    seconds = medians(calls, repeats, device)
    best = min(seconds, key=seconds.get)
    found += [Candidate(grid, batch, n, time, is_chosen=n == best) for n, time in seconds.items()]
    return running[best], found


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:80]}"


def candidates(device: torch.device, compiles: bool) -> dict[str, Attention]:
    """By what the table calls them."""
    forms = {"49 shifts": by_shifts, "gathered rows": by_gathered_rows}
    if compiles:
        forms["FlexAttention, compiled"] = by_flex
    if device.type == "cuda":
        forms["natten"] = by_natten
    return forms


def by_natten(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    """natten's own kernels; its form without kernels would hold a score for every pair."""
    import natten  # noqa: TID251  what the published code runs on

    if not getattr(natten, "HAS_LIBNATTEN", False):
        raise RuntimeError("it is installed without kernels")
    return natten.na2d(q, k, v, kernel_size=size, scale=1.0)


def by_flex(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    """PyTorch's FlexAttention under compile, tokens row by row, blocks without neighbours left."""
    height, width = q.shape[1:3]
    tokens = [x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)]  # [B, heads, H W, d]
    near = blocks(height, width, size, q.device)
    out = _compiled_flex()(*tokens, block_mask=near, scale=1.0)
    return out.transpose(1, 2).unflatten(1, (height, width))


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


@lru_cache(maxsize=16)
def blocks(height: int, width: int, size: int, device: torch.device):
    """Which blocks of tokens meet, and in them which tokens."""
    from torch.nn.attention.flex_attention import create_block_mask

    def is_near(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        top = (query // width - size // 2).clamp(0, height - size)
        left = (query % width - size // 2).clamp(0, width - size)
        down, right = key // width - top, key % width - left
        return (down >= 0) & (down < size) & (right >= 0) & (right < size)

    return create_block_mask(is_near, None, None, height * width, height * width, device=device)
