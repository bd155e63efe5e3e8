"""What a photo is here, and what its file says beside the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "HEIF": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pnm"),
}
"""What is read, by Pillow's names, with the suffixes of its files, the usual one first."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)


class PhotoError(ValueError):
    """One photo cannot be read or written; one sentence says what, what for and what to do."""


class DiskError(PhotoError):
    """A disk, or the network before it, did not do as asked: another attempt may go well."""


@dataclass(frozen=True)
class Source:
    """What a photo's file holds beside its pixels, to write another one like it."""

    format: str
    """One of FORMATS."""
    bits: int
    """Of a channel: 8, 16, or 32 for floating point."""
    grey: bool
    """Whether it is stored as one channel of brightness."""
    icc: bytes | None = None
    """A profile of the file's colours that could be read; of a CMYK file, too."""
    exif: bytes | None = None
    """A TIFF structure without header, as the file has it: with its own orientation."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    """Of a PNG, by keyword."""
    colour_chunks: Mapping[bytes, bytes] = field(default_factory=dict)
    """Of a PNG: those of metadata.COLOUR_CHUNKS, by name."""
    others: tuple[str, ...] = ()
    """What else it holds and is never carried, each as "without ..." goes on."""
    comments: tuple[bytes, ...] = ()
    dpi: tuple[float, float] | None = None
    tables: tuple[tuple[int, ...], ...] = ()
    """Of a JPEG: its quantization, which is its quality."""
    subsampling: int = 0
    """Of a JPEG: 0, 1, 2 for 4:4:4, 4:2:2, 4:2:0."""
    progressive: bool = False
    lossless: bool = False
    """Of a WebP."""
    compressed: bool = True
    """Of a TIFF."""


@dataclass(frozen=True)
class Photo:
    """A photo as it is looked at: upright, its colours in sRGB."""

    pixels: np.ndarray
    """[H, W, 3] float32 in [0, 1]; grey has three equal channels."""
    alpha: np.ndarray | None
    """[H, W] float32 in [0, 1], 1 where the photo is opaque."""
    source: Source
    sha256: str
    """Of the file's bytes."""
    notes: tuple[str, ...] = ()
    """What could not be taken as it is in the file, each a sentence to show."""
