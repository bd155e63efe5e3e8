"""The choice among several draws of a picture."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..sampling import picking
from ..sampling.operators import Degradation
from ..sampling.spread import MOST
from . import host, measures
from .heat_map import sheet
from .picture import Picture
from .sockets import DEGRADATION


class PickSample(io.ComfyNode):
    """One draw of several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowPickSample",
            display_name="Sample Picker",
            category="RestoreFlow/judge",
            description="Shows all draws of a picture with their numbers and passes one on: the "
            "one of a number, the nearest to the posterior mean, or the one that explains the "
            "photo best. Bypassed, it passes all on.",
            search_aliases=["choose", "select", "best of n", "samples", "candidates"],
            inputs=[
                io.Image.Input(
                    "samples",
                    tooltip="Draws of one picture, as from Uncertainty Map; of several pictures "
                    "the whole batch of one draw after that of another.",
                ),
                io.Combo.Input(
                    "rule",
                    options=list(picking.RULES),
                    default=picking.INDEX,
                    tooltip="index takes the number below; the others take, of each picture, the "
                    "draw of the least distance or residual.",
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=MOST - 1,
                    tooltip="The draw to take by index: its number on the sheet, from 0.",
                ),
                io.Image.Input(
                    "posterior_mean",
                    optional=True,
                    tooltip="The posterior mean of each picture, for the rule that asks for it.",
                ),
                io.Image.Input(
                    "degraded",
                    optional=True,
                    tooltip="The photos that were restored, for the rule of the data residual.",
                ),
                DEGRADATION.Input(
                    "degradation", optional=True, tooltip="What happened to them, for that rule."
                ),
                measures.photo_input(),
                measures.label_input(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The draw taken of each picture."),
                io.Int.Output(display_name="index", tooltip="Its number, of the first picture."),
                io.Image.Output(display_name="sheet", tooltip="All draws, those taken framed."),
            ],
        )

    @classmethod
    def execute(
        cls, samples, rule, index, posterior_mean=None, degraded=None, degradation=None,
        photo=None, label="",
    ) -> io.NodeOutput:  # fmt: skip
        given = Picture.of(samples, "The samples")
        known = _known(posterior_mean, degraded)
        draws = picking.grouped(given.rgb, max([len(one) for one in known.values()], default=1))
        if degradation is not None:
            known["degradation"] = host.expect(degradation, Degradation, "Sample Picker")
        scored = None if rule == picking.INDEX else picking.scores(draws, rule, **known)
        which = picking.picked(draws, index, scored)
        measures.record_all(photo, {"sample": which}, label)
        host.tell(_told(which, scored))
        shown = sheet(draws, which)
        image = given.image(given.rgb).unflatten(0, draws.shape[:2])
        return io.NodeOutput(
            picking.taken(image, which), int(which[0]), shown, ui=measures.seen(shown, cls)
        )


def _known(mean: Tensor | None, degraded: Tensor | None) -> dict[str, Any]:
    """What is given beside the samples, [1 or B, 3, H, W] each."""
    given = {
        "mean": (mean, "The posterior mean"),
        "degraded": (degraded, "The degraded photo"),
    }
    return {key: Picture.of(*one).rgb for key, one in given.items() if one[0] is not None}


def _told(which: Tensor, scored: Tensor | None) -> str:
    """Which draws were taken, and by how much they were the best."""
    numbers = ", ".join(str(number) for number in which.tolist())
    if scored is None:
        return f"Taken: {numbers}."
    least, most = (
        ", ".join(f"{v:.2f}" for v in x.tolist()) for x in (scored.amin(0), scored.amax(0))
    )
    return f"Taken: {numbers}; {least}/255, where the farthest has {most}/255."
