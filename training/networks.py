"""The two networks as they are trained: the same weights, in forms that train faster."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from spandrel.architectures.NAFNet.__arch.NAFNet_arch import NAFNet
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """NAFNet's norm with the same parameters, in the form that trains faster on a CPU."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter, epsilon: float):
        super().__init__()
        self.weight, self.bias, self.epsilon = weight, bias, epsilon

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon)
        return x.permute(0, 3, 1, 2)


def with_fast_norms(net: nn.Module) -> nn.Module:
    """Exchanges the norms of a NAFNet in place; its state dict stays as it is."""
    for module in [*net.modules()]:
        for name, child in module.named_children():
            if type(child).__name__ == "LayerNorm2d":
                setattr(module, name, ChannelNorm(child.weight, child.bias, child.eps))
    return net


def build_mean() -> nn.Module:
    """A small NAFNet that spandrel recognises by its weights."""
    return NAFNet(width=16, enc_blk_nums=[1, 1, 2], middle_blk_num=2, dec_blk_nums=[1, 1, 1])


def compiled(net: nn.Module, crop: int, device: torch.device) -> Callable[..., Tensor]:
    """A flow compiled for crops of one size, or the flow itself where there is no compiler."""
    example = torch.zeros(2, 3, crop, crop, device=device)
    try:
        fast = torch.compile(net)
        with torch.autocast(device.type, torch.bfloat16):
            fast(example, example.new_zeros(2), example.new_zeros(2))
    except Exception as error:  # what is missing differs from machine to machine
        print(f"no compiler ({type(error).__name__}): training goes on, only slower")
        return net
    return fast
