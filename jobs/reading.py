"""A photo file -> pixels as networks take them, and everything that the file says beside them."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from . import beside, colour
from .metadata import (
    COLOUR_CHUNKS,
    DESCRIPTIVE_TAGS,
    DIRECTORY_TAGS,
    EXIF_HEADER,
    GRAPH_KEYS,
    IPTC_RESOURCE,
    XMP_HEADER,
    fitted_exif,
    whole_xmp,
)
from .samples import unit, values_of
from .source import FORMATS, SUFFIXES, DiskError, Photo, PhotoError, Source

PLUGINS = {
    "HEIF": "run `pip install pillow-heif` in ComfyUI's Python",
    "AVIF": "run `pip install --upgrade pillow` in ComfyUI's Python",
}
"""What to do where Pillow alone does not read a format."""

LIMIT_PIXELS = 178_956_970
"""A larger picture is taken for a decompression bomb: Pillow's own limit."""
SLACK = 1 / 255  # beyond sRGB, before a note says so
ORIENTATION, IPTC_TAG, COMPRESSION_TAG = 0x0112, 33723, 259
TURNS: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda rows: rows[:, ::-1],
    3: lambda rows: rows[::-1, ::-1],
    4: lambda rows: rows[::-1],
    5: lambda rows: rows.swapaxes(0, 1),
    6: lambda rows: np.rot90(rows, -1),
    7: lambda rows: rows[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""EXIF's orientation -> what turns rows of pixels upright; 1 and unknown ones need nothing."""


def readable(path: Path) -> bool:
    """Whether a file's name says that it is a photo."""
    return path.suffix.lower() in SUFFIXES


def read(path: Path, *, limit_pixels: int = LIMIT_PIXELS) -> Photo:
    """Read a photo; of a file with several pictures the first one, which a note says.

    Raises:
        PhotoError: it is empty, cut off, damaged, too large, not what its name says, or of a kind
            that is not read.
        DiskError: the disk does not give it, which may pass.
    """
    notes: list[str] = []
    with opened(path, limit_pixels):
        content = path.read_bytes()  # once, so that the sha256 is of what is decoded
    with opened(path, limit_pixels, content) as image:
        if (pictures := getattr(image, "n_frames", 1)) > 1:
            notes.append(f"The file holds {pictures} pictures; the first one was read.")
            image.seek(0)
        values, alpha = values_of(path.name, content, image, notes)
        source = _source(content, image, values)
        turn = TURNS.get(orientation_of(image, source.exif, notes), lambda rows: rows)
    pixels, icc = in_srgb(unit(turn(values), notes), source.icc, notes)
    alpha = None if alpha is None else np.ascontiguousarray(unit(turn(alpha), notes))
    sha256 = hashlib.sha256(content).hexdigest()
    source = replace(source, icc=icc)
    return Photo(np.ascontiguousarray(pixels), alpha, source, sha256, tuple(notes))


def size(path: Path, *, limit_pixels: int = LIMIT_PIXELS) -> tuple[int, int]:
    """A photo's width and height as it is seen, from the file's head.

    Raises:
        PhotoError: as `read`, for what shows before the pixels are decoded.
    """
    with opened(path, limit_pixels) as image:
        width, height = image.size
        is_turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return (height, width) if is_turned else (width, height)


@contextmanager
def opened(path: Path, limit_pixels: int, content: bytes | None = None) -> Iterator[Image.Image]:
    """The file's picture; whatever is wrong with it while it is used becomes a PhotoError.

    Args:
        content: of the file, if it was read already.
    """
    name, suffix = path.name, path.suffix.lower()
    if not readable(path):
        raise PhotoError(f"{name} is no photo by its name: expected {', '.join(sorted(SUFFIXES))}.")
    expected = next(kind for kind, suffixes in FORMATS.items() if suffix in suffixes)
    bomb = (
        f"{name} unpacks to more than {limit_pixels} pixels, as harmful files do: "
        "make it smaller, or raise the limit if it is a photo."
    )
    try:
        if not path.stat().st_size:
            raise PhotoError(f"{name} is empty: copy it again from where it came.")
        file = path if content is None else io.BytesIO(content)
        with Image.open(file, formats=_known()) as image:
            found = "JPEG" if image.format == "MPO" else image.format
            if found != expected:
                raise PhotoError(
                    f"{name} holds {found}, not {expected} as its name says: "
                    f"rename it to {path.stem}{FORMATS[found][0]}."
                )
            if image.width * image.height > limit_pixels:
                raise PhotoError(bomb)
            yield image
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(bomb) from error
    except UnidentifiedImageError as error:
        if expected in PLUGINS and expected not in _known():
            raise PhotoError(
                f"{name} is {expected}, which Pillow does not read here: "
                f"{PLUGINS[expected]}, or save it as JPEG."
            ) from error
        raise PhotoError(
            f"{name} does not begin as {expected} does, or holds a rare kind of it: "
            "open it with a photo program and save it again."
        ) from error
    except Exception as error:  # damaged bytes meet decoders with errors of every kind
        if isinstance(error, IsADirectoryError):
            raise PhotoError(f"{name} is a folder and no photo: rename it.") from error
        if isinstance(error, OSError) and error.errno:
            raise DiskError(
                f"{name} cannot be read ({error.strerror}): look at the file and its folder."
            ) from error
        raise PhotoError(
            f"{name} is damaged or cut off ({' '.join(str(error).split()).rstrip('.')}): "
            "copy it again from where it came."
        ) from error


@lru_cache(maxsize=1)
def _known() -> tuple[str, ...]:
    """The formats that Pillow reads here."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def _source(content: bytes, image: Image.Image, values: np.ndarray) -> Source:
    """What a loaded picture's file holds beside its pixels."""
    info, tags = image.info, getattr(image, "tag_v2", {})
    segments = getattr(image, "applist", ())
    packets = [data[len(XMP_HEADER) :] for _, data in segments if data.startswith(XMP_HEADER)]
    xmp = next(iter(packets), None) or info.get("xmp") or info.get("XML:com.adobe.xmp")
    xmp = whole_xmp(xmp.encode() if isinstance(xmp, str) else xmp or b"")
    texts = {
        key: str(value)
        for key, value in getattr(image, "text", {}).items()
        if not key.startswith(("Raw profile type", "XML:com.adobe.xmp")) and key not in GRAPH_KEYS
    }
    dpi = info.get("dpi")
    chunks = beside.chunks(content) if image.format == "PNG" else ()
    jpeg = image.format in ("JPEG", "MPO")
    return Source(
        format="JPEG" if jpeg else image.format,
        bits=8 * values.dtype.itemsize,
        grey=values.shape[2] == 1,
        icc=info.get("icc_profile"),
        exif=exif_of(image),
        xmp=xmp or None,
        iptc=_iptc(info.get("photoshop", {}), tags),
        texts=texts,
        comments=tuple(data for name, data in segments if name == "COM"),
        colour_chunks={name: data for name, data in chunks if name in COLOUR_CHUNKS},
        others=beside.names(content, image),
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 1 else None,
        tables=tuple(tuple(table) for table in image.quantization.values()) if jpeg else (),
        subsampling=max(JpegImagePlugin.get_sampling(image), 0) if jpeg else 0,
        progressive=bool(info.get("progressive")),
        lossless=image.format == "WEBP" and _is_lossless(content),
        compressed=tags.get(COMPRESSION_TAG) != 1,
    )


def exif_of(image: Image.Image) -> bytes | None:
    """EXIF as the file has it; written anew where a TIFF or an old PNG spreads it otherwise."""
    if exif := image.info.get("exif"):
        return exif.removeprefix(EXIF_HEADER)
    with suppress(Exception):  # what cannot be parsed here has no bytes of its own to carry
        found, kept = image.getexif(), Image.Exif()
        for tag in DESCRIPTIVE_TAGS:
            if tag in found:
                kept[tag] = found.get_ifd(tag) if tag in DIRECTORY_TAGS else found[tag]
        return kept.tobytes().removeprefix(EXIF_HEADER) if len(kept) else None
    return None


def _iptc(resources: Mapping[int, bytes], tags: Mapping[int, object]) -> bytes | None:
    """IPTC out of Photoshop's resources of a JPEG, or of a TIFF's tag."""
    found = resources.get(IPTC_RESOURCE) or tags.get(IPTC_TAG)
    if isinstance(found, tuple) and all(isinstance(part, int) for part in found):
        found = struct.pack(f"{tags.prefix[:1] == b'M' and '>' or '<'}{len(found)}I", *found)
    return found if isinstance(found, bytes) else None


def _is_lossless(content: bytes) -> bool:
    """Whether a WebP holds its lossless kind of data, which Pillow does not tell."""
    place = 12
    while len(head := content[place : place + 8]) == 8:
        name, size = struct.unpack("<4sI", head)
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        place += 8 + size + size % 2
    return False


def orientation_of(image: Image.Image, exif: bytes | None, notes: list[str]) -> int:
    """How the pixels are still to be turned: Pillow turns a TIFF itself, and says 1 then."""
    try:
        if exif:
            fitted_exif(exif, *image.size)
        return _orientation(image)
    except Exception:  # of any kind, out of damaged bytes
        notes.append("Its EXIF cannot be parsed; it was taken to be upright.")
        return 1


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(ORIENTATION, 1)
    return found[0] if isinstance(found, bytes) and found else found  # of type BYTE


def in_srgb(
    values: np.ndarray, icc: bytes | None, notes: list[str]
) -> tuple[np.ndarray, bytes | None]:
    """A file's colours [H, W, C] -> sRGB [H, W, 3], and the profile if it can be used."""
    channels = values.shape[2]
    profile = None
    if icc:
        try:
            profile = colour.read_profile(icc, channels)
            if not colour.is_srgb(profile):
                values = _cut(profile.to_srgb(values), notes)
        except colour.ProfileError as error:
            notes.append(f"It is taken for sRGB, because {error}.")
            profile = None
    if channels == 4:
        notes.append("It is CMYK; it was converted to RGB.")
        if profile is None:
            values = (1 - values[..., :3]) * (1 - values[..., 3:])
    values = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values
    return values, icc if profile else None


def _cut(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Cut colours to sRGB's own, in place, which a note says if one can see it."""
    beyond = values < -SLACK
    beyond |= values > 1 + SLACK
    # by channels: numpy's `any` over a short axis takes longer than to convert the colours
    outside = np.logical_or.reduce([beyond[..., i] for i in range(values.shape[2])]).mean()
    if outside > 0:
        notes.append(f"{outside:.1%} of its pixels have colours beyond sRGB; they were cut.")
    return values.clip(0, 1, out=values)
