"""Colours of a change: none in a grey photo, and none along a mask's rim."""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""

CELLS, SPREAD = 64, 8.0
"""Colours are matched on a grid of 64 x 64 cells, by a Gaussian of eight cells."""


def is_grey(photo: Tensor) -> bool:
    """Whether the channels of [3, H, W] are equal."""
    return torch.equal(photo[0], photo[1]) and torch.equal(photo[1], photo[2])


def without_colour(change: Tensor) -> Tensor:
    """The luma of a change [3, S, S] in all channels."""
    weights = change.new_tensor(LUMA)[:, None, None]
    return (change * weights).sum(0, keepdim=True).expand_as(change)


def without_rim(change: Tensor, mask: Tensor) -> Tensor:
    """Take off a change [3, S, S] its broad colours along the rim of a mask [M, M].

    The rim is where the mask is neither 0 nor 1. Inside it goes on smoothly what the rim shows: a
    mean of the change over the rim, the nearer the heavier (a normalised convolution).
    """
    cells = F.adaptive_avg_pool2d(change, CELLS)
    rim = F.adaptive_avg_pool2d((mask * (1 - mask))[None], CELLS)
    line = torch.arange(CELLS, device=change.device)
    blur = torch.exp(-((line[:, None] - line) ** 2) / (2 * SPREAD**2))
    weight = (blur @ rim @ blur).clamp(min=torch.finfo(change.dtype).tiny)
    shift = (blur @ (cells * rim) @ blur) / weight
    return change - F.interpolate(shift[None], change.shape[-2:], mode="bilinear")[0]
