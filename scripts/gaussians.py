"""Gaussian pictures: their flow map, and what any affine restoration of them comes to, exactly.

Noise N(0, I) at s = 0 runs to pictures N(mean, Q diag(variances) Q^T) at s = 1; in each direction
of Q all happens by itself. Used by `run.py parity` and the tests.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pack  # noqa: F401 - makes restoreflow importable
import torch
from restoreflow.sampling import metrics, plug_and_play
from restoreflow.sampling.lookahead import denoise
from restoreflow.sampling.operators import Operator
from restoreflow.sampling.schedule import uniform
from torch import Tensor
from torch.quasirandom import SobolEngine

Time = float | Tensor


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Pictures of this law; calling it gives their mean velocity over [s, t]."""

    mean: Tensor
    """[d], or a number of all pixels."""
    variances: Tensor
    """[d], or a number."""
    basis: Tensor | None = None
    """Q [d, d], its columns the directions; None: the pixels themselves."""

    def __call__(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Of states [..., d]; s = t is the velocity itself."""
        return self.mean + self.along(x - s * self.mean, self.slope(s, t) / self.std(s))

    def carried(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """The state at t of the trajectory that is at x at s."""
        return t * self.mean + self.along(x - s * self.mean, self.std(t) / self.std(s))

    def std(self, t: Time) -> Tensor:
        """Of the states at t, in each direction."""
        return ((1 - t) ** 2 + t**2 * self.variances).sqrt()

    def slope(self, s: Time, t: Time) -> Tensor:
        """(std(t) - std(s)) / (t - s), without 0 / 0."""
        return ((s + t) * (1 + self.variances) - 2) / (self.std(s) + self.std(t))

    def along(self, x: Tensor, gains: Tensor) -> Tensor:
        """Q diag(gains) Q^T x."""
        return gains * x if self.basis is None else (x @ self.basis * gains) @ self.basis.mT

    @property
    def covariance(self) -> Tensor:
        return self.along(torch.eye(len(self.mean)).to(self.mean), self.variances)

    def made(self, noise: Tensor) -> Tensor:
        """Pictures [..., d] of standard normal numbers."""
        return self.mean + self.along(noise, self.variances.sqrt())

    def least_error(self, s: float) -> Tensor:
        """Of the posterior mean at s, the sum over directions."""
        return (self.variances * (1 - s) ** 2 / self.std(s) ** 2).sum()

    def error(self, s: float, gains: Tensor) -> Tensor:
        """Of a denoiser at s that multiplies the deviations from the mean by these gains."""
        return ((gains * s - 1) ** 2 * self.variances + gains**2 * (1 - s) ** 2).sum()

    def distance(self, s: float, gains: Tensor) -> Tensor:
        """Of its results' law from the pictures' (Wasserstein-2)."""
        return (self.variances.sqrt() - gains * self.std(s)).square().sum().sqrt()

    def frontier(self, s: float, distance: Tensor) -> Tensor:
        """The least error that any denoiser at that distance has (Freirich et al. 2021)."""
        farthest = self.distance(s, s * self.variances / self.std(s) ** 2)
        return self.least_error(s) + (farthest - distance).clamp(min=0) ** 2

    def time_of(self, s: float, share: float) -> Tensor:
        """In each direction, the time whose chord mixes the two ends by `share`."""
        root = self.variances.sqrt()

        def angle(t: float) -> Tensor:
            return torch.asinh(((1 + self.variances) * t - 1) / root)

        end = ((angle(s) + angle(1.0)) / 2).tanh()
        middle = torch.lerp(angle(s).tanh(), end, share).atanh()
        return (1 + root * (2 * middle - angle(s)).sinh()) / (1 + self.variances)


def gains_of(prior: Gaussian, s: float, lookahead: float, blend: bool = False) -> Tensor:
    """What the pack's denoiser makes of a step from the mean in each direction, [d]."""
    size = len(prior.mean)
    basis = torch.eye(size).to(prior.mean) if prior.basis is None else prior.basis
    moved = denoise(prior, s * prior.mean + basis.mT, s, lookahead, blend) - prior.mean
    return (moved @ basis).diagonal()


class Matrix(Operator):
    """y = A x on pictures [B, 1, 1, d], A being [m, d]."""

    def __init__(self, matrix: Tensor, noise_std: float):
        self.name, self.matrix, self.noise_std = "matrix", matrix, noise_std

    def domain(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], self.matrix.shape[1]))

    def apply(self, x: Tensor) -> Tensor:
        return x @ self.matrix.mT

    def adjoint(self, y: Tensor) -> Tensor:
        return y @ self.matrix

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        """Solved exactly: conjugate gradients stop at six digits."""
        square = self.matrix.mT @ self.matrix
        system = torch.eye(len(square)).to(square) + weight * square
        return torch.linalg.solve(system, (z + weight * self.adjoint(y)).mT).mT

    def posterior(self, prior: Gaussian) -> tuple[Tensor, Tensor]:
        """W [d, m] and the covariance [d, d] of pictures given y; their mean is
        mean + W (y - A mean).
        """
        covariance = prior.covariance
        noise = self.noise_std**2 * torch.eye(len(self.matrix)).to(covariance)
        seen = self.matrix @ covariance @ self.matrix.mT + noise
        gain = torch.linalg.solve(seen, self.matrix @ covariance).mT
        return gain, covariance - gain @ self.matrix @ covariance


