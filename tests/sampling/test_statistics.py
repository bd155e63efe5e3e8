import pytest
import torch
from restoreflow.sampling import statistics
from restoreflow.sampling.statistics import Statistics


def pictures(*sizes, seed=0, channels=3):
    random = torch.Generator().manual_seed(seed)
    return [0.3 + torch.rand(1, channels, *size, generator=random) for size in sizes]


def agree(one: Statistics, other: Statistics):
    assert (one.count, one.photos) == (other.count, other.photos)
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-12, atol=0)
    scale = other.covariance.abs().max()
    torch.testing.assert_close(one.covariance / scale, other.covariance / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize("patch", [1, 3, 5])
def test_they_are_those_of_all_patches(patch):
    (x,) = pictures((17, 12))
    windows = x[0].double().unfold(1, patch, 1).unfold(2, patch, 1)
    vectors = windows.permute(1, 2, 0, 3, 4).reshape(-1, 3 * patch**2)
    found = Statistics.of(x, patch)
    assert found.count == len(vectors) == (17 - patch + 1) * (12 - patch + 1)
    torch.testing.assert_close(found.mean, vectors.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.covariance, vectors.T.cov(), rtol=1e-11, atol=1e-15)


def test_padded_each_position_is_the_middle_of_a_patch():
    (x,) = pictures((9, 7))
    found = Statistics.of(x, 3, padded=True)
    assert found.count == 9 * 7
    wider = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    torch.testing.assert_close(found.mean, Statistics.of(wider, 3).mean)


def test_order_and_batching_of_photos_play_no_part():
    a, b, c = pictures((20, 16), (20, 16), (11, 30))
    together = Statistics.of(torch.cat([a, b]), 3) + Statistics.of(c, 3)
    apart = Statistics.of(c, 3) + Statistics.of(b, 3) + Statistics.of(a, 3)
    agree(together, apart)
    assert together.photos == 3


def test_strips_play_no_part(monkeypatch):
    (x,) = pictures((40, 23))
    whole = Statistics.of(x, 5)
    monkeypatch.setattr(statistics, "STRIP_BYTES", 1)
    agree(Statistics.of(x, 5), whole)


def test_a_far_mean_costs_no_digits():
    (x,) = pictures((30, 30))
    near, far = Statistics.of(x.double(), 3), Statistics.of(x.double() + 4096, 3)
    torch.testing.assert_close(far.covariance, near.covariance, rtol=1e-9, atol=1e-12)


def test_nothing_adds_nothing():
    (x,) = pictures((12, 12))
    found = Statistics.of(x, 3)
    agree(Statistics.none(3, 3) + found, found)
    agree(found + Statistics.none(3, 3), found)


def test_pictures_smaller_than_a_patch_are_told():
    with pytest.raises(ValueError, match="4 x 9"):
        Statistics.of(torch.zeros(1, 3, 4, 9), 5)
