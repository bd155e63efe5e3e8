"""Which of several draws of a picture to take."""

import torch
from torch import Tensor

from .judging import distance, paired, residual
from .operators import Degradation

INDEX = "index"
MEAN = "nearest the posterior mean"
MIDDLE = "nearest the samples' mean"
DATA = "least data residual"
RULES = (INDEX, MEAN, MIDDLE, DATA)


def scores(
    samples: Tensor,
    rule: str,
    mean: Tensor | None = None,
    degraded: Tensor | None = None,
    degradation: Degradation | None = None,
) -> Tensor:
    """What a rule says of each sample, [N, B] in units of 1/255; the least is the best.

    Args:
        samples: [N, B, 3, H, W], N draws of B pictures.
        rule: one of `RULES` but the first.
        mean: [1 or B, 3, H, W], the posterior mean.
        degraded: of the same shape, the photo that was restored.
        degradation: what happened to it.

    Raises:
        ValueError: an unknown rule, or one that needs what is not given.
    """
    if rule not in RULES[1:]:
        raise ValueError(f"The rule must be one of {', '.join(RULES)}; got {rule}.")
    if rule == DATA:
        if degraded is None or degradation is None:
            raise ValueError(f"To pick by the {rule}, wire the degraded photo and the degradation.")
        return torch.stack([residual(draw, degraded, degradation) for draw in samples])
    if rule == MEAN and mean is None:
        raise ValueError(f"To pick the one {rule}, wire the posterior mean.")
    middle = samples.mean(0) if rule == MIDDLE else mean
    middle = paired(samples[0], middle, ("The samples", "The posterior mean"))
    return torch.stack([distance(draw, middle) for draw in samples])


def grouped(samples: Tensor, pictures: int) -> Tensor:
    """[N * B, 3, H, W], draw after draw, as [N, B, 3, H, W].

    Raises:
        ValueError: their number is no multiple of the pictures.
    """
    if len(samples) % pictures:
        raise ValueError(
            f"{len(samples)} samples cannot be shared out to {pictures} pictures: each needs as "
            "many as the others."
        )
    return samples.unflatten(0, (-1, pictures))


def picked(samples: Tensor, index: int, scored: Tensor | None = None) -> Tensor:
    """Which draw is taken of each picture, [B].

    Args:
        samples: [N, B, 3, H, W].
        index: of the draw, from 0; negative ones count from the end.
        scored: [N, B]; the least ones are taken instead.

    Raises:
        ValueError: there is no such draw.
    """
    if scored is not None:
        return scored.argmin(0)
    if not -len(samples) <= index < len(samples):
        raise ValueError(f"There are {len(samples)} samples, from 0; got the index {index}.")
    return torch.full((samples.shape[1],), index % len(samples))


def taken(samples: Tensor, which: Tensor) -> Tensor:
    """Of [N, B, 3, H, W], the draws [B] of each picture, [B, 3, H, W]."""
    return samples[which, torch.arange(samples.shape[1])]
