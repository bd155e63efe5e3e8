"""Into the latents of an autoencoder and back, in tiles where memory asks for it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.contracts import Autoencoder
from .pieces import Machine, Pieces
from .restore import check_domain, checked
from .tiling import pad_to


def encode(
    part: Autoencoder,
    pictures: Tensor,
    *,
    noise: Callable[[tuple[int, int, int]], Tensor] | None = None,
    tile: int = 0,
    observe: Callable[[int, int], None] = lambda done, total: None,
    machine: Machine | None = None,
) -> Tensor:
    """The latents of pictures: the posterior's mean, or a draw from it.

    Args:
        part: whose encoder it is.
        pictures: [B, 3, H, W] in [0, 1]; padded by reflection to what the latent space takes.
        noise: standard normal [B, C, h, w] for latents of [C, h, w]; None takes the mean.
        tile: largest side of tiles in pixels; 0 decides by the free memory.
        observe: told how many of how many pieces are done.
        machine: where it runs.

    Returns:
        [B, C, h, w], float32, as on the wire.

    Raises:
        ValueError: a draw is asked of an encoder that gives no posterior.
    """
    padded = pad_to(pictures, part.multiple, part.minimum)

    def moments(x: Tensor) -> Tensor:
        mean, std = part.encode(x)
        if noise is None:
            return mean
        if std is None:
            raise ValueError(
                f"{part.name} gives one latent a picture and no posterior to draw from; "
                "choose mean."
            )
        return torch.cat([mean, std], dim=1)

    size = (len(padded), *padded.shape[-2:])
    found = Pieces(part, size, machine or Machine(), tile, observe)(moments, padded)
    if noise is None:
        return checked(found, part)
    mean, std = checked(found, part).chunk(2, dim=1)
    return mean + std * noise(tuple(mean.shape[1:])).to(mean.device)


def decode(
    part: Autoencoder,
    latents: Tensor,
    *,
    tile: int = 0,
    observe: Callable[[int, int], None] = lambda done, total: None,
    machine: Machine | None = None,
) -> Tensor:
    """The pictures of latents.

    Args:
        part: whose decoder it is.
        latents: [B, C, h, w], as on the wire.
        tile: largest side of tiles in pixels; 0 decides by the free memory.
        observe: told how many of how many pieces are done.
        machine: where it runs.

    Returns:
        [B, 3, h * factor, w * factor] in [0, 1], float32.

    Raises:
        ValueError: latents of another number of channels.
    """
    check_domain(part, latents)
    size = (len(latents), *latents.shape[-2:])
    pieces = Pieces(_Decoder(part), size, machine or Machine(), -(-tile // part.factor), observe)
    return checked(pieces(part.decode, latents), part).clamp(0, 1)


@dataclass(frozen=True)
class _Decoder:
    """What tiling must know of the decoder."""

    part: Autoencoder
    multiple: int = 1
    minimum: int = 1
    native_size: None = None
    unit: str = "latents"

    @property
    def dtype(self) -> torch.dtype:
        return self.part.dtype

    def memory(self, height: int, width: int, batch: int, dtype: torch.dtype) -> int:
        return self.part.decoder_memory(height, width, batch, dtype)
