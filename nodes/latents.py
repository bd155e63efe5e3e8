"""Latents at the edge: the LATENT wire outside, the lower rooms' tensors inside."""

from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management as mm
import torch.nn.functional as F
from torch import Tensor

from ..models.contracts import PIXEL, Autoencoder, Domain, Flow, Part

TAG = "restoreflow"
"""What Encode adds to a LATENT: space, fingerprint of the encoder, name of the VAE, how it scales
latents for flows, the picture's own height and width, and the latent's. The host's VAE Encode adds
nothing."""


@dataclass(frozen=True)
class Latents:
    """A LATENT as the lower rooms take it."""

    wire: dict[str, Any]
    samples: Tensor
    """[B, C, h, w] float32."""

    @classmethod
    def of(cls, latent: dict[str, Any]) -> "Latents":
        """From a LATENT.

        Raises:
            ValueError: latents of no single pictures, or values that are no numbers.
        """
        samples = latent["samples"]
        if getattr(samples, "ndim", 0) != 4 or samples.numel() == 0:
            raise ValueError(
                "A LATENT of single pictures [B, C, h, w] is needed; got "
                f"{list(getattr(samples, 'shape', []))}."
            )
        samples = samples.float()
        if not samples.isfinite().all():
            raise ValueError(
                "The latent holds values that are not numbers (NaN or infinite); "
                "look at the node before it."
            )
        return cls(latent, samples)

    @classmethod
    def encoded(cls, samples: Tensor, part: Autoencoder, size: tuple[int, int]) -> dict[str, Any]:
        """A LATENT with its tag, of pictures of that height and width."""
        tag = {
            "space": part.domain.name,
            "fingerprint": part.domain.encoder,
            "vae": part.name,
            "scale": part.domain.scale,
            "shift": part.domain.shift,
            "height": size[0],
            "width": size[1],
            "latent": list(samples.shape[-2:]),
        }
        return {"samples": samples.to(mm.intermediate_device()), TAG: tag}

    @property
    def tag(self) -> dict[str, Any]:
        return self.wire.get(TAG) or {}

    @property
    def domain(self) -> Domain:
        """The space that the tag tells; without one, any of as many channels."""
        channels = self.samples.shape[1]
        name = self.tag.get("space") or f"latents of {channels} channels"
        return Domain(name=name, channels=channels, encoder=self.tag.get("fingerprint"))

    @property
    def numbers(self) -> list[int]:
        """Which pictures of their batch these are; they decide the noise."""
        count = len(self.samples)
        numbers = self.wire.get("batch_index")
        return list(range(count)) if numbers is None else [int(n) for n in numbers][:count]

    @property
    def mask(self) -> Tensor | None:
        """[1 or B, 1, h, w] in [0, 1], where the latents may change; the host's noise mask."""
        mask = self.wire.get("noise_mask")
        if mask is None:
            return None
        mask = mask.float().reshape(-1, 1, *mask.shape[-2:])
        if len(mask) not in (1, len(self.samples)):
            raise ValueError(
                f"Give one noise mask, or one a latent; got {len(mask)} masks for "
                f"{len(self.samples)} latents."
            )
        mask = F.interpolate(mask, self.samples.shape[-2:], mode="bilinear")
        return mask.to(self.samples.device).clamp(0, 1)

    def check(self, part: Part) -> None:
        """Say if these latents are of another space or encoder than a part knows."""
        space, encoder = self.tag.get("space"), self.tag.get("fingerprint")
        domain = part.domain
        if domain is PIXEL:
            raise ValueError(
                f"{part.name} works on pictures; give it to the node for images, or load one of "
                f"{space or 'a latent space'} here."
            )
        if space not in (None, domain.name):
            raise ValueError(
                f"This latent is of the space {space} (from {self.tag.get('vae')}), but "
                f"{part.name} works on latents of {domain.name}; load the VAE that belongs to it."
            )
        if domain.shared and isinstance(part, Autoencoder):
            return
        if None not in (encoder, domain.encoder) and encoder != domain.encoder:
            raise ValueError(
                f"This latent comes from another encoder ({self.tag.get('vae')}) than the one that "
                f"{part.name} was trained with; load the VAE from the same file."
            )

    def scaled_for(self, flow: Flow) -> Flow:
        """The flow, scaling latents as their VAE's settings say where its own say nothing."""
        if not flow.domain.is_plain:
            return flow
        scaling = {key: self.tag[key] for key in ("scale", "shift") if key in self.tag}
        return replace(flow, domain=replace(flow.domain, **scaling))

    def crop(self, pictures: Tensor) -> Tensor:
        """Decoded pictures [B, 3, H, W] without what Encode had added.

        As they are if a node since has changed the latents' size: where the picture lies in them
        is not known then.
        """
        if self.tag.get("latent") != list(self.samples.shape[-2:]):
            return pictures
        return pictures[..., : self.tag["height"], : self.tag["width"]]

    def latent(self, samples: Tensor) -> dict[str, Any]:
        """A LATENT of other samples, everything else as it came."""
        return {**self.wire, "samples": samples.to(mm.intermediate_device())}
