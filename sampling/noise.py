"""Seeded noise that depends on nothing but the seed and the picture's place in its batch."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

SEEDS = 2**64
SAMPLING = 0
DEGRADING = 0x9E3779B97F4A7C15
ENCODING = 0xC2B2AE3D27D4EB4F
SOLVING = 0x165667B19E3779F9
HIDING = 0xD6E8FEB86659FD93
"""Streams: a photo degraded, encoded and restored with one seed must not meet one noise twice."""


def generator(seed: int, index: int = 0, stream: int = SAMPLING) -> torch.Generator:
    """A CPU generator for picture `index` of a run seeded with `seed` in [0, 2^64)."""
    return torch.Generator().manual_seed((seed + index) % SEEDS ^ stream)


def gaussian(
    shape: Sequence[int], seed: int, indices: Iterable[int], stream: int = SAMPLING
) -> Tensor:
    """Standard normal noise [B, C, H, W] on the CPU, float32.

    Args:
        shape: (C, H, W) of one picture, unpadded and untiled.
        seed: of the picture with index 0.
        indices: the pictures' places in their batch.
        stream: what the noise is for.
    """
    draws = [torch.randn(shape, generator=generator(seed, i, stream)) for i in indices]
    return torch.stack(draws)
