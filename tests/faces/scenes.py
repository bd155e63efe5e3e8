"""Scikit-image's astronaut, her five points marked by hand, drawn at any size and angle.

Drawn by SciPy's splines of fifth order: a judge of our own resampling that shares nothing with it.
"""

import math

import numpy as np
import torch
from restoreflow.faces import geometry
from restoreflow.faces.detections import Faces
from scipy.ndimage import affine_transform
from skimage.data import astronaut
from torch import Tensor

ASTRONAUT = torch.from_numpy(astronaut() / 255).permute(2, 0, 1).float()
"""[3, 512, 512]."""

POINTS = torch.tensor(
    [[203.8, 101.0], [246.3, 103.5], [223.0, 125.8], [204.2, 140.5], [244.3, 140.8]]
).double()
MIDDLE = POINTS.mean(0)
COLLAGE = ((230, 10, 200, 230), (60, 0, 520, 90), (120, -75, 560, 330), (150, 30, 60, 600))
"""Height of each face, its angle and its middle."""

FACE = 110
"""Height of her face in pixels, from hairline to chin."""


def turned(side: int, face: float, degrees: float = 0, middle: Tensor | None = None) -> Tensor:
    """[1, 2, 3]: her photo so enlarged and turned that the face is `face` pixels high.

    The middle of her points comes to lie in the middle of a picture of this side, or where told.
    """
    factor, angle = face / FACE, math.radians(degrees)
    c, s = factor * math.cos(angle), factor * math.sin(angle)
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    middle = torch.full((2,), side / 2).double() if middle is None else middle.double()
    return torch.cat([turn, (middle - turn @ MIDDLE)[:, None]], dim=1)[None]


def drawn(transform: Tensor, height: int, width: int, scene: Tensor = ASTRONAUT) -> Tensor:
    """A scene [3, h, w] under a transform [1, 2, 3], reflected beyond its frame; [3, H, W]."""
    back = geometry.invert(transform)[0]
    turn, shift = back[:, :2], back[:, 2]
    offset = shift + turn @ torch.tensor([0.5, 0.5]).double() - 0.5  # from centres to centres
    planes = [
        affine_transform(
            plane, turn.flip(0, 1).numpy(), offset.flip(0).numpy(), (height, width),
            order=5, mode="reflect",
        )
        for plane in scene.double().numpy()
    ]  # fmt: skip
    return torch.from_numpy(np.stack(planes)).float()


def found(points: Tensor, height: int, width: int, picture: int = 0) -> Faces:
    """Faces with these points [N, 5, 2], all in one picture."""
    return Faces.from_points(points, torch.full((len(points),), picture), height, width)


def marked(side: int, face: float, degrees: float = 0) -> Faces:
    """Where her face is in `placed`."""
    return found(geometry.move(turned(side, face, degrees), POINTS), side, side)


def placed(side: int, face: float, degrees: float = 0) -> tuple[Tensor, Faces]:
    """A square photo of her [1, 3, side, side], her face `face` pixels high, and where it is."""
    return drawn(turned(side, face, degrees), side, side)[None], marked(side, face, degrees)


def collage() -> tuple[Tensor, Faces]:
    """Four of her in one photo [1, 3, 620, 700]: large, small, turned, and leaving the frame."""
    height, width = 620, 700
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    photo, points = torch.full((3, height, width), 0.5), []
    for face, degrees, x, y in COLLAGE:
        transform = turned(0, face, degrees, torch.tensor([x, y]))
        near = ((columns - x) ** 2 + (rows - y) ** 2).sqrt() < 1.1 * face
        photo = torch.where(near, drawn(transform, height, width), photo)
        points.append(geometry.move(transform, POINTS)[0])
    return photo[None].clamp(0, 1), found(torch.stack(points), height, width)


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """In dB over all values, or over the pixels [H, W] that are marked."""
    square = (a - b).double().square()
    return -10 * math.log10((square if where is None else square[..., where]).mean() + 1e-30)
