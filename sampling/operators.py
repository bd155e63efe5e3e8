"""Degradations as operators: what happened to a photograph, and how to simulate it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .degradations import PMRF_DEGRADATIONS
from .noise import DEGRADING, gaussian


@runtime_checkable
class Degradation(Protocol):
    """How a clean picture becomes the one at hand.

    A linear one may also give `apply(x)` (the operator A without its noise), `adjoint(y)` and
    `prox(z, y, weight)`.
    """

    name: str
    linear: bool
    noise_std: float | None
    """Std of the Gaussian noise that it adds, on pictures in [0, 1]; None where no one std is."""

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        """A degraded [B, 3, H, W] in [0, 1] of a clean one; picture i draws from seed + i."""
        ...


@dataclass(frozen=True)
class GaussianNoise:
    """y = clip(x + std * n), optionally rounded to the 256 levels of a file."""

    name: str
    noise_std: float
    eight_bit: bool = False
    linear: bool = True

    def apply(self, x: Tensor) -> Tensor:
        """A = identity."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """A's adjoint, the identity."""
        return y

    def prox(self, z: Tensor, y: Tensor, weight: float) -> Tensor:
        """argmin over x of |x - y|^2 * weight + |x - z|^2."""
        return (z + weight * y) / (1 + weight)

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        noise = gaussian(x.shape[1:], seed, range(len(x)), DEGRADING).to(x.device)
        y = (x + self.noise_std * noise).clamp(0, 1)
        return torch.round(y * 255) / 255 if self.eight_bit else y


def preset(name: str) -> Degradation:
    """The preset of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"There is no degradation {name}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


PRESETS: dict[str, Degradation] = {
    "Noise 25/255 (demo)": GaussianNoise("Gaussian noise 25/255", 25 / 255, eight_bit=True),
    "Noise 0.35 (PMRF denoising)": GaussianNoise("Gaussian noise 0.35", 0.35),
    **PMRF_DEGRADATIONS,
}
