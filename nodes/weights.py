"""Which weight files there are, and the parts that stay loaded between prompts."""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import comfy.model_management as mm
import folder_paths
import torch
from server import PromptServer

from ..models import download, hub, registry
from ..models.checkpoint import EXTENSIONS, WeightsError, config_file
from ..models.contracts import Part

FOLDER = "restoreflow"
EMBEDDED = Path(__file__).parent.parent / "models" / "embedded"
DEMO = "demo-denoise-25.safetensors"
LATENT_DEMO = "demo-latent-pmrf-25.safetensors"
DEMOS = (DEMO, LATENT_DEMO, "demo-elir-25.safetensors", "demo-flow-map.safetensors")
PRECISIONS = {
    "auto": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
KEPT_PARTS = 6
"""Enough for two graphs that take turns, each with a VAE, a posterior mean and a flow."""

T = TypeVar("T")
log = logging.getLogger(__name__)

_parts: OrderedDict[tuple, Any] = OrderedDict()
"""The host's own cache forgets a loader's output as soon as another graph runs, and holds models
by weak references only."""


def register_folder() -> None:
    """Add the pack's model folder to the host's, with the embedded weights in it."""
    add_folder(FOLDER, (_own_folder(), EMBEDDED), EXTENSIONS)


def add_folder(name: str, own: Sequence[Path], endings: Sequence[str]) -> None:
    """Let the host list a kind of files: those folders after any that the user has added."""
    paths, extensions = folder_paths.folder_names_and_paths.get(name, ([], set()))
    known = list(dict.fromkeys([*paths, *map(str, own)]))
    folder_paths.folder_names_and_paths[name] = (known, {*extensions, *endings})


def _own_folder() -> Path:
    """Where known weights are fetched to, and what `properties.models` of workflows means; roots
    that the user added may stand before it, and may be read-only shares."""
    return Path(folder_paths.models_dir, FOLDER)


def names() -> list[str]:
    """Every weight file in the pack's model folders, with forward slashes, the demos first."""
    found = {name.replace(os.sep, "/") for name in folder_paths.get_filename_list(FOLDER)}
    return [*DEMOS, *sorted(found - {*DEMOS}, key=str.casefold)]


def choices() -> list[str]:
    """What a loader offers: the demos, the known weights wherever they are, every other file.

    The host asks for it once while it loads the pack, when no file may be looked for yet.
    """
    files = [] if is_host_loading() else names()
    known = (known.name for known in hub.KNOWN if known.is_offered)
    return list(dict.fromkeys([*DEMOS, *known, *files]))


def is_host_loading() -> bool:
    """Whether the host is not up yet and reads the packs."""
    server = getattr(PromptServer, "instance", None)
    return server is not None and not server.app.frozen


def check(name: str | None) -> bool | str:
    """True if there is or will be such a file, however its folders were written; else a sentence.

    A name that another node will give is None until then.
    """
    there = name is None or name.replace("\\", "/") in names() or hub.named(name) is not None
    return True if there else _missing(name)


def fingerprint(name: str | None) -> str:
    """What changes when a weight file does; a known weight, which is verified, never does."""
    if name is None or hub.named(name):
        return ""
    path = folder_paths.get_full_path(FOLDER, name.replace("\\", "/"))
    return str(_stamp(Path(path))) if path else ""


def _missing(name: str) -> str:
    return (
        f"There is no weight file {name}; put it into models/{FOLDER} and refresh (press R), "
        "or choose another."
    )


def load(name: str, role: str, precision: str, ema: bool = True, **watch: Callable) -> Part:
    """The part that plays `role` in a weight file, kept for the next prompts.

    Args:
        ema: take the moving averages of the weights where a training checkpoint holds both.
        watch: `progress` and `tell` of `download.fetch`, for a known weight that must be fetched.

    Raises:
        WeightsError: no such file, it cannot be fetched, or cannot serve in this role or precision.
    """

    def read_part(path: Path) -> Part:
        return read(path, role, precision, ema)

    return kept(name, (role, precision, ema), read_part, **watch)


def kept(name: str, key: tuple, read: Callable[[Path], T], **watch: Callable) -> T:
    """What `read` makes of a weight file, kept for the next prompts.

    Args:
        name: of the file, as a loader offers it.
        key: what else distinguishes it from other things read from that file.
        read: called with the file's path, if it is not kept any more or has changed.
        watch: as for `load`.

    Raises:
        WeightsError: no such file, it cannot be fetched, or cannot serve in this role or precision.
    """
    path = _path(name, watch)
    key = (os.path.realpath(path), _stamp(path), *key)
    found = _parts.pop(key, None)
    if found is None:
        log.info("RestoreFlow: reading %s", name)
        found = read(path)
    _parts[key] = found
    while len(_parts) > KEPT_PARTS:
        _parts.popitem(last=False)
    return found


def _path(name: str, watch: dict[str, Callable]) -> Path:
    """The file, found in the model folders or the Hub's cache, else fetched into the own."""
    if path := folder_paths.get_full_path(FOLDER, name.replace("\\", "/")):
        return Path(path)
    known = hub.named(name)
    if known is None:
        raise WeightsError(_missing(name))
    interrupted = mm.throw_exception_if_processing_interrupted
    return hub.find(known, folder_paths.get_folder_paths(FOLDER)) or download.fetch(
        known, _own_folder(), check=interrupted, **watch
    )


def forget() -> None:
    """Let go of every part that no node holds."""
    _parts.clear()


def _stamp(path: Path) -> tuple[tuple[int, int], ...]:
    """Dates and sizes of the file and of the settings beside it: another stamp, another file."""
    stats = [file.stat() for file in (path, config_file(path)) if file]
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def read(path: Path, role: str, precision: str, ema: bool) -> Part:
    """The part that plays `role` in the file at a path, in a precision."""
    part = registry.load(path, role, ema)
    part.cast(_dtype(part, precision))
    return part


def chosen(precision: str) -> torch.dtype | None:
    """The dtype of a widget's value; None for auto."""
    if precision not in PRECISIONS:
        raise WeightsError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision}.")
    return PRECISIONS[precision]


def _dtype(part: Part, precision: str) -> torch.dtype:
    wanted = chosen(precision)
    if wanted is None:
        if part.exact:
            return torch.float32
        wanted = mm.unet_dtype(mm.get_torch_device(), part.parameter_count, list(part.dtypes))
        return wanted if wanted in part.dtypes else torch.float32
    if wanted not in part.dtypes:
        able = " or ".join(str(dtype).removeprefix("torch.") for dtype in part.dtypes)
        raise WeightsError(f"{part.name} does not run in {precision}; choose {able}.")
    return wanted
