"""The degradations of PMRF's paper (arXiv 2410.00418): four controlled tests and blind faces.

Order, kernels and ranges are those of its training and test data. The order in which random
numbers are drawn is frozen: changing it would change every saved workflow's picture.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .blur import mirrored
from .downscale import Downscale
from .jpeg import compressed
from .noise import DEGRADING, generator
from .pointwise import GREYS, Greying, Masking, kept_pixels

KERNEL = 41
"""Side of the blind-face blur kernel."""


def _each(x: Tensor, seed: int, degrade: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """Degrade [3, H, W] by [3, H, W] on the CPU, picture i from seed + i.

    One at a time, because batched kernels may round differently: so a picture's result depends
    neither on its batch nor on the device.
    """
    pictures = enumerate(x.detach().cpu().float())
    done = [degrade(picture.contiguous(), generator(seed, i, DEGRADING)) for i, picture in pictures]
    return torch.stack(done).to(x.device)


class SuperResolution(Downscale):
    """y = clip(up(clip(down(x)) + std * n)), as large as x (`sr_bicubic_x8_gaussian_noise_005`).

    Down is antialiased bicubic, up repeats every pixel, the noise lies between them: all pixels
    of a block share one draw, so the measurement is one pixel of each. A picture whose sides are no
    multiples of the factor is extended by reflection at the bottom and right, and cropped back.
    """

    alone = True

    def __init__(self, name: str, noise_std: float = 0.05, factor: int = 8):
        super().__init__(name, factor)
        self.noise_std = noise_std

    def measured(self, picture: Tensor) -> Tensor:
        return picture[..., :: self.factor, :: self.factor]

    def pictured(self, y: Tensor) -> Tensor:
        return F.interpolate(y, scale_factor=float(self.factor), mode="nearest-exact")

    def trimmed(self, x: Tensor, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        return x[..., :height, :width]

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        def degrade(picture: Tensor, random: torch.Generator) -> Tensor:
            height, width = picture.shape[-2:]
            whole = self.extended(picture[None])
            size = [side // self.factor for side in whole.shape[-2:]]
            # Not `apply`, whose last digits differ: these pictures are frozen.
            small = F.interpolate(whole, size, mode="bicubic", antialias=True).clamp(0, 1)
            small = small + self.noise_std * torch.randn(small.shape, generator=random)
            return self.pictured(small)[0, :, :height, :width].clamp(0, 1)

        return _each(x, seed, degrade)


class Colorization(Greying):
    """y = clip(mean(r, g, b) + std * n), repeated (`colorization_gaussian_noise_025`).

    The mean is the plain one, not luma. The paper's y has one channel; an IMAGE has three, so the
    one grey picture with its one noise is repeated, and its mean is what a one-channel flow takes.
    """

    def __init__(self, name: str, noise_std: float = 0.25):
        super().__init__(name, GREYS["mean"])
        self.noise_std = noise_std

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        def degrade(picture: Tensor, random: torch.Generator) -> Tensor:
            grey = picture.mean(0, keepdim=True)
            noise = torch.randn(grey.shape, generator=random)
            return (grey + self.noise_std * noise).clamp(0, 1).repeat(3, 1, 1)

        return _each(x, seed, degrade)


@dataclass(frozen=True)
class Inpainting:
    """A share of the pixels set to 0, then noise on all (`random_inpainting_gaussian_noise_01`).

    Exactly floor(share * H * W) pixels are lost, in all three channels. Which ones depends on the
    seed, so there is no one A: `given` tells it for a seed.
    """

    name: str
    noise_std: float = 0.1
    share: float = 0.9
    linear: bool = True

    def given(self, batch: int, height: int, width: int, seed: int) -> Masking:
        """The operator that `simulate` applies to such a batch with this seed."""
        drawn = [
            kept_pixels(height, width, self.share, generator(seed, i, DEGRADING))
            for i in range(batch)
        ]
        return Masking(self.name, torch.stack(drawn), self.noise_std)

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        def degrade(picture: Tensor, random: torch.Generator) -> Tensor:
            # From one generator in turn: the same seed twice would tie the noise to the mask.
            keep = kept_pixels(*picture.shape[-2:], self.share, random)
            noise = torch.randn(picture.shape, generator=random)
            return (picture * keep + self.noise_std * noise).clamp(0, 1)

        return _each(x, seed, degrade)


@dataclass(frozen=True)
class BlindFaceCourse:
    """What was drawn for one picture of the blind-face degradation."""

    sigma_x: float
    sigma_y: float
    angle: float
    scale: float
    noise_std: float
    quality: int
    grey: bool


@dataclass(frozen=True)
class BlindFace:
    """Blur, shrink, noise, JPEG, enlarge: the `difface` training data of the blind-face weights.

    Blur by a 41x41 Gaussian, round or (one in two) stretched and turned; bilinear shrinking, at
    times enlarging; colour noise; JPEG; bilinear resizing to the picture's size; grey for one in
    a hundred; 8 bits. Training also mirrors half of its pictures: left out, because a degradation
    must not mirror a user's photo. It greys the clean picture along with the degraded one.
    """

    name: str
    noise_std: float | None = None
    linear: bool = False

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        return _each(x, seed, self._degrade)

    def draw(self, random: torch.Generator) -> BlindFaceCourse:
        """Draw a course within the published ranges."""
        kind, sx, sy, angle, scale, noise, quality, grey = torch.rand(
            8, generator=random, dtype=torch.float64
        ).tolist()
        round_kernel = kind < 0.5
        sigma_x = 0.1 + 14.9 * sx
        return BlindFaceCourse(
            sigma_x=sigma_x,
            sigma_y=sigma_x if round_kernel else 0.1 + 14.9 * sy,
            angle=0.0 if round_kernel else math.pi * (2 * angle - 1),
            scale=0.8 + 31.2 * scale,
            noise_std=20 / 255 * noise,
            quality=int(30 + 70 * quality),
            grey=grey < 0.01,
        )

    def _degrade(self, picture: Tensor, random: torch.Generator) -> Tensor:
        course = self.draw(random)
        height, width = picture.shape[-2:]
        y = correlate(picture, stretched_kernel(course.sigma_x, course.sigma_y, course.angle))
        # A picture smaller than the scale shrinks to one pixel; OpenCV would refuse.
        y = resize(y, max(int(height // course.scale), 1), max(int(width // course.scale), 1))
        y = (y + course.noise_std * torch.randn(y.shape, generator=random)).clamp(0, 1)
        y = resize(compressed(y, course.quality), height, width)
        if course.grey:
            luma = y.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
            y = (y * luma).sum(0, keepdim=True).repeat(3, 1, 1)
        return torch.round(y * 255).clamp(0, 255) / 255


def stretched_kernel(sigma_x: float, sigma_y: float, angle: float) -> Tensor:
    """A Gaussian with axes turned by `angle` from x to y (down), [41, 41], sum 1, float64."""
    axis = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_x
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_y
    kernel = torch.exp(-(along**2 + across**2) / 2)
    return kernel / kernel.sum()


def correlate(x: Tensor, kernel: Tensor) -> Tensor:
    """[C, H, W] correlated with an odd square kernel, reflected without repeating the border.

    Unlike `Blur` it takes kernels larger than the picture, and its rounding is frozen.

    As OpenCV's filter2D, through the Fourier transform: the time of a 41x41 sum over 12
    megapixels would be minutes.
    """
    height, width = x.shape[-2:]
    margin = kernel.shape[-1] // 2
    padded = x[..., mirrored(height, margin)[:, None], mirrored(width, margin)]
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel.to(x), s=size).conj()
    return torch.fft.irfft2(spectrum, s=size)[..., :height, :width]


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear between half-pixel centres, not antialiased: OpenCV's INTER_LINEAR."""
    return F.interpolate(x[None], (height, width), mode="bilinear", align_corners=False)[0]


PMRF_DEGRADATIONS = {
    "Downscale 8 and noise 0.05 (PMRF super-resolution)": SuperResolution("Downscale 8 and noise"),
    "Grey and noise 0.25 (PMRF colorization)": Colorization("Grey and noise"),
    "Missing pixels 0.9 and noise 0.1 (PMRF inpainting)": Inpainting("Missing pixels and noise"),
    "Blur, noise and JPEG (PMRF blind face)": BlindFace("Blur, downscale, noise and JPEG"),
}
"""The paper's four beside its denoising, by preset."""
