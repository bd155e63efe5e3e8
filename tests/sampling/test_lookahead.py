"""Denoisers of a flow map, on pictures whose map is known."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from gaussian_flows import MEAN, STD, exact, noisy, pictures, pixel_flow, watched
from gaussians import Gaussian, gains_of, normals
from restoreflow.sampling.lookahead import (
    SUBSTEPS,
    ahead,
    denoise,
    denoised,
    mean_velocity,
    signal,
    uncertainty,
)
from restoreflow.sampling.operators import ROUNDING, estimated_noise
from restoreflow.sampling.pieces import Machine

KNOB = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
TIMES = (0.1, 0.5, 0.85)


def gaussian(variances) -> Gaussian:
    random = torch.Generator().manual_seed(5)
    variances = torch.tensor(variances, dtype=torch.float64)
    size = len(variances)
    turned, _ = torch.linalg.qr(torch.randn(size, size, generator=random).double())
    return Gaussian(torch.randn(size, generator=random).double(), variances, turned)


PRIORS = {"isotropic": gaussian([0.3] * 6), "anisotropic": gaussian([4.0, 0.9, 0.3, 0.1, 0.02])}


@pytest.fixture(params=PRIORS)
def prior(request) -> Gaussian:
    return PRIORS[request.param]


# What theory promises


@pytest.mark.parametrize("s", TIMES)
@pytest.mark.parametrize("blend", [False, True])
def test_the_error_rises_and_the_distance_falls_along_the_knob(prior, s, blend):
    gains = [gains_of(prior, s, lookahead, blend) for lookahead in KNOB]
    errors = [prior.error(s, gain) for gain in gains]
    distances = [prior.distance(s, gain) for gain in gains]
    assert all(more > less + 1e-6 for less, more in pairwise(errors))
    assert all(less < more - 1e-6 for more, less in pairwise(distances))
    assert errors[0].item() == pytest.approx(prior.least_error(s).item(), rel=1e-12)
    assert distances[-1] < 1e-12


@pytest.mark.parametrize("s", TIMES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_who_meets_the_least_error_at_a_distance(s, share):
    def excess(name: str, blend: bool) -> float:
        prior = PRIORS[name]
        gains = gains_of(prior, s, share, blend)
        return (prior.error(s, gains) - prior.frontier(s, prior.distance(s, gains))).item()

    assert abs(excess("isotropic", False)) < 1e-12
    assert abs(excess("anisotropic", True)) < 1e-12
    assert excess("anisotropic", False) > 1e-6


@pytest.mark.parametrize("s", TIMES)
@pytest.mark.parametrize("t", [0.9, 1.0])
def test_chords(prior, s, t):
    x = normals(5, len(prior.mean))
    between = (s + t) / 2
    lookahead = (t - s) / (1 - s)
    assert ahead(s, lookahead) == pytest.approx(t)
    there = x + (t - s) * prior(x, s, t)
    torch.testing.assert_close(there, prior.carried(x, s, t))
    chord = x + (t - s) / (1 - s) * (denoise(prior, x, s, lookahead) - x)
    torch.testing.assert_close(chord, there)
    half = x + (between - s) * prior(x, s, between)
    torch.testing.assert_close(half + (t - between) * prior(half, between, t), there)
    torch.testing.assert_close(denoise(prior, x, s, 1.0), prior.carried(x, s, 1.0))


def two_kinds(x, s, t):
    """Velocity [B, 1] of numbers near -1 (30 %) and 1 (70 %)."""
    means, shares, variance = torch.tensor([-1.0, 1.0]).double(), torch.tensor([0.3, 0.7]), 0.04
    spread = s**2 * variance + (1 - s) ** 2
    away = x - s * means
    likely = (shares.log() - away**2 / (2 * spread)).softmax(1)
    clean = means + s * variance / spread * away
    return ((likely * clean).sum(1, keepdim=True) - x) / (1 - s)


@pytest.mark.parametrize("s", [0.3, 0.6])
def test_the_knob_changes_no_mean_of_any_pictures(s):
    kinds = torch.where(torch.arange(10_000) % 10 < 3, -1.0, 1.0).double()[:, None]
    drawn, noise = normals(10_000, 2)[torch.randperm(10_000)].chunk(2, 1)
    x = kinds + 0.2 * drawn
    state = s * x + (1 - s) * noise
    followed = mean_velocity(two_kinds, 32)
    results = [denoise(followed, state, s, lookahead) for lookahead in (0.0, 0.5, 0.9)]
    for result in results:
        assert result.mean().item() == pytest.approx(x.mean().item(), abs=0.005)
    spreads = [result.std().item() for result in (*results, x)]
    assert all(less < more for less, more in pairwise(spreads))


def test_a_velocity_followed_is_the_map():
    prior = PRIORS["anisotropic"]
    x = normals(50, len(prior.mean))

    def worst(substeps: int) -> float:
        followed = mean_velocity(lambda x, s, t: prior(x, s, s), substeps)
        return (followed(x, 0.3, 0.9) - prior(x, 0.3, 0.9)).abs().max().item()

    errors = [worst(substeps) for substeps in (2, 4, 8, 16)]
    assert all(more / less > 3 for more, less in pairwise(errors))
    assert worst(SUBSTEPS) < 0.01
    followed = mean_velocity(lambda x, s, t: prior(x, s, s))
    assert torch.equal(followed(x, 0.3, 0.3), prior(x, 0.3, 0.3))


@pytest.mark.parametrize("std", [0.5, 1.0])
def test_a_noisy_photo_is_a_state(std):
    for noise_std in (0.0, 0.01, 0.3, 2.0):
        s = signal(noise_std, std)
        assert s * noise_std == pytest.approx((1 - s) * std)
        of_tensors = signal(torch.tensor([noise_std]), std)
        assert of_tensors.item() == pytest.approx(s)


@pytest.mark.parametrize("s", TIMES)
def test_uncertainty_is_the_posterior_variance(s):
    one = Gaussian(torch.zeros(1), torch.tensor([0.7]))
    assert uncertainty(s, 1.0, 0.7) == pytest.approx(one.least_error(s).item())
    assert uncertainty(s, 0.5, 0.7 / 4) == pytest.approx(one.least_error(s).item() / 4)
    assert uncertainty(0.0, 0.5, 0.7) == pytest.approx(0.7)


# Photos


@pytest.mark.parametrize("noise_std", [0.02, 0.1, 0.3])
def test_both_ends_and_the_blend_on_a_photo(noise_std):
    y = noisy(pictures(2, 64, 50), noise_std)
    kept = STD**2 / (STD**2 + noise_std**2)
    for lookahead, gain in ((0.0, kept), (1.0, kept**0.5), (0.4, 0.6 * kept + 0.4 * kept**0.5)):
        result, stds = denoised(pixel_flow(), y, noise_std, lookahead=lookahead, blend=True)
        expected = (MEAN + gain * (y - MEAN)).clamp(0, 1)
        torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)
        assert stds.tolist() == pytest.approx([noise_std] * 2)


def test_noise_is_estimated_where_it_is_not_told():
    y = noisy(torch.full((1, 3, 200, 160), 0.5), 0.08)
    result, stds = denoised(pixel_flow(), y)
    assert stds.item() == pytest.approx(0.08, rel=0.05)
    assert torch.equal(stds, estimated_noise(y))
    assert torch.equal(result, denoised(pixel_flow(), y, stds.item())[0])


@pytest.mark.parametrize("blend", [False, True])
def test_photos_of_different_noise_do_not_see_each_other(blend):
    levels = torch.tensor([0.2, 0.02, 0.1]).view(-1, 1, 1, 1)
    y = noisy(torch.full((3, 3, 48, 40), 0.5), levels)[[0, 1, 2, 2]]
    seen = []
    flow = pixel_flow(watched(seen))
    together, stds = denoised(flow, y, lookahead=0.5, blend=blend)
    assert len(seen) == (6 if blend else 3)
    assert [len(x) for x, *_ in seen[-1:]] == [2]
    for i in range(4):
        alone, std = denoised(flow, y[i : i + 1], lookahead=0.5, blend=blend)
        assert torch.equal(alone[0], together[i])
        assert torch.equal(std[0], stds[i])


@pytest.mark.parametrize(
    ("lookahead", "blend", "calls"),
    [(0.0, False, 1), (0.5, False, 1), (0.0, True, 1), (0.5, True, 2), (1.0, True, 1)],
)
def test_calls_and_their_times(lookahead, blend, calls):
    seen = []
    denoised(pixel_flow(watched(seen)), pictures(), 0.5, lookahead=lookahead, blend=blend)
    assert len(seen) == calls
    assert all(t.item() == 0.5 for _, t, _ in seen)
    ends = [0.5, 1.0] if calls == 2 else [0.5 + 0.5 * lookahead]
    assert [s.item() for *_, s in seen] == ends
    assert seen[0][0].shape == (1, 3, 40, 40)


def local(x, t, s):
    """A network that sees a pixel's neighbours."""
    around = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return exact(x, t, s) + 0.5 * (around - x)


