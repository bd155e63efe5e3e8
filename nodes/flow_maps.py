"""Nodes of flow maps: denoising by one knob, and undoing any known degradation."""

from comfy_api.latest import io

from ..models.contracts import Flow
from ..sampling import plug_and_play
from ..sampling.judging import LEVELS, mean_of
from ..sampling.lookahead import denoised
from . import host
from .operators import ESTIMATED, operator
from .picture import Picture
from .restore import seed_input, tile_input
from .sockets import DEGRADATION, FLOW

LOOK, BLEND = "lookahead", "blend"
TILE = (
    "Largest side in pixels of the tiles in which large photos are computed; 0 takes the size at "
    "which the flow was trained, and smaller on little memory."
)


class FlowMapDenoise(io.ComfyNode):
    """One call, one knob."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowFlowMapDenoise",
            display_name="Flow-Map Denoise",
            category="RestoreFlow/restore",
            description="Removes Gaussian noise of any strength in one call of a flow map, from "
            "the most faithful to the most lifelike by one knob. Bypassed, it passes the photo on.",
            search_aliases=["denoise", "lookahead", "flow map", "mean flow", "grain"],
            inputs=[
                FLOW.Input("flow", tooltip="From Load Flow: a flow map, such as the demo's."),
                io.Image.Input("image", tooltip="The noisy photo, of any size; alpha is kept."),
                io.Float.Input(
                    "noise_level",
                    default=ESTIMATED,
                    min=ESTIMATED,
                    max=1000.0,
                    step=0.5,
                    tooltip="Std of the noise, where white is 255; -1 estimates it in each photo. "
                    "Less than a file's rounding (0.29) counts as that.",
                ),
                io.Float.Input(
                    "lookahead",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0: least error, smooth. 1: most lifelike. Most of the visible change "
                    "is near 1.",
                ),
                io.Combo.Input(
                    "mode",
                    options=[LOOK, BLEND],
                    default=LOOK,
                    tooltip="lookahead: one call that looks so far ahead. blend: mixes the two "
                    "ends, two calls; optimal for every Gaussian, not only the simplest.",
                ),
                tile_input(TILE),
            ],
            outputs=[
                io.Image.Output(display_name="denoised", tooltip="The photo without its noise."),
                io.Float.Output(
                    display_name="noise level",
                    tooltip="What was reckoned with, where white is 255; of a batch the mean.",
                ),
            ],
        )

    @classmethod
    def execute(cls, flow, image, noise_level, lookahead, mode, tile=0) -> io.NodeOutput:
        picture, flow = Picture.of(image), host.expect(flow, Flow, "Flow-Map Denoise")
        clean, noise = denoised(
            flow,
            picture.rgb,
            None if noise_level == ESTIMATED else noise_level / LEVELS,
            lookahead=lookahead,
            blend=mode == BLEND,
            tile=tile,
            observe=host.progress,
            machine=host.ready(flow, picture.rgb),
        )
        return io.NodeOutput(picture.image(clean), LEVELS * noise.mean().item())


class PlugAndPlay(io.ComfyNode):
    """Undoes what is known to have happened."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowPlugAndPlay",
            display_name="Plug-and-Play Solver",
            category="RestoreFlow/restore",
            description="Undoes a known degradation: looks for a photo-like picture that, degraded "
            "once more, is the photo at hand. Bypassed, it passes the photo on.",
            search_aliases=[
                *("deblur", "inpaint", "super-resolution", "colorize", "inverse problem", "pnp"),
                *("flow map", "restore"),
            ],
            inputs=[
                FLOW.Input("flow", tooltip="From Load Flow: a flow map, such as the demo's."),
                DEGRADATION.Input(
                    "degradation",
                    tooltip="What happened to the photo, with its noise: Blur, Downscale, Mask, "
                    "... and Chain Degradations. Without Noise, the photo counts as free of it.",
                ),
                io.Image.Input("image", tooltip="The degraded photo; alpha is kept."),
                seed_input("the loop's noise"),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="0 takes the flow's own number. 20 for a look, 100 and more for holes.",
                ),
                io.Float.Input(
                    "lookahead",
                    default=0.5,
                    min=0.0,
                    max=plug_and_play.MOST_LOOKAHEAD,
                    step=0.05,
                    tooltip="0: faithful. 0.9: lifelike; beyond, results get worse in both ways.",
                ),
                io.Int.Input(
                    "draws",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Noise draws that each step averages, each as dear as the first: more "
                    "are more faithful and smoother.",
                ),
                io.Combo.Input(
                    "data_step",
                    options=list(plug_and_play.DATA_STEPS),
                    default=plug_and_play.PROX,
                    tooltip="prox: weighs the photo against its noise. gradient: the published "
                    "step, which trusts the photo whatever its noise.",
                ),
                host.advanced(
                    io.Float.Input(
                        "start",
                        optional=True,
                        default=0.0,
                        min=0.0,
                        max=plug_and_play.LATEST,
                        step=0.05,
                        tooltip="When to start: 0 from noise alone; later from a first guess, "
                        "which needs fewer steps and invents less.",
                    )
                ),
                tile_input(TILE),
            ],
            outputs=[
                io.Image.Output(display_name="restored", tooltip="The restored photo."),
                io.Float.Output(
                    display_name="residual",
                    tooltip="What the result leaves of the photo to explain (rms), where white is "
                    "255; of a batch the mean of squares.",
                ),
                io.Float.Output(
                    display_name="residual ratio",
                    tooltip="The same in units of the photo's noise: about 1 fits.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, flow, degradation, image, seed, steps, lookahead, draws, data_step, start=0.0, tile=0
    ) -> io.NodeOutput:
        picture, flow = Picture.of(image), host.expect(flow, Flow, "Plug-and-Play Solver")
        solution = plug_and_play.solve(
            flow,
            operator(degradation, "Plug-and-Play Solver"),
            picture.rgb,
            seed=seed,
            steps=steps,
            lookahead=lookahead,
            draws=draws,
            data_step=data_step,
            start=start,
            tile=tile,
            observe=host.follower(steps or flow.steps),
            machine=host.ready(flow, picture.rgb),
        )
        ratio = mean_of("residual ratio", solution.residual / solution.noise_std)
        residual = LEVELS * mean_of("residual", solution.residual)
        return io.NodeOutput(picture.image(solution.picture), residual, ratio)
