"""Flow-map denoisers (arXiv 2606.19802): a two-time flow from noise to pictures, in pixels.

Files: safetensors of `model.*` (a SongUNet), as `scripts/convert_flow_map.py` writes them from the
published pickles, which themselves are never opened here. The log-variances of the training
(`weight_net.*`) and the unused embedding of augmentations are left in the file.
"""

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, WeightsError, fill
from ..contracts import PIXEL, Flow, Phase, most_of
from ..networks.song_unet import SongUNet, SongUNetShape, trained_resolution

PREFIX = "model."
UNUSED = ("model.map_augment.weight",)
OTHER_TIMES = "model.map_noise_"
"""Networks hold tensors under it that embed a reversed clock, or a time of each pixel."""
CLOCK = "data=1"
"""What the record of a converted file says of its times."""
STEPS = 50
SOURCE_MEAN, SOURCE_STD = 0.5, 0.5
"""Standard noise in [-1, 1], seen in [0, 1]."""


def has_flow(checkpoint: Checkpoint) -> bool:
    return (
        f"{PREFIX}map_layer0.weight" in checkpoint.shapes
        and trained_resolution(checkpoint.part_shapes(PREFIX)) is not None
    )


def load_flow(checkpoint: Checkpoint) -> Flow:
    """The flow map; a plain velocity where the record says that nothing else was trained."""
    network = build_network(checkpoint)
    state = checkpoint.part(PREFIX)
    state = {name: tensor for name, tensor in state.items() if PREFIX + name not in UNUSED}
    fill(network, state, checkpoint.name, PREFIX)
    fine, coarse = network.shape.widths[0], network.shape.widths[-1]
    times = checkpoint.config.get("flow", {}).get("times", "two-time")

    def predict(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        # Twice as wide a range has twice the velocity.
        return network(2 * x - 1, t, t if times == "velocity" else s) / 2

    return Flow(
        name=f"{checkpoint.name} (flow-map denoiser)",
        network=network.eval().requires_grad_(False),
        predict=predict,
        memory=most_of(Phase(follows=47 * fine, weights=38 * coarse**2)),
        multiple=network.multiple,
        minimum=network.multiple,
        native_size=network.shape.resolution,
        dtypes=(torch.bfloat16, torch.float32),
        times=times,
        origin="noise",
        noise_std=SOURCE_STD,
        source_mean=SOURCE_MEAN,
        steps=STEPS,
    )


def build_network(checkpoint: Checkpoint) -> SongUNet:
    """The SongUNet that a file's tensors fit, without memory for its weights."""
    clock = checkpoint.config.get("clock", CLOCK)
    if clock != CLOCK or any(name.startswith(OTHER_TIMES) for name in checkpoint.shapes):
        raise WeightsError(
            f"{checkpoint.name} holds a flow map of a reversed clock or of one time a pixel; only "
            "those of two times a picture with the data at time 1 are supported."
        )
    try:
        shape = SongUNetShape.of(checkpoint.part_shapes(PREFIX))
    except KeyError as error:
        raise WeightsError(
            f"{checkpoint.name} lacks {error} of a SongUNet; delete it and convert it again."
        ) from error
    if shape.channels != PIXEL.channels:
        raise WeightsError(
            f"{checkpoint.name} holds a flow map of {shape.channels} channels; pictures have "
            f"{PIXEL.channels}."
        )
    with torch.device("meta"):
        return SongUNet(shape)
