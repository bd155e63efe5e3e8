"""Blur by a known kernel, with the photo's border reflected or wrapped around."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .kronecker import Kronecker
from .operators import Operator

BORDERS = ("reflect", "circular")
SMALLEST_GAIN = 1e-6
"""Frequencies that a circular blur weakens more than that count as lost."""
ROUNDING = 1e-6
"""Of a kernel's largest value, by which it may differ from a product."""
REACH = 4
"""Of a Gaussian kernel, in std to either side."""


class Blur(Operator):
    """y = kernel * x: every point of the picture becomes the kernel's picture.

    Reflecting does not repeat the border's pixels. The proximal step has a closed form for circular
    blurs, and for kernels that are products of a column and a row, such as Gaussians.
    """

    def __init__(self, name: str, kernel: Tensor, border: str = "reflect"):
        """
        Args:
            kernel: [h, w], not negative; brought to sum 1, so that no light is lost. Its centre is
                at (h // 2, w // 2), even where a side is even.
            border: one of BORDERS.

        Raises:
            ValueError: no such kernel or border.
        """
        if border not in BORDERS:
            raise ValueError(f"The border must be one of {', '.join(BORDERS)}; got {border}.")
        if kernel.ndim != 2 or not kernel.numel():
            raise ValueError(f"A blur kernel is one picture [h, w]; got {list(kernel.shape)}.")
        if not kernel.isfinite().all() or kernel.min() < 0:
            raise ValueError(
                "A blur kernel is one picture of light, from 0 up; got negative values or NaN."
            )
        if (total := kernel.double().sum()) <= 0:
            raise ValueError("The blur kernel is black all over; give one with light in it.")
        self.name, self.border = name, border
        self.kernel = kernel.double() / total
        """[h, w], sum 1, float64."""
        lines = product_lines(self.kernel)
        self.kronecker = Lines(name, lines) if lines and border == "reflect" else None
        self._gains = lru_cache(maxsize=4)(self._gains)

    @property
    def noise_gain(self) -> float:
        return self.kernel.norm().item()

    @property
    def margins(self) -> tuple[int, int]:
        """How far the kernel reaches up or down, and to either side."""
        return tuple(side // 2 for side in self.kernel.shape)

    def apply(self, x: Tensor) -> Tensor:
        self._check(x)
        if self.border == "circular":
            return self._filtered(x)
        rows, columns = self._mirrors(x)
        padded = x[..., rows, :][..., columns]
        (top, left), (height, width) = self.margins, x.shape[-2:]
        return self._filtered(padded)[..., top : top + height, left : left + width]

    def adjoint(self, y: Tensor) -> Tensor:
        self._check(y)
        if self.border == "circular":
            return self._filtered(y, transposed=True)
        rows, columns = self._mirrors(y)
        top, left = self.margins
        padded = self._filtered(F.pad(y, (left, left, top, top)), transposed=True)
        folded = torch.zeros_like(padded[..., : y.shape[-1]]).index_add_(-1, columns, padded)
        return torch.zeros_like(y).index_add_(-2, rows, folded)

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        if self.border == "circular":
            gains = self._gains(tuple(z.shape[-2:]), z.dtype, z.device)
            inverse = weight / (1 + weight * gains.abs().square())
            spectrum = torch.fft.rfft2(self.gradient(z, y)) * inverse
            return z - torch.fft.irfft2(spectrum, s=z.shape[-2:])
        return (self.kronecker or super()).prox(z, y, weight)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        if self.border != "circular":
            return (self.kronecker or super()).pseudo_inverse(y)
        gains = self._gains(tuple(y.shape[-2:]), y.dtype, y.device)
        kept = gains.abs() > SMALLEST_GAIN
        inverse = torch.where(kept, 1 / torch.where(kept, gains, 1), 0)
        return torch.fft.irfft2(torch.fft.rfft2(y) * inverse, s=y.shape[-2:])

    def _check(self, x: Tensor) -> None:
        height, width = x.shape[-2:]
        tall, wide = self.kernel.shape
        if tall > height or wide > width:
            raise ValueError(
                f"{self.name}: the kernel is {wide} x {tall} pixels, larger than the picture of "
                f"{width} x {height}; give a smaller kernel."
            )

    def _filtered(self, x: Tensor, transposed: bool = False) -> Tensor:
        """x convolved (or correlated) with the kernel, wrapped around its borders."""
        gains = self._gains(tuple(x.shape[-2:]), x.dtype, x.device)
        spectrum = torch.fft.rfft2(x) * (gains.conj() if transposed else gains)
        return torch.fft.irfft2(spectrum, s=x.shape[-2:])

    @torch.inference_mode(False)  # autograd takes none that inference mode made
    def _gains(self, size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """What becomes of each frequency of a picture of this size, complex."""
        tall, wide = self.kernel.shape
        spread = F.pad(self.kernel, (0, size[1] - wide, 0, size[0] - tall))
        centred = spread.roll([-margin for margin in self.margins], (0, 1))
        gains = torch.fft.rfft2(centred)
        return gains.to(device, torch.complex128 if dtype == torch.float64 else torch.complex64)

    def _mirrors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The row, and the column, that each of the padded picture is a copy of."""
        sides = zip(x.shape[-2:], self.margins, strict=True)
        return tuple(mirrored(length, margin).to(x.device) for length, margin in sides)


class Lines(Kronecker):
    """A reflecting blur by the product of a column and a row."""

    def __init__(self, name: str, lines: tuple[Tensor, Tensor]):
        """
        Args:
            lines: column [h] and row [w], float64.
        """
        super().__init__(name)
        self.lines = lines

    def rows(self, length: int, axis: int) -> Tensor:
        line = self.lines[axis]
        margin = len(line) // 2
        position = torch.arange(length)[:, None] + 2 * margin
        sources = mirrored(length, margin)[position - torch.arange(len(line))]
        return (
            torch.zeros(length, length).double().scatter_add_(1, sources, line.expand(length, -1))
        )


def product_lines(kernel: Tensor) -> tuple[Tensor, Tensor] | None:
    """The column and the row whose product a kernel of sum 1 is, if it is one."""
    column, row = kernel.sum(1), kernel.sum(0)
    is_one = torch.allclose(column[:, None] * row, kernel, rtol=0, atol=ROUNDING * kernel.max())
    return (column, row) if is_one else None


def mirrored(length: int, margin: int) -> Tensor:
    """Indices ..., 2, 1, 0, 1, ..., n-1, n-2, ... of an axis extended by a margin on both sides."""
    period = max(2 * length - 2, 1)
    position = torch.arange(-margin, length + margin) % period
    return torch.minimum(position, period - position)


def gaussian_kernel(std: float) -> Tensor:
    """A round Gaussian, wide enough for four std to either side; [n, n], float64.

    Raises:
        ValueError: std is not above 0.
    """
    if not 0 < std < math.inf:
        raise ValueError(f"The std of a Gaussian blur must be above 0 pixels; got {std}.")
    reach = math.ceil(REACH * std)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-(axis**2) / (2 * std**2))
    kernel = line[:, None] * line[None]
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float) -> Tensor:
    """A straight line, as of a camera that moved evenly; [n, n], float64.

    Args:
        length: in pixels, at least 1.
        angle: in degrees, from the right counterclockwise.

    Raises:
        ValueError: a shorter line.
    """
    if not math.isfinite(angle):
        raise ValueError(f"The angle of a motion blur must be a number; got {angle}.")
    if not 1 <= length < math.inf:
        raise ValueError(f"The length of a motion blur must be at least 1 pixel; got {length}.")
    reach = math.ceil(length / 2)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    y, x = axis[:, None], axis[None]
    cosine, sine = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    beyond = (along.abs() - (length - 1) / 2).clamp(min=0)
    kernel = (1 - (across**2 + beyond**2).sqrt()).clamp(min=0)
    return kernel / kernel.sum()
