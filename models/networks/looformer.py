"""LooUFormer, the flow network of Latent-PMRF (Luo et al. 2025, arXiv 2507.00447).

A U-shaped transformer after HDiT, its layers rotated and normalised alike, but built of
convolutions: projections with a depthwise convolution behind them, and plain scaled attention.
Module and parameter names are those of the published code, in their order of registration.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .hdit import (
    EPSILON,
    AxialRoPE,
    Level,
    Mapping,
    MappingNetwork,
    attend,
    cell_centres,
    hourglass,
    rms_normalise,
    rotate,
)

Down = Literal["conv", "pixel_unshuffle+conv", "conv+pixel_unshuffle"]
Up = Literal["interpolate", "pixel_shuffle"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The published code's choices; the defaults are its own."""

    bias: bool = True
    """Whether convolutions and the norms' projections have one."""
    depthwise: bool = True
    """Whether a 3x3 depthwise convolution follows the projections into a layer."""
    patch: int | None = None
    """Side of the patches that are folded into channels; None embeds by a 3x3 convolution."""
    down: Down = "conv"
    down_kernel: int = 3
    up: Up = "interpolate"
    up_kernel: int = 3
    log_time: bool = False
    """Whether the logarithm of sigma is embedded, instead of sigma."""


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, bias: bool = True
) -> nn.Conv2d:
    """One that keeps the size, but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def normalise(x: Tensor, scale: Tensor, epsilon: float = EPSILON) -> Tensor:
    """RMS norm over the channels of [B, C, H, W], the scale broadcast against [B, H, W, C]."""
    return rms_normalise(x.movedim(1, -1), scale, epsilon).movedim(-1, 1)


class ChannelNorm(nn.Module):
    def __init__(self, width: int, epsilon: float = EPSILON):
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, self.weight, self.epsilon)


class LayerNorm(nn.Module):
    """RMS norm whose scale follows the conditioning vector; a learned one where there is none."""

    def __init__(self, width: int, condition_width: int | None, bias: bool):
        super().__init__()
        if condition_width is None:
            self.norm = ChannelNorm(width)
        else:
            self.linear = nn.Linear(condition_width, width, bias)
            for parameter in self.linear.parameters():  # every norm starts as a plain one
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """x [B, width, H, W], condition [B, condition_width]."""
        if condition is None:
            return self.norm(x)
        return normalise(x, self.linear(condition)[:, None, None, :] + 1)


class Projection(nn.Module):
    """A linear map at each token, and as a rule a depthwise convolution, which has the bias."""

    def __init__(self, inputs: int, outputs: int, options: Options):
        super().__init__()
        bias, depthwise = options.bias, options.depthwise
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=bias and not depthwise)
        self.dwconv = (
            nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=bias)
            if depthwise
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.dwconv is None else self.dwconv(x)


class Attention(nn.Module):
    """Scaled dot-product attention, windowed or global."""

    def __init__(self, level: Level, options: Options):
        super().__init__()
        self.heads = level.heads
        self.kernel_size = level.kernel_size
        self.qkv_proj = Projection(level.width, 3 * level.width, options)
        self.pos_emb = AxialRoPE(level.width // level.heads, level.heads)
        self.out_proj = nn.Conv2d(level.width, level.width, 1, bias=options.bias)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """x [B, width, H, W], positions [H, W, 2]."""
        q, k, v = rearrange(self.qkv_proj(x), "b (three heads d) h w -> three b h w heads d",
                            three=3, heads=self.heads)  # fmt: skip
        angles = self.pos_emb(positions)
        q, k = rotate(q * q.shape[-1] ** -0.5, angles), rotate(k, angles)
        attended = attend(q, k, v, self.kernel_size)
        return self.out_proj(rearrange(attended, "b h w heads d -> b (heads d) h w"))


class FeedForward(nn.Module):
    """The second half of the hidden channels passes where the first half's GELU opens."""

    def __init__(self, level: Level, options: Options):
        super().__init__()
        self.project_in = Projection(level.width, 2 * level.d_ff, options)
        self.down_proj = nn.Conv2d(level.d_ff, level.width, 1, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.project_in(x).chunk(2, dim=1)
        return self.down_proj(F.gelu(gate) * value)


class Layer(nn.Module):
    def __init__(self, level: Level, condition_width: int | None, options: Options):
        super().__init__()
        self.attn = Attention(level, options)
        self.ff = FeedForward(level, options)
        self.norm1 = LayerNorm(level.width, condition_width, options.bias)
        self.norm2 = LayerNorm(level.width, condition_width, options.bias)

    def forward(self, x: Tensor, positions: Tensor, condition: Tensor | None) -> Tensor:
        x = x + self.attn(self.norm1(x, condition), positions)
        return x + self.ff(self.norm2(x, condition))


class Downsample(nn.Module):
    """To half the size: a convolution of stride 2, or pixels folded into channels beside one."""

    def __init__(self, fine: int, coarse: int, options: Options):
        super().__init__()
        self.kind, kernel, bias = options.down, options.down_kernel, options.bias
        if self.kind == "conv":
            self.conv = convolution(fine, coarse, kernel, stride=2, bias=bias)
        elif self.kind == "pixel_unshuffle+conv":
            self.conv = convolution(4 * fine, coarse, kernel, bias=bias)
        else:
            self.conv = convolution(fine, coarse // 4, kernel, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "pixel_unshuffle+conv":
            return self.conv(F.pixel_unshuffle(x, 2))
        x = self.conv(x)
        return x if self.kind == "conv" else F.pixel_unshuffle(x, 2)


class Upsample(nn.Module):
    """To twice the size, and mix with what the finer level kept on the way down."""

    def __init__(self, coarse: int, fine: int, options: Options):
        super().__init__()
        self.kind = options.up
        self.fac = nn.Parameter(torch.full([1], 0.5))
        outputs = fine if self.kind == "interpolate" else 4 * fine
        self.conv = convolution(coarse, outputs, options.up_kernel, bias=options.bias)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        if self.kind == "interpolate":
            x = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        else:
            x = F.pixel_shuffle(self.conv(x), 2)
        return torch.lerp(skip, x, self.fac.to(skip.dtype))


class PatchIn(nn.Module):
    """Into tokens: a 3x3 convolution, or patches folded into channels, channel fastest."""

    def __init__(self, inputs: int, width: int, options: Options):
        super().__init__()
        self.patch, kernel = options.patch or 1, 1 if options.patch else 3
        self.proj = convolution(inputs * self.patch**2, width, kernel, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(rearrange(x, "b c (h i) (w j) -> b (i j c) h w", i=self.patch,
                                   j=self.patch))  # fmt: skip


class PatchOut(nn.Module):
    """Out of tokens, the counterpart of `PatchIn`."""

    def __init__(self, width: int, outputs: int, options: Options):
        super().__init__()
        self.patch, kernel = options.patch or 1, 1 if options.patch else 3
        self.proj = convolution(width, outputs * self.patch**2, kernel, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.proj(x), "b (i j c) h w -> b c (h i) (w j)", i=self.patch,
                         j=self.patch)  # fmt: skip


class TimeFeatures(nn.Module):
    """[B] -> [B, width]: cosines, then sines, at random frequencies."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("weight", torch.randn(width // 2))

    def forward(self, time: Tensor) -> Tensor:
        phase = 2 * math.pi * time.to(self.weight.dtype)[:, None] * self.weight
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


class LooUFormer(nn.Module):
    """source - clean of a rectified flow at x = sigma * source + (1 - sigma) * clean.

    Args:
        levels: from finest to coarsest.
        mapping: the conditioning network; None where the network is not told sigma.
        channels: of the state and of the velocity.
        options: how it is put together.
    """

    OUT_EPSILON = torch.finfo(torch.float32).eps  # the published code's last norm names none

    def __init__(
        self,
        levels: Sequence[Level],
        mapping: Mapping | None,
        channels: int,
        options: Options = Options(),
    ):
        super().__init__()
        *outer, inner = levels
        steps = list(pairwise(level.width for level in levels))
        condition_width = None if mapping is None else mapping.width
        self.multiple = (options.patch or 1) * 2 ** len(outer)
        self.log_time = options.log_time

        def layers(level: Level) -> nn.ModuleList:
            return nn.ModuleList(Layer(level, condition_width, options) for _ in range(level.depth))

        if mapping is not None:
            self.time_proj = TimeFeatures(mapping.width)
            self.timestep_embedder = nn.Linear(mapping.width, mapping.width, bias=False)
        self.mapping = None if mapping is None else MappingNetwork(mapping)
        self.proj_in = PatchIn(channels, levels[0].width, options)
        self.down_blocks = nn.ModuleList(layers(level) for level in outer)
        self.up_blocks = nn.ModuleList(layers(level) for level in outer)
        self.mid_block = layers(inner)
        self.downs = nn.ModuleList(Downsample(fine, coarse, options) for fine, coarse in steps)
        self.ups = nn.ModuleList(Upsample(coarse, fine, options) for fine, coarse in steps)
        self.out_norm = ChannelNorm(levels[0].width, self.OUT_EPSILON)
        self.proj_out = PatchOut(levels[0].width, channels, options)

    def condition(self, sigma: Tensor) -> Tensor | None:
        """The vector every layer is conditioned on: sigma [B] in (0, 1] -> [B, mapping width]."""
        if self.mapping is None:
            return None
        features = self.time_proj(sigma.log() if self.log_time else sigma)
        embedder = self.timestep_embedder
        return self.mapping(embedder(features.to(embedder.weight.dtype)))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x [B, channels, H, W], sigma [B] in (0, 1] -> [B, channels, H, W].

        H and W must be multiples of `multiple`, and each windowed level's grid at least as large
        as its window.
        """
        condition = self.condition(sigma)
        x = self.proj_in(x)
        positions = cell_centres(*x.shape[2:], x.device)
        levels = zip(self.down_blocks, self.downs, self.up_blocks, self.ups, strict=True)
        x = hourglass(x, positions, condition, list(levels), self.mid_block)
        return self.proj_out(self.out_norm(x))
