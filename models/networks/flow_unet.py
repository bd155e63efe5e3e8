"""A small convolutional U-Net for flows in pixel space: our own network, for models trained here.

It has no attention and no statistic taken over space, so a pixel's result depends only on its
neighbourhood: the network behaves alike at every size and inside tiles. It knows two times from
the start, so that one architecture serves velocities (s = t) and two-time flow maps.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6
KERNEL = 3
TIME_OCTAVES = torch.linspace(-1, 3, 8)
"""Half a turn to four turns over the unit of time: higher ones would make the JVP wild."""


class FlowUNetShape(NamedTuple):
    """The constructor's arguments, as a state dict's shapes tell them."""

    channels: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    patch: int

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "FlowUNetShape":
        """Deduces the arguments of the `FlowUNet` whose state dict this is."""
        width, channels, side, _ = state["conv_in.weight"].shape
        levels = count_children(state, "down")
        widths = [width] + [state[f"down.{level}.weight"].shape[0] for level in range(levels)]
        depths = [count_children(state, f"encoder.{level}") for level in range(levels)]
        depths += [count_children(state, "middle")]
        return cls(channels, tuple(widths), tuple(depths), side // KERNEL)


def count_children(names: Iterable[str], prefix: str) -> int:
    """How many numbered children a module list has, by the names of its tensors."""
    start = prefix + "."
    return len({key[len(start) :].split(".")[0] for key in names if key.startswith(start)})


class PixelNorm(nn.Module):
    """RMS norm over the channels of each pixel; the factor is formed in float32 or better."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> the same shape and dtype."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        mean_square = x.to(dtype).square().mean(1, keepdim=True)
        factor = torch.rsqrt(mean_square + EPSILON) * self.scale.to(dtype).view(1, -1, 1, 1)
        return x * factor.to(x.dtype)


class TimeEmbedding(nn.Module):
    """The time t and the step s - t -> the vector that conditions every block."""

    def __init__(self, width: int):
        super().__init__()
        frequencies = math.pi * 2.0**TIME_OCTAVES
        self.register_buffer("frequencies", frequencies, persistent=False)
        features = 2 * (1 + 2 * len(frequencies))
        self.hidden = nn.Linear(features, width)
        self.out = nn.Linear(width, width)

    def forward(self, t: Tensor, s: Tensor, dtype: torch.dtype) -> Tensor:
        """t, s [B] in [0, 1] -> [B, width] of the given dtype."""
        times = torch.stack([t, s - t], dim=1).to(torch.promote_types(t.dtype, torch.float32))
        phase = (times[..., None] * self.frequencies.to(times)).flatten(1)
        features = torch.cat([times, phase.sin(), phase.cos()], dim=1)
        return F.silu(self.out(F.silu(self.hidden(features.to(dtype)))))


class Block(nn.Module):
    """Residual block of two 3x3 convolutions; the embedding scales and shifts between them."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.norm1 = PixelNorm(width)
        self.conv1 = nn.Conv2d(width, width, KERNEL, padding=1)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.norm2 = PixelNorm(width)
        self.conv2 = nn.Conv2d(width, width, KERNEL, padding=1)
        for layer in (self.modulation, self.conv2):  # every block starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B, width, H, W], embedding [B, embedding] -> [B, width, H, W]."""
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(hidden) * (1 + scale) + shift))


class FlowUNet(nn.Module):
    """Mean velocity of a flow over [t, s] from the state at t; at s = t the velocity itself.

    `widths` and `depths` go from the finest level to the coarsest. The height and width of the
    state must be multiples of `multiple`.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (48, 96, 96),
        depths: Sequence[int] = (1, 1, 2),
        patch: int = 2,
    ):
        super().__init__()
        embedding = 4 * widths[0]
        self.multiple = patch * 2 ** (len(widths) - 1)
        self.embed = TimeEmbedding(embedding)
        # A 3x3 convolution of patches, written on pixels: its shape tells channels and patch.
        self.conv_in = nn.Conv2d(channels, widths[0], KERNEL * patch, patch, padding=patch)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for width, coarser, depth in zip(widths, widths[1:], depths, strict=False):
            self.encoder.append(nn.ModuleList(Block(width, embedding) for _ in range(depth)))
            self.down.append(nn.Conv2d(width, coarser, 2, stride=2))
            self.up.append(nn.Conv2d(coarser, 4 * width, 1))
            self.merge.append(nn.Conv2d(2 * width, width, 1))
            self.decoder.append(nn.ModuleList(Block(width, embedding) for _ in range(depth)))
        self.middle = nn.ModuleList(Block(widths[-1], embedding) for _ in range(depths[-1]))
        self.norm_out = PixelNorm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], channels * patch**2, KERNEL, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)
        self.shuffle = nn.PixelShuffle(patch)

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """x [B, C, H, W] around [0, 1]; t, s [B] in [0, 1] -> [B, C, H, W] in units of x."""
        embedding = self.embed(t, s, x.dtype)
        x = self.conv_in(2 * x - 1)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:
                x = block(x, embedding)
            skips.append(x)
            x = down(x)
        for block in self.middle:
            x = block(x, embedding)
        for blocks, up, merge in reversed([*zip(self.decoder, self.up, self.merge, strict=True)]):
            x = merge(torch.cat([F.pixel_shuffle(up(x), 2), skips.pop()], dim=1))
            for block in blocks:
                x = block(x, embedding)
        return self.shuffle(self.conv_out(F.silu(self.norm_out(x))))
