"""Converts a published snapshot of a flow-map denoiser to safetensors; none of its code is run.

python scripts/convert_flow_map.py network-snapshot-NUMBER.pkl WEIGHTS.safetensors

A snapshot is a pickle of whole modules that carries its classes' source, to be executed by whoever
opens it (Karras et al. 2022, arXiv 2206.00364). Here tensors alone are rebuilt: every other object
becomes an inert record of what was stored with it, and what belongs in no snapshot is refused.
"""

import argparse
import io
import json
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pack  # noqa: F401 - makes restoreflow importable
import torch
from restoreflow.models.checkpoint import Checkpoint, WeightsError
from restoreflow.models.contracts import Flow
from restoreflow.models.families import flow_map
from restoreflow.sampling import metrics
from safetensors.torch import save_file
from torch import Tensor

NETWORK = "AMFPrecond"
"""The published class whose first time is the source's and whose data stand at time 1."""
REVERSED = "MFPrecond"
"""Its sibling, whose noise stands at time 1."""
VELOCITY_LOSS = "FlowMatchingLoss"
"""With it no mean velocity was trained."""
REBUILDER = "torch_utils.persistence._reconstruct_persistent_obj"
ROOTS = ("torch_utils", "dnnlib", "training", "easy_meanflow", "torch", "numpy")
"""Packages whose objects a snapshot may hold; nothing is imported from them."""
TRIAL_TIME = 0.9
TRIAL_GAIN = 3.0
"""dB by which weights of the right clock and embedding denoise a smooth picture at that time."""


class Inert:
    """Stands for an object of a class that is never imported; the class's name is its type's."""

    state: Any = None
    """What the object was to be restored from: of a module, its attributes."""

    def __init__(self, *_: object):
        """Whatever a pickle builds it from is dropped."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Entries of what was a kind of dictionary are dropped."""


def inert(class_name: str) -> type[Inert]:
    return type(class_name, (Inert,), {})


def persistent(meta: Mapping[str, Any]) -> Inert:
    """In place of the function that executes a stored class's source: its name and attributes."""
    record = inert(meta["class_name"])()
    record.state = meta["state"]
    return record


def storage(content: bytes) -> Any:
    """A tensor's storage from a file within the pickle, which must hold nothing else."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


REBUILT: dict[tuple[str, str], Callable] = {
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): storage,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
}
"""All that a pickle may call, beside inert classes."""


class Reader(pickle.Unpickler):
    """Imports nothing and calls nothing that a file names."""

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) in REBUILT:
            return REBUILT[module, name]
        if f".{module}.{name}".endswith(f".{REBUILDER}"):
            return persistent
        if module.split(".")[0] in ROOTS:
            return inert(name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read(path: Path) -> dict[str, Any]:
    """What a snapshot holds.

    Raises:
        WeightsError: it is no snapshot, or would run code that no snapshot needs.
    """
    try:
        with open(path, "rb") as file:
            content = Reader(file).load()
        network = content["ema"]
        if not isinstance(network, Inert):
            raise TypeError(f"its network is a {type(network).__name__}")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged or hostile pickle happens to spell
        raise WeightsError(
            f"{path.name} is no snapshot of a flow-map denoiser "
            f"({' '.join(str(error).split())[:200]}); nothing of it was run."
        ) from error
    return content


def tensors(module: Inert, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The state dict of a module and those within it, in the order of registration."""
    state = module.state
    passing = state.get("_non_persistent_buffers_set", ())
    held = {**state["_parameters"], **state["_buffers"]}
    for name, tensor in held.items():
        if tensor is not None and name not in passing:
            yield prefix + name, tensor.detach().clone().contiguous()
    for name, child in state["_modules"].items():
        if child is not None:
            yield from tensors(child, f"{prefix}{name}.")


def convert(path: Path) -> Checkpoint:
    """A snapshot's averaged network, as the family loads it.

    Raises:
        WeightsError: as for `read`, or the network is of another kind.
    """
    content = read(path)
    network, loss = content["ema"], type(content.get("loss_fn")).__name__
    kind = type(network).__name__
    if kind != NETWORK:
        clock = ", whose clock is reversed" if kind == REVERSED else ""
        raise WeightsError(
            f"{path.name} holds a network of class {kind}{clock}; supported is {NETWORK}."
        )
    try:
        state = {
            name: tensor
            for name, tensor in tensors(network)
            if name.startswith(flow_map.PREFIX) and name not in flow_map.UNUSED
        }
    except (AttributeError, KeyError, MemoryError, RuntimeError, TypeError) as error:
        raise WeightsError(f"{path.name} holds a damaged {NETWORK} ({error}).") from error
    record = {
        "clock": flow_map.CLOCK,
        "inputs": "x, s, t",
        "range": "[-1, 1]",
        "flow": {"times": "velocity" if loss == VELOCITY_LOSS else "two-time"},
        "converted_from": path.name,
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return Checkpoint(path.name, shapes, record, tensors=state)


def write(checkpoint: Checkpoint, out: Path) -> None:
    """A safetensors file, whole or not at all."""
    unfinished = out.with_name(f"{out.name}.part")
    metadata = {"restoreflow": json.dumps(checkpoint.config)}
    try:
        save_file(dict(checkpoint.tensors), unfinished, metadata)
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)


@torch.inference_mode()
def trial(flow: Flow) -> tuple[float, float]:
    """PSNR in dB of a smooth picture with little noise, before and after the denoiser."""
    side = flow.native_size
    ramp = torch.linspace(0, torch.pi, side)
    clean = torch.stack([ramp.sin()[:, None] * (k * ramp).cos() for k in (0.5, 1.0, 1.5)])[None]
    clean = 0.5 + 0.3 * clean
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    source = flow.source_mean + flow.noise_std * noise
    rest = 1 - TRIAL_TIME
    state = TRIAL_TIME * clean + rest * source
    noisy = (state - rest * flow.source_mean) / TRIAL_TIME
    denoised = state + rest * flow.velocity(state, TRIAL_TIME, TRIAL_TIME)
    return tuple(metrics.psnr(picture, clean).item() for picture in (noisy, denoised))


def main() -> None:
    """Convert one file; exit with a sentence where that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("snapshot", type=Path, help="network-snapshot-NUMBER.pkl")
    parser.add_argument("out", type=Path, help="the safetensors file to write")
    parser.add_argument("--replace", action="store_true", help="even if there is such a file")
    options = parser.parse_args()
    out = options.out
    if out.suffix != ".safetensors":
        sys.exit(f"{out.name} is to be a safetensors file; call it {out.stem}.safetensors.")
    if out.exists() and not options.replace:
        sys.exit(f"{out} exists; give another name, or --replace.")
    try:
        checkpoint = convert(options.snapshot)
        flow = flow_map.load_flow(checkpoint)
        write(checkpoint, out)
    except (OSError, WeightsError) as error:
        sys.exit(str(error))
    before, after = trial(flow)
    print(f"{out.name}: {out.stat().st_size / 1e6:.1f} MB, {flow.times}, {flow.native_size} px")
    print(f"A smooth picture at time {TRIAL_TIME}: {before:.1f} dB, denoised {after:.1f} dB.")
    if after < before + TRIAL_GAIN:
        print("That is no denoiser: do not use this file; its times may be embedded otherwise.")


if __name__ == "__main__":
    main()
