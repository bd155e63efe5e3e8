"""How far the draws of a flow lie apart: what a restoration cannot know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import SEEDS

APART = 2**16
"""Between the seeds of a picture's draws; torch takes a seed's last 32 bits only."""
MOST = 256
PIXELS_AT_ONCE = 2**21
"""Small pictures are drawn several times at once, up to so many pixels."""


@dataclass(frozen=True, eq=False)
class Spread:
    """Of draws of the same pictures."""

    mean: Tensor
    """[B, 3, H, W]."""
    std: Tensor
    """[B, 1, H, W]: over the draws (unbiased variance), root of the mean square of the colours."""
    kept: Tensor
    """[K * B, 3, H, W]: the first draws, the whole batch of one after that of another."""

    @property
    def typical(self) -> Tensor:
        """[B], the root of the mean square over a picture, in units of 1/255."""
        return 255 * self.std.double().square().mean((1, 2, 3)).sqrt().cpu()


def seed_of(seed: int, draw: int) -> int:
    """The seed of a draw; picture b of a batch draws from it + b, as everywhere.

    So draw 0 is what a sampler gives with the seed itself, and no two pictures or draws share a
    noise as long as a batch has fewer than 65,536 pictures.
    """
    return (seed + APART * draw) % SEEDS


def at_once(pictures: Tensor, draws: int) -> int:
    """How many draws of a batch [B, C, H, W] are computed together."""
    batch, _, height, width = pictures.shape
    return max(1, min(draws, PIXELS_AT_ONCE // (batch * height * width)))


def spread(
    draw: Callable[[Sequence[int]], Tensor], draws: int, *, together: int = 1, keep: int = 1
) -> Spread:
    """Mean and standard deviation over draws, one after another (Welford 1962).

    What is held does not grow with the number of draws, but for those kept.

    Args:
        draw: from the numbers of n draws to their pictures, [n, B, 3, H, W].
        draws: how many, 2 to 256.
        together: how many `draw` is asked for at once.
        keep: how many of the first draws are returned; 1 to `draws`.

    Raises:
        ValueError: an argument out of range.
    """
    if not 2 <= draws <= MOST:
        raise ValueError(f"A spread needs 2 to {MOST} draws; got {draws}.")
    if keep < 1:
        raise ValueError(f"At least one draw is kept; got {keep}.")
    kept, count = [], 0
    for first in range(0, draws, together):
        pictures = draw(range(first, min(first + together, draws)))
        kept += pictures[: max(keep - first, 0)].unbind()
        for picture in pictures:
            count += 1
            if count == 1:
                mean, squares = picture.clone(), torch.zeros_like(picture)
                continue
            away = picture - mean
            mean += away / count
            squares.addcmul_(away, picture - mean)
    return Spread(mean, (squares / (draws - 1)).mean(1, keepdim=True).sqrt(), torch.cat(kept))


def normalised(std: Tensor, top: float) -> tuple[Tensor, float]:
    """A spread on a scale from 0 to 1, and what 1 means in units of 1/255.

    Args:
        std: [B, 1, H, W].
        top: what 1 shall mean, in units of 1/255; 0 takes the largest spread of the batch.

    Raises:
        ValueError: a negative scale.
    """
    if top < 0:
        raise ValueError(f"The scale must be 0 (automatic) or more, in 1/255; got {top}.")
    largest = top or 255 * std.max().item()
    return (std * (255 / largest) if largest else std).clamp(0, 1), largest
