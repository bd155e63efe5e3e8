"""The plane of distortion and perception: where the points of a sweep lie, and where theory's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .judging import distance, mean_of, paired
from .metrics import PATCH, gaussian_w2_squared, patch_w2, texture
from .trade_off import realisms_of

CURVE = 101
"""Points of the theoretical curve."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A sweep's points; distances in units of 1/255 per pixel."""

    realisms: list[float]
    rmse: Tensor
    """[P, B]: to the reference, or to the faithful pictures."""
    texture: Tensor
    """[P]: to the reference or natural pictures."""
    curve: Tensor | None
    """[N, 2], (rmse, texture) of theory between realism 0 and 1; None without these ends."""

    @property
    def distortion(self) -> list[float]:
        """One number a point: the root of the mean square over its pictures."""
        return [mean_of("rmse", of_point) for of_point in self.rmse]


def points_of(text: str, pictures: int) -> list[float]:
    """The realism of each point of a sweep of so many pictures, from its text.

    Raises:
        ValueError: fewer than two numbers, or the pictures are no whole number for each.
    """
    found = realisms_of(text)
    if len(found) < 2:
        raise ValueError(f"A plot needs two realisms at least; got {text!r:.80}.")
    if pictures % len(found):
        raise ValueError(
            f"{pictures} pictures cannot be shared out to {len(found)} realisms: wire both from "
            "the same Trade-Off Sweep."
        )
    return found


def plane(
    points: Tensor, realisms: list[float], reference: Tensor | None, natural: Tensor | None
) -> Plane:
    """Measure a sweep.

    Args:
        points: [P * B, 3, H, W] in [0, 1], the B pictures of one point after those of another.
        realisms: P numbers.
        reference: [1 or B, 3, H, W], the truth; without it, distortion is the distance to the
            point of realism 0, or the first.
        natural: [M, 3, h, w], photos whose texture counts as natural; without it, that of the
            reference.

    Raises:
        ValueError: neither is given, or sizes differ.
    """
    if reference is None and natural is None:
        raise ValueError("Wire a reference, or natural photos to compare the texture with.")
    for pictures in (points, natural):
        if pictures is not None and min(pictures.shape[-2:]) < PATCH:
            raise ValueError(
                f"Texture is measured in patches of {PATCH} px: each side must be that long; got "
                f"{pictures.shape[-1]} x {pictures.shape[-2]}."
            )
    sweep = points.unflatten(0, (len(realisms), -1))
    faithful = sweep[realisms.index(0.0) if 0.0 in realisms else 0]
    truth = faithful if reference is None else reference
    truth = paired(faithful, truth, ("The sweep's pictures", "The reference"))
    rmse = torch.stack([distance(point, truth) for point in sweep])
    if natural is None:
        distances = torch.stack([mean_texture_distance(point, truth) for point in sweep])
    else:
        moments = pooled_texture(natural)
        distances = torch.stack([texture_distance(pooled_texture(p), moments) for p in sweep])
    ends = [realisms.index(end) for end in (0.0, 1.0) if end in realisms]
    measured = Plane(realisms, rmse, distances, None)
    whole = len(ends) == 2
    return Plane(realisms, rmse, distances, _curve(measured, *ends) if whole else None)


def mean_texture_distance(pictures: Tensor, truth: Tensor) -> Tensor:
    """The average over pairs of pictures, a number."""
    pairs = zip(pictures.split(1), truth.split(1), strict=True)
    return torch.cat([patch_w2(*pair) for pair in pairs]).mean()


def pooled_texture(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [64] and covariance [64, 64] of the patches of pictures that count alike."""
    means, covariances = map(torch.stack, zip(*map(texture, pictures.split(1)), strict=True))
    mean = means.mean(0)
    between = (means - mean).T @ (means - mean) / len(means)
    return mean, covariances.mean(0) + between


def texture_distance(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """As `metrics.patch_w2`, of moments."""
    return 255 * (gaussian_w2_squared(*one, *other) / PATCH**2).sqrt()


def _curve(measured: Plane, faithful: int, lifelike: int) -> Tensor | None:
    """D(P) = D* + (P* - P)^2 (Freirich, Michaeli and Meir 2021), scaled to the measured ends.

    Along it P falls evenly and the mean squared error grows with the square of the realism. None
    if the ends are none of a trade-off: no error more, or no distance less.
    """
    a = torch.linspace(0, 1, CURVE, dtype=torch.float64)
    least, most = (measured.distortion[end] ** 2 for end in (faithful, lifelike))
    rough, fine = (measured.texture[end].item() for end in (faithful, lifelike))
    if least > most or fine >= rough:
        return None
    return torch.stack([(least + a**2 * (most - least)).sqrt(), rough + a * (fine - rough)], 1)
