"""TAESD (madebyollin, github.com/madebyollin/taesd): a tiny autoencoder of convolutions alone.

The graph of TAESD3, under diffusers' names; ELIR (arXiv 2502.03500) fine-tunes its encoder. Every
stage halves or doubles the sides, so a picture's last, incomplete latent stands for its edge.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pieces import convolved

LIMIT = 3.0
"""Latents are squashed into (-3, 3) before they are decoded."""
BLOCKS = 3
"""Residual blocks a stage."""
FINEST_REACH = 6
"""Rows of pixels on either side that the finest level depends on, as few as are even."""
BLOCK_REACH = 3
"""Rows on either side that a block's result depends on: one for each of its convolutions."""


class Block(nn.Module):
    """Residual block of three 3x3 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> the same."""
        return convolved(self._added, x, reach=BLOCK_REACH, widest=x.shape[1])

    def _added(self, x: Tensor) -> Tensor:
        return F.relu_(self.conv(x).add_(x))


class Encoder(nn.Module):
    """Pictures to latents, half as high and wide a stage."""

    def __init__(self, width: int, channels: int, stages: int):
        super().__init__()
        layers = [nn.Conv2d(3, width, 3, padding=1), Block(width)]
        for _ in range(stages):
            layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
            layers += [Block(width) for _ in range(BLOCKS)]
        layers.append(nn.Conv2d(width, channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> [B, channels, H / 2^stages, W / 2^stages], rounded up."""
        finest, coarser = self.layers[:3], self.layers[3:]
        width, down = finest[0].out_channels, finest[2].stride[0]
        x = convolved(finest, x, reach=FINEST_REACH, widest=width, down=down)
        for layer in coarser:  # called as one, they would hold their input to the end
            x = layer(x)
        return x


class Decoder(nn.Module):
    """Latents to pictures, twice as high and wide a stage."""

    def __init__(self, width: int, channels: int, stages: int):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(stages):
            layers += [Block(width) for _ in range(BLOCKS)]
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
            ]
        layers += [Block(width), nn.Conv2d(width, 3, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """[B, channels, h, w] -> [B, 3, h * 2^stages, w * 2^stages] about [0, 1]."""
        coarser, finest = self.layers[:-4], self.layers[-4:]
        x = coarser(torch.tanh(z / LIMIT) * LIMIT)
        return convolved(finest, x, reach=FINEST_REACH // 2, widest=4 * x.shape[1], up=2)


class TAESD(nn.Module):
    """Both halves."""

    def __init__(self, width: int = 64, channels: int = 16, stages: int = 3):
        super().__init__()
        self.factor = 2**stages
        self.encoder = Encoder(width, channels, stages)
        self.decoder = Decoder(width, channels, stages)
