"""What a photo file says beside its pixels, as bytes: EXIF, XMP and IPTC.

EXIF is changed in place and never written anew: a camera's own notes in it hold offsets that only
they know, so every byte that need not change keeps its place.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from xml.sax.saxutils import escape

EXIF_HEADER = b"Exif\0\0"
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION_HEADER = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP_HEADER = b"Photoshop 3.0\0"
IPTC_RESOURCE = 0x0404  # of the resources that Photoshop keeps in a file
LARGEST_SEGMENT = 65533  # bytes of a JPEG segment, beside its length
NAMESPACE = "https://github.com/restoreflow/restoreflow/xmp/1.0/"
"""Of the XMP properties that hold a graph, one for each text of GRAPH_KEYS."""
GRAPH_KEYS = ("prompt", "workflow")
"""Of the texts that ComfyUI writes. Those of a source are dropped: they say how that one was made,
and would pass for how the result was."""

DIRECTORY_TAGS = (34665, 34853)  # EXIF's own and the GPS directory
DESCRIPTIVE_TAGS = (
    *(269, 270, 271, 272, 282, 283, 285, 296, 297, 305, 306, 315, 316, 32781),
    *(18246, 18249, 33432, 50341),  # rating, copyright, how cameras would have it printed
    *(40091, 40092, 40093, 40094, 40095),  # Windows' own: title to subject
    *DIRECTORY_TAGS,
)
"""The tags of a TIFF file that tell of the photo and not of how its pixels are laid out."""
LAYOUT_TAGS = {
    *range(254, 269), 273, 274, *range(277, 282), 284, *range(288, 294), 317, 320,
    *range(322, 328), 332, 333, 334, *range(338, 348), *range(512, 522), *range(529, 533),
    *(700, 33723, 34675, 40965, 59932, 59933),
}  # fmt: skip
"""Tags of how pixels are laid out, of what is read by itself, and of nothing (padding)."""
GEO_TAGS = {33550, 33922, 34264, 34735, 34736, 34737}
"""Where a TIFF's pixels lie on the map: no longer true of a result of another size."""
PHOTOSHOP_TAGS = {34377, 37724}
"""Of a TIFF: what Photoshop keeps beside the picture, and layers."""
COLOUR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
"""Of a PNG: what its colours are, where it has no profile."""
SRGB_CHUNKS = {
    b"cICP": bytes([1, 13, 0, 1]),
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
}
"""Those that say no more than sRGB."""
ORIENTATION, EXIF_IFD, WIDTH, HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
RESOLUTION, THUMBNAIL, THUMBNAIL_SIZE = 0x011A, 0x0201, 0x0202
SHORT, LONG = 3, 4
HEAD = 8  # bytes of EXIF before whatever an offset may lead to


def fitted_exif(exif: bytes, width: int, height: int) -> bytes:
    """EXIF (a TIFF structure, without header) for upright pixels of another size.

    Its orientation becomes 1, its stated size the given one in pixels, and its thumbnail, which
    shows the photo before, is blanked and unlinked.

    Raises:
        ValueError: it cannot be parsed.
    """
    data = bytearray(exif)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        raise ValueError("this is no EXIF")
    try:
        (first,) = struct.unpack_from(f"{order}I", data, 4)
        for tag, _, place in _entries(data, order, first):
            if tag == ORIENTATION:
                # anew, as a short number: readers take those of any type for the orientation
                struct.pack_into(f"{order}HIHH", data, place - 6, SHORT, 1, 1, 0)
            elif tag == EXIF_IFD:
                (inner,) = struct.unpack_from(f"{order}I", data, place)
                for part, sort, at in _entries(data, order, inner):
                    if part in (WIDTH, HEIGHT):
                        _put(data, order, sort, at, width if part == WIDTH else height)
        _drop_thumbnail(data, order, first)
    except struct.error as error:
        raise ValueError("its EXIF is cut off") from error
    return bytes(data)


def tells_resolution(exif: bytes | None) -> bool:
    """Whether EXIF says how many pixels an inch has; not if it cannot be parsed."""
    order = {b"II": "<", b"MM": ">"}.get((exif or b"")[:2])
    with suppress(struct.error):
        if order:
            (first,) = struct.unpack_from(f"{order}I", exif, 4)
            return any(tag == RESOLUTION for tag, _, _ in _entries(exif, order, first))
    return False


def _entries(data: bytes | bytearray, order: str, start: int) -> Iterator[tuple[int, int, int]]:
    """The entries of a directory: tag, type, and where a value of up to four bytes lies."""
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        yield tag, kind, place + 8


def _put(data: bytearray, order: str, kind: int, place: int, value: int) -> None:
    """Write a whole number of a directory; one that its type cannot hold stays as it was."""
    if kind == LONG or (kind == SHORT and value < 65536):
        struct.pack_into(f"{order}{'I' if kind == LONG else 'H'}", data, place, value)


def _drop_thumbnail(data: bytearray, order: str, first: int) -> None:
    (count,) = struct.unpack_from(f"{order}H", data, first)
    link = first + 2 + 12 * count
    with suppress(struct.error):  # some cameras end there, and a damaged thumbnail is no loss
        (second,) = struct.unpack_from(f"{order}I", data, link)
        struct.pack_into(f"{order}I", data, link, 0)
        found = {
            tag: struct.unpack_from(f"{order}I", data, place)[0]
            for tag, _, place in (_entries(data, order, second) if second else ())
        }
        start = found.get(THUMBNAIL, 0)
        end = min(start + found.get(THUMBNAIL_SIZE, 0), len(data))
        if start >= HEAD:
            data[start:end] = bytes(max(end - start, 0))


