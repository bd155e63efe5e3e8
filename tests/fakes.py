"""Small random networks under the published names, and files of them."""

from pathlib import Path

import torch
from restoreflow.models.networks.hdit import HDiT, Level, Mapping
from restoreflow.models.networks.looformer import LooUFormer, Options
from restoreflow.models.networks.lunet import LUnet
from restoreflow.models.networks.rrdb import RRDBNet
from restoreflow.models.networks.simvae import SimVAE, SimVAEShape
from restoreflow.models.networks.taesd import TAESD
from safetensors.torch import save_file
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

MAPPING = Mapping(width=24, depth=2, d_ff=72)


def tiny_flow(in_channels=3, patch=4, levels=2) -> HDiT:
    """A random HDiT whose every layer does something."""
    widths = [16, 32, 48][:levels]
    kinds = [7] * (levels - 1) + [None]
    network = HDiT(
        [Level(w, 1, 2, 3 * w, k) for w, k in zip(widths, kinds, strict=True)],
        MAPPING,
        in_channels,
        3,
        patch,
    )
    for name, parameter in network.named_parameters():
        if not name.endswith("scale"):
            torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def as_loaded(network: nn.Module) -> nn.Module:
    """The network as a loaded one lies in memory, so that both give the same to the bit."""
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def tiny_simvae(shape: SimVAEShape | None = None, **kinds) -> SimVAE:
    """A random Sim-VAE, by default of factor 8 and 4 channels; every norm does something."""
    network = SimVAE(shape or SimVAEShape((8, 12, 16, 16), 1, 1, 4), **kinds)
    for name, parameter in network.named_parameters():
        if ".norm." in name:
            torch.nn.init.normal_(parameter, 1.0, 0.2)
    return as_loaded(network)


def tiny_looformer(windows=(3, None), time=True, channels=4, **options) -> LooUFormer:
    """A random LooUFormer whose every layer does something."""
    widths = (16, 32, 48)[: len(windows)]
    levels = [Level(w, 1, w // 8, 2 * w, k) for w, k in zip(widths, windows, strict=True)]
    network = LooUFormer(levels, MAPPING if time else None, channels, Options(**options))
    for name, parameter in network.named_parameters():
        if not name.endswith(("scale", "fac")):
            torch.nn.init.normal_(parameter, std=0.2)
    return as_loaded(network)


LOOFORMERS = {
    "published": {"windows": (7, 5, None)},
    "global": {"windows": (None, None)},
    "no depthwise": {"depthwise": False},
    "no bias": {"bias": False},
    "no time": {"time": False},
    "log time": {"log_time": True},
    "patches": {"patch": 2},
    "patches of one": {"patch": 1},
    "unshuffle first": {"down": "pixel_unshuffle+conv", "down_kernel": 1},
    "unshuffle after": {"down": "conv+pixel_unshuffle"},
    "shuffle up": {"up": "pixel_shuffle", "up_kernel": 1},
}
"""Arguments of `tiny_looformer` for every option of the published code."""


def tiny_elir(**flow) -> dict[str, torch.Tensor]:
    """A random ELIR of factor 8 under the names of a released file; arguments as for LUnet."""
    autoencoder = TAESD(8, 16, 3)
    parts = {
        "enc.": autoencoder.encoder,
        "mmse.": RRDBNet(16, 4, 1),
        "fmir.": LUnet(**{"width": 32, "multiples": (1, 2), "time_dim": 16, **flow}),
        "dec.": autoencoder.decoder,
    }
    return {p + name: t for p, part in parts.items() for name, t in part.state_dict().items()}


def tiny_mean() -> SwinIR:
    return SwinIR(
        img_size=64, embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2,
        upscale=8, upsampler="nearest+conv", start_unshuffle=8,
    ).eval()  # fmt: skip


def published_mean_names(network: SwinIR) -> dict[str, torch.Tensor]:
    """spandrel holds the first convolution one name higher than the published file."""
    return {k.replace("conv_first.", "conv_first.1."): v for k, v in network.state_dict().items()}


def save(path: Path, parts: dict[str, dict], metadata=None) -> Path:
    tensors = {p + name: t.contiguous() for p, part in parts.items() for name, t in part.items()}
    save_file(tensors, path, metadata)
    return path
