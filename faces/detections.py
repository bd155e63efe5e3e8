"""What the FACES wire carries: the faces of a batch of pictures of one size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import geometry
from .boxes import overlap, share_inside, sides
from .faults import faults

ASPECT = 0.02
"""By so much may a canvas differ in shape from the photo: upscalers round."""

FACE = ((124.0, 130.0), (388.0, 452.0))
"""Corners of a face's box in the template: brow to chin, cheek to cheek."""

SAME = 0.4
"""Boxes whose intersection is a larger part of their union are of one face."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces in order, which numbers them for people from 1; selections keep it, save `subset`.

    Coordinates are pixels from the picture's corner. Points may lie outside the frame.

    Raises:
        ValueError: numbers that cannot be faces of these pictures, in one sentence.
    """

    boxes: Tensor
    """[N, 4]: x0, y0, x1, y1."""
    points: Tensor
    """[N, 5, 2]: left eye, right eye, nose, left and right corner of the mouth, left and right as
    one sees them on the upright face."""
    scores: Tensor
    """[N] in [0, 1]: how sure the detector is."""
    picture: Tensor
    """[N]: the face's picture in the batch, from 0."""
    height: int
    width: int

    def __post_init__(self) -> None:
        count = len(self.boxes)
        shapes = [tuple(x.shape) for x in (self.boxes, self.points, self.scores, self.picture)]
        if shapes != [(count, 4), (count, 5, 2), (count,), (count,)]:
            raise ValueError(
                "Faces need boxes [N, 4], points [N, 5, 2], scores [N] and pictures [N], not "
                + ", ".join(map(str, shapes))
                + "."
            )
        if (stray := (self.picture < 0).nonzero()).numel():
            raise ValueError(f"Face {stray[0].item() + 1} lies in no picture: they count from 0.")
        for wrong, sentence in faults(self.boxes, self.points, self.height, self.width):
            if wrong.any():
                raise ValueError(sentence.format(face=f"face {wrong.nonzero()[0].item() + 1}"))

    @classmethod
    def none(cls, height: int, width: int) -> "Faces":
        """No face in pictures of this size."""
        return cls.from_points(
            torch.zeros(0, 5, 2), torch.zeros(0, dtype=torch.long), height, width
        )

    @classmethod
    def from_points(cls, points: Tensor, picture: Tensor, height: int, width: int) -> "Faces":
        """Faces whose points [N, 5, 2] a person gave: sure, in boxes around the points."""
        scores = points.new_ones(len(points))
        return cls(around(points), points, scores, picture, height, width)

    @classmethod
    def aligned(cls, pictures: int, height: int, width: int) -> "Faces":
        """One face a picture, whose middle square is an aligned crop already."""
        side = min(height, width)
        corner = torch.tensor([width - side, height - side]) / 2
        points = geometry.TEMPLATE * (side / geometry.SIDE) + corner
        return cls.from_points(points.expand(pictures, 5, 2), torch.arange(pictures), height, width)

    @classmethod
    def credible(
        cls,
        boxes: Tensor,
        points: Tensor,
        scores: Tensor,
        picture: Tensor,
        height: int,
        width: int,
    ) -> "Faces":
        """What a detector found, less what cannot be a face of these pictures."""
        wrong = [wrong for wrong, _ in faults(boxes, points, height, width)]
        kept = ~torch.stack(wrong).any(0)
        return cls(boxes[kept], points[kept], scores[kept], picture[kept], height, width)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def transforms(self) -> Tensor:
        """[N, 2, 3]: from each face's picture to the template."""
        return geometry.fit(self.points)

    def subset(self, indices: Sequence[int]) -> "Faces":
        """These faces, counted from 0, in the order given."""
        for index in indices:
            if not 0 <= index < len(self):
                raise ValueError(f"There is no face {index + 1}: {len(self)} were found.")
        chosen = torch.as_tensor(indices, dtype=torch.long)
        names = ("boxes", "points", "scores", "picture")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def where(self, chosen: Tensor) -> "Faces":
        """Those for which [N] is true."""
        return self.subset(chosen.nonzero()[:, 0].tolist())

    def largest(self, count: int) -> "Faces":
        """Of each picture the faces with the largest boxes, the first of equals."""
        area = sides(self.boxes).prod(1)
        chosen = torch.zeros(len(self), dtype=torch.bool)
        for picture in self.picture.unique():
            own = (self.picture == picture).nonzero()[:, 0]
            chosen[own[area[own].argsort(descending=True, stable=True)[:count]]] = True
        return self.where(chosen)

    def scoring(self, least: float) -> "Faces":
        """Those of which the detector is at least so sure."""
        return self.where(self.scores >= least)

    def at_least(self, side: float) -> "Faces":
        """Those whose box is at least so many pixels wide and high."""
        return self.where((sides(self.boxes) >= side).all(1))

    def inside(self, region: Tensor, share: float = 0.5) -> "Faces":
        """Those whose box lies in a region by at least this share.

        Args:
            region: [H, W] for all pictures or [B, H, W], in [0, 1], of the pictures' size.
        """
        if region.shape[-2:] != (self.height, self.width):
            height, width = region.shape[-2:]
            raise ValueError(
                f"The region is {width} x {height} pixels, the picture {self.width} x "
                f"{self.height}: draw it on the picture itself."
            )
        regions = region.reshape(-1, self.height, self.width)
        if len(self) and 1 < len(regions) <= (last := int(self.picture.max())):
            raise ValueError(
                f"Give one region, or one a picture; a face lies in picture {last + 1}, but "
                f"{len(regions)} regions came."
            )
        shares = [
            share_inside(box, regions[picture if len(regions) > 1 else 0])
            for box, picture in zip(self.boxes, self.picture.tolist(), strict=True)
        ]
        return self.where(torch.tensor(shares) >= share)

    def joined(self, given: "Faces") -> "Faces":
        """These, then faces of the same pictures that a person gave.

        Where both speak of one face, the person knows better.
        """
        kept = torch.ones(len(self), dtype=torch.bool)
        for box, picture in zip(given.boxes.to(self.boxes), given.picture, strict=True):
            kept &= (self.picture != picture) | (overlap(box, self.boxes) <= SAME)
        own = self.where(kept)
        names = ("boxes", "points", "scores", "picture")
        both = {name: torch.cat([getattr(own, name), getattr(given, name)]) for name in names}
        return replace(given, **both)

    def on(self, canvas: Tensor) -> "Faces":
        """The same faces on pictures [B, C, H, W] of these photos at any size.

        Raises:
            ValueError: another number of pictures than the faces speak of, or another shape.
        """
        if len(self) and len(canvas) <= (last := int(self.picture.max())):
            raise ValueError(f"A face lies in picture {last + 1}, but {len(canvas)} came.")
        height, width = canvas.shape[-2:]
        across, down = width / self.width, height / self.height
        if abs(across / down - 1) > ASPECT:
            raise ValueError(
                f"The faces were found in a picture of {self.width} x {self.height} pixels; one "
                f"of {width} x {height} has another shape."
            )
        factor = self.boxes.new_tensor([across, down])
        boxes, points = self.boxes * factor.repeat(2), self.points * factor
        return replace(self, boxes=boxes, points=points, height=height, width=width)


def around(points: Tensor) -> Tensor:
    """Boxes [N, 4] of faces with these points [N, 5, 2]."""
    corners = torch.tensor(FACE, dtype=torch.float64)
    back = geometry.invert(geometry.fit(points))
    middle = geometry.move(back, corners.mean(0, keepdim=True))[:, 0]
    half = corners.diff(dim=0) / 2 * geometry.scale(back)[:, None]
    return torch.cat([middle - half, middle + half], dim=1).to(points)
