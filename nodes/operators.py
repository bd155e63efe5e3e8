"""Nodes that say what happened to a photo: each gives one known degradation."""

from comfy_api.latest import io

from ..sampling.blur import BORDERS, Blur, gaussian_kernel, motion_kernel
from ..sampling.chain import Chain
from ..sampling.downscale import FILTERS, Downscale
from ..sampling.jpeg import JPEG, SUBSAMPLING
from ..sampling.judging import LEVELS
from ..sampling.operators import Degradation, GaussianNoise, Operator
from ..sampling.pointwise import GREYS, Clipping, Greying, RandomMasking, masking
from . import host
from .picture import Picture
from .sockets import DEGRADATION

GAUSSIAN, MOTION = "gaussian", "motion"
KERNELS = (GAUSSIAN, MOTION)
ESTIMATED = -1.0


def _schema(search_aliases: list[str], **fields) -> io.Schema:
    return host.schema(
        category="RestoreFlow/degrade",
        search_aliases=["degradation", "operator", "known degradation", *search_aliases],
        **fields,
        outputs=[
            DEGRADATION.Output(
                display_name="degradation",
                tooltip="For Plug-and-Play Solver, Apply Degradation and Chain Degradations.",
            )
        ],
    )


class DegradeByBlur(io.ComfyNode):
    """Out of focus, moved, or any kernel."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            node_id="RestoreFlowBlur",
            display_name="Blur (Degradation)",
            description="Says that a photo was blurred by a known kernel: out of focus, moved, or "
            "a picture of what became of one point of light.",
            search_aliases=["deblur", "motion blur", "defocus", "psf", "kernel"],
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=list(KERNELS),
                    tooltip="gaussian: soft all around. motion: a straight line.",
                ),
                io.Float.Input(
                    "size",
                    default=2.0,
                    min=0.1,
                    max=200.0,
                    step=0.1,
                    tooltip="In pixels: the Gaussian's std, or the line's length (at least 1).",
                ),
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    tooltip="Of the motion, in degrees: 0 is sideways, 90 up and down.",
                ),
                io.Image.Input(
                    "kernel",
                    optional=True,
                    tooltip="The kernel itself, in place of kind, size and angle: one picture of "
                    "what became of a point of light. Its brightness is scaled to sum 1; of even "
                    "sides, the centre is right and below of the middle.",
                ),
                host.advanced(
                    io.Combo.Input(
                        "border",
                        optional=True,
                        options=list(BORDERS),
                        default=BORDERS[0],
                        tooltip="What the blur saw beyond the photo's border: the photo "
                        "reflected, or its other side (circular, for tests; faster).",
                    )
                ),
            ],
        )

    @classmethod
    def execute(cls, kind, size, angle, border=BORDERS[0], kernel=None) -> io.NodeOutput:
        if kernel is not None:
            return io.NodeOutput(Blur("Blur by a kernel", one_kernel(kernel), border))
        made = gaussian_kernel(size) if kind == GAUSSIAN else motion_kernel(size, angle)
        return io.NodeOutput(Blur(f"{kind.capitalize()} blur {size:g} px", made, border))


def one_kernel(image):
    """The light of one picture, [h, w]."""
    light = Picture.of(image, "The kernel").rgb.mean(1)
    if len(light) != 1:
        raise ValueError(f"A blur has one kernel; got a batch of {len(light)} pictures.")
    return light[0]


class DegradeByDownscale(io.ComfyNode):
    """Too few pixels."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            node_id="RestoreFlowDownscale",
            display_name="Downscale (Degradation)",
            description="Says that a photo was scaled down by a known filter: the solver gives it "
            "back its pixels, and scaled down again the result is the photo.",
            search_aliases=["super-resolution", "upscale", "enlarge"],
            inputs=[
                io.Int.Input(
                    "factor",
                    default=4,
                    min=2,
                    max=16,
                    tooltip="How many pixels of the clean photo became one, on each side.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(FILTERS),
                    tooltip="The filter, as Pillow and most programs have it.",
                ),
            ],
        )

    @classmethod
    def execute(cls, factor, method) -> io.NodeOutput:
        return io.NodeOutput(Downscale(f"Downscale {factor} ({method})", factor, method))


