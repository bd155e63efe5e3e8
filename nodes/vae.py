"""VAE sockets: a loaded autoencoder as the host's own VAE object, and any VAE as an autoencoder."""

from collections.abc import Callable
from pathlib import Path

import comfy.model_management as mm
import comfy.sd
import torch
from comfy.ldm.models.autoencoder import DiagonalGaussianRegularizer, EmptyRegularizer
from comfy.ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..models import registry
from ..models.checkpoint import fingerprint
from ..models.checkpoint import read as checkpoint_of
from ..models.contracts import Autoencoder, Domain
from . import host, weights

KL_KEYS = ("decoder.up_blocks.0.resnets.0.norm1.weight", "decoder.up.0.block.0.norm1.weight")
"""Of a Kullback-Leibler autoencoder in diffusers' names and in the original ones."""


class _Network(nn.Module):
    """An autoencoder as the host calls one: pictures in [0, 1] on one side, the wire on the other.

    It has the posterior's mean for a latent, as the host's own.
    """

    def __init__(self, part: Autoencoder):
        super().__init__()
        encoded = part.encoded  # not the part itself, which must be free to be forgotten
        self.network = part.network
        self.encode = lambda pictures: encoded(pictures)[0]
        self.decode = part.decoded


def host_vae(part: Autoencoder) -> comfy.sd.VAE:
    """The host's VAE object around a loaded autoencoder; its own VAE nodes work with it."""
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})  # brings the host's defaults
    vae.restoreflow = part
    vae.first_stage_model = _Network(part).eval()
    vae.latent_channels, vae.latent_dim, vae.output_channels = part.domain.channels, 2, 3
    vae.downscale_ratio = vae.upscale_ratio = part.factor
    vae.disable_offload = True  # a plain module is moved as a whole
    vae.working_dtypes, vae.vae_dtype = [part.dtype], part.dtype
    vae.process_input = lambda pictures: pictures
    vae.process_output = lambda pictures: pictures.clamp_(0, 1)  # newer hosts use it in place only
    vae.memory_used_encode = lambda size, dtype: part.memory(*size[-2:], 1, dtype)
    vae.memory_used_decode = lambda size, dtype: part.decoder_memory(*size[-2:], 1, dtype)
    vae.patcher = ModelPatcher(vae.first_stage_model, vae.device, mm.vae_offload_device())
    vae.size = None
    vae.model_size()
    return vae


def load(name: str, precision: str, ema: bool, **watch: Callable) -> comfy.sd.VAE:
    """The VAE in a weight file, kept for the next prompts; arguments as for `weights.load`."""

    def read(path: Path) -> comfy.sd.VAE:
        checkpoint = checkpoint_of(path, ema)
        if any(key in checkpoint.shapes for key in KL_KEYS):
            return comfy.sd.VAE(sd=checkpoint.part(""), dtype=weights.chosen(precision))
        return host_vae(weights.read(path, registry.AUTOENCODER, precision, ema))

    return weights.kept(name, (registry.AUTOENCODER, precision, ema), read, **watch)


def autoencoder(vae: object) -> Autoencoder:
    """What arrived on a VAE socket, as an autoencoder; the same one whenever it comes again.

    Raises:
        TypeError: no VAE.
        ValueError: a VAE of something else than pictures.
    """
    if not isinstance(vae, comfy.sd.VAE):
        raise TypeError(f"A VAE is needed; got a {type(vae).__name__}.")
    if getattr(vae, "restoreflow", None) is None:
        vae.restoreflow = _foreign(vae)
    host.adopt(vae.restoreflow, vae.patcher)
    return vae.restoreflow


def _foreign(vae: comfy.sd.VAE) -> Autoencoder:
    """A VAE that the host built, as an autoencoder."""
    vae.throw_exception_if_invalid()
    network, ratio = vae.first_stage_model, vae.downscale_ratio
    kind = type(network).__name__
    if vae.latent_dim != 2 or vae.output_channels != 3 or ratio != vae.upscale_ratio:
        raise ValueError(f"A VAE of single pictures is needed; this one ({kind}) is for others.")
    encoder = {k: v for k, v in network.state_dict().items() if "decoder" not in k}

    def decoded(latents: Tensor) -> Tensor:
        pictures = network.decode(latents).float()
        changed = vae.process_output(pictures)
        return pictures if changed is None else changed

    return Autoencoder(
        name=f"{kind} with {vae.latent_channels} channels",
        network=network,
        domain=Domain(
            name=f"{kind} with {vae.latent_channels} channels",
            channels=vae.latent_channels,
            encoder=fingerprint(encoder),
        ),
        factor=ratio,
        multiple=ratio,
        minimum=ratio,
        encoded=lambda pictures: _posterior(network, vae.process_input(pictures)),
        decoded=decoded,
        memory=lambda h, w, batch, dtype: int(vae.memory_used_encode((batch, 3, h, w), dtype)),
        decoder_memory=lambda h, w, batch, dtype: int(
            vae.memory_used_decode((batch, vae.latent_channels, h, w), dtype)
        ),
    )


def _posterior(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Mean and std of a host network's posterior; one that keeps no std has none."""
    own = getattr(network, "regularization", None)
    if not isinstance(own, DiagonalGaussianRegularizer) or getattr(network, "bn", None) is not None:
        return network.encode(x), None
    network.regularization = EmptyRegularizer()  # the host's encode would keep the mean alone
    try:
        posterior = DiagonalGaussianDistribution(network.encode(x))
    finally:
        network.regularization = own
    return posterior.mode(), posterior.std
