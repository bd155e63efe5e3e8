"""ELIR (arXiv 2502.03500): the latent of the degraded picture, its posterior mean, then a flow.

One file holds all: `enc.*` and `dec.*` (a TAESD3 whose encoder was fine-tuned for the task),
`mmse.*` (the posterior mean, an RRDBNet) and `fmir.*` (the flow, an LUnet, consistent over K
segments of time). Released files hold these names as they are, Lightning's own state dict under
`model.`; networks in training hold every 3x3 convolution as two.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, StateDict, WeightsError, fill
from ..contracts import Autoencoder, Domain, Flow, Phase, PosteriorMean, most_of
from ..networks.flow_unet import count_children
from ..networks.lunet import GROUPS, LUnet, LUnetShape
from ..networks.rrdb import RRDBNet
from . import taesd

PREFIXES = ("", "model.")
MARKS = {
    "enc.": "layers.0.weight",
    "dec.": "layers.0.weight",
    "mmse.": "lrm.0.RDB1.conv1.block.0.weight",
    "fmir.": "first_proj.weight",
}
"""By which tensor each part is known."""
FLOW_MULTIPLE = 4
"""Latents a side: of the published flow, where the file holds none."""
FACES_MIDDLE, FACES_NOISE, FACES_STEPS = 3, 0.1, 5
"""Blind face restoration alone has three blocks in the middle."""
BLIND_WIDTH, BLIND_NOISE = 96, 0.04
"""Blind super-resolution alone has this width."""
STEPS = 3


def _prefix(checkpoint: Checkpoint, part: str) -> str | None:
    """Under which prefix the file holds a part."""
    return next((p + part for p in PREFIXES if p + part + MARKS[part] in checkpoint.shapes), None)


def _part(checkpoint: Checkpoint, part: str) -> StateDict:
    """A part's tensors, every convolution one; nothing where the file lacks it."""
    prefix = _prefix(checkpoint, part)
    if prefix is None:
        return {}
    try:
        return collapse(checkpoint.part(prefix))
    except KeyError as error:
        raise WeightsError(
            f"{checkpoint.name} lacks {error} of {part}*; delete it and fetch it again."
        ) from error
    except RuntimeError as error:
        raise WeightsError(
            f"{checkpoint.name} holds convolutions of {part}* that do not follow one another "
            f"({error}); delete it and fetch it again."
        ) from error


def collapse(state: StateDict) -> StateDict:
    """Fold each 1x1 convolution W2, b2 of a block into the 3x3, W1, b1, right before it.

    W[o, i] = sum over m of W2[o, m] W1[m, i], and b = W2 b1 + b2. Zeros are padded before the
    first, so this is exact at borders, too.
    """
    single = dict(state)
    for name in state:
        match = re.fullmatch(r"(.*\bblock\.)(\d+)\.weight", name)
        first = match and f"{match[1]}{int(match[2]) - 1}"
        if not first or f"{first}.weight" not in state:
            continue
        mix, offset = single.pop(name), single.pop(f"{match[1]}{match[2]}.bias")
        dtype, mix = mix.dtype, mix.flatten(1).float()
        weight, bias = (state[f"{first}.{kind}"].float() for kind in ("weight", "bias"))
        single[f"{first}.weight"] = torch.tensordot(mix, weight, dims=1).to(dtype)
        single[f"{first}.bias"] = (mix @ bias + offset.float()).to(dtype)
    return single


def _domain(checkpoint: Checkpoint) -> Domain:
    """Of posterior mean and flow: the space of the autoencoder beside them."""
    encoder, shape = _part(checkpoint, "enc."), taesd.PUBLISHED
    try:
        if encoder:
            shape = taesd.Shape.of_encoder(taesd.shapes_of(encoder))
        elif decoder := _part(checkpoint, "dec."):
            shape = taesd.Shape.of_decoder(taesd.shapes_of(decoder))
    except KeyError as error:
        raise WeightsError(f"{checkpoint.name} lacks {error} of its autoencoder.") from error
    return taesd.domain_of(checkpoint, shape, encoder)


# Autoencoder


def has_autoencoder(checkpoint: Checkpoint) -> bool:
    return any(_prefix(checkpoint, half) for half in ("enc.", "dec."))


