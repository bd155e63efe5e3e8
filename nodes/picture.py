"""Pictures at the edge: ComfyUI's layouts outside, the lower rooms' inside."""

from dataclasses import dataclass

import comfy.model_management as mm
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Picture:
    """An IMAGE as the lower rooms take it, its alpha carried aside."""

    rgb: Tensor
    """[B, 3, H, W] float32."""
    alpha: Tensor | None
    """[B, H, W, 1], or None."""

    @classmethod
    def of(cls, image: Tensor, what: str = "The picture") -> "Picture":
        """From an IMAGE [B, H, W, C], C being 1 (grey), 3 or 4 (with alpha).

        Raises:
            ValueError: another shape, no pixels, or values that are no numbers.
        """
        if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or image.numel() == 0:
            raise ValueError(
                f"{what} must be an IMAGE of 1, 3 or 4 channels [B, H, W, C]; "
                f"got {list(image.shape)}."
            )
        image = image.float()
        if not image.isfinite().all():
            raise ValueError(
                f"{what} holds values that are not numbers (NaN or infinite); "
                "look at the node before it."
            )
        colour = image[..., :3].expand(-1, -1, -1, 3).movedim(-1, 1)
        return cls(colour, image[..., 3:] if image.shape[-1] == 4 else None)

    def image(self, rgb: Tensor) -> Tensor:
        """An IMAGE [B, H, W, C] of other colours [B, 3, H, W] and this picture's alpha, enlarged
        to their size."""
        colour = rgb.movedim(1, -1).to(mm.intermediate_device())
        if self.alpha is None:
            return colour
        alpha = self.alpha.to(colour)
        if alpha.shape[1:3] != colour.shape[1:3]:
            alpha = F.interpolate(alpha.movedim(-1, 1), rgb.shape[-2:], mode="bilinear")
            alpha = alpha.movedim(1, -1)
        return torch.cat([colour, alpha], dim=-1)

    def repeated(self, times: int) -> "Picture":
        """The whole batch so many times, for as many versions of it."""
        alpha = None if self.alpha is None else self.alpha.repeat(times, 1, 1, 1)
        return Picture(self.rgb.repeat(times, 1, 1, 1), alpha)

    def fit_mask(self, mask: Tensor | None) -> Tensor | None:
        """A MASK [B, H, W] as [1 or B, 1, h, w] of this picture's size, in [0, 1].

        Raises:
            ValueError: it holds another number of masks than one, or one a picture.
        """
        if mask is None:
            return None
        mask = mask.float().reshape(-1, 1, *mask.shape[-2:])
        if not mask.isfinite().all():
            raise ValueError("The mask holds values that are not numbers (NaN or infinite).")
        if len(mask) not in (1, len(self.rgb)):
            raise ValueError(
                f"Give one mask, or one a picture; got {len(mask)} masks for "
                f"{len(self.rgb)} pictures."
            )
        if mask.shape[-2:] != self.rgb.shape[-2:]:
            mask = F.interpolate(mask, self.rgb.shape[-2:], mode="bilinear")
        return mask.to(self.rgb.device).clamp(0, 1)


def to_pillow(picture: Tensor) -> Image.Image:
    """[3, H, W] in [0, 1] as something to draw on, in 8 bit."""
    levels = (picture.clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    return Image.fromarray(levels.movedim(0, -1).contiguous().numpy())


def from_pillow(canvas: Image.Image) -> Tensor:
    """One picture of an IMAGE, [H, W, 3] in [0, 1]."""
    return torch.from_numpy(np.array(canvas)).float() / 255
