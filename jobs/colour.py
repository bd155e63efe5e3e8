"""ICC profiles: a photo's colours -> sRGB, which networks know, and back.

The profile of a camera or a display is a curve a channel and a matrix; they are computed here in
floating point, because Pillow's colour management takes 8 bits a channel and would so halve the
depth of a 16-bit photo. Profiles made of tables (printers, scanners) go through it all the same.

Curves are looked up: powers of a photo's values, or a search for them, would take longer than all
the rest of reading and writing it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image, ImageCms

SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}
"""The colour space that a profile must state, by the number of a photo's colour channels."""
TO_D50 = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
"""Linear sRGB -> XYZ under D50, the light in which profiles meet (adapted by Bradford's method)."""
LUMINANCE = np.float32([[0.2126, 0.7152, 0.0722]])
STEPS = 65536  # of a sampled curve: one for each value of 16 bits
BLOCK = 1 << 12  # pixels converted at once: what lies between stays in the processor's cache
BRIGHTEST = 4.0  # linear light that is told from brighter one, far beyond any colour of a profile


class ProfileError(ValueError):
    """The profile is broken or belongs to another kind of picture; the message says which."""


@dataclass(frozen=True, eq=False)
class Profile:
    """What a profile says of its channels, which are one (grey) or three; values are in [0, 1]."""

    curves: tuple[np.ndarray, ...]
    """A channel's value -> linear light: rising, STEPS values each."""
    matrix: np.ndarray
    """Linear light -> linear sRGB: [3, 3], or [1, 1] for grey."""

    @cached_property
    def decoding(self) -> tuple[np.ndarray, ...]:
        """The curves in single precision."""
        return tuple(curve.astype(np.float32) for curve in self.curves)

    @cached_property
    def encoding(self) -> tuple[np.ndarray, ...]:
        """The way back, by the square root of linear light: its steps are finer in the dark."""
        grid = np.linspace(0, 1, STEPS)
        return tuple(np.interp(grid**2, curve, grid).astype(np.float32) for curve in self.curves)

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """Colours [H, W, C] in [0, 1] -> sRGB, float32, beyond [0, 1] for colours that it lacks."""
        return _in_blocks(self._to_srgb, pixels, len(self.curves))

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """sRGB [H, W, C] in [0, 1] -> the profile's colours, float32 in [0, 1]."""
        return _in_blocks(self._from_srgb, pixels, len(self.curves))

    def _to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        steps = (pixels * np.float32(STEPS - 1) + np.float32(0.5)).astype(np.intp)
        linear = [
            curve.take(row, mode="clip") for curve, row in zip(self.decoding, steps, strict=True)
        ]
        return srgb_encoded(self.matrix.astype(np.float32) @ np.stack(linear))

    def _from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        linear = np.linalg.inv(self.matrix).astype(np.float32) @ srgb_decoded(pixels)
        roots = np.sqrt(np.maximum(linear, 0))
        return np.stack(
            [_between(table, row) for table, row in zip(self.encoding, roots, strict=True)]
        )


@dataclass(frozen=True, eq=False)
class Tables:
    """A profile made of tables, RGB or CMYK, as lcms computes it: at 8 bits a channel."""

    icc: bytes

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """Colours [H, W, 3 or 4] -> sRGB [H, W, 3], float32 in [0, 1]."""
        return _through_lcms(pixels, self.icc, srgb())

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """sRGB [H, W, 3] -> the colours [H, W, 3] of an RGB profile.

        Raises:
            ProfileError: the profile can be converted from only.
        """
        return _through_lcms(pixels, srgb(), self.icc)


@lru_cache(maxsize=8)  # the photos of a folder have few cameras
def read_profile(icc: bytes, channels: int) -> Profile | Tables:
    """The profile of a photo of so many colour channels: 1, 3 or 4 (CMYK).

    Raises:
        ProfileError: it is broken, or states another colour space than the photo's.
    """
    if icc[36:40] != b"acsp":
        raise ProfileError("its ICC profile is broken")
    if icc[16:20] != SPACES[channels]:
        raise ProfileError("its ICC profile is for another kind of colours")
    try:
        tags = dict(_tags(icc))
        if channels == 1 and b"kTRC" in tags:
            return Profile((_curve(tags[b"kTRC"]),), np.eye(1))
        if channels == 3 and b"A2B0" not in tags and b"rXYZ" in tags:
            curves = tuple(_curve(tags[letter + b"TRC"]) for letter in (b"r", b"g", b"b"))
            colours = [_xyz(tags[letter + b"XYZ"]) for letter in (b"r", b"g", b"b")]
            matrix = np.linalg.inv(TO_D50) @ np.stack(colours, axis=1)
            np.linalg.inv(matrix)
            return Profile(curves, matrix)
        if channels == 1:
            raise ProfileError("its ICC profile has no curve")
        ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except ProfileError:
        raise
    except (struct.error, LookupError, ValueError, OSError, np.linalg.LinAlgError) as error:
        raise ProfileError("its ICC profile is broken") from error
    return Tables(icc)


