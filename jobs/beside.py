"""What a photo's file holds that no result carries, named so that users can be told."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from PIL import Image

from . import metadata

MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""What begins a JPEG segment: no stuffed byte and no restart, which lie in its compressed data."""
END_OF_JPEG = 0xD9
READ_SEGMENTS = (
    *(b"JFIF\0", b"JFXX\0", b"ICC_PROFILE\0", b"MPF\0", b"Ducky", b"Adobe"),
    *(metadata.EXIF_HEADER, metadata.XMP_HEADER, metadata.EXTENSION_HEADER),
    metadata.PHOTOSHOP_HEADER,
)
"""How the segments of a JPEG begin that are read, or tell only how it is compressed."""
COPIED_RESOURCES = {
    *(0x03ED, 0x0404, 0x040F, 0x0422, 0x0423, 0x0424),  # resolution, IPTC, profile, EXIF, XMP
    *(0x0409, 0x040C, 0x0425),  # thumbnails of the photo before, and a checksum
}
"""Photoshop's resources of a JPEG that say what the file says elsewhere, too."""
READ_CHUNKS = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP"),
    *(b"pHYs", b"acTL", b"fcTL", b"fdAT", *metadata.COLOUR_CHUNKS),
    *(b"bKGD", b"hIST", b"sBIT", b"sPLT"),  # hints for displays of few colours
}
SAMPLES = 277  # a pixel, of a TIFF
JUMBF = "JUMBF data (as Content Credentials, C2PA)"
PHOTOSHOP = "what Photoshop keeps (as paths, guides, layers)"


def names(content: bytes, image: Image.Image) -> tuple[str, ...]:
    """What is never carried of a file whose picture is loaded, each as "without ..." goes on."""
    if image.format in ("JPEG", "MPO"):
        return tuple(_of_jpeg(content, image))
    if image.format == "PNG":
        return tuple(_of_png(content))
    if tags := getattr(image, "tag_v2", None):
        found = [PHOTOSHOP] if metadata.PHOTOSHOP_TAGS & set(tags) else []
        if tags.get(SAMPLES, 1) > len(image.getbands()):
            found.append("a further channel")
        return (*found, *metadata.unknown_tags(set(tags) - metadata.PHOTOSHOP_TAGS))
    return ()


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: name and data."""
    place = 8
    while place + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, place)
        yield name, content[place + 8 : place + 8 + size]
        place += 12 + size


def _of_jpeg(content: bytes, image: Image.Image) -> Iterator[str]:
    if set(image.info.get("photoshop", ())) - COPIED_RESOURCES:
        yield PHOTOSHOP
    segments = [(name, data) for name, data in image.applist if name.startswith("APP")]
    if any(data.startswith(metadata.EXTENSION_HEADER) for _, data in segments):
        yield "a second part of its XMP"
    others = {name for name, data in segments if not data.startswith(READ_SEGMENTS)}
    if "APP11" in others:
        yield JUMBF
    if private := sorted(others - {"APP11"}):
        yield f"private segments ({', '.join(private)})"
    # behind the first of several pictures lie the others, which another note tells
    if image.format == "JPEG" and content[_end_of_jpeg(content) :].strip(b"\0\xff \r\n"):
        yield "data behind its end (as the film of a motion photo)"


def _end_of_jpeg(content: bytes) -> int:
    place = 2
    while found := MARKER.search(content, place):
        place = found.end()
        if content[place - 1] == END_OF_JPEG:
            return place
        place += int.from_bytes(content[place : place + 2], "big")
    return len(content)


def _of_png(content: bytes) -> Iterator[str]:
    others = {name for name, _ in chunks(content)} - READ_CHUNKS
    if b"caBX" in others:
        yield JUMBF
    if b"tIME" in others:
        yield "the time of its last change"
    if private := sorted(others - {b"caBX", b"tIME"}):
        yield f"PNG chunks ({', '.join(name.decode('latin-1') for name in private)})"
