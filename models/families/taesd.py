"""TAESD (madebyollin, github.com/madebyollin/taesd): tiny autoencoders in larger ones' latents.

TAESD3 is SD3's. A file holds both halves, under diffusers' names or ComfyUI's; whatever the names,
the weights take and give pictures in [0, 1] (diffusers rescales round them) and raw latents.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, StateDict, WeightsError, fill, fingerprint
from ..contracts import Autoencoder, Domain
from ..networks.pieces import band_rows
from ..networks.taesd import FINEST_REACH, TAESD

LAYOUTS = (
    # The encoder's prefix, the decoder's, and how much higher the decoder's numbers are: the
    # original counts the clamp that stands before its first convolution.
    ("encoder.layers.", "decoder.layers.", 0),
    ("taesd_encoder.", "taesd_decoder.", 1),
    ("", "", 1),  # the original files, each of one half
)
SCALE, SHIFT = 1.5305, 0.0609
"""SD3's: TAESD3's raw latents are (latent - shift) * scale."""
COLOURS = (
    (-0.0922, -0.0175, 0.0749), (0.0311, 0.0633, 0.0954), (0.1994, 0.0927, 0.0458),
    (0.0856, 0.0339, 0.0902), (0.0587, 0.0272, -0.0496), (-0.0006, 0.1104, 0.0309),
    (0.0978, 0.0306, 0.0427), (-0.0042, 0.1038, 0.1358), (-0.0194, 0.0020, 0.0669),
    (-0.0488, 0.0130, -0.0268), (0.0922, 0.0988, 0.0951), (-0.0278, 0.0524, -0.0542),
    (0.0332, 0.0456, 0.0895), (-0.0069, -0.0030, -0.0810), (-0.0596, -0.0465, -0.0293),
    (-0.1448, -0.1463, -0.1189), (0.2394, 0.2135, 0.1925),
)  # fmt: skip
"""Raw latents of SD3 and a constant 1, mapped linearly, are colours in [-1, 1] (as published for
previews)."""
FINEST_TENSORS = 3.3
"""As large as a band of the finest level, that coding holds at once (scripts/measure_memory.py)."""
PIXEL_BYTES = 20
"""Bytes of a pixel itself, in float32 and in the network's precision."""


