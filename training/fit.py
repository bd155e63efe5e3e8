"""The training loop: AdamW, warm-up and cosine, an average of the weights, resumable."""

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

REPORT_STEPS = 250
SAVE_STEPS = 250


@dataclass(frozen=True)
class Recipe:
    """How one network is trained; the schedule counts steps, never seconds."""

    steps: int
    rate: float
    clip: float
    """Largest norm of the gradient."""

    batch: int = 16
    crop: int = 64
    warm_up: int = 200
    averaging: float = 0.999
    last_rate: float = 0.02
    """The share of the rate that the cosine ends with."""

    def rate_at(self, step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        warm = min(1.0, (step + 1) / self.warm_up)
        return self.rate * warm * (self.last_rate + (1 - self.last_rate) * cosine)


@dataclass
class Progress:
    step: int = 0
    loss: float = 0.0
    """Running mean over some hundred steps."""

    seconds: float = 0.0


def step_generator(seed: int, step: int) -> Generator:
    """All randomness of one step: a resumed run draws what the unbroken one would have drawn."""
    return torch.Generator().manual_seed(seed * 10_000_019 + step)


def fit(
    net: nn.Module, loss_of: Callable[[Generator], Tensor], recipe: Recipe, seed: int, path: Path
) -> tuple[nn.Module, Progress]:
    """Trains `net` in place on `loss_of(generator)`; returns the average of its weights.

    The state is kept at `path`, from which an interrupted run goes on.
    """
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, (0.9, 0.95), weight_decay=0.0)
    progress = Progress()
    parts = {"net": net, "average": average, "optimiser": optimiser}
    if path.exists():
        progress = load(path, parts)
    started = time.monotonic() - progress.seconds
    while progress.step < recipe.steps:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate_at(progress.step)
        loss = loss_of(step_generator(seed, progress.step))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimiser.step()
        progress.step += 1
        update_average(average, net, min(recipe.averaging, progress.step / (progress.step + 10)))
        progress.loss += (loss.item() - progress.loss) / min(progress.step, 300)
        progress.seconds = time.monotonic() - started
        if progress.step % REPORT_STEPS == 0:
            report(path.stem, recipe, progress)
        if progress.step % SAVE_STEPS == 0 or progress.step == recipe.steps:
            save(path, parts, progress)
    return average.eval().requires_grad_(False), progress


def report(name: str, recipe: Recipe, progress: Progress) -> None:
    done, minutes = f"{progress.step}/{recipe.steps}", progress.seconds / 60
    print(f"{name} {done} {minutes:.1f} min loss {progress.loss:.3e}", flush=True)


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, keep: float) -> None:
    for kept, new in zip(average.parameters(), net.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)


def save(path: Path, parts: dict, progress: Progress) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    unfinished = path.with_suffix(".part")
    torch.save(state | {"progress": vars(progress)}, unfinished)
    os.replace(unfinished, path)


def load(path: Path, parts: dict) -> Progress:
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return Progress(**state["progress"])
