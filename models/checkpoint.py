"""From a file to tensors under plain names; the only place that reads weights.

Reads safetensors lazily, and PyTorch pickles with `weights_only=True`, so that no checkpoint ever
runs code.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]

EXTENSIONS = (".safetensors", ".sft", ".ckpt", ".pth", ".pt")
CONTAINERS = ("model", "diffusion_pytorch_model")
"""What the Hub and diffusers call every network's file; its folder says which one it is."""
NO_WEIGHTS = (b"<", b"{", b"version https://git-lfs")
"""How web pages, answers of programs and git's pointers begin."""


class WeightsError(ValueError):
    """A weight file that cannot serve; the message says what was wrong and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds, whatever its container."""

    name: str
    """The file, for messages."""
    shapes: Mapping[str, tuple[int, ...]]
    """Every tensor's name and shape, in the file's order."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the container tells beside the tensors: hyperparameters, training record."""
    averages: tuple[Tensor, ...] = ()
    """Exponential moving averages of the trained network's parameters, in its own order."""
    tensors: Mapping[str, Tensor] | None = None
    """The tensors, where the container was read whole; None where `path` is read on demand."""
    path: Path | None = None

    def part(self, prefix: str) -> StateDict:
        """The tensors whose names begin with `prefix`, without it; the rest is not read."""
        names = [name for name in self.shapes if name.startswith(prefix)]
        if self.tensors is not None:
            return {name.removeprefix(prefix): self.tensors[name] for name in names}
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}

    def trained(self, prefix: str, buffers: tuple[str, ...]) -> StateDict:
        """As `part`, with the moving averages in place of the parameters where there are any.

        Args:
            prefix: of the network that was trained.
            buffers: how the names of its tensors end that are no parameters.

        Raises:
            WeightsError: there are not as many averages as parameters, or of other shapes.
        """
        state = self.part(prefix)
        if not self.averages:
            return state
        names = [name for name in state if not name.endswith(buffers)]
        if [state[name].shape for name in names] != [average.shape for average in self.averages]:
            raise WeightsError(
                f"{self.name} holds {len(self.averages)} moving averages that do not fit the "
                f"{len(names)} parameters of its network; delete it and fetch it again."
            )
        return {**state, **dict(zip(names, self.averages, strict=True))}

    def part_shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """As `part`, but the shapes alone."""
        return {
            name.removeprefix(prefix): shape
            for name, shape in self.shapes.items()
            if name.startswith(prefix)
        }


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """12 hexadecimal digits that tell one network's weights from another's, whatever their order.

    Compared in float16, so that a file and its half-precision copy agree.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def fill(network: nn.Module, state: StateDict, name: str, prefix: str = "") -> None:
    """Give a network its tensors, every one of them and no other; arguments as for `check_fit`.

    Convolutions keep theirs channels last, in which they are faster (`run.py bench`).
    """
    check_fit(network.state_dict(), state, name, prefix)
    network.load_state_dict(state, assign=True)
    network.to(memory_format=torch.channels_last)


def check_fit(expected: StateDict, state: StateDict, name: str, prefix: str = "") -> None:
    """Say if tensors are not those that a network takes.

    Args:
        expected: the network's.
        state: those that there are.
        name: of their file.
        prefix: under which the file holds them.

    Raises:
        WeightsError: tensors are missing, left over or of another shape; names the file and the
            first of each.
    """
    faults = {
        "lacks": [key for key in expected if key not in state],
        "also holds": [key for key in state if key not in expected],
        "has another shape for": [
            key for key in expected if key in state and state[key].shape != expected[key].shape
        ],
    }
    found = [
        f"{what} {prefix}{keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
        for what, keys in faults.items()
        if keys
    ]
    if found:
        raise WeightsError(
            f"{name} does not fit the network it was taken for: it {', '.join(found)}; "
            "delete it and fetch it again, or choose another file."
        )


def read(path: Path, ema: bool = True) -> Checkpoint:
    """Open a weight file.

    Args:
        ema: take the moving averages of the weights where a training checkpoint holds both.

    Raises:
        WeightsError: the file is missing, not a weight file, damaged, or would execute code.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weight file {path.name}; put it into a model folder.")
    suffix = path.suffix.lower()
    if suffix not in EXTENSIONS:
        raise WeightsError(
            f"{path.name} is no weight file; expected one of {', '.join(EXTENSIONS)}."
        )
    return _safetensors(path) if suffix in (".safetensors", ".sft") else _pickle(path, ema)


