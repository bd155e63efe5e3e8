"""Shrinking by a whole factor with a known filter, as an operator."""

from collections.abc import Callable

import torch
from torch import Tensor

from .kronecker import Kronecker


def box(x: Tensor) -> Tensor:
    """The mean of the pixels that fall into one."""
    return ((x >= -0.5) & (x < 0.5)).to(x)


def bicubic(x: Tensor) -> Tensor:
    """Keys 1981 with a = -1/2."""
    x = x.abs()
    inner, outer = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))


def lanczos(x: Tensor) -> Tensor:
    """Three lobes of the windowed sinc."""
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {
    "bicubic": bicubic,
    "lanczos": lanczos,
    "box": box,
}
"""Of the distance in pixels of the small picture."""


class Downscale(Kronecker):
    """The filter widened by the factor and cut off at the border, as Pillow has it."""

    def __init__(self, name: str, factor: int, method: str = "bicubic"):
        """
        Args:
            factor: 2 ... 16.
            method: a name in FILTERS.

        Raises:
            ValueError: another factor or method.
        """
        if factor not in range(2, 17):
            raise ValueError(f"The factor must lie in 2..16; got {factor}.")
        if method not in FILTERS:
            raise ValueError(f"The method must be one of {', '.join(FILTERS)}; got {method}.")
        super().__init__(name)
        self.factor, self.method = factor, method
        self.kronecker = self

    def rows(self, length: int, axis: int) -> Tensor:
        if length % self.factor:
            raise ValueError(
                f"{self.name} shrinks pictures whose sides are multiples of {self.factor}; got a "
                f"side of {length} pixels."
            )
        small = torch.arange(length // self.factor, dtype=torch.float64)[:, None]
        large = torch.arange(length, dtype=torch.float64)[None]
        distance = (large + 0.5) / self.factor - (small + 0.5)
        weights = FILTERS[self.method](distance)
        return weights / weights.sum(1, keepdim=True)

    @property
    def noise_gain(self) -> float:
        inside = self.rows(8 * self.factor, -1)[4]  # no border near
        return inside.square().sum().item()
