"""Operators that treat rows and columns alike and apart: y = R_h x R_w^T.

A A^T is then a Kronecker product, so the proximal step has a closed form in the eigenvectors of its
two factors.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from .operators import Operator

T = TypeVar("T")

AXES = (-2, -1)
SIZES = 4
"""Axes whose matrices are kept."""


class Kronecker(Operator):
    """Gives `rows`; the rest follows."""

    def __init__(self, name: str):
        self.name = name
        self._factor = lru_cache(maxsize=SIZES)(self._factor)
        self._spectrum = lru_cache(maxsize=SIZES)(self._spectrum)

    @abstractmethod
    def rows(self, length: int, axis: int) -> Tensor:
        """[length / factor, length]: what each position of the result is made of, float64.

        Args:
            length: of the clean picture's axis.
            axis: -2, from top to bottom, or -1, from left to right.
        """

    def apply(self, x: Tensor) -> Tensor:
        tall, wide = self._both(self._factor, x, x.shape)
        return tall @ x @ wide.mT

    def adjoint(self, y: Tensor) -> Tensor:
        tall, wide = self._both(self._factor, y, self.domain(y.shape))
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
        tall, wide = (powers.amax() for powers, _ in self._both(self._spectrum, like, like.shape))
        return (tall * wide).sqrt().item()

    def _inverted(self, y: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of A A^T, applied to y."""
        both = self._both(self._spectrum, y, self.domain(y.shape))
        (tall, rows), (wide, columns) = both
        changed = function(tall[:, None] * wide) * (rows.mT @ y @ columns)
        return rows @ changed @ columns.mT

    def _both(self, made: Callable[..., T], like: Tensor, shape: torch.Size) -> list[T]:
        """Something of each axis, for clean pictures of this shape."""
        return [made(shape[axis], axis, like.dtype, like.device) for axis in AXES]

    @torch.inference_mode(False)  # autograd takes none that inference mode made
    def _factor(self, length: int, axis: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """R_h or R_w."""
        return self.rows(length, axis).to(device, dtype)

    @torch.inference_mode(False)
    def _spectrum(
        self, length: int, axis: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Eigenvalues, not below rounding, and eigenvectors of R R^T."""
        rows = self.rows(length, axis)
        values, vectors = torch.linalg.eigh(rows @ rows.mT)
        values = values.clamp(min=values.max() * math.ulp(1.0))
        return values.to(device, dtype), vectors.to(device, dtype)


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
