"""The options of `run.py bench`; standard library only, so that --help needs no environment."""

import argparse
from collections.abc import Callable

from batch_options import count, positive

HELP = "how fast this machine restores, beside what the published code computes"
DESCRIPTION = """Time, memory and arithmetic of each system on this machine, and the ratio to a
baseline that computes as the published code does, with the fastest public attention that runs here.
Weights are random, of the published shapes; nothing is fetched. Close other programs first.
"""
SYSTEMS = ("pmrf", "elir", "simvae", "latent", "demo", "map")


def declare(make: Callable[..., argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The command line, made by whoever has a place for it."""
    parser = make(description=DESCRIPTION)
    add = parser.add_argument
    add("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="these only (all)")
    add("--device", choices=("cpu", "cuda"), help="where to run (a GPU if there is one)")
    add("--repeats", type=positive, default=3, metavar="N", help="runs to take medians of (3)")
    add("--steps", type=count, metavar="K", help="steps of a flow that are run, 0 for as many as "
        "published (3 on a CPU, 0 on a GPU)")  # fmt: skip
    add("--quick", action="store_true", help="tiny networks, to see that the bench works")
    add("--folder", action="store_true", help="folders of photos through a real ComfyUI, too")
    add("--eager", action="store_true", help="let no baseline compile anything")
    add("--json", metavar="FILE", help="write all numbers as JSON; - for standard output")
    return parser
