"""Latent nodes: into a latent space, restoring there, and back."""

from comfy_api.latest import io

from ..models.contracts import Flow, PosteriorMean
from ..sampling import autoencode
from ..sampling.noise import ENCODING, gaussian
from ..sampling.restore import posterior_mean as estimate
from ..sampling.restore import sample, step_count
from . import host
from .latents import Latents
from .picture import Picture
from .restore import course, limits, seed_input, tile_input
from .sockets import FLOW, POSTERIOR_MEAN
from .vae import autoencoder

MODES = ("mean", "sample")


def _tile() -> io.Int.Input:
    return tile_input(
        "Largest side in pixels of the tiles in which large pictures are computed, 64 at least; 0 "
        "takes the whole picture, and tiles on little memory."
    )


class Encode(io.ComfyNode):
    """A picture's latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowEncode",
            display_name="Encode",
            category="RestoreFlow/latent",
            description="Encodes pictures of any size with any VAE. Decode brings them back in "
            "their own size; nothing is cropped.",
            search_aliases=["vae encode", "latent", "pmrf", "elir"],
            inputs=[
                io.Vae.Input("vae", tooltip="From Load Restoration VAE, or any other VAE."),
                io.Image.Input("image", tooltip="The picture, of any size."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="mean",
                    tooltip="mean takes the middle of what the encoder thinks likely, the same "
                    "every time; sample draws from it with the seed.",
                ),
                seed_input("the draw"),
                _tile(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="For the latent nodes.")],
        )

    @classmethod
    def execute(cls, vae, image, mode, seed, tile=0) -> io.NodeOutput:
        picture, part = Picture.of(image), autoencoder(vae)
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode}.")
        numbers = range(len(picture.rgb))
        samples = autoencode.encode(
            part,
            picture.rgb,
            noise=(lambda size: gaussian(size, seed, numbers, ENCODING))
            if mode == "sample"
            else None,
            tile=tile,
            observe=host.progress,
            machine=host.ready(part, picture.rgb),
        )
        return io.NodeOutput(Latents.encoded(samples, part, tuple(picture.rgb.shape[-2:])))


class Decode(io.ComfyNode):
    """Latents as a picture again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowDecode",
            display_name="Decode",
            category="RestoreFlow/latent",
            description="Decodes latents with any VAE, in the size that the picture had before "
            "Encode.",
            search_aliases=["vae decode", "latent", "pmrf", "elir"],
            inputs=[
                io.Vae.Input(
                    "vae", tooltip="The VAE that encoded the latent, or another of its space."
                ),
                io.Latent.Input("latent", tooltip="From Encode or any latent node."),
                _tile(),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The decoded picture.")],
        )

    @classmethod
    def execute(cls, vae, latent, tile=0) -> io.NodeOutput:
        latents, part = Latents.of(latent), autoencoder(vae)
        latents.check(part)
        machine = host.ready(part, latents.samples, part.decoder_memory)
        pictures = autoencode.decode(
            part, latents.samples, tile=tile, observe=host.progress, machine=machine
        )
        return io.NodeOutput(latents.crop(pictures).movedim(1, -1))


class PosteriorMeanLatent(io.ComfyNode):
    """The latent of least mean squared error."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowPosteriorMeanLatent",
            display_name="Posterior Mean (Latent)",
            category="RestoreFlow/latent",
            description="Restores latents with the least mean squared error, as ELIR does. "
            "Decoded, it is the faithful picture, smooth where detail is lost.",
            search_aliases=["elir", "mmse", "restore photo", "faithful"],
            inputs=[
                POSTERIOR_MEAN.Input(
                    "posterior_mean", tooltip="From Load Posterior Mean, of a latent space."
                ),
                io.Latent.Input("latent", tooltip="The degraded photo's latents, from Encode."),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="posterior mean", tooltip="The faithful picture's latents."
                )
            ],
        )

    @classmethod
    def execute(cls, posterior_mean, latent) -> io.NodeOutput:
        latents = Latents.of(latent)
        part = host.expect(posterior_mean, PosteriorMean, "Posterior Mean (Latent)")
        latents.check(part)
        machine = host.ready(part, latents.samples)
        mean = estimate(part, latents.samples, observe=host.progress, machine=machine)
        return io.NodeOutput(latents.latent(mean))


class SampleLatent(io.ComfyNode):
    """From the posterior mean's latents to lifelike ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowSampleLatent",
            display_name="Flow Sampler (Latent)",
            category="RestoreFlow/latent",
            description="Carries latents along a flow to those of a lifelike picture: the latent "
            "of the posterior mean (Latent-PMRF) or the posterior mean of the latent (ELIR). "
            "Bypassed, it passes its latent on.",
            search_aliases=["latent pmrf", "elir", "rectified flow", "sampler", "lifelike"],
            inputs=[
                FLOW.Input("flow", tooltip="From Load Flow, of a latent space."),
                io.Latent.Input(
                    "latent",
                    tooltip="What the flow works from; a noise mask set on it says where it may "
                    "change.",
                ),
                *course(),
                *limits("latents"),
            ],
            outputs=[io.Latent.Output(display_name="lifelike", tooltip="For Decode.")],
        )

    @classmethod
    def execute(
        cls, flow, latent, seed, steps, source_noise, solver, stop_after=0, tile=0
    ) -> io.NodeOutput:
        latents, flow = Latents.of(latent), host.expect(flow, Flow, "Flow Sampler (Latent)")
        latents.check(flow)
        restored = sample(
            latents.scaled_for(flow),
            latents.samples,
            gaussian(latents.samples.shape[1:], seed, latents.numbers),
            steps=steps,
            source_noise=source_noise,
            solver=solver,
            stop_after=stop_after,
            mask=latents.mask,
            tile=tile,
            observe=host.observer(
                step_count(flow, steps, stop_after), latents.samples, flow.domain
            ),
            machine=host.ready(flow, latents.samples),
        )
        return io.NodeOutput(latents.latent(restored))
