"""Five points of a face, and the similarity that carries them onto the template.

Coordinates are (x, y) in pixels, x to the right and y down, counted from the picture's corner:
the first pixel reaches from 0 to 1 and its centre lies at 0.5. So a picture that is enlarged
multiplies them, and one that is mirrored turns x into width - x. A transform is [N, 2, 3],
float64, from a photo to its crops: p -> A p + b with [A | b].
"""

import torch
from torch import Tensor

SIDE = 512
"""Of the template, in pixels."""

ORDER = "left eye, right eye, nose, left and right corner of the mouth"
"""Of the five points; left and right as one sees them on the upright face."""

MIRRORED = (1, 0, 2, 4, 3)
"""The order of the points of a mirrored face."""

PUBLISHED = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
"""Where facexlib lays FFHQ's points, and with it the face restorers trained on FFHQ."""


def _symmetric(points: Tensor) -> Tensor:
    mirrored = torch.stack([SIDE - points[:, 0], points[:, 1]], dim=1)[list(MIRRORED)]
    return (points + mirrored) / 2


TEMPLATE = _symmetric(torch.tensor(PUBLISHED, dtype=torch.float64))
"""[5, 2]: the published points averaged with their mirror image, at most 1.2 px away from them: a
mirrored photo gives mirrored crops."""


def fit(points: Tensor, template: Tensor = TEMPLATE) -> Tensor:
    """The similarities that bring points closest to the template in the least-squares sense.

    Rotation, one scale and a shift, never a reflection (Umeyama 1991). In the plane the optimum is
    a quotient: with points p and t as complex numbers less their means, A = sum conj(p) t /
    sum |p|^2.

    Args:
        points: [N, 5, 2]; five points that coincide give no numbers.
        template: [5, 2].

    Returns:
        [N, 2, 3], float64.
    """
    source, target = _complex(points), _complex(template)
    spread = source - source.mean(-1, keepdim=True)
    turn = (spread.conj() * (target - target.mean())).sum(-1) / spread.abs().square().sum(-1)
    shift = target.mean() - turn * source.mean(-1)
    rows = [turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag]
    return torch.stack(rows, dim=-1).unflatten(-1, (2, 3))


def likeness(points: Tensor) -> Tensor:
    """How much of the points' shape a similarity of the template explains, [N] in [0, 1].

    The squared correlation of [N, 5, 2] with the template: 1 for its image, about 0.5 for a
    profile, 0.01 where left and right are exchanged, 0 for points that coincide.
    """
    source, target = _complex(points), _complex(TEMPLATE)
    source, target = source - source.mean(-1, keepdim=True), target - target.mean()
    common = (source.conj() * target).sum(-1).abs().square()
    energy = source.abs().square().sum(-1) * target.abs().square().sum()
    return common / energy.clamp(min=torch.finfo(torch.float64).tiny)


def spread(points: Tensor) -> Tensor:
    """Root mean square distance of [N, 5, 2] from their middle, [N] in pixels."""
    points = points.double()
    return (points - points.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()


def invert(transforms: Tensor) -> Tensor:
    """The way back: [N, 2, 3] -> [N, 2, 3], for similarities: A^-1 = A^T / det A."""
    turn = transforms[..., :2].mT / torch.linalg.det(transforms[..., :2])[..., None, None]
    return torch.cat([turn, -turn @ transforms[..., 2:]], dim=-1)


def compose(second: Tensor, first: Tensor) -> Tensor:
    """One after the other: p -> second(first(p)); [N, 2, 3] each."""
    product = second[..., :2] @ first
    return torch.cat([product[..., :2], product[..., 2:] + second[..., 2:]], dim=-1)


def move(transforms: Tensor, points: Tensor) -> Tensor:
    """Points [N, K, 2] (or [K, 2] for all) where the transforms [N, 2, 3] carry them."""
    return points.double() @ transforms[..., :2].mT + transforms[..., 2].unsqueeze(-2)


def scale(transforms: Tensor) -> Tensor:
    """Pixels of the crop for one of the photo, [N]."""
    return torch.linalg.det(transforms[..., :2]).abs().sqrt()


def _complex(points: Tensor) -> Tensor:
    """[..., 2] -> [...], complex128."""
    return torch.view_as_complex(points.double().contiguous())
