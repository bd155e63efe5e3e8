"""Exact two-dimensional neighbourhood attention (Hassani et al. 2023, arXiv 2204.07143).

Every query attends to the `kernel_size` x `kernel_size` keys around it; at a border the window is
shifted inward, so each query has the same number of keys. Queries are taken in square tiles, each
with the halo of keys that its windows reach, and attend under a mask: one call of PyTorch's fused
attention a strip of tiles, no compiled extension.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .pieces import piece_bytes

TILE = 8


class _Axis(NamedTuple):
    """One axis cut into tiles: which queries and keys each tile takes, and which of them meet."""

    queries: Tensor  # [tiles, TILE] positions; the last tile repeats the last one
    keys: Tensor  # [tiles, halo] positions
    near: Tensor  # [tiles, TILE, halo] whether the key lies in the query's window


def neighborhood_attention(q: Tensor, k: Tensor, v: Tensor, kernel_size: int) -> Tensor:
    """Attend over each query's neighbourhood, softmax scale 1.

    Args:
        q, k, v: [B, H, W, heads, d], any floating dtype.
        kernel_size: odd window side; H and W must not be smaller.

    Returns:
        [B, H, W, heads, d] in the dtype of `v`.
    """
    height, width = q.shape[1:3]
    if kernel_size % 2 == 0 or kernel_size > min(height, width):
        raise ValueError(
            f"Neighbourhood attention needs an odd window no larger than the grid; "
            f"got {kernel_size} on {height}x{width}."
        )
    if (fused := _by_natten(q, k, v, kernel_size)) is not None:
        return fused
    rows, columns = (
        _Axis(*(part.to(q.device) for part in _cut(n, kernel_size))) for n in (height, width)
    )
    out = torch.empty_like(v)
    bytes_per_row = (TILE * TILE + 2 * rows.keys.shape[1] * columns.keys.shape[1]) * (
        len(columns.queries) * v.element_size() * q.shape[0] * q.shape[3] * q.shape[4]
    )
    strip = max(1, piece_bytes(q.device) // bytes_per_row)
    for first in range(0, len(rows.queries), strip):
        band = _Axis(*(part[first : first + strip] for part in rows))
        queries, keys = (
            down[:, None, :, None] * width + across[None, :, None, :]
            for down, across in ((band.queries, columns.queries), (band.keys, columns.keys))
        )
        tiles = F.scaled_dot_product_attention(
            _gather(q, queries),
            _gather(k, keys),
            _gather(v, keys),
            attn_mask=_meet(band, columns),
            scale=1.0,
        )
        top, bottom = first * TILE, min((first + strip) * TILE, height)
        out[:, top:bottom] = rearrange(
            tiles,
            "(n m) (b heads) (i j) d -> b (n i) (m j) heads d",
            n=len(band.queries),
            b=q.shape[0],
            i=TILE,
        )[:, : bottom - top, :width]
    return out


def _gather(x: Tensor, tokens: Tensor) -> Tensor:
    """Tokens of x [B, H, W, heads, d], tiles row-major: [tiles, B * heads, positions, d].

    tokens [tiles down, tiles across, rows, columns] are y * W + x.
    """
    taken = x.flatten(1, 2).index_select(1, tokens.flatten())
    shape = dict(zip("nmij", tokens.shape, strict=True))
    return rearrange(taken, "b (n m i j) heads d -> (n m) (b heads) (i j) d", **shape)


def _meet(rows: _Axis, columns: _Axis) -> Tensor:
    """The mask of the tiles of a band, [tiles, 1, TILE * TILE, halo * halo], True where allowed."""
    near = rows.near[:, None, :, None, :, None] & columns.near[None, :, None, :, None, :]
    return rearrange(near, "n m i j a b -> (n m) 1 (i j) (a b)")


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve in every mode
def _cut(length: int, kernel_size: int) -> _Axis:
    """Cut an axis of `length` positions into tiles; windows shift inward at both ends."""
    tiles = -(-length // TILE)
    halo = min(length, TILE + kernel_size - 1)
    start = (torch.arange(tiles) * TILE - kernel_size // 2).clamp(0, length - halo)
    keys = start[:, None] + torch.arange(halo)
    queries = torch.arange(tiles * TILE).reshape(tiles, TILE).clamp(max=length - 1)
    window = (queries - kernel_size // 2).clamp(0, length - kernel_size)
    offset = keys[:, None, :] - window[:, :, None]
    near = (offset >= 0) & (offset < kernel_size)
    return _Axis(queries, keys, near)


_refused: set[tuple[torch.dtype, int]] = set()
"""The (dtype, head width) that natten's kernels have failed on in this process."""


def _by_natten(q: Tensor, k: Tensor, v: Tensor, kernel_size: int) -> Tensor | None:
    """natten's result where it is installed with kernels for this GPU; None where it is not."""
    kind = (q.dtype, q.shape[-1])
    if not q.is_cuda or kind in _refused or (kernels := _natten()) is None:
        return None
    try:
        return kernels(q, k, v, kernel_size=kernel_size, scale=1.0)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception:  # no kernel for this GPU, width or dtype: the plain form serves
        _refused.add(kind)
        return None


@lru_cache(maxsize=1)
def _natten() -> Callable[..., Tensor] | None:
    """natten's kernels, never needed."""
    try:
        import natten  # noqa: TID251  the one place that may look for it
    except Exception:  # a broken binary package fails in many ways
        return None
    return natten.na2d if getattr(natten, "HAS_LIBNATTEN", False) else None
