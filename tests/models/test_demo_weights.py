"""The shipped weights do on photographs what the README says of them (scripts/measure_demo.py)."""

from pathlib import Path
from typing import NamedTuple

import demo_photos
import pytest
import torch
from demo_photos import to_tensor
from restoreflow.models import registry
from restoreflow.sampling import metrics, noise, restore
from skimage.restoration import denoise_nl_means
from torch import Tensor

WEIGHTS = Path(registry.__file__).parent / "embedded" / "demo-denoise-25.safetensors"
LARGEST_BYTES = 4_000_000
NOISE_STD = demo_photos.NOISE_STD / 255


class Restored(NamedTuple):
    """[1, 3, H, W] each, in [0, 1]."""

    clean: Tensor
    degraded: Tensor
    mean: Tensor
    lifelike: Tensor


def load(role: str):
    part = registry.load(WEIGHTS, role)
    part.cast(torch.float32)
    return part


@pytest.fixture(scope="module")
def restored() -> dict[str, Restored]:
    """The photos of the trial, by name."""
    mean_part, flow_part = load(registry.POSTERIOR_MEAN), load(registry.FLOW)
    results = {}
    for number, photo in enumerate(demo_photos.TRIAL):
        clean = to_tensor(photo.clean)
        degraded = to_tensor(demo_photos.add_noise(photo.clean, number))
        mean = restore.posterior_mean(mean_part, degraded)
        draw = noise.gaussian(mean.shape[1:], number, [0])
        lifelike = restore.sample(flow_part, mean, draw)
        results[photo.name] = Restored(clean, degraded, mean, lifelike)
    return results


def psnr(restored: dict[str, Restored], which: str) -> Tensor:
    """[photos] dB."""
    pairs = [(getattr(photo, which), photo.clean) for photo in restored.values()]
    return torch.cat([metrics.psnr(*pair) for pair in pairs])


def average_w2(restored: dict[str, Restored], which: str) -> float:
    pairs = [(getattr(photo, which), photo.clean) for photo in restored.values()]
    return torch.cat([metrics.patch_w2(*pair) for pair in pairs]).mean().item()


def test_the_file_is_small_and_says_how_it_was_made():
    flow = registry.load(WEIGHTS, registry.FLOW)
    assert WEIGHTS.stat().st_size <= LARGEST_BYTES
    assert (flow.noise_std, flow.steps, flow.dtype) == (0.05, 25, torch.float16)


def test_the_mean_removes_noise_from_every_photo(restored: dict[str, Restored]):
    gain = psnr(restored, "mean") - psnr(restored, "degraded")
    assert gain.mean() >= 8.5
    assert gain.min() >= 5.5


def test_the_mean_is_above_non_local_means(restored: dict[str, Restored]):
    photos = restored["cat"], restored["camera"], restored["brick"]
    for photo in photos:
        filtered = denoise_nl_means(
            photo.degraded[0].permute(1, 2, 0).double().numpy(),
            patch_size=5, patch_distance=6, h=0.8 * NOISE_STD, sigma=NOISE_STD, channel_axis=-1,
        )  # fmt: skip
        filtered = torch.from_numpy(filtered).permute(2, 0, 1)[None]
        assert metrics.psnr(photo.mean, photo.clean) > metrics.psnr(filtered, photo.clean) + 1.5


def test_the_flow_costs_little_and_brings_texture_nearer(restored: dict[str, Restored]):
    loss = psnr(restored, "mean") - psnr(restored, "lifelike")
    assert loss.mean() <= 1.9
    assert average_w2(restored, "lifelike") <= 0.82 * average_w2(restored, "mean")


def test_white_noise_of_the_same_error_is_no_substitute(restored: dict[str, Restored]):
    spoiled = {}
    for number, (name, photo) in enumerate(restored.items()):
        errors = [(x - photo.clean).square().mean() for x in (photo.lifelike, photo.mean)]
        white = noise.gaussian(photo.mean.shape[1:], 10_000 + number, [0])
        noisy = photo.mean + (errors[0] - errors[1]).clamp(min=0).sqrt() * white
        spoiled[name] = photo._replace(lifelike=noisy.clamp(0, 1))
    assert average_w2(restored, "lifelike") <= 0.93 * average_w2(spoiled, "lifelike")


@pytest.mark.parametrize("name", ["camera", "gravel", "brick"])
@pytest.mark.parametrize("which", ["mean", "lifelike"])
def test_grey_photos_stay_grey(restored: dict[str, Restored], name: str, which: str):
    """Mean distance of the channels from luma, in 1/255."""
    image = getattr(restored[name], which)
    assert 255 * (image - metrics.luma(image)).abs().mean() <= 1.0
