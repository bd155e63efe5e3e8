"""Pixels and what their source held beside them -> the bytes of a photo file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from . import colour, metadata
from .formats import CARRIED, WRITERS, Parts
from .source import PhotoError, Source

DEEPEST = {"JPEG": 8, "WEBP": 8, "PNG": 16, "TIFF": 32}
"""What is written -> its most bits a channel."""
FIELDS = {"iptc": "IPTC", "comments": "comments", "texts": "texts", "dpi": "resolution"}
"""Fields of a source that not every format takes -> how users call them."""


@dataclass(frozen=True)
class Saving:
    """How restored photos are written."""

    format: Literal["as the source", "png", "jpeg", "webp", "tiff"] = "as the source"
    """As the source: PNG in place of what is read only (HEIC, AVIF, GIF and the like)."""
    bits: Literal[8, 16] | None = None
    """Of a channel, at most what the format holds; None: as the source."""
    quality: int | None = None
    """Of JPEG and WebP, 1 to 100; None: the source's own, or 95."""
    metadata: Literal["keep", "strip"] = "keep"
    """Strip: pixels only, in sRGB, with no profile, no text and no graph."""
    colour: Literal["source profile", "srgb"] = "source profile"
    """Colours as the source's profile has them, or in sRGB with that profile embedded."""
    grey: Literal["as it is", "keep grey"] = "as it is"
    """Keep grey: a photo that was stored as one channel is written as one."""


def encode(
    format: str,
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    source: Source | None,
    how: Saving,
    texts: Mapping[str, str],
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file, and notes of what could not be carried into it.

    Args:
        format: PNG, JPEG, WEBP or TIFF.
        pixels: [H, W, 3] in sRGB; what lies beyond [0, 1] is cut.
        alpha: [h, w] in [0, 1] or None; of another size than the pixels, it is resized.
        source: of the photo that the pixels were made from, if there was one.
        texts: the graph as JSON by ComfyUI's keys, `prompt` and `workflow`; PNG text, else XMP.

    Raises:
        PhotoError: the pixels are no picture, or too large for the format.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise PhotoError(f"A photo must have pixels [H, W, 3]; got {list(pixels.shape)}.")
    if not np.isfinite(pixels).all():
        raise PhotoError(
            "The result holds values that are not numbers (NaN or infinite): "
            "look at the nodes before it."
        )
    notes: list[str] = []
    origin = source or Source("PNG", 8, False)
    bits = min(how.bits or origin.bits, DEEPEST[format])
    pixels, icc = _coloured(np.clip(pixels, 0, 1), origin, how, notes)
    pixels = _with_alpha(pixels, alpha, format, notes)
    others = metadata.other_colours(origin.colour_chunks, origin.icc)
    if others and (icc or format != "PNG" or how.metadata == "strip"):
        notes.append(f"What {' and '.join(others)} said of its colours is not carried.")
    if how.metadata == "strip":
        origin, texts = _bare(origin), {}
    _tell_lost(origin, format, notes)
    exif = _fitted(origin.exif, pixels.shape, notes)
    parts = Parts(_quantized(pixels, bits), icc, exif, texts, origin, how.quality)
    try:
        return WRITERS[format](parts, notes), tuple(notes)
    except (OSError, ValueError, OverflowError) as error:
        height, width = pixels.shape[:2]
        raise PhotoError(
            f"{width} x {height} pixels cannot be written as {format} ({error}): choose PNG."
        ) from error


def _bare(source: Source) -> Source:
    """A source without what it says, but with how its file is compressed."""
    nothing = dict.fromkeys(("icc", "exif", "xmp", "iptc", "dpi"))
    return replace(source, texts={}, comments=(), colour_chunks={}, others=(), **nothing)


def _tell_lost(source: Source, format: str, notes: list[str]) -> None:
    """Note what a source holds and a file of a format will not."""
    carried = CARRIED[format] | ({"dpi"} if metadata.tells_resolution(source.exif) else set())
    lost = [word for name, word in FIELDS.items() if name not in carried and getattr(source, name)]
    if lost:
        were = "they were" if lost[1:] or lost[0].endswith("s") else "it was"
        called = "WebP" if format == "WEBP" else format
        notes.append(f"{called} holds no {' and no '.join(lost)}; {were} left out.")
    if source.others:
        notes.append(f"It is written without {' and '.join(source.others)}.")


def _coloured(
    pixels: np.ndarray, source: Source, how: Saving, notes: list[str]
) -> tuple[np.ndarray, bytes | None]:
    """sRGB [H, W, 3] in [0, 1] -> the colours to write [H, W, 1 or 3], and their profile."""
    if how.grey == "keep grey" and source.grey:
        pixels = colour.grey_of(pixels)
    channels = pixels.shape[2]
    if how.metadata == "strip":
        return pixels, None
    srgb = colour.srgb() if channels == 3 else None  # it knows no grey, which needs none
    if how.colour == "srgb":
        return pixels, srgb
    if source.icc is None:
        return pixels, None
    try:
        profile = colour.read_profile(source.icc, channels)
        if not colour.is_srgb(profile):
            pixels = profile.from_srgb(pixels)
        return pixels, source.icc
    except colour.ProfileError:  # of CMYK or of grey, or one that leads one way only
        notes.append("The source's ICC profile does not fit the result; it is written in sRGB.")
        return pixels, srgb


def _with_alpha(
    pixels: np.ndarray, alpha: np.ndarray | None, format: str, notes: list[str]
) -> np.ndarray:
    """Pixels [H, W, C] with their alpha behind, or laid on white where a format has none."""
    if alpha is None:
        return pixels
    height, width = pixels.shape[:2]
    if alpha.shape != (height, width):
        image = Image.fromarray(np.ascontiguousarray(alpha, np.float32))
        alpha = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    alpha = np.clip(alpha, 0, 1)[..., None]
    if format == "JPEG":
        notes.append("JPEG holds no transparency; the photo was laid on white.")
        return pixels * alpha + (1 - alpha)
    if pixels.shape[2] == 1 and format != "PNG":
        pixels = np.repeat(pixels, 3, axis=2)  # grey with alpha is rare elsewhere, and misread
    return np.concatenate([pixels, alpha], axis=2)


def _quantized(pixels: np.ndarray, bits: int) -> np.ndarray:
    """[0, 1] -> the nearest of the samples of so many bits."""
    if bits == 32:
        return np.ascontiguousarray(pixels, np.float32)
    full, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    return np.rint(pixels * np.float32(full)).astype(kind)


def _fitted(exif: bytes | None, shape: tuple[int, ...], notes: list[str]) -> bytes | None:
    if exif is None:
        return None
    try:
        return metadata.fitted_exif(exif, width=shape[1], height=shape[0])
    except ValueError:
        notes.append("Its EXIF cannot be parsed, so it was left out.")
        return None
