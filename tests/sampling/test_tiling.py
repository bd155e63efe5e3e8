"""Padding, and tiles that hide their seams."""

from itertools import pairwise

import pytest
import torch
from restoreflow.sampling.tiling import blend_tiles, pad_to, tile_side, tile_starts


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 30), (16, 24), (33, 2)])
def test_padding_reflects_to_a_size_the_network_takes(size):
    x = torch.rand(2, 3, *size)
    padded = pad_to(x, 8, 16)
    assert all(side % 8 == 0 and side >= 16 for side in padded.shape[-2:])
    assert torch.equal(padded[..., : size[0], : size[1]], x)


def test_padding_is_torchs_reflection_where_that_suffices():
    x = torch.rand(2, 3, 7, 30)
    expected = torch.nn.functional.pad(x, (0, 2, 0, 1), mode="reflect")
    assert torch.equal(pad_to(x, 8), expected)


@pytest.mark.parametrize("multiple", [1, 8, 64])
@pytest.mark.parametrize("length", [64, 128, 192, 512, 1024])
@pytest.mark.parametrize("tile", [128, 256])
def test_tiles_cover_the_axis_and_overlap_by_a_quarter(length, tile, multiple):
    starts = tile_starts(length, tile, multiple)
    assert starts[0] == 0
    assert starts[-1] == max(length - tile, 0)
    assert all(start % multiple == 0 for start in starts)
    assert all(later - earlier <= tile - tile // 4 for earlier, later in pairwise(starts))


@pytest.mark.parametrize(
    ("length", "largest", "multiple", "side"),
    [(600, 512, 16, 352), (72, 64, 4, 44), (1024, 512, 16, 416), (512, 512, 16, 512)],
)
def test_tiles_are_no_larger_than_their_number_needs(length, largest, multiple, side):
    assert tile_side(length, largest, multiple, 8) == side
    starts = tile_starts(length, side, multiple)
    assert len(starts) == len(tile_starts(length, largest, multiple))
    assert all(later - earlier <= side - side // 4 for earlier, later in pairwise(starts))


def test_tiles_are_no_smaller_than_a_network_takes():
    assert tile_side(72, 64, 4, 56) == 56


def test_tiles_of_a_convolution_are_the_whole():
    """The rim of a tile, where padding stands for the picture, counts nothing."""
    blur = torch.nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    x = torch.rand(1, 3, 200, 150)
    assert torch.allclose(blend_tiles(blur, (x,), (64, 48)), blur(x), atol=1e-6)


@pytest.mark.parametrize("size", [(40, 40), (64, 200), (129, 71)])
def test_tiles_of_a_pointwise_function_are_the_whole(size):
    x, y = torch.rand(2, 2, 3, *size)
    whole = x * 2 - y.square()
    tiled = blend_tiles(lambda a, b: a * 2 - b.square(), (x, y), (32, 24))
    assert torch.allclose(tiled, whole, atol=1e-6)


def test_the_feather_hides_a_jump_between_tiles():
    marks = iter(range(100))
    tiled = blend_tiles(
        lambda a: torch.full_like(a, next(marks) % 2), (torch.zeros(1, 1, 64, 256),), (64, 64)
    )
    assert tiled.diff(dim=-1).abs().max() < 0.2


@pytest.mark.parametrize("factor", [2, 8])
def test_tiles_may_grow_and_shrink(factor):
    x = torch.rand(1, 3, 16 * factor, 24 * factor)
    shrink, grow = torch.nn.AvgPool2d(factor), torch.nn.Upsample(scale_factor=factor)
    small = blend_tiles(shrink, (x,), (8 * factor, 16 * factor), factor)
    assert torch.allclose(small, shrink(x), atol=1e-6)
    assert torch.allclose(blend_tiles(grow, (small,), (8, 6)), grow(small), atol=1e-6)
