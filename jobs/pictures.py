"""Small upright pictures of photos, to be looked at: quick to make, and bounded for huge files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from . import reading
from .samples import ALIKE, deep_grey

GAP = 2
"""A photo is decoded at, or first averaged to, no less than so many times the picture's size."""
QUALITY = 85


def picture(path: Path, side: int, quality: int = QUALITY) -> tuple[bytes, str]:
    """A photo fit into a square of pixels, in sRGB, never enlarged.

    Of a JPEG little more is decoded than is shown; any other photo is taken at 8 bits a channel,
    where reading it in full takes four times the memory.

    Args:
        side: of the square.
        quality: 1 to 100.

    Returns:
        the bytes of a file for browsers, and its media type: JPEG, or WebP where one sees through.

    Raises:
        PhotoError: as `photos.read`.
    """
    with reading.opened(path, reading.LIMIT_PIXELS) as image:
        image.draft(None, (GAP * side, GAP * side))
        image.load()  # and only then: Pillow turns a TIFF while it is loaded
        turn = reading.TURNS.get(
            reading.orientation_of(image, reading.exif_of(image), []), lambda rows: rows
        )
        small, icc = _in_bytes(image), image.info.get("icc_profile")
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=GAP)
        values = np.asarray(small, np.float32).reshape(small.height, small.width, -1) / 255
    planes = values.shape[2] - small.mode.endswith("A")
    pixels, _ = reading.in_srgb(values[..., :planes], icc, [])
    alpha = values[..., planes:]
    clear = bool((alpha < 1).any())
    shown = turn(np.concatenate([pixels, alpha], axis=2) if clear else pixels)
    made = Image.fromarray(np.rint(shown * 255).astype(np.uint8))
    file = io.BytesIO()
    if clear:
        made.save(file, "WEBP", quality=quality)
        return file.getvalue(), "image/webp"
    made.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue(), "image/jpeg"


def inside(root: Path, path: str) -> Path | None:
    """The real path of a file below a folder; None if it is not there or a link leads out of it."""
    real = Path(os.path.realpath(root / path))
    return real if real.is_relative_to(os.path.realpath(root)) and real.is_file() else None


def _in_bytes(image: Image.Image) -> Image.Image:
    """A loaded picture at 8 bits a channel, in a mode that can be made smaller: L, LA, RGB ..."""
    if image.mode.startswith("I"):
        values = deep_grey(image)
        grey = Image.fromarray((values >> 8).astype(np.uint8))
        if (key := image.info.get("transparency")) is None:
            return grey
        clear = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
        return Image.merge("LA", (grey, clear))
    if image.mode == "F":
        values = np.nan_to_num(deep_grey(image)).clip(0, 1)
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    wanted = ALIKE.get(image.mode, image.mode)
    return image if wanted == image.mode else image.convert(wanted)
