"""The degradations of PMRF's paper."""

import io
import math

import pytest
import torch
from PIL import Image
from restoreflow.sampling.degradations import (
    PMRF_DEGRADATIONS,
    BlindFace,
    BlindFaceCourse,
    Colorization,
    Inpainting,
    Masking,
    SuperResolution,
    correlate,
    resize,
    stretched_kernel,
)
from restoreflow.sampling.jpeg import compressed
from restoreflow.sampling.noise import DEGRADING, generator
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures("random_state_untouched")

SIZES = [(1, 1), (1, 50), (7, 9), (40, 33), (64, 64)]


def uniform(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


@pytest.fixture(params=PMRF_DEGRADATIONS)
def degradation(request):
    return PMRF_DEGRADATIONS[request.param]


@pytest.mark.parametrize("size", SIZES)
def test_any_size_is_degraded_to_its_own_size(degradation, size):
    x = uniform(2, 3, *size)
    for seed in range(4):
        y = degradation.simulate(x, seed)
        assert y.shape == x.shape and y.dtype == torch.float32
        assert 0 <= y.min() <= y.max() <= 1


@pytest.mark.parametrize("size", SIZES[2:])
def test_a_picture_is_degraded_the_same_alone_in_a_batch_and_in_any_layout(degradation, size):
    x = uniform(3, 3, *size)
    y = degradation.simulate(x, 2**64 - 1)
    assert torch.equal(degradation.simulate(x[:1], 2**64 - 1), y[:1])
    assert torch.equal(degradation.simulate(x[2:], 1), y[2:])
    strided = x.to(memory_format=torch.channels_last)
    assert torch.equal(degradation.simulate(strided, 2**64 - 1), y)
    with torch.inference_mode():
        assert torch.equal(degradation.simulate(x, 2**64 - 1), y)


def test_super_resolution_without_noise_is_bicubic_then_nearest():
    x = uniform(2, 3, 48, 64)
    small = F.interpolate(
        x, scale_factor=1 / 8, mode="bicubic", antialias=True, align_corners=False
    ).clip(0, 1)
    expected = F.interpolate(small, scale_factor=8.0, mode="nearest-exact").clip(0, 1)
    operator = SuperResolution("s", noise_std=0.0)
    assert torch.allclose(operator.simulate(x, 0), expected, atol=1e-6)
    assert torch.allclose(operator.pictured(operator.apply(x)).clip(0, 1), expected, atol=1e-6)
    assert torch.equal(operator.measured(expected), small)


def test_super_resolution_clips_before_the_noise():
    """Bicubic overshoots beside an edge: clipped first, white keeps its share of the noise."""
    x = torch.ones(1, 3, 512, 512)
    x[..., 260:] = 0
    small = F.interpolate(x, (64, 64), mode="bicubic", antialias=True)[0, 0, 32]
    assert small.max() > 1.04
    y = SuperResolution("s").simulate(x.repeat(8, 1, 1, 1), 0)[:, :, ::8, 8 * small.argmax()]
    assert abs(y.mean().item() - (1 - 0.05 / math.sqrt(2 * math.pi))) < 3e-3


def test_super_resolution_adds_its_noise_at_the_low_resolution():
    x = torch.full((1, 3, 800, 800), 0.5)
    y = SuperResolution("s").simulate(x, 0)
    blocks = y.unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)
    assert torch.equal(blocks.amin(-1), blocks.amax(-1))
    assert abs((blocks[..., 0] - 0.5).std().item() - 0.05) < 1e-3


def test_super_resolution_of_an_odd_size_is_that_of_the_reflected_picture():
    x = uniform(1, 3, 30, 41)
    padded = F.pad(x, (0, 7, 0, 2), mode="reflect")
    operator = SuperResolution("s")
    assert torch.equal(operator.simulate(x, 5), operator.simulate(padded, 5)[..., :30, :41])


def test_colorization_is_a_noisy_plain_mean_in_three_equal_channels():
    x = torch.tensor([0.9, 0.45, 0.15]).view(1, 3, 1, 1).expand(1, 3, 300, 300)
    y = Colorization("c").simulate(x, 0)
    assert torch.equal(y[:, 0], y[:, 1]) and torch.equal(y[:, 0], y[:, 2])
    unclipped = Colorization("c", noise_std=0.1).simulate(x, 0)
    assert abs(unclipped.mean().item() - 0.5) < 1e-3
    assert abs(unclipped[:, 0].std().item() - 0.1) < 1e-3
    assert Colorization("c").noise_std == 0.25


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (10, 10), (33, 41)])
def test_inpainting_loses_its_exact_share_of_pixels(size):
    x = torch.full((3, 3, *size), 0.75)
    y = Inpainting("i", noise_std=0.0).simulate(x, 7)
    assert torch.equal(y[:, :1].expand_as(y), y)
    assert [(p[0] == 0).sum().item() for p in y] == [math.floor(0.9 * size[0] * size[1])] * 3


def test_inpainting_adds_noise_to_lost_pixels_too_and_tells_its_mask():
    x = torch.full((2, 3, 200, 200), 0.5)
    y = Inpainting("i").simulate(x, 9)
    keep = Inpainting("i").given(2, 200, 200, 9).keep.bool().expand_as(x)
    assert not torch.equal(keep[0], keep[1])
    assert abs(y[keep].mean().item() - 0.5) < 5e-3 and abs(y[keep].std().item() - 0.1) < 5e-3
    noise = (y - 0.5)[keep].view(2, 3, -1)
    assert torch.corrcoef(noise[0]).tril(-1).abs().max() < 0.05
    lost = y[~keep]
    assert abs((lost == 0).float().mean().item() - 0.5) < 5e-3
    assert abs(lost.mean().item() - 0.1 / math.sqrt(2 * math.pi)) < 1e-3