def test_tiles_of_a_local_network_are_the_whole():
    y, done = noisy(pictures(2, 150, 90), 0.1), []
    settings = {"lookahead": 0.5, "blend": True}
    whole, _ = denoised(pixel_flow(local), y, 0.1, **settings)
    tiles, _ = denoised(
        pixel_flow(local), y, 0.1, tile=64, observe=lambda *n: done.append(n), **settings
    )
    assert len(done) > 2
    torch.testing.assert_close(tiles, whole, rtol=0, atol=1e-5)


def test_no_photo_has_less_noise_than_a_file():
    y = pictures()
    result, stds = denoised(pixel_flow(), y, 0.0)
    assert stds.item() == pytest.approx(ROUNDING)
    assert torch.equal(result, denoised(pixel_flow(), y, ROUNDING)[0])
    torch.testing.assert_close(result, y.clamp(0, 1), rtol=0, atol=1e-3)
    flat = torch.full((1, 3, 20, 20), MEAN)
    assert denoised(pixel_flow(), flat)[1].item() == pytest.approx(ROUNDING)


def test_a_plain_velocity_is_followed_and_that_is_told():
    said, seen, y = [], [], noisy(pictures(), 0.2)
    plain = pixel_flow(watched(seen, lambda x, t, s: exact(x, t, t)), times="velocity")
    followed, _ = denoised(plain, y, 0.2, lookahead=0.9, machine=Machine(tell=said.append))
    known, _ = denoised(pixel_flow(), y, 0.2, lookahead=0.9)
    torch.testing.assert_close(followed, known, rtol=0, atol=2e-3)
    assert len(seen) == 2 * SUBSTEPS
    assert len(said) == 1 and "one time only" in said[0]


