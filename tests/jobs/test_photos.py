"""Photo files in and out: laws over formats and kinds of pixels, bad files, and the disk."""

import errno
import hashlib
import io
import json
import os
import struct
import time
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from restoreflow.jobs import colour, files, metadata, photos
from restoreflow.jobs.encoding import encode
from restoreflow.jobs.photos import (
    DiskError,
    HeldUpError,
    PhotoError,
    Saving,
    Source,
    read,
    target_path,
    write,
)

HEIGHT, WIDTH = 24, 36
GRAPH = {"prompt": '{"1": {"class_type": "Ü & <b>"}}', "workflow": '{"nodes": []}'}
KEPT = Saving(grey="keep grey")
P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def picture(channels: int = 3, kind: type = np.uint8, height: int = HEIGHT) -> np.ndarray:
    """Smooth colours with some noise in the lower bits, [H, W, C]."""
    y, x = np.mgrid[0:height, 0:WIDTH]
    planes = [(x / WIDTH + 0.3 * c) % 1 * 0.7 + 0.3 * y / height for c in range(channels)]
    full = np.iinfo(kind).max
    noise = np.random.default_rng(0).integers(0, max(full // 256, 1) + 1, (height, WIDTH, channels))
    return np.clip(np.stack(planes, axis=-1) * full + noise, 0, full).astype(kind)


def profile(colours=P3, gamma: float = 2.2) -> bytes:
    """A profile of a curve and a matrix."""
    numbers = [struct.pack(">4s4x3i", b"XYZ ", *(round(v * 65536) for v in xyz)) for xyz in colours]
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
    names = [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"]
    return icc(b"RGB ", dict(zip(names, [*numbers, *[curve] * 3], strict=True)))


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value
    head = struct.pack(">I4sI4s4s4s12x4s", start + len(data), b"none", 0x02400000, b"mntr", space,
                       b"XYZ ", b"acsp")  # fmt: skip
    return head.ljust(128, b"\0") + table + data


def exif(orientation: int = 1) -> bytes:
    """A camera's EXIF with a size, private bytes, a place and a thumbnail."""
    found = Image.Exif()
    found.update({271: "Maker", 274: orientation, 306: "2026:01:02 03:04:05"})
    found[34665] = {33434: 0.01, 37500: b"private" * 9, 40962: 7, 40963: 5}
    found[34853] = {1: "N", 2: (1.0, 2.0, 3.0)}
    data = bytearray(found.tobytes().removeprefix(b"Exif\0\0"))
    (order,) = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    struct.pack_into(f"{order}I", data, start + 2 + 12 * count, len(data))
    thumbnail = b"\xff\xd8thumbnail\xff\xd9"
    tags = [(0x0201, 4, 1, len(data) + 30), (0x0202, 4, 1, len(thumbnail))]
    second = struct.pack(f"{order}H", 2) + b"".join(struct.pack(f"{order}HHII", *t) for t in tags)
    return bytes(data) + second + bytes(4) + thumbnail


def as_file(values: np.ndarray, format: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(
        file, format, **options
    )
    return file.getvalue()


def deep(values: np.ndarray, format: str) -> bytes:
    """16 bits a channel, written by ours; what other readers make of it is another test."""
    full = np.float32(65535)
    grey, clear = values.shape[2] < 3, values.shape[2] in (2, 4)
    colours = values[..., :-1] if clear else values
    pixels = np.repeat(colours, 3 if grey else 1, axis=2) / full
    alpha = values[..., -1] / full if clear else None
    return encode(format, pixels, alpha, Source(format, 16, grey), KEPT, {})[0]


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def again(folder: Path, photo: photos.Photo, name: str, how: Saving = KEPT, **options) -> Path:
    return write(
        folder / "out" / name, photo.pixels, photo.alpha, photo.source, how, **options
    ).path


def is_one_sentence(error: pytest.ExceptionInfo, name: str = "") -> bool:
    text = str(error.value)
    return text.endswith(".") and ". " not in text and "\n" not in text and name in text


# Pixels

CASES = {
    **{f"{c}x8.png": lambda c=c: as_file(picture(c), "PNG") for c in (1, 2, 3, 4)},
    **{f"{c}x16.png": lambda c=c: deep(picture(c, np.uint16), "PNG") for c in (1, 2, 3, 4)},
    **{f"{c}x8.tif": lambda c=c: as_file(picture(c), "TIFF") for c in (1, 3, 4)},
    **{f"{c}x8.tiff": lambda c=c: as_file(picture(c), "TIFF", compression="tiff_lzw")
       for c in (1, 3, 4)},
    **{f"{c}x16.tif": lambda c=c: deep(picture(c, np.uint16), "TIFF") for c in (1, 3, 4)},
    "lossless.webp": lambda: as_file(picture(4), "WEBP", lossless=True, exact=True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_and_written_unchanged_is_the_same_bit_for_bit(tmp_path, name):
    photo = read(put(tmp_path, name, CASES[name]()))
    assert photo.pixels.dtype == np.float32 and photo.pixels.flags.c_contiguous
    assert photo.notes == () and photo.source.bits == (16 if "x16" in name else 8)
    if name[0].isdigit():
        kind = np.uint16 if "x16" in name else np.uint8
        values = picture(int(name[0]), kind)
        expected = values[..., : 3 if values.shape[2] > 2 else 1] / np.float32(np.iinfo(kind).max)
        assert np.array_equal(photo.pixels, np.broadcast_to(expected, (HEIGHT, WIDTH, 3)))
    result = read(again(tmp_path, photo, name))
    assert np.array_equal(result.pixels, photo.pixels)
    assert (result.alpha is None) == (photo.alpha is None)
    assert photo.alpha is None or np.array_equal(result.alpha, photo.alpha)
    assert result.source.bits == photo.source.bits and result.source.grey == photo.source.grey


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_others_read_the_same_16_bits(tmp_path, format, channels):
    values = picture(channels, np.uint16)
    path = put(tmp_path, f"x.{format.lower()}", deep(values, format))
    if format == "TIFF":
        found = pytest.importorskip("tifffile").imread(path)
    else:
        av = pytest.importorskip("av")
        kind = {1: "gray16be", 3: "rgb48be", 4: "rgba64be"}[channels]
        with av.open(str(path)) as file:
            found = next(file.decode(video=0)).to_ndarray(format=kind)
    assert np.array_equal(found.reshape(values.shape), values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_16_bit_tiffs_of_others(tmp_path, order, layout, compression):
    tifffile, values = pytest.importorskip("tifffile"), picture(3, np.uint16)
    options = {"byteorder": order, "compression": compression, "photometric": "rgb", **layout}
    tifffile.imwrite(tmp_path / "x.tif", values, **options)
    assert np.array_equal(read(tmp_path / "x.tif").pixels, values / np.float32(65535))
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "y.tif", planes, planarconfig="separate", **options)
    with pytest.raises(PhotoError, match="separate planes") as error:
        read(tmp_path / "y.tif")
    assert is_one_sentence(error, "y.tif")


def test_grey_of_16_bits_and_big_endian_and_of_floating_point(tmp_path):
    tifffile, values = pytest.importorskip("tifffile"), picture(1, np.uint16)[..., 0]
    tifffile.imwrite(tmp_path / "b.tif", values, byteorder=">", photometric="minisblack")
    photo = read(tmp_path / "b.tif")
    assert np.array_equal(photo.pixels[..., 0], values / np.float32(65535)) and photo.source.grey
    real = (values / np.float32(65535)).astype(np.float32)
    Image.fromarray(real).save(tmp_path / "f.tif")
    photo = read(tmp_path / "f.tif")
    assert np.array_equal(photo.pixels[..., 2], real) and photo.source.bits == 32
    assert np.array_equal(read(again(tmp_path, photo, "f.tif")).pixels, photo.pixels)
    Image.fromarray(real * 2).save(tmp_path / "g.tif")
    assert "beyond black or white" in read(tmp_path / "g.tif").notes[0]


def test_grey_that_is_white_at_zero(tmp_path):
    values = picture(1, np.uint16)[..., 0]
    real = (values / np.float32(65535)).astype(np.float32)
    for kind in (values, real):  # what Pillow turns itself, of 8 bits, it turns when saving too
        Image.fromarray(kind).save(tmp_path / "w.tif", tiffinfo={262: 0})
        full = 1 if kind.dtype == np.float32 else np.iinfo(kind.dtype).max
        photo = read(tmp_path / "w.tif")
        assert np.allclose(photo.pixels[..., 0], 1 - kind / np.float32(full), atol=1e-6)
        result = read(again(tmp_path, photo, f"{kind.dtype}.tif"))
        assert np.allclose(result.pixels, photo.pixels, atol=1e-6)


def twelve_bits(values: np.ndarray) -> bytes:
    """A TIFF of grey [H, W], packed: Pillow and tifffile alone write none."""
    left, right = values[:, ::2].astype(np.uint32), values[:, 1::2].astype(np.uint32)
    both = left << 12 | right
    packed = np.stack([both >> 16, both >> 8 & 255, both & 255], axis=-1).astype(np.uint8).tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height,
            279: len(packed)}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(packed))
    return head + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_grey_of_12_bits_goes_up_to_white(tmp_path):
    values = np.rint(picture(1, np.uint16)[..., 0] / 65535 * 4095).astype(np.uint16)
    photo = read(put(tmp_path, "x.tif", twelve_bits(values)))
    assert np.abs(photo.pixels[..., 0] - values / 4095).max() < 1 / 65535


@pytest.mark.parametrize("white", [65535, 4095])
def test_ppm_of_two_bytes_a_sample(tmp_path, white):
    values = (picture(3, np.uint16) / 65535 * white).astype(np.uint16)
    head = b"P6 %d %d %d\n" % (WIDTH, HEIGHT, white)
    photo = read(put(tmp_path, "x.ppm", head + values.astype(">u2").tobytes()))
    assert photo.source.bits == 16 and photo.notes == ()
    assert np.abs(photo.pixels - values / white).max() < 1 / 65535
    with pytest.raises(PhotoError, match="cut off"):
        read(put(tmp_path, "y.ppm", head + bytes(99)))
    text = b" ".join(b"%d" % value for value in values.ravel())
    photo = read(put(tmp_path, "z.ppm", head.replace(b"P6", b"P3") + text))
    assert photo.source.bits == 8 and "8 of them were read" in photo.notes[0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_grey_of_a_png_is_clear(tmp_path, bits):
    rows = np.arange(256, dtype=np.uint16)[None] % 2 ** min(bits, 8) * (257 if bits == 16 else 1)
    if bits == 16:
        packed = rows.astype(">u2").tobytes()
    else:
        bytewise = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        packed = np.packbits(bytewise).tobytes()
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 1, bits, 0, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(">H", rows[0, 1])),
            chunk(b"IDAT", zlib.compress(b"\0" + packed)),
            chunk(b"IEND", b""),
        ]
    )
    photo = read(put(tmp_path, "x.png", data))
    assert np.array_equal(photo.alpha[0] == 0, rows[0] == rows[0, 1])


def test_palettes_bits_and_colour_keys(tmp_path):
    Image.fromarray(picture(3)).quantize(16).save(tmp_path / "p.png", transparency=3)
    photo = read(tmp_path / "p.png")
    assert photo.alpha is not None and set(np.unique(photo.alpha)) == {0, 1}
    Image.fromarray(picture(1)[..., 0]).convert("1").save(tmp_path / "1.png")
    photo = read(tmp_path / "1.png")
    assert set(np.unique(photo.pixels)) == {0, 1} and photo.source.grey
    key = tuple(int(v) for v in picture(3)[2, 3])
    Image.fromarray(picture(3)).save(tmp_path / "k.png", transparency=key)
    photo = read(tmp_path / "k.png")
    assert photo.alpha[2, 3] == 0 and photo.alpha.mean() > 0.9
    Image.fromarray(picture(4)).quantize(16).save(tmp_path / "a.gif", transparency=2)
    assert read(tmp_path / "a.gif").alpha is not None


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(tmp_path, format):
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    ink[..., 0], ink[:, :9, 3] = 255, 255  # cyan, and black at the left
    file = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(file, format)
    photo = read(put(tmp_path, f"x.{format.lower()}", file.getvalue()))
    assert photo.notes == ("It is CMYK; it was converted to RGB.",) and not photo.source.grey
    assert np.abs(photo.pixels[0, -1] - [0, 1, 1]).max() < 0.02 and photo.pixels[0, 0].max() < 0.02
    assert Image.open(again(tmp_path, photo, "x.jpg")).mode == "RGB"


def test_of_several_pictures_the_first_is_read_and_a_note_says_so(tmp_path):
    images = [Image.fromarray(picture(3)), Image.fromarray(picture(3)[::-1])]
    for name, options in {"x.tif": {}, "x.png": {}, "x.webp": {"lossless": True}}.items():
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:], **options)
        photo = read(tmp_path / name)
        assert photo.notes == ("The file holds 2 pictures; the first one was read.",)
        assert np.array_equal(photo.pixels, picture(3) / np.float32(255)), name


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [60, 92])
def test_a_jpeg_is_saved_with_its_own_tables(tmp_path, quality, subsampling):
    data = as_file(picture(), "JPEG", quality=quality, subsampling=subsampling, progressive=True)
    photo = read(put(tmp_path, "x.jpg", data))
    path = again(tmp_path, photo, "x.jpg")
    with Image.open(path) as image, Image.open(io.BytesIO(data)) as before:
        assert image.quantization == before.quantization and image.info["progressive"]
    result = read(path)
    assert (result.source.subsampling, result.source.tables) == (subsampling, photo.source.tables)
    assert np.abs(result.pixels - photo.pixels).mean() < 3 / 255
    other = read(again(tmp_path, photo, "y.jpg", Saving(quality=20)))
    assert other.source.tables != photo.source.tables


