"""Judging: a restoration against the truth, and without it."""

from comfy_api.latest import io
from torch import Tensor

from ..sampling import judging
from ..sampling.operators import Degradation
from . import host, libraries, measures
from .measures import average
from .picture import Picture
from .sockets import DEGRADATION


def _number(name: str, tooltip: str) -> io.Float.Output:
    return io.Float.Output(display_name=name, tooltip=tooltip)


def _report() -> io.String.Output:
    return io.String.Output(display_name="report", tooltip="A line for each picture.")


class CompareToReference(io.ComfyNode):
    """How far from the truth."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowCompareToReference",
            display_name="Compare to Reference",
            category="RestoreFlow/judge",
            description="Measures a restored picture against the true one: error (PSNR), structure "
            "(SSIM) and texture; LPIPS if you have torch-fidelity. In a photo job the numbers go "
            "to its report.",
            search_aliases=["psnr", "ssim", "lpips", "metrics", "quality", "ground truth"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The restored picture."),
                io.Image.Input(
                    "reference",
                    tooltip="The true picture, of the same size: one, or one for each.",
                ),
                io.Boolean.Input(
                    "lpips",
                    default=False,
                    tooltip="Also LPIPS (VGG), which sees more as people do. Needs the optional "
                    "library torch-fidelity, which fetches 530 MB of weights once.",
                ),
                measures.photo_input(),
                measures.label_input(),
            ],
            outputs=[
                _number("psnr", "In dB, the higher the closer; the batch's average."),
                _number("ssim", "1 is equal."),
                _number("texture", "Distance of textures in 1/255 a pixel; 0 is equal."),
                _number("lpips", "0 is equal; NaN (not a number) if it is off."),
                _report(),
            ],
        )

    @classmethod
    def execute(cls, image, reference, lpips, photo=None, label="") -> io.NodeOutput:
        picture, truth = Picture.of(image).rgb, Picture.of(reference, "The reference").rgb
        found = judging.against(picture, truth)
        if lpips:
            found["lpips"] = libraries.lpips(picture, truth.expand_as(picture))
        measures.record_all(photo, found, label)
        numbers = [average(found, name) for name in ("psnr", "ssim", "texture", "lpips")]
        text = measures.report(found)
        return io.NodeOutput(*numbers, text, ui=measures.shown(text))


class JudgeWithoutReference(io.ComfyNode):
    """What can be told without the truth."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowJudgeWithoutReference",
            display_name="Judge Without Reference",
            category="RestoreFlow/judge",
            description="Measures a restored picture when there is no true one: how far it went "
            "from the posterior mean, whether it still explains the photo, and scores of "
            "naturalness if you have pyiqa.",
            search_aliases=["indrmse", "niqe", "musiq", "no reference", "blind quality", "trust"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The restored picture."),
                io.Image.Input(
                    "posterior_mean",
                    optional=True,
                    tooltip="From Posterior Mean: gives IndRMSE, the distance to it. An indicator "
                    "of what was added to the least possible error, not a score of quality.",
                ),
                io.Image.Input(
                    "degraded",
                    optional=True,
                    tooltip="The photo that was restored: with the degradation it gives the "
                    "residual, what is left after degrading the result once more.",
                ),
                DEGRADATION.Input(
                    "degradation",
                    optional=True,
                    tooltip="What happened to the photo, from Load Degradation; one with a fixed "
                    "operator.",
                ),
                _network("niqe", "NIQE, the lower the more natural"),
                _network("musiq", "MUSIQ, the higher the better people would like it"),
                measures.photo_input(),
                measures.label_input(),
            ],
            outputs=[
                _number("indrmse", "Distance to the posterior mean in 1/255; NaN without it."),
                _number("residual", "rms of the degraded result less the photo, in 1/255, or NaN."),
                _number("residual ratio", "The same in units of the degradation's noise: 1 fits."),
                _number("niqe", "NaN if it is off."),
                _number("musiq", "NaN if it is off."),
                _report(),
            ],
        )

    @classmethod
    def execute(
        cls, image, posterior_mean=None, degraded=None, degradation=None,
        niqe=False, musiq=False, photo=None, label="",
    ) -> io.NodeOutput:  # fmt: skip
        picture = Picture.of(image).rgb
        networks = {"niqe": niqe, "musiq": musiq}
        found = {
            **_indicated(picture, posterior_mean),
            **_explained(picture, degraded, degradation),
            **{n: libraries.without_reference(n, picture) for n in networks if networks[n]},
        }
        if not found:
            raise ValueError("Wire the posterior mean, or the degraded photo and its degradation.")
        measures.record_all(photo, found, label)
        names = ("indrmse", "residual", "residual ratio", *networks)
        text = measures.report(found)
        numbers = [average(found, name) for name in names]
        return io.NodeOutput(*numbers, text, ui=measures.shown(text))


def _network(name: str, what: str) -> io.Boolean.Input:
    return io.Boolean.Input(
        name,
        optional=True,
        default=False,
        tooltip=f"{what}. Needs the optional library pyiqa (noncommercial use only), which fetches "
        "its weights once.",
    )


def _indicated(picture: Tensor, mean: Tensor | None) -> dict[str, Tensor]:
    if mean is None:
        return {}
    return {"indrmse": judging.indicator(picture, Picture.of(mean, "The posterior mean").rgb)}


def _explained(
    picture: Tensor, degraded: Tensor | None, degradation: Degradation | None
) -> dict[str, Tensor]:
    """The residual, and its ratio to the noise if that is known."""
    if degraded is None and degradation is None:
        return {}
    if degraded is None or degradation is None:
        raise ValueError("The residual needs both the degraded photo and its degradation.")
    known = host.expect(degradation, Degradation, "Judge Without Reference")
    photo = Picture.of(degraded, "The degraded photo").rgb
    found = {"residual": judging.residual(picture, photo, known)}
    if known.noise_std:
        found["residual ratio"] = found["residual"] / (judging.LEVELS * known.noise_std)
    return found
