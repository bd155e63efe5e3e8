"""The seam to ComfyUI: every call of the host that the pack depends on.

Works on 0.3.75 and newer; what came later is detected, never required.
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

import comfy.model_management as mm
import comfy.utils
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..models.contracts import PIXEL, Domain, Memory, Part, PosteriorMean
from ..models.families import restorer
from ..sampling.integrate import Step
from ..sampling.pieces import Machine
from ..sampling.plug_and_play import Iterate
from . import weights
from .picture import to_pillow

LARGEST_WORTH_EVICTING = 1024
"""Pixels a side for which other models must make room; beyond, tiles cost less than that."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""How CUDA, MPS and the CPU's allocator on Linux and Windows put it."""

T = TypeVar("T")
log = logging.getLogger(__name__)

_patchers: WeakKeyDictionary[Part, ModelPatcher] = WeakKeyDictionary()


# Registration


def register() -> None:
    """Add the pack's model folder and listen for /free."""
    weights.register_folder()
    if (server := getattr(PromptServer, "instance", None)) is not None:
        server.app.on_response_prepare.append(_forget_when_told_to_free)


async def _forget_when_told_to_free(request, response) -> None:
    asked = request.method == "POST" and request.path in ("/free", "/api/free")
    if asked and response.status == 200:
        told = await request.json()
        if told.get("free_memory") or told.get("unload_models"):
            weights.forget()


def schema(**fields) -> io.Schema:
    """A node's schema, without the fields that this host does not know yet."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(**{name: value for name, value in fields.items() if name in known})


def advanced(widget: io.Input) -> io.Input:
    """Mark an input as one for experts, for hosts that fold those away."""
    widget.extra_dict = {**(getattr(widget, "extra_dict", None) or {}), "advanced": True}
    return widget


# Running


def expect(value: object, kind: type[T], node: str) -> T:
    """What arrived on a socket, if it is what the node needs; sockets of any type let all pass."""
    if not isinstance(value, kind):
        raise TypeError(f"{node} needs a {kind.__name__}; got a {type(value).__name__}.")
    return value


def as_posterior_mean(value: object) -> PosteriorMean:
    """What arrived on a POSTERIOR_MEAN or UPSCALE_MODEL socket, as a posterior mean."""
    if not hasattr(value, "size_requirements"):
        return expect(value, PosteriorMean, "Posterior Mean")
    part = restorer.from_descriptor(value, "The upscale model")
    if getattr(value, "patcher", None) is None:
        value.patcher = _patcher(part)
    adopt(part, value.patcher)
    return part


def _patcher(part: Part) -> ModelPatcher:
    return ModelPatcher(part.network, mm.get_torch_device(), mm.unet_offload_device())


def adopt(part: Part, patcher: ModelPatcher) -> None:
    """Let the host's own patcher move the weights of a part."""
    _patchers[part] = patcher


def ready(part: Part, planes: Tensor, memory: Memory | None = None) -> Machine:
    """Bring the weights to the device, with room for a call, and say how it runs.

    To be called before every run: other nodes may have moved the weights away.

    Args:
        part: whose weights.
        planes: [B, C, H, W] that the call will see.
        memory: what it needs; the part's own by default.
    """
    if part not in _patchers:
        _patchers[part] = _patcher(part)
    patcher = _patchers[part]
    batch, _, *sides = planes.shape
    largest = part.native_size or LARGEST_WORTH_EVICTING
    needed = (memory or part.memory)(*(min(side, largest) for side in sides), batch, part.dtype)
    mm.load_models_gpu([patcher], memory_required=needed, force_full_load=True)
    part.network.to(patcher.load_device)  # core nodes move upscale models behind the patcher
    return Machine(
        free_bytes=lambda: mm.get_free_memory(patcher.load_device),
        is_out_of_memory=_is_out_of_memory,
        before_call=mm.throw_exception_if_processing_interrupted,
        tell=tell,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    known = getattr(mm, "is_oom", lambda error: False)
    text = str(error).lower()
    return (
        isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
        or known(error)
        or (isinstance(error, RuntimeError) and any(sign in text for sign in OUT_OF_MEMORY))
    )


def tell(text: str) -> None:
    """A line in the log and, while a node runs, on that node."""
    log.info("RestoreFlow: %s", text)
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return
    context = get_executing_context()
    if context is not None and getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_progress_text(text, context.node_id)


def watched() -> bool:
    """Whether somebody who sees the nodes asked for the graph that runs; jobs have nobody."""
    return getattr(getattr(PromptServer, "instance", None), "client_id", None) is not None


def progress(done: int, total: int) -> None:
    """Show how many of how many pieces are done."""
    comfy.utils.ProgressBar(total).update_absolute(done, total)


def observer(steps: int, first: Tensor, domain: Domain = PIXEL) -> Callable[[Step], None]:
    """Show progress, and live previews where the host is set to: first a picture, then each step.

    Args:
        steps: how many there will be.
        first: [B, 3, H, W] in [0, 1], or latents [B, C, h, w] as on the wire.
        domain: what it is; latents are shown in the colours of its linear map, if it has one.
    """
    show = _shown(steps, domain)
    height, width = first.shape[-2:]
    show(0, lambda: first)
    return lambda step: show(step.i + 1, lambda: domain.to_wire(step.clean[..., :height, :width]))


def follower(steps: int) -> Callable[[Iterate], None]:
    """Show progress and live previews of a solver's passes.

    Args:
        steps: how many there will be.
    """
    show = _shown(steps, PIXEL)
    return lambda done: show(done.i + 1, lambda: done.clean)


def _shown(steps: int, domain: Domain) -> Callable[[int, Callable[[], Tensor]], None]:
    """Shows how many steps are done and, where it is wanted and can be seen, a picture."""
    bar = comfy.utils.ProgressBar(steps)
    visible = domain is PIXEL or domain.preview is not None

    def colours(wire: Tensor) -> Tensor:
        if domain is PIXEL:
            return wire
        linear = domain.preview.to(wire)
        return torch.einsum("bchw,cr->brhw", wire[:1], linear[:-1]) + linear[-1][:, None, None]

    def show(done: int, picture: Callable[[], Tensor]) -> None:
        wanted = args.preview_method != LatentPreviewMethod.NoPreviews and visible
        bar.update_absolute(done, steps, _preview(colours(picture())) if wanted else None)

    return show


def _preview(pictures: Tensor) -> tuple[str, Image.Image, int]:
    """The batch's first picture as the host's progress bar takes previews."""
    size = getattr(args, "preview_size", 512)
    stride = max(1, max(pictures.shape[-2:]) // size)
    return "JPEG", to_pillow(pictures[0, :, ::stride, ::stride]), size
