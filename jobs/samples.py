"""A picture that Pillow has opened -> its samples, as deep as the file has them."""

from __future__ import annotations

import io
import sys

import numpy as np
from PIL import Image

from .source import PhotoError

PLAIN_MODES = ("L", "RGB")
ALIKE = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
"""Pillow's other modes -> the ones that hold the same."""
DEEP_MODES = {"RGB;16", "RGBX;16", "RGBA;16"}
OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Byte orders of 16-bit samples in Pillow's names -> the opposite one."""
BITS_TAG, PHOTOMETRIC_TAG, PLANES_TAG = 258, 262, 284
WHITE_IS_ZERO = 0
SCALES = {"L;2": 85, "L;4": 17}
"""Raw modes whose samples Pillow spreads over a byte -> by how much."""


def values_of(
    name: str, content: bytes, image: Image.Image, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """A picture's samples and its alpha, as the file has them: uint8, uint16 or float32.

    Args:
        name: of the file, for errors.
        content: of the file.

    Returns:
        [H, W, C], C being 1 (grey), 3 or 4 (CMYK), and [H, W] or None.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(PLANES_TAG) == 2 and max(tags.get(BITS_TAG, (1,))) > 8:  # Pillow misreads them
        raise PhotoError(
            f"{name} keeps its 16-bit colours in separate planes, which are not read: "
            "save it with interleaved channels."
        )
    key = image.info.get("transparency")
    raw = _raw_mode(image)
    if raw == "LA;16B":
        # Pillow would keep the upper bytes only; read as four bytes a pixel, all are there.
        _read_as(image, "RGBA")
        values = np.asarray(image).copy().view(">u2").astype(np.uint16)
    elif raw[:-1] in DEEP_MODES:
        values = _deep_values(content, image, raw)
    elif _white_of_ppm(image) > 255 and image.tile[0][0] == "ppm":
        values = _deep_ppm(content, image)
    else:
        if (";16" in raw and not raw.startswith("I;16")) or _white_of_ppm(image) > 255:
            notes.append("Its 16 bits a channel are of a rare kind; 8 of them were read.")
        values = _plain_values(name, image)
        key = key * SCALES[raw] if key is not None and raw in SCALES else key
    if values.shape[2] in (1, 3) and key is not None:
        return values, np.where((values == key).all(axis=2), 0, _full(values)).astype(values.dtype)
    if values.shape[2] == 2 or (values.shape[2] == 4 and image.mode != "CMYK"):
        return values[..., :-1], values[..., -1]
    return values, None


def _deep_values(content: bytes, image: Image.Image, raw: str) -> np.ndarray:
    """16-bit colours, exactly: Pillow keeps one byte of two, so the file is decoded twice.

    Told that the bytes lie the other way round, Pillow keeps the lower ones. The `av` package,
    which ComfyUI ships too, is as exact and faster (1.5 megapixels of PNG: 0.13 s against 0.20 s),
    but it would be a second decoder, with other limits and errors than that of every other photo.
    """
    with Image.open(io.BytesIO(content), formats=[image.format]) as again:
        _read_as(again, raw[:-1] + OTHER_BYTE[raw[-1]])
        values = np.asarray(again).astype(np.uint16)
    image.load()
    values |= np.left_shift(np.asarray(image), 8, dtype=np.uint16)
    return values


def _white_of_ppm(image: Image.Image) -> int:
    """The sample that is white in a PPM's colours; 255 for all else."""
    arguments = image.tile[0][3] if image.tile else None
    in_colour = image.format == "PPM" and image.mode == "RGB" and isinstance(arguments, tuple)
    return arguments[1] if in_colour else 255


def _deep_ppm(content: bytes, image: Image.Image) -> np.ndarray:
    """The colours of a PPM of two bytes a sample: Pillow keeps 8 bits of them."""
    white, start = _white_of_ppm(image), image.tile[0][2]
    found = np.frombuffer(content, ">u2", 3 * image.width * image.height, start)
    return _spread(found.reshape(image.height, image.width, 3), white)


def deep_grey(image: Image.Image) -> np.ndarray:
    """The samples [H, W] of a loaded grey picture of more than 8 bits: uint16 or float32.

    Black is 0 and white is full, which Pillow sees to in pictures of 8 bits only.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        values = np.asarray(image, np.float32)
    else:
        white = 2 ** min(tags.get(BITS_TAG, (16,))[0], 16) - 1
        values = _spread(np.asarray(image).clip(0, white), white)
    return _full(values) - values if tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO else values


def _spread(values: np.ndarray, white: int) -> np.ndarray:
    """Samples up to white -> uint16 in full."""
    if white == 65535:
        return values.astype(np.uint16)
    return np.rint(values * (65535 / white)).clip(0, 65535).astype(np.uint16)


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of how the file's samples lie, or nothing."""
    arguments = image.tile[0][3] if image.tile else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _read_as(image: Image.Image, raw: str) -> None:
    """Load a picture whose samples are taken to lie as another raw mode has it."""
    tiles = []
    for tile in image.tile:
        arguments = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
        tiles.append(getattr(tile, "_make", tuple)((*tile[:3], arguments)))
    image.tile = tiles
    image.load()


def _plain_values(name: str, image: Image.Image) -> np.ndarray:
    """The samples [H, W, C] of what Pillow reads whole."""
    image.load()  # numpy would swallow its errors
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        values = deep_grey(image)
    elif mode == "F":
        values = deep_grey(image)
        if not np.isfinite(values).all():
            raise PhotoError(
                f"{name} holds values that are not numbers (NaN or infinite): "
                "save it again with 8 or 16 bits a channel."
            )
    elif mode in ("P", "PA"):
        clear = mode == "PA" or "transparency" in image.info
        values = np.asarray(image.convert("RGBA" if clear else "RGB"))
    elif mode in ALIKE:
        values = np.asarray(image.convert(ALIKE[mode]))
    elif mode in (*PLAIN_MODES, "LA", "RGBA", "CMYK"):
        values = np.asarray(image)
    else:
        raise PhotoError(
            f"{name} has pixels of a kind that is not read ({mode}): "
            "save it as RGB with 8 or 16 bits a channel."
        )
    return values.reshape(image.height, image.width, -1)


def unit(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Samples -> float32 in [0, 1]."""
    if values.dtype == np.float32:
        if values.size and (values.min() < 0 or values.max() > 1):
            notes.append("It holds values beyond black or white; they were cut.")
        return values.clip(0, 1)
    return values.astype(np.float32) / np.float32(_full(values))


def _full(values: np.ndarray) -> int:
    """The sample that stands for white."""
    return 1 if values.dtype == np.float32 else np.iinfo(values.dtype).max