def test_what_a_format_cannot_hold_is_told(tmp_path):
    pixels, alpha = np.zeros((4, 4, 3), np.float32), np.zeros((2, 2), np.float32)
    written = write(tmp_path / "x.jpg", pixels, alpha, Source("PNG", 16, False, iptc=b"x"))
    assert "laid on white" in written.notes[0] and read(written.path).pixels.min() > 0.99
    written = write(tmp_path / "x.png", pixels, alpha, Source("PNG", 16, False, iptc=b"x"))
    assert "no IPTC" in written.notes[0] and read(written.path).alpha.shape == (4, 4)
    with pytest.raises(PhotoError, match="choose PNG") as error:
        write(tmp_path / "x.webp", np.zeros((1, 16384, 3), np.float32))
    assert is_one_sentence(error)
    for bad in (np.full((4, 4, 3), np.nan), np.zeros((4, 4)), np.zeros((0, 4, 3))):
        with pytest.raises(PhotoError) as error:
            write(tmp_path / "y.png", bad)
        assert is_one_sentence(error)
    with pytest.raises(PhotoError, match="must end in") as error:
        write(tmp_path / "y.heic", pixels)


@pytest.mark.parametrize("name", ["x.avif", "x.bmp", "x.gif", "x.jp2", "x.ppm", "x.pgm"])
def test_formats_that_are_only_read(tmp_path, name):
    values = picture(1 if name in ("x.gif", "x.pgm") else 3)
    try:
        options = {"quality": 100, "subsampling": "4:4:4"} if name == "x.avif" else {}
        Image.fromarray(values.squeeze()).save(tmp_path / name, **options)
    except (KeyError, OSError):
        pytest.skip("Pillow does not write it here")
    photo = read(tmp_path / name)
    assert np.abs(photo.pixels - values / 255).max() < 0.02
    assert target_path(Path(name), tmp_path, Saving()).name == "x.png"


