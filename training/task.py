"""What the demo learns: the noise it removes, the flow's line, and random crops to learn from.

Arrays of pictures are uint8 [N, H, W, 3]; tensors are float32 [B, 3, H, W] in [0, 1]. Randomness
comes from CPU generators, whatever the device.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .fit import Recipe, step_generator

NAME = "Demo denoiser (Gaussian noise 25/255)"
TASK = "removes Gaussian noise of standard deviation 25/255 (clipped, rounded to 8 bit)"
DEGRADATION_STD = 25 / 255
SOURCE_STD = 0.05
"""Noise added to the posterior mean before the flow, images in [0, 1]."""


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> [B, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


def degrade(clean: Tensor, generator: Generator) -> Tensor:
    """[B, 3, H, W] -> noisy, clipped and rounded to 8 bit as a saved picture is."""
    noise = torch.randn(clean.shape, generator=generator)
    return (255 * (clean + DEGRADATION_STD * noise).clamp(0, 1)).round() / 255


def draw_crops(
    arrays: tuple[np.ndarray, ...], recipe: Recipe, generator: Generator
) -> list[Tensor]:
    """The same random crops of each array, flipped and transposed alike."""
    count, side = arrays[0].shape[:2]

    def draw(below: int) -> list[int]:
        return torch.randint(below, (recipe.batch,), generator=generator).tolist()

    places = [*zip(draw(count), *(draw(side - recipe.crop + 1) for _ in "yx"), strict=True)]
    mirror, flip, transpose = torch.rand(3, generator=generator) < 0.5

    def crop(pixels: np.ndarray) -> Tensor:
        size = recipe.crop
        crops = to_tensor(np.stack([pixels[n, y : y + size, x : x + size] for n, y, x in places]))
        crops = crops.flip(3) if mirror else crops
        crops = crops.flip(2) if flip else crops
        return (crops.transpose(2, 3) if transpose else crops).contiguous()

    return [crop(pixels) for pixels in arrays]


def mean_loss(
    net, pictures: np.ndarray, recipe: Recipe, device: torch.device, generator: Generator
) -> Tensor:
    """Mean squared error: its minimiser is the posterior mean."""
    (clean,) = draw_crops((pictures,), recipe, generator)
    noisy = degrade(clean, generator).to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        restored = net(noisy)
    return F.mse_loss(restored.float(), clean.to(device))


def spread_times(count: int, generator: Generator) -> Tensor:
    """[count] in [0, 1), one from each of `count` equal slices: less variance than independent
    draws."""
    slices = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    return slices / count


def flow_batch(clean: Tensor, mean: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """State, time [B] and velocity on straight lines from mean + noise (t = 0) to clean (t = 1)."""
    batch = len(clean)
    source = mean + SOURCE_STD * torch.randn(mean.shape, generator=generator)
    t = spread_times(batch, generator)
    return torch.lerp(source, clean, t[:, None, None, None]), t, clean - source


def flow_loss(
    net, pictures: np.ndarray, means: np.ndarray, recipe: Recipe, device: torch.device,
    generator: Generator,
) -> Tensor:  # fmt: skip
    """Mean squared error of the velocity; `net` takes (state, t, s)."""
    state, t, velocity = flow_batch(*draw_crops((pictures, means), recipe, generator), generator)
    state, t = state.to(device, memory_format=torch.channels_last), t.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        predicted = net(state, t, t)
    return F.mse_loss(predicted.float(), velocity.to(device))


@torch.no_grad()
def restore_all(mean: Callable[[Tensor], Tensor], pictures: np.ndarray, seed: int) -> np.ndarray:
    """The posterior mean of each picture under one draw of noise; uint8 like the pictures."""
    restored = np.empty_like(pictures)
    for number, picture in enumerate(pictures):
        noisy = degrade(to_tensor(picture[None]), step_generator(seed, number))
        pixels = (255 * mean(noisy)[0].clamp(0, 1)).round().byte()
        restored[number] = pixels.permute(1, 2, 0).cpu().numpy()
    return restored
