"""Fitted transports as files: small safetensors that tell what they belong to."""

import json
import os
import re
from pathlib import Path
from typing import Any

import folder_paths
import safetensors.torch
import torch

from ..jobs import files
from ..models import checkpoint
from ..models.checkpoint import Checkpoint, WeightsError
from ..models.contracts import PIXEL, Domain
from ..sampling.statistics import Statistics
from ..sampling.transport import Transport, check_patch, fitted
from . import host, weights
from .latents import Latents

FOLDER = "restoreflow_transports"
SUFFIX = ".safetensors"
KIND = "restoreflow transport"
NAME = re.compile(r"[\w][\w .()+-]{0,100}", re.ASCII)
SIDES = ("source", "target")


def register_folder() -> None:
    """Add the folder of transports to the host's."""
    weights.add_folder(FOLDER, [_own_folder()], [SUFFIX])


def _own_folder() -> Path:
    return Path(folder_paths.models_dir, FOLDER)


def names() -> list[str]:
    """Every file of a transport, with forward slashes."""
    return [name.replace(os.sep, "/") for name in folder_paths.get_filename_list(FOLDER)]


def path_of(name: str) -> Path:
    """The file of that name.

    Raises:
        WeightsError: there is none.
    """
    name = name.replace("\\", "/")
    path = folder_paths.get_full_path(FOLDER, name) if name in names() else None
    if path is None:
        raise WeightsError(
            f"There is no transport {name}; put it into models/{FOLDER} and refresh (press R), "
            "or save one with Save Transport."
        )
    return Path(path)


def write(transport: Transport, name: str, replace: bool) -> Path:
    """Save a transport, whole or not at all.

    Raises:
        ValueError: no name for a file, or there is such a file.
    """
    name = name.removesuffix(SUFFIX)
    if not NAME.fullmatch(name) or name.endswith("."):
        raise ValueError(
            "A transport's name is letters, digits, spaces and . - _ ( ) +, 100 at most, and no "
            f"folder; got {name!r:.120}."
        )
    target = _own_folder() / f"{name}{SUFFIX}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.temporary(target) as unfinished:
        with open(unfinished, "wb") as file:
            file.write(packed(transport))
            files.flush(file)
        try:
            files.name(unfinished, target, over=replace)
        except FileExistsError as error:
            raise ValueError(
                f"There is a transport {name} already: choose another name, or switch replace on."
            ) from error
    return target


def packed(transport: Transport) -> bytes:
    """A transport as the bytes of its file."""
    both = {"source": transport.source, "target": transport.target}
    tensors = {
        f"{side}.{name}": getattr(one, name).contiguous()
        for side, one in both.items()
        for name in ("mean", "scatter")
    }
    domain = transport.domain
    record = {
        "kind": KIND,
        "format": 1,
        "name": transport.name,
        "space": domain.name,
        "channels": domain.channels,
        "encoder": domain.encoder,
        "patch": transport.source.patch,
        **{side: {"photos": one.photos, "patches": one.count} for side, one in both.items()},
        "shrinkage": transport.shrinkage,
        "max_gain": transport.max_gain,
        "keep_mean": transport.keep_mean,
    }
    return safetensors.torch.save(tensors, {"restoreflow": json.dumps(record)})


def read(path: Path) -> Transport:
    """A transport from its file.

    Raises:
        WeightsError: it holds none, or is damaged.
    """
    found = checkpoint.read(path)
    record = found.config
    if record.get("kind") != KIND:
        raise WeightsError(f"{found.name} holds no transport; choose one of Save Transport.")
    try:
        domain = _domain(*(record[name] for name in ("space", "channels", "encoder")))
        check_patch(record["patch"], domain.channels)
        source, target = (_statistics(found, side, domain.channels) for side in SIDES)
        return fitted(
            Transport(
                name=f"{found.name} ({record['name']})",
                domain=domain,
                source=source,
                target=target,
                shrinkage=float(record["shrinkage"]),
                max_gain=float(record["max_gain"]),
                keep_mean=record["keep_mean"] is True,
            )
        )
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{found.name} is damaged ({reason}); fit it again.") from error


def _domain(name: str, channels: int, encoder: str | None) -> Domain:
    of_pixels = name == PIXEL.name
    if not isinstance(channels, int) or channels < 1 or (of_pixels and channels != PIXEL.channels):
        raise ValueError(f"it tells {channels} channels of {name}")
    if not isinstance(encoder, str | None):
        raise ValueError("it tells no fingerprint")
    return PIXEL if of_pixels else Domain(name=str(name), channels=channels, encoder=encoder)


def _statistics(found: Checkpoint, side: str, channels: int) -> Statistics:
    patch, own = found.config["patch"], found.config[side]
    size = channels * patch**2
    if found.part_shapes(f"{side}.") != {"mean": (size,), "scatter": (size, size)}:
        raise ValueError(f"its tensors are not those of {size} numbers a patch")
    tensors = found.part(f"{side}.")
    if not all(t.dtype == torch.float64 and t.isfinite().all() for t in tensors.values()):
        raise ValueError("it holds values that are not numbers, or of another precision")
    scatter = tensors["scatter"]
    if not torch.allclose(scatter, scatter.mT, rtol=1e-9, atol=0):
        raise ValueError("its covariance is not symmetric")
    photos, count = int(own["photos"]), int(own["patches"])
    if min(photos, count) < 1:
        raise ValueError("it tells no photos")
    return Statistics(patch, channels, photos, count, **tensors)


def check(transport: Any, latents: Latents) -> None:
    """Say if latents are of another space or encoder than a transport was fitted in."""
    transport = host.expect(transport, Transport, "Apply Transport")
    if transport.domain is PIXEL:
        raise ValueError(
            f"{transport.name} was fitted in pixels, without a VAE; use Apply Transport (Image)."
        )
    space = latents.tag.get("space")
    if space not in (None, transport.domain.name):
        raise ValueError(
            f"This latent is of the space {space} (from {latents.tag.get('vae')}), but "
            f"{transport.name} was fitted in {transport.domain.name}; fit one with this VAE."
        )
    encoder, fitted_with = latents.tag.get("fingerprint"), transport.domain.encoder
    if None in (encoder, fitted_with):
        host.tell(f"Nothing tells whether this latent is of the VAE of {transport.name}.")
    elif encoder != fitted_with:
        raise ValueError(
            f"This latent comes from another encoder ({latents.tag.get('vae')}) than "
            f"{transport.name} was fitted with; fit one with this VAE."
        )
    channels = latents.samples.shape[1]
    if channels != transport.domain.channels:
        raise ValueError(
            f"{transport.name} was fitted on latents of {transport.domain.channels} channels; got "
            f"{channels}."
        )


def check_pixels(transport: Any) -> None:
    """Say if a transport was not fitted on pictures."""
    transport = host.expect(transport, Transport, "Apply Transport (Image)")
    if transport.domain is not PIXEL:
        raise ValueError(
            f"{transport.name} was fitted in latents of {transport.domain.name}: wire Encode, "
            "Apply Transport and Decode, or fit one without a VAE."
        )
