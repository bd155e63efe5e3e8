"""Measures the plug-and-play solver on a 12-megapixel photo: memory, time, and what tiles change.

python scripts/bench_solver.py [--steps N] [--tile SIDE]. The photo is put together from the demo's.
"""

import argparse
import resource
import time

import numpy as np
import pack  # noqa: F401 - makes restoreflow importable
import torch
from demo_photos import HELD_OUT, TRIAL, to_tensor
from measure_demo import load_part
from measure_flow_map import FLOW_MAP
from restoreflow.models import registry
from restoreflow.sampling import plug_and_play
from restoreflow.sampling.blur import Blur, gaussian_kernel
from restoreflow.sampling.chain import Chain
from restoreflow.sampling.downscale import Downscale
from restoreflow.sampling.operators import GaussianNoise
from restoreflow.sampling.pointwise import RandomMasking
from torch import Tensor

HEIGHT, WIDTH = 3000, 4000
SEED = 3
LEVELS = 255


def photo() -> Tensor:
    """[1, 3, 3000, 4000]: the demo's photos side by side at their own resolution."""
    squares = [one.clean for one in (*TRIAL, *HELD_OUT) if one.side == 320]
    row = np.concatenate(squares, 1)
    row = np.concatenate([row] * (WIDTH // row.shape[1] + 1), 1)[:, :WIDTH]
    return to_tensor(np.concatenate([row] * (HEIGHT // len(row) + 1))[:HEIGHT])


def gigabytes() -> float:
    """The largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tile", type=int, default=512)
    choice = parser.parse_args()
    flow, clean = load_part(FLOW_MAP, registry.FLOW), photo()
    noise = GaussianNoise("noise", 0.01)
    operators = {
        "70 % of pixels lost": RandomMasking("mask", 0.7, SEED),
        "down by 4": Downscale("down", 4),
        "circular blur": Blur("blur", gaussian_kernel(1.6), "circular"),
        "reflecting blur": Blur("blur", gaussian_kernel(1.6)),
    }
    tiled = {}
    print(f"{WIDTH} x {HEIGHT} pixels, {choice.steps} steps, tiles of {choice.tile}")
    for name, operator in operators.items():
        chain = Chain([operator, noise])
        degraded = chain.simulate(clean, SEED)
        started = time.monotonic()
        settings = {"seed": SEED, "steps": choice.steps, "tile": choice.tile}
        tiled[name] = plug_and_play.solve(flow, chain, degraded, **settings).picture
        seconds = (time.monotonic() - started) / choice.steps
        print(f"{name}: {seconds:.0f} s a step, peak so far {gigabytes():.1f} GB", flush=True)
    name, operator = next(iter(operators.items()))
    chain = Chain([operator, noise])
    degraded = chain.simulate(clean, SEED)
    settings = {"seed": SEED, "steps": choice.steps, "tile": 8192}
    whole = plug_and_play.solve(flow, chain, degraded, **settings).picture
    apart = (tiled[name] - whole).abs() * LEVELS
    print(f"tiles against none ({name}): rms {apart.square().mean().sqrt():.4f}, "
          f"largest {apart.max():.2f} of 255")  # fmt: skip


if __name__ == "__main__":
    main()
