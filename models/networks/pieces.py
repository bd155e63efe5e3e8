"""Computing in bands of rows what single tokens or small neighbourhoods decide.

Exact, and holds little at a time. On a CPU it is faster, too: large tensors leave the caches, and
an allocator hands out memory of their size anew at every call.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

ROWS_A_REACH = 24
"""Rows of a band, at least, for each row beyond its edges that it computes again."""


def piece_bytes(device: torch.device) -> int:
    """How large a tensor of a band may be; a GPU has to be kept busy."""
    return 6 * 2**20 if device.type == "cpu" else 64 * 2**20


def bands(x: Tensor, widest: int) -> Iterator[slice]:
    """Rows of x [B, H, W, C], as many at a time as a tensor of `widest` channels may have."""
    row_bytes = widest * x.element_size() * x[:, 0, :, 0].numel()
    rows = max(1, piece_bytes(x.device) // max(row_bytes, 1))
    for first in range(0, x.shape[1], rows):
        yield slice(first, first + rows)


def band_rows(height: int, row_bytes: int, device: torch.device, reach: int, down: int = 1) -> int:
    """Rows of a band of `convolved`, without those that it computes again.

    Args:
        height: of the whole.
        row_bytes: that the widest tensor of a row has.
        reach, down: as of `convolved`.
    """
    count = height // max(ROWS_A_REACH * reach, piece_bytes(device) // max(row_bytes, 1))
    return -(-height // max(count, 1) // down) * down


def convolved(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    reach: int,
    widest: int,
    up: int = 1,
    down: int = 1,
) -> Tensor:
    """A function of x [B, C, H, W] whose result has `up` / `down` times as many rows, in bands.

    Args:
        function: whose result at a row depends on rows of x no farther than `reach`, and which
            pads with zeros.
        reach: rows that a band takes beyond each of its edges; a multiple of `down`.
        widest: floats that it holds at once, a pixel of x.
    """
    height, row_bytes = x.shape[2], widest * x.element_size() * x[:, 0, 0].numel()
    rows = band_rows(height, row_bytes, x.device, reach, down)
    if rows >= height:
        return function(x)
    out = None
    for top in range(0, height, rows):
        first = max(top - reach, 0)
        band = function(x[:, :, first : top + rows + reach])
        if out is None:
            shape = (*band.shape[:2], -(-height * up // down), band.shape[3])
            like = {"dtype": band.dtype, "device": band.device}
            out = torch.empty(shape, memory_format=torch.channels_last, **like)
        own = out[:, :, top * up // down : (top + rows) * up // down]
        start = (top - first) * up // down
        own.copy_(band[:, :, start : start + own.shape[2]])
    return out