def load_autoencoder(checkpoint: Checkpoint) -> Autoencoder:
    """The autoencoder, whose encoder knows the task's degraded pictures."""
    halves = {half: _part(checkpoint, half) for half in ("enc.", "dec.")}
    if lost := [half for half, state in halves.items() if not state]:
        raise WeightsError(
            f"{checkpoint.name} holds one half of ELIR's autoencoder and lacks the other, "
            f"{lost[0]}*; choose a file that holds both."
        )
    prefix = _prefix(checkpoint, "fmir.")
    multiple = FLOW_MULTIPLE
    if prefix:
        multiple = build_flow(checkpoint.part_shapes(prefix), checkpoint.name).multiple
    return taesd.build(*halves.values(), checkpoint, "ELIR", multiple)


# Posterior mean


def has_mean(checkpoint: Checkpoint) -> bool:
    return _prefix(checkpoint, "mmse.") is not None


def load_mean(checkpoint: Checkpoint) -> PosteriorMean:
    """The posterior mean of latents."""
    state = _part(checkpoint, "mmse.")
    network = build_mean(taesd.shapes_of(state), checkpoint.name)
    fill(network, state, checkpoint.name, _prefix(checkpoint, "mmse."))
    widest = network.lrm[0].RDB1.conv5.block[0].in_channels

    return PosteriorMean(
        name=f"{checkpoint.name} (ELIR)",
        network=network.eval().requires_grad_(False),
        predict=network,
        memory=most_of(Phase(follows=8.4 * widest, kept=0.1 * widest), Phase(fixed=3.1e6)),
        domain=_domain(checkpoint),
        dtypes=(torch.bfloat16, torch.float16, torch.float32),
    )


def build_mean(shapes: Mapping[str, tuple[int, ...]], name: str = "The file") -> RRDBNet:
    """The RRDBNet that a state dict of these shapes fits, without memory for its weights."""
    hidden, channels = shapes[MARKS["mmse."]][:2]
    with torch.device("meta"):
        return RRDBNet(channels, hidden, count_children(shapes, "lrm"))


# Flow


def has_flow(checkpoint: Checkpoint) -> bool:
    return _prefix(checkpoint, "fmir.") is not None


def load_flow(checkpoint: Checkpoint) -> Flow:
    """The flow, with the noise level and steps of its task where its shapes tell it."""
    state = _part(checkpoint, "fmir.")
    network = build_flow(taesd.shapes_of(state), checkpoint.name)
    fill(network, state, checkpoint.name, _prefix(checkpoint, "fmir."))
    faces = len(network.mid_blocks) == FACES_MIDDLE
    width = network.first_proj.out_channels
    noise_std = FACES_NOISE if faces else BLIND_NOISE if width == BLIND_WIDTH else None
    record = checkpoint.config.get("flow") or {}

    def predict(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return network(x, t)

    fine = Phase(follows=24 * width, kept=1.6 * width, fixed=1.7e6)
    coarse = Phase(follows=18.2 * width, weights=440 * width**2, fixed=1.4e6)
    return Flow(
        name=f"{checkpoint.name} (ELIR)",
        network=network.eval().requires_grad_(False),
        predict=predict,
        memory=most_of(fine, coarse),
        domain=_domain(checkpoint),
        multiple=network.multiple,
        minimum=network.multiple,
        # Group norms see a whole plane, so tiles differ from it: only memory may force them.
        native_size=None,
        dtypes=(torch.bfloat16, torch.float16, torch.float32),
        times="segments",
        noise_std=record.get("noise_std", noise_std),
        steps=record.get("steps", FACES_STEPS if faces else STEPS),
    )


def build_flow(shapes: Mapping[str, tuple[int, ...]], name: str = "The file") -> LUnet:
    """The LUnet that a state dict of these shapes fits, without memory for its weights."""
    try:
        shape = LUnetShape.of(shapes)
    except KeyError as error:
        raise WeightsError(
            f"{name} lacks {error} of an LUnet; delete it and fetch it again."
        ) from error
    if shape.width % GROUPS:
        raise WeightsError(
            f"{name} has a flow of {shape.width} channels; an LUnet's are a multiple of {GROUPS}."
        )
    with torch.device("meta"):
        return LUnet(*shape)
