"""Sim-VAE (Latent-PMRF, Luo et al. 2025, arXiv 2507.00447): a plain convolutional autoencoder.

Residual blocks alone, no attention, and as published a norm at each pixel, so that it behaves
alike at every size. Module and parameter names are those of the published checkpoints, in their
order of registration.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow_unet import count_children
from .pieces import convolved

EPSILON = 1e-6
GROUPS = 32
LOG_VARIANCE_RANGE = (-30.0, 20.0)

NormType = Literal["layer_norm", "group_norm"]
NormPosition = Literal["pre_norm", "post_norm"]


class SimVAEShape(NamedTuple):
    """What the shapes of a state dict tell of its network; the defaults are the published one."""

    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Of each level, from the finest; each level but the last halves the size."""
    depth: int = 2
    """Blocks a level of the encoder; the decoder has one more."""
    middle_depth: int = 3
    """Blocks between the levels and the latents, on either side."""
    channels: int = 16
    """Of the latents."""
    shuffles: bool = False
    """Whether it enlarges by spreading channels instead of repeating pixels."""

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "SimVAEShape":
        """Deduces the shape of the `SimVAE` whose tensors have these names and shapes.

        Raises:
            KeyError: a tensor is missing that every Sim-VAE has.
        """
        downs = count_children(shapes, "encoder.down_blocks") - 1
        widths = [shapes["encoder.conv_in.weight"][0]]
        widths += [
            shapes[f"encoder.down_blocks.{i}.downsampler.conv.weight"][0] for i in range(downs)
        ]
        last_up = f"decoder.up_blocks.{downs - 1}.upsampler.conv.weight"
        return cls(
            tuple(widths),
            depth=count_children(shapes, "encoder.down_blocks.0.resnets"),
            middle_depth=count_children(shapes, "encoder.mid_block.resnets"),
            channels=shapes["decoder.conv_in.weight"][1],
            shuffles=downs > 0 and shapes[last_up][0] == 4 * widths[0],
        )


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(norm(x)))), or the norm of the sum without one inside."""

    def __init__(self, width: int, norm: NormType, position: NormPosition):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = (
            ChannelNorm(width, EPSILON)
            if norm == "layer_norm"
            else nn.GroupNorm(GROUPS, width, EPSILON)
        )
        self.norm_first = position == "pre_norm"

    def forward(self, x: Tensor) -> Tensor:
        block = self._normed_first if self.norm_first else self._normed_last
        if isinstance(self.norm, nn.GroupNorm):  # of the whole picture
            return block(x)
        return convolved(block, x, reach=2, widest=x.shape[1])

    def _normed_first(self, x: Tensor) -> Tensor:
        return self._convolved(self.norm(x)).add_(x)

    def _normed_last(self, x: Tensor) -> Tensor:
        return self.norm(self._convolved(x).add_(x))

    def _convolved(self, x: Tensor) -> Tensor:
        return self.conv2(F.silu(self.conv1(x), inplace=True))


class Downsample(nn.Module):
    """To half the size, an odd side rounded up."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """To twice the size: repeat pixels and convolve, or convolve and spread the channels."""

    def __init__(self, inputs: int, outputs: int, shuffles: bool):
        super().__init__()
        self.shuffles = shuffles
        self.conv = nn.Conv2d(inputs, 4 * outputs if shuffles else outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.shuffles:
            return F.pixel_shuffle(self.conv(x), 2)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Blocks(nn.Module):
    """Residual blocks of one width."""

    def __init__(self, blocks: Sequence[ResidualBlock]):
        super().__init__()
        self.resnets = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        return x


class DownLevel(Blocks):
    """The blocks of a level, then the way to the coarser one where there is one."""

    def __init__(self, blocks: Sequence[ResidualBlock], downsampler: Downsample | None):
        super().__init__(blocks)
        self.downsampler = downsampler

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.downsampler is None else self.downsampler(x)


class UpLevel(Blocks):
    """The blocks of a level, then the way to the finer one where there is one."""

    def __init__(self, blocks: Sequence[ResidualBlock], upsampler: Upsample | None):
        super().__init__(blocks)
        self.upsampler = upsampler

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.upsampler is None else self.upsampler(x)


BlocksOf = Callable[[int, int], list[ResidualBlock]]
"""(number, width) -> new residual blocks."""


class Encoder(nn.Module):
    """[B, 3, H, W] in [-1, 1] -> mean and log variance, [B, 2 * channels, h, w]."""

    def __init__(self, shape: SimVAEShape, blocks: BlocksOf):
        super().__init__()
        widths = shape.widths
        downs = [Downsample(fine, coarse) for fine, coarse in pairwise(widths)]
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownLevel(blocks(shape.depth, width), down)
            for width, down in zip(widths, [*downs, None], strict=True)
        )
        self.mid_block = Blocks(blocks(shape.middle_depth, widths[-1]))
        self.conv_out = nn.Conv2d(widths[-1], 2 * shape.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(self.mid_block(x))


class Decoder(nn.Module):
    """[B, channels, h, w] -> [B, 3, h * factor, w * factor], about [-1, 1]."""

    def __init__(self, shape: SimVAEShape, blocks: BlocksOf):
        super().__init__()
        widths = shape.widths[::-1]
        ups = [Upsample(coarse, fine, shape.shuffles) for coarse, fine in pairwise(widths)]
        self.conv_in = nn.Conv2d(shape.channels, widths[0], 3, padding=1)
        self.mid_block = Blocks(blocks(shape.middle_depth, widths[0]))
        self.up_blocks = nn.ModuleList(
            UpLevel(blocks(shape.depth + 1, width), up)
            for width, up in zip(widths, [*ups, None], strict=True)
        )
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(x)


class SimVAE(nn.Module):
    """Pictures in [-1, 1] to the mean and std of a normal posterior over latents, and back.

    Args:
        shape: widths, depths and channels.
        norm: over the channels of each pixel; or over space and groups of channels, which makes
            a pixel depend on the whole picture.
        position: of a block's only norm, before its convolutions or after the sum.
    """

    def __init__(
        self,
        shape: SimVAEShape,
        norm: NormType = "layer_norm",
        position: NormPosition = "pre_norm",
    ):
        super().__init__()

        def blocks(number: int, width: int) -> list[ResidualBlock]:
            return [ResidualBlock(width, norm, position) for _ in range(number)]

        self.factor = 2 ** (len(shape.widths) - 1)
        self.encoder = Encoder(shape, blocks)
        self.decoder = Decoder(shape, blocks)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in [-1, 1] -> mean and std [B, channels, H / factor, W / factor].

        A side that is no multiple of the factor is rounded up, and comes back so.
        """
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, torch.exp(log_variance.clamp(*LOG_VARIANCE_RANGE) / 2)

    def decode(self, z: Tensor) -> Tensor:
        """[B, channels, h, w] -> [B, 3, h * factor, w * factor], about [-1, 1]."""
        return self.decoder(z)
