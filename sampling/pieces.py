"""Calling a network within the memory there is: whole batches, single pictures, or tiles."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .tiling import blend_tiles, tile_side, tile_starts

USABLE = 0.8
"""The part of the free memory that a call may plan with; results and fragments need the rest."""
SMALLEST = {"pixels": 64, "latents": 8}
"""Below this, a tile holds more rim than picture."""


class Footprint(Protocol):
    """What tiling must know of a network."""

    multiple: int
    minimum: int
    native_size: int | None

    @property
    def unit(self) -> str: ...

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


class Pieces:
    """Calls a network's function in as few pieces as memory allows.

    Whole batches first; on little memory fewer pictures at a time, then tiles, then smaller tiles.
    Pictures larger than the network's native size are tiled at no more than that, since a network
    that attends globally is not at home beyond. No tile is larger than their number needs.
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
            size: (batch, height, width), already padded, in the network's unit.
            machine: where they run.
            tile: largest side of the tiles; 0 decides by the network and the free memory.
            observe: told after each piece how many of how many are done.
        """
        if tile < 0:
            raise ValueError(f"tile must be 0 (automatic) or a side in {network.unit}; got {tile}.")
        self.network, self.machine, self.observe = network, machine, observe
        self.batch, *self.size = size
        self.longer = max(self.size)
        self.tile = self._side(tile or network.native_size or self.longer)
        planned = (self.batch, self.tile)
        free = USABLE * machine.free_bytes()
        while not self._fits(free) and self._halve():
            pass
        if (self.batch, self.tile) != planned:
            machine.tell(f"Little memory is free: computing {self}.")

    def __str__(self) -> str:
        pictures = "1 picture" if self.batch == 1 else f"{self.batch} pictures"
        return f"{pictures} at a time" + (f" in tiles of {self._extent}" if self.tiled else "")

    @property
    def _extent(self) -> str:
        """Of a piece, for a person."""
        return f"{' x '.join(map(str, self.sides))} {self.network.unit}"

    @property
    def tiled(self) -> bool:
        return self.tile < self.longer

    @property
    def sides(self) -> tuple[int, ...]:
        """Height and width of a tile; those of the whole where there are none."""
        multiple, smallest = self.network.multiple, self._smallest
        return tuple(
            tile_side(length, self.tile, multiple, smallest) if self.tile < length else length
            for length in self.size
        )

    def _side(self, wanted: int) -> int:
        """The largest tile no larger than wanted that the network takes."""
        multiple = self.network.multiple
        return min(max(wanted // multiple * multiple, self._smallest), self.longer)

    @property
    def _smallest(self) -> int:
        """Tiles as small as one multiple could not overlap their neighbours."""
        multiple, floor = self.network.multiple, SMALLEST[self.network.unit]
        return max(self.network.minimum, -(-floor // multiple) * multiple, 2 * multiple)

    def _fits(self, free: float) -> bool:
        return self.network.memory(*self.sides, self.batch, self.network.dtype) <= free

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
                    f"Not even one tile of {self._extent} fits into memory; unload other models "
                    "or close other programs, and run again."
                )
            self.machine.tell(f"Out of memory: going on with {self}.")

    def _run(self, function: Callable[..., Tensor], planes: tuple[Tensor, ...]) -> Tensor:
        multiple, sides = self.network.multiple, self.sides
        axes = zip(self.size, sides, strict=True)
        tiles = math.prod(len(tile_starts(length, side, multiple)) for length, side in axes)
        total = -(-len(planes[0]) // self.batch) * tiles
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
                pieces.append(blend_tiles(call, chunk, sides, multiple))
            else:
                pieces.append(call(*chunk))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
