"""One resampling: exact where nothing moves, free of aliasing where it shrinks, bounded strips."""

import pytest
import torch
from restoreflow.faces import warp as room
from restoreflow.faces.warp import lanczos, samples_per_pixel, strips, warp

EVERYTHING = (slice(0, 40), slice(0, 50))


def scaled(factor: float, shift: float = 0) -> torch.Tensor:
    """[2, 3]: back from the target to a source `factor` times as large."""
    return torch.tensor([[factor, 0, shift], [0, factor, shift]], dtype=torch.float64)


def test_nothing_moved_nothing_changed():
    source = torch.rand(3, 40, 50)
    assert torch.allclose(warp(source, scaled(1), EVERYTHING), source, atol=1e-5)


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.7, 4.4, 30])
def test_a_plain_colour_stays(factor):
    plain = warp(torch.full((3, 60, 60), 0.7), scaled(factor, -5), EVERYTHING)
    assert torch.allclose(plain, torch.tensor(0.7), atol=1e-5)


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.7, 4.4])
def test_a_ramp_stays_a_ramp_in_place(factor):
    """Nothing is shifted: within 0.06 px, the ripple of bicubic interpolation."""
    source = (torch.arange(400) + 0.5).expand(1, 400, 400) / 400
    area = (slice(15, 25), slice(20, 60))
    expected = (factor * (torch.arange(20, 60) + 0.5) + 9) / 400
    assert torch.allclose(warp(source, scaled(factor, 9), area), expected, atol=0.06 / 400)


@pytest.mark.parametrize("factor", [2, 2.5, 5, 7.9])
def test_what_pixels_cannot_hold_becomes_its_mean(factor):
    rows, columns = torch.meshgrid(torch.arange(400), torch.arange(400), indexing="ij")
    board = ((rows + columns) % 2).float()[None]
    assert (warp(board, scaled(factor, 20), EVERYTHING) - 0.5).abs().max() < 0.01


def test_beyond_the_frame_lies_the_reflection():
    source = torch.rand(1, 30, 30)
    wide = warp(source, scaled(1, -30), (slice(0, 90), slice(0, 90)))
    assert torch.allclose(wide[:, 30:60, 0:30], source.flip(2), atol=1e-5)
    assert torch.allclose(wide[:, 60:, 60:], source.flip(1, 2), atol=1e-5)


@pytest.mark.parametrize("factor", [0.5, 3.3])
def test_strips_are_the_whole(factor, monkeypatch):
    monkeypatch.setattr(room, "SAMPLES", 1)
    source, back = torch.rand(3, 90, 80), scaled(factor)
    pieces = [warp(source, back, area) for area in strips(EVERYTHING, samples_per_pixel(back))]
    assert len(pieces) == 5
    assert torch.allclose(torch.cat(pieces, 1), warp(source, back, EVERYTHING), atol=1e-6)


def test_an_empty_area_has_no_strips():
    assert not list(strips((slice(7, 7), slice(0, 50))))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_filter_is_symmetric_and_sums_to_one(count):
    weights = lanczos(count)
    assert torch.allclose(weights, weights.flip(0))
    assert weights.sum() == pytest.approx(1)
