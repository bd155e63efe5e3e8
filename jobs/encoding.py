"""Pixels and what their source held beside them -> the bytes of a photo file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from . import colour, metadata
from .source import PhotoError, Source

QUALITY = 95  # of a photo whose source is no JPEG
DEEPEST = {"JPEG": 8, "WEBP": 8, "PNG": 16, "TIFF": 32}
"""What is written -> its most bits a channel."""
STRIP = 1 << 20  # bytes of a TIFF that are compressed together
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # samples a pixel -> PNG's colour type
ASSOCIATED_NOT = 2  # TIFF: alpha that the colours are not multiplied by


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


@dataclass(frozen=True)
class _Parts:
    """What goes into a file."""

    values: np.ndarray
    """[H, W, 1 to 4], alpha last: uint8, uint16 or float32."""
    icc: bytes | None
    exif: bytes | None
    texts: Mapping[str, str]
    source: Source
    """What is carried from it; nothing of it if stripped."""


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
    if how.metadata == "strip":
        origin, texts = _bare(origin), {}
    exif = _fitted(origin.exif, pixels.shape, notes)
    parts = _Parts(_quantized(pixels, bits), icc, exif, texts, origin)
    try:
        return WRITERS[format](parts, how, notes), tuple(notes)
    except (OSError, ValueError, OverflowError) as error:
        height, width = pixels.shape[:2]
        raise PhotoError(
            f"{width} x {height} pixels cannot be written as {format} ({error}): choose PNG."
        ) from error


def _bare(source: Source) -> Source:
    """A source without what it says, but with how its file is compressed."""
    nothing = {"icc": None, "exif": None, "xmp": None, "iptc": None, "comment": None, "dpi": None}
    return replace(source, texts={}, **nothing)


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


def _image(values: np.ndarray) -> Image.Image:
    """8-bit samples as Pillow's picture."""
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def _known(**options: object) -> dict[str, object]:
    """Pillow's options, without those that have nothing to say."""
    return {name: value for name, value in options.items() if value}


def _xmp(parts: _Parts, notes: list[str], make: Callable = metadata.fitted_xmp) -> bytes | None:
    """XMP with the texts in it; without the source's own where that cannot take them."""
    try:
        return make(parts.source.xmp, parts.texts)
    except ValueError as error:
        notes.append(f"The source's XMP was left out, because {error}.")
        return make(None, parts.texts)


def _png(parts: _Parts, how: Saving, notes: list[str]) -> bytes:
    text, source = PngInfo(), parts.source
    for key, value in {**source.texts, **parts.texts}.items():
        text.add_text(key, value)
    if source.xmp:
        xmp = metadata.fitted_xmp(source.xmp, {}).decode("utf-8", "replace")
        text.add_itxt("XML:com.adobe.xmp", xmp)
    if source.iptc:
        notes.append("PNG holds no IPTC; it was left out.")
    options = _known(icc_profile=parts.icc, exif=parts.exif, dpi=source.dpi)
    deep = parts.values.dtype == np.uint16
    file = io.BytesIO()
    image = Image.new("L", (1, 1)) if deep else _image(parts.values)
    image.save(file, "PNG", pnginfo=text, compress_level=4, **options)
    return _deep_png(file.getvalue(), parts.values) if deep else file.getvalue()


