"""Pictures side by side with what they are written above them."""

import math

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .picture import from_pillow

LARGEST = 512
"""Side in pixels beyond which pictures are shrunk."""
INK, GROUND = "white", (24, 25, 28)


def sheet(pictures: Tensor, titles: list[str]) -> Tensor:
    """An IMAGE [1, h, w, 3] with a column for each title and a row for each of its pictures.

    Args:
        pictures: [len(titles) * B, 3, H, W] in [0, 1], column by column.
        titles: of the columns.
    """
    shrink = math.ceil(max(pictures.shape[-2:]) / LARGEST)
    small = F.avg_pool2d(pictures.cpu(), shrink, ceil_mode=True).clamp(0, 1)
    columns = small.unflatten(0, (len(titles), -1))
    rows = columns.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # [B * h, columns * w, 3]
    return torch.cat([_titles(titles, small.shape[-1]), rows])[None]


def _titles(titles: list[str], width: int) -> Tensor:
    """A strip of titles [h, len(titles) * width, 3], each in the middle of its column."""
    size = max(9, min(20, width // 8))
    strip = Image.new("RGB", (len(titles) * width, 2 * size), GROUND)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(size)
    for number, title in enumerate(titles):
        pen.text((round((number + 0.5) * width), size), title, INK, font, "mm")
    return from_pillow(strip)
