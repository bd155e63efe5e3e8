"""Laws over every preset degradation."""

import pytest
import torch
from restoreflow.sampling.noise import gaussian
from restoreflow.sampling.operators import PRESETS, Degradation, GaussianNoise, preset


@pytest.fixture(params=PRESETS)
def degradation(request) -> Degradation:
    return PRESETS[request.param]


def test_it_keeps_its_promise(degradation):
    assert isinstance(degradation, Degradation)


def test_simulation_is_seeded_and_independent_of_the_batch(degradation, random_state_untouched):
    x = torch.rand(3, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    y = degradation.simulate(x, 2**64 - 1)
    assert y.shape == x.shape
    assert 0 <= y.min() <= y.max() <= 1
    assert torch.equal(degradation.simulate(x[1:2], 0), y[1:2])
    assert not torch.equal(degradation.simulate(x, 5), y)


def test_its_noise_is_not_the_samplers_of_the_same_seed(degradation):
    x = torch.full((1, 3, 64, 64), 0.5)
    noise = gaussian((3, 64, 64), 7, [0])
    added = degradation.simulate(x, 7) - x
    for channel in range(3):
        pair = torch.stack([added[0, channel].flatten(), noise[0, channel].flatten()])
        assert torch.corrcoef(pair)[0, 1].abs() < 0.1


def test_gaussian_noise_has_its_std():
    x = torch.full((1, 3, 200, 200), 0.5)
    y = PRESETS["Noise 25/255 (demo)"].simulate(x, 0)
    assert abs((y - x).std().item() - 25 / 255) < 1e-3
    assert (
        torch.equal((y * 255).round(), y * 255) or (y * 255 - (y * 255).round()).abs().max() < 1e-4
    )


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ValueError, match="There is no degradation fog; choose one of Noise 25/255"):
        preset("fog")


def test_the_prox_solves_its_problem():
    noise = GaussianNoise("n", 0.1)
    z, y = torch.rand(2, 1, 3, 4, 4, dtype=torch.float64)
    x = noise.prox(z, y, 0.7)
    assert torch.allclose(0.7 * (x - y) + (x - z), torch.zeros_like(x), atol=1e-14)
