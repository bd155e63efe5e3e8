"""Calling a network within the memory there is: whole batches, single pictures, or tiles."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .tiling import blend_tiles, tile_starts

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
