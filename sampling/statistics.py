"""Mean and covariance of patches, gathered picture by picture in float64 on the CPU."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP_BYTES = 64 * 2**20
"""What the patches of a strip of rows may take."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of p x p patches of pictures or latents, all channels in one vector of D = C * p * p."""

    patch: int
    channels: int
    photos: int
    count: int
    """Patches."""
    mean: Tensor
    """[D]: channel slowest, then row, then column."""
    scatter: Tensor
    """[D, D], the sum of (v - mean)(v - mean)^T over patches v; sums without the mean would lose
    the digits of a flat photo."""

    @classmethod
    def none(cls, channels: int, patch: int) -> "Statistics":
        """Of no picture yet."""
        size = channels * patch**2
        empty = torch.zeros(size, size + 1, dtype=torch.float64)
        return cls(patch, channels, 0, 0, empty[:, 0], empty[:, 1:])

    @classmethod
    def of(cls, x: Tensor, patch: int, *, padded: bool = False) -> "Statistics":
        """Of every patch of [B, C, H, W].

        Args:
            padded: repeat the border, so that each position is the middle of a patch; without,
                only patches that lie wholly inside count.

        Raises:
            ValueError: the pictures are smaller than a patch.
        """
        height, width = x.shape[-2:]
        if min(height, width) < patch and not padded:
            raise ValueError(
                f"Patches of {patch} x {patch} need pictures of that size at least; got "
                f"{height} x {width}. Take larger pictures or smaller patches."
            )
        total = cls.none(x.shape[1], patch)
        for picture in x:
            for vectors in _patches(picture, patch, padded):
                total = total + cls.of_vectors(vectors, patch)
            total = replace(total, photos=total.photos + 1)
        return total

    @classmethod
    def of_vectors(cls, vectors: Tensor, patch: int = 1) -> "Statistics":
        """Of vectors [D, N], of no photo."""
        vectors, channels = vectors.double(), len(vectors) // patch**2
        mean = vectors.mean(1)
        away = vectors - mean[:, None]
        return cls(patch, channels, 0, vectors.shape[1], mean, away @ away.mT)

    def __add__(self, other: "Statistics") -> "Statistics":
        """Of both together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        share = other.count / count
        return Statistics(
            self.patch,
            self.channels,
            self.photos + other.photos,
            count,
            self.mean + share * apart,
            self.scatter + other.scatter + self.count * share * torch.outer(apart, apart),
        )

    @property
    def covariance(self) -> Tensor:
        """[D, D], unbiased."""
        return self.scatter / max(self.count - 1, 1)


def strips(height: int, bytes_a_row: int) -> Iterator[tuple[int, int]]:
    """First and last row + 1 of pieces that fit into memory."""
    rows = max(STRIP_BYTES // bytes_a_row, 1)
    return ((first, min(first + rows, height)) for first in range(0, height, rows))


def patches(picture: Tensor, first: int, last: int, patch: int) -> Tensor:
    """The vectors [D, (last - first) * W] of patches around each position of some rows.

    Args:
        picture: [C, H, W], its border repeated where patches reach beyond.
        first, last: the rows, from `first` to before `last`.
        patch: side, odd.
    """
    height, width = picture.shape[-2:]
    reach = patch // 2
    rows = torch.arange(first - reach, last + reach).clamp(0, height - 1)
    columns = torch.arange(-reach, width + reach).clamp(0, width - 1)
    crop = picture[:, rows.to(picture.device)][..., columns.to(picture.device)]
    return F.unfold(crop.cpu().double()[None], patch)[0]


def _patches(picture: Tensor, patch: int, padded: bool) -> Iterator[Tensor]:
    """All vectors of a picture, strip by strip."""
    channels, height, width = picture.shape
    reach = 0 if padded else patch // 2
    inside = slice(reach, width - reach)
    for first, last in strips(height - 2 * reach, 8 * channels * patch**2 * width):
        vectors = patches(picture, first + reach, last + reach, patch)
        yield vectors.unflatten(1, (last - first, width))[..., inside].flatten(1)
