"""Latent-PMRF (Luo et al. 2025, arXiv 2507.00447): PMRF's flow in the latents of a Sim-VAE.

The posterior mean is of pixels, and any will do; its latent is the flow's source. Files: the
Sim-VAE's diffusers folder (`diffusion_pytorch_model.safetensors` and `config.json` beside it), the
flow network (a LooUFormer) in the same form, either alone, or both under prefixes in one file.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, StateDict, WeightsError, fill, fingerprint
from ..contracts import Autoencoder, Domain, Flow, Phase, most_of
from ..networks import hdit
from ..networks.flow_unet import count_children
from ..networks.hdit import Level, make_exact
from ..networks.looformer import LooUFormer, Options
from ..networks.simvae import SimVAE, SimVAEShape

Shapes = Mapping[str, tuple[int, ...]]
Config = Mapping[str, Any]

log = logging.getLogger(__name__)

COMPILED = "_orig_mod."
"""What a network saved while compiled has in its names."""
VAE_PREFIXES = ("", "vae.", "vae/")
FLOW_PREFIXES = ("", "flow.", "flow/")
PUBLISHED_FACTOR = 8
NOISE_STD = 0.1
"""Of the source noise, in the network's latents (Section 3.2)."""
STEPS = 25
"""Of every published test script."""
SMALLEST_SIGMA = 1e-3
"""The last of the thousand levels that are trained; a solver of second order asks for 0."""
FLOW_MULTIPLE = 4
"""Latents a side of three levels: pictures are padded for the flow before they are encoded."""
KERNEL_SIZE = 7
"""As PMRF's, where the container names no windows."""
NATIVE_SIZE = 64
"""Latents a side of the 512 pixels that it is trained at: positions span the whole grid."""


def _prefix(checkpoint: Checkpoint, prefixes: Sequence[str], name: str) -> str | None:
    """Under which prefix the file holds a tensor of this name."""
    names = {own.replace(COMPILED, "") for own in checkpoint.shapes}
    return next((prefix for prefix in prefixes if prefix + name in names), None)


def _part(checkpoint: Checkpoint, prefix: str) -> StateDict:
    """The tensors under a prefix, by the names of a network that was not compiled."""
    part = checkpoint.part(prefix)
    return {name.replace(COMPILED, ""): tensor for name, tensor in part.items()}


def _shapes(state: StateDict) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _domain(
    checkpoint: Checkpoint, channels: int, factor: int = PUBLISHED_FACTOR, encoder: str = ""
) -> Domain:
    """The space of the latents; the record of a file trained here tells more of it.

    Args:
        encoder: its fingerprint, where the file holds it.
    """
    space = checkpoint.config.get("space") or {}
    name = f"Sim-VAE c{channels}" + ("" if factor == PUBLISHED_FACTOR else f" f{factor}")
    return Domain(
        name=space.get("name", name),
        channels=channels,
        scale=float(checkpoint.config.get("scaling_factor") or 1.0),
        shift=float(checkpoint.config.get("shift_factor") or 0.0),
        encoder=encoder or space.get("encoder"),
        preview=torch.tensor(space["preview"]) if space.get("preview") else None,
    )


def _choice(config: Config, key: str, known: Sequence[str], name: str) -> str:
    """A setting, the first known one where the container is silent."""
    chosen = config.get(key) or known[0]
    if chosen not in known:
        raise WeightsError(f"{name} asks for {key} {chosen}; known are {' and '.join(known)}.")
    return chosen


# Sim-VAE


def _vae_prefix(checkpoint: Checkpoint) -> str | None:
    """Diffusers' other autoencoders have two norms a block, norm1 and norm2."""
    return _prefix(checkpoint, VAE_PREFIXES, "encoder.down_blocks.0.resnets.0.norm.weight")


def has_autoencoder(checkpoint: Checkpoint) -> bool:
    return _vae_prefix(checkpoint) is not None


