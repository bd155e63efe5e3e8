"""What a restoration is worth: against the truth, and against what is known without it.

Pictures are [B, 3, H, W] in [0, 1]; a second batch may hold one picture for all of the first.
Every function gives one float64 number per picture, [B], on the CPU.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .metrics import PATCH, SSIM_RADIUS, mean_squared_error, patch_w2, psnr, ssim
from .operators import Degradation, Operator, unexplained

LEVELS = 255
SMALLEST = max(2 * SSIM_RADIUS + 1, PATCH)
SQUARED = ("indrmse", "residual", "residual ratio", "rmse")
"""Measures that are averaged as squares."""
PIECE = 768
"""Side in pixels beyond which a network judges a picture piece by piece."""


def paired(one: Tensor, other: Tensor, names: tuple[str, str]) -> Tensor:
    """The other batch, one picture for each of the first.

    Raises:
        ValueError: their sizes or numbers do not fit; the message calls the two by `names`.
    """
    if one.shape[-2:] != other.shape[-2:]:
        sizes = [f"{x.shape[-1]} x {x.shape[-2]}" for x in (one, other)]
        raise ValueError(
            f"{names[0]} and {names[1]} must be of one size in pixels; got {sizes[0]} and "
            f"{sizes[1]}."
        )
    if len(other) not in (1, len(one)):
        raise ValueError(
            f"Give one picture as {names[1].lower()}, or one for each; got {len(other)} for "
            f"{len(one)} pictures."
        )
    return other.expand(len(one), -1, -1, -1)


def against(image: Tensor, reference: Tensor) -> dict[str, Tensor]:
    """PSNR in dB, SSIM, and the distance of textures in units of 1/255 per pixel.

    Measured picture by picture: memory does not grow with the batch.

    Raises:
        ValueError: sizes or numbers differ, or the pictures are too small for SSIM's window.
    """
    reference = paired(image, reference, ("The picture", "The reference"))
    if min(image.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"Each side must be at least {SMALLEST} pixels for SSIM; got {image.shape[-1]} x "
            f"{image.shape[-2]}."
        )
    measures = {"psnr": psnr, "ssim": ssim, "texture": patch_w2}
    return {name: _each(measure, image, reference) for name, measure in measures.items()}


def distance(image: Tensor, other: Tensor) -> Tensor:
    """The root of the mean squared difference, in units of 1/255."""
    return LEVELS * _each(mean_squared_error, image, other).sqrt()


def indicator(image: Tensor, mean: Tensor) -> Tensor:
    """IndRMSE, in units of 1/255: how far a restoration went from the posterior mean.

    With the true posterior mean, error^2 = least error^2 + IndRMSE^2, on the average over all
    pictures that are possible (Freirich, Michaeli and Meir 2021). So it tells what a restoration
    added to the least possible error, and nothing of how good it looks.
    """
    return distance(image, paired(image, mean, ("The picture", "The posterior mean")))


def residual(image: Tensor, degraded: Tensor, degradation: Degradation) -> Tensor:
    """rms(A x - y) in units of 1/255: degraded once more, how far is a picture from the photo?

    Only what the photo tells counts: not the pixels that a mask hides, nor how far beyond white a
    clipped one lies.

    Raises:
        ValueError: sizes differ, or the degradation has no fixed operator A.
    """
    if not isinstance(degradation, Operator):
        raise ValueError(
            f"{degradation.name} has no fixed operator: what it does is drawn anew for each "
            "photo, so a result cannot be degraded in the same way once more."
        )
    y = degradation.measured(degraded)
    pixel = y.new_zeros(1).expand(degradation.domain(y.shape))
    paired(image, degradation.trimmed(pixel, degraded), ("The picture", "The degraded photo's"))
    whole = degradation.extended(image)
    return LEVELS * unexplained(degradation, whole, y.expand(len(image), -1, -1, -1))


def mean_of(name: str, values: Tensor) -> float:
    """The one number for a batch: distances are averaged as squares, everything else plainly.

    So the errors of a batch add up as those of a picture do.
    """
    squared = name in SQUARED
    return values.square().mean().sqrt().item() if squared else values.mean().item()


def piecewise(
    measure: Callable[..., Tensor], *pictures: Tensor, smallest: int, name: str
) -> Tensor:
    """A network's judgement, picture by picture; of large ones the pieces' average by area.

    Args:
        measure: called with a crop [1, 3, h, w] of each of `pictures`; gives one number.
        smallest: side in pixels from which it can judge.
        name: of the measure, for the message.

    Raises:
        ValueError: the pictures are smaller.
    """
    height, width = pictures[0].shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} needs pictures of at least {smallest} x {smallest} pixels; got {width} x "
            f"{height}."
        )

    def judged(*several: Tensor) -> Tensor:
        total = 0.0
        crops = zip(*(_pieces(picture) for picture in several), strict=True)
        for crop in crops:
            share = crop[0].shape[-2] * crop[0].shape[-1] / (height * width)
            total = total + share * measure(*crop).detach().double().cpu().reshape(-1)
        return total

    return _each(judged, *pictures)


def _pieces(picture: Tensor) -> list[Tensor]:
    rows, columns = (math.ceil(side / PIECE) for side in picture.shape[-2:])
    strips = picture.tensor_split(rows, dim=-2)
    return [crop for strip in strips for crop in strip.tensor_split(columns, dim=-1)]


def _each(measure: Callable[..., Tensor], *pictures: Tensor) -> Tensor:
    """A measure of one picture after another."""
    singles = zip(*(batch.split(1) for batch in pictures), strict=True)
    return torch.cat([measure(*single) for single in singles])
