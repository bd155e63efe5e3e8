"""Hourglass diffusion transformer (Crowson et al. 2024, arXiv 2401.11605) as PMRF uses it.

Predicts the velocity of a flow from pixels and a time in [0, 1], without sigma preconditioning.
Module and parameter names are those of the published checkpoints, in their order of registration.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .neighborhood import neighborhood_attention
from .pieces import bands

EPSILON = 1e-6


@dataclass(frozen=True)
class Level:
    """One resolution of the hourglass: layers on the way down and again on the way up."""

    width: int
    depth: int
    heads: int
    d_ff: int
    kernel_size: int | None
    """Side of the attention window; None attends globally."""


@dataclass(frozen=True)
class Mapping:
    """The network that turns a time into the vector conditioning every layer."""

    width: int
    depth: int
    d_ff: int


def rms_normalise(x: Tensor, scale: Tensor, epsilon: float = EPSILON) -> Tensor:
    """x * scale / rms(x) over the last dimension; the factor is formed in float32 or better."""
    mean_square = sum_of_squares(x) / x.shape[-1]
    factor = scale.to(mean_square.dtype) * torch.rsqrt(mean_square + epsilon)
    return x * factor.to(x.dtype)


def sum_of_squares(x: Tensor) -> Tensor:
    """[..., n] -> [..., 1], in float32 or better; a norm needs no copy of x in that precision."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype).square()


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_normalise(x, self.scale)


class AdaRMSNorm(nn.Module):
    """The scale of an RMS norm, which follows the conditioning vector."""

    def __init__(self, width: int, condition_width: int):
        super().__init__()
        self.linear = nn.Linear(condition_width, width, bias=False)

    def forward(self, condition: Tensor) -> Tensor:
        """condition [B, condition_width] -> what `rms_normalise` scales [B, H, W, width] by."""
        return self.linear(condition)[:, None, None, :] + 1