def test_heic_without_its_plugin_says_what_to_do(tmp_path):
    try:
        import pillow_heif
    except ImportError:
        path = put(tmp_path, "x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
        with pytest.raises(PhotoError, match="pip install pillow-heif") as error:
            read(path)
        assert is_one_sentence(error, "x.heic")
    else:
        image = pillow_heif.from_pillow(Image.fromarray(picture()))
        image.save(tmp_path / "x.heic", quality=-1)
        assert np.abs(read(tmp_path / "x.heic").pixels - picture() / 255).max() < 0.05


# Colours


@pytest.mark.parametrize("colours", [P3, ADOBE])
@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_a_wide_profile_comes_back_within_a_level(tmp_path, name, colours):
    values = (picture() * 0.4 + 70).astype(np.uint8)  # colours that sRGB has, too
    data = as_file(values, "PNG" if name == "x.png" else "TIFF", icc_profile=profile(colours))
    photo = read(put(tmp_path, name, data))
    assert photo.notes == () and np.abs(photo.pixels - values / 255).max() > 4 / 255
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile(colours)))
    lcms = ImageCms.profileToProfile(
        Image.fromarray(values), source, ImageCms.createProfile("sRGB"), renderingIntent=1
    )
    assert np.abs(photo.pixels * 255 - np.asarray(lcms)).max() <= 1.01
    path = again(tmp_path, photo, name)
    with Image.open(path) as image:
        assert np.abs(np.asarray(image).astype(int) - values).max() <= 1
        assert image.info["icc_profile"] == profile(colours)
    with Image.open(again(tmp_path, photo, "s.png", Saving(colour="srgb"))) as image:
        assert image.info["icc_profile"] == colour.srgb()
        assert np.abs(np.asarray(image) / 255 - photo.pixels).max() <= 0.51 / 255
    with Image.open(again(tmp_path, photo, "b.png", Saving(metadata="strip"))) as image:
        assert "icc_profile" not in image.info


def test_sixteen_bits_survive_a_wide_profile(tmp_path):
    values = (picture(3, np.uint16) * 0.4 + 18000).astype(np.uint16)
    source = Source("PNG", 16, False, icc=profile())
    pixels = colour.read_profile(profile(), 3).to_srgb(values / np.float32(65535))
    path = write(tmp_path / "x.png", pixels, None, source).path
    photo = read(path)
    result = read(again(tmp_path, photo, "x.png"))
    assert np.abs(result.pixels - photo.pixels).max() < 2 / 65535
    assert np.abs(photo.pixels - pixels).max() < 2 / 65535


