"""Colours for numbers from 0 to 1."""

import torch
from torch import Tensor

HEAT = (
    (0, 0, 4),
    (33, 12, 74),
    (87, 16, 110),
    (138, 34, 106),
    (188, 55, 84),
    (228, 90, 49),
    (249, 142, 9),
    (249, 203, 53),
    (252, 255, 164),
)
"""Nine colours of the map `inferno` (Smith and van der Walt 2015, CC0), evenly spaced: from black
to pale yellow, lighter at each step, so that it can be read in grey and by the colour-blind."""


def heat(values: Tensor) -> Tensor:
    """[B, 1, H, W] in [0, 1] -> the colours of a heat map, [B, 3, H, W] in [0, 1]."""
    table = torch.tensor(HEAT, dtype=torch.float32, device=values.device) / 255
    place = values[:, 0].float().clamp(0, 1) * (len(HEAT) - 1)
    low = place.long().clamp(max=len(HEAT) - 2)
    share = (place - low)[..., None]
    return torch.lerp(table[low], table[low + 1], share).movedim(-1, 1)
