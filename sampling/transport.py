"""Deep Optimal Transport: restored photos moved onto the statistics of natural ones.

Adrai, Ohayon, Elad and Michaeli 2023 (arXiv 2306.02342). The patches of restored and of natural
latents (or pixels) are taken for Gaussian; the optimal transport between two Gaussians is linear:
v -> T (v - m_s) + m_t. Overlapping patches are moved and averaged. A dozen unpaired photos fit it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.contracts import Domain
from .statistics import Statistics, patches, strips

PATCHES = (1, 3, 5, 7)
LARGEST = 400
"""Numbers a patch: beyond, a dozen photos do not tell their covariance."""
ENOUGH = 10
"""Patches a dimension that a covariance should be told by."""
FLAT = 1e-10
"""Variance below which photos hold nothing to fit."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Transport:
    """What was fitted, and how it is applied."""

    name: str
    """What a person reads."""
    domain: Domain
    """Of the pictures or latents that it was fitted on."""
    source: Statistics
    """Of restored photos."""
    target: Statistics
    """Of natural photos, not necessarily of the same scenes."""
    shrinkage: float = 0.0
    """In [0, 1]: how far both covariances are drawn towards equal variance in every direction."""
    max_gain: float = math.inf
    """The most by which any direction is amplified."""
    keep_mean: bool = False
    """Whether the mean stays the restored photos'; a few other scenes differ in it by chance."""

    @cached_property
    def matrix(self) -> Tensor:
        """T [D, D], symmetric and positive; float64.

        Raises:
            ValueError: the photos are flat, or too few for no shrinkage.
        """
        both = [
            _shrunk(statistics, self.shrinkage, what)
            for statistics, what in ((self.source, "restored"), (self.target, "natural"))
        ]
        moved = optimal_map(*both)
        if math.isinf(self.max_gain):
            return moved
        values, vectors = torch.linalg.eigh(moved)
        return (vectors * values.clamp(max=self.max_gain)) @ vectors.mT

    def zero_shot(self, x: Tensor) -> "Transport":
        """The same with the statistics of these very pictures [B, C, H, W] for the restored ones'.

        One picture tells less than a dozen, and its own content is taken for a fault.
        """
        return replace(self, source=Statistics.of(x, self.source.patch, padded=True))

    def apply(self, x: Tensor, *, fold: Tensor | None = None) -> Tensor:
        """Restored pictures or latents [B, C, H, W], moved; same shape, dtype and device.

        Every position's patch is moved, and each value is the weighted average of all patches that
        hold it. Computed in strips of rows that pass on what reaches beyond them: nothing differs.

        Args:
            fold: [p, p], how much each place in a patch counts (`window`); None: all alike.
        """
        fold = window(self.source.patch) if fold is None else fold
        result = torch.empty_like(x)
        for picture, moved in zip(x, result, strict=True):
            for first, rows in self._strips(picture, fold):
                top, bottom = max(first, 0), min(first + rows.shape[1], len(picture[0]))
                if top < bottom:
                    moved[:, top:bottom] = rows[:, top - first : bottom - first]
        return result

    def _strips(self, picture: Tensor, fold: Tensor) -> Iterator[tuple[int, Tensor]]:
        """A picture [C, H, W] moved: strips of rows and the first row of each, float64.

        The rows that patches of the next strip reach into are carried over to it. Begins above the
        picture and ends below it, where patches reach beyond.
        """
        channels, height, width = picture.shape
        patch = self.source.patch
        reach, weights = patch // 2, fold.flatten()
        mean = self.source.mean if self.keep_mean else self.target.mean
        offset = (mean - self.matrix @ self.source.mean)[:, None]
        carried = torch.zeros(channels + 1, 2 * reach, width + 2 * reach, dtype=torch.float64)
        for first, last in strips(height, 3 * 8 * channels * patch**2 * width):
            vectors = torch.addmm(offset, self.matrix, patches(picture, first, last, patch))
            vectors = vectors.unflatten(0, (channels, patch**2)) * weights[:, None]
            weight = weights[None, :, None].expand(1, -1, vectors.shape[2])
            both = torch.cat([vectors, weight]).flatten(0, 1)
            size = (last - first + 2 * reach, width + 2 * reach)
            total = F.fold(both[None], size, patch)[0]
            total[:, : 2 * reach] += carried
            rows = last - first if last < height else size[0]
            yield first - reach, _averaged(total[:, :rows], reach, width)
            carried = total[:, rows:]


