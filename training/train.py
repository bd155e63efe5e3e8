"""python training/train.py [DEMO]: trains a demo, the denoiser by default, and writes its weights.

Registers the repository as the package `restoreflow`, as the tests do, and starts the training.
"""

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

DEMOS = ("denoiser", "latent-pmrf", "elir", "posterior", "flow-map")

pack = ModuleType("restoreflow")
pack.__path__ = [str(Path(__file__).resolve().parents[1])]
sys.modules["restoreflow"] = pack


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", nargs="?", choices=DEMOS, default=DEMOS[0])
    parser.add_argument("--work", type=Path, help="folder of the resumable state")
    parser.add_argument("--out", type=Path, help="the weight file; the shipped one by default")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int)
    choice = parser.parse_args()
    training = import_module(f"restoreflow.training.{choice.demo.replace('-', '_')}")
    plan = training.Plan() if choice.seed is None else training.Plan(seed=choice.seed)
    work = choice.work or Path(tempfile.gettempdir()) / f"restoreflow-training-{choice.demo}"
    training.train(plan, work, choice.out or training.WEIGHTS, torch.device(choice.device))


if __name__ == "__main__":
    main()
