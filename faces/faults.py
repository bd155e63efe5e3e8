"""What cannot be a face of a picture, each in one sentence."""

from torch import Tensor

from . import geometry
from .boxes import sides

LEAST_LIKENESS = 0.2
"""Profiles have about 0.5; left and right exchanged 0.01."""

LEAST_SPREAD = 1.0
"""Pixels from the points' middle, root mean square."""


def faults(boxes: Tensor, points: Tensor, height: int, width: int) -> list[tuple[Tensor, str]]:
    """Which faces [N] cannot be, and a sentence about {face}; a detector drops all of them.

    Points may lie outside the frame, as those of a face do that leaves it, but not all of them.
    """
    frame = points.new_tensor([width, height])
    unseen = ~((points >= 0) & (points <= frame)).all(2).any(1)
    apart = (boxes[:, :2] >= frame).any(1) | (boxes[:, 2:] <= 0).any(1)
    return [
        (~points.flatten(1).isfinite().all(1), "A point of {face} is not a number."),
        (geometry.spread(points) < LEAST_SPREAD, "The points of {face} lie within one pixel."),
        (
            geometry.likeness(points) < LEAST_LIKENESS,
            f"The points of {{face}} form no face: their order is {geometry.ORDER}.",
        ),
        (~boxes.isfinite().all(1), "The box of {face} holds what is not a number."),
        ((sides(boxes) <= 0).any(1), "The box of {face} is empty: it needs x0 < x1 and y0 < y1."),
        (
            unseen | apart,
            f"The box or all points of {{face}} lie outside the picture of {width} x {height}.",
        ),
    ]
