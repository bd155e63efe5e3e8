"""Colours of a change: none in a grey photo, and none along a mask's rim."""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""

CELLS, SPREAD = 64, 8.0
"""Colours are judged and matched on a grid of 64 x 64 cells, matched by a Gaussian of eight."""

TINT = 5 / 255
"""By so much channels may differ in a grey photo that a network has restored."""


def is_grey(photo: Tensor) -> bool:
    """Whether [3, H, W] shows no colour but what a network leaves in a grey photo.

    The means of small cells are judged, in which a single face in colour, or a sepia tone, shows;
    and all pixels together, in which coloured noise does.
    """
    low, high = F.adaptive_avg_pool2d(photo, CELLS).aminmax(dim=0)
    if (high - low > TINT).any():
        return False
    bands = photo.split(CELLS, dim=1)  # so that a large photo needs no copy
    energy = sum(band.diff(dim=0).square().sum().item() for band in bands)
    return energy <= TINT**2 * 2 * photo[0].numel()


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
