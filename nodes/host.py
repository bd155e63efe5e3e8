"""The seam to ComfyUI: every call of the host that the pack depends on.

Works on 0.3.75 and newer; what came later is detected, never required.
"""

import dataclasses
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

import comfy.model_management as mm
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..models import registry
from ..models.checkpoint import EXTENSIONS, WeightsError
from ..models.contracts import Part
from ..models.contracts import PosteriorMean as PosteriorMeanPart
from ..models.families import restorer
from ..sampling.integrate import Step
from ..sampling.tiling import Machine

FOLDER = "restoreflow"
EMBEDDED = Path(__file__).parent.parent / "models" / "embedded"
DEMO_WEIGHTS = "demo-denoise-25.safetensors"
PRECISIONS = {
    "auto": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
KEPT_FILES = 4
"""Enough for two graphs whose posterior mean and flow come from files of their own."""

log = logging.getLogger(__name__)

_parts: OrderedDict[tuple, dict[tuple[str, str], Part]] = OrderedDict()
"""Parts that stay loaded between prompts, by file, then by (role, precision): the host's own cache
forgets a loader's output as soon as another graph runs, and holds models by weak references."""
_patchers: WeakKeyDictionary[Part, ModelPatcher] = WeakKeyDictionary()


# Registration


def register() -> None:
    """Add the pack's model folder, with the embedded weights in it, and listen for /free."""
    paths, extensions = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    own = [os.path.join(folder_paths.models_dir, FOLDER), str(EMBEDDED)]
    folder_paths.folder_names_and_paths[FOLDER] = (
        list(dict.fromkeys([*paths, *own])),
        {*extensions, *EXTENSIONS},
    )
    if (server := getattr(PromptServer, "instance", None)) is not None:
        server.app.on_response_prepare.append(_forget_when_told_to_free)


async def _forget_when_told_to_free(request, response) -> None:
    if (
        request.method == "POST"
        and request.path in ("/free", "/api/free")
        and response.status == 200
    ):
        told = await request.json()
        if told.get("free_memory") or told.get("unload_models"):
            _parts.clear()


def schema(**fields) -> io.Schema:
    """A node's schema, without the fields that this host does not know yet."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(**{name: value for name, value in fields.items() if name in known})


def advanced(widget: io.Input) -> io.Input:
    """Mark an input as one for experts, for hosts that fold those away."""
    widget.extra_dict = {**(getattr(widget, "extra_dict", None) or {}), "advanced": True}
    return widget


# Weights


def weight_names() -> list[str]:
    """Every weight file in the pack's model folders, with forward slashes, the demo's first."""
    names = {name.replace(os.sep, "/") for name in folder_paths.get_filename_list(FOLDER)}
    return [DEMO_WEIGHTS, *sorted(names - {DEMO_WEIGHTS}, key=str.casefold)]


def check_weights(name: str) -> bool | str:
    """True if there is such a file, however its folders were written; a sentence if not."""
    if name.replace("\\", "/") in weight_names():
        return True
    return (
        f"There is no weight file {name}; put it into models/{FOLDER} and refresh (press R), "
        "or choose another."
    )


def load(name: str, role: str, precision: str) -> Part:
    """The part that plays `role` in a weight file, kept for the next prompts.

    Raises:
        WeightsError: no such file, or it cannot serve in this role or precision.
    """
    path = folder_paths.get_full_path(FOLDER, name.replace("\\", "/"))
    if path is None:
        raise WeightsError(check_weights(name))
    stat = os.stat(path)
    file = (os.path.realpath(path), stat.st_mtime_ns, stat.st_size)
    parts = _parts.get(file, {})
    if (role, precision) not in parts:
        part = registry.load(Path(path), role)
        part.cast(_dtype(part, precision))
        parts[role, precision] = part
    _parts[file] = parts
    _parts.move_to_end(file)
    while len(_parts) > KEPT_FILES:
        _parts.popitem(last=False)
    return parts[role, precision]


def _dtype(part: Part, precision: str) -> torch.dtype:
    if precision not in PRECISIONS:
        raise WeightsError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision}.")
    wanted = PRECISIONS[precision]
    if wanted is None:
        wanted = mm.unet_dtype(mm.get_torch_device(), part.parameter_count, list(part.dtypes))
        return wanted if wanted in part.dtypes else torch.float32
    if wanted not in part.dtypes:
        able = " or ".join(str(dtype).removeprefix("torch.") for dtype in part.dtypes)
        raise WeightsError(f"{part.name} does not run in {precision}; choose {able}.")
    return wanted


def as_posterior_mean(value: object) -> PosteriorMeanPart:
    """What arrives on a POSTERIOR_MEAN or UPSCALE_MODEL socket, as a posterior mean."""
    if isinstance(value, PosteriorMeanPart):
        return value
    if not hasattr(value, "size_requirements"):
        raise WeightsError(
            "Posterior Mean needs a posterior mean or an upscale model; "
            f"got {type(value).__name__}."
        )
    part = restorer.from_descriptor(value, "The upscale model")
    if getattr(value, "patcher", None) is None:
        value.patcher = _patcher(part)
    _patchers[part] = value.patcher
    return part


def _patcher(part: Part) -> ModelPatcher:
    return ModelPatcher(part.network, mm.get_torch_device(), mm.unet_offload_device())


# Running


def ready(part: Part, picture: Tensor) -> Machine:
    """Bring the weights to the device, with room for a call on [B, 3, H, W], and say how it runs.

    To be called before every run: other nodes may have moved the weights away.
    """
    patcher = _patchers.setdefault(part, _patcher(part))
    batch, _, height, width = picture.shape
    size = (part.native_size or max(height, width),) * 2
    needed = part.memory(min(height, size[0]), min(width, size[1]), batch, part.dtype)
    mm.load_models_gpu([patcher], memory_required=needed, force_full_load=True)
    part.network.to(patcher.load_device)  # core nodes move upscale models behind the patcher
    return Machine(
        free_bytes=lambda: mm.get_free_memory(patcher.load_device),
        is_out_of_memory=_is_out_of_memory,
        before_call=mm.throw_exception_if_processing_interrupted,
        tell=_tell,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    known = getattr(mm, "is_oom", lambda error: False)
    exhausted = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    return exhausted or known(error) or "can't allocate memory" in str(error)


def _tell(text: str) -> None:
    """A line in the log and, while a node runs, on that node."""
    log.info("RestoreFlow: %s", text)
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return
    context = get_executing_context()
    if context is not None and getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_progress_text(text, context.node_id)


def observer(steps: int, first: Tensor) -> Callable[[Step], None]:
    """Show progress, and live previews where the host is set to: first a picture, then each step.

    Args:
        steps: how many there will be.
        first: [B, 3, H, W] in [0, 1].
    """
    bar = comfy.utils.ProgressBar(steps)
    height, width = first.shape[-2:]

    def show(done: int, picture: Callable[[], Tensor]) -> None:
        wanted = args.preview_method != LatentPreviewMethod.NoPreviews
        bar.update_absolute(done, steps, _preview(picture()) if wanted else None)

    show(0, lambda: first)
    return lambda step: show(step.i + 1, lambda: step.clean[..., :height, :width])


def _preview(pictures: Tensor) -> tuple[str, Image.Image, int]:
    """The batch's first picture as the host's progress bar takes previews."""
    size = getattr(args, "preview_size", 512)
    stride = max(1, max(pictures.shape[-2:]) // size)
    levels = (pictures[0, :, ::stride, ::stride].clamp(0, 1) * 255).round()
    pixels = levels.to("cpu", torch.uint8).movedim(0, -1).contiguous().numpy()
    return "JPEG", Image.fromarray(pixels), size