def exactly(pixels: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours of a gamma of 2.2 in sRGB, and back, by the formulas in double precision."""
    linear = pixels.astype(np.float64) ** 2.2 @ matrix.T
    bright = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    encoded = np.where(linear <= 0.0031308, linear * 12.92, bright)
    bright = ((np.maximum(encoded, 0) + 0.055) / 1.055) ** 2.4
    decoded = np.where(encoded <= 0.04045, encoded / 12.92, bright)
    return encoded, np.maximum(decoded @ np.linalg.inv(matrix).T, 0) ** (1 / 2.2)


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, at best."""

    def once() -> float:
        begun = time.thread_time()
        work()
        return time.thread_time() - begun

    return min(once() for _ in range(5))


def test_curves_are_looked_up_as_exact_as_the_formulas_and_not_searched():
    curve = np.linspace(0, 1, colour.STEPS) ** 2.2
    known = replace(colour.read_profile(profile(ADOBE), 3), curves=(curve,) * 3)
    steps = np.random.default_rng(0).integers(0, colour.STEPS, (400, 500, 3))
    pixels = (steps / 65535).astype(np.float32)
    encoded, back = exactly(pixels, known.matrix)
    found = known.to_srgb(pixels)
    assert np.abs(found - encoded).max() < 0.5 / 65535
    # a dark channel beside bright ones has their rounding, which weighs the more the darker it is
    exact = ((encoded >= 0) & (encoded <= 1)).all(axis=2, keepdims=True) & (back > 4 / 255)
    inside = np.clip(found, 0, 1)
    assert np.abs(known.from_srgb(inside) - back)[exact].max() < 1 / 65535
    searched = seconds(lambda: np.interp(inside.ravel(), curve, curve))
    assert seconds(lambda: known.from_srgb(inside)) < searched


def test_colours_beyond_srgb_are_noted(tmp_path):
    values = np.zeros((4, 4, 3), np.uint8)
    values[:2, :, 0] = 255
    photo = read(put(tmp_path, "x.png", as_file(values, "PNG", icc_profile=profile())))
    assert photo.notes == ("50.0% of its pixels have colours beyond sRGB; they were cut.",)


def test_srgb_itself_is_not_converted(tmp_path):
    data = as_file(picture(), "PNG", icc_profile=colour.srgb())
    photo = read(put(tmp_path, "x.png", data))
    assert np.array_equal(photo.pixels, picture() / np.float32(255)) and photo.source.icc
    assert colour.srgb() == colour.srgb.__wrapped__()


def test_grey_stays_grey_on_request_and_with_its_profile(tmp_path):
    curve = icc(b"GRAY", {b"kTRC": struct.pack(">4s4xIH2x", b"curv", 1, round(1.8 * 256))})
    data = as_file(picture(1), "PNG", icc_profile=curve)
    photo = read(put(tmp_path, "x.png", data))
    with Image.open(again(tmp_path, photo, "x.png")) as image:
        assert image.mode == "L" and image.info["icc_profile"] == curve
        assert np.array_equal(np.asarray(image), picture(1)[..., 0])
    written = write(tmp_path / "c.png", photo.pixels, None, photo.source)
    with Image.open(written.path) as image:
        assert image.mode == "RGB" and image.info["icc_profile"] == colour.srgb()
    assert "written in sRGB" in written.notes[0]
    tinted = photo.pixels * np.float32([1, 0.9, 0.8])
    path = write(tmp_path / "t.jpg", tinted, None, replace(photo.source, icc=None), KEPT).path
    assert Image.open(path).mode == "L"


@pytest.mark.parametrize(
    "broken",
    [b"no profile", profile()[:-20], icc(b"GRAY", {}), icc(b"RGB ", {}), icc(b"CMYK", {})],
)
def test_a_broken_profile_is_left_aside_and_noted(tmp_path, broken):
    photo = read(put(tmp_path, "x.png", as_file(picture(), "PNG", icc_profile=broken)))
    assert np.array_equal(photo.pixels, picture() / np.float32(255)) and photo.source.icc is None
    assert len(photo.notes) == 1 and photo.notes[0].startswith("It is taken for sRGB, because its")


@pytest.mark.parametrize("kind", range(5))
def test_parametric_curves(kind):
    g, a, b, c, d, e, f = 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.01, 0.01
    numbers = [[g], [g, a, b], [g, a, b, e], [g, a, b, c, d], [g, a, b, c, d, e, f]][kind]
    fixed = [round(number * 65536) for number in numbers]
    data = struct.pack(f">4s4xHxx{len(fixed)}i", b"para", kind, *fixed)
    x = np.linspace(0, 1, colour.STEPS)
    power = (a * x + b) ** g
    expected = [
        x**g, power, power + e, np.where(x >= d, power, c * x),
        np.where(x >= d, power + e, c * x + f),
    ][kind]  # fmt: skip
    assert np.abs(colour._curve(data) - expected.clip(0, 1)).max() < 1e-3


# Metadata


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_applied_and_reset(tmp_path, name, orientation):
    image = Image.fromarray(picture())
    options = {"quality": 95} if name == "x.jpg" else {"lossless": True}
    xmp = b'<x:xmpmeta><rdf:RDF><a tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    image.save(tmp_path / name, exif=b"Exif\0\0" + exif(orientation), **options)
    photo = read(tmp_path / name)
    tagged = image.getexif()
    tagged[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image)) / 255
    assert photo.pixels.shape == upright.shape
    assert photos.size(tmp_path / name) == upright.shape[1::-1]
    assert np.abs(photo.pixels - upright).mean() < 0.02
    photo = replace(photo, source=replace(photo.source, xmp=xmp))
    result = read(again(tmp_path, photo, name))
    assert result.pixels.shape == upright.shape
    assert np.abs(result.pixels - upright).mean() < 0.03
    assert b'Orientation="1"' in result.source.xmp


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif"])
def test_exif_iptc_and_resolution_are_carried_and_stripped(tmp_path, name):
    source = Source(
        "JPEG", 8, False, exif=exif(6), iptc=b"\x1c\x02\x05\0\x03Hey", dpi=(300.0, 300.0),
        comments=(b"said",), texts={"Author": "Ann"},
    )  # fmt: skip
    pixels = np.repeat(picture(3), 2, axis=0) / np.float32(255)
    result = read(write(tmp_path / name, pixels, None, source, texts=GRAPH).path)
    found = Image.Exif()
    found.load(b"Exif\0\0" + result.source.exif)
    assert found[271] == "Maker" and found.get(274, 1) == 1
    inner = found.get_ifd(34665)
    assert inner[37500] == b"private" * 9 and (inner[40962], inner[40963]) == (WIDTH, HEIGHT * 2)
    assert found.get_ifd(34853)[1] == "N" and not found.get_ifd(1)
    assert b"thumbnail" not in result.source.exif
    if name != "x.tif":  # in place: all else is where the camera put it
        assert len(result.source.exif) == len(exif(6))
    assert result.source.iptc == (source.iptc if name in ("x.jpg", "x.tif") else None)
    if name != "x.webp":
        assert np.allclose(result.source.dpi, 300, atol=0.1)
    bare = write(tmp_path / f"bare{name}", pixels, None, source, Saving(metadata="strip"),
                 texts=GRAPH)  # fmt: skip
    found = read(bare.path).source
    assert not any((found.exif, found.xmp, found.iptc, found.texts, found.comments, found.dpi))


