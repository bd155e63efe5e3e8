"""VAE sockets: a loaded autoencoder as the host's own VAE object, and any VAE as an autoencoder."""

import math
from collections.abc import Callable
from pathlib import Path

import comfy.diffusers_convert
import comfy.model_management as mm
import comfy.sd
import comfy.taesd.taesd
import comfy.utils
import torch
from comfy.ldm.models.autoencoder import DiagonalGaussianRegularizer, EmptyRegularizer
from comfy.ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..models import registry
from ..models.checkpoint import StateDict, WeightsError, check_fit, fingerprint
from ..models.checkpoint import read as checkpoint_of
from ..models.contracts import Autoencoder, Domain
from ..models.families import taesd
from . import host, weights

KL_KEYS = {
    f"{half}.{block}.0.norm1.weight"
    for half, side in (("encoder", "down"), ("decoder", "up"))
    for block in (f"{side}_blocks.0.resnets", f"{side}.0.block")
}
"""Of a Kullback-Leibler autoencoder's halves, in diffusers' names and in the original ones."""
KL_PARTS = ("encoder.", "quant_conv.", "decoder.", "post_quant_conv.", "bn.")
"""Training checkpoints hold their loss's networks beside these."""
KL_MARK = "decoder.conv_in.weight"
"""By which alone the host knows one."""
DECODER_PARTS = ("decoder.", "post_quant_conv.", "taesd_decoder.", "vae_")


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
    network = part.network  # under the published names, and in the layout that files need
    vae.get_sd = lambda: {key: t.contiguous() for key, t in network.state_dict().items()}
    return vae


def load(name: str, precision: str, ema: bool, **watch: Callable) -> comfy.sd.VAE:
    """The VAE in a weight file, kept for the next prompts; arguments as for `weights.load`."""

    def read(path: Path) -> comfy.sd.VAE:
        checkpoint = checkpoint_of(path, ema)
        if KL_KEYS & {*checkpoint.shapes}:
            dtype = weights.chosen(precision) or torch.float32
            return _usual(checkpoint.part(""), checkpoint.name, dtype)
        return host_vae(weights.read(path, registry.AUTOENCODER, precision, ema))

    return weights.kept(name, (registry.AUTOENCODER, precision, ema), read, **watch)


def _usual(state: StateDict, name: str, dtype: torch.dtype) -> comfy.sd.VAE:
    """A Kullback-Leibler autoencoder of these tensors, which the host builds.

    The host itself leaves what a file lacks as the memory happened to be.

    Raises:
        WeightsError: tensors are missing, left over or of another shape.
    """
    if any("_blocks." in key for key in state):
        state = comfy.diffusers_convert.convert_vae_state_dict(state)
    nested = {"decoder.post_quant_conv.": "post_quant_conv.", "encoder.quant_conv.": "quant_conv."}
    state = comfy.utils.state_dict_prefix_replace(state, nested)
    state = {key: tensor for key, tensor in state.items() if key.startswith(KL_PARTS)}
    if KL_MARK not in state:
        raise WeightsError(
            f"{name} lacks {KL_MARK} of a Stable Diffusion VAE; choose a file that holds encoder "
            "and decoder, whole."
        )
    try:
        vae = comfy.sd.VAE(sd=state, dtype=dtype)
    except (LookupError, RuntimeError) as error:
        raise WeightsError(
            f"{name} looks like a Stable Diffusion VAE, but its tensors do not make one "
            f"({' '.join(str(error).split())[:200]}); delete it and fetch it again."
        ) from error
    check_fit(vae.first_stage_model.state_dict(), state, name)
    vae.restoreflow = _foreign(vae, name, _encoder_of(state))
    return vae


def _encoder_of(state: StateDict) -> str:
    """The fingerprint of an autoencoder's encoder."""
    return fingerprint({k: t for k, t in state.items() if not k.startswith(DECODER_PARTS)})


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


def _foreign(vae: comfy.sd.VAE, name: str = "", encoder: str | None = None) -> Autoencoder:
    """A VAE that the host built, as an autoencoder.

    Args:
        name: of its file, and `encoder`, the fingerprint of that, where the pack has read it.
    """
    vae.throw_exception_if_invalid()
    network, ratio = vae.first_stage_model, vae.downscale_ratio
    kind = type(network).__name__
    if vae.latent_dim != 2 or vae.output_channels != 3 or ratio != vae.upscale_ratio:
        raise ValueError(f"A VAE of single pictures is needed; this one ({kind}) is for others.")
    is_tiny = isinstance(network, comfy.taesd.taesd.TAESD)
    # What the host rounded tells no file any more; a tiny encoder is never a flow's own, though.
    if encoder is None and (is_tiny or vae.vae_dtype != torch.bfloat16):
        encoder = _encoder_of(network.state_dict())

    def decoded(latents: Tensor) -> Tensor:
        pictures = network.decode(latents).float()
        changed = vae.process_output(pictures)
        return pictures if changed is None else changed

    return Autoencoder(
        name=f"{name or 'ComfyUI'} ({kind})",
        network=network,
        domain=_space(network, vae.latent_channels, encoder),
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


def _space(network: nn.Module, channels: int, encoder: str | None) -> Domain:
    """The latent space of a network of the host: SD3's of its taesd3, else one of its kind."""
    wire = [getattr(network, fact, None) for fact in ("vae_scale", "vae_shift")]
    sd3 = taesd.sd3(encoder)
    if channels == sd3.channels and all(
        own is not None and math.isclose(own, published, rel_tol=0.01)  # rounded in half precision
        for own, published in zip(wire, (sd3.scale, sd3.shift), strict=True)
    ):
        return sd3
    name = f"{type(network).__name__} with {channels} channels"
    return Domain(name=name, channels=channels, encoder=encoder)


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
