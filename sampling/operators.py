"""Degradations as operators: what happened to a photograph, how to simulate it and how to undo it.

A measurement y = A(x) + std * n is [B, C, h, w] as the operator makes it: smaller than the picture
where that was scaled down, of one channel where colour was lost.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .noise import DEGRADING, gaussian
from .tiling import pad_to

ROUNDING = 1 / 255 / 12**0.5
"""Std of the error of rounding to 8 bits: less noise than that no photo has."""
POWER_ITERATIONS = 30
SMALLEST = 1e-20
"""A length below which a picture is none."""
MOST_ITERATIONS = 40
"""Of conjugate gradients in a proximal step: the next pass corrects what is left."""
PATIENT_ITERATIONS = 500
"""Of conjugate gradients in a pseudo-inverse."""
TOLERANCE = 1e-6
"""Of conjugate gradients: the residual's norm beside the right side's."""
DESCENTS = 20
"""Accelerated gradient steps that stand for the proximal step of an operator that is not linear."""
FEWEST = 16
"""Coefficients from which noise can be estimated."""
MEDIAN_OF_NORMAL = 0.6744897501960817
"""The median of |n|."""


@runtime_checkable
class Degradation(Protocol):
    """How a clean picture becomes the one at hand."""

    name: str
    linear: bool
    noise_std: float | None
    """Std of the Gaussian noise that it adds, on pictures in [0, 1]; None where no one std is."""

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        """A degraded [B, 3, H, W] in [0, 1] of a clean one; picture i draws from seed + i."""
        ...


class Operator(ABC):
    """A degradation that is known exactly, so that it can be undone.

    Who is linear gives `apply` and, where it knows better than autograd and conjugate gradients,
    `adjoint`, `prox`, `pseudo_inverse`. Others give `residual` and `norm`, too: half the squared
    norm of the residual is the misfit.
    """

    name: str
    linear: bool = True
    noise_std: float | None = 0.0
    """None: unknown, to be estimated in the photo."""
    mixes: bool = True
    """Whether neighbouring pixels enter into one."""
    hides: bool = False
    """Whether it leaves pixels that tell nothing."""
    noise_gain: float = 1.0
    """What it makes of the std of white noise that was there before."""
    alone: bool = False
    """Whether it cannot be a part of a chain."""
    factor: int = 1
    """How many pixels of an axis of the clean picture become one of the degraded."""
    kronecker: "Operator | None" = None
    """Itself as a product of rows and columns, where it is one."""

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """A(x) without noise and without clipping: [B, C, H, W] -> [B, C', h, w]."""

    def measured(self, picture: Tensor) -> Tensor:
        """The measurement that a degraded picture [B, 3, h, w] holds."""
        return picture

    def pictured(self, y: Tensor) -> Tensor:
        """A measurement as a picture [B, 3, h, w]."""
        return y.expand(-1, 3, -1, -1)

    def domain(self, shape: torch.Size) -> torch.Size:
        """The shape of the clean picture that belongs to a measurement of this one."""
        return shape

    def extended(self, x: Tensor) -> Tensor:
        """A clean picture of any size, as A takes it: reflected at the bottom and right."""
        return pad_to(x, self.factor)

    def trimmed(self, x: Tensor, picture: Tensor) -> Tensor:
        """Of such a picture what belongs to a degraded one."""
        height, width = (side * self.factor for side in picture.shape[-2:])
        return x[..., :height, :width]

    def seen(self, y: Tensor) -> Tensor:
        """1 where a measurement like y tells anything, else 0; of y's shape or one that grows to
        it."""
        return y.new_ones(1, 1, 1, 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """A's exact transpose."""
        return pulled_back(self.apply, y.new_zeros(self.domain(y.shape)), y)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """What x leaves of y to explain; nothing for a perfect fit."""
        return self.apply(x) - y

    def pull(self, x: Tensor, y: Tensor) -> Tensor:
        """What draws x towards y: the residual, or more where one that is nothing is not enough."""
        return self.residual(x, y)

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Of half the squared norm of the pull, in x."""
        if self.linear:
            return self.adjoint(self.pull(x, y))
        return pulled_back(lambda x: self.pull(x, y), x, None)

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        """argmin over x of weight * |pull(x, y)|^2 + |x - z|^2.

        Args:
            weight: one number, or one a picture [B, 1, 1, 1].
        """
        if self.linear:
            return z - conjugate_gradients(
                lambda x: x + weight * self.adjoint(self.apply(x)), weight * self.gradient(z, y)
            )
        return self._descended(z, y, weight)

    def _descended(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        """Nesterov's accelerated descent; a pixel whose momentum would climb begins anew (after
        O'Donoghue, Candes 2015), so that none runs far past what already fits."""
        step = 1 / (1 + weight * self.norm(z) ** 2)
        x, ahead, age = z, z, torch.zeros_like(z)
        for _ in range(DESCENTS):
            slope = weight * self.gradient(ahead, y) + (ahead - z)
            before, x = x, ahead - step * slope
            age = torch.where(slope * (x - before) > 0, 0, age + 1)
            ahead = x + age / (age + 3) * (x - before)
        return x

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """The smallest x of least residual, A^+ y, for a linear A."""
        return conjugate_gradients(
            lambda x: self.adjoint(self.apply(x)), self.adjoint(y), most=PATIENT_ITERATIONS
        )

    def norm(self, like: Tensor) -> float:
        """The largest factor by which A lengthens a picture of this shape: |A|."""
        return power_iteration(self.apply, self.adjoint, like)

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        """A degraded picture [B, 3, h, w] in [0, 1] of a clean one; picture i draws from seed + i.

        Raises:
            ValueError: the noise's std is unknown.
        """
        return self.pictured(self.draw(self.extended(x), seed)).clamp(0, 1)

    def draw(self, x: Tensor, seed: int) -> Tensor:
        """A measurement of x with its noise; picture i draws from seed + i."""
        if self.noise_std is None:
            raise ValueError(
                f"{self.name} has no known strength: it can be estimated in a photo, but not "
                "added to one; give its level."
            )
        y = self.apply(x)
        return y + self.noise_std * noise_like(y, seed) if self.noise_std else y


def unexplained(operator: Operator, x: Tensor, y: Tensor) -> Tensor:
    """rms of the residual over all that y tells, [B], float64 on the CPU."""
    squares = operator.residual(x, y).detach().cpu().double().square().mean((1, 2, 3))
    told = operator.seen(y).expand_as(y).cpu().double().mean((1, 2, 3))
    return (squares / told.clamp(min=1 / y[0].numel())).sqrt()


def pulled_back(function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor | None) -> Tensor:
    """y times the derivative of the function at x; y None takes the function's own value."""
    # ComfyUI runs nodes in inference mode, in which nothing can be differentiated.
    with torch.inference_mode(False), torch.enable_grad():
        x = x.clone().requires_grad_(True)
        value = function(x)
        return torch.autograd.grad(value, x, value.detach() if y is None else y.clone())[0]


def noise_like(y: Tensor, seed: int, stream: int = DEGRADING) -> Tensor:
    """Standard normal noise of y's shape; picture i draws from seed + i."""
    return gaussian(y.shape[1:], seed, range(len(y)), stream).to(y)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """The product of each two pictures, [B, 1, 1, 1]."""
    return (a * b).sum((1, 2, 3), keepdim=True)


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor],
    right: Tensor,
    most: int = MOST_ITERATIONS,
) -> Tensor:
    """x with matrix(x) = right, the matrix symmetric and positive (Hestenes, Stiefel 1952).

    Starts at zero, so it finds the smallest solution where there are several. Each picture of the
    batch is a system of its own: none waits for or changes another.
    """
    x, rest, direction = torch.zeros_like(right), right, right
    power = inner(rest, rest)
    enough = TOLERANCE**2 * power
    for _ in range(most):
        going = power > enough
        if not going.any():
            break
        image = matrix(direction)
        length = torch.where(going, power / inner(direction, image), 0.0)
        x, rest = x + length * direction, rest - length * image
        power, before = inner(rest, rest), power
        direction = rest + torch.where(going, power / before, 0.0) * direction
    return x


