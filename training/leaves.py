"""Dead leaves (Lee, Mumford and Huang 2001): opaque shapes of power-law radii that occlude one
another. Their edges, gradients and scales resemble those of photographs, and cost no data set.

Pictures are float32 [size, size, 3] in [0, 1]; lengths are pixels.
"""

import math

import numpy as np
from numpy.random import Generator

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
NOISE_SIDE = 128
LEAVES_AT_ONCE = 256
MOST_LEAVES = 6000
STRIPED_SHARE = 0.06
BARE_SHARE = 0.03
"""The part of the picture that may stay uncovered: the last gaps would take most leaves."""


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def spectral_noise(rng: Generator, size: int, beta: float) -> np.ndarray:
    """[size, size] of unit variance that wraps around; its amplitude falls as frequency^-beta."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    noise = np.fft.irfft2(white * frequency**-beta, s=(size, size))
    return (noise / noise.std()).astype(np.float32)


def draw_palette(rng: Generator, count: int) -> np.ndarray:
    """[count, 3]: broad in luminance, chroma along one opponent axis, a few saturated colours."""
    luminance = rng.beta(1.3, 1.6, count)
    saturation = np.where(rng.random(count) < 0.12, 2.5, 1.0)
    warm = saturation * (rng.normal(0, 0.10, count) + rng.normal(0, 0.05))
    green = saturation * (rng.normal(0, 0.06, count) + rng.normal(0, 0.03))
    red = luminance + warm + green
    colours = np.stack([red, luminance - 0.25 * warm - 0.5 * green, luminance - warm + green], 1)
    return np.clip(colours, 0, 1).astype(np.float32)


def mute(colour: np.ndarray, cast: np.ndarray, strength: float) -> np.ndarray:
    """Brings a colour's chroma towards the faint common cast: small things share one light."""
    luminance, light = float(colour @ LUMA), float(cast @ LUMA)
    common = 0.6 * (cast - light) * (0.4 + luminance)
    return luminance + (1 - strength) * (colour - luminance) + strength * common


def draw_radii(rng: Generator, count: int, smallest: float, largest: float, power: float):
    """[count] with density ~ radius^-power between the bounds, by the inverse distribution."""
    rest = 1 - power
    share = rng.random(count)
    return (smallest**rest + share * (largest**rest - smallest**rest)) ** (1 / rest)


def shape_distance(rng: Generator, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Pixels outside (positive) or inside a disk, ellipse, bar or blob; dx [1, w], dy [h, 1]."""
    kind = rng.integers(4)
    from_centre = np.sqrt(dx * dx + dy * dy)
    if kind == 0:
        return from_centre - radius
    along, across = turn(rng, dx, dy)
    if kind == 1:
        slimness = rng.uniform(0.25, 1)
        return np.sqrt((along * slimness) ** 2 + across**2) - radius * slimness
    if kind == 2:
        return np.maximum(np.abs(along) - radius, np.abs(across) - radius * rng.uniform(0.15, 1))
    angle = np.arctan2(dy, dx)
    outline = 1 + sum(
        rng.normal(0, 0.18 / waves) * np.cos(waves * angle + rng.uniform(0, 2 * math.pi))
        for waves in (2, 3, 5)
    )
    return from_centre - radius * outline


def turn(rng: Generator, dx: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a random direction."""
    angle = rng.uniform(0, math.pi)
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * dx + sine * dy, cosine * dy - sine * dx


def paint_surface(
    rng: Generator,
    colour: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    radius: float,
    grain: list[np.ndarray],
    rough_share: float,
) -> np.ndarray:
    """[h, w, 3] (or [1, 1, 3] when plain): a colour with shading and either grain or stripes."""
    surface = colour[None, None]
    along, _ = turn(rng, dx, dy)
    if rng.random() < 0.45:
        surface = surface + (along / radius * rng.uniform(0.02, 0.25))[..., None]
    look = rng.random()
    if look < rough_share:
        noise, (top, left), stride = grain[rng.integers(len(grain))], rng.integers(0, 128, 2), 1
        stride += rng.integers(2)
        rows = (top + stride * np.arange(dy.size)) % NOISE_SIDE
        columns = (left + stride * np.arange(dx.size)) % NOISE_SIDE
        texture = noise[rows[:, None], columns[None]]
        surface = surface * (1 + rng.uniform(0.02, 0.25) * texture[..., None])
    elif look < rough_share + STRIPED_SHARE:
        stripes = np.clip(3 * np.sin(along * rng.uniform(0.2, 2.0)), -1, 1)
        surface = surface * (1 + rng.uniform(0.05, 0.5) * stripes[..., None])
    return surface


def draw_leaves(rng: Generator, size: int, rough_share: float = 0.6) -> np.ndarray:
    """[size, size, 3]: painted front to back, so that a leaf only fills what is still bare.

    `rough_share` of the larger leaves have a grainy surface.
    """
    smallest, largest = log_uniform(rng, 1, 8), size * rng.uniform(0.2, 0.6)
    power, muted = rng.uniform(2.5, 3.2), rng.random() < 0.65
    palette = draw_palette(rng, int(rng.integers(4, 24)))
    grain = [spectral_noise(rng, NOISE_SIDE, beta) for beta in rng.uniform(0.6, 2.0, 3)]
    picture, bare = np.zeros((size, size, 3), np.float32), np.ones((size, size), np.float32)
    left, drawn = float(size * size), 0
    while left > BARE_SHARE * size * size and drawn < MOST_LEAVES:
        radii = draw_radii(rng, LEAVES_AT_ONCE, smallest, largest, power)
        centres = rng.uniform(-0.1 * size, 1.1 * size, (LEAVES_AT_ONCE, 2))
        drawn += LEAVES_AT_ONCE
        for radius, (x, y) in zip(radii, centres, strict=True):
            reach = radius * 1.45 + 1
            left_px, right_px = max(int(x - reach), 0), min(int(x + reach + 1), size)
            top_px, bottom_px = max(int(y - reach), 0), min(int(y + reach + 1), size)
            if left_px >= right_px or top_px >= bottom_px:
                continue
            window = np.s_[top_px:bottom_px, left_px:right_px]
            if bare[window].max() < 0.02:
                continue
            dx = np.arange(left_px, right_px, dtype=np.float32)[None] - np.float32(x)
            dy = np.arange(top_px, bottom_px, dtype=np.float32)[:, None] - np.float32(y)
            colour = palette[rng.integers(len(palette))] * np.float32(rng.uniform(0.85, 1.15))
            if muted:
                colour = mute(colour, palette[0], 1 - min(1.0, max(0.1, radius / 14)))
            if radius > 2.5:
                distance = shape_distance(rng, dx, dy, radius)
                surface = paint_surface(rng, colour, dx, dy, radius, grain, rough_share)
            else:
                distance, surface = np.sqrt(dx * dx + dy * dy) - radius, colour[None, None]
            cover = np.clip(0.5 - distance, 0, 1) * bare[window]  # an edge of one pixel
            picture[window] += cover[..., None] * surface
            bare[window] -= cover
            left -= float(cover.sum())
    slope = rng.uniform(-0.4, 0.4) * (np.arange(size, dtype=np.float32) / size - 0.5)
    backdrop = np.clip(palette[0] + slope[:, None, None], 0, 1)
    return np.clip(picture + bare[..., None] * backdrop, 0, 1).astype(np.float32)