def _averaged(total: Tensor, reach: int, width: int) -> Tensor:
    """Weighted sums and, last, the sum of the weights: the averages inside the picture's width."""
    inside = total[..., reach : reach + width]
    return inside[:-1] / inside[-1:]


def fitted(transport: Transport) -> Transport:
    """The transport, if it can be applied.

    Raises:
        ValueError: a setting out of range, patches too large, photos missing or flat.
    """
    source, target = transport.source, transport.target
    check_patch(source.patch, source.channels)
    if not source.count or not target.count:
        missing = "natural" if source.count else "restored"
        raise ValueError(f"There are no {missing} photos to fit on: wire some, or name a folder.")
    if not 0 <= transport.shrinkage <= 1:
        raise ValueError(f"shrinkage must lie in 0 ... 1; got {transport.shrinkage}.")
    if not transport.max_gain > 0:
        raise ValueError(f"max_gain must be above 0; got {transport.max_gain}.")
    if not transport.matrix.isfinite().all():
        raise ValueError("The photos hold values that are not numbers (NaN or infinite).")
    return transport


def check_patch(patch: int, channels: int) -> None:
    """Say if patches of that side cannot be told by a few photos."""
    if patch not in PATCHES:
        raise ValueError(f"patch must be one of {', '.join(map(str, PATCHES))}; got {patch}.")
    if channels * patch**2 > LARGEST:
        fitting = [side for side in PATCHES if channels * side**2 <= LARGEST]
        raise ValueError(
            f"Patches of {patch} x {patch} in {channels} channels are {channels * patch**2} "
            "numbers, too many for a few photos to tell; "
            + (f"choose {fitting[-1]}." if fitting else "take a VAE of fewer channels.")
        )


def scarcity(statistics: Statistics) -> str:
    """A warning if there are too few patches for their size, else nothing."""
    wanted = ENOUGH * len(statistics.mean)
    if statistics.count >= wanted:
        return ""
    return (
        f"Only {statistics.count} patches of {len(statistics.mean)} numbers; {wanted} tell their "
        "covariance well. Take more or larger photos, or smaller patches."
    )


def optimal_map(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric positive T with T source T = target, for covariances [D, D], float64.

    Through source = L L', target = B B' and B' L = U S V': T = L'^-1 V S V' L^-1. Roots of the
    covariances' products, as usually written, square the condition number.
    """
    lower = torch.linalg.cholesky(source)
    values, vectors = torch.linalg.eigh(target)
    root = vectors * values.clamp(min=0).sqrt()
    _, spread, right = torch.linalg.svd(root.mT @ lower)
    back = torch.linalg.solve_triangular(lower.mT, right.mT, upper=True)
    moved = (back * spread) @ back.mT
    return (moved + moved.mT) / 2


def window(patch: int, sigma: float = math.inf, kernel: int | None = None) -> Tensor:
    """How much each place of a patch counts where patches overlap: [p, p], sum 1, float64.

    Args:
        sigma: of a Gaussian around the middle; infinite: all alike.
        kernel: side of the middle part that counts at all; None: the whole patch.
    """
    kernel = kernel or patch
    axis = torch.arange(patch, dtype=torch.float64) - patch // 2
    one = torch.exp(-0.5 * (axis / sigma) ** 2) * (axis.abs() <= kernel // 2)
    weights = torch.outer(one, one)
    return weights / weights.sum()


def _shrunk(statistics: Statistics, amount: float, what: str) -> Tensor:
    """A covariance that can be inverted, drawn towards its own mean variance."""
    covariance = statistics.covariance
    variance = covariance.trace() / len(covariance)
    if not variance > FLAT:
        raise ValueError(
            f"The {what} photos are flat, all of one colour: fit on photos with something on them."
        )
    shrunk = (1 - amount) * covariance
    shrunk.diagonal().add_(amount * variance)
    if torch.linalg.cholesky_ex(shrunk).info:
        raise ValueError(
            f"The {what} photos do not tell a whole covariance (too few, too small, or grey); "
            "raise shrinkage, take smaller patches, or more photos."
        )
    return shrunk
