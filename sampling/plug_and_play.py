"""Undoing a known degradation with a flow map as the prior (plug and play).

The loop alternates between the two things that are known: what photographs look like (a denoiser)
and what happened to this one (the operator). After each pass it adds fresh noise, less every time,
as PnP-Flow does (Martin et al. 2025, arXiv 2410.02423); the lookahead denoiser in it is that of
arXiv 2606.19802, the proximal step and its weights those of DiffPIR (arXiv 2305.08995).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.contracts import Flow
from .lookahead import calls, check_lookahead, check_prior, denoise, prior, uncertainty
from .noise import SOLVING, generator
from .operators import ROUNDING, Operator, estimated_noise, unexplained
from .pieces import Machine
from .restore import check_domain, checked
from .schedule import uniform

PROX, GRADIENT = "prox", "gradient"
DATA_STEPS = (PROX, GRADIENT)
MOST_LOOKAHEAD = 0.9
"""Beyond it results turn away from the law of photographs again where a blur or a mask is undone;
where only noise is, from 0.5 on."""
VARIANCE = 0.0625
"""Of a photo's pixels in [0, 1]."""
LATEST = 0.95
"""The last time at which a loop can start."""
LARGEST_ON_DEVICE = 2048**2
"""Pixels up to which the loop's own pictures live where the network is."""
GAIN, DECAY = 1.0, 0.05
"""Of the gradient step: GAIN * (1 - s)^DECAY times the gradient over |A|^2."""

Denoiser = Callable[[Tensor, float], Tensor]
"""(state at s, s) -> clean estimate."""
DataStep = Callable[[Tensor, float], Tensor]
"""(clean estimate, s) -> the estimate moved towards the measurement."""


class Iterate(NamedTuple):
    """One pass of the loop."""

    i: int
    clean: Tensor
    """The present estimate."""


class Solution(NamedTuple):
    picture: Tensor
    """[B, 3, H, W] in [0, 1]."""
    residual: Tensor
    """[B]: rms of what it leaves of the measurement to explain, in [0, 1]."""
    noise_std: Tensor
    """[B]: of the noise that was reckoned with."""
    evaluations: int
    """Calls of the flow for each picture: steps times draws for a flow map."""


def solve(
    flow: Flow,
    operator: Operator,
    photo: Tensor,
    *,
    seed: int,
    steps: int = 0,
    lookahead: float = 0.5,
    draws: int = 1,
    data_step: str = PROX,
    start: float = 0.0,
    tile: int = 0,
    observe: Callable[[Iterate], None] = lambda iterate: None,
    machine: Machine | None = None,
) -> Solution:
    """The clean pictures of photos whose degradation is known.

    Args:
        flow: a prior, in pixels.
        operator: what happened to the photos.
        photo: [B, 3, h, w] in [0, 1].
        seed: of the loop's noise; picture i draws from seed + i.
        steps: 0 for the flow's own number.
        lookahead: 0 (most faithful) ... 0.9 (most lifelike).
        draws: of noise in each step, whose estimates are averaged: more are more faithful.
        data_step: `prox` ends on the measurement and heeds its noise; `gradient` is PnP-Flow's
            step, before the denoiser.
        start: the time of the first state, 0 (noise alone) ... 0.95; from a first guess later.
        tile: largest side of tiles; 0 decides by the flow's native size and the free memory.
        observe: sees every pass.
        machine: where it runs.

    Raises:
        ValueError: an argument out of range, or photos that the operator cannot have made.
    """
    check_domain(flow, photo)
    check_prior(flow)
    check_lookahead(lookahead, MOST_LOOKAHEAD)
    _check(draws, data_step, start)
    noise_std = _noise_std(operator, photo)
    y = operator.measured(photo)
    x = y.new_full(operator.domain(y.shape), flow.source_mean)
    operator.residual(x, y)  # tells at once, not after the last step, what does not fit
    prior_of = prior(flow, x, lookahead, machine or Machine(), tile)
    where = flow.device if x.shape[-1] * x.shape[-2] <= LARGEST_ON_DEVICE else photo.device
    x, y, variance = x.to(where), y.to(where), noise_std.square().to(where).view(-1, 1, 1, 1)

    def prox(z: Tensor, s: float) -> Tensor:
        weight = uncertainty(s, flow.noise_std, VARIANCE) / variance
        return operator.prox(z, y, weight.float())

    def descend(z: Tensor, s: float) -> Tensor:
        return z - GAIN * (1 - s) ** DECAY / length**2 * operator.gradient(z, y)

    if data_step == PROX:
        move = prox
    else:
        length, move = operator.norm(x) or 1.0, descend
    random = [generator(seed, i, SOLVING) for i in range(len(x))]

    def source() -> Tensor:
        noise = torch.stack([torch.randn(x.shape[1:], generator=one) for one in random])
        return flow.source_mean + flow.noise_std * noise.to(where)

    passes = iterate(
        lambda x, s: denoise(prior_of, x, s, lookahead),
        move,
        source,
        prox(x, 0.0),
        uniform(steps or flow.steps, start),
        draws,
        data_first=data_step == GRADIENT,
    )
    for done in passes:
        observe(done)
    picture = checked(operator.trimmed(done.clean, photo).to(photo.device), flow).clamp(0, 1)
    left = unexplained(operator, done.clean.clamp(0, 1), y)
    return Solution(picture, left, noise_std, (done.i + 1) * draws * calls(flow, lookahead))


def iterate(
    denoiser: Denoiser,
    data_step: DataStep,
    source: Callable[[], Tensor],
    x: Tensor,
    times: Sequence[float],
    draws: int = 1,
    data_first: bool = False,
) -> Iterator[Iterate]:
    """The loop itself.

    Args:
        denoiser: of states at s.
        data_step: of estimates at s, after the denoiser or before it.
        source: draws a state at s = 0, a new one at each call.
        x: the first estimate; at times[0] = 0 it counts only where the data come first.
        times: increasing; at the last one, 1, nothing is left to do.
        draws: how many noisy states of one estimate are denoised and averaged.
        data_first: the data step comes before the denoiser.
    """
    for i, s in enumerate(times[:-1]):
        if data_first:
            x = data_step(x, s)
        x = sum(denoiser(s * x + (1 - s) * source(), s) for _ in range(draws)) / draws
        if not data_first:
            x = data_step(x, s)
        yield Iterate(i, x)


def _noise_std(operator: Operator, photo: Tensor) -> Tensor:
    """[B]: what the operator says, or an estimate; never less than a file's rounding."""
    std = operator.noise_std
    if std is None:
        y = operator.measured(photo)
        stds = estimated_noise(y, operator.seen(y))
    else:
        stds = photo.new_full([len(photo)], std)
    return stds.clamp(min=ROUNDING)


def _check(draws: int, data_step: str, start: float) -> None:
    if not 1 <= draws <= 64:
        raise ValueError(f"The number of draws must lie in 1..64; got {draws}.")
    if data_step not in DATA_STEPS:
        raise ValueError(f"The data step must be one of {', '.join(DATA_STEPS)}; got {data_step}.")
    if not 0 <= start <= LATEST:
        raise ValueError(f"The start must lie in 0..{LATEST}; got {start}.")
