"""YuNet (Wu et al. 2023, doi 10.1007/s11633-023-1423-y): a face detector of 55 thousand numbers.

The smaller of the two published graphs under the names of its training code
(github.com/ShiqiYu/libfacedetection.train), as it is exported: every BatchNorm is folded into the
convolution before it.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (8, 16, 32)
"""Pixels a cell's side, of the three maps."""
ANSWERS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""What each cell answers, in this order, and in how many numbers."""
WIDTHS = (16, 16, 32, 64, 64, 64, 64)
"""Channels of the first convolution and of the six stages."""
POOLED = (0, 2, 3, 4)
"""The stages after which the sides are halved."""
SEEN = (3, 4, 5)
"""The stages whose maps the neck sees, one a stride."""


class Unit(nn.Module):
    """A 1x1 convolution, then a depthwise 3x3."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 1)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, groups=outer)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inner, H, W] -> [B, outer, H, W]."""
        return self.conv2(self.conv1(x))


class Stem(nn.Module):
    """The first stage; halves the sides."""

    def __init__(self, middle: int, outer: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, middle, 3, stride=2, padding=1)
        self.conv2 = Unit(middle, outer)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, outer, H / 2, W / 2]."""
        return self.conv2(self.conv1(x).relu_()).relu_()


class Stage(nn.Module):
    """Two units."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv1 = Unit(inner, inner)
        self.conv2 = Unit(inner, outer)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inner, H, W] -> [B, outer, H, W]."""
        return self.conv2(self.conv1(x).relu_()).relu_()


class Backbone(nn.Module):
    """Six stages, whose last three see one stride each."""

    def __init__(self):
        super().__init__()
        self.model0 = Stem(*WIDTHS[:2])
        for number, widths in enumerate(pairwise(WIDTHS[1:]), start=1):
            self.add_module(f"model{number}", Stage(*widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> [B, 64, H / s, W / s] for each stride s."""
        seen = []
        for number, stage in enumerate(self.children()):
            x = stage(x)
            if number in SEEN:
                seen.append(x)
            if number in POOLED:
                x = F.max_pool2d(x, 2)
        return seen


class Neck(nn.Module):
    """Adds what the coarser maps know to the finer ones."""

    def __init__(self):
        super().__init__()
        self.lateral_convs = nn.ModuleList(Unit(width, width) for width in WIDTHS[-len(STRIDES) :])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The backbone's maps -> the same shapes."""
        fine, middle, coarse = maps
        below, beside, above = self.lateral_convs
        coarse = above(coarse).relu_()
        middle = beside(middle + F.interpolate(coarse, scale_factor=2.0)).relu_()
        fine = below(fine + F.interpolate(middle, scale_factor=2.0)).relu_()
        return [fine, middle, coarse]


class Head(nn.Module):
    """One unit an answer and stride."""

    def __init__(self):
        super().__init__()
        for answer, count in ANSWERS.items():
            units = nn.ModuleList(Unit(width, count) for width in WIDTHS[-len(STRIDES) :])
            self.add_module(f"multi_level_{answer}", units)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The neck's maps -> [B, 16, H / s, W / s] for each stride s."""
        levels = zip(*self.children(), strict=True)
        return [
            torch.cat([unit(seen) for unit in units], dim=1)
            for units, seen in zip(levels, maps, strict=True)
        ]


class YuNet(nn.Module):
    """Backbone, neck and head."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.bbox_head = Head()

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W], sides multiples of 32 -> [B, 16, H / s, W / s] for each stride s.

        The channels are `ANSWERS`; the first two are logits.
        """
        return self.bbox_head(self.neck(self.backbone(x)))
