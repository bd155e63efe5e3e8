"""Deep Optimal Transport: fitting one from photos, and moving restored photos by it."""

from typing import Any

import torch
from comfy_api.latest import io

from ..sampling.transport import PATCHES, Transport, fitted, window
from . import host, transport_files
from .latents import Latents
from .photo_sets import PhotoSet
from .picture import Picture
from .sockets import TRANSPORT
from .transport_sets import Gathering
from .vae import autoencoder

KEEP, MATCH = "keep", "match"


def _photos(name: str, which: str) -> io.Input:
    return io.MultiType.Input(
        name,
        types=[io.Image, io.Latent],
        optional=True,
        tooltip=f"{which}: IMAGEs of any size, as batch or list, or their LATENTs from Encode.",
    )


def _folder(name: str, which: str) -> io.Input:
    return io.String.Input(
        name,
        optional=True,
        default="",
        tooltip=f"A folder of {which} instead, or besides: below ComfyUI's input folder, or a full "
        "path that was allowed. One photo is in memory at a time.",
    )


class FitTransport(io.ComfyNode):
    """What restored photos lack beside natural ones, learnt from a dozen of each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowFitTransport",
            display_name="Fit Transport",
            category="RestoreFlow/transport",
            description="Learns from a dozen restored and a dozen natural photos how to give any "
            "restorer's results the look of natural photos (Deep Optimal Transport). No training, "
            "no pairs.",
            search_aliases=[
                "deep optimal transport",
                "dot",
                "few-shot",
                "wasserstein",
                "perception",
            ],
            is_input_list=True,
            inputs=[
                _photos("restored", "Restored photos, as the restorer gives them"),
                _photos("natural", "Natural photos of the kind that the results should look like"),
                io.Combo.Input(
                    "patch",
                    options=[str(side) for side in PATCHES],
                    default="3",
                    tooltip="Side of the patches in latents (pixels without a VAE). Larger ones "
                    "know more texture and need more photos; 400 numbers a patch at most.",
                ),
                io.Float.Input(
                    "shrinkage",
                    default=0.001,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    tooltip="How far the statistics are drawn towards featureless ones. More for "
                    "few or poor photos.",
                ),
                io.Float.Input(
                    "max_gain",
                    default=10.0,
                    min=0.01,
                    max=1000.0,
                    step=0.1,
                    tooltip="The most by which any detail is amplified.",
                ),
                io.Combo.Input(
                    "mean",
                    options=[KEEP, MATCH],
                    default=KEEP,
                    tooltip="keep: brightness and colour stay the restored photos'. match: they "
                    "are moved as well, as published; with a dozen photos of other scenes that "
                    "shifts colours by chance.",
                ),
                _folder("restored_folder", "restored photos"),
                _folder("natural_folder", "natural photos"),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Encodes IMAGEs and folders, as Encode will; without it they are taken "
                    "in pixels.",
                ),
            ],
            outputs=[TRANSPORT.Output(display_name="transport", tooltip="For Apply Transport.")],
        )

    @classmethod
    def fingerprint_inputs(cls, restored_folder=None, natural_folder=None, **_):
        """Fitted again only if a photo is new, changed or gone."""
        folders = [*(restored_folder or []), *(natural_folder or [])]
        if None in folders:  # a name that another node will give
            return float("nan")
        return [PhotoSet.of(folder).fingerprint for folder in folders if folder]

    @classmethod
    def execute(
        cls, patch, shrinkage, max_gain, mean, restored=(), natural=(), restored_folder=("",),
        natural_folder=("",), vae=(None,),
    ) -> io.NodeOutput:  # fmt: skip
        part = None if vae[0] is None else autoencoder(vae[0])
        settings = {
            "shrinkage": shrinkage[0],
            "max_gain": max_gain[0],
            "keep_mean": mean[0] == KEEP,
        }
        gathering = Gathering(int(patch[0]), part)
        sets = (restored, restored_folder[0]), (natural, natural_folder[0])
        return io.NodeOutput(gathering.transport(*sets, **settings))


def _application() -> list[io.Input]:
    return [
        host.advanced(
            io.Float.Input(
                "fold_sigma",
                optional=True,
                default=0.0,
                min=0.0,
                max=10.0,
                step=0.1,
                tooltip="Where patches overlap they are averaged: 0 counts all alike, more weighs "
                "them by a Gaussian of that std around their middle.",
            )
        ),
        host.advanced(
            io.Boolean.Input(
                "zero_shot",
                optional=True,
                default=False,
                tooltip="Take each photo's own statistics for those of restored photos.",
            )
        ),
    ]


def _moved(transport: Any, x: torch.Tensor, fold_sigma: float, zero_shot: bool) -> torch.Tensor:
    """Pictures or latents [B, C, H, W] moved, one by one."""
    transport = host.expect(transport, Transport, "Apply Transport")
    fold = window(transport.source.patch, fold_sigma) if fold_sigma else None
    moved = []
    for number, one in enumerate(x.split(1), 1):
        own = _of_itself(transport, one, number) if zero_shot else transport
        moved.append(own.apply(one, fold=fold))
        host.progress(number, len(x))
    return torch.cat(moved)


def _of_itself(transport: Transport, x: torch.Tensor, number: int) -> Transport:
    """The transport with a picture's own statistics."""
    try:
        return fitted(transport.zero_shot(x))
    except ValueError as error:
        raise ValueError(
            f"The statistics of picture {number} alone do not do ({error}); switch zero_shot off, "
            "or leave it out."
        ) from error


class ApplyTransport(io.ComfyNode):
    """Restored latents with the statistics of natural ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowApplyTransport",
            display_name="Apply Transport",
            category="RestoreFlow/transport",
            description="Moves restored latents onto the statistics of natural photos. Decode "
            "them, and mix with the restored photo in Trade-Off: 0 is that photo, exactly.",
            search_aliases=["deep optimal transport", "dot", "wasserstein", "perception"],
            inputs=[
                TRANSPORT.Input("transport", tooltip="From Fit Transport or Load Transport."),
                io.Latent.Input(
                    "latent", tooltip="The restored photo's latents, from Encode with its mean."
                ),
                *_application(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="For Decode.")],
        )

    @classmethod
    def execute(cls, transport, latent, fold_sigma=0.0, zero_shot=False) -> io.NodeOutput:
        latents = Latents.of(latent)
        transport_files.check(transport, latents)
        moved = _moved(transport, latents.samples, fold_sigma, zero_shot)
        return io.NodeOutput(latents.latent(moved))


class ApplyTransportImage(io.ComfyNode):
    """The same in pixels, without a VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowApplyTransportImage",
            display_name="Apply Transport (Image)",
            category="RestoreFlow/transport",
            description="Moves restored photos onto the statistics of natural ones, in pixels: for "
            "a transport that was fitted without a VAE. Nothing is lost to a VAE, and less "
            "texture is known.",
            search_aliases=["deep optimal transport", "dot", "wasserstein", "perception"],
            inputs=[
                TRANSPORT.Input("transport", tooltip="Fitted without a VAE."),
                io.Image.Input("image", tooltip="The restored photo; alpha is kept."),
                *_application(),
            ],
            outputs=[
                io.Image.Output(display_name="lifelike", tooltip="For Trade-Off, as lifelike.")
            ],
        )

    @classmethod
    def execute(cls, transport, image, fold_sigma=0.0, zero_shot=False) -> io.NodeOutput:
        picture = Picture.of(image)
        transport_files.check_pixels(transport)
        moved = _moved(transport, picture.rgb, fold_sigma, zero_shot)
        return io.NodeOutput(picture.image(moved.clamp(0, 1)))