def power_iteration(
    apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], like: Tensor
) -> float:
    """The norm of a linear map of pictures like these, to about a percent; the largest of all."""
    x = noise_like(like, 0)
    for _ in range(POWER_ITERATIONS):
        x = adjoint(apply(x / inner(x, x).sqrt().clamp(min=SMALLEST)))
    return inner(x, x).max().item() ** 0.25


def estimated_noise(picture: Tensor, seen: Tensor | None = None) -> Tensor:
    """Std of the Gaussian noise in each picture [B, C, H, W] in [0, 1], [B].

    The median of the finest diagonal Haar coefficients by that of |n| (Donoho, Johnstone 1994):
    edges are few among them. Texture, and the blocks of an enlarged photo, mislead it. Pixels at
    the ends of the range, whose noise is cut off, do not count.

    Args:
        seen: 1 where pixels count, of a shape that grows to the picture's; None: everywhere.

    Raises:
        ValueError: too few pixels count.
    """
    counts = (picture != 0) & (picture != 1)
    if seen is not None:
        counts = counts & (seen > 0)
    height, width = (side // 2 * 2 for side in picture.shape[-2:])

    def corners(x: Tensor) -> list[Tensor]:
        """Of each block of 2 x 2 pixels."""
        x = x[..., :height, :width]
        return [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]

    a, b, c, d = corners(picture)
    details = (a - b - c + d) / 2
    whole = torch.stack(corners(counts)).all(0)
    found = []
    for one, usable in zip(details, whole, strict=True):
        if usable.sum() < FEWEST:
            raise ValueError(
                "Too few pixels of the photo tell its noise, the others are lost, black or white; "
                "give its level."
            )
        found.append(one[usable].abs().median() / MEDIAN_OF_NORMAL)
    return torch.stack(found)


class GaussianNoise(Operator):
    """y = clip(x + std * n), optionally rounded to the 256 levels of a file."""

    mixes = False

    def __init__(self, name: str, noise_std: float | None, eight_bit: bool = False):
        """
        Args:
            noise_std: at least 0; None: unknown.

        Raises:
            ValueError: a negative one.
        """
        if noise_std is not None and not 0 <= noise_std < float("inf"):
            raise ValueError(
                f"The level of noise must be at least 0 of 255; got {255 * noise_std:g}."
            )
        self.name, self.noise_std, self.eight_bit = name, noise_std, eight_bit

    def apply(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return y

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        return (z + weight * y) / (1 + weight)

    def norm(self, like: Tensor) -> float:
        return 1.0

    def draw(self, x: Tensor, seed: int) -> Tensor:
        y = super().draw(x, seed)
        return torch.round(y.clamp(0, 1) * 255) / 255 if self.eight_bit else y
