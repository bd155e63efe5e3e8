"""LUnet (ELIR, arXiv 2502.03500): the vector field of a flow in latents, a convolutional U-Net.

Its group norms take their statistics over the whole plane, so a tile's result is not the whole
picture's.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow_unet import count_children

GROUPS = 32
"""Of every norm; all widths are multiples of it."""
TIME_SCALE = 1000.0
LONGEST_PERIOD = 10000.0
TIME_EXPANSION = 4


class LUnetShape(NamedTuple):
    """The constructor's arguments, as a state dict's shapes tell them."""

    channels: int
    width: int
    multiples: tuple[int, ...]
    """How much wider each level's end is than its beginning; where it is, also half as high."""
    middle: int
    """Residual blocks of the coarsest level."""
    time_dim: int
    learned_rescaling: bool
    """Whether the convolutions that rescale do so themselves, or stand beside a plain rescaling."""

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "LUnetShape":
        """Deduces the arguments of the `LUnet` that a state dict of these shapes fits."""
        width, channels = shapes["first_proj.weight"][:2]
        downs = [
            shapes.get(f"down_blocks.{level}.1.conv.weight", (1, 1, 3, 3))
            for level in range(count_children(shapes, "down_blocks"))
        ]
        return cls(
            channels=channels,
            width=width,
            multiples=tuple(max(outputs // inputs, 1) for outputs, inputs, *_ in downs),
            middle=count_children(shapes, "mid_blocks"),
            time_dim=shapes["time_mlp.linear1.weight"][1],
            learned_rescaling=all(side == 3 for *_, side in downs),
        )


def time_features(t: Tensor, dim: int) -> Tensor:
    """t [B] in [0, 1] -> [B, dim] in float32: cosines, then sines, of falling frequency."""
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(index * -(math.log(LONGEST_PERIOD) / (half - 1)))
    phase = TIME_SCALE * t.float()[:, None] * frequencies
    return torch.cat([phase.cos(), phase.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """Features of the time -> the vector that conditions every block."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear1 = nn.Linear(dim, TIME_EXPANSION * dim)
        self.linear2 = nn.Linear(TIME_EXPANSION * dim, TIME_EXPANSION * dim)

    def forward(self, features: Tensor) -> Tensor:
        """[B, dim] -> [B, 4 * dim]."""
        return self.linear2(F.silu(self.linear1(features)))


class Block(nn.Module):
    """Norm, SiLU and a 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(GROUPS, inputs),
            nn.SiLU(inplace=True),
            nn.Conv2d(inputs, outputs, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, h, w]."""
        return self.block(x)


class ResidualBlock(nn.Module):
    """Two blocks, the time added between them, round a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int, embedding: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs))
        self.block1 = Block(inputs, outputs)
        self.block2 = Block(outputs, outputs)
        self.conv2d = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B, inputs, h, w], embedding [B, embedding] -> [B, outputs, h, w]."""
        hidden = self.block1(x).add_(self.mlp(embedding)[:, :, None, None])
        return self.block2(hidden).add_(self.conv2d(x))


class Downsample(nn.Module):
    """Half as high and wide: by a convolution's stride, or by averaging after one of 1x1."""

    def __init__(self, inputs: int, outputs: int, learned: bool):
        super().__init__()
        self.learned = learned
        kernel = {"kernel_size": 3, "stride": 2, "padding": 1} if learned else {"kernel_size": 1}
        self.conv = nn.Conv2d(inputs, outputs, **kernel)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, h / 2, w / 2]."""
        x = self.conv(x)
        return x if self.learned else F.avg_pool2d(x, 2)


class LearnedUpsample(nn.Module):
    """Twice as high and wide, by a transposed convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.convtr = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, 2 h, 2 w]."""
        return self.convtr(x)


class NearestUpsample(nn.Module):
    """Twice as high and wide by repetition, then a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, 2 h, 2 w]."""
        return self.conv(F.interpolate(x, scale_factor=2.0))


class LUnet(nn.Module):
    """Mean velocity from t to the end of t's segment.

    The height and width of the state must be multiples of `multiple`.
    """

    def __init__(
        self,
        channels: int = 16,
        width: int = 128,
        multiples: tuple[int, ...] = (1, 2, 1, 2),
        middle: int = 1,
        time_dim: int = 160,
        learned_rescaling: bool = True,
    ):
        super().__init__()
        self.time_dim = time_dim
        self.multiple = 2 ** sum(multiple != 1 for multiple in multiples)
        embedding = TIME_EXPANSION * time_dim
        upsample = LearnedUpsample if learned_rescaling else NearestUpsample
        self.time_mlp = TimeEmbedding(time_dim)
        self.down_blocks, self.mid_blocks = nn.ModuleList(), nn.ModuleList()
        fine, ups = width, []
        for multiple in multiples:
            coarse = fine * multiple
            down, up = nn.Identity(), nn.Identity()
            if multiple != 1:
                down, up = Downsample(fine, coarse, learned_rescaling), upsample(coarse, fine)
            self.down_blocks.append(nn.ModuleList([ResidualBlock(fine, fine, embedding), down]))
            ups.insert(0, nn.ModuleList([up, ResidualBlock(2 * fine, fine, embedding)]))
            fine = coarse
        for _ in range(middle):
            self.mid_blocks.append(ResidualBlock(fine, fine, embedding))
        self.up_blocks = nn.ModuleList(ups)
        self.first_proj = nn.Conv2d(channels, width, 1)
        self.final_block = Block(width, width)
        self.final_proj = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x [B, channels, h, w], t [B] in [0, 1] -> velocity [B, channels, h, w]."""
        embedding = self.time_mlp(time_features(t, self.time_dim).to(x.dtype))
        x = self.first_proj(x)
        skips = []
        for block, down in self.down_blocks:
            x = block(x, embedding)
            skips.append(x)
            x = down(x)
        for block in self.mid_blocks:
            x = block(x, embedding)
        for up, block in self.up_blocks:
            x = block(torch.cat([up(x), skips.pop()], dim=1), embedding)
        return self.final_proj(self.final_block(x))
