"""Training pictures: leaves, strands, plain gradients, cloth and grain, laid over one another.

Every picture depends on the seed and its own number alone, so neither the number of processes nor
of pictures changes it.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

from .leaves import LUMA, draw_leaves, draw_palette, log_uniform, mute, spectral_noise, turn
from .strands import draw_strands

GREY_SHARE = 0.18
PALE_SHARE = 0.15


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x [1, size] and y [size, 1] in pixels."""
    line = np.arange(size, dtype=np.float32)
    return line[None], line[:, None]


def draw_gradient(rng: Generator, size: int) -> np.ndarray:
    """[size, size, 3]: sky, skin, walls: two related colours and nothing finer than a shadow."""
    base, other = draw_palette(rng, 2)
    other = mute(other, base, rng.uniform(0.3, 1))
    along, _ = turn(rng, *grid(size))
    ramp = (along - along.min()) / (along.max() - along.min())
    ramp = ramp + rng.uniform(0, 0.3) * spectral_noise(rng, size, rng.uniform(2.5, 3.5))
    return base + rng.uniform(0.1, 0.8) * np.clip(ramp, 0, 1)[..., None] * (other - base)


def draw_cloth(rng: Generator, size: int) -> np.ndarray:
    """[size, size, 3]: threads over and under one another, or ribs, on a slightly creased plane."""
    first, second = draw_palette(rng, 2)
    second = mute(second, first, rng.uniform(0.3, 1))
    along, across = turn(rng, *grid(size))
    crease = rng.uniform(0, 3) * spectral_noise(rng, size, 3.0)
    u, v = np.pi * (along + crease) / log_uniform(rng, 2.5, 10), 0
    v = np.pi * (across - crease) / log_uniform(rng, 2.5, 10)
    warp, weft = np.abs(np.cos(u)), np.abs(np.cos(v))
    over = np.clip(0.5 + 2 * np.cos(u) * np.cos(v), 0, 1) if rng.random() < 0.6 else 1.0
    contrast = log_uniform(rng, 0.05, 0.6)
    light = 1 - contrast * (over * warp + (1 - over) * weft)
    light = light * (1 + rng.uniform(0, 0.15) * spectral_noise(rng, size, 2.0))
    colour = first + rng.uniform(0, 1) * (np.ones_like(warp) * over)[..., None] * (second - first)
    return colour * light[..., None]


def draw_grain(rng: Generator, size: int) -> np.ndarray:
    """[size, size, 3]: gravel, asphalt, bark: noise of one slope whose strength wanders."""
    base, other = draw_palette(rng, 2)
    other = mute(other, base, rng.uniform(0.5, 1))
    noise = spectral_noise(rng, size, rng.uniform(0.3, 1.4))
    strength = log_uniform(rng, 0.03, 0.3) * np.exp(0.5 * spectral_noise(rng, size, 2.5))
    mixing = np.clip(0.5 + 0.3 * noise, 0, 1)[..., None]
    colour = base + rng.uniform(0, 0.6) * mixing * (other - base)
    return colour * (1 + strength * noise)[..., None]


def draw_region(rng: Generator, size: int) -> np.ndarray:
    """[size, size, 1] in [0, 1]: a smooth region with a sharp or a soft edge."""
    field = spectral_noise(rng, size, rng.uniform(1.8, 3.0)) + rng.normal(0, 0.5)
    return np.clip(0.5 + field * log_uniform(rng, 2, 40), 0, 1)[..., None]


@dataclass(frozen=True)
class Mix:
    """What pictures are made of: shares of LAYERS at the bottom and on top of it."""

    bottom: tuple[float, ...]
    top: tuple[float, ...]
    rough_share: float
    """Of the leaves."""


LAYERS = (draw_leaves, draw_strands, draw_gradient, draw_cloth, draw_grain)
RICH = Mix((0.60, 0.20, 0.08, 0.05, 0.07), (0.15, 0.40, 0.25, 0.10, 0.10), rough_share=0.6)
CALM = Mix((0.58, 0.16, 0.18, 0.03, 0.05), (0.20, 0.30, 0.36, 0.06, 0.08), rough_share=0.25)
"""More plain surfaces, as photographs have: a flow taught by RICH alone roughens a clear sky."""


def draw_layer(rng: Generator, size: int, shares: tuple[float, ...], mix: Mix) -> np.ndarray:
    draw = LAYERS[rng.choice(len(LAYERS), p=shares)]
    return draw(rng, size, mix.rough_share) if draw is draw_leaves else draw(rng, size)


def drain_colour(rng: Generator, picture: np.ndarray) -> np.ndarray:
    """Makes some pictures grey and some pale, so that a grey photo gets no tint."""
    draw = rng.random()
    if draw < GREY_SHARE:
        left = 0.0
    elif draw < GREY_SHARE + PALE_SHARE:
        left = rng.uniform(0.05, 0.6)
    else:
        return picture
    luminance = (picture @ LUMA)[..., None]
    return luminance + np.float32(left) * (picture - luminance)


def draw_picture(number: int, seed: int, size: int, mix: Mix = RICH) -> np.ndarray:
    """uint8 [size, size, 3]: one to three layers, then optics, tone and colour."""
    rng = np.random.default_rng([seed, number])
    picture = draw_layer(rng, size, mix.bottom, mix)
    for chance in (0.4, 0.25):
        if rng.random() < chance:
            region = draw_region(rng, size)
            layer = draw_layer(rng, size, mix.top, mix)
            picture = picture + region * (layer - picture)
    picture = np.clip(picture, 0, 1)
    if rng.random() < 0.4:
        blur = log_uniform(rng, 0.3, 1.5)
        picture = gaussian_filter(picture, (blur, blur, 0))
    if rng.random() < 0.3:
        picture = picture ** rng.uniform(0.6, 1.6)
    picture = drain_colour(rng, picture.astype(np.float32))
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def draw_pictures(count: int, seed: int, size: int, mix: Mix, processes: int) -> np.ndarray:
    """uint8 [count, size, size, 3]."""
    draw = partial(draw_picture, seed=seed, size=size, mix=mix)
    with ProcessPoolExecutor(processes) as pool:
        return np.stack([*pool.map(draw, range(count), chunksize=8)])