def graph_in(xmp: bytes) -> dict[str, str]:
    tree = ElementTree.fromstring(xmp)
    return {
        part.tag.split("}")[1]: part.text
        for part in tree.iter()
        if part.tag.startswith(f"{{{metadata.NAMESPACE}}}")
    }


def test_the_graph_lies_in_png_text_as_comfyui_has_it_and_in_xmp_elsewhere(tmp_path):
    photo = read(put(tmp_path, "x.png", as_file(picture(), "PNG", pnginfo=_texts())))
    for kind in (np.uint8, np.uint16):
        how = Saving(bits=8 * np.dtype(kind).itemsize)
        with Image.open(again(tmp_path, photo, f"{kind.__name__}.png", how, texts=GRAPH)) as image:
            image.load()
            assert image.text == {**GRAPH, "Author": "Ann"}
    for name in ("x.jpg", "x.webp", "x.tif"):
        result = read(again(tmp_path, photo, name, texts=GRAPH))
        assert graph_in(result.source.xmp) == GRAPH
        twice = read(again(tmp_path, result, f"2{name}", texts={"prompt": "{}"}))
        assert graph_in(twice.source.xmp) == {"prompt": "{}"}


def test_the_graph_of_a_source_is_not_taken_for_the_results(tmp_path):
    photo = read(put(tmp_path, "x.png", as_file(picture(), "PNG", pnginfo=_texts())))
    for name in ("x.jpg", "x.webp", "x.tif", "x.png"):
        earlier = read(again(tmp_path, photo, f"earlier {name}", texts=GRAPH))
        for again_as in ("png", "jpg", "webp", "tif"):
            path = again(tmp_path, earlier, f"{name}.{again_as}")
            data = path.read_bytes()
            assert not any(key in data for key in (b"restoreflow:", b"workflow", b"an older"))
    with Image.open(again(tmp_path, photo, "y.png")) as image:
        assert image.text == {"Author": "Ann"}


def _texts() -> PngInfo:
    info = PngInfo()
    info.add_text("Author", "Ann")
    info.add_text("workflow", "an older graph")
    info.add_text("prompt", "an older graph")
    return info


def test_a_large_graph_in_jpeg_lies_in_an_extended_packet(tmp_path):
    texts = {"prompt": json.dumps(["é" * 3] * 30_000)}
    photo = read(put(tmp_path, "x.jpg", as_file(picture(), "JPEG", exif=b"Exif\0\0" + exif())))
    path = again(tmp_path, photo, "x.jpg", texts=texts)
    with Image.open(path) as image:
        parts = [d for n, d in image.applist if d.startswith(metadata.EXTENSION_HEADER)]
        image.load()
    start = len(metadata.EXTENSION_HEADER)
    whole = b"".join(part[start + 40 :] for part in parts)
    guid = parts[0][start : start + 32]
    assert hashlib.md5(whole).hexdigest().upper().encode() == guid
    assert len(parts) > 1 and graph_in(whole) == texts
    assert guid in image.info["xmp"]
    result = read(path)
    assert result.source.exif and guid not in result.source.xmp
    assert result.source.others == ("a second part of its XMP",)
    once = again(tmp_path, result, "y.jpg", texts=texts).read_bytes()
    assert once.count(b"HasExtendedXMP=") == 1


@pytest.mark.parametrize(
    "told",
    [
        b"<rdf:a xmpNote:HasExtendedXMP='7F'/>",
        b"<rdf:a><xmpNote:HasExtendedXMP>7F</xmpNote:HasExtendedXMP></rdf:a>",
    ],
)
def test_xmp_that_goes_on_elsewhere_says_so_no_more(told):
    packet = b"<rdf:RDF>" + told + b"</rdf:RDF>"
    found = metadata.whole_xmp(packet)
    assert b"7F" not in found
    assert found.startswith(b"<rdf:RDF><rdf:a") and found.endswith(b"></rdf:RDF>")
    assert metadata.whole_xmp(found) == found


def test_a_thumbnail_without_a_place_costs_no_other_byte():
    order = {b"II": "<", b"MM": ">"}[exif()[:2]]
    place, other = (struct.pack(f"{order}HHI", tag, 4, 1) for tag in (0x0201, 0x0203))
    damaged = exif(1).replace(place, other)
    fitted = metadata.fitted_exif(damaged, 7, 5)
    assert damaged != exif(1)
    assert sum(now != before for now, before in zip(fitted, damaged, strict=True)) <= 4  # the link


