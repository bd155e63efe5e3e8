"""Upright crops of faces, all of one size."""

from torch import Tensor

from . import geometry
from .detections import Faces
from .warp import samples_per_pixel, strips, warp

MOST = 256
"""Faces aligned at once: 800 MB of crops."""


def align(photos: Tensor, faces: Faces, size: int = geometry.SIDE) -> Tensor:
    """Cut the faces out of their photos, each by one resampling in float.

    A crop that leaves the frame sees the photo's reflection there. It is computed in float32, and
    given in the photos' type.

    Args:
        photos: [B, 3, H, W] in [0, 1]; faces found at another size of the same picture are scaled.
        faces: N faces.
        size: side of a crop.

    Returns:
        [N, 3, size, size] in [0, 1].

    Raises:
        ValueError: more than 256 faces, or faces of other photos.
    """
    if len(faces) > MOST:
        raise ValueError(
            f"{len(faces)} faces are too many to align at once: keep at most {MOST} of them."
        )
    faces = faces.on(photos)
    crops = photos.new_empty(len(faces), 3, size, size)
    for crop, picture, transform in zip(crops, faces.picture, faces.transforms, strict=True):
        align_into(crop, photos[picture].float(), transform)
    return crops


def align_into(crop: Tensor, photo: Tensor, transform: Tensor) -> None:
    """Fill a crop [3, S, S] from a float32 photo [3, H, W] in [0, 1] and its transform [2, 3]."""
    side = crop.shape[-1]
    back = geometry.invert(transform * (side / geometry.SIDE))
    for area in strips((slice(0, side), slice(0, side)), samples_per_pixel(back)):
        crop[(..., *area)] = warp(photo, back, area)
    crop.clamp_(0, 1)
