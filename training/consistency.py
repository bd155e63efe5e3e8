"""ELIR's objective (arXiv 2502.03500): a flow in latents that is consistent within segments.

Time [0, 1] falls into K segments; from anywhere within one, a straight jump along the velocity must
land where one from a little later lands: on the segment's end. The source m is the posterior mean
plus noise, the path to the clean latent z a straight line. Networks are plain callables.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Network = Callable[[Tensor], Tensor]
Velocity = Callable[[Tensor, Tensor], Tensor]
"""(state [B, C, h, w], t [B]) -> velocity."""

SIGMA_MIN = 1e-5
"""What remains of the source at t = 1."""
ALPHA = 1e-3
"""The weight of the difference between the velocities of the two times."""
BETA = 1e-3
"""The weight of the pixels' term; the flow's has the rest."""


class Networks(NamedTuple):
    """What is trained, and what it learns from."""

    encode: Network
    mean: Network
    velocity: Velocity
    teacher_encode: Network
    """Frozen: its latents of the clean pictures are the flow's end."""
    teacher_decode: Network | None = None
    """Frozen; without it there is no term of pixels."""


def losses(
    networks: Networks,
    clean: Tensor,
    degraded: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    noise_std: float,
    segments: int,
    dt: float,
    alpha: float = ALPHA,
    beta: float = BETA,
) -> Tensor:
    """The whole objective, a mean over the batch, as the published code has it.

    For training in one loop; the demo trains in stages, by `consistency` and without the pixels'
    term (`elir.py`).

    Args:
        clean: pictures [B, 3, H, W] in [0, 1], as is `degraded`.
        t: [B], uniform in [0, 1 - dt].
        eps: standard normal, of the latents' shape.
        noise_std: of the source.
        segments: K.
        dt: how much later the second time is.
    """
    z, mean = latents(networks, clean, degraded)
    source = mean.detach() + noise_std * eps  # the flow trains neither encoder nor mean
    flow, landing, end = consistency(networks.velocity, source, z, t, segments, dt, alpha)
    first = F.mse_loss(mean, z)
    if networks.teacher_decode is None:
        return first + flow
    landing = landing.detach()
    jump = landing + _wide(1 - end) * networks.velocity(landing, end)
    pixels = F.mse_loss(networks.teacher_decode(jump), clean)
    return first + (1 - beta) * flow + beta * pixels


def latents(networks: Networks, clean: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor]:
    """The clean pictures' latents, and what the degraded ones let expect of them."""
    with torch.no_grad():
        z = networks.teacher_encode(clean)
    return z, networks.mean(networks.encode(degraded))


def consistency(
    velocity: Velocity,
    source: Tensor,
    z: Tensor,
    t: Tensor,
    segments: int,
    dt: float,
    alpha: float = ALPHA,
) -> tuple[Tensor, Tensor, Tensor]:
    """The flow's term, where the jumps from t land [B, C, h, w], and their segments' ends [B]."""
    edges = torch.linspace(0, 1, segments + 1, device=t.device)[1:]
    end = edges[torch.searchsorted(edges, t)]  # on an edge, the one to its left
    later = t + dt
    v = velocity(point(source, z, t), t)
    landing = point(source, z, t) + _wide(end - t) * v
    with torch.no_grad():
        v_later = velocity(point(source, z, later), later)
        jump = point(source, z, later) + _wide(end - later) * v_later
        target = torch.where(_wide(later < end), jump, point(source, z, end))
    return F.mse_loss(landing, target) + alpha * F.mse_loss(v, v_later), landing, end


def flow_matching(velocity: Velocity, source: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """The plain rectified flow's term, which a consistent flow may begin with."""
    return F.mse_loss(velocity(point(source, z, t), t), z - (1 - SIGMA_MIN) * source)


def point(source: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """On the straight path at t [B]."""
    return (1 - (1 - SIGMA_MIN) * _wide(t)) * source + _wide(t) * z


def _wide(t: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1]."""
    return t.view(-1, 1, 1, 1)
