"""What the trainings share: stages whose results are kept, pictures to learn from, the record."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from .fit import Progress
from .pictures import Mix, draw_pictures


def pin_plan(plan: Any, work: Path) -> None:
    """A work folder belongs to one plan: its files are not mixed with another's."""
    work.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(plan), indent=1)
    record = work / "plan.json"
    if record.exists() and record.read_text() != text:
        raise SystemExit(f"{work} holds the files of another plan: empty it or give another --work")
    record.write_text(text)


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array at `path`, made first if need be."""
    if not path.exists():
        started = time.monotonic()
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, make())
        os.replace(unfinished, path)
        print(f"{path.stem}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
    return np.load(path)


def drawn(path: Path, count: int, seed: int, side: int, mix: Mix) -> np.ndarray:
    """Training pictures, uint8 [count, side, side, 3], kept at `path`."""
    processes = os.cpu_count() or 1
    return kept(path, partial(draw_pictures, count, seed, side, mix, processes))


def training_record(plan: Any, device: torch.device, progress: dict[str, Progress]) -> dict:
    """How the weights came about."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "data": "procedural pictures only (training/pictures.py); no photograph",
        "plan": asdict(plan),
        "machine": gpu or f"{os.cpu_count()} CPU cores, threads: {torch.get_num_threads()}",
        "minutes": {name: round(stage.seconds / 60, 1) for name, stage in progress.items()},
        "final_losses": {name: round(stage.loss, 6) for name, stage in progress.items()},
        "versions": {name: version(name) for name in ("torch", "spandrel", "numpy", "scipy")},
        "date": time.strftime("%Y-%m-%d"),
    }


def write(parts: dict[str, nn.Module], record: dict, out: Path) -> None:
    """One fp16 safetensors file, each network's tensors under its name and a dot."""
    tensors = {
        f"{prefix}.{name}": tensor.detach().cpu().half().contiguous()
        for prefix, net in parts.items()
        for name, tensor in net.state_dict().items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out, metadata={"restoreflow": json.dumps(record)})
    print(f"{out.name}: {out.stat().st_size / 1e6:.2f} MB")