class DegradeByMask(io.ComfyNode):
    """Pixels that are gone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            node_id="RestoreFlowMask",
            display_name="Mask (Degradation)",
            description="Says which pixels of a photo are lost: scratches and holes that you "
            "paint, or for a trial a share of all pixels.",
            search_aliases=["inpaint", "scratch", "hole", "fill"],
            inputs=[
                io.Float.Input(
                    "share",
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    tooltip="For a trial without a mask: the share of all pixels that is lost.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="Without a mask: which pixels are lost. Picture i of a batch draws "
                    "from seed + i.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What is lost, of the photo's size: one mask, or one a picture. Every "
                    "pixel that the mask covers by more than a tenth counts as lost.",
                ),
            ],
        )

    @classmethod
    def execute(cls, share, seed, mask=None) -> io.NodeOutput:
        if mask is not None:
            return io.NodeOutput(masking("Mask", mask.float().reshape(-1, 1, *mask.shape[-2:])))
        if not share:
            raise ValueError("Nothing is lost: wire a mask of what is, or for a trial set share.")
        return io.NodeOutput(RandomMasking(f"Missing pixels {share:g}", share, seed))


class DegradeByGrey(io.ComfyNode):
    """Colour that is gone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            node_id="RestoreFlowColorize",
            display_name="Lost Colour (Degradation)",
            description="Says that a photo lost its colour. The solver colours it; which colours, "
            "a black and white photo does not tell.",
            search_aliases=["colorize", "colourize", "black and white", "grey"],
            inputs=[
                io.Combo.Input(
                    "grey",
                    options=list(GREYS),
                    tooltip="How the grey came about: luma as a camera or program makes it, or the "
                    "plain mean of red, green and blue.",
                ),
            ],
        )

    @classmethod
    def execute(cls, grey) -> io.NodeOutput:
        return io.NodeOutput(Greying(f"Lost colour ({grey})", GREYS[grey]))


class DegradeByClipping(io.ComfyNode):
    """Burnt-out highlights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            node_id="RestoreFlowClip",
            display_name="Overexposure (Degradation)",
            description="Says that a photo was exposed too long and its highlights are burnt out: "
            "the solver darkens it and fills in what lies beyond white.",
            search_aliases=["clip", "hdr", "highlights", "overexposed", "saturated"],
            inputs=[
                io.Float.Input(
                    "gain",
                    default=2.0,
                    min=0.1,
                    max=16.0,
                    step=0.1,
                    tooltip="By how much too bright it is: 2 is one stop.",
                ),
            ],
        )

    @classmethod
    def execute(cls, gain) -> io.NodeOutput:
        return io.NodeOutput(Clipping(f"Overexposure {gain:g}", gain))


class DegradeByJPEG(io.ComfyNode):
    """Blocks and ringing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            node_id="RestoreFlowJPEG",
            display_name="JPEG (Degradation)",
            description="Says that a photo was saved as a JPEG of a known quality: the solver "
            "looks for a photo-like picture that, saved again, would nearly be the same file.",
            search_aliases=["jpeg", "compression", "artifacts", "blocks"],
            inputs=[
                io.Int.Input(
                    "quality",
                    default=30,
                    min=1,
                    max=100,
                    tooltip="As the program that saved it counts, with the usual tables.",
                ),
                io.Combo.Input(
                    "subsampling",
                    options=list(SUBSAMPLING),
                    tooltip="4:2:0 keeps colour at half the size, as most programs do.",
                ),
            ],
        )

    @classmethod
    def execute(cls, quality, subsampling) -> io.NodeOutput:
        return io.NodeOutput(JPEG(f"JPEG {quality}", quality, subsampling))


class DegradeByNoise(io.ComfyNode):
    """Grain."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            node_id="RestoreFlowNoise",
            display_name="Noise (Degradation)",
            description="Says how much Gaussian noise a photo has, or that it is to be estimated. "
            "Chain it behind what else happened.",
            search_aliases=["noise", "grain", "denoise"],
            inputs=[
                io.Float.Input(
                    "level",
                    default=25.0,
                    min=ESTIMATED,
                    max=1000.0,
                    step=0.5,
                    tooltip="Its std, where white is 255. -1 estimates it in each photo; such "
                    "noise can be removed, but not added.",
                ),
            ],
        )

    @classmethod
    def execute(cls, level) -> io.NodeOutput:
        known = level != ESTIMATED
        name = f"Gaussian noise {level:g}/255" if known else "Gaussian noise (estimated)"
        return io.NodeOutput(GaussianNoise(name, level / LEVELS if known else None))


class ChainDegradations(io.ComfyNode):
    """One after another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def then(name: str, which: str, optional: bool = True) -> io.Input:
            return DEGRADATION.Input(
                name, optional=optional, tooltip=f"What happened {which}; a chain will do, too."
            )

        return _schema(
            node_id="RestoreFlowChainDegradations",
            display_name="Chain Degradations",
            description="Says that several things happened to a photo, one after another: "
            "blurred, then scaled down, then noise. Bypassed, it passes the first on.",
            search_aliases=["chain", "combine", "sequence"],
            inputs=[
                then("first", "first", optional=False),
                then("second", "then", optional=False),
                then("third", "after that"),
                then("fourth", "at last"),
            ],
        )

    @classmethod
    def execute(cls, first, second, third=None, fourth=None) -> io.NodeOutput:
        happened = [part for part in (first, second, third, fourth) if part is not None]
        return io.NodeOutput(Chain([operator(part, "Chain Degradations") for part in happened]))


def operator(value: object, node: str) -> Operator:
    """What arrived on a DEGRADATION socket, if it is known exactly.

    Raises:
        ValueError: it is a degradation that draws its own course anew for each photo.
    """
    known = host.expect(value, Degradation, node)
    if not isinstance(known, Operator):
        raise ValueError(
            f"{node} needs a degradation that is known exactly; {known.name} draws its course anew "
            "for each photo. Build yours from Blur, Downscale, Mask, JPEG and Noise."
        )
    return known
