"""Degradation nodes: what happened to a photo, and simulating it."""

from comfy_api.latest import io

from ..sampling.operators import Degradation
from ..sampling.presets import PRESETS
from ..sampling.presets import preset as preset_of
from . import host
from .picture import Picture
from .restore import seed_input
from .sockets import DEGRADATION


class LoadDegradation(io.ComfyNode):
    """A known degradation by name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowLoadDegradation",
            display_name="Load Degradation",
            category="RestoreFlow/degrade",
            description="A degradation whose course is known exactly, to try a restoration on a "
            "clean photo or to tell a solver what happened.",
            search_aliases=["noise", "simulate", "degrade", "operator"],
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    tooltip="The degradation: the demo's, or one of the papers'.",
                )
            ],
            outputs=[
                DEGRADATION.Output(display_name="degradation", tooltip="For Apply Degradation.")
            ],
        )

    @classmethod
    def execute(cls, preset: str) -> io.NodeOutput:
        return io.NodeOutput(preset_of(preset))


class ApplyDegradation(io.ComfyNode):
    """A clean photo, degraded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowApplyDegradation",
            display_name="Apply Degradation",
            category="RestoreFlow/degrade",
            description="Degrades a clean photo, so that a restoration can be compared with the "
            "truth. Bypassed, it passes the photo on.",
            search_aliases=["add noise", "simulate", "degrade"],
            inputs=[
                DEGRADATION.Input("degradation", tooltip="From Load Degradation, Blur, Noise, ..."),
                io.Image.Input("image", tooltip="The clean photo; alpha is kept."),
                seed_input("the degradation"),
            ],
            outputs=[
                io.Image.Output(
                    display_name="degraded",
                    tooltip="The degraded photo; smaller where it was scaled down.",
                )
            ],
        )

    @classmethod
    def execute(cls, degradation, image, seed) -> io.NodeOutput:
        picture = Picture.of(image)
        known = host.expect(degradation, Degradation, "Apply Degradation")
        return io.NodeOutput(picture.image(known.simulate(picture.rgb, seed)))
