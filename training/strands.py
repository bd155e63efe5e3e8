"""Hair, fur and grass: thin strokes that follow a smooth field of directions and occlude one
another. Pictures are float32 [size, size, 3] in [0, 1]; lengths are pixels.
"""

import math

import numpy as np
from numpy.random import Generator

from .leaves import draw_palette, log_uniform, mute, spectral_noise

OVERSAMPLING = 2
POINT_SPACING = 0.4
"""Below half an oversampled pixel's diagonal at every angle, so that a stroke has no holes."""

LAYERS = 3.0
"""How often the strokes would cover the picture if they lay side by side."""


def walk(rng: Generator, roots: np.ndarray, angles: np.ndarray, steps: int) -> tuple:
    """Follows the field from each root: positions [steps, count, 2] and directions [steps, count].

    roots [count, 2] as (y, x); angles [size, size] in radians. Each stroke leans off the field by
    a constant of its own, so that strokes cross.
    """
    size, lean = len(angles), rng.normal(0, rng.uniform(0.02, 0.2), len(roots))
    position, positions, directions = roots.copy(), [], []
    for _ in range(steps):
        row, column = np.clip(position.astype(int), 0, size - 1).T
        angle = angles[row, column] + lean
        positions.append(position.copy())
        directions.append(angle)
        position += POINT_SPACING * np.stack([np.sin(angle), np.cos(angle)], 1)
    return np.stack(positions), np.stack(directions)


def stroke_colours(rng: Generator, roots: np.ndarray, size: int) -> np.ndarray:
    """[count, 3]: two related colours mixed per stroke, in clumps and with some spread."""
    base, other = draw_palette(rng, 2)
    other = mute(other, base, rng.uniform(0.3, 1))
    clumps = spectral_noise(rng, size, rng.uniform(1.0, 2.5))
    row, column = np.clip(roots.astype(int), 0, size - 1).T
    clump, own = clumps[row, column], rng.standard_normal(len(roots))
    mixing = np.clip(0.4 + rng.uniform(0, 0.4) * clump + rng.uniform(0, 0.3) * own, 0, 1)
    own = rng.standard_normal(len(roots))
    shade = 1 + log_uniform(rng, 0.04, 0.35) * (0.8 * own + 0.6 * clump)
    colours = (base + mixing[:, None] * (other - base)) * np.clip(shade, 0.2, 1.9)[:, None]
    return colours.astype(np.float32)


def draw_strands(rng: Generator, size: int) -> np.ndarray:
    """[size, size, 3]: from short fur to long hair and blades, each stroke shaded and tapered."""
    swing, smoothness = rng.uniform(0.1, 1.2), rng.uniform(2.5, 3.5)
    angles = rng.uniform(0, 2 * math.pi) + swing * spectral_noise(rng, size, smoothness)
    length, width = log_uniform(rng, 8, 120), log_uniform(rng, 0.6, 3.0)
    steps, threads = int(length / POINT_SPACING), math.ceil(width / POINT_SPACING)
    margin = length / 2
    count = int(LAYERS * (size + 2 * margin) ** 2 / (length * width))
    roots = rng.uniform(-margin, size + margin, (count, 2))
    positions, directions = walk(rng, roots, angles, steps)

    along = np.linspace(0, 1, steps, dtype=np.float32)[:, None, None]
    across = np.linspace(-1, 1, threads + 2, dtype=np.float32)[1:-1, None]
    reach = width / 2 * np.sqrt(1 - along**2 * rng.uniform(0, 1)) * across  # tapers to the tip
    y = positions[:, None, :, 0] + reach * np.cos(directions)[:, None]
    x = positions[:, None, :, 1] - reach * np.sin(directions)[:, None]
    light = (1 + rng.uniform(-0.3, 0.3) * (along - 0.5)) * (1 - rng.uniform(0, 0.4) * across**2)
    owner, light = np.broadcast_arrays(np.arange(count), light)

    side = size * OVERSAMPLING
    rows, columns = (y * OVERSAMPLING).astype(np.int32), (x * OVERSAMPLING).astype(np.int32)
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    canvas = np.full((side, side, 3), 0, np.float32)
    # Strokes in order of their number: of several values for one pixel numpy keeps the last.
    order = np.moveaxis(inside, 2, 0).ravel()
    flat, owner, light = (
        np.moveaxis(values, 2, 0).ravel()[order] for values in (rows * side + columns, owner, light)
    )
    colours = stroke_colours(rng, roots, size)
    top_stroke = np.zeros(side * side, np.int64)
    top_light = np.full(side * side, 0.6, np.float32)
    top_stroke[flat], top_light[flat] = owner, light
    canvas = (colours[top_stroke] * top_light[:, None]).reshape(side, side, 3)
    canvas = canvas.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3).mean((1, 3))
    relief = 1 + rng.uniform(0, 0.2) * spectral_noise(rng, size, 2.0)
    return np.clip(canvas * relief[..., None], 0, 1).astype(np.float32)
