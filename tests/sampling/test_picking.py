"""Picking one of several draws."""

import pytest
import torch
from restoreflow.sampling import picking
from restoreflow.sampling.colours import HEAT, heat
from restoreflow.sampling.operators import GaussianNoise
from restoreflow.sampling.presets import preset

MEAN = torch.full((2, 3, 12, 12), 0.5)
OFFSETS = torch.tensor([[4.0, -1.0], [-2.0, 6.0], [3.0, 3.0]]) / 255
"""Of three draws of two pictures."""
SAMPLES = MEAN + OFFSETS[:, :, None, None, None]
EVEN = GaussianNoise("noise", 0.1)


def test_grouped_draw_after_draw():
    assert torch.equal(picking.grouped(SAMPLES.flatten(0, 1), 2), SAMPLES)
    with pytest.raises(ValueError, match="6 samples cannot be shared out to 4 pictures"):
        picking.grouped(SAMPLES.flatten(0, 1), 4)


def test_the_nearest_to_the_posterior_mean():
    scored = picking.scores(SAMPLES, picking.MEAN, mean=MEAN)
    assert torch.allclose(scored, 255 * OFFSETS.abs().double(), atol=1e-4)
    which = picking.picked(SAMPLES, 0, scored)
    assert which.tolist() == [1, 0]
    assert torch.equal(picking.taken(SAMPLES, which), torch.stack([SAMPLES[1, 0], SAMPLES[0, 1]]))


def test_the_nearest_to_the_middle():
    scored = picking.scores(SAMPLES, picking.MIDDLE)
    assert picking.picked(SAMPLES, 0, scored).tolist() == [2, 2]


def test_the_least_residual():
    photo = MEAN + torch.tensor([3.5, 6.0])[:, None, None, None] / 255
    scored = picking.scores(SAMPLES, picking.DATA, degraded=photo, degradation=EVEN)
    assert scored[:, 0].tolist() == pytest.approx([0.5, 5.5, 0.5], abs=1e-4)
    assert picking.picked(SAMPLES, 0, scored)[1] == 1


def test_by_index():
    assert picking.picked(SAMPLES, 2).tolist() == [2, 2]
    with pytest.raises(ValueError, match="There are 3 samples, from 0; got the index 3"):
        picking.picked(SAMPLES, 3)


def test_what_a_rule_needs():
    with pytest.raises(ValueError, match="wire the posterior mean"):
        picking.scores(SAMPLES, picking.MEAN)
    with pytest.raises(ValueError, match="wire the degraded photo and the degradation"):
        picking.scores(SAMPLES, picking.DATA, degraded=MEAN)
    with pytest.raises(ValueError, match="no fixed operator"):
        blind = preset("Blur, noise and JPEG (PMRF blind face)")
        picking.scores(SAMPLES, picking.DATA, degraded=MEAN, degradation=blind)
    with pytest.raises(ValueError, match="rule must be one of"):
        picking.scores(SAMPLES, "best")


def test_heat_is_lighter_the_more_there_is():
    values = torch.linspace(0, 1, 257).view(1, 1, 1, -1)
    colours = heat(values)
    assert colours.shape == (1, 3, 1, 257)
    linear = ((colours + 0.055) / 1.055) ** 2.4
    light = (linear * torch.tensor([0.2126, 0.7152, 0.0722])[None, :, None, None]).sum(1).flatten()
    lightness = (116 * light ** (1 / 3) - 16)[32:]
    assert light.diff().min() > 0
    assert lightness.diff().max() < 2 * lightness.diff().min()
    assert torch.allclose(colours[0, :, 0, ::32].T * 255, torch.tensor(HEAT).float(), atol=1e-3)
