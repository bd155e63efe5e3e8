"""Posterior means from spandrel: any image restoration network that it recognises.

A network trained for least squares estimates the posterior mean; one trained against a
discriminator does not, and only the user can know which it is.
"""

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint, StateDict, WeightsError
from ..contracts import Phase, PosteriorMean, most_of

BYTES_PER_PIXEL: dict[str, Callable[[nn.Module], int]] = {
    "Compact": lambda network: 7 * network.num_feat // network.upscale**2,
    "ESRGAN": lambda network: 8 * network.model[0].out_channels,
    "NAFNet": lambda network: 31 * network.intro.out_channels,
    "SwinIR": lambda network: max(
        (3460 + 38 * network.embed_dim) // network.upscale**2, 552 if network.upscale > 1 else 0
    ),
}
"""Peak float32 activations, a pixel of the result (`scripts/measure_memory.py`)."""
OTHER_BYTES_PER_PIXEL = 1600
"""The host's own allowance for a network it does not know, rounded up."""


def is_one(checkpoint: Checkpoint) -> bool:
    """Whether spandrel recognises the file's tensors; reads none of them."""
    from spandrel import MAIN_REGISTRY, canonicalize_state_dict

    hollow = canonicalize_state_dict(
        {name: torch.empty(shape, device="meta") for name, shape in checkpoint.shapes.items()}
    )
    return any(support.detect(hollow) for support in MAIN_REGISTRY.architectures("detection"))


def load(checkpoint: Checkpoint, prefix: str = "") -> PosteriorMean:
    """The network under `prefix` as a posterior mean."""
    return build(checkpoint.part(prefix), checkpoint.name)


def build(state: StateDict, name: str) -> PosteriorMean:
    """The network of these tensors as a posterior mean.

    Raises:
        WeightsError: the tensors are not those of the network that they look like.
    """
    from spandrel import ModelLoader

    try:
        with warnings.catch_warnings():  # its own use of torch.meshgrid is nothing a user can mend
            warnings.filterwarnings("ignore", "torch.meshgrid")
            descriptor = ModelLoader(device="cpu").load_from_state_dict(state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{name} looks like a known restoration network, but its tensors do not "
            f"fit it: {' '.join(str(error).split())[:300]}"
        ) from error
    descriptor.model.to(memory_format=torch.channels_last)  # faster, as in `fill`
    return from_descriptor(descriptor, name)


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
    architecture, scale = descriptor.architecture.id, descriptor.scale
    measured = BYTES_PER_PIXEL.get(architecture, lambda network: OTHER_BYTES_PER_PIXEL)
    return PosteriorMean(
        name=f"{name} ({architecture})",
        network=_with_masks_alike(descriptor.model).eval().requires_grad_(False),
        predict=descriptor,
        memory=most_of(Phase(follows=measured(descriptor.model) * scale**2, kept=20 * scale)),
        multiple=requirements.multiple_of,
        minimum=max(requirements.minimum, 1),
        scale=scale,
        dtypes=_precisions(descriptor),
        cast_whole=True,
    )


def _with_masks_alike(network: nn.Module) -> nn.Module:
    """Let window attention mask in the precision of its weights, in place.

    spandrel's SwinIR forms the masks of every size but the trained one in float32, which its other
    half-precision tensors then refuse.
    """
    for block in network.modules():
        if "calculate_mask" in dir(type(block)):
            block.calculate_mask = partial(_mask, block)
    return network


def _mask(block: nn.Module, size: tuple[int, int]) -> Tensor:
    return type(block).calculate_mask(block, size).to(next(block.parameters()).dtype)


def _precisions(descriptor) -> tuple[torch.dtype, ...]:
    optional = {
        torch.bfloat16: descriptor.supports_bfloat16,
        torch.float16: descriptor.supports_half,
    }
    return (*(dtype for dtype, works in optional.items() if works), torch.float32)