Source = Callable[[], Tensor]
Loop = Callable[[Tensor, Source], Tensor]
"""(measurements [B, 1, 1, m], source of noise [B, 1, 1, d]) -> pictures [B, 1, 1, d]."""


def proximal(
    prior: Gaussian, operator: Matrix, variance: float, steps: int, lookahead: float, draws: int = 1
) -> Loop:
    """The product's loop with the denoiser first, as its solver wires it."""

    def loop(y: Tensor, source: Source) -> Tensor:
        def move(z: Tensor, s: float) -> Tensor:
            weight = plug_and_play.uncertainty(s, 1.0, variance) / operator.noise_std**2
            return operator.prox(z, y, weight)

        start = y.new_zeros(operator.domain(y.shape))
        passes = plug_and_play.iterate(
            lambda x, s: denoise(prior, x, s, lookahead), move, source, start, uniform(steps), draws
        )
        *_, last = passes
        return last.clean

    return loop


def replayed(noise: Tensor) -> Source:
    """A source that draws the given ones [N, B, 1, 1, d] in turn."""
    return iter(noise).__next__


def normals(count: int, size: int, seed: int = 0) -> Tensor:
    """[count, size] standard normal numbers, spread evenly (Sobol): averages settle early."""
    even = SobolEngine(size, scramble=True, seed=seed).draw(count, dtype=torch.float64)
    return torch.special.ndtri(even.clamp(1e-9, 1 - 1e-9))


class Law(NamedTuple):
    """What becomes of all pictures, their measurements and the loop's noise together."""

    error: Tensor
    """Mean square, the sum over directions."""
    distance: Tensor
    """Wasserstein-2, of the results' law from the pictures'."""
    noise: Tensor
    """Variance that the loop's noise leaves in a result, the sum over directions."""


def law(loop: Loop, prior: Gaussian, operator: Matrix, calls: int) -> Law:
    """Of an affine loop that draws noise `calls` times, from what it makes of unit vectors."""
    rows, columns = operator.matrix.shape
    parts = torch.eye(rows + calls * columns).to(operator.matrix)
    parts = torch.cat([torch.zeros_like(parts[:1]), parts])[:, None, None]
    noise = parts[..., rows:].unflatten(-1, (calls, columns)).movedim(-2, 0)
    results = loop(parts[..., :rows], replayed(noise))[:, 0, 0]
    constant, moved = results[0], results[1:] - results[0]
    of_y, of_noise = moved[:rows].mT, moved[rows:]
    shown = of_y @ operator.matrix  # what it makes of the picture itself
    added = of_noise.mT @ of_noise + operator.noise_std**2 * of_y @ of_y.mT
    covariance = prior.covariance
    away = shown - torch.eye(columns).to(shown)
    mean = constant + shown @ prior.mean
    error = (mean - prior.mean).square().sum() + (away @ covariance @ away.mT + added).trace()
    spread = shown @ covariance @ shown.mT + added
    squared = metrics.gaussian_w2_squared(mean, spread, prior.mean, covariance)
    return Law(error, squared.sqrt(), of_noise.square().sum())


def tasks(prior: Gaussian) -> Iterator[tuple[str, Matrix]]:
    """One of each kind of degradation, on a signal of a multiple of 4 samples."""
    size = len(prior.mean)
    eye = torch.eye(size).to(prior.mean)
    reach = torch.arange(size).to(eye)
    kernel = (-(torch.minimum(reach, size - reach) ** 2) / 4.5).exp()
    shuffled = torch.randperm(size, generator=torch.Generator().manual_seed(3))
    blur = torch.stack([kernel.roll(i) for i in range(size)]) / kernel.sum()
    yield "blur", Matrix(blur, 0.05)
    yield "shrunk", Matrix(eye.unflatten(0, (-1, 4)).mean(1), 0.02)
    yield "box", Matrix(torch.cat([eye[: size // 3], eye[size // 3 + size // 4 :]]), 0.02)
    yield "mask", Matrix(eye[shuffled[: size * 3 // 10].sort().values], 0.02)
    yield "noise", Matrix(eye, 0.3)


def signal(size: int = 48, decay: float = 2.0, std: float = 0.5) -> Gaussian:
    """A periodic signal whose power falls with its frequency, mean 0."""
    place = torch.arange(size, dtype=torch.float64)
    waves = torch.minimum(place, size - place).clamp(min=0.7) ** -decay
    phase = 2 * torch.pi * torch.outer(place, place) / size
    basis = (phase.cos() + phase.sin()) / size**0.5  # Hartley's: real and orthonormal
    return Gaussian(torch.zeros_like(place), waves * std**2 * size / waves.sum(), basis)