def test_what_a_tiff_tells_beside_the_usual_is_carried(tmp_path):
    told = {269: "Album", 285: "Page 7", 316: "scanner", 40091: "Summer".encode("utf-16-le")}
    Image.fromarray(picture()).save(tmp_path / "x.tif", tiffinfo=told)
    photo = read(tmp_path / "x.tif")
    for name in ("y.tif", "y.jpg"):
        with Image.open(again(tmp_path, photo, name)) as image:
            found = image.getexif()
            assert {tag: found.get(tag) for tag in told} == told, name


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_segments(*segments: bytes, behind: bytes = b"") -> bytes:
    """A JPEG whose thumbnail's end is not its own."""
    data = as_file(picture(), "JPEG", exif=b"Exif\0\0" + exif())
    return data[:2] + b"".join(segments) + data[2:] + behind


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(*chunks: bytes) -> bytes:
    data = as_file(picture(), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def with_tags(**options) -> bytes:
    return as_file(picture(), "TIFF", tiffinfo=options.pop("tags"), **options)


def resource(number: int) -> bytes:
    return segment(0xED, b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", number, 0, 2) + b"ab")


def five_samples() -> bytes:
    tifffile, file = pytest.importorskip("tifffile"), io.BytesIO()
    tifffile.imwrite(file, picture(5), photometric="rgb", extrasamples=[2, 0])
    return file.getvalue()


NOT_CARRIED = {
    "path.jpg": (lambda: with_segments(resource(2999)), "what Photoshop keeps"),
    "c2pa.jpg": (lambda: with_segments(segment(0xEB, b"JP\0\1jumb c2pa")), "C2PA"),
    "heat.jpg": (lambda: with_segments(segment(0xE1, b"FLIR\0\1")), "segments (APP1)."),
    "film.jpg": (lambda: with_segments(behind=b"\0\0\0\x18ftypmp42"), "motion photo"),
    "layers.tif": (lambda: with_tags(tags={37724: b"8BIM"}), "what Photoshop keeps"),
    "paths.tif": (lambda: with_tags(tags={34377: b"8BIM"}), "what Photoshop keeps"),
    "map.tif": (lambda: with_tags(tags={33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6}), "on the map"),
    "own.tif": (lambda: with_tags(tags={65000: "a", 65001: 7}), "the tags 65000, 65001."),
    "five.tif": (five_samples, "a further channel"),
    "time.png": (lambda: with_chunks(chunk(b"tIME", bytes(7))), "the time of its last change"),
    "c2pa.png": (lambda: with_chunks(chunk(b"caBX", b"jumb")), "C2PA"),
    "own.png": (lambda: with_chunks(chunk(b"prVt", b"x")), "PNG chunks (prVt)"),
}


@pytest.mark.parametrize("name", NOT_CARRIED)
def test_what_no_result_carries_is_told(tmp_path, name):
    make, says = NOT_CARRIED[name]
    photo = read(put(tmp_path, name, make()))
    (note,) = write(tmp_path / f"out {name}", photo.pixels, photo.alpha, photo.source).notes
    assert note.startswith("It is written without ") and says in note
    bare = Saving(metadata="strip")
    assert write(tmp_path / f"bare {name}", photo.pixels, None, photo.source, bare).notes == ()


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x.webp"])
def test_what_says_nothing_more_is_not_told(tmp_path, name):
    made = {
        "x.jpg": with_segments(resource(0x0404), resource(0x03ED), behind=bytes(9)),
        "x.png": with_chunks(chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45455))),
        "x.tif": with_tags(tags={269: "Album"}, compression="tiff_lzw", dpi=(300, 300)),
        "x.webp": as_file(picture(), "WEBP", exif=b"Exif\0\0" + exif()),
    }
    photo = read(put(tmp_path, name, made[name]))
    assert write(tmp_path / f"out {name}", photo.pixels, None, photo.source).notes == ()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.jpg", "JPEG holds no texts; they were left out."),
        ("x.png", "PNG holds no IPTC and no comments; they were left out."),
        ("x.webp", "WebP holds no IPTC and no comments and no texts and no resolution; they were"),
        ("x.tif", "TIFF holds no comments and no texts; they were left out."),
    ],
)
def test_what_a_format_has_no_place_for_is_told_in_one_note(tmp_path, name, says):
    source = Source("JPEG", 8, False, iptc=b"x", comments=(b"x",), texts={"a": "b"}, dpi=(300, 300))
    (note,) = write(tmp_path / name, picture() / np.float32(255), None, source).notes
    assert note.startswith(says)
    told = Image.Exif()
    told[282] = 300.0
    source = Source("JPEG", 8, False, dpi=(300, 300), exif=told.tobytes()[6:])
    assert write(tmp_path / f"2{name}", picture() / np.float32(255), None, source).notes == ()


def test_all_comments_of_a_jpeg_are_carried(tmp_path):
    data = with_segments(segment(0xFE, b"first"), segment(0xFE, b"second"))
    photo = read(put(tmp_path, "x.jpg", data))
    assert photo.source.comments == (b"first", b"second")
    assert read(again(tmp_path, photo, "x.jpg")).source.comments == photo.source.comments


@pytest.mark.parametrize("bits", [8, 16])
def test_what_a_png_says_of_its_colours_is_carried_or_told(tmp_path, bits):
    said = {b"gAMA": struct.pack(">I", 100000), b"cICP": bytes([9, 16, 0, 1])}
    photo = read(put(tmp_path, "x.png", with_chunks(*(chunk(*one) for one in said.items()))))
    written = write(tmp_path / "y.png", photo.pixels, None, photo.source, Saving(bits=bits))
    assert written.notes == () and read(written.path).source.colour_chunks == said
    for name, how in [
        ("y.jpg", Saving()), ("s.png", Saving(colour="srgb")), ("b.png", Saving(metadata="strip")),
    ]:  # fmt: skip
        written = write(tmp_path / name, photo.pixels, None, photo.source, how)
        assert written.notes == ("What cICP and gAMA said of its colours is not carried.",)
        assert b"cICP" not in written.path.read_bytes()


