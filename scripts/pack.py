"""Importing this makes the pack importable as `restoreflow`, without ComfyUI."""

import sys
from pathlib import Path
from types import ModuleType

_pack = ModuleType("restoreflow")
_pack.__path__ = [str(Path(__file__).resolve().parents[1])]
sys.modules.setdefault("restoreflow", _pack)
