"""Where a crop replaces the photo: soft masks [512, 512] in the template's space, in [0, 1].

They rise over a wide feather by a polynomial without a kink at either end and are exactly 0
outside, so that neither a jump nor a bend shows where a crop begins.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import SIDE

FEATHER = 80.0
"""Pixels of the template over which a mask rises."""

OVAL = ((256.0, 268.0), (196.0, 228.0))
"""Middle and half axes of the ellipse: a face from hairline to chin, ears included."""

SQUARE, CORNER = 232.0, 96.0
"""Half a side of the rounded square, and the radius of its corners."""


def ellipse(feather: float = FEATHER) -> Tensor:
    """1 in the face, 0 outside an ellipse around it; [512, 512]."""
    middle, axes = torch.tensor(OVAL, dtype=torch.float64)
    radius = ((_places() - middle) / axes).square().sum(-1).sqrt()
    return _rise((1 - radius) * axes.prod().sqrt() / feather)


def rounded_square(feather: float = FEATHER) -> Tensor:
    """1 in nearly the whole crop, 0 outside a square with round corners; [512, 512]."""
    beyond = (_places() - SIDE / 2).abs() - (SQUARE - CORNER)
    outside = beyond.clamp(min=0).square().sum(-1).sqrt()
    depth = CORNER - outside - beyond.amax(-1).clamp(max=0)
    return _rise(depth / feather)


def softened(mask: Tensor, feather: float = FEATHER / 4) -> Tensor:
    """A drawn mask with soft edges, and 0 towards the crop's border.

    Args:
        mask: [H, W] or [N, H, W] in [0, 1] over the crop, of any size.
        feather: pixels of the template over which a drawn edge rises, half of it outside.

    Returns:
        [512, 512] or [N, 512, 512].

    Raises:
        ValueError: a mask with values outside [0, 1].
    """
    if not (mask.isfinite().all() and mask.min() >= 0 and mask.max() <= 1):
        raise ValueError("A mask holds values from 0 to 1; this one holds others.")
    planes = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    planes = F.interpolate(planes, (SIDE, SIDE), mode="bilinear", antialias=True)
    radius = round(feather / 6)
    for _ in range(3):  # three boxes together are nearly a Gaussian and end after the feather
        planes = F.avg_pool2d(planes, 2 * radius + 1, 1, radius, count_include_pad=False)
    planes = planes.clamp(0, 1) * rounded_square().to(planes)
    return planes.reshape(*mask.shape[:-2], SIDE, SIDE)


SHAPES = {"ellipse": ellipse, "rounded square": rounded_square}


def _places() -> Tensor:
    """The pixels' middles [512, 512, 2] as (x, y)."""
    line = torch.arange(SIDE, dtype=torch.float64) + 0.5
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)


def _rise(t: Tensor) -> Tensor:
    """From 0 at t = 0 to 1 at t = 1, first and second derivatives 0 at both; float32."""
    t = t.clamp(0, 1)
    return (t**3 * (10 + t * (6 * t - 15))).float()