def test_a_known_mask_is_simulated_with_noise_on_all_pixels():
    y = Masking("m", torch.zeros(1, 1, 100, 100), 0.1).simulate(torch.ones(2, 3, 100, 100), 0)
    assert abs((y == 0).float().mean().item() - 0.5) < 1e-2
    assert not torch.equal(y[0], y[1])


@pytest.mark.parametrize(
    ("sigma_x", "sigma_y", "angle"), [(2, 2, 0), (4, 1.5, 0), (4, 1.5, 0.6), (3, 5, -2.5)]
)
def test_the_kernel_has_its_sum_and_covariance(sigma_x, sigma_y, angle):
    kernel = stretched_kernel(sigma_x, sigma_y, angle)
    axis = torch.arange(-20, 21, dtype=torch.float64)
    xy = torch.stack(torch.meshgrid(axis, axis, indexing="xy")).flatten(1)
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ).double()
    expected = turn @ torch.diag(torch.tensor([sigma_x**2, sigma_y**2]).double()) @ turn.T
    assert kernel.shape == (41, 41) and abs(kernel.sum() - 1) < 1e-14
    assert torch.allclose((xy * kernel.flatten()) @ xy.T, expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("sigmas", [(0.1, 0.1), (0.1, 15), (15, 15)])
def test_an_extreme_kernel_is_still_one(sigmas):
    kernel = stretched_kernel(*sigmas, 0.3)
    assert abs(kernel.sum() - 1) < 1e-14 and kernel.min() >= 0


def test_the_blur_is_a_correlation_reflected_at_the_border():
    x, kernel = uniform(3, 30, 27, dtype=torch.float64), uniform(41, 41, dtype=torch.float64)
    padded = F.pad(x, (20, 20, 20, 20), mode="reflect")[:, None]
    assert torch.allclose(correlate(x, kernel), F.conv2d(padded, kernel[None, None])[:, 0])


def test_the_blur_of_a_picture_smaller_than_its_kernel_keeps_flat_areas():
    for size in SIZES:
        flat = correlate(torch.full((3, *size), 0.3), stretched_kernel(9, 3, 1))
        assert torch.allclose(flat, torch.tensor(0.3), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 31), (71, 43)])
def test_resizing_is_bilinear_between_half_pixel_centres(size):
    x = uniform(2, 25, 37)
    rows, columns = (
        ((torch.arange(new) + 0.5) * old / new - 0.5).clamp(0, old - 1)
        for new, old in zip(size, x.shape[1:], strict=True)
    )
    r, c = rows.long().clamp(max=23), columns.long().clamp(max=35)
    v, u = (rows - r)[:, None], columns - c
    top = x[:, r][..., c] * (1 - u) + x[:, r][..., c + 1] * u
    bottom = x[:, r + 1][..., c] * (1 - u) + x[:, r + 1][..., c + 1] * u
    assert torch.allclose(resize(x, *size), top * (1 - v) + bottom * v, atol=1e-5)


@pytest.mark.parametrize("quality", [30, 75, 99])
def test_jpeg_is_pillows_with_halved_colour(quality):
    x = uniform(3, 21, 35)
    levels = (x * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling=2)
    decoded = torch.tensor(list(Image.open(file).tobytes())).view(21, 35, 3).permute(2, 0, 1)
    assert torch.equal(compressed(x, quality), decoded / 255)


def test_blind_faces_draw_within_the_published_ranges():
    courses = [BlindFace("b").draw(generator(0, i)) for i in range(4000)]
    ranges = {
        "sigma_x": (0.1, 15),
        "angle": (-math.pi, math.pi),
        "scale": (0.8, 32),
        "noise_std": (0, 20 / 255),
    }
    stretched = [course for course in courses if course.sigma_x != course.sigma_y]
    assert abs(len(stretched) / 4000 - 0.5) < 0.03
    assert all(0.1 <= course.sigma_y <= 15 for course in stretched)
    for name, (low, high) in ranges.items():
        values = torch.tensor([getattr(course, name) for course in stretched])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert {course.quality for course in courses} == set(range(30, 100))
    assert 20 <= sum(course.grey for course in courses) <= 60


def test_blind_faces_are_eight_bit_and_at_times_grey():
    x = uniform(1, 3, 24, 24)
    seeds = [s for s in range(400) if BlindFace("b").draw(generator(s, 0, DEGRADING)).grey]
    assert seeds
    y = BlindFace("b").simulate(x, seeds[0])
    assert torch.equal(y[:, 0], y[:, 1]) and torch.equal(y[:, 0], y[:, 2])
    assert torch.equal(y, torch.round(y * 255) / 255)


@pytest.mark.parametrize("scale", [0.8, 3.3, 32])
@pytest.mark.parametrize("grey", [False, True])
def test_the_steps_of_a_blind_face_come_in_their_order(scale, grey, monkeypatch):
    course = BlindFaceCourse(3.0, 1.0, 0.7, scale, 0.05, 40, grey)
    monkeypatch.setattr(BlindFace, "draw", lambda self, random: course)
    x = uniform(3, 48, 70)
    y = resize(correlate(x, stretched_kernel(3, 1, 0.7)), int(48 // scale), int(70 // scale))
    y = (y + 0.05 * torch.randn(y.shape, generator=generator(6, 0, DEGRADING))).clamp(0, 1)
    y = resize(compressed(y, 40), 48, 70)
    if grey:
        y = (0.299 * y[0] + 0.587 * y[1] + 0.114 * y[2]).expand(3, -1, -1)
    levels = (BlindFace("b").simulate(x[None], 6)[0] - y) * 255
    assert levels.abs().max() < 0.501
