"""Flows whose map is known exactly: pixels are independent, and Gaussian or of two kinds."""

from collections.abc import Callable

import torch
from gaussians import Gaussian
from restoreflow.models.contracts import Flow
from torch import Tensor, nn

MEAN, STD = 0.4, 0.1
"""Of pixels in [0, 1]."""
PIXELS = Gaussian(torch.tensor(2 * MEAN - 1), torch.tensor(4 * STD**2))
"""The same in [-1, 1]."""


def exact(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """As a network is called: states [B, 3, H, W] in [0, 1], times [B]."""
    t, s = (time.view(-1, 1, 1, 1) for time in (t, s))
    return PIXELS(2 * x - 1, t, s) / 2


def pixel_flow(predict: Callable = exact, **facts) -> Flow:
    """A prior of such pictures, whose network is `predict`."""
    known = {
        "name": "Test",
        "network": nn.ParameterList([torch.zeros(1)]),
        "memory": lambda height, width, batch, dtype: height * width * batch,
        "multiple": 8,
        "minimum": 16,
        "times": "two-time",
        "origin": "noise",
        "noise_std": 0.5,
        "source_mean": 0.5,
        "steps": 8,
    }
    return Flow(predict=predict, **{**known, **facts})


def watched(seen: list, predict: Callable = exact) -> Callable:
    """The network, keeping (state, t, s) of each call."""

    def call(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        seen.append((x.clone(), t.clone(), s.clone()))
        return predict(x, t, s)

    return call


def pictures(count: int = 1, height: int = 40, width: int = 33, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return MEAN + STD * torch.randn(count, 3, height, width, generator=random)


def noisy(x: Tensor, std: float | Tensor, seed: int = 1) -> Tensor:
    return x + std * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
