"""The whole suite: ruff, then pytest with the arguments given. Run by `run.py test`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    os.chdir(ROOT)
    style = subprocess.call([sys.executable, "-m", "ruff", "check"])
    sys.exit(pytest.main(sys.argv[1:]) or style)
