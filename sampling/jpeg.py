"""JPEG compression: the file itself, a differentiable copy, and what a file leaves open.

A JPEG file tells of each DCT coefficient only the cell of the quantiser in which it lay. A clean
picture fits if all its coefficients lie in those cells: that is the residual here, not a pixel's
difference.
"""

import io
from functools import cached_property

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .operators import Operator

BLOCK = 8
GREY = 128 / 255
"""What JPEG takes off the luma."""
INNER = 0.4
"""The share of each cell in which a restored coefficient comes to lie."""
SUBSAMPLING = {"4:2:0": 2, "4:4:4": 1}
"""Name -> how much smaller colour is stored."""
TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
"""JFIF 1.02; colour without its offset of one half."""


def compressed(x: Tensor, quality: int, subsampling: str = "4:2:0") -> Tensor:
    """[3, H, W] through a JPEG file, as libjpeg writes and reads it."""
    levels = torch.round(x.clamp(0, 1) * 255).to("cpu", torch.uint8).permute(1, 2, 0).contiguous()
    height, width, _ = levels.shape
    file = io.BytesIO()
    picture = Image.frombytes("RGB", (width, height), levels.numpy().tobytes())
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as opened:
        decoded = torch.frombuffer(bytearray(opened.tobytes()), dtype=torch.uint8)
    return decoded.view(height, width, 3).permute(2, 0, 1).float() / 255


class JPEG(Operator):
    """y = decode(encode(x)), rounded to 8 bits, by the tables that libjpeg uses for a quality."""

    linear = False

    def __init__(self, name: str, quality: int, subsampling: str = "4:2:0"):
        """
        Args:
            quality: 1 ... 100.
            subsampling: a name in SUBSAMPLING.

        Raises:
            ValueError: another quality or subsampling.
        """
        if not 1 <= quality <= 100:
            raise ValueError(f"The quality must lie in 1..100; got {quality}.")
        if subsampling not in SUBSAMPLING:
            known = ", ".join(SUBSAMPLING)
            raise ValueError(f"The subsampling must be one of {known}; got {subsampling}.")
        self.name, self.quality, self.subsampling = name, quality, subsampling

    def apply(self, x: Tensor) -> Tensor:
        """The file's picture before its last rounding and clipping.

        The derivative takes rounding as none. What is no whole block stays as it is.
        """
        planes = []
        for coefficients, table in zip(self.coefficients(x), self.tables, strict=False):
            step = table.to(x, copy=True)
            cells = coefficients / step
            rounded = cells + (cells.round() - cells).detach()
            planes.append(pixels(rounded * step))
        if not planes:
            return x.expand(-1, 3, -1, -1)
        luma, *colours = planes
        if luma.shape != colours[0].shape:  # libjpeg's "fancy" enlargement
            whole = luma.shape[-2:]
            colours = [F.interpolate(c, whole, mode="bilinear") for c in colours]
        back = torch.linalg.inv(torch.tensor(TO_YCC, dtype=torch.float64)).to(x)
        ycc = torch.cat([luma + GREY, *colours], dim=1)
        changed = torch.einsum("rc,bchw->brhw", back, ycc) - self.whole_blocks(x)
        height, width = (n - m for n, m in zip(x.shape[-2:], changed.shape[-2:], strict=True))
        return x.expand(-1, 3, -1, -1) + F.pad(changed, (0, width, 0, height))

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """How far the coefficients of x lie outside the cells of y's; [B, n, 1, 1].

        Pixels that are in no whole block may differ by half of the luma's coarsest mean.
        """
        return self._outside(x, y, 1.0)

    def pull(self, x: Tensor, y: Tensor) -> Tensor:
        """Towards the inner part of the cells: what lies on their walls would be coded anew."""
        return self._outside(x, y, INNER)

    def _outside(self, x: Tensor, y: Tensor, share: float) -> Tensor:
        """Beyond so much of each cell."""
        left = []
        both = zip(self.coefficients(x), self.coefficients(y), self.tables, strict=False)
        for ours, theirs, table in both:
            step = table.to(x, copy=True)
            left.append(beyond(ours - (theirs / step).round() * step, share * step / 2))
        height, width = self.whole_blocks(x).shape[-2:] if left else (0, 0)
        apart = beyond(x - y, share * self.tables[0][0, 0].to(x, copy=True) / 2)
        left += [apart[..., height:, :], apart[..., :height, width:]]
        return torch.cat([one.flatten(1) for one in left], dim=1)[..., None, None]

    def norm(self, like: Tensor) -> float:
        """A bound: colours are turned by less, and the cosine transform keeps lengths."""
        return 1.0

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        return torch.stack([compressed(one, self.quality, self.subsampling) for one in x]).to(x)

    def draw(self, x: Tensor, seed: int) -> Tensor:
        return self.simulate(self.pictured(x), seed)

    def whole_blocks(self, x: Tensor) -> Tensor:
        """The picture [B, 3, H, W] of x [B, 1 or 3, ...] without the rest at the bottom and right
        that fills no block: a file says little of it once it is cut off."""
        side = BLOCK * SUBSAMPLING[self.subsampling]
        height, width = (length // side * side for length in x.shape[-2:])
        return x[..., :height, :width].expand(-1, 3, -1, -1)

    def coefficients(self, x: Tensor) -> list[Tensor]:
        """Of luma and the two colours in whole blocks: each [B, 1, rows, columns, 8, 8], in units
        of the range [0, 1]; of a picture without such blocks, none."""
        turn, whole = torch.tensor(TO_YCC, dtype=torch.float64).to(x), self.whole_blocks(x)
        if not whole.numel():
            return []
        luma, *colours = torch.einsum("rc,bchw->brhw", turn, whole).split(1, dim=1)
        factor = SUBSAMPLING[self.subsampling]
        return [spectra(luma - GREY), *(spectra(F.avg_pool2d(c, factor)) for c in colours)]

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """[8, 8] quantiser steps of luma and twice of colour, in units of the range [0, 1]."""
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, "JPEG", quality=self.quality)
        with Image.open(file) as opened:
            luma, colour = (torch.tensor(opened.quantization[i]).view(8, 8) for i in (0, 1))
        return luma.double() / 255, colour.double() / 255, colour.double() / 255


def beyond(x: Tensor, half: Tensor) -> Tensor:
    """By how much x leaves [-half, half]."""
    return x - torch.minimum(torch.maximum(x, -half), half)


def cosines(like: Tensor) -> Tensor:
    """[8, 8]: the orthonormal cosine transform; rows are frequencies."""
    position = torch.arange(BLOCK, dtype=torch.float64)
    waves = torch.cos(torch.pi / BLOCK * (position + 0.5) * position[:, None])
    waves[0] /= 2**0.5
    return (waves * (2 / BLOCK) ** 0.5).to(like)


def spectra(x: Tensor) -> Tensor:
    """[B, 1, H, W] -> [B, 1, H / 8, W / 8, 8, 8] cosine coefficients of its blocks."""
    blocks = x.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)
    waves = cosines(x)
    return waves @ blocks @ waves.T


def pixels(spectra: Tensor) -> Tensor:
    """The inverse of `spectra`."""
    waves = cosines(spectra)
    blocks = waves.T @ spectra @ waves
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)
