"""A heat map with its scale, and a sheet of numbered samples, drawn."""

import math

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..sampling.colours import heat
from .picture import from_pillow, to_pillow

INK, GROUND, FRAME = (235, 235, 235), (14, 15, 18), (64, 224, 128)
CELL, SHEET = 384, 2048
"""Largest side of a sample on the sheet, and of the sheet, in pixels."""
MARKS = 5


def with_scale(values: Tensor, top: float) -> Tensor:
    """An IMAGE of heat maps [B, 1, H, W] in [0, 1], with a bar below that says what they mean.

    Args:
        top: what 1 stands for, in units of 1/255.
    """
    height, width = values.shape[-2:]
    letters = max(9, min(height, width) // 32)
    band = from_pillow(_scale(width, letters, top))[None].movedim(-1, 1)
    maps = torch.cat([heat(values.cpu()), band.expand(len(values), -1, -1, -1)], dim=2)
    return maps.movedim(1, -1)


def _scale(width: int, letters: int, top: float) -> Image.Image:
    """A bar of all colours with numbers below, as wide as the picture."""
    canvas = Image.new("RGB", (width, round(3.2 * letters)), GROUND)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(letters)
    left, right = letters, max(width - letters, letters + 2)
    ramp = heat(torch.linspace(0, 1, right - left)[None, None, None].expand(-1, -1, letters, -1))
    canvas.paste(to_pillow(ramp[0]), (left, letters // 2))
    room = pen.textlength(_mark(top) + "   ", font)
    marks = max(2, min(MARKS, int((right - left) // room)))
    for number in range(marks):
        share = number / (marks - 1)
        text = _mark(top * share) + ("/255" if number == marks - 1 and width > 12 * letters else "")
        place = left + share * (right - left)
        anchor = "la" if number == 0 else "ra" if number == marks - 1 else "ma"
        pen.text((place, 1.75 * letters), text, INK, font, anchor)
    return canvas


def _mark(value: float) -> str:
    return f"{value:.3g}"


def sheet(samples: Tensor, which: Tensor) -> Tensor:
    """An IMAGE of all samples [N, B, 3, H, W], row by row for each picture.

    Args:
        which: [B], numbers from 0 of those that get a frame.
    """
    count, batch, _, height, width = samples.shape
    columns = min(count, math.ceil(math.sqrt(count * height / width)) if batch == 1 else count)
    rows = batch * math.ceil(count / columns)
    shrink = max(
        *(side / CELL for side in (height, width)),
        *(columns * width / SHEET, rows * height / SHEET, 1.0),
    )
    cell = [max(int(side / shrink), 1) for side in (height, width)]
    gap = max(2, min(cell) // 48)
    canvas = Image.new(
        "RGB",
        [n * (side + gap) + gap for n, side in zip((columns, rows), cell[::-1], strict=True)],
        GROUND,
    )
    pen, letters = ImageDraw.Draw(canvas), max(10, min(cell) // 9)
    font = ImageFont.load_default(letters)
    for draw in range(count):
        for picture in range(batch):
            row = picture * (rows // batch) + draw // columns
            place = (gap + draw % columns * (cell[1] + gap), gap + row * (cell[0] + gap))
            small = F.interpolate(samples[draw, picture][None].cpu(), cell, mode="area")[0]
            canvas.paste(to_pillow(small), place)
            right, bottom = pen.textbbox(place, f" {draw} ", font)[2:]
            pen.rectangle((*place, right, bottom + gap), GROUND)
            pen.text(place, f" {draw} ", INK, font)
            if draw == int(which[picture]):
                corner = (place[0] + cell[1] - 1, place[1] + cell[0] - 1)
                pen.rectangle((*place, *corner), outline=FRAME, width=gap)
    return from_pillow(canvas)[None]
