"""python training/train.py: trains the demo denoiser and writes its weights.

Registers the repository as the package `restoreflow`, as the tests do, and starts the training.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

pack = ModuleType("restoreflow")
pack.__path__ = [str(Path(__file__).resolve().parents[1])]
sys.modules["restoreflow"] = pack

if __name__ == "__main__":
    import_module("restoreflow.training.denoiser").main()
