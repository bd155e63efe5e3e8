"""Metrics against scikit-image and closed forms."""

import pytest
import torch
from restoreflow.sampling import metrics


def picture(seed: int, height: int = 64, width: int = 48) -> torch.Tensor:
    noise = torch.rand(2, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(height, width), mode="bilinear")


def test_psnr_of_a_constant_error():
    a = picture(0).clamp(0, 0.9)
    assert metrics.psnr(a, a + 0.1).tolist() == pytest.approx([20, 20], abs=1e-4)


def test_ssim_is_that_of_scikit_image():
    similarity = pytest.importorskip("skimage.metrics").structural_similarity
    a = picture(1)
    b = (a + 0.1 * torch.randn(a.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        similarity(x[0].numpy(), y[0].numpy(), data_range=1.0, **settings)
        for x, y in zip(metrics.luma(a), metrics.luma(b), strict=True)
    ]
    assert metrics.ssim(a, b).tolist() == pytest.approx(expected, abs=1e-9)


def test_a_picture_equals_itself():
    a = picture(3)
    assert metrics.ssim(a, a).tolist() == pytest.approx([1, 1])
    assert metrics.patch_w2(a, a).tolist() == pytest.approx([0, 0], abs=1e-4)


def test_patch_w2_ignores_brightness_and_place():
    a = picture(4, 80, 80)
    shifted = (0.5 * a).roll((3, 6), (2, 3))
    assert metrics.patch_w2(0.5 * a + 0.2, 0.5 * a).max() < 1e-3
    assert metrics.patch_w2(0.5 * a, shifted).max() < metrics.patch_w2(0.5 * a, 0.25 * a).min()


def test_patch_w2_of_white_noise_is_the_difference_of_spreads():
    """Patches less their mean keep 63 of 64 dimensions; luma scales equal channels by 1."""
    noise = torch.randn(1, 1, 600, 600, generator=torch.Generator().manual_seed(5))
    noise = noise.expand(-1, 3, -1, -1)
    distance = metrics.patch_w2(0.02 * noise, 0.05 * noise).item()
    assert distance == pytest.approx(255 * 0.03 * (63 / 64) ** 0.5, rel=0.01)


def test_gaussian_w2_of_diagonal_covariances():
    a, b = torch.tensor([4.0, 9.0]).double(), torch.tensor([1.0, 16.0]).double()
    mean = torch.tensor([1.0, -2.0]).double()
    squared = metrics.gaussian_w2_squared(mean, a.diag(), 0 * mean, b.diag()).item()
    assert squared == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 4) ** 2)


def test_strips_do_not_change_the_moments(monkeypatch):
    x = metrics.luma(picture(6))[0, 0]
    whole = metrics.patch_moments(x)
    monkeypatch.setattr(metrics, "STRIPS_AT_ONCE", 2)
    for one, other in zip(whole, metrics.patch_moments(x), strict=True):
        assert torch.allclose(one, other, atol=1e-12)
