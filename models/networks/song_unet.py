"""The flow-map denoisers' network (arXiv 2606.19802): a DDPM++ U-Net of two times.

After Song et al. 2021 (arXiv 2011.13456), under the names that Karras et al. 2022 (arXiv
2206.00364) gave its tensors: a level is named by its side at the size that was trained. Group norms
and attention see the whole plane, so a tile's result is not the whole picture's.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6
GROUPS, LEAST_IN_GROUP = 32, 4
"""Of every norm: as many groups, or fewer of so many channels."""
LONGEST_PERIOD = 10000.0
ROOT_HALF = math.sqrt(0.5)
"""Keeps the variance of a sum of two."""
TAPS = 4
"""Of the filter round a change of size, where no level changes it."""
KERNEL = 3


class SongUNetShape(NamedTuple):
    """The constructor's arguments, as a state dict's shapes tell them."""

    channels: int
    resolution: int
    """The side of pictures that was trained; it names the levels, and any other multiple serves."""
    width: int
    """Of the first convolution."""
    widths: tuple[int, ...]
    """Of each level, the finest first; every level has half the side of the one before."""
    blocks: int
    """Of a level's encoder; its decoder has one more."""
    attention: tuple[int, ...]
    """The resolutions whose every encoder block and last decoder block attend."""
    features: int
    """Sines and cosines of the times."""
    embedding: int
    """Width of the vector that conditions every block."""
    taps: int
    """Side of the filter round a change of size."""

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "SongUNetShape":
        """Deduces the arguments of the `SongUNet` that a state dict of these shapes fits."""
        resolution = trained_resolution(shapes)
        if resolution is None:
            raise KeyError("enc.*_conv.weight")
        levels = 1 + sum(bool(re.fullmatch(r"enc\.\d+x\d+_down\.conv0\.weight", n)) for n in shapes)
        sides = [resolution >> level for level in range(levels)]
        width, channels = shapes[f"enc.{label(resolution)}_conv.weight"][:2]
        block = re.compile(rf"enc\.{label(resolution)}_block\d+\.conv0\.weight")
        filters = (shape[-1] for n, shape in shapes.items() if n.endswith("conv0.resample_filter"))
        return cls(
            channels=channels,
            resolution=resolution,
            width=width,
            widths=tuple(shapes[f"enc.{label(side)}_block0.conv0.weight"][0] for side in sides),
            blocks=sum(bool(block.fullmatch(name)) for name in shapes),
            attention=tuple(s for s in sides if f"enc.{label(s)}_block0.qkv.weight" in shapes),
            features=shapes["map_layer0.weight"][1],
            embedding=shapes["map_layer0.weight"][0],
            taps=next(filters, TAPS),
        )


def label(side: int) -> str:
    """How a level is called whose planes have this side at the resolution that was trained."""
    return f"{side}x{side}"


def trained_resolution(names: Iterable[str]) -> int | None:
    """The resolution that the first convolution's name tells; None where there is none."""
    matches = (re.fullmatch(r"enc\.(\d+)x\1_conv\.weight", name) for name in names)
    return next((int(match[1]) for match in matches if match), None)