def _safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{_name(path)} is damaged or not a safetensors file ({error}); delete it and fetch it "
            "again."
        ) from error
    name = _name(path)
    config = _json("config.json beside it", _config_beside(path), name)
    record = _json("its record", metadata.get("restoreflow", "{}"), name)
    return Checkpoint(name, shapes, {**config, **record}, path=path)


def config_file(path: Path) -> Path | None:
    """The hyperparameters that containers of one folder a network keep in `config.json`.

    Those of the Hub and of diffusers; under another name a file stands for itself.
    """
    file = path.with_name("config.json")
    return file if path.stem in CONTAINERS and file.is_file() else None


def _name(path: Path) -> str:
    """What messages call a file."""
    return f"{path.parent.name}/{path.name}" if path.stem in CONTAINERS else path.name


def _config_beside(path: Path) -> str:
    file = config_file(path)
    return file.read_text(encoding="utf-8", errors="replace") if file else "{}"


def _json(what: str, text: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{name}: {what} is not JSON ({error}); delete it and fetch it again."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{name}: {what} holds no settings; delete it and fetch it again.")
    return content


def _pickle(path: Path, ema: bool) -> Checkpoint:
    with open(path, "rb") as file:
        beginning = file.read(64).lstrip().lower()
    if beginning.startswith(NO_WEIGHTS):
        raise WeightsError(
            f"{path.name} is a web page or a pointer to a file instead of the file; delete it and "
            "fetch it again."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged pickle happens to spell
        unsafe = isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error)
        if unsafe and "invalid load key" not in str(error):
            raise WeightsError(
                f"{path.name} holds more than tensors and would have to run code to load; "
                "it was not opened. Ask for a safetensors file."
            ) from error
        raise WeightsError(
            f"{path.name} is damaged, incomplete or no weight file; delete it and fetch it again."
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path.name} holds no state dict, but a {type(content).__name__}.")
    try:
        return _unwrap(_name(path), content, ema)
    except (AttributeError, LookupError, TypeError) as error:
        raise WeightsError(
            f"{path.name} is a training checkpoint of an unknown kind ({error})."
        ) from error


def _unwrap(name: str, content: Mapping[str, Any], ema: bool) -> Checkpoint:
    """The state dict inside a training checkpoint: BasicSR's, Lightning's, ELIR's own.

    ELIR's holds the averages of each part under `state_dict_<part>`.
    """
    wrappers = ("params_ema", "params") if ema else ("params", "params_ema")
    inner = (content.get(key) for key in (*wrappers, "state_dict"))
    state = next((state for state in inner if isinstance(state, Mapping)), content)
    parts = {
        key.removeprefix("state_dict_"): part
        for key, part in content.items()
        if key.startswith("state_dict_") and isinstance(part, Mapping)
    }
    if ema and parts:
        state = {f"{name}.{key}": t for name, part in parts.items() for key, t in part.items()}
    tensors = {
        key.removeprefix("module."): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    if not tensors and parts:
        raise WeightsError(f"{name} holds moving averages of its weights alone; switch ema on.")
    if not tensors:
        raise WeightsError(f"{name} holds no tensors; choose another file.")
    return Checkpoint(
        name,
        {key: tuple(value.shape) for key, value in tensors.items()},
        dict(content.get("hyper_parameters") or {}),
        tuple((content.get("ema") or {}).get("shadow_params") or ()) if ema else (),
        tensors,
    )
