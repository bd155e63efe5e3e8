"""Denoisers of a flow map: from the most faithful to the most lifelike, by one knob.

A flow map from noise m + tau * z (s = 0) to pictures (s = 1) gives the mean velocity u(x, s, t) of
its trajectory over [s, t]. Along the chord from s to t, carried on to 1, lies

    D_{s,t}(x) = x + (1 - s) u(x, s, t),      t = s + lookahead * (1 - s)

(arXiv 2606.19802): at t = s the posterior mean, at t = 1 the flow's own picture. Between them it is
a weighted mean of the posterior means met on the way, so its average over all pictures is that of
the pictures for every t. For Gaussian pictures the error rises and the distance to their law falls
with t. The least error at a distance is met for every t if they are isotropic; if not, at the two
ends only, while the blend of the two ends meets it throughout.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.contracts import Flow
from .integrate import Field, integrate, midpoint
from .operators import ROUNDING, estimated_noise
from .pieces import Machine, Pieces
from .restore import check_domain, checked
from .schedule import uniform
from .tiling import pad_to

LOUDEST = 4.0
"""The largest std of noise that anybody could mean, in [0, 1]."""
SUBSTEPS = 8
"""With which the lookahead of a plain velocity is integrated: two calls each."""


def signal(noise_std: float | Tensor, source_std: float) -> float | Tensor:
    """The time s at which a flow from noise of std `source_std` meets a picture's own noise.

    y = x + noise_std * n is, scaled by s, the state (1 - s) source + s x.
    """
    return source_std / (source_std + noise_std)


def ahead(s: float, lookahead: float) -> float:
    """The time t to which a denoiser at s looks."""
    return s + lookahead * (1 - s)


def uncertainty(s: float, source_std: float, variance: float) -> float:
    """Variance of a pixel, given its state at s, if pixels were independent Gaussians."""
    noise = ((1 - s) * source_std) ** 2
    return noise * variance / (noise + s**2 * variance)


def denoise(field: Field, x: Tensor, s: float, lookahead: float, blend: bool = False) -> Tensor:
    """D_{s,t}(x), or the blend of D_{s,s} and D_{s,1}.

    Args:
        field: (x, s, t) -> mean velocity over [s, t].
        x: the state at s.
        s: in [0, 1).
        lookahead: in [0, 1]; 0 is the posterior mean.
        blend: mix the two ends by `lookahead` instead of looking so far: two calls between them.
    """

    def towards(t: float) -> Tensor:
        return x + (1 - s) * field(x, s, t)

    if not blend or lookahead in (0, 1):
        return towards(ahead(s, lookahead))
    return torch.lerp(towards(s), towards(1.0), lookahead)


def mean_velocity(velocity: Field, substeps: int = SUBSTEPS) -> Field:
    """The map of a plain velocity: its trajectory followed from s to t in midpoint steps."""

    def mean(x: Tensor, s: float, t: float) -> Tensor:
        if t == s:
            return velocity(x, s, s)
        times = uniform(substeps, s, t)
        *_, last = integrate(midpoint(velocity), x, times)
        return (last.end - x) / (t - s)

    return mean


def denoised(
    flow: Flow,
    photo: Tensor,
    noise_std: float | None = None,
    *,
    lookahead: float = 0.0,
    blend: bool = False,
    tile: int = 0,
    observe: Callable[[int, int], None] = lambda done, total: None,
    machine: Machine | None = None,
) -> tuple[Tensor, Tensor]:
    """Photos without their Gaussian noise: one call of a flow map, two in a blend.

    Args:
        flow: a prior, in pixels.
        photo: [B, 3, H, W] in [0, 1].
        noise_std: of all photos, in [0, 1]; None estimates it in each. Less than a file's rounding
            counts as that.
        lookahead: 0 (least error) ... 1 (most lifelike).
        blend: mix the two ends instead, which is optimal for all Gaussians.
        tile: largest side of tiles; 0 decides by the flow's native size and the free memory.
        observe: told how many of how many pieces of a call are done.
        machine: where it runs.

    Returns:
        The photos denoised, and the std [B] of the noise that was reckoned with.

    Raises:
        ValueError: the flow is no prior, or a number is out of its range.
    """
    check_domain(flow, photo)
    check_prior(flow)
    check_lookahead(lookahead)
    if noise_std is not None and not 0 <= noise_std <= LOUDEST:
        most, got = (255 * std for std in (LOUDEST, noise_std))
        raise ValueError(f"The noise level must lie in 0..{most:g} of 255; got {got:g}.")
    stds = estimated_noise(photo) if noise_std is None else photo.new_full([len(photo)], noise_std)
    stds, machine = stds.clamp(min=ROUNDING), machine or Machine()
    field = prior(flow, photo, lookahead, machine, tile, observe)
    results = []
    # Photos of equal noise share their calls; a network takes one time a call.
    for std, count in zip(*torch.unique_consecutive(stds, return_counts=True), strict=True):
        chunk = photo[len(results) : len(results) + count]
        s = signal(std.item(), flow.noise_std)
        state = s * chunk + (1 - s) * flow.source_mean
        results += denoise(field, state, s, lookahead, blend)
    return checked(torch.stack(results), flow).clamp(0, 1), stds


def prior(
    flow: Flow,
    like: Tensor,
    lookahead: float,
    machine: Machine,
    tile: int = 0,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Field:
    """A flow map's mean velocity for states like this [B, C, H, W], in tiles where need be.

    A plain velocity's is integrated; the person who waits is told where that takes many calls.
    """
    if (many := calls(flow, lookahead)) > 1:
        machine.tell(
            f"{flow.name} knows one time only: each lookahead is integrated in {many} calls."
        )
    height, width = like.shape[-2:]
    padded = pad_to(like[:, :1], flow.multiple, flow.minimum)
    pieces = Pieces(flow, (len(like), *padded.shape[-2:]), machine, tile, observe)

    def field(x: Tensor, s: float, t: float) -> Tensor:
        whole = pad_to(x, flow.multiple, flow.minimum)
        return pieces(lambda x: flow.velocity(x, s, t), whole)[..., :height, :width]

    return field if flow.times == "two-time" else mean_velocity(field)


def calls(flow: Flow, lookahead: float) -> int:
    """How often a flow is called for one denoised picture."""
    return 1 if flow.times == "two-time" or lookahead == 0 else 2 * SUBSTEPS


def check_prior(flow: Flow) -> None:
    """Say if a flow is no prior: one from noise that sees nothing but its state.

    Raises:
        ValueError: it is another.
    """
    is_prior = flow.origin == "noise" and flow.condition == "none" and flow.noise_std
    if not is_prior or flow.times == "segments":
        raise ValueError(
            f"{flow.name} restores one degradation from its own posterior mean or photo; this node "
            "needs a flow map from noise, such as the demo flow map."
        )


def check_lookahead(lookahead: float, most: float = 1.0) -> None:
    """Say if the knob is out of its range."""
    if not 0 <= lookahead <= most:
        raise ValueError(f"The lookahead must lie in 0..{most:g}; got {lookahead}.")
