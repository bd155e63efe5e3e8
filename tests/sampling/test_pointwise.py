"""Masks, lost colour and clipped exposures."""

import math

import pytest
import torch
from restoreflow.sampling.noise import DEGRADING, generator
from restoreflow.sampling.operators import unexplained
from restoreflow.sampling.pointwise import (
    GREYS,
    Clipping,
    Greying,
    Masking,
    RandomMasking,
    kept_pixels,
    masking,
)

pytestmark = pytest.mark.usefixtures("random_state_untouched")


def uniform(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_soft_brush_loses_what_it_covers_by_more_than_a_tenth():
    brush = torch.tensor([0.0, 0.05, 0.1, 0.11, 0.5, 1.0]).view(1, 1, 1, 6)
    assert masking("Mask", brush).keep.flatten().tolist() == [1, 1, 1, 0, 0, 0]


def test_a_mask_shows_what_it_keeps_and_hides_the_rest():
    mask = (uniform(1, 1, 5, 7) > 0.5).float()
    operator, x = masking("Mask", mask), uniform(2, 3, 5, 7)
    y = operator.simulate(x, 0)
    lost = mask.bool().expand_as(x)
    assert torch.equal(y[~lost], x[~lost]) and not y[lost].any()
    assert torch.equal(operator.measured(x), y)
    assert torch.equal(operator.seen(y), 1 - mask.double())


def test_hidden_pixels_tell_nothing():
    operator = masking("Mask", torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2))
    x = torch.full((1, 3, 2, 2), 0.5)
    y = operator.measured(x + 0.1)
    stranger = y + 0.3 * (1 - operator.keep)
    for weight in (0.1, 10.0):
        assert torch.equal(operator.prox(x, stranger, weight), operator.prox(x, y, weight))
        assert operator.prox(x, y, weight)[0, 0, 0, 0] == 0.5
    assert abs(unexplained(operator, x, y).item() - 0.1) < 1e-6


def test_each_picture_may_have_its_own_mask():
    masks = (uniform(3, 1, 5, 7) > torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1, 1)).float()
    operator, x, z = masking("Masks", masks), uniform(3, 3, 5, 7), uniform(3, 3, 5, 7, seed=4)
    weight = torch.tensor([0.1, 1.0, 20.0]).double().view(3, 1, 1, 1)
    y = operator.apply(x)
    for i in range(3):
        alone, at = masking("Mask", masks[i : i + 1]), slice(i, i + 1)
        assert torch.equal(y[at], alone.apply(x[at]))
        assert torch.equal(operator.seen(y)[at], alone.seen(y[at]))
        assert torch.equal(operator.prox(z, y, weight)[at], alone.prox(z[at], y[at], weight[at]))
    left = weight * operator.adjoint(operator.apply(operator.prox(z, y, weight)) - y)
    assert torch.allclose(left, z - operator.prox(z, y, weight), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 6, 7), (1, 1, 7, 5), (3, 1, 5, 7)])
def test_a_mask_of_another_size_or_number_is_refused(shape):
    count, _, height, width = shape
    operator = Masking("Scratches", torch.ones(shape))
    sentence = f"Scratches: the mask is {width} x {height} and the picture 7 x 5; give one of"
    if count == 3:
        sentence = "Scratches: give one mask, or one a picture; got 3 for 2"
    for use in (operator.apply, operator.adjoint, lambda x: operator.prox(x, x, 1.0)):
        with pytest.raises(ValueError, match=sentence):
            use(torch.zeros(2, 3, 5, 7))


def test_a_mask_that_hides_all_has_no_residual():
    operator = masking("Mask", torch.ones(1, 1, 4, 4))
    x = uniform(1, 3, 4, 4)
    assert unexplained(operator, x, operator.measured(x)).item() == 0


def test_a_mask_of_a_noisy_photo_tells_its_noise():
    operator = Masking("Mask", (uniform(1, 1, 100, 100) > 0.5).float(), 0.1)
    x = torch.full((1, 3, 100, 100), 0.5)
    y = operator.simulate(x, 0)
    assert abs(unexplained(operator, x, operator.measured(y)).item() / 0.1 - 1) < 0.03


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (10, 10), (33, 41)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_random_mask_loses_its_exact_share(size, share):
    x = torch.ones(3, 3, *size)
    y = RandomMasking("Missing", share, 5).apply(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    lost = [(picture[0] == 0).sum().item() for picture in y]
    assert lost == [math.floor(share * size[0] * size[1])] * 3


def test_a_random_mask_depends_on_its_seed_and_the_place_in_the_batch():
    x = torch.ones(3, 3, 20, 20)
    y = RandomMasking("Missing", 0.5, 5).apply(x)
    assert not torch.equal(y[0], y[1])
    assert torch.equal(RandomMasking("Missing", 0.5, 7).apply(x[:1])[0], y[2])
    assert torch.equal(RandomMasking("Missing", 0.5, 5).simulate(x, 99), y)
    assert torch.equal(RandomMasking("Missing", 0.5, 2**64 - 1).apply(x)[1:], zeroth(x))


def zeroth(x: torch.Tensor) -> torch.Tensor:
    """Seeds count on from 0 after the last."""
    return RandomMasking("Missing", 0.5, 0).apply(x)[:-1]


def test_a_random_mask_is_not_tied_to_the_noise_of_the_same_seed():
    """Numbers from one generator in the same state would draw both."""
    keep = RandomMasking("Missing", 0.5, 7).given(torch.zeros(1, 3, 64, 64)).keep
    assert not torch.equal(keep[0], kept_pixels(64, 64, 0.5, generator(7, 0, DEGRADING)))


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, math.nan])
def test_the_share_of_a_random_mask_has_its_range(share):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\); got"):
        RandomMasking("Missing", share, 0)


