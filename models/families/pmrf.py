"""PMRF (Ohayon et al. 2025, arXiv 2410.00418): posterior mean, then a rectified flow, in pixels.

Files: the Hub's (`model.*` the flow, `mmse_model.*` the mean, two Inception copies to skip), the
Lightning checkpoints of the controlled experiments, and either network alone.
"""

import math
import re

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, StateDict, WeightsError, fill
from ..contracts import Flow, Memory, Phase, PosteriorMean, most_of
from ..networks.hdit import HDiT, Level, Mapping, make_exact
from ..networks.pieces import piece_bytes
from . import restorer

FLOW_PREFIXES = ("model.", "")
MEAN_PREFIXES = ("mmse_model.", "model.", "")
FLOW_BUFFERS = ("time_emb.weight", "aug_emb.weight", "pos_emb.freqs")
MEAN_BUFFERS = ("relative_position_index", "attn_mask")
NOISE_STD = 0.1
"""Of blind face restoration and of every published task but denoising."""
STEPS = 25
"""The published inference script's number."""
KERNEL_SIZE = 7
NATIVE_SIZE = {2: 256, 3: 512}
"""Training size by number of levels: the controlled experiments', blind faces'."""


def _flow_prefix(checkpoint: Checkpoint) -> str | None:
    return next(
        (p for p in FLOW_PREFIXES if f"{p}patch_in.proj.weight" in checkpoint.shapes
         and f"{p}aug_in_proj.weight" in checkpoint.shapes),
        None,
    )  # fmt: skip


def _mean_prefix(checkpoint: Checkpoint) -> str | None:
    """`mmse_model.` beside a flow; `model.` where the posterior mean itself was trained; none."""
    return next((p for p in MEAN_PREFIXES if f"{p}conv_first.1.weight" in checkpoint.shapes), None)


def has_flow(checkpoint: Checkpoint) -> bool:
    return _flow_prefix(checkpoint) is not None


def has_mean(checkpoint: Checkpoint) -> bool:
    return _mean_prefix(checkpoint) is not None


def load_mean(checkpoint: Checkpoint) -> PosteriorMean:
    """The SwinIR that PMRF starts from."""
    prefix = _mean_prefix(checkpoint)
    was_trained = prefix == "model."
    state = checkpoint.trained(prefix, MEAN_BUFFERS) if was_trained else checkpoint.part(prefix)
    fill_window_buffers(state)
    return restorer.build(state, checkpoint.name)


def load_flow(checkpoint: Checkpoint) -> Flow:
    """The HDiT, with what its experiment fixed about source, condition and noise."""
    prefix, config = _flow_prefix(checkpoint), checkpoint.config
    network = build_network(
        checkpoint.part_shapes(prefix), config.get("self_attns"), checkpoint.name
    )
    fill(network, checkpoint.trained(prefix, FLOW_BUFFERS), checkpoint.name, prefix)
    make_exact(network)
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
        start=float(config.get("eps") or 0.0),
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
    return {
        "origin": "degraded" if naive else "mean",
        "noise_std": None if noise_std is None else float(noise_std),
    }


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
        kernels = [_kernel_size(attention, name) for attention in attentions]
    if len(kernels) != count:
        raise WeightsError(f"{name} describes {len(kernels)} levels of attention for {count}.")
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
        raise WeightsError(
            f"{name} lacks {error} of an HDiT; delete it and fetch it again."
        ) from error
    with torch.device("meta"):
        return HDiT(levels, mapping, in_channels, 3, patch)


def _kernel_size(attention: dict, name: str) -> int | None:
    """Of a level's attention as k-diffusion's configurations write it."""
    kinds = {"neighborhood": attention.get("kernel_size", KERNEL_SIZE), "global": None}
    if attention.get("type") not in kinds:
        raise WeightsError(
            f"{name} asks for attention of type {attention.get('type')}; "
            f"known are {' and '.join(kinds)}."
        )
    return kinds[attention["type"]]


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


def _memory(network: HDiT) -> Memory:
    """What a layer of the finest level holds, in bands or, where a band would be larger, whole."""
    channels = network.patch_in.proj.out_features / network.patch_in.factor**2

    def memory(height: int, width: int, batch: int, dtype: torch.dtype) -> int:
        piece = piece_bytes(next(network.parameters()).device)
        finest = Phase(follows=28.6 * channels, kept=1.4 * channels, fixed=2 * piece)
        coarser = Phase(fixed=6 * piece)
        ways = most_of(Phase(follows=72 * channels)), most_of(finest, coarser)
        return min(way(height, width, batch, dtype) for way in ways)

    return memory


def fill_window_buffers(state: StateDict) -> None:
    """Add the tables that a SwinIR's file may leave out, since they follow from shapes.

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
