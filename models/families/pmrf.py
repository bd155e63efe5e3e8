"""PMRF (Ohayon et al. 2025, arXiv 2410.00418): posterior mean, then a rectified flow, in pixels.

Files: the Hub's (`model.*` the flow, `mmse_model.*` the mean, two Inception copies to skip), the
Lightning checkpoints of the controlled experiments, and either network alone.
"""

import math
import re

import torch

from ..checkpoint import Checkpoint, WeightsError, fill
from ..contracts import Flow, PosteriorMean
from ..networks.hdit import HDiT, Level, Mapping
from . import restorer

FLOW_PREFIXES = ("model.", "")
MEAN_PREFIX = "mmse_model."
NOISE_STD = 0.1
"""Of blind face restoration and of every published task but denoising."""
STEPS = 25
"""The published inference script's number."""
KERNEL_SIZE = 7
NATIVE_SIZE = {2: 256, 3: 512}
"""Training size by number of levels: the controlled experiments', blind faces'."""
BYTES_PER_TOKEN_CHANNEL = 72
"""Peak float32 activations of a full-resolution layer, a token and channel of the first level."""


def _flow_prefix(checkpoint: Checkpoint) -> str | None:
    return next(
        (p for p in FLOW_PREFIXES if f"{p}patch_in.proj.weight" in checkpoint.shapes
         and f"{p}aug_in_proj.weight" in checkpoint.shapes),
        None,
    )  # fmt: skip


def _mean_prefix(checkpoint: Checkpoint) -> str | None:
    """`mmse_model.` beside a flow; `model.` where the posterior mean itself was trained."""
    return next(
        (p for p in (MEAN_PREFIX, "model.") if f"{p}conv_first.1.weight" in checkpoint.shapes),
        None,
    )


def has_flow(checkpoint: Checkpoint) -> bool:
    return _flow_prefix(checkpoint) is not None


def has_mean(checkpoint: Checkpoint) -> bool:
    return _mean_prefix(checkpoint) is not None


def load_mean(checkpoint: Checkpoint) -> PosteriorMean:
    """The SwinIR that PMRF starts from."""
    return restorer.load(checkpoint, _mean_prefix(checkpoint))


def load_flow(checkpoint: Checkpoint) -> Flow:
    """The HDiT, with what its experiment fixed about source, condition and noise."""
    prefix = _flow_prefix(checkpoint)
    network = build_network(
        checkpoint.part_shapes(prefix), checkpoint.config.get("self_attns"), checkpoint.name
    )
    state = checkpoint.part(prefix)
    names = [name for name, _ in network.named_parameters()]
    if checkpoint.averages:
        if len(checkpoint.averages) != len(names):
            raise WeightsError(
                f"{checkpoint.name} holds {len(checkpoint.averages)} moving averages for a flow "
                f"of {len(names)} parameters; fetch it again."
            )
        state |= zip(names, checkpoint.averages, strict=True)
    fill(network, state, checkpoint.name)
    channels = network.patch_in.proj.in_features // network.patch_in.factor**2
    return Flow(
        name=f"{checkpoint.name} (PMRF)",
        network=network.eval().requires_grad_(False),
        predict=lambda x, t, s: network(x, t),
        memory=_memory(network),
        multiple=network.patch_in.factor * 2 ** len(network.merges),
        minimum=_minimum(network),
        native_size=NATIVE_SIZE.get(len(network.merges) + 1),
        dtypes=(torch.bfloat16, torch.float16, torch.float32),
        steps=STEPS,
        start=float(checkpoint.config.get("eps", 0.0)),
        **_experiment(checkpoint, channels - 3),
    )


def _experiment(checkpoint: Checkpoint, condition_channels: int) -> dict:
    """What stands at t = 0, what the network sees beside the state, and the noise's std.

    The shapes tell only that there is a condition and its channels; the rest is the container's
    record, or for the Hub's file without one, that it holds a posterior mean.
    """
    config = checkpoint.config
    with_mean = has_mean(checkpoint) or bool(config.get("mmse_model_arch"))
    if condition_channels:
        return {
            "origin": "noise",
            "condition": "mean" if with_mean and condition_channels == 3 else "degraded",
            "condition_channels": condition_channels,
            "noise_std": 1.0,
        }
    noise_std = config.get("mmse_noise_std", NOISE_STD if with_mean else None)
    naive = config.get("stage") == "naive_flow"
    return {"origin": "degraded" if naive else "mean", "noise_std": noise_std}


def build_network(
    shapes: dict[str, tuple[int, ...]], attentions: list[dict] | None = None, name: str = "The file"
) -> HDiT:
    """The HDiT that a state dict of these shapes fits, without memory for its weights.

    Args:
        shapes: the published key names and their shapes.
        attentions: `{"type": "neighborhood" | "global", "kernel_size": k}` a level, where the
            container says so; the weights cannot. The published networks attend globally on
            their last level and over 7 x 7 tokens elsewhere.
        name: what a message calls the file.
    """
    count = 1 + _count(shapes, r"merges\.(\d+)\.")
    prefixes = [*(f"down_levels.{i}" for i in range(count - 1)), "mid_level"]
    kernels = [KERNEL_SIZE] * (count - 1) + [None]
    if attentions:
        kernels = [attention.get("kernel_size") for attention in attentions]
    try:
        levels = [_level(shapes, prefix, k) for prefix, k in zip(prefixes, kernels, strict=True)]
        patch = math.isqrt(shapes["patch_out.proj.weight"][0] // 3)
        mapping = Mapping(
            width=shapes["time_in_proj.weight"][0],
            depth=_count(shapes, r"mapping\.blocks\.(\d+)\."),
            d_ff=shapes["mapping.blocks.0.down_proj.weight"][1],
        )
        in_channels = shapes["patch_in.proj.weight"][1] // patch**2
    except KeyError as error:
        raise WeightsError(f"{name} lacks {error} of an HDiT; fetch it again.") from error
    with torch.device("meta"):
        return HDiT(levels, mapping, in_channels, 3, patch)


def _level(shapes: dict[str, tuple[int, ...]], prefix: str, kernel_size: int | None) -> Level:
    width, d_ff = shapes[f"{prefix}.0.ff.down_proj.weight"]
    return Level(
        width=width,
        depth=_count(shapes, re.escape(prefix) + r"\.(\d+)\."),
        heads=shapes[f"{prefix}.0.self_attn.scale"][0],
        d_ff=d_ff,
        kernel_size=kernel_size,
    )


def _count(shapes: dict[str, tuple[int, ...]], pattern: str) -> int:
    """How many distinct numbers the pattern's group meets."""
    return len({match[1] for name in shapes if (match := re.match(pattern, name))})


def _minimum(network: HDiT) -> int:
    """The smallest side: every windowed level's grid must hold its window."""
    levels = [*network.down_levels, network.mid_level]
    windows = [layers[0].self_attn.kernel_size or 1 for layers in levels]
    multiple = network.patch_in.factor * 2 ** (len(levels) - 1)
    needed = max(k * network.patch_in.factor * 2**i for i, k in enumerate(windows))
    return -(-needed // multiple) * multiple


def _memory(network: HDiT):
    """Peak activations: the first level's layers, where tokens are most."""
    patch, width = network.patch_in.factor, network.patch_in.proj.out_features

    def memory(height: int, width_px: int, batch: int, dtype: torch.dtype) -> int:
        tokens = height * width_px // patch**2
        return batch * tokens * width * BYTES_PER_TOKEN_CHANNEL * dtype.itemsize // 4

    return memory