def _deep_png(shell: bytes, values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel: Pillow writes no such colours, but everything round them.

    The shell is any PNG of Pillow's; its header and its pixels are replaced. Every row is written
    as its difference from the row above.
    """
    height, width, samples = values.shape
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    packer = zlib.compressobj(4)
    packed = [packer.compress(b"\x02" + rows[0].tobytes())]
    packed += [
        packer.compress(b"\x02" + (row - above).tobytes())
        for above, row in zip(rows[:-1], rows[1:], strict=True)
    ]
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOURS[samples], 0, 0, 0)
    chunks, place = [PNG_START], len(PNG_START)
    while place < len(shell):
        (size,) = struct.unpack_from(">I", shell, place)
        name, end = shell[place + 4 : place + 8], place + 12 + size
        if name == b"IHDR":
            chunks.append(_chunk(name, header))
        elif name == b"IDAT":
            chunks.append(_chunk(name, b"".join(packed)))
        else:
            chunks.append(shell[place:end])
        place = end
    return b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _jpeg(parts: _Parts, how: Saving, notes: list[str]) -> bytes:
    source, segments = parts.source, _xmp(parts, notes, metadata.xmp_segments)
    exif = parts.exif and metadata.EXIF_HEADER + parts.exif
    if exif and len(exif) > metadata.LARGEST_SEGMENT:
        notes.append("Its EXIF is too long for JPEG, so it was left out.")
        exif = None
    try:
        segments += metadata.iptc_segment(source.iptc) if source.iptc else b""
    except ValueError as error:
        notes.append(f"Its IPTC was left out, because {error}.")
    if source.tables and how.quality is None:
        quality = {"qtables": [list(table) for table in source.tables]}
    else:
        quality = {"quality": how.quality or QUALITY}
    file = io.BytesIO()
    _image(parts.values).save(
        file,
        "JPEG",
        subsampling=source.subsampling,
        progressive=source.progressive,
        extra=segments,
        **quality,
        **_known(icc_profile=parts.icc, exif=exif, comment=source.comment, dpi=source.dpi),
    )
    return file.getvalue()


def _webp(parts: _Parts, how: Saving, notes: list[str]) -> bytes:
    if parts.source.iptc:
        notes.append("WebP holds no IPTC; it was left out.")
    file = io.BytesIO()
    _image(parts.values).save(
        file,
        "WEBP",
        lossless=parts.source.lossless and how.quality is None,
        quality=how.quality or QUALITY,
        exact=True,
        **_known(icc_profile=parts.icc, exif=parts.exif, xmp=_xmp(parts, notes)),
    )
    return file.getvalue()


def _tiff(parts: _Parts, how: Saving, notes: list[str]) -> bytes:
    """A TIFF of 8, 16 or 32 (floating point) bits; Pillow writes none of more than 8 in colour.

    Its directory is Pillow's. Compressed, it is deflated rows of differences, which all that read
    16 bits read.
    """
    values, source = parts.values, parts.source
    height, width, samples = values.shape
    deflated, whole = source.compressed, values.dtype != np.float32
    rows = max(1, STRIP // (values.strides[0] or 1))
    strips = [values[start : start + rows] for start in range(0, height, rows)]
    packed = [_strip(strip, whole) if deflated else strip.tobytes() for strip in strips]
    sizes = [len(data) for data in packed]
    directory = ImageFileDirectory_v2(prefix=b"II")
    _describe(directory, parts.exif, notes)
    directory.update(
        {
            256: width,
            257: height,
            258: (8 * values.dtype.itemsize,) * samples,
            259: 8 if deflated else 1,
            262: 2 if samples >= 3 else 1,
            273: tuple(int(start) for start in np.cumsum([0, *sizes[:-1]])),
            277: samples,
            278: rows,
            279: tuple(sizes),
            284: 1,
            339: (1 if whole else 3,) * samples,
        }
    )
    directory.tagtype[273] = directory.tagtype[279] = 4  # LONG, however small they are
    optional = {
        317: 2 if deflated and whole else None,
        338: ASSOCIATED_NOT if samples in (2, 4) else None,
        700: _xmp(parts, notes),
        33723: source.iptc,
        34675: parts.icc,
        **({282: source.dpi[0], 283: source.dpi[1], 296: 2} if source.dpi else {}),
    }
    for tag, value in optional.items():
        if value is not None:
            directory[tag] = value
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue() + b"".join(packed)


def _describe(directory: ImageFileDirectory_v2, exif: bytes | None, notes: list[str]) -> None:
    """Put the tags of EXIF into a TIFF's own directory, which is where a TIFF has them."""
    if exif is None:
        return
    try:
        found = Image.Exif()
        found.load(metadata.EXIF_HEADER + exif)
        tags = {
            tag: found.get_ifd(tag) if tag in metadata.DIRECTORY_TAGS else found[tag]
            for tag in metadata.DESCRIPTIVE_TAGS
            if tag in found
        }
        trial = ImageFileDirectory_v2(prefix=b"II")
        trial.update(tags)
        trial.tobytes()
    except Exception:  # damaged EXIF fails in many ways, and never fails the photo
        notes.append("Its EXIF cannot be parsed, so it was left out.")
        return
    directory.update(tags)


def _strip(values: np.ndarray, whole: bool) -> bytes:
    """Rows of a TIFF, deflated; whole numbers as differences from the pixel to the left."""
    if whole:
        values = np.concatenate([values[:, :1], values[:, 1:] - values[:, :-1]], axis=1)
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 4)


WRITERS = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp, "TIFF": _tiff}
