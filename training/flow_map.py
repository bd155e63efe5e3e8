"""A flow map of photographs from noise: an image prior for every known degradation.

The objective is Lagrangian self-distillation (Boffi, Albergo, Vanden-Eijnden 2025, arXiv
2505.18825): along the diagonal s = t the network learns the velocity of the straight paths from
noise (s = 0) to pictures (s = 1); off it, that its own map moves as that velocity says.

Stages: pictures; velocity alone; velocity and map, its two times near each other at first; one
file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..models.networks.flow_unet import FlowUNet
from .denoiser import WEIGHTS as DENOISER
from .fit import Progress, Recipe, fit, step_generator
from .networks import compiled
from .pictures import CALM, RICH
from .stages import drawn, pin_plan, training_record, write
from .task import draw_crops, spread_times, to_tensor

WEIGHTS = DENOISER.with_name("demo-flow-map.safetensors")
WIDTHS, DEPTHS = (48, 96, 128), (1, 1, 2)
SOURCE_MEAN = SOURCE_STD = 0.5
"""Noise of mean 0 and std 1 where pictures lie in [-1, 1]."""
LATE_SHARE, LATE = 0.4, 0.5
"""The share of times drawn from [LATE, 1], where restorations spend most steps."""
TO_THE_END = 0.15
"""The share of pairs that end at t = 1, the lifelike end of the knob."""
NEAR = 0.3
"""How far apart the map's two times lie at first."""
MAP_BATCH = 6
MAP_WEIGHT = 0.5
STEPS = 50
"""That a solver takes unless told otherwise."""
FARTHEST = 5.0
"""States beyond that never teach: early maps may land anywhere."""

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(state [B, ...], s [B], t [B]) -> mean velocity over [s, t]."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the weights, apart from the machine's arithmetic."""

    pictures: int = 1600
    calm_pictures: int = 800
    held_out: int = 40
    side: int = 256
    seed: int = 2026
    velocity: Recipe = Recipe(steps=9_000, rate=1.5e-3, clip=1.0)
    near: Recipe = Recipe(steps=1_500, rate=8e-4, clip=1.0, batch=12)
    map: Recipe = Recipe(steps=4_500, rate=8e-4, clip=1.0, batch=12)


class Pair(NamedTuple):
    """Two times s <= t, [B] each."""

    s: Tensor
    t: Tensor


def draw_times(count: int, generator: Generator) -> Tensor:
    """[count] in [0, 1), spread evenly, then some moved late."""
    s = spread_times(count, generator)
    late = torch.rand(count, generator=generator) < LATE_SHARE
    return torch.where(late, LATE + (1 - LATE) * s, s)


def draw_pairs(count: int, widest: float, generator: Generator) -> Pair:
    """Times that lie at most `widest` apart; some end at 1, so far as that allows."""
    ends = torch.stack([draw_times(count, generator), draw_times(count, generator)])
    s, t = ends.amin(0), ends.amax(0)
    last = torch.rand(count, generator=generator) < TO_THE_END
    t = torch.where(last, 1.0, t)
    # Shortened from the front where the end is 1, else from the back.
    s = torch.where(last, torch.maximum(s, t - widest), s)
    return Pair(s, torch.minimum(t, s + widest))


def between(source: Tensor, clean: Tensor, s: Tensor) -> Tensor:
    """On the straight path at s [B]."""
    return torch.lerp(source, clean, _wide(s, clean))


def diagonal(velocity: Velocity, source: Tensor, clean: Tensor, s: Tensor) -> Tensor:
    """Flow matching: the velocity at s is the mean of clean - source there."""
    return F.mse_loss(velocity(between(source, clean, s), s, s), clean - source)


def lagrangian(velocity: Velocity, source: Tensor, clean: Tensor, pair: Pair) -> Tensor:
    """How far the map's motion in its target time is from the velocity where it lands.

    With X(t) = x_s + (t - s) u(x_s, s, t): the mean square of dX/dt - u(X, t, t), the latter
    without gradient. The derivative is a forward-mode one in the time alone.
    """
    s, t = pair
    state = between(source, clean, s)

    def moved(t: Tensor) -> Tensor:
        return state + _wide(t - s, state) * velocity(state, s, t)

    landed, motion = torch.func.jvp(moved, (t,), (torch.ones_like(t),))
    with torch.no_grad():
        target = velocity(landed.detach().clamp(-FARTHEST, FARTHEST), t, t)
    return F.mse_loss(motion, target)