class Shape(NamedTuple):
    """What a file's tensors tell of the autoencoder."""

    width: int = 64
    channels: int = 16
    stages: int = 3

    @property
    def factor(self) -> int:
        return 2**self.stages

    @classmethod
    def of_encoder(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Shape":
        """From the names `layers.*`; KeyError tells the one that is missing."""
        stages = _rescalings(shapes)
        width = shapes["layers.0.weight"][0]
        return cls(width, shapes[f"layers.{2 + 4 * stages}.weight"][0], stages)

    @classmethod
    def of_decoder(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Shape":
        """As `of_encoder`."""
        width, channels = shapes["layers.0.weight"][:2]
        return cls(width, channels, _rescalings(shapes))


PUBLISHED = Shape()


def _rescalings(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many stages there are: each has one convolution without a bias."""
    weights = [name for name in shapes if name.endswith(".weight")]
    return sum(name.removesuffix("weight") + "bias" not in shapes for name in weights)


def has_autoencoder(checkpoint: Checkpoint) -> bool:
    """Or one half of one."""
    return _layout(checkpoint) is not None


def _layout(checkpoint: Checkpoint) -> tuple[str, str, int] | None:
    """The first residual block tells a half; in a file of one, the names are only numbers."""
    for encoder, decoder, later in LAYOUTS:
        first = (f"{encoder}1.conv.0.weight", f"{decoder}{2 + later}.conv.0.weight")
        if any(name in checkpoint.shapes for name in first):
            return encoder, decoder, later
    return None


def load_autoencoder(checkpoint: Checkpoint) -> Autoencoder:
    """The autoencoder of a file of its own."""
    encoder, decoder, later = _layout(checkpoint)
    halves = {"encoder": (encoder, 0), "decoder": (decoder, later)}
    lost = [half for half, (prefix, _) in halves.items() if not checkpoint.part_shapes(prefix)]
    if encoder == decoder:  # an original file; only an encoder's second layer is a block
        lost = ["decoder" if "1.conv.0.weight" in checkpoint.shapes else "encoder"]
    if lost:
        raise WeightsError(
            f"{checkpoint.name} holds one half of a TAESD and lacks the other, its {lost[0]}; "
            "choose a file that holds both, as taesd3.safetensors does."
        )
    states = [_plain(checkpoint.part(prefix), later) for prefix, later in halves.values()]
    return build(*states, checkpoint, "TAESD")


def _plain(half: StateDict, later: int) -> StateDict:
    """Under the network's names."""
    return {
        re.sub(r"^\d+", lambda number: f"layers.{int(number[0]) - later}", name): tensor
        for name, tensor in half.items()
    }


def build(
    encoder: StateDict, decoder: StateDict, checkpoint: Checkpoint, family: str, multiple: int = 1
) -> Autoencoder:
    """The autoencoder of two halves.

    Args:
        encoder: under the names `layers.*`, as is the decoder.
        checkpoint: where they are from.
        family: what a message calls their kind.
        multiple: of latents a side, that the networks in their space take.
    """
    try:
        shape = Shape.of_encoder(shapes_of(encoder))
    except KeyError as error:
        raise WeightsError(f"{checkpoint.name} lacks {error} of its encoder.") from error
    with torch.device("meta"):
        network = TAESD(*shape)
    halves = {"encoder.": encoder, "decoder.": decoder}
    state = {half + name: tensor for half, part in halves.items() for name, tensor in part.items()}
    fill(network, state, checkpoint.name)
    domain = domain_of(checkpoint, shape, encoder)

    def encoded(pictures: Tensor) -> tuple[Tensor, None]:
        return domain.to_wire(network.encoder(pictures)), None

    def decoded(latents: Tensor) -> Tensor:
        return network.decoder(domain.to_network(latents))

    def memory(height: int, width: int, batch: int, dtype: torch.dtype) -> int:
        row_bytes = batch * width * shape.width * dtype.itemsize
        device = next(network.parameters()).device
        rows = band_rows(height, row_bytes, device, FINEST_REACH, down=2)
        if rows >= height:
            held = FINEST_TENSORS * height
        else:
            quarter = height / 4  # a tensor of the next level
            reach = FINEST_REACH // 2
            next_rows = band_rows(height // 2, row_bytes // 2, device, reach) + 2 * reach
            finest = FINEST_TENSORS * (rows + 2 * FINEST_REACH) + quarter
            held = max(finest, 2 * quarter + 3 * next_rows / 2)
        return int(held * row_bytes) + PIXEL_BYTES * batch * height * width

    def decoder_memory(height: int, width: int, batch: int, dtype: torch.dtype) -> int:
        return memory(height * shape.factor, width * shape.factor, batch, dtype)

    return Autoencoder(
        name=f"{checkpoint.name} ({family})",
        network=network.eval().requires_grad_(False),
        memory=memory,
        decoder_memory=decoder_memory,
        domain=domain,
        multiple=multiple * shape.factor,
        dtypes=(torch.float32, torch.bfloat16, torch.float16),
        factor=shape.factor,
        encoded=encoded,
        decoded=decoded,
    )


def domain_of(
    checkpoint: Checkpoint, shape: Shape = PUBLISHED, encoder: StateDict | None = None
) -> Domain:
    """The space of the latents; the record of a file trained here tells more of it.

    Args:
        shape: of the autoencoder; the published one where the file holds none.
        encoder: its own, under the names `layers.*`.
    """
    space = checkpoint.config.get("space") or {}
    preview = torch.tensor(space["preview"]) if space.get("preview") else None
    facts = {"channels": shape.channels, "encoder": space.get("encoder"), "preview": preview}
    if encoder:
        facts["encoder"] = fingerprint(encoder)
    if space or shape != PUBLISHED:
        name = space.get("name", f"TAESD {shape.channels} channels, factor {shape.factor}")
        scale, shift = space.get("scale", 1.0), space.get("shift", 0.0)
        return Domain(name=name, scale=scale, shift=shift, **facts)
    return sd3(facts["encoder"])


def sd3(encoder: str | None) -> Domain:
    """SD3's space, of an encoder of this fingerprint; encoders are tuned, the space stays."""
    return Domain(
        name="SD3",
        channels=PUBLISHED.channels,
        scale=SCALE,
        shift=SHIFT,
        encoder=encoder,
        shared=True,
        preview=_colours(),
    )


def _colours() -> Tensor:
    """[17, 3]: SD3's latents on the wire to colours in [0, 1]."""
    raw = torch.tensor(COLOURS) / 2
    factors, constant = raw[:-1], raw[-1:] + 0.5
    return torch.cat([factors * SCALE, constant - SHIFT * SCALE * factors.sum(0, keepdim=True)])


def shapes_of(state: StateDict) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
