"""The two halves of a restoration: the posterior mean, and the flow that starts from it."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.contracts import PIXEL, Flow, Part, PosteriorMean
from .integrate import SOLVERS, Step, integrate
from .pieces import Machine, Pieces
from .schedule import uniform
from .tiling import pad_to

FROM_CHECKPOINT = -1.0
"""The source noise of the checkpoint."""


def posterior_mean(
    part: PosteriorMean,
    degraded: Tensor,
    *,
    observe: Callable[[int, int], None] = lambda done, total: None,
    machine: Machine | None = None,
) -> Tensor:
    """The answer of least mean squared error, clipped as PMRF clips it before its flow.

    Args:
        part: the estimator.
        degraded: [B, 3, H, W] in [0, 1], or latents [B, C, h, w] for one that works on those.
        observe: told how many of how many pieces are done.
        machine: where it runs.

    Returns:
        The same shape, float32; pictures in [0, 1]. An estimator that enlarges is brought back by
        averaging.

    Raises:
        ValueError: it works on something else.
    """
    check_domain(part, degraded)

    def estimate(x: Tensor) -> Tensor:
        mean = part.estimate(x)
        return F.avg_pool2d(mean, part.scale) if part.scale > 1 else mean

    padded = pad_to(part.domain.to_network(degraded), part.multiple, part.minimum)
    size = (len(padded), *padded.shape[-2:])
    mean = Pieces(part, size, machine or Machine(), observe=observe)(estimate, padded)
    return _result(mean[..., : degraded.shape[-2], : degraded.shape[-1]], part)


def sample(
    flow: Flow,
    image: Tensor,
    noise: Tensor,
    *,
    steps: int = 0,
    source_noise: float = FROM_CHECKPOINT,
    solver: str = "euler",
    stop_after: int = 0,
    mask: Tensor | None = None,
    tile: int = 0,
    observe: Callable[[Step], None] = lambda step: None,
    machine: Machine | None = None,
) -> Tensor:
    """Follow a flow from its source to a lifelike picture (Ohayon et al. 2025, alg. 2).

    Args:
        flow: in pixels or latents.
        image: [B, C, H, W], what the flow works from: the posterior mean, or the degraded picture
            for a flow trained on that; pictures in [0, 1] or latents, as its domain asks.
        noise: of the same shape, standard normal (`noise.gaussian`).
        steps: 0 for the checkpoint's own number.
        source_noise: std of the noise added at t = 0; -1 for the checkpoint's, 0 for none.
        solver: a name in `SOLVERS`.
        stop_after: steps after which the present estimate is the result; 0 for all.
        mask: [1 or B, 1, H, W] in [0, 1], where the picture may change.
        tile: largest side of tiles; 0 decides by the flow's native size and the free memory.
        observe: sees every step, its tensors still padded and in the network's units.
        machine: where it runs.

    Returns:
        The shape of `image`, float32; pictures in [0, 1].

    Raises:
        ValueError: an argument out of range, or one that these weights need or refuse.
    """
    check_domain(flow, image)
    _check_solver(flow, solver)
    machine = machine or Machine()
    if flow.origin == "noise" and flow.condition == "none":
        raise ValueError(
            f"{flow.name} is a flow map from noise, which would paint over the photo; use it in "
            "Flow-Map Denoise or in Plug-and-Play Solver."
        )
    if "degraded" in (flow.origin, flow.condition):
        machine.tell(f"{flow.name} works from the degraded picture; give the sampler that one.")
    own = flow.domain.to_network(image)
    times = uniform(steps or flow.steps, flow.start)
    last = step_count(flow, steps, stop_after)
    height, width = image.shape[-2:]
    x = pad_to(start(flow, own, noise, source_noise), flow.multiple, flow.minimum)
    conditions = [
        pad_to(condition, flow.multiple, flow.minimum) for condition in conditioning(flow, own)
    ]
    pieces = Pieces(flow, (len(x), *x.shape[-2:]), machine, tile)
    if not pieces.tiled:
        x, conditions = x.to(flow.device), [c.to(flow.device) for c in conditions]

    def field(x: Tensor, t: float, s: float) -> Tensor:
        return pieces(lambda *planes: flow.velocity(planes[0], t, s, *planes[1:]), x, *conditions)

    for step in integrate(SOLVERS[solver](field), x, times):
        observe(step)
        if step.i + 1 == last:
            break
    restored = _result(step.clean[..., :height, :width].to(image.device), flow)
    return restored if mask is None else torch.lerp(image, restored, mask)


def step_count(flow: Flow, steps: int, stop_after: int) -> int:
    """How many steps a run takes; 0 means the checkpoint's own number, and all of them."""
    if stop_after < 0:
        raise ValueError(
            f"stop_after must be 0 (all steps) or a number of steps; got {stop_after}."
        )
    planned = steps or flow.steps
    return min(stop_after or planned, planned)


def check_domain(part: Part, image: Tensor) -> None:
    """Say if a part works on something else than this picture or latent [B, C, H, W]."""
    domain, channels = part.domain, image.shape[1]
    if channels != domain.channels:
        takes = "pictures" if domain is PIXEL else f"latents of {domain.name}"
        raise ValueError(
            f"{part.name} works on {takes} ({domain.channels} channels); got {channels} channels: "
            "pictures go into the nodes for images, latents into those for latents."
        )


def _check_solver(flow: Flow, solver: str) -> None:
    """Say what a flow cannot be asked for."""
    if solver not in SOLVERS:
        raise ValueError(f"The solver must be one of {', '.join(SOLVERS)}; got {solver}.")
    if solver != "euler" and flow.times != "velocity":
        raise ValueError(
            f"{flow.name} gives mean velocities, for which only the solver euler is right; "
            f"got {solver}."
        )


def start(flow: Flow, image: Tensor, noise: Tensor, source_noise: float) -> Tensor:
    """The state at t = 0: the picture plus noise, or noise alone.

    Args:
        flow: whose source it is.
        image: [B, C, H, W], in the network's units.
        noise: of the same shape, standard normal.
        source_noise: its std; -1 for the checkpoint's.
    """
    std = flow.noise_std if source_noise == FROM_CHECKPOINT else source_noise
    if std is None:
        raise ValueError(
            f"{flow.name} does not tell its source noise; set source_noise (as a rule 0.1, and "
            "0.025 for the papers' denoising)."
        )
    if not 0 <= std < math.inf:
        raise ValueError(f"source_noise must be -1 (the checkpoint's) or at least 0; got {std}.")
    noise = noise.to(image.device)
    return (flow.source_mean if flow.origin == "noise" else image) + std * noise


def conditioning(flow: Flow, image: Tensor) -> list[Tensor]:
    """What the network sees at every step beside the state: nothing, or the picture."""
    if flow.condition == "none":
        return []
    return [image.mean(1, keepdim=True) if flow.condition_channels == 1 else image]


def _result(own: Tensor, part: Part) -> Tensor:
    """A network's result as it leaves, pictures clipped to [0, 1]."""
    result = checked(own, part)
    return result.clamp(0, 1) if part.domain is PIXEL else part.domain.to_wire(result)


def checked(result: Tensor, part: Part) -> Tensor:
    """The result, if all of it is numbers: a network that overflowed restored nothing."""
    if not result.isfinite().all():
        precision = str(part.dtype).removeprefix("torch.")
        raise ValueError(
            f"{part.name} gave values that are not numbers in {precision}; "
            + ("its weights are damaged." if precision == "float32" else "choose float32.")
        )
    return result