def test_a_tiff_keeps_its_id_and_page_and_tells_what_exif_tags_it_leaves(tmp_path):
    photo = read(put(tmp_path, "x.tif", with_tags(tags={32781: "ID 7", 297: (2, 5)})))
    with Image.open(again(tmp_path, photo, "x.tif")) as image:
        assert (image.tag_v2[32781], image.tag_v2[297]) == ("ID 7", (2, 5))
    told = Image.Exif()
    told.update({271: "Maker", 65000: "own"})
    data = as_file(picture(), "JPEG", exif=told.tobytes())
    photo = read(put(tmp_path, "x.jpg", data))
    written = write(tmp_path / "y.tif", photo.pixels, None, photo.source)
    assert written.notes == ("Its EXIF is written without the tag 65000.",)


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
def test_an_orientation_of_any_type_is_applied_and_reset(tmp_path, kind):
    order = "<" if exif()[:2] == b"II" else ">"
    format = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    usual = struct.pack(f"{order}HHIHH", 274, 3, 1, 6, 0)
    other = struct.pack(f"{order}HHI", 274, kind, 1) + struct.pack(f"{order}{format}", 6)
    data = exif(6).replace(usual, other.ljust(12, b"\0"))
    photo = read(put(tmp_path, "x.jpg", as_file(picture(), "JPEG", exif=b"Exif\0\0" + data)))
    assert photo.pixels.shape[:2] == (WIDTH, HEIGHT) == photos.size(tmp_path / "x.jpg")[::-1]
    with Image.open(again(tmp_path, photo, "x.jpg")) as image:
        assert image.getexif()[274] == 1 and image.getexif()[306].startswith("2026")


@pytest.mark.parametrize(
    "told",
    [
        b"<a tiff:Orientation='6'/>",
        b'<a tiff:Orientation = "6"/>',
        b"<tiff:Orientation> 6</tiff:Orientation>",
    ],
)
def test_an_orientation_in_xmp_is_reset_however_it_is_written(told):
    assert metadata.fitted_xmp(told, {}) == told.replace(b"6", b"1")


def test_what_cannot_be_parsed_is_left_out_and_noted(tmp_path):
    data = as_file(picture(), "JPEG", exif=b"Exif\0\0garbage")
    photo = read(put(tmp_path, "x.jpg", data))
    assert "EXIF cannot be parsed" in photo.notes[0]
    source = replace(photo.source, xmp=b"\xff\xfenonsense", iptc=bytes(70_000))
    written = write(tmp_path / "y.jpg", photo.pixels, None, source, texts=GRAPH)
    assert [note.split()[1] for note in written.notes] == ["EXIF", "source's", "IPTC"]
    assert graph_in(read(written.path).source.xmp) == GRAPH


# Bad files


