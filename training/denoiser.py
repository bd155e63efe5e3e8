"""A pixel PMRF for Gaussian noise of 25/255: a posterior mean, then a flow that starts from it.

Stages: pictures; posterior mean (NAFNet); its results for all pictures; flow (FlowUNet), refined
on calmer pictures; one file. Each stage leaves its result in the work folder and is skipped when
that is there.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.networks.flow_unet import FlowUNet
from . import task
from .fit import Progress, Recipe, fit, step_generator
from .networks import build_mean, compiled, with_fast_norms
from .pictures import CALM, RICH
from .stages import drawn, kept, pin_plan, training_record, write

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "models" / "embedded" / "demo-denoise-25.safetensors"
FLOW_STEPS = 25
"""Steps that the sampler takes unless told otherwise."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the weights, apart from the machine's arithmetic."""

    pictures: int = 1600
    held_out: int = 40
    side: int = 256
    seed: int = 2026
    mean: Recipe = Recipe(steps=9_000, rate=2e-3, clip=0.1)
    flow: Recipe = Recipe(steps=12_000, rate=1.5e-3, clip=0.2)
    calm_pictures: int = 800
    refinement: Recipe = Recipe(steps=5_000, rate=7e-4, clip=0.2)


def train(
    plan: Plan, work: Path, out: Path, device: torch.device, compile_flow: bool = True
) -> dict:
    """Runs all stages and writes the weights; returns their record."""
    pin_plan(plan, work)
    pictures = drawn(work / "pictures.npy", plan.pictures, plan.seed, plan.side, RICH)
    calm = drawn(work / "calm.npy", plan.calm_pictures, plan.seed + 10, plan.side, CALM)
    held_out, pictures_used = pictures[: plan.held_out], pictures[plan.held_out :]

    torch.manual_seed(plan.seed)
    mean = with_fast_norms(build_mean()).to(device, memory_format=torch.channels_last)
    loss = partial(task.mean_loss, mean, pictures_used, plan.mean, device)
    mean, mean_progress = fit(mean, loss, plan.mean, plan.seed + 1, work / "mean.pt")

    def estimate(noisy: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return mean(noisy.to(device, memory_format=torch.channels_last)).float()

    def restore(name: str, pictures: np.ndarray, seed: int) -> np.ndarray:
        return kept(work / name, partial(task.restore_all, estimate, pictures, seed))

    means = restore("means.npy", pictures, plan.seed + 2)
    calm_means = restore("calm_means.npy", calm, plan.seed + 11)

    torch.manual_seed(plan.seed)
    flow = FlowUNet().to(device, memory_format=torch.channels_last)
    run = compiled(flow, plan.flow.crop, device) if compile_flow else flow
    loss = partial(task.flow_loss, run, pictures_used, means[plan.held_out :], plan.flow, device)
    average, flow_progress = fit(flow, loss, plan.flow, plan.seed + 3, work / "flow.pt")
    flow.load_state_dict(average.state_dict())
    loss = partial(task.flow_loss, run, calm, calm_means, plan.refinement, device)
    refined = work / "refinement.pt"
    flow, refinement_progress = fit(flow, loss, plan.refinement, plan.seed + 12, refined)

    progress = {"mean": mean_progress, "flow": flow_progress, "refinement": refinement_progress}
    record = describe(plan, device, progress)
    pairs = (task.to_tensor(array) for array in (held_out, means[: plan.held_out]))
    record["training"]["held_out_pictures"] = measure(flow, *pairs, plan.seed + 4, device)
    write({"mean": mean, "flow": flow}, record, out)
    return record


@torch.no_grad()
def measure(
    flow: nn.Module, clean: Tensor, mean: Tensor, seed: int, device: torch.device
) -> dict[str, float]:
    """On procedural pictures that trained nothing; the loss beside that of standing still."""
    state, t, velocity = task.flow_batch(clean, mean, step_generator(seed, 0))
    losses = []
    for number in range(len(clean)):
        one = slice(number, number + 1)
        x, at = state[one].to(device), t[one].to(device)
        losses.append(F.mse_loss(flow(x, at, at).cpu(), velocity[one]).item())
    mean_psnr = -10 * (clean - mean).square().mean((1, 2, 3)).log10().mean()
    return {
        "mean_psnr_db": round(mean_psnr.item(), 3),
        "flow_loss": round(sum(losses) / len(losses), 6),
        "flow_loss_of_zero_velocity": round(velocity.square().mean().item(), 6),
    }


def describe(plan: Plan, device: torch.device, progress: dict[str, Progress]) -> dict:
    """The record that travels with the weights: how they came about, and how to use them."""
    return {
        "format": 1,
        "name": task.NAME,
        "task": task.TASK,
        "licence": "MIT",
        "flow": {"noise_std": task.SOURCE_STD, "steps": FLOW_STEPS, "times": "velocity"},
        "training": {
            "command": "python training/train.py",
            **training_record(plan, device, progress),
        },
    }