def fitted_xmp(xmp: bytes | None, texts: Mapping[str, str]) -> bytes | None:
    """An XMP packet for upright pixels, texts in place of those before; None if there is nothing.

    Raises:
        ValueError: texts cannot be added, because the packet is no XMP in UTF-8.
    """
    older = rb'<rdf:Description rdf:about="" xmlns:restoreflow=.*?</rdf:Description>'
    xmp = xmp and re.sub(older, b"", xmp, flags=re.DOTALL)
    xmp = xmp and re.sub(rb"""(tiff:Orientation\s*(?:=\s*["']|>\s*))\d""", rb"\g<1>1", xmp)
    if not texts:
        return xmp
    ours = _description(texts)
    if xmp is None:
        return _packet(ours)
    head, end, rest = xmp.rpartition(b"</rdf:RDF>")
    if not end:
        raise ValueError("its XMP is not in UTF-8")
    return head + ours + end + rest


def whole_xmp(xmp: bytes) -> bytes:
    """An XMP packet that refers to no extended one.

    That lies in a JPEG's further segments, which are not carried.
    """
    attribute = rb"""\sxmpNote:HasExtendedXMP=["'][^"']*["']"""
    element = rb"<xmpNote:HasExtendedXMP>[^<]*</xmpNote:HasExtendedXMP>"
    return re.sub(attribute + b"|" + element, b"", xmp)


def unknown_tags(tags: Iterable[int]) -> list[str]:
    """Those of a TIFF directory that are not carried, in words."""
    others = set(tags) - LAYOUT_TAGS - set(DESCRIPTIVE_TAGS)
    found = ["its place on the map (GeoTIFF)"] if others & GEO_TAGS else []
    if private := sorted(others - GEO_TAGS):
        numbers = ", ".join(map(str, private))
        found.append(f"the tag{'s' if private[1:] else ''} {numbers}")
    return found


def other_colours(chunks: Mapping[bytes, bytes], icc: bytes | None) -> list[str]:
    """The chunks of a PNG that say that its colours are not those of its profile or of sRGB."""
    # each goes before the next: cICP, a profile, sRGB, and at last gAMA and cHRM
    meant = ("cICP",) if icc or b"sRGB" in chunks else ("cICP", "gAMA", "cHRM")
    return [
        name
        for name in meant
        if chunks.get(name.encode(), SRGB_CHUNKS[name.encode()]) != SRGB_CHUNKS[name.encode()]
    ]


def _description(texts: Mapping[str, str]) -> bytes:
    properties = "".join(
        f"<restoreflow:{key}>{escape(value)}</restoreflow:{key}>" for key, value in texts.items()
    )
    text = f'<rdf:Description rdf:about="" xmlns:restoreflow="{NAMESPACE}">{properties}'
    return f"{text}</rdf:Description>".encode()


def _packet(descriptions: bytes) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        + descriptions
        + b"</rdf:RDF></x:xmpmeta>"
    )


def xmp_segments(xmp: bytes | None, texts: Mapping[str, str]) -> bytes:
    """The segments of a JPEG file that hold its XMP and our texts.

    A segment holds 64 KB and a graph may be larger: then the texts lie in an extended packet, as
    the XMP specification (part 3) has it for JPEG.

    Raises:
        ValueError: as `fitted_xmp`, or the packet is too long without our texts.
    """
    packet = fitted_xmp(xmp, texts)
    if packet is None:
        return b""
    room = LARGEST_SEGMENT - len(XMP_HEADER)
    if len(packet) <= room:
        return _segment(0xE1, XMP_HEADER + packet)
    extended = _packet(_description(texts))
    guid = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()
    note = (
        b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
        b'xmpNote:HasExtendedXMP="' + guid + b'"/>'
    )
    head, end, rest = (fitted_xmp(xmp, {}) or _packet(b"")).rpartition(b"</rdf:RDF>")
    main = re.sub(rb"\s+(?=<\?xpacket end)", b"\n", head + note + end + rest)
    if not texts or not end or len(main) > room:
        raise ValueError("its XMP is too long for JPEG")
    segments = _segment(0xE1, XMP_HEADER + main)
    for start in range(0, len(extended), 65000):
        head = EXTENSION_HEADER + guid + struct.pack(">II", len(extended), start)
        segments += _segment(0xE1, head + extended[start : start + 65000])
    return segments


def comment_segments(comments: Iterable[bytes]) -> bytes:
    """The segments of a JPEG file that hold its comments, which come out of such segments."""
    return b"".join(_segment(0xFE, comment) for comment in comments)


def iptc_segment(iptc: bytes) -> bytes:
    """The segment of a JPEG file that holds IPTC.

    Raises:
        ValueError: it is too long.
    """
    resource = b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc
    return _segment(0xED, PHOTOSHOP_HEADER + resource + bytes(len(iptc) % 2))


def _segment(marker: int, data: bytes) -> bytes:
    if len(data) > LARGEST_SEGMENT:
        raise ValueError("it is too long for JPEG")
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