def png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def middle_lost(data: bytes) -> bytes:
    return data[: len(data) // 2] + b"\xaa" * 40 + data[len(data) // 2 + 40 :]


BAD = {
    "empty.jpg": (lambda: b"", "is empty"),
    "text.jpg": (lambda: b"<html>not found</html>" * 9, "does not begin as JPEG"),
    "zeros.png": (lambda: bytes(4096), "does not begin as PNG"),
    "other.jpg": (lambda: as_file(picture(), "PNG"), "holds PNG, not JPEG .* other.png"),
    "cut.jpg": (lambda: as_file(picture(height=400), "JPEG")[:2000], "damaged or cut off"),
    "cut.png": (lambda: as_file(picture(height=400), "PNG")[:2000], "damaged or cut off"),
    "cut16.png": (lambda: deep(picture(3, np.uint16), "PNG")[:2000], "damaged or cut off"),
    "cut.webp": (lambda: as_file(picture(height=400), "WEBP")[:400], "cut off|not begin"),
    "cut.tif": (lambda: as_file(picture(height=400), "TIFF")[:2000], "damaged or cut off"),
    "cut16.tif": (lambda: deep(picture(3, np.uint16), "TIFF")[:2000], "damaged or cut off"),
    "lost.png": (lambda: middle_lost(as_file(picture(), "PNG")), "damaged or cut off"),
    "bomb.png": (lambda: png_of(60_000, 60_000), "as harmful files do"),
    "head.jpg": (lambda: as_file(picture(), "JPEG")[:30], "cut off|not begin"),
    "nan.tif": (
        lambda: as_file(np.full((4, 4, 1), np.nan, np.float32), "TIFF"), "NaN or infinite",
    ),
    "whole.tif": (lambda: as_file(np.ones((4, 4, 1), np.int32), "TIFF"), "kind that is not read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_an_error_of_one_sentence(tmp_path, name):
    make, says = BAD[name]
    with pytest.raises(PhotoError, match=says) as error:
        read(put(tmp_path, name, make()))
    assert is_one_sentence(error, name)


def test_a_large_photo_a_folder_and_what_is_not_there(tmp_path):
    path = put(tmp_path, "x.png", as_file(picture(), "PNG"))
    with pytest.raises(PhotoError, match="more than 100 pixels") as error:
        read(path, limit_pixels=100)
    assert is_one_sentence(error, "x.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("folder.png", "missing.png", "notes.txt"):
        with pytest.raises(PhotoError) as error:
            read(tmp_path / name)
        assert is_one_sentence(error, name)
    with pytest.raises(PhotoError, match="is a folder and no photo") as error:
        read(tmp_path / "folder.png")
    assert not isinstance(error.value, DiskError)
    assert photos.readable(Path("a/B.JPEG")) and not photos.readable(Path("a.txt"))


# The disk

PIXELS = picture() / np.float32(255)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_sha256_is_known_before_the_name_and_the_file_is_hidden(tmp_path):
    seen = []

    def before(sha256: str, notes: tuple[str, ...]) -> None:
        (name,) = left(tmp_path / "out")
        assert name.startswith(".") and name.endswith(files.TEMPORARY)
        data = (tmp_path / "out" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256
        assert photos.delete_leftovers(tmp_path) == 0, "it is being written"
        seen.append(sha256)

    written = write(tmp_path / "out" / "x.png", PIXELS, before_rename=before)
    assert seen == [written.sha256] and left(tmp_path / "out") == ["x.png"]
    assert hashlib.sha256(written.path.read_bytes()).hexdigest() == written.sha256


class CrashError(BaseException):
    """The process ends."""


def test_a_place_where_nothing_can_be_written_says_what_to_do_and_is_final(tmp_path):
    put(tmp_path, "file", b"")
    (tmp_path / "folder.png").mkdir()
    for place, says in [
        (f"{'x' * 300}.png", "choose a shorter suffix"),
        ("folder.png", "there is a folder of that name"),
        ("file/x.png", "there is a file where its folder would be"),
        ("file/deep/x.png", "there is a file where its folder would be"),
    ]:
        with pytest.raises(PhotoError, match=says) as error:
            write(tmp_path / place, PIXELS, own=lambda: True)
        assert is_one_sentence(error, place) and not isinstance(error.value, DiskError)


@pytest.mark.parametrize("sidecar", [None, {"seed": 7}])
def test_a_crash_before_the_name_leaves_the_target_as_it_was(tmp_path, monkeypatch, sidecar):
    put(tmp_path, "x.png", b"before")

    with monkeypatch.context() as dead, pytest.raises(CrashError):

        def crash(*_: object) -> None:
            dead.setattr(Path, "unlink", lambda *_, **__: None)  # the dead delete nothing
            raise CrashError

        write(tmp_path / "x.png", PIXELS, before_rename=crash, replace=True, sidecar=sidecar)
    assert (tmp_path / "x.png").read_bytes() == b"before" and len(left(tmp_path)) > 1
    assert photos.delete_leftovers(tmp_path) == (1 if sidecar is None else 2)
    assert left(tmp_path) == ["x.png"] and photos.delete_leftovers(tmp_path / "missing") == 0


@pytest.mark.parametrize("fails", ["fsync", "write", "link"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_full_disk_leaves_nothing_and_is_told_from_other_errors(
    tmp_path, monkeypatch, fails, number
):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if fails == "write":
        monkeypatch.setattr(photos, "open", fail, raising=False)
    else:
        monkeypatch.setattr(files.os, fails, fail)
        monkeypatch.setattr(files.os, "rename", fail)
    expected = DiskError if number == errno.EIO else HeldUpError
    with pytest.raises(expected) as error:
        write(tmp_path / "x.png", PIXELS, sidecar={})
    named = "x.png" if number != errno.EROFS else str(tmp_path)
    assert is_one_sentence(error, named) and left(tmp_path) == []
    assert not isinstance(error.value, PhotoError) or number == errno.EIO


def test_a_foreign_file_is_never_replaced_unless_told(tmp_path):
    path = put(tmp_path, "x.png", b"foreign")
    with pytest.raises(PhotoError, match="is not what was made here of this photo") as error:
        write(path, PIXELS)
    assert is_one_sentence(error) and path.read_bytes() == b"foreign"
    written = write(path, PIXELS, own=lambda: True)
    assert write(path, PIXELS, replace=True).sha256 == written.sha256
    assert left(tmp_path) == ["x.png"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_comes_meanwhile_is_not_replaced(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(files.os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no")))
    path = tmp_path / "x.png"
    with pytest.raises(PhotoError, match="is there already"):
        write(path, PIXELS, before_rename=lambda *_: path.write_bytes(b"another's"))
    assert path.read_bytes() == b"another's" and left(tmp_path) == ["x.png"]
    path.unlink()
    assert write(path, PIXELS).path == path and left(tmp_path) == ["x.png"]


def test_a_sidecar_names_its_photo_and_is_told_from_a_foreign_one(tmp_path):
    path = tmp_path / "x.png"
    written = write(path, PIXELS, sidecar={"seed": 7})
    facts = json.loads((tmp_path / "x.png.json").read_text())
    assert facts == {"photo": "x.png", "sha256": written.sha256, "seed": 7}
    path.unlink()  # as if the process had ended between the two names
    assert write(path, PIXELS, sidecar={"seed": 8}).path == path
    put(tmp_path, "x.png.json", b"{}")
    with pytest.raises(PhotoError, match="x.png.json is there already"):
        write(path, PIXELS, sidecar={}, own=lambda: True)
    assert left(tmp_path) == ["x.png", "x.png.json"]


def test_folders_are_made_but_never_the_root(tmp_path):
    root = tmp_path / "out"
    with pytest.raises(DiskError):
        write(root / "a" / "b" / "x.png", PIXELS, root=root)
    assert not root.exists()
    root.mkdir()
    assert write(root / "a" / "b" / "x.png", PIXELS, root=root).path.is_file()


def test_what_the_owner_says_leaves_everything_untouched(tmp_path):
    def own() -> bool:
        raise HeldUpError(None, "The disk is away.")

    with pytest.raises(HeldUpError, match="is away"):
        write(tmp_path / "a" / "x.png", PIXELS, own=own, replace=True)
    assert left(tmp_path) == []


def test_a_disk_that_does_not_answer_is_told_from_a_bad_photo(tmp_path, monkeypatch):
    path = put(tmp_path, "x.png", as_file(picture(), "PNG"))

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DiskError) as error:
        read(path)
    assert is_one_sentence(error, "x.png")


def test_the_sha256_is_of_what_was_decoded(tmp_path):
    path = put(tmp_path, "x.png", as_file(picture(), "PNG"))
    assert read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_tree_is_mirrored_and_the_extension_right(tmp_path):
    place = Path("a") / "B.JPG"
    assert target_path(place, tmp_path, Saving(), "_r") == tmp_path / "a" / "B_r.JPG"
    assert target_path(place, tmp_path, Saving(format="tiff")) == tmp_path / "a" / "B.tif"
    assert target_path(Path("x.y.heic"), tmp_path, Saving()).name == "x.y.png"
    whole = target_path(place, tmp_path, Saving(format="png"), "_r", whole=True)
    assert whole == tmp_path / "a" / "B.JPG_r.png"


def test_no_path_leads_out_of_the_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside, target_is_directory=True)
    for relative, suffix in [
        ("../x.png", ""), ("a/../../x.png", ""), (str(outside / "x.png"), ""), ("link/x.png", ""),
        ("x.png", "/../../x"), ("a/../x.png", ""),
    ]:  # fmt: skip
        with pytest.raises(PhotoError, match="lies outside of") as error:
            target_path(Path(relative), root, Saving(), suffix)
        assert is_one_sentence(error)
    (tmp_path / "alias").symlink_to(root, target_is_directory=True)
    assert target_path(Path("x.png"), tmp_path / "alias", Saving()).name == "x.png"
