"""Restored crops back into their photo: photo + mask * warp(restored - aligned).

Only the difference travels. A crop that nobody changed gives the photo back bit for bit, detail
that a crop cannot hold stays (so does noise that fine), and a pixel outside every mask keeps its
value. Where the photo's fine detail is mostly noise, the crops can take its place instead:
photo + mask * (warp(restored) - photo).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import geometry
from .align import align_into
from .colour import is_grey, without_colour, without_rim
from .detections import Faces
from .warp import Area, sample, samples_per_pixel, strips, warp

NEAR = 64.0
"""Pixels of the template by which a face's say in shared pixels wanes from its middle."""

GRID, ALIKE, UNLIKE = 64, 0.9, 0.7
"""Pictures are compared on 64 x 64 cells, by the correlation of their values."""


def paste(
    photos: Tensor,
    restored: Tensor,
    faces: Faces,
    mask: Tensor,
    *,
    match_colour: bool = False,
    keep_detail: bool = True,
) -> tuple[Tensor, Tensor]:
    """Put restored crops where their faces are.

    Where masks overlap, the nearer face has the greater say, and together they count as much as
    the strongest mask. Grey photos stay grey, also those that a network has restored. It is
    computed in float32, and given in the photos' type.

    Args:
        photos: [B, 3, H, W] in [0, 1]: the photos themselves, or the same at any other size;
            those of no face, also further ones, stay as they are.
        restored: [N, 3, S, S] in [0, 1]: what became of `align(photos, faces)`, of any size.
        faces: N faces.
        mask: [M, M] for all or [N, M, M] in [0, 1] over the crop; 0 along its border.
        match_colour: leave the broad colours along the mask's rim as the photo has them.
        keep_detail: leave what is finer than a crop's pixels, noise too, as the photo has it.

    Returns:
        The photos with the faces [B, 3, H, W], and the union of their masks [B, H, W].

    Raises:
        ValueError: crops, masks or pictures that do not belong to these faces.
    """
    faces = faces.on(photos)
    _check(restored, mask, len(faces))
    masks = mask.expand(len(faces), *mask.shape[-2:])
    given, photos = photos, photos.float()
    results, unions = photos.clone(), photos.new_zeros(len(photos), *photos.shape[-2:])
    for index in faces.picture.unique().tolist():
        photo, result, own = photos[index], results[index], faces.picture == index
        places = [
            _Place.of(photo, *one) for one in zip(faces.transforms[own], masks[own], strict=True)
        ]
        everyone = _cover(places, unions[index])
        grey = is_grey(photo)
        for place, crop in zip(places, restored[own], strict=True):
            aligned, change = place.change(photo, crop.to(photo.device), match_colour)
            _refuse_photo(crop.to(photo), aligned, photo)
            change = without_colour(change) if grey else change
            shares = (unions[index], everyone)
            if keep_detail:
                _add(change, place, shares, result)
            else:
                _add(aligned + change, place, shares, result, instead_of=photo)
        for place in places:
            _clamp(result, photo, place)
    if given.dtype != results.dtype:  # what nothing changed keeps digits that float32 lacks
        results = torch.where(results == photos, given, results.to(given))
    return results, unions.to(given)


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a face lies in its photo."""

    transform: Tensor
    """[2, 3], to the template."""
    mask: Tensor
    """[M, M] over the crop."""
    say: Tensor
    """The mask, less the farther from the face's middle."""
    area: Area
    """The photo's pixels around the crop."""

    @classmethod
    def of(cls, photo: Tensor, transform: Tensor, mask: Tensor) -> "_Place":
        side = geometry.SIDE
        corners = torch.tensor([[0, 0], [side, 0], [0, side], [side, side]])
        corners = geometry.move(geometry.invert(transform[None]), corners)[0]
        frame = torch.tensor([photo.shape[2], photo.shape[1]])
        low, high = (
            edge.long().clamp(min=torch.zeros(2, dtype=torch.long), max=frame).tolist()
            for edge in (corners.amin(0).floor(), corners.amax(0).ceil())
        )
        columns, rows = map(slice, low, high)
        mask = mask.to(photo)
        line = (torch.arange(len(mask)) + 0.5) / len(mask) - 0.5
        near = torch.exp(-((line * side / NEAR) ** 2) / 2).to(photo)
        return cls(transform, mask, mask * near * near[:, None], (rows, columns))

    def to_crop(self, side: int) -> Tensor:
        """[2, 3], from the photo to a crop or mask of this side."""
        return self.transform * (side / geometry.SIDE)

    def read(self, area: Area) -> Tensor:
        """Mask and say in an area of the photo, [2, rows, columns]."""
        return sample(torch.stack([self.mask, self.say]), self.to_crop(len(self.mask)), area)

    def change(self, photo: Tensor, crop: Tensor, match_colour: bool) -> tuple[Tensor, Tensor]:
        """The photo's own crop, and by what another [3, S, S] differs from it."""
        aligned = torch.empty_like(crop, dtype=photo.dtype)
        align_into(aligned, photo, self.transform)
        change = crop.to(photo) - aligned.to(crop.dtype).to(photo)  # both equally rounded
        return aligned, without_rim(change, self.mask) if match_colour else change