@lru_cache(maxsize=8)
def is_srgb(profile: Profile | Tables) -> bool:
    """Whether a profile is sRGB to about a level of 8 bits, as sRGB profiles differ among them."""
    if isinstance(profile, Tables):
        return False
    axis = np.linspace(0, 1, 17)
    grids = np.meshgrid(*[axis] * len(profile.curves), indexing="ij")
    colours = np.stack(grids, axis=-1).reshape(1, -1, len(profile.curves))
    return bool(np.abs(profile.to_srgb(colours) - colours).max() < 1.5 / 255)


@lru_cache(maxsize=1)
def srgb() -> bytes:
    """The sRGB profile to embed, the same bytes at any time."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    written = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # lcms states the moment of making it
    return icc[:24] + written + icc[36:]


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """The luminance of sRGB colours [H, W, 3] as sRGB's grey [H, W, 1]; greys stay as they are."""
    if (pixels == pixels[..., :1]).all():
        return pixels[..., :1]
    return _in_blocks(lambda rows: srgb_encoded(LUMINANCE @ srgb_decoded(rows)), pixels, 1)


def srgb_decoded(values: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] -> linear light (IEC 61966-2-1), float32."""
    return _between(_srgb_tables()[0], values)


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light, float32 -> sRGB values; the straight piece goes on below zero."""
    roots = np.sqrt(np.maximum(linear, 0))
    curved = _between(_srgb_tables()[1], roots * np.float32(BRIGHTEST**-0.5))
    return curved + np.float32(12.92) * np.minimum(linear, 0)


@lru_cache(maxsize=1)
def _srgb_tables() -> tuple[np.ndarray, np.ndarray]:
    """sRGB's curve, and its way back by the square root of linear light, which ends at BRIGHTEST.

    Read by straight lines they are a tenth of a step of 16 bits from the curve, and small enough
    to stay in the processor's cache.
    """
    value = np.linspace(0, 1, STEPS // 8)
    decoded = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = BRIGHTEST * value**2
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return decoded.astype(np.float32), encoded.astype(np.float32)


def _between(table: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A table over [0, 1] at any places, by straight lines; its ends go on beyond."""
    places = places * np.float32(len(table) - 1)
    floor = np.floor(places)
    steps = floor.astype(np.intp)
    low = table.take(steps, mode="clip")
    steps += 1
    high = table.take(steps, mode="clip")
    places -= floor
    high -= low
    return low + high * places


def _in_blocks(
    convert: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, channels: int
) -> np.ndarray:
    """Convert [H, W, C], by blocks of channels [C, N] -> [channels, N], to [H, W, channels]."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    found = np.empty((len(flat), channels), np.float32)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK].T.astype(np.float32, "C")
        found[start : start + BLOCK] = convert(block).T
    return found.reshape(*pixels.shape[:-1], channels)


def _through_lcms(pixels: np.ndarray, icc: bytes, to: bytes) -> np.ndarray:
    values = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(values, "CMYK" if values.shape[2] == 4 else "RGB")
    try:
        image = ImageCms.profileToProfile(
            image,
            io.BytesIO(icc),
            io.BytesIO(to),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError as error:
        raise ProfileError("its ICC profile cannot be converted") from error
    return np.asarray(image, np.float32) / np.float32(255)


def _tags(icc: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A profile's tags: (signature, data)."""
    (count,) = struct.unpack_from(">I", icc, 128)
    for index in range(min(count, 100)):
        name, offset, size = struct.unpack_from(">4sII", icc, 132 + 12 * index)
        if offset + size > len(icc):
            raise ProfileError("its ICC profile is cut off")
        yield name, icc[offset : offset + size]


def _xyz(data: bytes) -> np.ndarray:
    """A colour as XYZ [3]; the format's numbers have 16 bits behind the point."""
    return np.array(struct.unpack_from(">3i", data, 8)) / 65536


def _curve(data: bytes) -> np.ndarray:
    """A curve of a profile, sampled at STEPS values of [0, 1], kept rising and within [0, 1]."""
    x = np.linspace(0, 1, STEPS)
    if data[:4] == b"para":
        y = _parametric(data, x)
    elif data[:4] == b"curv":
        (count,) = struct.unpack_from(">I", data, 8)
        table = np.frombuffer(data, ">u2", count, 12)
        if count > 1:
            y = np.interp(x, np.linspace(0, 1, count), table / 65535)
        else:
            y = x ** (table[0] / 256 if count else 1)
    else:
        raise ProfileError("its ICC profile is broken")
    return np.maximum.accumulate(np.clip(y, 0, 1))


def _parametric(data: bytes, x: np.ndarray) -> np.ndarray:
    """A curve by formula (ICC.1, parametricCurveType): (a x + b)^g + e from d on, c x + f below."""
    (kind,) = struct.unpack_from(">H", data, 8)
    numbers = np.array(struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", data, 12)) / 65536
    g, a, b, c, d, e, f = [*numbers, *[0.0] * (7 - len(numbers))]
    if kind == 0:
        a = 1.0
    if a == 0:
        raise ProfileError("its ICC profile is broken")
    if kind in (1, 2):  # from -b/a on; kind 2 adds its c everywhere
        c, d, e, f = 0.0, -b / a, c, c
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