def load_autoencoder(checkpoint: Checkpoint) -> Autoencoder:
    """The Sim-VAE; its latents leave as they are, and its settings scale them for its flows."""
    state = {
        name: tensor.flatten() if ".norm." in name else tensor  # [C], in some files [1, C, 1, 1]
        for name, tensor in _part(checkpoint, _vae_prefix(checkpoint)).items()
    }
    network, shape = build_autoencoder(_shapes(state), checkpoint.config, checkpoint.name)
    fill(network, state, checkpoint.name, _vae_prefix(checkpoint))
    encoder = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    area = network.factor**2

    def encoded(pictures: Tensor) -> tuple[Tensor, Tensor]:
        return network.encode(2 * pictures - 1)

    def decoded(latents: Tensor) -> Tensor:
        return network.decode(latents) / 2 + 0.5

    finest = shape.widths[0]
    return Autoencoder(
        name=f"{checkpoint.name} (Sim-VAE)",
        network=network.eval().requires_grad_(False),
        memory=most_of(Phase(follows=13.4 * finest, kept=24, fixed=1.4e5 * finest)),
        decoder_memory=most_of(
            Phase(follows=15.9 * finest * area, kept=14 * area, fixed=7e4 * finest)
        ),
        domain=_domain(checkpoint, shape.channels, network.factor, fingerprint(encoder)),
        multiple=FLOW_MULTIPLE * network.factor,
        dtypes=(torch.float32, torch.bfloat16),
        factor=network.factor,
        encoded=encoded,
        decoded=decoded,
    )


def build_autoencoder(
    shapes: Shapes, config: Config, name: str = "The file"
) -> tuple[SimVAE, SimVAEShape]:
    """The Sim-VAE that a state dict of these shapes fits, without memory for its weights.

    Args:
        shapes: the published key names and their shapes.
        config: the published settings; of these, only what shapes cannot tell is read.
        name: what a message calls the file.
    """
    try:
        shape = SimVAEShape.of(shapes)
    except KeyError as error:
        raise WeightsError(
            f"{name} lacks {error} of a Sim-VAE; delete it and fetch it again."
        ) from error
    norm = _choice(config, "norm_type", ("layer_norm", "group_norm"), name)
    position = _choice(config, "norm_pos", ("pre_norm", "post_norm"), name)
    with torch.device("meta"):
        return SimVAE(shape, norm, position), shape


# LooUFormer


def _flow_prefix(checkpoint: Checkpoint) -> str | None:
    return _prefix(checkpoint, FLOW_PREFIXES, "mid_block.0.attn.qkv_proj.conv.weight")


def has_flow(checkpoint: Checkpoint) -> bool:
    return _flow_prefix(checkpoint) is not None


