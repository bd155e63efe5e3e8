"""RestoreFlow's own demo weights: a small denoiser trained on procedural pictures (`training/`).

One file holds both networks, `mean.*` (a NAFNet) and `flow.*` (a FlowUNet), and its training
record as metadata. Flows from noise have files of their own: a flow map of two times, a prior for
known degradations, and one that sees the degraded picture beside its state, with which the demo is
compared.
"""

import torch
from torch import nn

from ..checkpoint import Checkpoint, WeightsError, fill
from ..contracts import Flow, Phase, PosteriorMean, most_of
from ..networks.flow_unet import FlowUNet, FlowUNetShape
from . import restorer

MEAN_PREFIX = "mean."
FLOW_PREFIX = "flow."
CHANNELS = 3


def has_mean(checkpoint: Checkpoint) -> bool:
    return f"{MEAN_PREFIX}intro.weight" in checkpoint.shapes


def has_flow(checkpoint: Checkpoint) -> bool:
    return f"{FLOW_PREFIX}conv_in.weight" in checkpoint.shapes


def load_mean(checkpoint: Checkpoint) -> PosteriorMean:
    """The posterior mean, through spandrel."""
    return restorer.load(checkpoint, MEAN_PREFIX)


def load_flow(checkpoint: Checkpoint) -> Flow:
    """The flow, with the noise level and number of steps of its training record."""
    state = checkpoint.part(FLOW_PREFIX)
    try:
        shape = FlowUNetShape.of(state)
    except KeyError as error:
        raise WeightsError(f"{checkpoint.name} lacks {error} of its flow.") from error
    network = FlowUNet(*shape._replace(channels=CHANNELS))
    condition_channels = shape.channels - CHANNELS
    if condition_channels:
        conditioned(network, condition_channels)
    fill(network, state, checkpoint.name, FLOW_PREFIX)
    record, width = checkpoint.config.get("flow", {}), shape.widths[0]

    return Flow(
        name=f"{checkpoint.name} (RestoreFlow demo)",
        network=network.eval().requires_grad_(False),
        predict=network,
        memory=most_of(Phase(follows=2.6 * width, kept=1.7 * width)),
        multiple=network.multiple,
        minimum=network.multiple,
        dtypes=(torch.bfloat16, torch.float16, torch.float32),
        origin=record.get("origin", "noise" if condition_channels else "mean"),
        condition=record.get("condition", "degraded" if condition_channels else "none"),
        condition_channels=condition_channels,
        noise_std=record.get("noise_std"),
        source_mean=record.get("source_mean", 0.0),
        times=record.get("times", "velocity"),
        steps=record.get("steps", 25),
    )


def conditioned(flow: FlowUNet, channels: int) -> FlowUNet:
    """Lets a flow see so many channels beside its state, in place: only its first layer grows."""
    first = flow.conv_in
    flow.conv_in = nn.Conv2d(
        first.in_channels + channels,
        first.out_channels,
        first.kernel_size,
        first.stride,
        first.padding,
    )
    return flow
