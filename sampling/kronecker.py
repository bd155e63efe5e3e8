"""Operators that treat rows and columns alike and apart: y = R_h x R_w^T.

A A^T is then a Kronecker product, so the proximal step has a closed form in the eigenvectors of its
two factors.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from .operators import Operator

AXES = (-2, -1)
SIZES = 4
"""Axes whose matrices are kept."""


class Kronecker(Operator):
    """Gives `rows`; the rest follows."""

    def __init__(self, name: str):
        self.name = name
        self._rows = lru_cache(maxsize=SIZES)(self.rows)
        self._spectrum = lru_cache(maxsize=SIZES)(self._spectrum)

    @abstractmethod
    def rows(self, length: int, axis: int) -> Tensor:
        """[length / factor, length]: what each position of the result is made of, float64.

        Args:
            length: of the clean picture's axis.
            axis: -2, from top to bottom, or -1, from left to right.
        """

    def apply(self, x: Tensor) -> Tensor:
        tall, wide = self._factors(x, x.shape)
        return tall @ x @ wide.mT

    def adjoint(self, y: Tensor) -> Tensor:
        tall, wide = self._factors(y, self.domain(y.shape))
        return tall.mT @ y @ wide

    def domain(self, shape: torch.Size) -> torch.Size:
        height, width = shape[-2:]
        return torch.Size((*shape[:2], height * self.factor, width * self.factor))

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        # (I + w A^T A)^-1 w A^T = A^T (I + w A A^T)^-1 w
        solved = self._inverted(self.residual(z, y), lambda power: weight / (1 + weight * power))
        return z - self.adjoint(solved)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self.adjoint(self._inverted(y, lambda power: 1 / power))

    def norm(self, like: Tensor) -> float:
        tall, wide = (self._spectrum(like.shape[axis], axis)[0].amax() for axis in AXES)
        return (tall * wide).sqrt().item()

    def _inverted(self, y: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of A A^T, applied to y."""
        shape = self.domain(y.shape)
        (tall, rows), (wide, columns) = (self._spectrum(shape[axis], axis) for axis in AXES)
        rows, columns, power = (x.to(y) for x in (rows, columns, tall[:, None] * wide))
        return rows @ (function(power) * (rows.mT @ y @ columns)) @ columns.mT

    def _factors(self, like: Tensor, shape: torch.Size) -> list[Tensor]:
        """R_h and R_w for clean pictures of this shape."""
        # Copied: autograd takes no tensor that inference mode made.
        return [self._rows(shape[axis], axis).to(like, copy=True) for axis in AXES]

    def _spectrum(self, length: int, axis: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues, not below rounding, and eigenvectors of R R^T, float64."""
        rows = self._rows(length, axis)
        values, vectors = torch.linalg.eigh(rows @ rows.mT)
        return values.clamp(min=values.max() * math.ulp(1.0)), vectors


class Product(Kronecker):
    """Several of them, one after another."""

    def __init__(self, parts: list[Kronecker]):
        super().__init__(", ".join(part.name for part in parts))
        self.parts = parts
        self.factor = math.prod(part.factor for part in parts)

    def rows(self, length: int, axis: int) -> Tensor:
        product = torch.eye(length, dtype=torch.float64)
        for part in self.parts:
            product = part.rows(len(product), axis) @ product
        return product
