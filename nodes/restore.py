"""Restoration nodes: the posterior mean, and the flow that starts from it."""

from comfy_api.latest import io

from ..models.contracts import Flow
from ..sampling.integrate import SOLVERS
from ..sampling.noise import gaussian
from ..sampling.pieces import SMALLEST
from ..sampling.restore import posterior_mean as estimate
from ..sampling.restore import sample, step_count
from . import host
from .picture import Picture
from .sockets import FLOW, POSTERIOR_MEAN


def seed_input(what: str) -> io.Int.Input:
    """A seed whose picture i of a batch draws from seed + i."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=2**64 - 1,
        control_after_generate=True,
        tooltip=f"Seed of {what}. Picture i of a batch draws from seed + i, on the CPU: the noise "
        "is the same alone, in a batch, in tiles and on any device.",
    )


def course() -> list[io.Input]:
    """How a sampler follows its flow."""
    return [
        seed_input("the source noise"),
        io.Int.Input(
            "steps",
            default=0,
            min=0,
            max=1000,
            tooltip="Number of steps; 0 takes the checkpoint's own. More steps look more "
            "lifelike and take longer. One step is worse than none.",
        ),
        io.Float.Input(
            "source_noise",
            default=-1.0,
            min=-1.0,
            max=10.0,
            step=0.005,
            tooltip="Std of the noise added to the posterior mean before the flow; -1 "
            "takes the checkpoint's own, 0 adds none.",
        ),
        io.Combo.Input(
            "solver",
            options=list(SOLVERS),
            default="euler",
            tooltip="euler calls the network once a step, midpoint and heun twice.",
        ),
    ]


def limits(unit: str) -> list[io.Input]:
    """Where a sampler stops early, and how much it computes at once, sides counted in `unit`."""
    return [
        host.advanced(
            io.Int.Input(
                "stop_after",
                optional=True,
                default=0,
                min=0,
                max=1000,
                tooltip="A heuristic: stop after so many steps and take the flow's present "
                "estimate of the picture; 0 runs all. Trade-Off is the knob with a proof.",
            )
        ),
        tile_input(
            f"Largest side in {unit} of the tiles in which large pictures are computed, rounded "
            f"to what the network takes, {SMALLEST[unit]} at least; 0 takes the size at which the "
            "flow was trained, and smaller on little memory.",
            step=SMALLEST[unit],
        ),
    ]


def tile_input(tooltip: str, step: int = SMALLEST["pixels"]) -> io.Int.Input:
    """The largest side of tiles, 0 for automatic."""
    return host.advanced(
        io.Int.Input("tile", optional=True, default=0, min=0, max=8192, step=step, tooltip=tooltip)
    )


class PosteriorMean(io.ComfyNode):
    """Least mean squared error, nothing invented."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowPosteriorMean",
            display_name="Posterior Mean",
            category="RestoreFlow/restore",
            description="Restores with the least mean squared error: the average of all pictures "
            "that fit the degraded one. Nothing is invented; fine texture stays smooth.",
            search_aliases=["pmrf", "mmse", "denoise", "restore photo", "faithful"],
            inputs=[
                io.MultiType.Input(
                    "posterior_mean",
                    types=[POSTERIOR_MEAN, io.UpscaleModel],
                    tooltip="From Load Posterior Mean, or any core upscale model (its enlargement "
                    "is averaged back; one trained as a GAN is no posterior mean).",
                ),
                io.Image.Input("image", tooltip="The degraded photo, of any size; alpha is kept."),
            ],
            outputs=[
                io.Image.Output(display_name="posterior mean", tooltip="The faithful picture.")
            ],
        )

    @classmethod
    def execute(cls, posterior_mean, image) -> io.NodeOutput:
        picture = Picture.of(image)
        part = host.as_posterior_mean(posterior_mean)
        machine = host.ready(part, picture.rgb)
        mean = estimate(part, picture.rgb, observe=host.progress, machine=machine)
        return io.NodeOutput(picture.image(mean))


class SampleImage(io.ComfyNode):
    """From the posterior mean to a lifelike picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowSampleImage",
            display_name="Flow Sampler (Image)",
            category="RestoreFlow/restore",
            description="Carries the posterior mean along a flow to a lifelike picture, at the "
            "least cost in mean squared error. Bypassed, it passes the posterior mean on.",
            search_aliases=["pmrf", "rectified flow", "sampler", "restore photo", "lifelike"],
            inputs=[
                FLOW.Input("flow", tooltip="From Load Flow."),
                io.Image.Input(
                    "image",
                    tooltip="What the flow works from: the posterior mean (for a flow trained on "
                    "the degraded photo itself, that photo).",
                ),
                *course(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the flow may change the picture; elsewhere the posterior mean "
                    "stays exactly.",
                ),
                *limits("pixels"),
            ],
            outputs=[io.Image.Output(display_name="lifelike", tooltip="The lifelike picture.")],
        )

    @classmethod
    def execute(
        cls, flow, image, seed, steps, source_noise, solver, stop_after=0, tile=0, mask=None
    ) -> io.NodeOutput:
        picture, flow = Picture.of(image), host.expect(flow, Flow, "Flow Sampler")
        restored = sample(
            flow,
            picture.rgb,
            gaussian(picture.rgb.shape[1:], seed, range(len(picture.rgb))),
            steps=steps,
            source_noise=source_noise,
            solver=solver,
            stop_after=stop_after,
            mask=picture.fit_mask(mask),
            tile=tile,
            observe=host.observer(step_count(flow, steps, stop_after), picture.rgb),
            machine=host.ready(flow, picture.rgb),
        )
        return io.NodeOutput(picture.image(restored))
