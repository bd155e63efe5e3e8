"""Posterior sampling for the demo's noise, and a PMRF of equal size and training beside it.

Posterior sampling is a flow from noise to pictures that sees the degraded picture at every step;
its network is the demo's flow but for its first layer, which takes both. PMRF's flow starts from
the shipped posterior mean. Both learn from the same pictures by the demo's recipe, in fewer steps
and without its refinement, each with a file of its own. They serve `scripts/measure_posterior.py`
and are not shipped.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..models import registry
from ..models.families.demo import conditioned
from ..models.networks.flow_unet import FlowUNet
from . import denoiser, task
from .fit import Progress, Recipe, fit
from .pictures import RICH
from .stages import drawn, kept, pin_plan, training_record, write

WEIGHTS = Path("demo-posterior-25.safetensors")
DEMO = denoiser.Plan()
POSTERIOR = {"origin": "noise", "condition": "degraded", "noise_std": 1.0}
PMRF = {"noise_std": task.SOURCE_STD}
"""What each file says of its flow."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the weights, apart from the machine's arithmetic.

    The demo's, with a sixth of its flow's steps and two fifths of its pictures.
    """

    pictures: int = 640
    held_out: int = DEMO.held_out
    side: int = DEMO.side
    seed: int = DEMO.seed
    flow: Recipe = replace(DEMO.flow, steps=DEMO.flow.steps // 6)


def posterior_loss(
    net, pictures: np.ndarray, recipe: Recipe, device: torch.device, generator: Generator
) -> Tensor:
    """Mean squared error of the velocity on straight lines from noise of std 1 to clean pictures.

    `net` takes (state and degraded picture [B, 6, H, W], t, s).
    """
    (clean,) = task.draw_crops((pictures,), recipe, generator)
    degraded = task.degrade(clean, generator)
    # What flow_batch adds to its source makes the variance one.
    source = (1 - task.SOURCE_STD**2) ** 0.5 * torch.randn(clean.shape, generator=generator)
    state, t, velocity = task.flow_batch(clean, source, generator)
    state = torch.cat([state, degraded], 1).to(device, memory_format=torch.channels_last)
    t = t.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        predicted = net(state, t, t)
    return F.mse_loss(predicted.float(), velocity.to(device))


def train(
    plan: Plan, work: Path, out: Path, device: torch.device, compile_flow: bool = True
) -> dict[str, dict]:
    """Runs all stages and writes both files, PMRF's beside `out`; returns their records."""
    pin_plan(plan, work)
    pictures = drawn(work / "pictures.npy", plan.pictures, plan.seed, plan.side, RICH)
    mean = registry.load(denoiser.WEIGHTS, registry.POSTERIOR_MEAN)
    mean.cast(torch.float32)
    mean.network.to(device)

    restore = partial(task.restore_all, mean.estimate, pictures, plan.seed + 2)
    means = kept(work / "means.npy", restore)
    pictures, means = pictures[plan.held_out :], means[plan.held_out :]

    def learn(
        name: str, flow: FlowUNet, loss_of, *arrays: np.ndarray
    ) -> tuple[nn.Module, Progress]:
        flow = flow.to(device, memory_format=torch.channels_last)
        run = torch.compile(flow) if compile_flow else flow
        loss = partial(loss_of, run, *arrays, plan.flow, device)
        return fit(flow, loss, plan.flow, plan.seed + 3, work / f"{name}.pt")

    torch.manual_seed(plan.seed)
    trained = learn("posterior", conditioned(FlowUNet(), 3), posterior_loss, pictures)
    records = {"posterior": ship(POSTERIOR, *trained, plan, out, device)}
    torch.manual_seed(plan.seed)
    trained = learn("pmrf", FlowUNet(), task.flow_loss, pictures, means)
    beside = out.with_stem(f"{out.stem}-pmrf")
    return records | {"pmrf": ship(PMRF, *trained, plan, beside, device)}


def ship(
    use: dict, flow: nn.Module, progress: Progress, plan: Plan, out: Path, device: torch.device
) -> dict:
    """Writes a flow's file; returns its record."""
    record = {
        "format": 1,
        "name": "Posterior sampling and PMRF compared (Gaussian noise 25/255)",
        "task": task.TASK,
        "licence": "MIT",
        "flow": {**use, "steps": denoiser.FLOW_STEPS, "times": "velocity"},
        "training": {
            "command": "python training/train.py posterior",
            **training_record(plan, device, {"flow": progress}),
        },
    }
    write({"flow": flow}, record, out)
    return record