def load_flow(checkpoint: Checkpoint) -> Flow:
    """The flow network, its time and velocity turned to run from the source to the clean latent."""
    config = checkpoint.config
    state = _part(checkpoint, _flow_prefix(checkpoint))
    network, levels = build_flow(_shapes(state), config, checkpoint.name)
    fill(network, state, checkpoint.name, _flow_prefix(checkpoint))
    make_exact(network)
    patch = network.proj_in.patch
    channels = network.proj_out.proj.out_channels // patch**2

    def predict(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return -network(x, (1 - t).clamp(min=SMALLEST_SIGMA))

    fine, coarse = levels[0].width / patch**2, levels[-1].width
    memory = most_of(
        Phase(follows=67.5 * fine, kept=0.5 * fine),
        Phase(follows=21.5 * fine, kept=13 * fine, weights=18.6 * coarse**2),
    )
    return Flow(
        name=f"{checkpoint.name} (Latent-PMRF)",
        network=network.eval().requires_grad_(False),
        predict=predict,
        memory=memory,
        domain=_domain(checkpoint, channels),
        multiple=network.multiple,
        minimum=_minimum(levels, network.multiple, patch),
        native_size=NATIVE_SIZE,
        dtypes=(torch.bfloat16, torch.float16, torch.float32),
        noise_std=NOISE_STD,
        steps=STEPS,
    )


def build_flow(
    shapes: Shapes, config: Config, name: str = "The file"
) -> tuple[LooUFormer, list[Level]]:
    """The LooUFormer that a state dict of these shapes fits, without memory for its weights.

    Args:
        shapes: the published key names and their shapes.
        config: the published settings; of these, only what shapes cannot tell is read.
        name: what a message calls the file.
    """
    count = 1 + count_children(shapes, "downs")
    blocks = [*(f"down_blocks.{i}" for i in range(count - 1)), "mid_block"]
    windows = _windows(config, count, name)
    try:
        levels = [_level(shapes, block, k) for block, k in zip(blocks, windows, strict=True)]
        options = _options(shapes, levels, config, name)
        channels = shapes["proj_in.proj.weight"][1] // (options.patch or 1) ** 2
        mapping = None
        if "timestep_embedder.weight" in shapes:
            depth = count_children(shapes, "mapping.blocks")
            mapping = hdit.Mapping(
                width=shapes["timestep_embedder.weight"][0],
                depth=depth,
                d_ff=shapes["mapping.blocks.0.down_proj.weight"][1] if depth else 0,
            )
    except KeyError as error:
        raise WeightsError(
            f"{name} lacks {error} of a LooUFormer; delete it and fetch it again."
        ) from error
    with torch.device("meta"):
        return LooUFormer(levels, mapping, channels, options), levels


def _windows(config: Config, count: int, name: str) -> list[int | None]:
    """Of each level, the side of its attention window; None attends globally.

    Shapes do not tell. Where the container is silent, too, all levels but the last have windows,
    as the published experiment's name says (`2n_4n_6g`).
    """
    kinds = config.get("block_types") or ["neighborhood"] * (count - 1) + ["global"]
    sides = config.get("window_sizes") or [KERNEL_SIZE] * len(kinds)
    if not len(kinds) == len(sides) == count:
        raise WeightsError(
            f"{name} describes {len(kinds)} levels of attention and {len(sides)} windows for "
            f"{count}."
        )
    if unknown := [kind for kind in kinds if kind not in ("neighborhood", "global")]:
        raise WeightsError(
            f"{name} asks for attention of type {unknown[0]}; known are neighborhood and global."
        )
    windows = [
        side if kind == "neighborhood" else None for kind, side in zip(kinds, sides, strict=True)
    ]
    for side in windows:
        if side is not None and not (isinstance(side, int) and side > 0 and side % 2):
            raise WeightsError(
                f"{name} asks for attention windows of side {side}; a side is odd, as 7 is. Mend "
                "window_sizes in its config.json."
            )
    if not config.get("block_types") or (any(windows) and not config.get("window_sizes")):
        log.warning(
            "RestoreFlow: %s comes without a config.json that tells its attention windows; they "
            "are taken to be %s (the published experiment's). Put its config.json beside it.",
            name,
            ", ".join(f"{side} x {side}" if side else "global" for side in windows),
        )
    return windows


def _level(shapes: Shapes, block: str, kernel_size: int | None) -> Level:
    width, d_ff = shapes[f"{block}.0.ff.down_proj.weight"][:2]
    return Level(
        width=width,
        depth=count_children(shapes, block),
        heads=shapes[f"{block}.0.attn.pos_emb.freqs"][0],
        d_ff=d_ff,
        kernel_size=kernel_size,
    )


def _options(shapes: Shapes, levels: Sequence[Level], config: Config, name: str) -> Options:
    """How the network is put together; but for what no shape shows, its tensors tell."""
    ways: dict[str, Any] = {}
    if len(levels) > 1:
        fine, coarse = (level.width for level in levels[:2])
        outputs, inputs, ways["down_kernel"] = shapes["downs.0.conv.weight"][:3]
        spread, _, ways["up_kernel"] = shapes["ups.0.conv.weight"][:3]
        if inputs == 4 * fine:
            ways["down"] = "pixel_unshuffle+conv"
        elif 4 * outputs == coarse:
            ways["down"] = "conv+pixel_unshuffle"
        if spread == 4 * fine:
            ways["up"] = "pixel_shuffle"
    return Options(
        bias="proj_in.proj.bias" in shapes,
        depthwise="mid_block.0.attn.qkv_proj.dwconv.weight" in shapes,
        patch=_patch(shapes, config, name),
        log_time=bool(config.get("time_embed_log_space")),
        **ways,
    )


def _patch(shapes: Shapes, config: Config, name: str) -> int | None:
    """Side of the patches that a 1x1 convolution takes; a larger one takes latents as they are."""
    if shapes["proj_in.proj.weight"][2] > 1:
        return None
    match config.get("patch_size"):
        case [height, width] if height == width:
            return height
    raise WeightsError(
        f"{name} folds its latents into patches of a size that only its config.json tells; "
        "put that beside it."
    )


def _minimum(levels: Sequence[Level], multiple: int, patch: int) -> int:
    """The smallest side: every windowed level's grid must hold its window."""
    needed = max((level.kernel_size or 1) * patch * 2**i for i, level in enumerate(levels))
    return -(-needed // multiple) * multiple
