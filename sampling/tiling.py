"""Pictures of any size: padded by reflection, or cut into tiles that are feathered together."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

OVERLAP = 4
"""Tiles overlap by a quarter of their side."""


def pad_to(x: Tensor, multiple: int, minimum: int = 1) -> Tensor:
    """Extend [B, C, H, W] at the bottom and right to a size that a network takes, by reflection.

    Reflects as often as needed, so that even a picture of one pixel can grow to any size.
    """
    height, width = (-(-max(side, minimum) // multiple) * multiple for side in x.shape[-2:])
    if (height, width) == tuple(x.shape[-2:]):
        return x
    rows, columns = (
        _reflect(n, to, x.device) for n, to in zip(x.shape[-2:], (height, width), strict=True)
    )
    return x[..., rows, :][..., columns]


def _reflect(length: int, extended: int, device: torch.device) -> Tensor:
    """Indices 0, 1, ..., n-1, n-2, ..., 0, 1, ... into an axis of `length` positions."""
    if length == 1:
        return torch.zeros(extended, dtype=torch.long, device=device)
    position = torch.arange(extended, device=device) % (2 * length - 2)
    return torch.minimum(position, 2 * length - 2 - position)


def tile_starts(length: int, tile: int, multiple: int = 1) -> list[int]:
    """Where tiles begin along an axis, each at a multiple, the last flush with the end."""
    if tile >= length:
        return [0]
    stride = max((tile - tile // OVERLAP) // multiple, 1) * multiple
    return [*range(0, length - tile, stride), length - tile]


def tile_side(length: int, largest: int, multiple: int, smallest: int) -> int:
    """The smallest side of tiles that an axis needs no more of than of the largest.

    So 600 pixels in tiles of at most 512 take two of 352, not two that overlap by 424.
    """
    count = len(tile_starts(length, largest, multiple))
    sides = range(largest, smallest - 1, -multiple)
    return min(side for side in sides if len(tile_starts(length, side, multiple)) == count)


def blend_tiles(
    function: Callable[..., Tensor],
    planes: Sequence[Tensor],
    tile: tuple[int, int],
    multiple: int = 1,
) -> Tensor:
    """Apply `function` tile by tile and feather the results together.

    Args:
        function: maps crops of the planes, each [B, C, h, w], to a tensor of that h and w, or
            of both enlarged or shrunk by the same whole factor.
        planes: [B, C, H, W] each.
        tile: height and width of a tile, multiples of `multiple`.
        multiple: tiles begin at multiples of it.
    """
    height, width = planes[0].shape[-2:]
    total, weight = None, None
    for top in tile_starts(height, tile[0], multiple):
        for left in tile_starts(width, tile[1], multiple):
            area = (..., slice(top, top + tile[0]), slice(left, left + tile[1]))
            crops = [plane[area] for plane in planes]
            result = function(*crops)
            ratio = Fraction(result.shape[-1], crops[0].shape[-1])
            size, start = [int(n * ratio) for n in (height, width)], (top * ratio, left * ratio)
            feather = _feather(result, start, size)
            if total is None:
                total = result.new_zeros(*result.shape[:2], *size)
                weight = result.new_zeros(size)
            place = (..., *(slice(int(n), int(n) + side)
                            for n, side in zip(start, result.shape[-2:], strict=True)))  # fmt: skip
            total[place] += result * feather
            weight[place] += feather
    return total / weight


def _feather(tile: Tensor, start: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Weights [h, w] that fall to nothing towards the sides where the tile meets others.

    A quarter of the overlap at the rim counts not at all: there a convolution saw the padding
    instead of the picture.
    """
    ramps = []
    for side, first, length in zip(tile.shape[-2:], start, size, strict=True):
        overlap = side // OVERLAP
        rim = overlap // 4
        position = torch.arange(side, device=tile.device) + 0.5
        up = ((position - rim) / max(overlap - 2 * rim, 1)).clamp(0, 1)
        ramp = torch.ones(side, device=tile.device)
        if first > 0:
            ramp = torch.minimum(ramp, up)
        if first + side < length:
            ramp = torch.minimum(ramp, up.flip(0))
        ramps.append(ramp)
    return ramps[0][:, None] * ramps[1][None, :]
