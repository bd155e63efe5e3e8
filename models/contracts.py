"""What a loaded part promises, whatever paper it comes from.

Pictures are [B, 3, H, W] in [0, 1], latents [B, C, h, w] as the LATENT wire carries them: what the
autoencoder returns. A flow runs from its source at t = 0 to a clean picture at t = 1; families
convert at their own edge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

Times = Literal["velocity", "segments", "two-time"]
Origin = Literal["mean", "degraded", "noise"]
Condition = Literal["none", "mean", "degraded"]

Memory = Callable[[int, int, int, torch.dtype], int]
"""(height, width, batch, dtype) -> bytes that one call needs beside the weights."""


class Phase(NamedTuple):
    """What one moment of a call holds, in bytes, as `scripts/measure_memory.py` shows it."""

    follows: float = 0.0
    """A pixel or latent in float32; in half precision, half of it."""
    kept: float = 0.0
    """A pixel or latent, whatever the precision: what is float32 in any."""
    weights: float = 0.0
    """Whatever the size, in float32; in half precision, half of it."""
    fixed: float = 0.0
    """Whatever the size and precision: what is computed in pieces of that size."""


def most_of(*phases: Phase) -> Memory:
    """What a call needs at the moment that holds the most."""

    def memory(height: int, width: int, batch: int, dtype: torch.dtype) -> int:
        area, share = batch * height * width, dtype.itemsize / 4
        return max(
            int((phase.follows * share + phase.kept) * area + phase.weights * share + phase.fixed)
            for phase in phases
        )

    return memory


@dataclass(frozen=True, eq=False, kw_only=True)
class Domain:
    """What a network works on: pixels, or the latents of an autoencoder."""

    name: str
    """What a person reads; the same for all weights of one latent space."""
    channels: int
    scale: float = 1.0
    shift: float = 0.0
    """Networks in it see (wire - shift) * scale."""
    encoder: str | None = None
    """Fingerprint of the encoder whose latents it knows; None where the weights cannot tell."""
    shared: bool = False
    """Whether encoders differ in it and decoders take the latents of all of them."""
    preview: Tensor | None = None
    """[C + 1, 3]: wire latents and a constant 1, mapped linearly, are colours in [0, 1]."""

    def to_network(self, wire: Tensor) -> Tensor:
        """From the wire's units to the network's."""
        return wire if self.is_plain else (wire - self.shift) * self.scale

    def to_wire(self, own: Tensor) -> Tensor:
        """From the network's units to the wire's."""
        return own if self.is_plain else own / self.scale + self.shift

    @property
    def is_plain(self) -> bool:
        return self.scale == 1.0 and self.shift == 0.0


PIXEL = Domain(name="pixel", channels=3)


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """A network and what its caller must know of it."""

    name: str
    """What a person reads."""
    network: nn.Module
    memory: Memory
    domain: Domain = PIXEL
    multiple: int = 1
    """Height and width must be multiples of this."""
    minimum: int = 1
    """Smallest height and width."""
    native_size: int | None = None
    """The size it was trained at and is at home in; None where any size is alike."""
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    """The precisions in which it is known to run, the preferred one first."""
    cast_whole: bool = False
    """Whether its buffers follow the weights' precision, too."""
    exact: ClassVar[bool] = False
    """Whether it runs in float32 unless told otherwise."""

    @property
    def unit(self) -> str:
        """What the sides that it takes are counted in."""
        return "pixels" if self.domain is PIXEL else "latents"

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return next(self.network.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def cast(self, dtype: torch.dtype) -> None:
        """Change the weights' precision in place; tables of frequencies stay as they are."""
        if self.cast_whole:
            self.network.to(dtype)
        for parameter in self.network.parameters():
            parameter.data = parameter.data.to(dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class PosteriorMean(Part):
    """An estimate of E[clean | degraded], the answer of least mean squared error."""

    exact: ClassVar[bool] = True  # an answer of least error should not be rounded to 8 bit
    predict: Callable[[Tensor], Tensor]
    """The network's call."""
    scale: int = 1
    """How much larger the network's output is than its input."""

    def estimate(self, degraded: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H * scale, W * scale], float32 on the input's device.

        Pictures in [0, 1], or latents in the network's units.
        """
        estimate = self.predict(degraded.to(self.device, self.dtype))
        return estimate.to(degraded.device, torch.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Flow(Part):
    """A learned velocity from a source to clean pictures."""

    predict: Callable[[Tensor, Tensor, Tensor], Tensor]
    """The network's call: (state with its condition [B, C, H, W], t [B], s [B]) -> velocity."""
    times: Times = "velocity"
    origin: Origin = "mean"
    """What stands at t = 0, before noise is added."""
    condition: Condition = "none"
    """What the network sees at every step beside the state."""
    condition_channels: int = 0
    noise_std: float | None = None
    """Std of the source noise; None where the weights cannot tell."""
    source_mean: float = 0.0
    """Mean of the source where that is noise: 0.5 for a flow at home in [-1, 1]."""
    steps: int = 25
    """The checkpoint's own number of steps."""
    start: float = 0.0
    """The first time that was trained."""

    def velocity(self, x: Tensor, t: float, s: float, condition: Tensor | None = None) -> Tensor:
        """Mean velocity over [t, s] at the state x [B, C, H, W], in float32 on x's device."""
        state = x if condition is None else torch.cat([x, condition], dim=1)
        t, s = (torch.full([len(x)], time, device=self.device) for time in (t, s))
        return self.predict(state.to(self.device, self.dtype), t, s).to(x.device, torch.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Autoencoder(Part):
    """An encoder to latents and a decoder back; `domain` is their space, `memory` the encoder's."""

    exact: ClassVar[bool] = True  # rounding would be decoded as noise
    factor: int
    """Pixels a latent's side."""
    encoded: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    """The encoder's call: pictures -> mean and std of the posterior (None: it has none), as on the
    wire."""
    decoded: Callable[[Tensor], Tensor]
    """The decoder's call: latents as on the wire -> pictures, not clipped."""
    decoder_memory: Memory
    """As `memory`, for decoding latents of a height and width."""

    @property
    def unit(self) -> str:
        """Its encoder's: it takes pictures."""
        return "pixels"

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, 3, H, W] in [0, 1] -> mean and std [B, C, H / factor, W / factor], float32."""
        mean, std = self.encoded(pictures.to(self.device, self.dtype))
        where = pictures.device
        return mean.to(where, torch.float32), std if std is None else std.to(where, torch.float32)

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 3, h * factor, w * factor], about [0, 1], float32."""
        pictures = self.decoded(latents.to(self.device, self.dtype))
        return pictures.to(latents.device, torch.float32)


class Found(NamedTuple):
    """The faces of one picture, the surest first.

    Coordinates are pixels of the picture from its upper left corner, x then y, and may lie outside.
    """

    boxes: Tensor
    """[N, 4]: left, top, right, bottom."""
    points: Tensor
    """[N, 5, 2]: the eyes, the tip of the nose and the corners of the mouth; of eyes and corners
    the person's right one first, which is on the left of an upright picture."""
    scores: Tensor
    """[N] in [0, 1]."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Detector(Part):
    """Finds faces and five points of each."""

    exact: ClassVar[bool] = True  # its points are where a face is pasted
    detected: Callable[[Tensor, float, int], Found]
    """The network's call: (picture [3, H, W], least score, smallest face in px) -> its faces."""
    score: float
    """The least score at which it is believed."""
    smallest: int
    """The least height in px of faces that it finds."""

    def detect(
        self, pictures: Tensor, score: float | None = None, smallest: int | None = None
    ) -> list[Found]:
        """The faces of each picture of [B, 3, H, W] in [0, 1], float32 on the pictures' device.

        Args:
            score: what a face must reach, in [0, 1]; None: the detector's own.
            smallest: height in px from which faces are looked for; twice as large takes a quarter
                of the time. None: the detector's own.
        """
        score = self.score if score is None else score
        return [self.detected(picture, score, smallest or self.smallest) for picture in pictures]
