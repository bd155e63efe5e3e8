import math

import pytest
import torch
from restoreflow.models.contracts import PIXEL
from restoreflow.sampling import metrics, statistics
from restoreflow.sampling.statistics import Statistics
from restoreflow.sampling.trade_off import trade_off
from restoreflow.sampling.transport import (
    Transport,
    check_patch,
    fitted,
    optimal_map,
    scarcity,
    window,
)


def covariance(size=8, condition=1e4, seed=0):
    random = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=random).double())
    values = torch.logspace(0, -math.log10(condition), size, dtype=torch.float64)
    return (basis * values) @ basis.T


def photos(count=4, side=40, seed=0, gain=1.0, shift=0.5, grain=0.3):
    """Noise with neighbours that go together."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, side, side, generator=random)
    smooth = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    return shift + 0.2 * gain * (smooth + grain * x)


def transport(restored=None, natural=None, patch=3, **choices):
    restored = photos(seed=1, grain=0.1) if restored is None else restored
    natural = photos(seed=2, shift=0.4) if natural is None else natural
    both = {
        "source": Statistics.of(restored, patch),
        "target": Statistics.of(natural, patch),
    }
    return Transport(name="test", domain=PIXEL, **{**both, **choices})


# The map


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e8])
def test_it_carries_one_covariance_onto_the_other(condition):
    source, target = covariance(condition=condition), covariance(condition=condition, seed=1)
    moved = optimal_map(source, target)
    torch.testing.assert_close(moved @ source @ moved, target, rtol=0, atol=1e-9)
    assert torch.equal(moved, moved.T)
    assert torch.linalg.eigvalsh(moved).min() > 0


def test_between_equals_nothing_moves():
    source = covariance()
    torch.testing.assert_close(
        optimal_map(source, source), torch.eye(8).double(), rtol=0, atol=1e-10
    )


def test_one_number_and_a_singular_target():
    one = optimal_map(torch.tensor([[4.0]]).double(), torch.tensor([[9.0]]).double())
    assert one.item() == pytest.approx(1.5)
    flat = covariance(condition=1.0).clone()
    flat[:, 0] = flat[0] = 0
    moved = optimal_map(covariance(seed=3), flat)
    torch.testing.assert_close(moved @ covariance(seed=3) @ moved, flat, rtol=0, atol=1e-10)


def test_what_it_costs_is_the_wasserstein_distance():
    source, target = covariance(), covariance(seed=1)
    moved = optimal_map(source, target)
    away = moved - torch.eye(8)
    zero = torch.zeros(8).double()
    distance = metrics.gaussian_w2_squared(zero, source, zero, target)
    assert (away @ source @ away).trace().item() == pytest.approx(distance.item(), rel=1e-10)


def test_between_gaussians_interpolation_lies_on_the_frontier():
    """Freirich, Michaeli and Meir 2021: D(P) = D* + (P* - P)^2."""
    source, target = covariance(), covariance(seed=1)
    moved, zero = optimal_map(source, target), torch.zeros(8).double()

    def distance(covariance):
        return metrics.gaussian_w2_squared(zero, covariance, zero, target).sqrt().item()

    best = distance(source)
    for realism in (0.0, 0.25, 0.5, 0.9, 1.0):
        mixed = torch.lerp(torch.eye(8).double(), moved, realism)
        away = mixed - torch.eye(8)
        added = (away @ source @ away).trace().item()  # to the error of the posterior mean
        perception = distance(mixed @ source @ mixed)
        assert added == pytest.approx((best - perception) ** 2, rel=1e-6, abs=1e-9)


# Moving pictures


def test_it_gives_restored_photos_the_natural_ones_statistics():
    fit = transport(photos(8, 96, seed=1, grain=0.1), photos(8, 96, seed=2, shift=0.4), patch=1)
    moved = Statistics.of(fit.apply(photos(8, 96, seed=1, grain=0.1).double()), 1)
    torch.testing.assert_close(moved.mean, fit.target.mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(moved.covariance, fit.target.covariance, rtol=1e-8, atol=1e-12)


def test_equal_statistics_move_nothing():
    x = photos(seed=1)
    fit = transport(x, x, shrinkage=0.01)
    torch.testing.assert_close(fit.apply(x), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 33), (3, 5), (1, 1)])
@pytest.mark.parametrize("fold", [None, 1.0])
def test_strips_are_the_whole(monkeypatch, size, fold):
    fit = transport(patch=5, shrinkage=0.01)
    x = photos(2, 40, seed=5)[..., : size[0], : size[1]]
    fold = None if fold is None else window(5, fold)
    whole = fit.apply(x, fold=fold)
    assert whole.shape == x.shape
    monkeypatch.setattr(statistics, "STRIP_BYTES", 1)
    torch.testing.assert_close(fit.apply(x, fold=fold), whole, rtol=0, atol=1e-6)


def test_inside_it_is_one_convolution():
    """With a uniform fold: (2p - 1) x (2p - 1), away from the border."""
    fit = transport()
    x = photos(1, 24, seed=5).double()
    impulse = torch.zeros(3, 3, 24, 24, dtype=torch.float64)
    for channel in range(3):
        impulse[channel, channel, 12, 12] = 1
    still = fit.apply(torch.zeros(1, 3, 24, 24).double())
    kernel = (fit.apply(impulse) - still)[..., 10:15, 10:15].flip(2, 3).transpose(0, 1)
    ours = torch.nn.functional.conv2d(x, kernel) + still[..., 2:-2, 2:-2]
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], fit.apply(x)[..., 3:-3, 3:-3])


def test_pictures_of_a_batch_do_not_see_each_other():
    fit, x = transport(), photos(3, seed=7)
    assert torch.equal(fit.apply(x)[1:2], fit.apply(x[1:2]))


def test_the_mean_stays_where_it_is_told_to():
    x = photos(8, 64, seed=1, grain=0.1)
    moved, kept = (transport(x, keep_mean=keep).apply(x).mean().item() for keep in (False, True))
    assert moved == pytest.approx(0.4, abs=0.01)
    assert kept == pytest.approx(x.mean().item(), abs=0.002)


def test_no_direction_gains_more_than_allowed():
    blurred, sharp = photos(seed=1, grain=0.0), photos(seed=1, grain=1.0)
    free = torch.linalg.eigvalsh(transport(blurred, sharp).matrix).max()
    assert free > 3
    capped = torch.linalg.eigvalsh(transport(blurred, sharp, max_gain=2.0).matrix)
    assert capped.max() == pytest.approx(2.0)


def test_realism_zero_is_the_restored_photo_bit_for_bit():
    x = photos(seed=1)
    assert torch.equal(trade_off(x, transport().apply(x), 0.0), x)


def test_zero_shot_takes_the_pictures_own_statistics():
    x = photos(1, 64, seed=9, gain=0.5)
    moved = transport(patch=1).zero_shot(x).apply(x.double())
    assert Statistics.of(moved, 1).covariance.trace().item() == pytest.approx(
        transport(patch=1).target.covariance.trace().item(), rel=1e-6
    )


# Few and poor photos


@pytest.mark.parametrize("patch", [1, 3, 5])
@pytest.mark.parametrize(
    "poor",
    [
        photos(12, 32).mean(1, keepdim=True).expand(-1, 3, -1, -1),
        photos(1, 32).expand(12, -1, -1, -1),
        torch.nn.functional.pad(photos(12, 24), (0, 0, 20, 20)),
        photos(12, 8),
    ],
    ids=["grey", "identical", "letter-boxed", "tiny"],
)
def test_poor_photos_are_regularised(poor, patch):
    x = photos(1, 32, seed=3)
    for pair in ((poor, photos()), (photos(), poor)):
        fit = fitted(transport(*pair, patch=patch, shrinkage=1e-3, max_gain=10.0))
        assert fit.apply(x).isfinite().all()


def test_flat_photos_are_told():
    flat = torch.full((12, 3, 32, 32), 0.5)
    with pytest.raises(ValueError, match="restored photos are flat"):
        fitted(transport(flat, photos(), shrinkage=0.01))
    with pytest.raises(ValueError, match="natural photos are flat"):
        fitted(transport(photos(), flat, shrinkage=0.01))


def test_grey_photos_without_shrinkage_are_told():
    grey = photos().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    with pytest.raises(ValueError, match="raise shrinkage"):
        fitted(transport(grey, photos()))


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"shrinkage": 2.0}, "shrinkage must lie"),
        ({"max_gain": 0.0}, "max_gain must be"),
        ({"source": Statistics.none(3, 3)}, "no restored photos"),
        ({"target": Statistics.none(3, 3)}, "no natural photos"),
        ({"source": Statistics.of(photos() * math.nan, 3), "shrinkage": 0.1}, "restored"),
    ],
)
def test_what_cannot_be_is_told(choices, told):
    with pytest.raises(ValueError, match=told):
        fitted(transport(**choices))


def test_patches_too_large_are_told():
    check_patch(5, 16)
    with pytest.raises(ValueError, match="choose 5"):
        check_patch(7, 16)
    with pytest.raises(ValueError, match="one of 1, 3, 5, 7"):
        check_patch(2, 3)


def test_too_few_patches_are_told():
    assert "Only 36 patches of 27" in scarcity(Statistics.of(photos(1, 8), 3))
    assert not scarcity(Statistics.of(photos(), 3))