def _cover(places: list[_Place], union: Tensor) -> Tensor:
    """Draw all masks into `union` [H, W]; returns the sum of their weights before sharing."""
    everyone = torch.zeros_like(union)
    for place in places:
        for area in strips(place.area):
            mask, say = place.read(area)
            union[area] = torch.maximum(union[area], mask)
            everyone[area] += mask * say
    return everyone


def _add(
    crop: Tensor,
    place: _Place,
    shares: tuple[Tensor, Tensor],
    result: Tensor,
    instead_of: Tensor | None = None,
) -> None:
    """Add a crop [3, S, S] to `result` [3, H, W], by its share of the union [H, W] of all masks.

    It is a change, or what stands instead of a photo [3, H, W].
    """
    union, everyone = shares
    back = place.to_crop(crop.shape[-1])
    for area in strips(place.area, samples_per_pixel(back)):
        mask, say = place.read(area)
        share = mask * say / everyone[area].clamp(min=torch.finfo(say.dtype).tiny)
        there = warp(crop, back, area)
        if instead_of is not None:
            there -= instead_of[(..., *area)]
        result[(..., *area)] += union[area] * share * there


def _clamp(result: Tensor, photo: Tensor, place: _Place) -> None:
    """Keep colours in [0, 1], or where the photo's own lie beyond."""
    for area in strips(place.area):
        own, new = photo[(..., *area)], result[(..., *area)]
        new.copy_(new.clamp(min=own.clamp(max=0), max=own.clamp(min=1)))


def _refuse_photo(crop: Tensor, aligned: Tensor, photo: Tensor) -> None:
    """Refuse a crop [3, S, S] that shows the whole square photo instead of a face of it."""
    if photo.shape[1] != photo.shape[2]:
        return
    seen, face, whole = (F.adaptive_avg_pool2d(one, GRID) for one in (crop, aligned, photo))
    if _correlation(seen, whole) > ALIKE and _correlation(seen, face) < UNLIKE:
        raise ValueError(
            "A crop shows the whole photo instead of a face. Align Faces seems to be bypassed: "
            "switch it on, or bypass Paste Faces, too."
        )


def _correlation(a: Tensor, b: Tensor) -> float:
    """Of the values of two pictures of one size; 0 for a plain one."""
    a, b = ((one - one.mean()).flatten().double() for one in (a, b))
    return (a @ b / (a.norm() * b.norm()).clamp(min=torch.finfo(a.dtype).tiny)).item()


def _check(restored: Tensor, mask: Tensor, count: int) -> None:
    """Refuse crops and masks that do not belong to so many faces."""
    if len(restored) != count:
        raise ValueError(f"{len(restored)} restored crops came for {count} faces.")
    if not restored.isfinite().all():
        raise ValueError("A restored crop holds values that are not numbers.")
    height, width = restored.shape[-2:]
    if height != width:
        raise ValueError(
            f"Crops of faces are square; these are {width} x {height} pixels. Is Align Faces "
            "bypassed?"
        )
    if mask.shape[-2] != mask.shape[-1] or (mask.ndim == 3 and len(mask) not in (1, count)):
        raise ValueError(
            f"The mask must be one square, or one for each of {count} faces, not "
            f"{tuple(mask.shape)}."
        )
