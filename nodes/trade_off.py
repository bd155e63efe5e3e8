"""The knob: one mixture of a faithful and a lifelike picture, or many side by side."""

import math

from comfy_api.latest import io
from torch import Tensor

from ..sampling.trade_off import LEAST, MOST, affordable, realisms_of, sweep, trade_off
from . import host, labels
from .picture import Picture


def _pictures() -> list[io.Input]:
    return [
        io.Image.Input("faithful", tooltip="The posterior mean: nothing invented."),
        io.Image.Input("lifelike", tooltip="The flow's result, or the transported picture."),
    ]


def _both(faithful: Tensor, lifelike: Tensor) -> tuple[Picture, Picture]:
    return (
        Picture.of(faithful, "The faithful picture"),
        Picture.of(lifelike, "The lifelike picture"),
    )


class TradeOff(io.ComfyNode):
    """The one knob."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowTradeOff",
            display_name="Trade-Off",
            category="RestoreFlow/restore",
            description="Mixes the faithful and the lifelike picture. Moving the knob runs no "
            "network again.",
            search_aliases=["pmrf", "blend", "fidelity", "realism", "perception distortion", "dot"],
            inputs=[
                *_pictures(),
                io.Float.Input(
                    "realism",
                    default=0.5,
                    min=LEAST,
                    max=MOST,
                    step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="0 is the faithful picture, 1 the lifelike one. The mean squared error "
                    "grows with the square of it. Below 0 and above 1 it extrapolates, without a "
                    "proof.",
                ),
                host.advanced(
                    io.Float.Input(
                        "at_most",
                        optional=True,
                        default=0.0,
                        min=0.0,
                        max=20.0,
                        step=0.1,
                        tooltip="What realism may cost at most, in dB of PSNR beside the faithful "
                        "picture; the knob stays below that. 0 sets no limit.",
                    )
                ),
                host.advanced(
                    io.Float.Input(
                        "faithful_psnr",
                        optional=True,
                        default=0.0,
                        min=0.0,
                        max=100.0,
                        step=0.1,
                        tooltip="For at_most: the PSNR of the faithful picture, where tests have "
                        "told it. 0: unknown; then the lifelike picture is taken to be no worse "
                        "than a draw from the posterior.",
                    )
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The mixed picture."),
                io.Float.Output(
                    display_name="realism", tooltip="What was used, averaged over the batch."
                ),
            ],
        )

    @classmethod
    def execute(cls, faithful, lifelike, realism, at_most=0.0, faithful_psnr=0.0) -> io.NodeOutput:
        one, other = _both(faithful, lifelike)
        if not at_most:
            mixed = trade_off(one.rgb, other.rgb, realism)
            return io.NodeOutput(one.image(_shown(mixed, realism)), realism)
        limit = affordable(at_most, one.rgb, other.rgb, faithful_psnr).clamp(max=abs(realism))
        limit = math.copysign(1, realism) * limit
        used = limit.mean().item()
        host.tell(f"Realism {used:.2f}: at most {at_most:g} dB.")
        mixed = _shown(trade_off(one.rgb, other.rgb, limit), *limit.tolist())
        return io.NodeOutput(one.image(mixed), used)


def _shown(mixed: Tensor, *realisms: float) -> Tensor:
    """Pictures again: extrapolated, they leave the colours that there are."""
    return mixed if all(0 <= one <= 1 for one in realisms) else mixed.clamp(0, 1)


class SweepTradeOff(io.ComfyNode):
    """The knob at many places."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowSweepTradeOff",
            display_name="Trade-Off Sweep",
            category="RestoreFlow/restore",
            description="Many settings of Trade-Off side by side, from the same two pictures: no "
            "network runs again.",
            search_aliases=["xy plot", "grid", "compare", "realism", "perception distortion"],
            inputs=[
                *_pictures(),
                io.String.Input(
                    "realisms",
                    default="0, 0.25, 0.5, 0.75, 1",
                    tooltip="The settings, from -1 to 2.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="All mixtures in full size: the pictures of the first setting, then "
                    "those of the next.",
                ),
                io.Image.Output(
                    display_name="sheet", tooltip="Side by side, small and labelled; a row each."
                ),
                io.String.Output(
                    display_name="realisms", tooltip="The settings, for Plot Trade-Off."
                ),
            ],
        )

    @classmethod
    def execute(cls, faithful, lifelike, realisms) -> io.NodeOutput:
        one, other = _both(faithful, lifelike)
        settings = realisms_of(realisms)
        mixed = _shown(sweep(one.rgb, other.rgb, settings), *settings)
        sheet = labels.sheet(mixed, [f"realism {setting:g}" for setting in settings])
        images = one.repeated(len(settings)).image(mixed)
        text = ", ".join(f"{setting:g}" for setting in settings)
        return io.NodeOutput(images, sheet, text)