class GEGLU(nn.Linear):
    """Linear to twice the width; the first half passes where the second half's GELU opens."""

    def __init__(self, width: int, d_ff: int):
        super().__init__(width, 2 * d_ff, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = super().forward(x).chunk(2, dim=-1)
        return F.gelu(gate).mul_(value)


class FourierFeatures(nn.Module):
    """[B, n] -> [B, width]: cosines, then sines, of random projections."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.register_buffer("weight", torch.randn(width // 2, inputs))

    def forward(self, x: Tensor) -> Tensor:
        phase = 2 * math.pi * x.to(self.weight.dtype) @ self.weight.T
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


class MappingBlock(nn.Module):
    def __init__(self, width: int, d_ff: int):
        super().__init__()
        self.norm = RMSNorm(width)
        self.up_proj = GEGLU(width, d_ff)
        self.down_proj = nn.Linear(d_ff, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down_proj(self.up_proj(self.norm(x)))


class MappingNetwork(nn.Module):
    def __init__(self, mapping: Mapping):
        super().__init__()
        self.in_norm = RMSNorm(mapping.width)
        self.blocks = nn.ModuleList(
            MappingBlock(mapping.width, mapping.d_ff) for _ in range(mapping.depth)
        )
        self.out_norm = RMSNorm(mapping.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_norm(x)
        for block in self.blocks:
            x = block(x)
        return self.out_norm(x)


class AxialRoPE(nn.Module):
    """Rotary angles of a token at (y, x): y on the first eighth of a head, x on the second."""

    def __init__(self, d_head: int, heads: int):
        super().__init__()
        steps = torch.linspace(math.log(math.pi), math.log(10 * math.pi), heads * d_head // 8 + 1)
        self.register_buffer("freqs", steps[:-1].exp().view(d_head // 8, heads).T.contiguous())

    def forward(self, positions: Tensor) -> Tensor:
        """positions [H, W, 2] as (y, x) -> angles [H, W, heads, d_head / 4]."""
        y, x = positions[..., None, None, :].unbind(-1)
        return torch.cat([y * self.freqs, x * self.freqs], dim=-1)


def hourglass(
    x: Tensor,
    positions: Tensor,
    condition: Tensor | None,
    levels: Sequence[tuple[nn.Module, ...]],
    middle: nn.Module,
) -> Tensor:
    """Through the levels to the coarsest and back.

    Args:
        x: what the layers take; their layout is theirs.
        positions: [H, W, 2] of its tokens; a coarser token stands in the middle of its four.
        condition: [B, width], what every layer is told.
        levels: from finest to coarsest: layers, the way down, layers, and the way up, which also
            takes what was kept on the way down.
        middle: the coarsest level's layers.
    """
    kept = []
    for layers, down, _, _ in levels:
        for layer in layers:
            x = layer(x, positions, condition)
        kept.append((x, positions))
        x = down(x)
        positions = rearrange(positions, "(h i) (w j) yx -> h w yx (i j)", i=2, j=2).mean(-1)
    for layer in middle:
        x = layer(x, positions, condition)
    for _, _, layers, up in reversed(levels):
        skip, positions = kept.pop()
        x = up(x, skip)
        for layer in layers:
            x = layer(x, positions, condition)
    return x


def make_exact(network: nn.Module) -> None:
    """Bring tables of frequencies to float32.

    Where a file in half precision holds those of rotary angles rounded, they are formed anew.
    """
    for module in network.modules():
        if isinstance(module, AxialRoPE) and module.freqs.dtype != torch.float32:
            heads, eighth = module.freqs.shape
            module.freqs = AxialRoPE(8 * eighth, heads).freqs
    for table in network.buffers():
        table.data = table.data.float()


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate the first half of each head, pairing channel i with i + d/4.

    x is [B, H, W, heads, d], angles [H, W, heads, d / 4].
    """
    first, second, *still = x.split(angles.shape[-1], dim=-1)
    dtype = torch.promote_types(x.dtype, torch.float32)
    first, second, angles = first.to(dtype), second.to(dtype), angles.to(dtype)
    cos, sin = angles.cos(), angles.sin()
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat([*(part.to(x.dtype) for part in turned), *still], dim=-1)


def cosine_scale(x: Tensor, scale: Tensor) -> Tensor:
    """Unit-length heads times sqrt(scale); x [..., heads, d], scale [heads]."""
    square = sum_of_squares(x)
    factor = scale.to(square.dtype).sqrt()[:, None] * torch.rsqrt(square + EPSILON)
    return x * factor.to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, kernel_size: int | None) -> Tensor:
    """Attention of scale 1 over windows or, where there is no window, all tokens.

    q, k, v are [B, H, W, heads, d].
    """
    if kernel_size is not None:
        return neighborhood_attention(q, k, v, kernel_size)
    height, width = q.shape[1:3]
    q, k, v = (rearrange(part, "b h w heads d -> b heads (h w) d") for part in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    return rearrange(out, "b heads (h w) d -> b h w heads d", h=height, w=width)


class SelfAttention(nn.Module):
    """Cosine-similarity attention with a learned temperature, windowed or global."""

    def __init__(self, level: Level, condition_width: int):
        super().__init__()
        self.heads = level.heads
        self.kernel_size = level.kernel_size
        self.scale = nn.Parameter(torch.full([level.heads], 10.0))
        self.norm = AdaRMSNorm(level.width, condition_width)
        self.qkv_proj = nn.Linear(level.width, 3 * level.width, bias=False)
        self.pos_emb = AxialRoPE(level.width // level.heads, level.heads)
        self.out_proj = nn.Linear(level.width, level.width, bias=False)

    def forward(self, x: Tensor, positions: Tensor, condition: Tensor) -> Tensor:
        """x [B, H, W, width], positions [H, W, 2] -> as x."""
        q, k, v = (x.new_empty(*x.shape[:3], self.heads, x.shape[3] // self.heads) for _ in "qkv")
        scale = self.norm(condition)
        for rows in bands(x, self.qkv_proj.out_features):
            qkv = self.qkv_proj(rms_normalise(x[:, rows], scale))
            query, key, value = rearrange(qkv, "b h w (three heads d) -> three b h w heads d",
                                          three=3, heads=self.heads)  # fmt: skip
            angles = self.pos_emb(positions[rows])
            q[:, rows] = rotate(cosine_scale(query, self.scale), angles)
            k[:, rows] = rotate(cosine_scale(key, self.scale), angles)
            v[:, rows] = value
        attended = attend(q, k, v, self.kernel_size)
        return self.out_proj(rearrange(attended, "b h w heads d -> b h w (heads d)")).add_(x)


class FeedForward(nn.Module):
    """What each token makes of itself."""

    def __init__(self, level: Level, condition_width: int):
        super().__init__()
        self.norm = AdaRMSNorm(level.width, condition_width)
        self.up_proj = GEGLU(level.width, level.d_ff)
        self.down_proj = nn.Linear(level.d_ff, level.width, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B, H, W, width] -> as x."""
        out, scale = torch.empty_like(x), self.norm(condition)
        for rows in bands(x, self.up_proj.out_features):
            normed = rms_normalise(x[:, rows], scale)
            out[:, rows] = x[:, rows] + self.down_proj(self.up_proj(normed))
        return out


class Layer(nn.Module):
    """Attention, then the feed-forward network, each beside a shortcut."""

    def __init__(self, level: Level, condition_width: int):
        super().__init__()
        self.self_attn = SelfAttention(level, condition_width)
        self.ff = FeedForward(level, condition_width)

    def forward(self, x: Tensor, positions: Tensor, condition: Tensor) -> Tensor:
        return self.ff(self.self_attn(x, positions, condition), condition)


class Fold(nn.Module):
    """Space to depth, channel fastest, then linear: pixels to tokens, or tokens to coarser ones."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__()
        self.factor = factor
        self.proj = nn.Linear(inputs * factor**2, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, inputs] -> [B, H / factor, W / factor, outputs]."""
        return self.proj(rearrange(x, "b (h i) (w j) c -> b h w (i j c)", i=self.factor,
                                   j=self.factor))  # fmt: skip


class Unfold(nn.Module):
    """Linear, then depth to space, channel fastest."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__()
        self.factor = factor
        self.proj = nn.Linear(inputs, outputs * factor**2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, inputs] -> [B, h * factor, w * factor, outputs]."""
        return rearrange(self.proj(x), "b h w (i j c) -> b (h i) (w j) c", i=self.factor,
                         j=self.factor)  # fmt: skip


class Split(Unfold):
    """Unfold to the finer level and mix with what that level kept on the way down."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 2)
        self.fac = nn.Parameter(torch.full([1], 0.5))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return torch.lerp(skip, super().forward(x), self.fac.to(skip.dtype))


def cell_centres(height: int, width: int, device: torch.device) -> Tensor:
    """[H, W, 2] centres (y, x) of the cells of a grid whose longer side spans [-1, 1]."""
    longer = max(height, width)

    def axis(cells: int) -> Tensor:
        half = cells / longer
        edges = torch.linspace(-half, half, cells + 1, device=device)
        return (edges[:-1] + edges[1:]) / 2

    return torch.stack(torch.meshgrid(axis(height), axis(width), indexing="ij"), dim=-1)


class HDiT(nn.Module):
    """Velocity of a flow at x and t.

    Args:
        levels: from finest to coarsest.
        mapping: the conditioning network.
        in_channels: channels of the state, and of a condition concatenated behind them.
        out_channels: channels of the velocity.
        patch: pixels a token's side.
    """

    AUGMENTATION_FEATURES = 9  # the published code always feeds that many zeros

    def __init__(
        self,
        levels: Sequence[Level],
        mapping: Mapping,
        in_channels: int = 3,
        out_channels: int = 3,
        patch: int = 4,
    ):
        super().__init__()
        *outer, inner = levels
        widths = [level.width for level in levels]
        steps = list(zip(widths, widths[1:], strict=False))

        def layers(level: Level) -> nn.ModuleList:
            return nn.ModuleList(Layer(level, mapping.width) for _ in range(level.depth))

        self.patch_in = Fold(in_channels, widths[0], patch)
        self.time_emb = FourierFeatures(1, mapping.width)
        self.time_in_proj = nn.Linear(mapping.width, mapping.width, bias=False)
        self.aug_emb = FourierFeatures(self.AUGMENTATION_FEATURES, mapping.width)
        self.aug_in_proj = nn.Linear(mapping.width, mapping.width, bias=False)
        self.mapping = MappingNetwork(mapping)
        self.down_levels = nn.ModuleList(layers(level) for level in outer)
        self.up_levels = nn.ModuleList(layers(level) for level in outer)
        self.mid_level = layers(inner)
        self.merges = nn.ModuleList(Fold(fine, coarse, 2) for fine, coarse in steps)
        self.splits = nn.ModuleList(Split(coarse, fine) for fine, coarse in steps)
        self.out_norm = RMSNorm(widths[0])
        self.patch_out = Unfold(widths[0], out_channels, patch)

    def condition(self, t: Tensor) -> Tensor:
        """The vector every layer is conditioned on: t [B] in [0, 1] -> [B, mapping width]."""
        dtype = self.time_in_proj.weight.dtype
        no_augmentation = t.new_zeros(len(t), self.AUGMENTATION_FEATURES)
        return self.mapping(
            self.time_in_proj(self.time_emb(t[:, None]).to(dtype))
            + self.aug_in_proj(self.aug_emb(no_augmentation).to(dtype))
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x [B, in_channels, H, W] about [0, 1], t [B] in [0, 1] -> [B, out_channels, H, W].

        H and W must be multiples of patch * 2^(levels - 1), and each windowed level's grid at
        least as large as its window.
        """
        condition = self.condition(t)
        x = self.patch_in(x.movedim(1, -1))
        positions = cell_centres(*x.shape[1:3], x.device)
        levels = zip(self.down_levels, self.merges, self.up_levels, self.splits, strict=True)
        x = hourglass(x, positions, condition, list(levels), self.mid_level)
        return self.patch_out(self.out_norm(x)).movedim(-1, 1)
