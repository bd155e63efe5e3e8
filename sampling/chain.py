"""Several degradations one after another, as one operator."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from .kronecker import Product
from .operators import GaussianNoise, Operator
from .pointwise import Greying

APART = 0xD1B54A32D192ED03
"""Between the seeds of two parts: two noises of a chain are different ones."""


class Chain(Operator):
    """y = A_n(... A_2(A_1(x) + n_1) + n_2 ...) + n_n.

    Its noise is what the parts leave of it at the end. Noise that a blur then smears is no longer
    white; it counts as if it were.
    """

    def __init__(self, parts: Sequence[Operator]):
        """
        Args:
            parts: in the order in which they happened, at least one.

        Raises:
            ValueError: there is none, or one cannot stand where it does.
        """
        if not parts:
            raise ValueError("A chain of degradations needs at least one.")
        parts = [one for part in parts for one in getattr(part, "parts", [part])]
        if alone := [part.name for part in parts if part.alone]:
            raise ValueError(
                f"{alone[0]} is a whole test of a paper; chain Downscale, Noise and the like."
            )
        if sum(isinstance(part, Greying) for part in parts) > 1:
            raise ValueError("A photo loses its colour once; leave one of the two out.")
        self.parts = tuple(parts)
        self.factor = math.prod(part.factor for part in parts)
        self._bounds: dict[torch.Size, float] = {}
        """Of |A| by the pictures' shape, where A is not linear: every step asks for it."""
        self.name = ", ".join(part.name for part in parts)
        self.linear = all(part.linear for part in parts)
        self.mixes = any(part.mixes for part in parts)
        self.hides = any(part.hides for part in parts)
        others = [part for part in parts if not isinstance(part, GaussianNoise)]
        if all(part.kronecker for part in others) and others:
            self.kronecker = Product([part.kronecker for part in others])
        self._closed = others[0] if len(others) == 1 else self.kronecker
        """What the chain is without its noise, where that has closed forms."""

    def apply(self, x: Tensor) -> Tensor:
        return _through(self.parts, x)

    def measured(self, picture: Tensor) -> Tensor:
        for i, part in enumerate(self.parts):
            if not part.hides or self._stays(i):
                picture = part.measured(picture)
        return picture

    def seen(self, y: Tensor) -> Tensor:
        hiding = [part for i, part in enumerate(self.parts) if part.hides and self._stays(i)]
        return math.prod((part.seen(y) for part in hiding), start=super().seen(y))

    def _stays(self, i: int) -> bool:
        """Whether each pixel is still where part i left it: a blur carries what a mask hid into
        its surroundings."""
        return not any(later.mixes for later in self.parts[i + 1 :])

    def pictured(self, y: Tensor) -> Tensor:
        return reduce(lambda y, part: part.pictured(y), self.parts, y)

    def domain(self, shape: torch.Size) -> torch.Size:
        return reduce(lambda shape, part: part.domain(shape), reversed(self.parts), shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return reduce(lambda y, part: part.adjoint(y), reversed(self.parts), y)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        before, last = self._split()
        return last.residual(_through(before, x), y)

    def pull(self, x: Tensor, y: Tensor) -> Tensor:
        before, last = self._split()
        return last.pull(_through(before, x), y)

    def _split(self) -> tuple[Sequence[Operator], Operator]:
        """The last part that is not noise, and all before it."""
        before, last = self.parts[:-1], self.parts[-1]
        while before and isinstance(last, GaussianNoise):
            before, last = before[:-1], before[-1]
        return before, last

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        return self._closed.prox(z, y, weight) if self._closed else super().prox(z, y, weight)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self._closed.pseudo_inverse(y) if self._closed else super().pseudo_inverse(y)

    def norm(self, like: Tensor) -> float:
        if self._closed:
            return self._closed.norm(like)
        if self.linear:
            return super().norm(like)
        if like.shape not in self._bounds:
            bound, x = 1.0, like
            for part in self.parts:
                bound *= part.norm(x)
                x = part.apply(x)
            self._bounds[like.shape] = bound
        return self._bounds[like.shape]

    def draw(self, x: Tensor, seed: int) -> Tensor:
        for i, part in enumerate(self.parts):
            x = part.draw(x, seed + i * APART)
        return x

    @property
    def noise_gain(self) -> float:
        return math.prod(part.noise_gain for part in self.parts)

    @property
    def noise_std(self) -> float | None:
        """At the end; None where a part's is unknown."""
        variance = 0.0
        for part in self.parts:
            if part.noise_std is None:
                return None
            variance = variance * part.noise_gain**2 + part.noise_std**2
        return variance**0.5


def _through(parts: Sequence[Operator], x: Tensor) -> Tensor:
    return reduce(lambda x, part: part.apply(x), parts, x)
