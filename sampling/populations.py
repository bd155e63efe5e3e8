"""How far two sets of pictures lie apart as sets: Frechet and kernel distances of features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .metrics import gaussian_w2_squared
from .statistics import Statistics

KEPT = 5000
"""Feature vectors of a set that are held, 40 MB of Inception's: beyond, a sample of them."""
BLOCK = 1024


class Population:
    """A set of feature vectors, met batch by batch.

    Args:
        size: of a vector.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.statistics = Statistics.none(size, 1)
        self._kept: list[Tensor] = []
        self._random = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return self.statistics.count

    @property
    def kept(self) -> Tensor:
        """[n, size], at most `KEPT` vectors."""
        return torch.stack(self._kept) if self._kept else torch.empty(0, self.size)

    def add(self, features: Tensor) -> None:
        """Take in [n, size]; each vector met so far is among those kept with equal probability."""
        features = features.detach().float().cpu()
        for number, vector in enumerate(features, len(self)):
            place = int(torch.randint(number + 1, (), generator=self._random))
            if number < KEPT:
                self._kept.append(vector.clone())
            elif place < KEPT:
                self._kept[place] = vector.clone()
        self.statistics = self.statistics + Statistics.of_vectors(features.T)


def frechet(a: Population, b: Population) -> float:
    """FID if the features are Inception's (Heusel et al. 2017): W2^2 of fitted Gaussians.

    Its expectation falls with the number of pictures: below some 2,000 it is mostly bias.
    """
    moments = [(p.statistics.mean, p.statistics.covariance) for p in (a, b)]
    return gaussian_w2_squared(*moments[0], *moments[1]).item()


def kernel_distance(a: Population, b: Population) -> float:
    """KID if the features are Inception's (Binkowski et al. 2018): unbiased squared MMD.

    The kernel is (x y / size + 1)^3. All pairs at once, where the paper averages over subsets:
    the same expectation, and no choice of subsets. It may be negative for equal sets.

    Raises:
        ValueError: fewer than two vectors in a set.
    """
    if min(len(a.kept), len(b.kept)) < 2:
        raise ValueError(f"Each set needs at least 2 pictures; got {len(a)} and {len(b)}.")
    x, y = a.kept.double(), b.kept.double()
    within = [(_kernel_sum(z, z) - _kernel(z, z, True)) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return (sum(within) - 2 * _kernel_sum(x, y) / (len(x) * len(y))).item()


def _kernel(x: Tensor, y: Tensor, diagonal: bool = False) -> Tensor:
    products = (x * y).sum(1) if diagonal else x @ y.T
    return (products / x.shape[1] + 1).pow(3).sum()


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    return sum(_kernel(rows, y) for rows in x.split(BLOCK))


def levels(picture: Tensor, side: int) -> Tensor:
    """[1, 3, H, W] in [0, 1] as bytes of side x side pixels, smoothed before it is shrunk.

    Bicubic with antialiasing: without it, what FID measures is the resizer (Parmar et al. 2022).
    """
    small = F.interpolate(picture, (side, side), mode="bicubic", antialias=True)
    return (small * 255).round().clamp(0, 255).byte()
