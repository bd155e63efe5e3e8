"""Judging against closed forms."""

import pytest
import torch
from restoreflow.sampling import judging, metrics
from restoreflow.sampling.operators import GaussianNoise
from restoreflow.sampling.presets import PRESETS

FIXED = [name for name, one in PRESETS.items() if hasattr(one, "apply")]
DRAWN = [name for name, one in PRESETS.items() if not hasattr(one, "apply")]


def pictures(count: int = 2, height: int = 40, width: int = 32) -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(count, 3, height, width)


def test_measures_are_those_of_single_pictures():
    image, truth = pictures(3), pictures(3)
    found = judging.against(image, truth)
    assert found.keys() == {"psnr", "ssim", "texture"}
    for name, measure in {"psnr": metrics.psnr, "ssim": metrics.ssim}.items():
        assert torch.allclose(found[name], measure(image, truth), atol=1e-12)
    alone = judging.against(image[1:2], truth[1:2])
    assert all(torch.equal(found[name][1:2], alone[name]) for name in found)


def test_one_reference_serves_all():
    image, truth = pictures(3), pictures(1)
    found, each = judging.against(image, truth), judging.against(image, truth.repeat(3, 1, 1, 1))
    assert all(torch.equal(found[name], each[name]) for name in found)


def test_a_picture_equals_itself():
    image = pictures(1)
    found = judging.against(image, image)
    assert found["psnr"].item() == float("inf") and found["ssim"].item() == 1.0


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_strips_change_nothing(monkeypatch, rows):
    image, truth = pictures(2, 61, 33), pictures(2, 61, 33)
    whole = metrics.psnr(image, truth), metrics.ssim(image, truth)
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", rows)
    for one, other in zip(
        whole, (metrics.psnr(image, truth), metrics.ssim(image, truth)), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-13)


def test_the_indicator_of_a_constant_offset():
    mean = pictures()
    assert judging.indicator(mean + 10 / 255, mean).tolist() == pytest.approx([10, 10], abs=1e-4)


def test_errors_add_up_as_squares():
    """With the true posterior mean: error^2 = least error^2 + IndRMSE^2."""
    mean = pictures(1, 2, 2)
    error = torch.tensor([[1.0, -1.0], [1.0, -1.0]]) / 51
    added = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]) / 85
    truth, restored = mean + error, mean + added
    total = judging.distance(restored, truth).item() ** 2
    assert total == pytest.approx(5**2 + judging.indicator(restored, mean).item() ** 2, rel=1e-5)
    assert judging.indicator(restored, mean).item() == pytest.approx(3, rel=1e-5)


@pytest.mark.parametrize("name", FIXED)
def test_what_explains_the_photo_leaves_nothing(name):
    image, degradation = pictures(), PRESETS[name]
    height, width = image.shape[-2:]
    photo = degradation.pictured(degradation.apply(image))[..., :height, :width]
    assert judging.residual(image, photo, degradation).max() < 1e-4


@pytest.mark.parametrize("name", FIXED)
def test_the_truth_leaves_the_noise(name):
    image, degradation = 0.5 * torch.ones(1, 3, 256, 256), PRESETS[name]
    left = judging.residual(image, degradation.simulate(image, 3), degradation)
    ratio = left.item() / (255 * degradation.noise_std)
    assert ratio == pytest.approx(1, abs=0.05 if degradation.noise_std < 0.3 else 0.15)  # clipped


def test_the_residual_of_an_inpainting_with_its_seed():
    degradation = PRESETS["Missing pixels 0.9 and noise 0.1 (PMRF inpainting)"]
    image = pictures(3, 64, 64)
    photo, known = degradation.simulate(image, 5), degradation.given(3, 64, 64, 5)
    assert judging.residual(image, known.apply(image), known).max() == 0
    left = judging.residual(image, photo, known)
    assert left.max() == pytest.approx(0.1 * 255, rel=0.1)  # a little of the noise is clipped


@pytest.mark.parametrize("name", DRAWN)
def test_a_degradation_without_an_operator_is_one_sentence(name):
    with pytest.raises(ValueError, match=r"has no fixed operator: .*\.$"):
        judging.residual(pictures(), pictures(), PRESETS[name])


def test_sizes_and_numbers_that_differ_are_one_sentence():
    with pytest.raises(ValueError, match=r"one size in pixels; got 32 x 40 and 32 x 48\.$"):
        judging.against(pictures(), pictures(2, 48))
    with pytest.raises(ValueError, match=r"one for each; got 3 for 2 pictures\.$"):
        judging.against(pictures(2), pictures(3))
    with pytest.raises(ValueError, match="at least 11 pixels for SSIM; got 9 x 40"):
        judging.against(pictures(1, 40, 9), pictures(1, 40, 9))


def test_averages_of_distances_are_of_squares():
    values = torch.tensor([3.0, 4.0])
    assert judging.mean_of("indrmse", values) == pytest.approx(12.5**0.5)
    assert judging.mean_of("psnr", values) == 3.5


def test_pieces_are_weighted_by_their_area(monkeypatch):
    image = pictures(2, 70, 45)
    monkeypatch.setattr(judging, "PIECE", 16)
    seen = []

    def measure(crop):
        seen.append(crop.shape[-2:])
        return crop.mean((1, 2, 3))

    found = judging.piecewise(measure, image, smallest=8, name="X")
    assert torch.allclose(found, image.double().mean((1, 2, 3)), atol=1e-6)
    assert all(max(size) <= 16 and min(size) >= 14 for size in seen) and len(seen) == 2 * 5 * 3
    with pytest.raises(
        ValueError, match="X needs pictures of at least 50 x 50 pixels; got 45 x 70"
    ):
        judging.piecewise(measure, image, smallest=50, name="X")


def test_a_degradation_of_no_noise_divides_nothing():
    still = GaussianNoise("none", 0.0)
    assert judging.residual(pictures(), pictures(), still).isfinite().all()