def test_a_grey_is_luma_or_the_mean():
    x = torch.tensor([0.9, 0.5, 0.1]).double().view(1, 3, 1, 1).expand(2, 3, 4, 5)
    for way, expected in [("luma", 0.299 * 0.9 + 0.587 * 0.5 + 0.114 * 0.1), ("mean", 0.5)]:
        operator = Greying("Grey", GREYS[way])
        y = operator.apply(x)
        assert y.shape == (2, 1, 4, 5)
        assert torch.allclose(y, torch.full_like(y, expected), atol=1e-14)
        picture = operator.simulate(x, 0)
        assert torch.equal(picture, y.expand(2, 3, 4, 5))
        assert torch.allclose(operator.measured(picture), y, atol=1e-14)
    assert torch.equal(Greying("Grey").weights, torch.tensor(GREYS["luma"], dtype=torch.float64))


def test_undoing_grey_moves_along_its_weights_alone():
    operator = Greying("Grey")
    z, y = uniform(2, 3, 4, 5), uniform(2, 1, 4, 5, seed=4)
    for x in (operator.prox(z, y, 3.0) - z, operator.pseudo_inverse(y)):
        one = x[:, :1] / GREYS["luma"][0]
        along = one * torch.tensor(GREYS["luma"], dtype=torch.float64).view(1, 3, 1, 1)
        assert x.abs().max() > 0.1
        assert torch.allclose(x, along, rtol=0, atol=1e-14)


def test_whatever_lies_beyond_white_and_black_fits():
    operator = Clipping("Clipped", 2.0)
    y = operator.apply(torch.tensor([-0.1, 0.0, 0.2, 0.5, 0.8]).view(1, 1, 1, 5))
    assert y.flatten().tolist() == pytest.approx([0, 0, 0.4, 1, 1])
    fits = torch.tensor([-3.0, -0.2, 0.2, 7.0, 0.5]).view_as(y)
    assert not operator.residual(fits, y).any()
    assert not operator.gradient(fits, y).any()
    assert torch.equal(operator.prox(fits, y, 50.0), fits)


def test_what_does_not_fit_a_clipped_picture_is_moved():
    operator = Clipping("Clipped", 2.0)
    y = torch.tensor([0.0, 0.4, 1.0]).view(1, 1, 1, 3)
    x = torch.tensor([0.3, 0.4, 0.1]).view_as(y)
    assert operator.residual(x, y).flatten().tolist() == pytest.approx([0.6, 0.4, -0.8])
    assert operator.gradient(x, y).flatten().tolist() == pytest.approx([1.2, 0.8, -1.6])
    moved = operator.prox(x, y, 1e4).flatten().tolist()
    assert moved == pytest.approx([0.0, 0.2, 0.5], abs=1e-3)


def test_a_file_rounds_to_white():
    """254.6 of 255 is written as white; 254.4 is not."""
    operator = Clipping("Clipped", 1.0)
    for level, fits in [(254.6, True), (254.4, False), (0.4, True), (0.6, False)]:
        y = torch.full((1, 1, 1, 1), level / 255)
        beyond = torch.full_like(y, 2.0 if level > 100 else -1.0)
        assert (operator.residual(beyond, y).item() == 0) == fits


def test_the_prox_of_clipping_is_exact_where_nothing_is_clipped():
    operator, weight = Clipping("Clipped", 1.5), 4.0
    y, z = 0.3 + 0.3 * uniform(2, 3, 4, 4), 0.3 + 0.1 * uniform(2, 3, 4, 4, seed=4)
    expected = (z + weight * 1.5 * y) / (1 + weight * 1.5**2)
    assert torch.allclose(operator.prox(z, y, weight), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gain", [0.0, -1.0, math.nan, math.inf])
def test_the_gain_of_clipping_has_its_range(gain):
    with pytest.raises(ValueError, match="The gain of a clipped exposure must be above 0; got"):
        Clipping("Clipped", gain)
