"""ELIR's tasks of known damage, as trials: a clean face is spoiled, and restored."""

from typing import NamedTuple

from graphs import Column, Node, Note, Template, Wire
from workflow_parts import BLUE, GREEN, RED, VIOLET, choice, photo, preview, square, trade_off
from workflows_latent import DECODED, DECODED_MEAN, LICENCE_OF_ELIR, Task, elir

SIDE = 256


class Trial(NamedTuple):
    """One of the paper's tasks."""

    name: str
    title: str
    preset: str
    damage: str
    """What the preset does, for the note."""
    weights: str
    source_noise: float
    """Of its training, which the file does not tell."""


TRIALS = (
    Trial(
        "elir_denoise_256",
        "Denoising",
        "Noise 0.35 (PMRF denoising)",
        "strong Gaussian noise of 0.35, about 89 of 255 levels",
        "elir_denoising.pth",
        0.025,
    ),
    Trial(
        "elir_super_resolve_256",
        "Super-resolution",
        "Downscale 8 and noise 0.05 (PMRF super-resolution)",
        "shrunk to an eighth, noise of 0.05 on the small picture, every pixel repeated 8 times "
        "(which is `nearest-exact` of ComfyUI's own scaling)",
        "elir_sr.pth",
        0.1,
    ),
    Trial(
        "elir_inpaint_256",
        "Inpainting",
        "Missing pixels 0.9 and noise 0.1 (PMRF inpainting)",
        "nine pixels in ten turned black, then noise of 0.1 on all of them",
        "elir_inpainting.pth",
        0.1,
    ),
)


def trial(wanted: Trial) -> Template:
    """Clean, degraded, faithful and restored, side by side."""
    spoil = {"degradation": Wire("damage", "degradation"), "image": Wire("square", "IMAGE")}
    degraded = Wire("spoil", "degraded")
    task = Task(wanted.name, "", "", 1.0, *(wanted.weights,) * 3)
    latents, faithful, lifelike = elir(task, degraded, source_noise=wanted.source_noise)
    columns = (
        Column({"photo": photo("Clean photo"), "square": square(SIDE)}, "1. A clean photo", BLUE),
        Column(
            {
                "damage": Node("RestoreFlowLoadDegradation", {"preset": wanted.preset}),
                "spoil": Node("RestoreFlowApplyDegradation", spoil),
                **latents,
                "degraded": preview(degraded, "Degraded"),
            },
            "2. Spoiled on purpose, into latents",
            RED,
            ["load vae"],
        ),
        Column({**faithful, "preview": preview(DECODED_MEAN)}, "3. Faithful", VIOLET),
        Column(lifelike, "4. Lifelike", GREEN, ["decode"]),
        choice(
            "5. Your choice between the two", trade_off(1.0, DECODED_MEAN, DECODED), wanted.name
        ),
    )
    return Template(wanted.name, columns, (note(wanted),))


def note(wanted: Trial) -> Note:
    return Note(
        "How to use this workflow",
        f"""
# {wanted.title}: a trial of ELIR

A clean photo is spoiled in a known way and restored, so you see what comes back and what is
invented. The damage: {wanted.damage}.

1. Choose a clean photo in **Load Image**: a square crop of a face, aligned as in FFHQ, which these
   weights learnt from. Its middle is scaled to {SIDE} x {SIDE}.
2. Press **Run** and compare the pictures in the lower row.
3. Slide **realism** in **Trade-Off** and press **Run** again: no network runs a second time.

**Posterior Mean (Latent)**, decoded, is the faithful face: little is invented, so skin and hair
stay smooth.

**Flow Sampler (Latent)** makes it lifelike. Where the damage left nothing, what comes back is
**invented**: plausible, and perhaps not what was there. Another **seed** invents something else.

For a photo that came to you with this damage, bypass **Apply Degradation**.

### Settings of the paper

This file does not tell which task it is for, so **source_noise** is typed into the sampler:
{wanted.source_noise}. 0 **steps** are the weights' own number, 5.

### The weights

`{wanted.weights}`, {LICENCE_OF_ELIR}. The first run fetches the file from GitHub: about 108 MB. All
three loaders use it. The paper also colorizes grey faces; no weights for that are public.
""",
    )


TEMPLATES = tuple(map(trial, TRIALS))