# What cannot be


@pytest.mark.parametrize(
    "facts",
    [
        {"origin": "mean"},
        {"origin": "degraded"},
        {"condition": "mean", "condition_channels": 3},
        {"noise_std": None},
        {"noise_std": 0.0},
    ],
)
def test_a_flow_that_is_no_prior_is_told(facts):
    with pytest.raises(ValueError, match="needs a flow map from noise, such as"):
        denoised(pixel_flow(**facts), pictures(), 0.1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lookahead": -0.01}, r"lookahead must lie in 0..1; got -0.01"),
        ({"lookahead": 1.01}, r"lookahead must lie in 0..1; got 1.01"),
        ({"lookahead": math.nan}, r"lookahead must lie in 0..1; got nan"),
        ({"noise_std": -0.1}, r"level must lie in 0..1020 of 255; got -25.5"),
        ({"noise_std": math.nan}, r"level must lie in 0..1020 of 255; got nan"),
        ({"noise_std": math.inf}, r"level must lie in 0..1020 of 255; got inf"),
        ({"tile": -1}, "tile must be 0"),
    ],
)
def test_numbers_out_of_range_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        denoised(pixel_flow(), pictures(), **{"noise_std": 0.1, **settings})


def test_latents_are_told():
    with pytest.raises(ValueError, match=r"works on pictures \(3 channels\); got 4"):
        denoised(pixel_flow(), torch.zeros(1, 4, 8, 8), 0.1)


def test_a_network_that_overflowed_is_told():
    broken = pixel_flow(lambda x, t, s: x * math.nan)
    with pytest.raises(ValueError, match="gave values that are not numbers"):
        denoised(broken, pictures(), 0.1)
