"""What a restoration cannot know: the spread of its draws."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..models.contracts import Flow
from ..sampling.integrate import Step
from ..sampling.noise import gaussian
from ..sampling.restore import FROM_CHECKPOINT, sample, step_count
from ..sampling.spread import MOST, at_once, normalised, seed_of, spread
from . import host, measures
from .heat_map import with_scale
from .measures import photo_input
from .picture import Picture
from .restore import course, limits
from .sockets import FLOW

KEPT_PIXELS = 2**27
"""Of the draws that are passed on, 1.6 GB; beyond, fewer are."""


class MapUncertainty(io.ComfyNode):
    """Where the flow guesses."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowMapUncertainty",
            display_name="Uncertainty Map",
            category="RestoreFlow/judge",
            description="Restores a photo several times from different noise and shows where the "
            "results differ: a lower bound of what nobody can know. Memory does not grow with the "
            "number of draws.",
            search_aliases=["uncertainty", "std", "variance", "heat map", "posterior", "samples"],
            is_output_node=True,
            inputs=[
                FLOW.Input("flow", tooltip="From Load Flow; one that works on pictures."),
                io.Image.Input("image", tooltip="What the Flow Sampler takes: the posterior mean."),
                io.Int.Input(
                    "draws",
                    default=8,
                    min=2,
                    max=MOST,
                    tooltip="How often each picture is drawn: 8 shows the map, 32 its details. "
                    "Each takes as long as one run of the Flow Sampler.",
                ),
                *course(),
                io.Float.Input(
                    "scale",
                    default=0.0,
                    min=0.0,
                    max=255.0,
                    step=0.5,
                    tooltip="The spread, in 1/255, that is shown brightest; 0 takes the largest. "
                    "Set it to compare several maps.",
                ),
                io.Int.Input(
                    "keep",
                    default=8,
                    min=1,
                    max=MOST,
                    tooltip="How many of the draws are passed on, for Sample Picker; fewer if they "
                    "would take more than 1.6 GB.",
                ),
                *limits("pixels"),
                photo_input(),
                measures.label_input(),
            ],
            outputs=[
                io.Image.Output(display_name="heat map", tooltip="In colours, with its scale."),
                io.Image.Output(
                    display_name="spread", tooltip="In grey, 1 being what the factor says."
                ),
                io.Float.Output(
                    display_name="factor", tooltip="The spread, in 1/255, that is 1 in grey."
                ),
                io.Image.Output(display_name="mean", tooltip="The mean of all draws."),
                io.Image.Output(
                    display_name="samples",
                    tooltip="The first draws: the whole batch of one after that of another.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, flow, image, draws, seed, steps, source_noise, solver, scale=0.0, keep=1,
        stop_after=0, tile=0, photo=None, label="",
    ) -> io.NodeOutput:  # fmt: skip
        picture, flow = Picture.of(image), host.expect(flow, Flow, "Uncertainty Map")
        settings = {"steps": steps, "source_noise": source_noise, "solver": solver}
        settings |= {"stop_after": stop_after, "tile": tile}
        together = at_once(picture.rgb, draws)
        draw = _drawing(flow, picture.rgb, seed, math.ceil(draws / together), settings)
        found = spread(draw, draws, together=together, keep=_kept(picture.rgb, min(keep, draws)))
        grey, factor = normalised(found.std, scale)
        measures.record_all(photo, {"spread": found.typical}, label)
        host.tell(
            f"Spread of {draws} draws: brightest {factor:.3g}/255{_bound(flow, source_noise)}."
        )
        heat = with_scale(grey, factor)
        return io.NodeOutput(
            heat,
            grey.expand(-1, 3, -1, -1).movedim(1, -1),
            factor,
            picture.image(found.mean),
            picture.repeated(len(found.kept) // len(picture.rgb)).image(found.kept),
            ui=measures.seen(heat, cls),
        )


def _bound(flow: Flow, source_noise: float) -> str:
    """What the spread says of the uncertainty; other noise than trained with says nothing."""
    own = source_noise in (FROM_CHECKPOINT, flow.noise_std)
    return "; a lower bound" if own and flow.origin != "noise" else ""


def _drawing(
    flow: Flow, pictures: Tensor, seed: int, runs: int, settings: dict[str, Any]
) -> Callable[[Sequence[int]], Tensor]:
    """What draws pictures [B, 3, H, W] by the draws' numbers, with progress over all runs."""
    steps = step_count(flow, settings["steps"], settings["stop_after"])
    done, batch = 0, len(pictures)

    def observe(step: Step) -> None:
        nonlocal done
        done += 1
        host.progress(done, steps * runs)

    def draw(numbers: Sequence[int]) -> Tensor:
        seeds = [seed_of(seed, number) for number in numbers]
        noise = torch.cat([gaussian(pictures.shape[1:], one, range(batch)) for one in seeds])
        images = pictures.repeat(len(numbers), 1, 1, 1)
        machine = host.ready(flow, images)
        drawn = sample(flow, images, noise, observe=observe, machine=machine, **settings)
        return drawn.unflatten(0, (len(numbers), batch))

    return draw


def _kept(pictures: Tensor, wanted: int) -> int:
    """How many draws may be passed on."""
    most = max(1, KEPT_PIXELS // pictures[:, 0].numel())
    if wanted > most:
        host.tell(f"Passing on {most} of {wanted} draws: more would fill the memory.")
    return min(wanted, most)
