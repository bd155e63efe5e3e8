"""Calling a network on pictures of any size within the memory there is.

Pictures are padded by reflection to the sizes a network takes, and cropped back. Large ones are
cut into overlapping tiles whose results are feathered together; when memory runs out, the pieces
are halved.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

OVERLAP = 4
"""Tiles overlap by a quarter of their side."""
USABLE = 0.8
"""The part of the free memory that a call may plan with; results and fragments need the rest."""


class Footprint(Protocol):
    """What tiling must know of a network."""

    multiple: int
    minimum: int
    native_size: int | None

    @property
    def dtype(self) -> torch.dtype: ...

    def memory(self, height: int, width: int, batch: int, dtype: torch.dtype) -> int: ...


@dataclass(frozen=True)
class Machine:
    """What a computation must know of where it runs; the default never runs out or stops."""

    free_bytes: Callable[[], int] = lambda: sys.maxsize
    is_out_of_memory: Callable[[BaseException], bool] = lambda error: False
    before_call: Callable[[], None] = lambda: None
    """Called before each call of a network; raises to cancel."""
    tell: Callable[[str], None] = lambda text: None
    """Says something to the person who waits."""


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


def blend_tiles(
    function: Callable[..., Tensor], planes: Sequence[Tensor], tile: int, multiple: int = 1
) -> Tensor:
    """Apply `function` tile by tile and feather the results together.

    Args:
        function: maps crops of the planes, each [B, C, h, w], to a tensor of the same h and w.
        planes: [B, C, H, W] each.
        tile: side of a tile, a multiple of `multiple`.
        multiple: tiles begin at multiples of it.
    """
    height, width = planes[0].shape[-2:]
    total, weight = None, None
    for top in tile_starts(height, tile, multiple):
        for left in tile_starts(width, tile, multiple):
            area = (..., slice(top, top + tile), slice(left, left + tile))
            result = function(*(plane[area] for plane in planes))
            feather = _feather(result, (top, left), (height, width))
            if total is None:
                total = result.new_zeros(*result.shape[:2], height, width)
                weight = result.new_zeros(height, width)
            total[area] += result * feather
            weight[area] += feather
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


class Pieces:
    """Calls a network's function in as few pieces as memory allows.

    Whole batches first; on little memory fewer pictures at a time, then tiles, then smaller tiles.
    Pictures larger than the network's native size are tiled at that size, since a network that
    attends globally is at home nowhere else.
    """

    def __init__(
        self,
        network: Footprint,
        size: tuple[int, int, int],
        machine: Machine,
        tile: int = 0,
        observe: Callable[[int, int], None] = lambda done, total: None,
    ):
        """
        Args:
            network: whose calls these are.
            size: (batch, height, width), already padded.
            machine: where they run.
            tile: side of the tiles; 0 decides by the network and the free memory.
            observe: told after each piece how many of how many are done.
        """
        if tile < 0:
            raise ValueError(f"tile must be 0 (automatic) or a side in pixels; got {tile}.")
        self.network, self.machine, self.observe = network, machine, observe
        self.batch, height, width = size
        self.longer = max(height, width)
        self.tile = self._side(tile or network.native_size or self.longer)
        planned = (self.batch, self.tile)
        free = USABLE * machine.free_bytes()
        while not self._fits(free, height, width) and self._halve():
            pass
        if (self.batch, self.tile) != planned:
            machine.tell(f"Little memory is free: computing {self}.")

    def __str__(self) -> str:
        pictures = "1 picture" if self.batch == 1 else f"{self.batch} pictures"
        tiles = f" in tiles of {self.tile} pixels" if self.tiled else ""
        return f"{pictures} at a time{tiles}"

    @property
    def tiled(self) -> bool:
        return self.tile < self.longer

    def _side(self, wanted: int) -> int:
        """The largest tile no larger than wanted that the network takes."""
        multiple = self.network.multiple
        return min(max(wanted // multiple * multiple, self._smallest), self.longer)

    @property
    def _smallest(self) -> int:
        """Below this, a tile holds more rim than picture, or could not overlap its neighbours."""
        multiple = self.network.multiple
        return max(self.network.minimum, -(-64 // multiple) * multiple, 2 * multiple)

    def _fits(self, free: int, height: int, width: int) -> bool:
        needed = self.network.memory(
            min(self.tile, height), min(self.tile, width), self.batch, self.network.dtype
        )
        return needed <= free

    def _halve(self) -> bool:
        """Make the pieces smaller; False if they already are the smallest."""
        if self.batch > 1:
            self.batch = (self.batch + 1) // 2
            return True
        smaller = self._side(self.tile // 2)
        shrunk = smaller < self.tile
        self.tile = smaller
        return shrunk

    def __call__(self, function: Callable[..., Tensor], *planes: Tensor) -> Tensor:
        """`function(*planes)`, the planes [B, C, H, W], in pieces.

        Raises:
            MemoryError: not even the smallest piece fits.
        """
        while True:
            try:
                return self._run(function, planes)
            except Exception as error:
                if not self.machine.is_out_of_memory(error):
                    raise
            if not self._halve():
                raise MemoryError(
                    f"Not even one tile of {self.tile} pixels fits into memory; unload other "
                    "models or close other programs, and run again."
                )
            self.machine.tell(f"Out of memory: going on with {self}.")

    def _run(self, function: Callable[..., Tensor], planes: tuple[Tensor, ...]) -> Tensor:
        count, height, width = len(planes[0]), *planes[0].shape[-2:]
        multiple = self.network.multiple
        tiles = [len(tile_starts(side, self.tile, multiple)) for side in (height, width)]
        total = -(-count // self.batch) * (tiles[0] * tiles[1] if self.tiled else 1)
        done = 0

        def call(*crops: Tensor) -> Tensor:
            nonlocal done
            self.machine.before_call()
            result = function(*crops)
            done += 1
            self.observe(done, total)
            return result

        pieces = []
        for chunk in zip(*(plane.split(self.batch) for plane in planes), strict=True):
            if self.tiled:
                pieces.append(blend_tiles(call, chunk, self.tile, multiple))
            else:
                pieces.append(call(*chunk))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
