"""Several degradations as one."""

import pytest
import torch
from restoreflow.sampling.blur import Blur, gaussian_kernel
from restoreflow.sampling.chain import Chain
from restoreflow.sampling.downscale import Downscale
from restoreflow.sampling.jpeg import JPEG
from restoreflow.sampling.noise import gaussian
from restoreflow.sampling.operators import GaussianNoise, unexplained
from restoreflow.sampling.pointwise import Clipping, Greying, RandomMasking, masking

pytestmark = pytest.mark.usefixtures("random_state_untouched")

BLUR = Blur("Blur", gaussian_kernel(1.0), "circular")
SMALL = Downscale("Small", 2)
GREY = Greying("Grey")


def noise(std: float | None) -> GaussianNoise:
    return GaussianNoise("Noise", std)


def uniform(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def left_mask(side: int = 20):
    mask = torch.zeros(1, 1, side, side)
    mask[..., : side // 2] = 1
    return masking("Mask", mask)


def test_it_goes_in_the_order_in_which_things_happened():
    x = uniform(2, 3, 20, 24)
    clipping = Clipping("Clipped", 2.0)
    assert torch.equal(Chain([BLUR, clipping]).apply(x), clipping.apply(BLUR.apply(x)))
    assert torch.equal(Chain([clipping, BLUR]).apply(x), BLUR.apply(clipping.apply(x)))
    assert not torch.allclose(Chain([clipping, BLUR]).apply(x), Chain([BLUR, clipping]).apply(x))
    chain = Chain([GREY, BLUR, SMALL])
    assert chain.name == "Grey, Blur, Small"
    assert chain.apply(x).shape == (2, 1, 10, 12)
    assert chain.domain(torch.Size((2, 1, 10, 12))) == x.shape
    assert chain.simulate(x, 0).shape == (2, 3, 10, 12)


def test_an_empty_one_is_refused():
    with pytest.raises(ValueError, match="A chain of degradations needs at least one"):
        Chain([])


def test_it_is_what_its_parts_are():
    assert Chain([BLUR, noise(0.1)]).linear and not Chain([BLUR, JPEG("JPEG", 50)]).linear
    assert Chain([GREY, SMALL]).mixes and not Chain([GREY, noise(0.1)]).mixes
    assert Chain([BLUR, left_mask()]).hides and not Chain([BLUR, GREY]).hides


@pytest.mark.parametrize(
    "parts",
    [
        [noise(0.1), noise(0.2)],
        [noise(0.2), BLUR, noise(0.05)],
        [noise(0.2), SMALL, noise(0.01)],
        [GREY, noise(0.05), SMALL],
        [noise(0.1), GREY, BLUR],
        [noise(0.1), Clipping("Clipped", 0.5)],
    ],
    ids=lambda parts: ", ".join(part.name for part in parts),
)
def test_its_noise_is_what_is_left_of_its_parts(parts):
    chain = Chain(parts)
    x = torch.full((1, 3, 400, 400), 0.5)
    added = chain.draw(x, 0) - chain.apply(x)
    assert abs(added.std().item() / chain.noise_std - 1) < 0.02


def test_noise_of_unknown_strength_leaves_the_whole_unknown():
    chain = Chain([noise(0.1), BLUR, noise(None)])
    assert chain.noise_std is None
    assert Chain([noise(None), BLUR, noise(0.1)]).noise_std is None
    with pytest.raises(ValueError, match="Noise has no known strength"):
        chain.simulate(torch.zeros(1, 3, 20, 20), 0)


def test_two_noises_are_different_ones():
    zero, x = noise(0.0), torch.full((2, 3, 30, 30), 0.5)
    first = Chain([noise(0.1), zero]).draw(x, 5) - x
    second = Chain([zero, noise(0.1)]).draw(x, 5) - x
    both = Chain([noise(0.1), noise(0.1)]).draw(x, 5) - x
    assert torch.allclose(both, first + second, atol=1e-6)
    assert correlation(first, second) < 0.1
    assert correlation(first[0], second[1]) < 0.1


def test_two_noises_are_different_ones_in_a_chain_of_chains():
    zero, x = noise(0.0), torch.full((1, 3, 30, 30), 0.5)
    inner = Chain([Chain([zero, noise(0.1)]), zero]).draw(x, 5) - x
    outer = Chain([Chain([zero, zero]), noise(0.1)]).draw(x, 5) - x
    assert correlation(inner, outer) < 0.1


@pytest.mark.parametrize("seed", [0, 2, 7, 2**63])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_its_noise_is_not_the_samplers_of_the_same_seed(seed, before):
    x = torch.full((1, 3, 30, 30), 0.5)
    added = Chain([*[noise(0.0)] * before, noise(0.1)]).draw(x, seed) - x
    assert correlation(added, gaussian((3, 30, 30), seed, [0])) < 0.1


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs().item()


@pytest.mark.parametrize("part", [BLUR, SMALL, GREY, left_mask(), Clipping("Clipped", 1.5)])
def test_beside_noise_one_parts_closed_forms_hold(part):
    chain = Chain([noise(0.05), part, noise(0.1), noise(0.2)])
    z, clean = (uniform(2, 3, 20, 20, seed=seed) for seed in (1, 2))
    y = part.apply(clean)
    assert torch.equal(chain.prox(z, y, 0.7), part.prox(z, y, 0.7))
    assert torch.equal(chain.residual(z, y), part.residual(z, y))
    assert torch.equal(chain.gradient(z, y), part.gradient(z, y))
    assert chain.norm(z) == part.norm(z)
    if part.linear:
        assert torch.equal(chain.pseudo_inverse(y), part.pseudo_inverse(y))


def test_noise_alone_is_a_chain_too():
    z, y = uniform(1, 3, 6, 7), uniform(1, 3, 6, 7, seed=4)
    chain = Chain([noise(0.1), noise(0.2)])
    assert torch.allclose(chain.prox(z, y, 3.0), (z + 3 * y) / 4, rtol=0, atol=1e-12)
    assert abs(chain.norm(z) - 1) < 1e-6
    assert abs(chain.noise_std**2 - 0.05) < 1e-12


def test_what_a_mask_hid_tells_nothing_until_a_blur_carries_it_about():
    x = torch.ones(1, 3, 20, 20)
    hidden_last, hidden_first = Chain([BLUR, left_mask()]), Chain([left_mask(), BLUR])
    grey = Chain([left_mask(), GREY])
    for chain in (hidden_last, grey):
        assert chain.seen(chain.apply(x)).mean().item() == 0.5
        assert chain.measured(x)[..., 10:].min() > 0.99 and not chain.measured(x)[..., :10].any()
    assert hidden_first.seen(hidden_first.apply(x)).all()
    assert torch.equal(hidden_first.measured(x), x)
    y = hidden_first.apply(x)
    assert y[..., 9].min() > 0.1 and unexplained(hidden_first, x, y).item() == 0


def test_two_masks_hide_what_either_does():
    mask = left_mask()
    twice = Chain([mask, mask])
    assert twice.seen(torch.zeros(1, 3, 20, 20)).mean().item() == 0.5
    other = masking("Mask", 1 - mask.keep.mT)
    assert Chain([mask, other]).seen(torch.zeros(1, 3, 20, 20)).mean().item() == 0.25


def test_a_bent_norm_is_bounded_by_all_of_its_parts():
    x = uniform(1, 3, 20, 24)
    bound = Chain([Clipping("Clipped", 4.0), SMALL, Clipping("Clipped", 3.0)]).norm(x)
    assert abs(bound - 12 * SMALL.norm(x)) < 1e-9


def test_each_picture_may_have_its_own_mask():
    masks = (uniform(2, 1, 20, 20) > 0.5).float()
    chain = Chain([BLUR, masking("Mask", masks)])
    x = uniform(2, 3, 20, 20)
    assert 0.4 < chain.norm(x) <= 1 + 1e-6
    bound = Chain([masking("Mask", masks), Clipping("Clipped", 2.0)]).norm(x)
    assert bound == 2


def test_what_follows_a_loss_of_colour_takes_one_channel():
    check_adjoint(Chain([GREY, Downscale("Small", 2)]))


def test_colour_is_lost_once_or_twice_rightly_or_not_at_all():
    try:
        chain = Chain([GREY, noise(0.1), GREY])
    except ValueError as error:
        assert "olour" in str(error)
    else:
        check_adjoint(chain)


def check_adjoint(chain: Chain) -> None:
    u = uniform(1, 3, 12, 16) - 0.5
    image = chain.apply(u)
    v = uniform(*image.shape, seed=9) - 0.5
    assert torch.isclose((image * v).sum(), (u * chain.adjoint(v)).sum(), atol=1e-12)


def test_a_chain_of_one_is_that_one():
    x = uniform(2, 3, 30, 41).float()
    for part in [SMALL, JPEG("JPEG", 40), GREY]:
        y, chain = part.simulate(x, 5), Chain([part])
        assert chain.simulate(x, 5).shape == y.shape
        assert chain.domain(chain.measured(y).shape) == part.domain(part.measured(y).shape)


def test_a_random_mask_before_a_shrinking_is_the_same_when_simulated_and_undone():
    chain = Chain([RandomMasking("Missing", 0.5, 1), Downscale("Small", 2, "box")])
    y = chain.measured(chain.simulate(torch.ones(1, 3, 21, 21), 0))
    assert unexplained(chain, torch.ones(chain.domain(y.shape)), y).item() < 1e-6


def test_a_mask_before_a_shrinking_of_any_size_fits_or_is_refused_at_once():
    chain = Chain([left_mask(21), Downscale("Small", 2, "box")])
    try:
        y = chain.measured(chain.simulate(torch.ones(1, 3, 21, 21), 0))
    except ValueError as error:
        assert "give one of" in str(error)
    else:
        assert unexplained(chain, torch.ones(chain.domain(y.shape)), y).item() < 1e-6


def test_a_picture_beyond_white_is_led_back():
    """Overexposed, then saved as a file: x must not stick where clipping has no slope."""
    z, y = torch.full((1, 3, 16, 16), 0.9), torch.full((1, 3, 16, 16), 0.4)
    for last in (BLUR, JPEG("JPEG", 90)):
        chain = Chain([Clipping("Clipped", 2.0), last])
        assert (z - chain.prox(z, y, 1e4)).min() > 0.2
        white = torch.ones_like(y)
        assert torch.allclose(chain.prox(z, white, 1e4), z, atol=0.01)


def test_the_slope_of_a_clipped_picture_that_was_then_blurred():
    chain = Chain([Clipping("Clipped", 1.5), BLUR])
    x, y = 0.1 + 0.5 * uniform(1, 3, 16, 16), uniform(1, 3, 16, 16, seed=4)
    expected = 1.5 * BLUR.adjoint(BLUR.apply(1.5 * x) - y)
    assert torch.allclose(chain.gradient(x, y), expected, rtol=0, atol=1e-12)
