"""Degradations that act on each pixel alone: a mask, lost colour, a clipped range."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from .metrics import LUMA
from .noise import HIDING, generator
from .operators import Operator

TOUCHED = 0.1
"""Mask values from which a pixel counts as lost: a soft brush's faint rim does not."""


@dataclass(frozen=True, eq=False)
class Masking(Operator):
    """y = keep * x + std * n with a known mask; what it hides tells nothing."""

    name: str
    keep: Tensor
    """1 where a pixel is kept, 0 where it is lost, nothing between; [B or 1, 1, H, W]."""
    noise_std: float = 0.0
    mixes: ClassVar[bool] = False
    hides: ClassVar[bool] = True

    def apply(self, x: Tensor) -> Tensor:
        return x * self.kept(x)

    def measured(self, picture: Tensor) -> Tensor:
        return self.apply(picture)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.apply(y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self.apply(y)

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        keep = self.kept(z)
        return (z + weight * keep * y) / (1 + weight * keep)

    def norm(self, like: Tensor) -> float:
        return self.keep.max().item()

    def seen(self, y: Tensor) -> Tensor:
        return self.kept(y)

    def kept(self, x: Tensor) -> Tensor:
        """The mask for pictures like x.

        Raises:
            ValueError: it is of another size or number.
        """
        (height, width), (tall, wide) = (tensor.shape[-2:] for tensor in (x, self.keep))
        if (height, width) != (tall, wide):
            raise ValueError(
                f"{self.name}: the mask is {wide} x {tall} and the picture {width} x {height}; "
                "give one of the picture's size."
            )
        if len(self.keep) not in (1, len(x)):
            raise ValueError(
                f"{self.name}: give one mask, or one a picture; got {len(self.keep)} for {len(x)}."
            )
        return self.keep.to(x, copy=True)  # autograd takes none that inference mode made


def masking(name: str, mask: Tensor) -> Masking:
    """From a mask [B or 1, 1, H, W] that is 1 where pixels are lost.

    Raises:
        ValueError: none is.
    """
    if not mask.isfinite().all():
        raise ValueError(f"{name} holds values that are not numbers (NaN or infinite).")
    if not (mask > TOUCHED).any():
        raise ValueError(f"{name}: nothing is painted; paint over what is lost.")
    return Masking(name, (mask <= TOUCHED).float())


@dataclass(frozen=True, eq=False)
class RandomMasking(Operator):
    """A share of all pixels lost in all channels; which ones, the seed and the size tell."""

    name: str
    share: float
    seed: int
    mixes: ClassVar[bool] = False
    hides: ClassVar[bool] = True

    def __post_init__(self):
        if not 0 <= self.share < 1:
            raise ValueError(f"The share of lost pixels must lie in [0, 1); got {self.share}.")

    def given(self, x: Tensor) -> Masking:
        """The mask of pictures like x; picture i draws from seed + i."""
        return Masking(self.name, _drawn(*x.shape[-2:], self.share, self.seed, len(x)))

    def apply(self, x: Tensor) -> Tensor:
        return self.given(x).apply(x)

    def measured(self, picture: Tensor) -> Tensor:
        return self.apply(picture)

    def seen(self, y: Tensor) -> Tensor:
        return self.given(y).kept(y)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.apply(y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self.apply(y)

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        return self.given(z).prox(z, y, weight)

    def norm(self, like: Tensor) -> float:
        return 1.0


@lru_cache(maxsize=4)
def _drawn(height: int, width: int, share: float, seed: int, count: int) -> Tensor:
    """[count, 1, H, W]; a solver asks for it at every step."""
    draws = (generator(seed, i, HIDING) for i in range(count))
    return torch.stack([kept_pixels(height, width, share, random) for random in draws])


def kept_pixels(height: int, width: int, share: float, random: torch.Generator) -> Tensor:
    """[1, H, W]: 0 at floor(share * H * W) pixels, else 1."""
    lost = torch.randperm(height * width, generator=random)[: int(share * height * width)]
    return torch.ones(height * width).index_fill(0, lost, 0.0).view(1, height, width)


WHITE = 1 - 0.5 / 255
"""From here on a pixel rounds to white."""
GREYS = {"luma": LUMA, "mean": (1 / 3, 1 / 3, 1 / 3)}
"""Name -> what of red, green and blue makes a grey."""


class Greying(Operator):
    """y = w . x over the channels, one channel."""

    mixes = False

    def __init__(self, name: str, weights: tuple[float, float, float] = LUMA):
        self.name = name
        self.weights = torch.tensor(weights, dtype=torch.float64)
        """[3], of red, green and blue, sum 1."""

    def apply(self, x: Tensor) -> Tensor:
        return (x * self._across(x)).sum(1, keepdim=True)

    def measured(self, picture: Tensor) -> Tensor:
        return self.apply(picture)

    def domain(self, shape: torch.Size) -> torch.Size:
        return torch.Size((shape[0], 3, *shape[-2:]))

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self._across(y)

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        return z - self.adjoint(weight * self.residual(z, y) / (1 + weight * self._power))

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self.adjoint(y) / self._power

    def norm(self, like: Tensor) -> float:
        return self._power**0.5

    @property
    def noise_gain(self) -> float:
        return self.norm(self.weights)

    @property
    def _power(self) -> float:
        return self.weights.square().sum().item()

    def _across(self, like: Tensor) -> Tensor:
        return self.weights.to(like, copy=True).view(1, 3, 1, 1)


class Clipping(Operator):
    """y = clip(gain * x, 0, 1): an exposure too long by `gain`.

    Where y is white or black, any x beyond fits.
    """

    linear = False
    mixes = False

    def __init__(self, name: str, gain: float):
        """
        Args:
            gain: above 0.
        """
        if not 0 < gain < float("inf"):
            raise ValueError(f"The gain of a clipped exposure must be above 0; got {gain}.")
        self.name, self.gain = name, gain
        self.noise_gain = gain

    def apply(self, x: Tensor) -> Tensor:
        """Its derivative takes clipping as none: else what lies beyond white could not return."""
        y = self.gain * x
        return y + (y.clamp(0, 1) - y).detach()

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        apart = self.gain * x - y
        apart = torch.where(y >= WHITE, apart.clamp(max=0), apart)
        return torch.where(y <= 1 - WHITE, apart.clamp(min=0), apart)

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        solved = (z + weight * self.gain * y) / (1 + weight * self.gain**2)
        return torch.where(self.residual(z, y) == 0, z, solved)

    def norm(self, like: Tensor) -> float:
        return self.gain
