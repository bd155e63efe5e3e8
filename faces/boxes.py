"""Boxes (x0, y0, x1, y1) in pixels: how they overlap each other and a region."""

import torch
from torch import Tensor


def sides(boxes: Tensor) -> Tensor:
    """Width and height, [N, 2]."""
    return boxes[:, 2:] - boxes[:, :2]


def overlap(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of one box [4] with others [N, 4]; [N] in [0, 1]."""
    low, high = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    return common / (sides(box[None]).prod() + sides(boxes).prod(1) - common)


def suppress(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Of boxes of the same face keep the best: greedy non-maximum suppression.

    Goes through the boxes from the highest score (the first of equals) and drops those of less
    score that overlap it by more than `most`. Time and memory of the order kept x N and N.

    Args:
        boxes: [N, 4] of one picture, none empty.
        scores: [N].
        most: intersection over union, in [0, 1].

    Returns:
        Indices of those kept, the highest score first.
    """
    left, kept = scores.argsort(descending=True, stable=True), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[overlap(boxes[best], boxes[left]) <= most]
    return torch.stack(kept) if kept else left


def share_inside(box: Tensor, region: Tensor) -> float:
    """The mean of a region [H, W] in [0, 1] over the part of a box [4] that lies in its frame."""
    height, width = region.shape
    left, top = box[:2].floor().clamp(min=0).long().tolist()
    right, bottom = box[2:].ceil().long().tolist()
    return region[top : min(bottom, height), left : min(right, width)].mean().item()
