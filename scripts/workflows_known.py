"""Templates of flow maps: denoising by one knob, and known degradations undone."""

from collections.abc import Mapping
from typing import Any

from graphs import Column, Node, Note, Template, Wire
from workflow_parts import BLUE, GOLD, GREEN, PHOTO, RED, VIOLET, load_flow, photo, preview, save

FLOW_MAP = "demo-flow-map.safetensors"
HAPPENED = Wire("happened", "degradation")
DEGRADED = Wire("degrade", "degraded")
RESTORED = Wire("solver", "restored")
FLOW = Wire("load flow", "flow")
LOOKAHEADS = (0.0, 0.25, 0.5, 0.75, 1.0)


def chained(what: Node, level: float) -> Mapping[str, Node]:
    """What happened, then noise of that level."""
    links = {"first": Wire("what", "degradation"), "second": Wire("noise", "degradation")}
    return {
        "what": what,
        "noise": Node("RestoreFlowNoise", {"level": level}),
        "happened": Node("RestoreFlowChainDegradations", links),
    }


def degrade() -> Node:
    """For a trial; bypassed, the photo is taken as it is."""
    wires = {"degradation": HAPPENED, "image": PHOTO}
    return Node("RestoreFlowApplyDegradation", wires, "Trial: degrade a clean photo (or bypass)")


def solver(image: Wire, **settings: Any) -> Node:
    wires = {"flow": FLOW, "degradation": HAPPENED, "image": image}
    return Node("RestoreFlowPlugAndPlay", {**wires, **settings})


def known(name: str, what: Mapping[str, Node], note: str, **settings: Any) -> Template:
    """A photo is degraded in a known way, and restored by knowing it."""
    return Template(
        name,
        (
            Column({"photo": photo("Your photo")}, "1. Your photo", BLUE),
            Column(what, "2. What happened to it", RED),
            Column(
                {"degrade": degrade(), "shown": preview(DEGRADED, "Degraded")}, "3. Trial", VIOLET
            ),
            Column(
                {
                    "load flow": load_flow(FLOW_MAP),
                    "solver": solver(DEGRADED, **settings),
                    "save": save(RESTORED, name),
                },
                "4. Undone",
                GREEN,
            ),
        ),
        (Note("How to use this workflow", note),),
    )


OWN_PHOTO = """
### Your own photo

Bypass **Apply Degradation** (select it, Ctrl+B): your photo then goes to the solver as it is. What
you say in 2 must be what happened to it; the solver believes you. **residual ratio** tells: about 1
fits, far above 1 something else happened.
"""
LIMITS = """
### Limits

The demo flow map is tiny and has seen drawn patterns only, no photo and no face. It knows edges and
texture, not things. One picture of 512 x 512 px takes about half a minute on two CPU cores.
"""

DEBLUR = known(
    "deblur_known_kernel",
    chained(Node("RestoreFlowBlur", {"size": 2.0}), 2.5),
    f"""
# Take back a known blur

1. Choose a sharp photo for a trial, or a blurred one.
2. In **Blur**, say which blur: `gaussian` for out of focus, `motion` for a moved camera, or wire a
   picture of one point of light to **kernel**.
3. Press **Run**. The preview in **Plug-and-Play Solver** shows how the picture forms.

**lookahead** goes from faithful (0) to lifelike (0.9). More **draws** are more faithful still, and
each costs as much as the first.
{OWN_PHOTO}
If you do not know the kernel, try several sizes on a small crop: too small leaves blur, too large
draws lines along edges.
{LIMITS}""",
)

UPSCALE = known(
    "upscale_4x_known_filter",
    chained(Node("RestoreFlowDownscale", {"factor": 4}), 1.0),
    f"""
# Enlarge 4 times

1. Choose a photo. For the trial it is made 4 times smaller, then enlarged again.
2. Press **Run**.

Scaled down again, the result is the small photo: nothing that it says is changed.
{OWN_PHOTO}
Choose the filter by which the photo was made small: `bicubic` for most programs, `lanczos` for many
cameras and sites. Photos that were saved as a JPEG since then need **JPEG** in the chain.
{LIMITS}""",
)

SCRATCHES = Template(
    "fill_painted_scratches",
    (
        Column({"photo": photo("Your photo: paint its mask")}, "1. Photo and mask", BLUE),
        Column(
            {"happened": Node("RestoreFlowMask", {"mask": Wire("photo", "MASK")})},
            "2. What is lost",
            RED,
        ),
        Column(
            {
                "load flow": load_flow(FLOW_MAP),
                "solver": solver(PHOTO, steps=100),
                "save": save(RESTORED, "fill_painted_scratches"),
            },
            "3. Filled",
            GREEN,
        ),
    ),
    (
        Note(
            "How to use this workflow",
            f"""
# Fill painted scratches

1. Choose a photo with scratches or holes in **Load Image**.
2. Right click on the photo, **Open in MaskEditor**, paint over them and a little beyond, save.
3. Press **Run**.

What lies under the paint is never looked at. The rest stays as it is, to rounding.

Masks need steps: 100 here, more for larger holes.

### If the photo is noisy, too

Add **Noise** and **Chain Degradations** behind **Mask**: then the noise goes with the scratches.
{LIMITS}""",
        ),
    ),
)


def at(lookahead: float) -> str:
    return f"denoise {lookahead:g}"


def one(lookahead: float) -> Column:
    """Denoised with that lookahead, and its picture."""
    wires = {"flow": FLOW, "image": DEGRADED, "lookahead": lookahead}
    names = {0.0: " (faithful)", 1.0: " (lifelike)"}
    title = f"Lookahead {lookahead:g}{names.get(lookahead, '')}"
    shown = preview(Wire(at(lookahead), "denoised"), title)
    if lookahead == 1.0:
        shown = save(Wire(at(lookahead), "denoised"), "denoise_by_lookahead")
    return Column(
        {
            at(lookahead): Node("RestoreFlowFlowMapDenoise", wires),
            f"picture {lookahead:g}": shown,
        },
        title,
        GOLD,
    )


SWEEP = Template(
    "denoise_by_lookahead",
    (
        Column({"photo": photo("Your photo")}, "1. Your photo", BLUE),
        Column(
            {
                "happened": Node("RestoreFlowNoise", {"level": 25.0}),
                "degrade": degrade(),
                "shown": preview(DEGRADED, "Noisy"),
            },
            "2. Trial",
            RED,
        ),
        Column({"load flow": load_flow(FLOW_MAP)}, "3. Flow map", VIOLET),
        *map(one, LOOKAHEADS),
    ),
    (
        Note(
            "How to use this workflow",
            f"""
# Denoise, the knob at five places

1. Choose a clean photo for a trial, or a noisy one.
2. Press **Run**: five denoised pictures side by side, from faithful to lifelike.

One call of the flow map makes each. **noise_level** -1 estimates the noise of the photo; if you
know it, say it.

At 0 the error is least and fine texture is smooth. Towards 1 texture comes back; part of it is a
guess. **mode** `blend` mixes the two ends instead, in two calls.

### Your own photo

Bypass **Apply Degradation** (select it, Ctrl+B): your photo then goes in as it is.
{LIMITS}""",
        ),
    ),
)

TEMPLATES = (DEBLUR, SCRATCHES, UPSCALE, SWEEP)
