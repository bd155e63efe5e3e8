"""A photo's samples and what goes beside them -> the bytes of a file, format by format."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from . import metadata
from .source import Source

QUALITY = 95  # of a photo whose source is no JPEG
STRIP = 1 << 20  # bytes of a TIFF that are compressed together
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # samples a pixel -> PNG's colour type
ASSOCIATED_NOT = 2  # TIFF: alpha that the colours are not multiplied by


@dataclass(frozen=True)
class Parts:
    """What goes into a file."""

    values: np.ndarray
    """[H, W, 1 to 4], alpha last: uint8, uint16 or float32."""
    icc: bytes | None
    exif: bytes | None
    texts: Mapping[str, str]
    source: Source
    """What is carried from it; nothing of it if stripped."""
    quality: int | None
    """Of JPEG and WebP, 1 to 100; None: the source's own."""


def _image(values: np.ndarray) -> Image.Image:
    """8-bit samples as Pillow's picture."""
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def _known(**options: object) -> dict[str, object]:
    """Pillow's options, without those that have nothing to say."""
    return {name: value for name, value in options.items() if value}


def _xmp(parts: Parts, notes: list[str], make: Callable = metadata.fitted_xmp) -> bytes | None:
    """XMP with the texts in it; without the source's own where that cannot take them."""
    try:
        return make(parts.source.xmp, parts.texts)
    except ValueError as error:
        notes.append(f"The source's XMP was left out, because {error}.")
        return make(None, parts.texts)


def _png(parts: Parts, notes: list[str]) -> bytes:
    text, source = PngInfo(), parts.source
    for key, value in {**source.texts, **parts.texts}.items():
        text.add_text(key, value)
    if source.xmp:
        xmp = metadata.fitted_xmp(source.xmp, {}).decode("utf-8", "replace")
        text.add_itxt("XML:com.adobe.xmp", xmp)
    if parts.icc is None:
        for name, data in source.colour_chunks.items():
            text.add(name, data)
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


def _jpeg(parts: Parts, notes: list[str]) -> bytes:
    source, segments = parts.source, _xmp(parts, notes, metadata.xmp_segments)
    segments += metadata.comment_segments(source.comments)
    exif = parts.exif and metadata.EXIF_HEADER + parts.exif
    if exif and len(exif) > metadata.LARGEST_SEGMENT:
        notes.append("Its EXIF is too long for JPEG, so it was left out.")
        exif = None
    try:
        segments += metadata.iptc_segment(source.iptc) if source.iptc else b""
    except ValueError as error:
        notes.append(f"Its IPTC was left out, because {error}.")
    if source.tables and parts.quality is None:
        quality = {"qtables": [list(table) for table in source.tables]}
    else:
        quality = {"quality": parts.quality or QUALITY}
    file = io.BytesIO()
    _image(parts.values).save(
        file,
        "JPEG",
        subsampling=source.subsampling,
        progressive=source.progressive,
        extra=segments,
        **quality,
        **_known(icc_profile=parts.icc, exif=exif, dpi=source.dpi),
    )
    return file.getvalue()


def _webp(parts: Parts, notes: list[str]) -> bytes:
    file = io.BytesIO()
    _image(parts.values).save(
        file,
        "WEBP",
        lossless=parts.source.lossless and parts.quality is None,
        quality=parts.quality or QUALITY,
        exact=True,
        **_known(icc_profile=parts.icc, exif=parts.exif, xmp=_xmp(parts, notes)),
    )
    return file.getvalue()


def _tiff(parts: Parts, notes: list[str]) -> bytes:
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
    if others := metadata.unknown_tags(found):
        notes.append(f"Its EXIF is written without {' and '.join(others)}.")
    directory.update(tags)


def _strip(values: np.ndarray, whole: bool) -> bytes:
    """Rows of a TIFF, deflated; whole numbers as differences from the pixel to the left."""
    if whole:
        values = np.concatenate([values[:, :1], values[:, 1:] - values[:, :-1]], axis=1)
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 4)


CARRIED: Mapping[str, set[str]] = {
    "PNG": {"texts", "dpi"},
    "JPEG": {"iptc", "comments", "dpi"},
    "WEBP": set(),
    "TIFF": {"iptc", "dpi"},
}
"""What is written -> which of a source's fields it takes, of those that not all of these take."""
WRITERS: Mapping[str, Callable[[Parts, list[str]], bytes]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "TIFF": _tiff,
}
"""Each makes the bytes of a file, and notes what could not be carried into it."""