def time_features(t: Tensor, count: int) -> Tensor:
    """t [B] in [0, 1] -> [B, count] in float32 or better: cosines, then sines, falling in pitch."""
    t = t.to(torch.promote_types(t.dtype, torch.float32))
    half = count // 2
    exponents = torch.arange(half, dtype=t.dtype, device=t.device) / max(half - 1, 1)
    phase = t[:, None] * LONGEST_PERIOD**-exponents
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(GROUPS, width // LEAST_IN_GROUP), width, EPSILON)


class Rescaled(nn.Conv2d):
    """A convolution after a smooth change of size: twice as high and wide, or half."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, rescale: Literal["up", "down"], taps: int
    ):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.rescale = rescale
        row = torch.tensor([float(math.comb(taps - 1, i)) for i in range(taps)])
        smooth = torch.outer(row, row) / row.sum() ** 2
        self.register_buffer("resample_filter", smooth[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, 2 h, 2 w] or [B, outputs, h / 2, w / 2]."""
        channels = x.shape[1]
        weight = self.resample_filter.to(x).expand(channels, -1, -1, -1)
        how = {"stride": 2, "padding": (weight.shape[-1] - 1) // 2, "groups": channels}
        if self.rescale == "up":  # three of four pixels are zeros before the filter
            x = F.conv_transpose2d(x, 4 * weight, **how)
        else:
            x = F.conv2d(x, weight, **how)
        return super().forward(x)


def convolution(
    inputs: int, outputs: int, kernel: int, rescale: Literal["up", "down"] | None, taps: int
) -> nn.Conv2d:
    if rescale:
        return Rescaled(inputs, outputs, kernel, rescale, taps)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class Block(nn.Module):
    """Two convolutions, the times scaling between them, round a shortcut; then attention if any."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shape: SongUNetShape,
        attention: bool = False,
        rescale: Literal["up", "down"] | None = None,
    ):
        super().__init__()
        self.norm0 = norm(inputs)
        self.conv0 = convolution(inputs, outputs, KERNEL, rescale, shape.taps)
        self.affine = nn.Linear(shape.embedding, outputs)
        self.norm1 = norm(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, KERNEL, padding=KERNEL // 2)
        self.skip = None
        if inputs != outputs or rescale:
            self.skip = convolution(inputs, outputs, 1, rescale, shape.taps)
        self.qkv = None
        if attention:
            self.norm2 = norm(outputs)
            self.qkv = nn.Conv2d(outputs, 3 * outputs, 1)
            self.proj = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B, inputs, h, w], embedding [B, embedding] -> [B, outputs, h', w']."""
        hidden = self.conv0(F.silu(self.norm0(x)))
        scale = 1 + self.affine(embedding)[:, :, None, None]
        hidden = self.conv1(F.silu(self.norm1(hidden) * scale))
        x = ROOT_HALF * (hidden + (x if self.skip is None else self.skip(x)))
        return x if self.qkv is None else ROOT_HALF * (x + self.attend(x))

    def attend(self, x: Tensor) -> Tensor:
        """One head over all pixels of the plane: [B, outputs, h, w] -> the same shape."""
        # Query, key and value of a channel are neighbours among the convolution's channels.
        threes = self.qkv(self.norm2(x)).unflatten(1, (-1, 3)).flatten(3)  # [B, C, 3, h w]
        q, k, v = threes.permute(2, 0, 3, 1)[:, :, None]  # each [B, 1, h w, C]
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed[:, 0].transpose(1, 2).reshape(x.shape))


def encoder(shape: SongUNetShape, levels: list[tuple[int, int]]) -> tuple[nn.ModuleDict, list[int]]:
    """The modules of (side, width) a level, and the widths of what they leave to the decoder."""
    modules, width, skips = nn.ModuleDict(), shape.width, [shape.width]
    for side, wide in levels:
        if side == shape.resolution:
            first = nn.Conv2d(shape.channels, width, KERNEL, padding=KERNEL // 2)
            modules[f"{label(side)}_conv"] = first
        else:
            modules[f"{label(side)}_down"] = Block(width, width, shape, rescale="down")
            skips.append(width)
        for number in range(shape.blocks):
            block = Block(width, wide, shape, attention=side in shape.attention)
            modules[f"{label(side)}_block{number}"] = block
            width = wide
            skips.append(width)
    return modules, skips


def decoder(shape: SongUNetShape, levels: list[tuple[int, int]], skips: list[int]) -> nn.ModuleDict:
    """The modules of (side, width) a level, which take what an encoder leaves, its last first."""
    modules, width, skips = nn.ModuleDict(), skips[-1], [*skips]
    for side, wide in reversed(levels):
        if side == levels[-1][0]:
            modules[f"{label(side)}_in0"] = Block(width, width, shape, attention=True)
            modules[f"{label(side)}_in1"] = Block(width, width, shape)
        else:
            modules[f"{label(side)}_up"] = Block(width, width, shape, rescale="up")
        for number in range(shape.blocks + 1):
            attention = number == shape.blocks and side in shape.attention
            block = Block(width + skips.pop(), wide, shape, attention)
            modules[f"{label(side)}_block{number}"] = block
            width = wide
    modules[f"{label(shape.resolution)}_aux_norm"] = norm(width)
    last = nn.Conv2d(width, shape.channels, KERNEL, padding=KERNEL // 2)
    modules[f"{label(shape.resolution)}_aux_conv"] = last
    return modules


class SongUNet(nn.Module):
    """Mean velocity of a flow over [t, s] from the state at t; at s = t the velocity itself.

    The height and width of the state must be multiples of `multiple`.
    """

    def __init__(self, shape: SongUNetShape):
        super().__init__()
        self.shape = shape
        self.multiple = 2 ** (len(shape.widths) - 1)
        self.map_layer0 = nn.Linear(shape.features, shape.embedding)
        self.map_layer1 = nn.Linear(shape.embedding, shape.embedding)
        levels = [(shape.resolution >> i, wide) for i, wide in enumerate(shape.widths)]
        self.enc, skips = encoder(shape, levels)
        self.dec = decoder(shape, levels, skips)

    def embed(self, t: Tensor, s: Tensor, dtype: torch.dtype) -> Tensor:
        """t, s [B] in [0, 1] -> [B, embedding] of the given dtype."""
        count = self.shape.features
        features = time_features(s - t, count) + time_features(t, count)
        return F.silu(self.map_layer1(F.silu(self.map_layer0(features.to(dtype)))))

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """x [B, channels, H, W] around [-1, 1]; t <= s [B] in [0, 1] -> [B, channels, H, W]."""
        embedding = self.embed(t, s, x.dtype)
        skips: list[Tensor] = []
        for module in self.enc.values():
            x = module(x, embedding) if isinstance(module, Block) else module(x)
            skips.append(x)
        for name, module in self.dec.items():
            if "_block" in name:
                x = torch.cat([x, skips.pop()], dim=1)
            if isinstance(module, Block):
                x = module(x, embedding)
            else:
                x = module(F.silu(x)) if name.endswith("_aux_conv") else module(x)
        return x
