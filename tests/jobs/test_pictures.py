"""Small pictures: how a photo is looked at, in little time and memory whatever it is."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from restoreflow.jobs import colour, photos, pictures
from restoreflow.jobs.photos import PhotoError
from restoreflow.jobs.pictures import inside, picture

CORNERS = {"red": (0, 0), "blue": (0, -1), "white": (-1, 0)}
COLOURS = {"red": (230, 30, 30), "blue": (30, 30, 230), "white": (250, 250, 250)}


def quarters(width: int = 120, height: int = 80) -> Image.Image:
    """Four areas: red and blue above, white and black below."""
    image = Image.new("RGB", (width, height), (10, 10, 10))
    image.paste(COLOURS["red"], (0, 0, width // 2, height // 2))
    image.paste(COLOURS["blue"], (width // 2, 0, width, height // 2))
    image.paste(COLOURS["white"], (0, height // 2, width // 2, height))
    return image


def shown(path, side: int = 40) -> tuple[Image.Image, str]:
    data, kind = picture(path, side, 95)
    return Image.open(io.BytesIO(data)), kind


def assert_upright(image: Image.Image) -> None:
    assert image.size == (40, 27)
    pixels = np.asarray(image.convert("RGB")).astype(int)[3:-3, 3:-3]
    for name, place in CORNERS.items():
        assert np.abs(pixels[place] - COLOURS[name]).max() < 16, name


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".gif", ".bmp", ".ppm"])
def test_every_format_is_fit_into_the_square(tmp_path, suffix):
    quarters().save(path := tmp_path / f"a{suffix}")
    image, kind = shown(path)
    assert (kind, image.format) == ("image/jpeg", "JPEG")
    assert_upright(image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_it_is_upright(tmp_path, suffix, orientation):
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    image = quarters()
    for step in undo.get(orientation, []):
        image = image.transpose(step)
    exif = Image.Exif()
    exif[274] = orientation
    image.save(path := tmp_path / f"a{suffix}", exif=exif)
    assert_upright(shown(path)[0])


def test_a_small_photo_is_not_enlarged(tmp_path):
    quarters(20, 10).save(path := tmp_path / "a.png")
    assert shown(path, 1000)[0].size == (20, 10)


def test_a_line_keeps_a_pixel(tmp_path):
    Image.new("L", (4000, 1)).save(path := tmp_path / "a.png")
    assert shown(path)[0].size == (40, 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_one_sees_through_stays_so(tmp_path, mode):
    image = quarters().convert("LA" if mode == "LA" else "RGBA")
    image.putalpha(Image.new("L", image.size, 90))
    if mode == "PA":
        image = image.quantize()
    image.save(path := tmp_path / "a.png")
    made, kind = shown(path)
    assert kind == "image/webp"
    assert abs(np.asarray(made)[..., 3].astype(int) - 90).max() < 4


def test_alpha_that_hides_nothing_costs_nothing(tmp_path):
    quarters().convert("RGBA").save(path := tmp_path / "a.png")
    image, kind = shown(path)
    assert kind == "image/jpeg"
    assert_upright(image)


@pytest.mark.parametrize("kind", ["16.png", "16.tif", "grey.png", "float.tif"])
def test_deep_photos_look_as_they_are(tmp_path, kind):
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (64, 1))
    path = tmp_path / kind
    if kind.startswith("16"):
        colours = np.repeat(ramp[..., None], 3, axis=2)
        photos.write(path, colours, how=photos.Saving(bits=16))
    else:
        deep = ramp if kind == "float.tif" else np.rint(ramp * 65535).astype(np.uint16)
        Image.fromarray(deep).save(path)
    values = np.asarray(shown(path, 256)[0].convert("L")).astype(int)
    assert np.abs(values - np.arange(256)).max() <= 3


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_white_at_zero_is_no_negative(tmp_path, kind):
    values = np.full((40, 40), 65535 if kind == "uint16" else 1, kind)
    Image.fromarray(values).save(path := tmp_path / "a.tif", tiffinfo={262: 0})
    assert np.asarray(shown(path)[0]).max() < 3


def test_a_clear_grey_of_16_bits_stays_clear(tmp_path):
    Image.new("I;16", (40, 40), 7).save(path := tmp_path / "a.png", transparency=7)
    made, kind = shown(path)
    assert kind == "image/webp" and np.asarray(made)[..., 3].max() == 0


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_its_colours_are_those_of_the_whole_photo(tmp_path, mode):
    wide = bytearray(colour.srgb())
    red = bytes(wide).index(b"rXYZ", 132)
    (place,) = struct.unpack_from(">I", wide, red + 4)
    wide[place + 8 : place + 12] = struct.pack(">i", round(0.6 * 65536))  # a redder red
    profile = {"icc_profile": bytes(wide)} if mode == "RGB" else {}
    quarters().convert(mode).save(path := tmp_path / "a.jpg", quality=95, **profile)
    whole = photos.read(path).pixels[::4, ::4] * 255
    found = np.asarray(shown(path, 30)[0].convert("RGB")).astype(int)
    assert np.abs(found[4, 4] - whole[4, 4]).max() < 8
    assert np.abs(found[4, -4] - whole[4, -4]).max() < 8


def test_a_huge_jpeg_is_decoded_small(tmp_path, monkeypatch):
    decoded = []
    in_bytes = pictures._in_bytes
    monkeypatch.setattr(pictures, "_in_bytes", lambda im: decoded.append(im.size) or in_bytes(im))
    Image.new("RGB", (9000, 6000), (90, 120, 30)).save(path := tmp_path / "a.jpg")
    assert shown(path, 300)[0].size == (300, 200)
    assert decoded == [(1125, 750)]


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff nothing", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_no_photo_is_told_in_a_sentence(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(PhotoError, match=r"^a\.jpg is empty|^a\.jpg does not begin"):
        picture(tmp_path / "a.jpg", 40)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_files_are_found_in_their_folder_only(tmp_path):
    (tmp_path / "in" / "b").mkdir(parents=True)
    for name in ("secret", "in/a", "in/b/c"):
        (tmp_path / name).touch()
    (tmp_path / "in" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "in" / "own").symlink_to("a")
    root = tmp_path / "in"
    assert inside(root, "b/c") == (root / "b" / "c").resolve()
    assert inside(root, "own") == (root / "a").resolve()
    for path in ("out", "up/secret", "../secret", str(tmp_path / "secret"), "b", "none", "a/b"):
        assert inside(root, path) is None, path