def _wide(t: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...]."""
    return t.view(-1, *[1] * (like.ndim - 1))


class Batch(NamedTuple):
    source: Tensor
    clean: Tensor


def draw_batch(pictures: np.ndarray, recipe: Recipe, generator: Generator) -> Batch:
    """Noise and pictures [B, 3, H, W]."""
    (clean,) = draw_crops((pictures,), recipe, generator)
    noise = torch.randn(clean.shape, generator=generator)
    return Batch(SOURCE_MEAN + SOURCE_STD * noise, clean)


def mixed(net, device: torch.device) -> Velocity:
    """The network in bfloat16, its result in float32."""

    def velocity(x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return net(x.contiguous(memory_format=torch.channels_last), s, t).float()

    return velocity


def velocity_loss(
    run, pictures: np.ndarray, recipe: Recipe, device: torch.device, generator: Generator
) -> Tensor:
    """The diagonal's term of one step."""
    batch = draw_batch(pictures, recipe, generator)
    s = draw_times(recipe.batch, generator)
    return diagonal(mixed(run, device), *(x.to(device) for x in (*batch, s)))


def map_loss(
    net, run, reach: float, pictures: np.ndarray, recipe: Recipe, device: torch.device,
    generator: Generator,
) -> Tensor:  # fmt: skip
    """Both terms of one step.

    Args:
        net: the network, for the map's term: compilers know no forward-mode derivatives.
        run: the same, compiled, for the diagonal's.
        reach: how far apart the map's two times may lie.
    """
    first = velocity_loss(run, pictures, recipe, device, generator)
    few = replace(recipe, batch=MAP_BATCH)
    planes = (x.to(device) for x in draw_batch(pictures, few, generator))
    pair = Pair(*(x.to(device) for x in draw_pairs(MAP_BATCH, reach, generator)))
    return first + MAP_WEIGHT * lagrangian(mixed(net, device), *planes, pair)


def train(
    plan: Plan, work: Path, out: Path, device: torch.device, compile_flow: bool = True
) -> dict:
    """Runs all stages and writes the weights; returns their record."""
    pin_plan(plan, work)
    rich = drawn(work / "pictures.npy", plan.pictures, plan.seed, plan.side, RICH)
    calm = drawn(work / "calm.npy", plan.calm_pictures, plan.seed + 10, plan.side, CALM)
    held_out, pictures = rich[: plan.held_out], np.concatenate([rich[plan.held_out :], calm])

    torch.manual_seed(plan.seed)
    net = FlowUNet(widths=WIDTHS, depths=DEPTHS).to(device, memory_format=torch.channels_last)
    run = compiled(net, plan.velocity.crop, device) if compile_flow else net
    stages = {
        "velocity": partial(velocity_loss, run),
        "near": partial(map_loss, net, run, NEAR),
        "map": partial(map_loss, net, run, 1.0),
    }
    progress: dict[str, Progress] = {}
    for number, (name, loss_of) in enumerate(stages.items()):
        recipe: Recipe = getattr(plan, name)
        loss = partial(loss_of, pictures, recipe, device)
        average, progress[name] = fit(net, loss, recipe, plan.seed + number, work / f"{name}.pt")
        net.load_state_dict(average.state_dict())
    record = describe(plan, device, progress)
    clean = to_tensor(held_out)
    record["training"]["held_out_pictures"] = measure(average, clean, plan.seed + 4, device)
    write({"flow": average}, record, out)
    return record


@torch.no_grad()
def measure(net, clean: Tensor, seed: int, device: torch.device) -> dict[str, dict[str, float]]:
    """On procedural pictures that trained nothing, for some s: PSNR in dB over the knob."""
    source = SOURCE_MEAN + SOURCE_STD * torch.randn(clean.shape, generator=step_generator(seed, 0))
    found = {}
    for s in (0.7, 0.85, 0.95):
        found[f"s = {s}"] = {}
        for lookahead in (0.0, 0.5, 0.9, 1.0):
            errors = []
            for one in range(len(clean)):
                pair = clean[one : one + 1], source[one : one + 1]
                at = torch.tensor([s])
                state = between(*reversed(pair), at).to(device)
                end = (at + lookahead * (1 - at)).to(device)
                denoised = state + (1 - s) * net(state, at.to(device), end)
                errors.append((denoised.cpu() - pair[0]).square().mean())
            psnr = -10 * torch.stack(errors).log10().mean()
            found[f"s = {s}"][f"lookahead {lookahead}"] = round(psnr.item(), 2)
    return found


def describe(plan: Plan, device: torch.device, progress: dict[str, Progress]) -> dict:
    """The record that travels with the weights: how they came about, and how to use them."""
    return {
        "format": 1,
        "name": "Demo flow map (procedural pictures)",
        "task": "denoises any Gaussian noise; a prior for known degradations",
        "licence": "MIT",
        "flow": {
            "times": "two-time",
            "origin": "noise",
            "source_mean": SOURCE_MEAN,
            "noise_std": SOURCE_STD,
            "steps": STEPS,
        },
        "training": {
            "command": "python training/train.py flow-map",
            **training_record(plan, device, progress),
        },
    }
