"""Getting by on little memory."""

from dataclasses import dataclass

import pytest
import torch
from restoreflow.sampling.pieces import Machine, Pieces
from restoreflow.sampling.tiling import tile_starts


@dataclass
class Net:
    """What tiling knows of a network; its memory is one byte a pixel."""

    multiple: int = 8
    minimum: int = 16
    native_size: int | None = None
    unit: str = "pixels"
    dtype: torch.dtype = torch.float32

    def memory(self, height, width, batch, dtype):
        return height * width * batch


def test_the_smallest_tiles_still_overlap():
    pieces = Pieces(Net(multiple=64, minimum=64), (1, 512, 512), Machine(free_bytes=lambda: 1))
    assert pieces.tile == 128
    assert tile_starts(512, pieces.tile, 64) == [0, 64, 128, 192, 256, 320, 384]


@pytest.mark.parametrize(
    ("free", "batch", "tile"), [(1e9, 4, 256), (180e3, 2, 256), (90e3, 1, 256), (25e3, 1, 112)]
)
def test_little_memory_takes_fewer_pictures_then_tiles(free, batch, tile):
    seen, said, done = [], [], []
    x = torch.rand(4, 3, 256, 256)
    machine = Machine(free_bytes=lambda: free, tell=said.append)
    pieces = Pieces(Net(), (4, 256, 256), machine, observe=lambda *n: done.append(n))
    out = pieces(lambda a: seen.append(a.shape) or a + 1, x)
    assert torch.allclose(out, x + 1, atol=1e-6)
    assert seen[0] == (batch, 3, tile, tile)
    assert bool(said) == ((batch, tile) != (4, 256))
    assert done == [(i + 1, len(seen)) for i in range(len(seen))]


def test_native_size_decides_the_tiles_of_large_pictures():
    net = Net(native_size=64)
    assert not Pieces(net, (1, 64, 48), Machine(), 0).tiled
    assert Pieces(net, (1, 64, 72), Machine(), 0).tile == 64
    assert Pieces(net, (1, 640, 72), Machine(), 128).tile == 128


def test_a_picture_slightly_above_the_native_size_takes_small_tiles():
    seen, x = [], torch.rand(1, 3, 600, 512)
    pieces = Pieces(Net(multiple=16, native_size=512), (1, 600, 512), Machine())
    out = pieces(lambda a: seen.append(tuple(a.shape[-2:])) or a + 1, x)
    assert torch.allclose(out, x + 1, atol=1e-6)
    assert seen == [(352, 512)] * 2


def test_memory_is_planned_for_the_tiles_that_are_taken():
    pieces = Pieces(Net(native_size=512), (1, 600, 600), Machine(free_bytes=lambda: 160_000))
    assert pieces.sides == (344, 344) and pieces.tile == 512


def test_sides_in_latents_have_a_floor_of_their_own_and_are_told_as_such():
    said = []
    net = Net(multiple=1, minimum=1, unit="latents")
    assert Pieces(net, (1, 128, 128), Machine(), 32).tile == 32
    assert Pieces(net, (1, 128, 128), Machine(), 2).tile == 8
    Pieces(net, (1, 128, 128), Machine(free_bytes=lambda: 900, tell=said.append))
    assert said == ["Little memory is free: computing 1 picture at a time in tiles of "
                    "15 x 15 latents."]  # fmt: skip
    with pytest.raises(ValueError, match="or a side in latents; got -1"):
        Pieces(net, (1, 64, 64), Machine(), -1)


def test_running_out_of_memory_halves_and_says_so():
    said, limit = [], 2 * 128 * 128

    def hungry(a):
        if a.shape[0] * a.shape[-1] * a.shape[-2] > limit:
            raise MemoryError
        return a * 3

    machine = Machine(is_out_of_memory=lambda e: isinstance(e, MemoryError), tell=said.append)
    pieces = Pieces(Net(), (4, 256, 256), machine, 0)
    x = torch.rand(4, 1, 256, 256)
    assert torch.allclose(pieces(hungry, x), x * 3, atol=1e-6)
    assert said == [
        "Out of memory: going on with 2 pictures at a time.",
        "Out of memory: going on with 1 picture at a time.",
        "Out of memory: going on with 1 picture at a time in tiles of 112 x 112 pixels.",
    ]
    assert torch.allclose(pieces(hungry, x), x * 3, atol=1e-6)
    assert len(said) == 3


def test_when_nothing_fits_one_sentence_says_what_to_do():
    def full(a):
        raise MemoryError

    machine = Machine(is_out_of_memory=lambda e: isinstance(e, MemoryError))
    with pytest.raises(
        MemoryError, match="Not even one tile of 64 x 64 pixels fits into memory; unload"
    ):
        Pieces(Net(), (1, 256, 256), machine, 0)(full, torch.rand(1, 1, 256, 256))


def test_other_errors_are_not_swallowed_and_calls_can_be_cancelled():
    class Interrupted(Exception):  # noqa: N818
        pass

    def stop():
        raise Interrupted

    x = torch.rand(1, 1, 64, 64)
    with pytest.raises(ZeroDivisionError):
        Pieces(Net(), (1, 64, 64), Machine(), 0)(lambda a: 1 / 0, x)
    with pytest.raises(Interrupted):
        Pieces(Net(), (1, 64, 64), Machine(before_call=stop), 0)(lambda a: a, x)


def test_a_negative_tile():
    with pytest.raises(ValueError, match="tile must be 0 .automatic. or a side in pixels; got -8"):
        Pieces(Net(), (1, 64, 64), Machine(), -8)
