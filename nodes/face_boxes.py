"""Boxes with numbers: which face is which, and which are chosen."""

import math

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..faces.detections import Faces
from .picture import from_pillow, to_pillow

LARGEST = 1280
"""Side in pixels beyond which pictures are shrunk."""
CHOSEN, LEFT_OUT, INK, SHADE = (64, 224, 128), (150, 150, 150), "white", (14, 15, 18)


def draw(pictures: Tensor, faces: Faces, chosen: Faces) -> Tensor:
    """An IMAGE of pictures [B, 3, H, W] in [0, 1] that shows all faces, those chosen in colour.

    Numbers count from 1, as the widgets of the nodes do.
    """
    shrink = math.ceil(max(pictures.shape[-2:]) / LARGEST)
    canvases = [_canvas(picture, shrink) for picture in pictures]
    width, height = canvases[0].size
    thick, letters = max(2, max(width, height) // 240), max(14, max(width, height) // 28)
    font = ImageFont.load_default(letters)
    frame = torch.tensor([width, height, width, height]) - 1
    pens = [ImageDraw.Draw(canvas) for canvas in canvases]
    for several, colour in ((faces, LEFT_OUT), (chosen, CHOSEN)):
        for box, picture in zip(several.boxes / shrink, several.picture, strict=True):
            pens[picture].rectangle(_inside(box, frame), outline=colour, width=thick)
    places = zip(faces.boxes / shrink, faces.picture, strict=True)
    for number, (box, picture) in enumerate(places, 1):
        left, top, _, _ = _inside(box, frame)
        place, anchor = (left, top), "ld" if top > 1.5 * letters else "la"  # above, or inside
        pens[picture].rectangle(pens[picture].textbbox(place, f" {number} ", font, anchor), SHADE)
        pens[picture].text(place, f" {number} ", INK, font, anchor)
    return torch.stack([from_pillow(canvas) for canvas in canvases])


def _canvas(picture: Tensor, shrink: int) -> Image.Image:
    small = F.avg_pool2d(picture[None].cpu(), shrink, ceil_mode=True)[0]
    return to_pillow(small)


def _inside(box: Tensor, frame: Tensor) -> list[int]:
    """Corners of a box [4] in whole pixels, no farther out than the frame."""
    return torch.minimum(box.clamp(min=0), frame).round().int().tolist()
