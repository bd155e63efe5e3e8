"""The one knob between a faithful and a lifelike picture, and what it costs.

If the faithful picture x* is the posterior mean and the other any estimate, the mixture
x* + realism (x - x*) has the error D* + realism^2 Delta, D* the least possible one and Delta the
mean square of x - x*: what cannot be told from the degraded photo is orthogonal to all that can.
Delta needs no clean photo.
"""

import math

import torch
from torch import Tensor

LEAST, MOST = -1.0, 2.0
"""Beyond 0 ... 1 the papers extrapolate, without a proof."""


def trade_off(faithful: Tensor, lifelike: Tensor, realism: float | Tensor) -> Tensor:
    """(1 - realism) * faithful + realism * lifelike; 0 and 1 return their picture bit for bit.

    Args:
        faithful: [B, C, H, W].
        lifelike: of the same shape.
        realism: one number, or one a picture [B]; beyond 0 ... 1 it extrapolates.

    Raises:
        ValueError: the two differ in number or size.
    """
    if faithful.shape != lifelike.shape:
        raise ValueError(
            "Trade-Off mixes two versions of the same pictures; got "
            f"{list(faithful.shape)} and {list(lifelike.shape)} [B, C, H, W]."
        )
    if isinstance(realism, Tensor):
        realism = realism.to(faithful).reshape(-1, 1, 1, 1)
    return torch.lerp(faithful, lifelike, realism)


def affordable(decibels: float, faithful: Tensor, lifelike: Tensor, psnr: float = 0.0) -> Tensor:
    """The realism that costs at most so many dB of PSNR beside the faithful picture.

    From D* + realism^2 Delta. If D* is not known, Delta <= D* is taken for granted, which holds for
    every lifelike picture that is no worse than a draw from the posterior; then Delta is not needed
    and 3 dB are the most that realism 1 can cost.

    Args:
        decibels: above 0.
        faithful, lifelike: [B, C, H, W] in [0, 1].
        psnr: of the faithful picture, where it is known; 0: it is not.

    Returns:
        [B], at least 0; without a bound where both pictures are equal.
    """
    if decibels <= 0:
        raise ValueError(f"What realism may cost must be above 0 dB; got {decibels}.")
    factor = 10 ** (decibels / 10) - 1
    if not psnr:
        return torch.full([len(faithful)], math.sqrt(factor))
    distance = (lifelike - faithful).double().square().mean((1, 2, 3))
    return (factor * 10 ** (-psnr / 10) / distance).sqrt().float()


def realisms_of(text: str) -> list[float]:
    """The numbers in a text such as '0, 0.5, 1'.

    Raises:
        ValueError: there are none, or others than numbers from -1 to 2.
    """
    try:
        found = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        found = []
    if not found or not all(LEAST <= one <= MOST for one in found):
        raise ValueError(
            f"Realisms are numbers from {LEAST:g} to {MOST:g} such as 0, 0.5, 1; got {text!r:.80}."
        )
    return found


def sweep(faithful: Tensor, lifelike: Tensor, realisms: list[float]) -> Tensor:
    """All mixtures, the B pictures of one realism after those of another: [P * B, C, H, W]."""
    return torch.cat([trade_off(faithful, lifelike, realism) for realism in realisms])
