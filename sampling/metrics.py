"""How far a restored picture is from the true one, and how far its texture is from true texture.

Images are [B, 3, H, W] in [0, 1]; every function returns one float64 number per image, [B], on the
CPU. Luma is that of ITU-R BT.601.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .statistics import Statistics

LUMA = (0.299, 0.587, 0.114)
SSIM_STD, SSIM_RADIUS = 1.5, 5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
PATCH, STRIDE = 8, 3
STRIPS_AT_ONCE = 128
"""Rows of patches held in memory at a time."""
ROWS_AT_ONCE = 256
"""Rows of pixels held in float64 at a time."""


def mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean of (a - b)^2 over all channels and pixels."""
    strips = zip(a.split(ROWS_AT_ONCE, 2), b.split(ROWS_AT_ONCE, 2), strict=True)
    sums = [(x.cpu().double() - y.cpu().double()).square().sum((1, 2, 3)) for x, y in strips]
    return torch.stack(sums).sum(0) / a[0].numel()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(1 / mean (a - b)^2), in dB; infinite for equal ones."""
    return -10 * mean_squared_error(a, b).log10()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of luma in [-1, 1] (Wang et al. 2004), averaged over the picture.

    Gaussian windows of standard deviation 1.5 px and 11 px width that lie wholly inside the
    picture, population (co)variances: the authors' settings. Each side must be at least 11 px.
    """
    height, width = a.shape[-2:]
    total = 0.0
    for first in range(0, height - 2 * SSIM_RADIUS, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE + 2 * SSIM_RADIUS)
        total = total + similarity(luma(a[:, :, rows]), luma(b[:, :, rows])).sum((1, 2, 3))
    return total / ((height - 2 * SSIM_RADIUS) * (width - 2 * SSIM_RADIUS))


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of luma [B, 1, H, W] in each window, [B, 1, H - 10, W - 10]."""
    mean_a, mean_b = gaussian_mean(a), gaussian_mean(b)
    variance_a = gaussian_mean(a * a) - mean_a**2
    variance_b = gaussian_mean(b * b) - mean_b**2
    covariance = gaussian_mean(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_a + variance_b + SSIM_C2)
    return light * structure


def patch_w2(a: Tensor, b: Tensor) -> Tensor:
    """Distance between the textures of two pictures, in units of 1/255 per pixel (rms).

    The Wasserstein-2 distance of Gaussians fitted to all 8x8 luma patches (every third in x and
    y), each less its own mean (Dowson and Landau 1982):
    W2^2 = |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2), here over 64 pixels.
    It compares distributions: where a texture lies plays no part. Each side must be at least 8 px.
    """
    pairs = zip(a, b, strict=True)
    squares = [gaussian_w2_squared(*texture(x[None]), *texture(y[None])) for x, y in pairs]
    return 255 * (torch.stack(squares) / PATCH**2).sqrt()


def texture(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [64] and covariance [64, 64] of the luma patches of one picture [1, 3, H, W]."""
    return patch_moments(luma(x)[0, 0])


def luma(x: Tensor) -> Tensor:
    """[B, 3, H, W] -> float64 [B, 1, H, W]."""
    return sum(weight * x[:, i : i + 1].cpu().double() for i, weight in enumerate(LUMA))


def gaussian_mean(x: Tensor) -> Tensor:
    """[B, 1, H, W] -> weighted means over the windows inside, [B, 1, H - 10, W - 10]."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=x.dtype)
    weights = torch.exp(-0.5 * (offsets / SSIM_STD) ** 2)
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(x, weights[None, None, :, None]), weights[None, None, None])


def patch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """[H, W] -> mean [64] and covariance [64, 64] of its patches, each patch less its mean."""
    found = Statistics.none(PATCH**2, 1)
    for strips in x.unfold(0, PATCH, STRIDE).split(STRIPS_AT_ONCE):  # [n, W, 8]
        patches = strips.unfold(1, PATCH, STRIDE).flatten(2).flatten(0, 1)  # [patches, 64]
        patches = patches - patches.mean(1, keepdim=True)
        found = found + Statistics.of_vectors(patches.T)
    return found.mean, found.covariance


def gaussian_w2_squared(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Squared Wasserstein-2 distance of N(mean_a, cov_a) and N(mean_b, cov_b); a number."""
    root = matrix_root(cov_a)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    spread = cov_a.trace() + cov_b.trace() - 2 * cross
    return ((mean_a - mean_b).square().sum() + spread).clamp(min=0)


def matrix_root(matrix: Tensor) -> Tensor:
    """The positive root of a symmetric positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
