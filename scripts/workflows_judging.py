"""Templates that transport restored photos, and that measure restorations."""

from typing import Any

from graphs import Column, Node, Note, Template, Wire
from workflow_parts import (
    BLUE,
    DEMO,
    GOLD,
    GREEN,
    LATENT_DEMO,
    LIFELIKE,
    MEAN,
    RED,
    TEAL,
    VIOLET,
    choice,
    decode,
    encode,
    load_flow,
    load_mean,
    load_vae,
    mean,
    photo,
    preview,
    sampler,
    save,
    trade_off,
)
from workflows_latent import DECODED

DEGRADED = Wire("degrade", "degraded")
LOADED_VAE = Wire("load vae", "vae")
MOVED = Wire("apply", "latent")
SWEPT = Wire("sweep", "images")
REALISMS = Wire("sweep", "realisms")


def sweep(lifelike: Wire) -> Node:
    return Node("RestoreFlowSweepTradeOff", {"faithful": MEAN, "lifelike": lifelike})


def degradation(**inputs: Any) -> dict[str, Node]:
    wires = {"degradation": Wire("degradation", "degradation"), **inputs}
    return {
        "degradation": Node("RestoreFlowLoadDegradation"),
        "degrade": Node("RestoreFlowApplyDegradation", wires),
    }


TRANSPORT = Template(
    "transport_demo",
    (
        Column(
            {"photo": photo("Your photo"), "natural": photo("A natural photo")},
            "1. Your photos",
            BLUE,
        ),
        Column(
            {
                "load mean": load_mean(DEMO),
                "mean": mean(Wire("photo", "IMAGE")),
                "preview": preview(MEAN),
            },
            "2. Faithful",
            VIOLET,
        ),
        Column(
            {
                "load vae": load_vae(LATENT_DEMO),
                "fit": Node(
                    "RestoreFlowFitTransport",
                    {"restored": MEAN, "natural": Wire("natural", "IMAGE"), "vae": LOADED_VAE},
                ),
            },
            "3. What restored photos lack",
            RED,
        ),
        Column(
            {
                "encode": encode(MEAN),
                "apply": Node(
                    "RestoreFlowApplyTransport",
                    {
                        "transport": Wire("fit", "transport"),
                        "latent": Wire("encode", "latent"),
                    },
                ),
                "decode": decode(MOVED, "Decode (lifelike)"),
            },
            "4. Transported",
            GREEN,
        ),
        choice("5. Your choice between the two", trade_off(1.0, MEAN, DECODED), "transported"),
    ),
    (
        Note(
            "How to use this workflow",
            """
# Give restored photos a natural look, without training

1. Choose a noisy photo, and a clean one of a similar scene.
2. Press **Run**.
3. Slide **realism** in **Trade-Off**: 0 is the restored photo itself, bit for bit.

**Fit Transport** compares small patches of restored and of natural photos and finds the linear map
between them (Deep Optimal Transport). Natural photos need not show the same things; they should be
of the same kind, and as sharp as you want the results.

### Better

One photo of each is enough to see it work. A dozen are better: name folders of them in **Fit
Transport** (below ComfyUI's input folder), then keep the result with **Save Transport**.

### Any restorer

Put what you have in the place of **Posterior Mean**: an upscale model with **Upscale Image (using
Model)**, or any other node that restores. Fit on results of that one.

### Limits

It changes contrast and grain, and invents no content. The demo's VAE is small and loses fine
texture; with a real one, such as Stable Diffusion's or a Sim-VAE, less is lost.
""",
        ),
    ),
)

MEASURED = Template(
    "measure_restoration",
    (
        Column(
            {"photo": photo("A clean photo"), **degradation(image=Wire("photo", "IMAGE"))},
            "1. Degraded on purpose",
            BLUE,
        ),
        Column(
            {"load mean": load_mean(DEMO), "mean": mean(DEGRADED), "preview": preview(MEAN)},
            "2. Faithful",
            VIOLET,
        ),
        Column(
            {
                "load flow": load_flow(DEMO),
                "sampler": sampler(),
                "save": save(LIFELIKE, "measured"),
            },
            "3. Lifelike",
            GREEN,
        ),
        Column(
            {
                "sweep": sweep(LIFELIKE),
                "sheet": preview(Wire("sweep", "sheet"), "From faithful to lifelike"),
            },
            "4. All of the knob",
            GOLD,
        ),
        Column(
            {
                "compare": Node(
                    "RestoreFlowCompareToReference",
                    {"image": LIFELIKE, "reference": Wire("photo", "IMAGE")},
                ),
                "judge": Node(
                    "RestoreFlowJudgeWithoutReference",
                    {
                        "image": LIFELIKE,
                        "posterior_mean": MEAN,
                        "degraded": DEGRADED,
                        "degradation": Wire("degradation", "degradation"),
                    },
                ),
            },
            "5. In numbers",
            TEAL,
        ),
        Column(
            {
                "uncertainty": Node(
                    "RestoreFlowMapUncertainty",
                    {"flow": Wire("load flow", "flow"), "image": MEAN, "draws": 4, "steps": 5},
                ),
                "map": preview(Wire("uncertainty", "heat map"), "Where draws differ"),
            },
            "6. What is a guess",
            RED,
        ),
    ),
    (
        Note(
            "How to use this workflow",
            """
# Measure a restoration

1. Choose a clean photo: the truth. **Apply Degradation** adds noise to it.
2. Press **Run**.

**Trade-Off Sweep** shows the knob at five places; to draw error against naturalness, wire its
**images** and **realisms** and the clean photo to **Distortion-Perception Plot** (which needs the
package matplotlib).

**Compare to Reference** tells PSNR, SSIM and the distance of textures. **Judge Without Reference**
tells what can be known of photos whose truth nobody has: how far the result went from the posterior
mean, and whether it still explains the photo.

**Uncertainty Map** draws the lifelike picture several times. Where the draws differ, what you see
is a guess; where they agree it may still be wrong.

### In a photo job

Wire **photo** of **Job Photo** to these nodes, and the numbers of each photo stand in the report.
""",
        ),
    ),
)

TEMPLATES = (TRANSPORT, MEASURED)
