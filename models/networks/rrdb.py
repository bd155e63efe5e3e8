"""ELIR's posterior mean of latents (arXiv 2502.03500): residual dense blocks of one resolution.

ESRGAN's trunk (Wang et al. 2018, arXiv 1809.00219) with SiLU, between latents of equal size.
"""

import torch
from torch import Tensor, nn

RESIDUAL_SCALE = 0.2


class Convolution(nn.Module):
    """3x3, then SiLU where another convolution follows."""

    def __init__(self, inputs: int, outputs: int, last: bool):
        super().__init__()
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.block = nn.Sequential(convolution, *([] if last else [nn.SiLU(inplace=True)]))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, h, w]."""
        return self.block(x)


class DenseBlock(nn.Module):
    """Five convolutions, each of everything before it."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.conv1 = Convolution(channels, hidden, last=False)
        self.conv2 = Convolution(channels + hidden, hidden, last=False)
        self.conv3 = Convolution(channels + 2 * hidden, hidden, last=False)
        self.conv4 = Convolution(channels + 3 * hidden, hidden, last=False)
        self.conv5 = Convolution(channels + 4 * hidden, channels, last=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] -> the same."""
        seen = x
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, convolution(seen)], dim=1)
        return x + RESIDUAL_SCALE * self.conv5(seen)


class ResidualInResidual(nn.Module):
    """Three dense blocks round a shortcut."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.RDB1 = DenseBlock(channels, hidden)
        self.RDB2 = DenseBlock(channels, hidden)
        self.RDB3 = DenseBlock(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] -> the same."""
        return x + RESIDUAL_SCALE * self.RDB3(self.RDB2(self.RDB1(x)))


class RRDBNet(nn.Module):
    """Latents of degraded pictures -> the posterior mean of the clean ones'."""

    def __init__(self, channels: int = 16, hidden: int = 96, blocks: int = 3):
        super().__init__()
        self.lrm = nn.Sequential(*(ResidualInResidual(channels, hidden) for _ in range(blocks)))

    def forward(self, z: Tensor) -> Tensor:
        """[B, channels, h, w] -> the same."""
        z = z.contiguous(memory_format=torch.channels_last)  # else what is joined is not, either
        return z + self.lrm(z)
