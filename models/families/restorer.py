"""Posterior means from spandrel: any image restoration network that it recognises.

A network trained for least squares estimates the posterior mean; one trained against a
discriminator does not, and only the user can know which it is.
"""

import re
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint, StateDict, WeightsError
from ..contracts import PosteriorMean

BYTES_PER_PIXEL: dict[str, Callable[[nn.Module], int]] = {
    "NAFNet": lambda network: 38 * network.intro.out_channels,
    "SwinIR": lambda network: 600,
}
"""Peak activations of one float32 call, a pixel, measured by architecture."""
OTHER_BYTES_PER_PIXEL = 1600
"""The host's own allowance for a network it does not know, rounded up."""


def is_one(checkpoint: Checkpoint, prefix: str = "") -> bool:
    """Whether spandrel recognises the tensors under `prefix`; reads no tensor."""
    from spandrel import MAIN_REGISTRY, canonicalize_state_dict

    shapes = checkpoint.part_shapes(prefix)
    hollow = canonicalize_state_dict(
        {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    )
    return any(support.detect(hollow) for support in MAIN_REGISTRY.architectures("detection"))


def load(checkpoint: Checkpoint, prefix: str = "") -> PosteriorMean:
    """The network under `prefix` as a posterior mean."""
    from spandrel import ModelLoader

    state = checkpoint.part(prefix)
    fill_window_buffers(state)
    try:
        with warnings.catch_warnings():  # its own use of torch.meshgrid is nothing a user can mend
            warnings.filterwarnings("ignore", "torch.meshgrid")
            descriptor = ModelLoader(device="cpu").load_from_state_dict(state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{checkpoint.name} looks like a known restoration network, but its tensors do not "
            f"fit it: {' '.join(str(error).split())[:300]}"
        ) from error
    return from_descriptor(descriptor, checkpoint.name)


def from_descriptor(descriptor, name: str) -> PosteriorMean:
    """A loaded spandrel image model as a posterior mean.

    Args:
        descriptor: spandrel's `ImageModelDescriptor`, also what ComfyUI's UPSCALE_MODEL holds.
        name: what messages call it.
    """
    if descriptor.input_channels != 3 or descriptor.output_channels != 3:
        raise WeightsError(
            f"{name} maps {descriptor.input_channels} channels to {descriptor.output_channels}; "
            "a posterior mean of photographs needs a network from 3 to 3."
        )
    requirements = descriptor.size_requirements
    architecture = descriptor.architecture.id
    measured = BYTES_PER_PIXEL.get(architecture, lambda network: OTHER_BYTES_PER_PIXEL)
    bytes_per_pixel = measured(descriptor.model)

    def memory(height: int, width: int, batch: int, dtype: torch.dtype) -> int:
        area = height * width * descriptor.scale**2
        return batch * area * bytes_per_pixel * dtype.itemsize // 4

    return PosteriorMean(
        name=f"{name} ({architecture})",
        network=descriptor.model.eval().requires_grad_(False),
        predict=descriptor,
        memory=memory,
        multiple=requirements.multiple_of,
        minimum=max(requirements.minimum, 1),
        scale=descriptor.scale,
        dtypes=_precisions(descriptor),
        cast_whole=True,
    )


def _precisions(descriptor) -> tuple[torch.dtype, ...]:
    optional = {
        torch.bfloat16: descriptor.supports_bfloat16,
        torch.float16: descriptor.supports_half,
    }
    return (*(dtype for dtype, works in optional.items() if works), torch.float32)


def fill_window_buffers(state: StateDict) -> None:
    """Add the tables that a Swin transformer's file may leave out, since they follow from shapes.

    The relative position of any two tokens of a window, and the mask that keeps tokens of a
    shifted window (every second block) from attending across the picture's border, on the 64 x 64
    grid for which the published files hold it (Liang et al. 2021, arXiv 2108.10257).
    """
    suffix = ".attn.relative_position_bias_table"
    for table in [name for name in state if name.endswith(suffix)]:
        block = table.removesuffix(suffix)
        window = (int(state[table].shape[0] ** 0.5) + 1) // 2
        state.setdefault(f"{block}.attn.relative_position_index", _relative_positions(window))
        if re.search(r"blocks\.\d*[13579]$", block):
            state.setdefault(f"{block}.attn_mask", _shift_mask(64 // window * window, window))


def _relative_positions(window: int) -> Tensor:
    """[window^2, window^2] rows of the bias table, query minus key."""
    axis = torch.arange(window)
    y, x = axis.repeat_interleave(window), axis.repeat(window)
    dy, dx = (part[:, None] - part[None, :] + window - 1 for part in (y, x))
    return dy * (2 * window - 1) + dx


def _shift_mask(side: int, window: int) -> Tensor:
    """[windows, window^2, window^2]: -100 between tokens that only the roll made neighbours."""
    zone = torch.zeros(side, dtype=torch.long)
    zone[-window:] = 1
    zone[-(window // 2) :] = 2
    zones = (zone[:, None] * 3 + zone[None, :]).reshape(side // window, window, -1, window)
    tokens = zones.permute(0, 2, 1, 3).reshape(-1, window * window)
    return torch.where(tokens[:, :, None] == tokens[:, None, :], 0.0, -100.0)
