"""Templates and blueprints that work on pictures: the demo and PMRF."""

from collections.abc import Iterator
from typing import NamedTuple

from graphs import OWN, Blueprint, Column, Node, Note, Template, Wire
from workflow_parts import (
    BLUE,
    DEMO,
    DRIVE,
    FACE,
    GREEN,
    MEAN,
    PHOTO,
    RED,
    VIOLET,
    choice,
    load_flow,
    load_mean,
    mean,
    photo,
    preview,
    sampler,
    square,
    trade_off,
)

# The demo

NOISY_PHOTO = Template(
    "restore_noisy_photo",
    (
        Column(
            {"photo": photo()},
            "1. Your photo",
            BLUE,
        ),
        Column(
            {
                "load mean": load_mean(DEMO),
                "mean": mean(PHOTO),
                "preview": preview(MEAN),
            },
            "2. Faithful",
            VIOLET,
        ),
        Column({"load flow": load_flow(DEMO), "sampler": sampler()}, "3. Lifelike", GREEN),
        choice("4. Your choice between the two", trade_off(0.5), "restored"),
    ),
    (
        Note(
            "How to use this workflow",
            """
# Restore a noisy photo

1. Choose your photo in **Load Image**.
2. Press **Run**.
3. Slide **realism** in **Trade-Off** and press **Run** again. This takes a moment only: no network
   runs a second time.

**Posterior Mean** gives the picture with the least error. It invents nothing, so fine texture
stays smooth.

**Flow Sampler** makes that picture lifelike. Grain and texture come back, but some of it is a
plausible guess.

**Trade-Off** mixes the two: 0 is faithful, 1 is lifelike.

### Limits

The demo weights remove one kind of noise: Gaussian noise of about 25/255, as in a dim, grainy
shot. They have learnt from drawn patterns, never from photos or faces. They do not mend blur,
scratches or strong JPEG blocks. A clean photo only gets smoother.

Every node explains itself: select it and press the **i** above it.
""",
        ),
    ),
)

DENOISE_PHOTO = Blueprint(
    "denoise_photo",
    "Restores a noisy photo: posterior mean, flow and trade-off, with the demo weights (Gaussian "
    "noise of about 25/255). Unpack it to see and change the parts.",
    ("denoise", "restore photo", "pmrf"),
    (
        Column({"load mean": load_mean(DEMO), "load flow": load_flow(DEMO)}),
        Column({"mean": mean(Wire(OWN, "image"))}),
        Column(
            {"sampler": sampler(**{name: Wire(OWN, name) for name in ("mask", "seed", "steps")})}
        ),
        Column({"trade-off": trade_off(Wire(OWN, "realism"))}),
    ),
    ("image", "mask", "realism", "steps", "seed"),
    {"restored": Wire("trade-off", "image"), "posterior mean": MEAN},
)

# PMRF's face weights

FACES = """
### The weights

`pmrf-face-512.safetensors`, by PMRF's authors, MIT licence. The first run fetches it from Hugging
Face: 923 MB. Both loaders use the one file, and it is kept for later runs.

### What it costs

About two minutes on two CPU cores, reckoned from single steps with random weights of this size; a
GPU is made for it. In float32 the two networks take about 0.7 GB, and on the CPU the flow about
0.5 GB more while it works. Fewer **steps** are faster: try 5 for a quick look, never 1.
"""

PMRF_FACE = Template(
    "pmrf_face_512",
    (
        Column({"photo": photo(), "square": square(512)}, "1. Your photo", BLUE),
        Column(
            {
                "load mean": load_mean(FACE),
                "mean": mean(Wire("square", "IMAGE")),
                "preview": preview(MEAN),
            },
            "2. Faithful",
            VIOLET,
        ),
        Column({"load flow": load_flow(FACE), "sampler": sampler()}, "3. Lifelike", GREEN),
        choice("4. Your choice between the two", trade_off(1.0), "pmrf_face"),
    ),
    (
        Note(
            "How to use this workflow",
            f"""
# Restore a face with PMRF

1. Choose a photo of one face in **Load Image**: a square crop of head and shoulders, aligned as in
   FFHQ, with the eyes level and a little above the middle.
2. Press **Run**. The photo's middle is scaled to 512 x 512, the size that these weights know.
3. Slide **realism** in **Trade-Off** and press **Run** again: no network runs a second time.

**Posterior Mean** gives the face with the least error. It invents nothing, so skin and hair stay
smooth.

**Flow Sampler** makes it lifelike. Pores, lashes, hair and teeth come back, but they are
**invented**: plausible, and perhaps not this person's. Another **seed** invents others.

**Trade-Off** mixes the two: 0 invents nothing, 1 is PMRF as published.

### What to expect

The weights learnt to mend blur, low resolution, noise and JPEG damage, together and of unknown
strength, on aligned faces only. They do not colour grey photos, and they are not for whole scenes:
crop the face first.

{FACES}
""",
        ),
    ),
)


# Trials: a clean photo, spoiled in a known way and restored


class Trial(NamedTuple):
    """One of the paper's tests."""

    name: str
    title: str
    preset: str
    damage: str
    """What the preset does, for the note."""
    weights: str
    picture: str
    """What the result is saved as."""
    size: int = 256
    steps: int = 100
    """100 as in the authors' test; 0 asks for the weights' own number."""


EXPERIMENTS = {
    "gaussian_noise_035": Trial(
        "pmrf_denoise_256",
        "Denoising",
        "Noise 0.35 (PMRF denoising)",
        "strong Gaussian noise of 0.35, about 89 of 255 levels",
        "pmrf-denoise-256.ckpt",
        "denoised",
    ),
    "sr_bicubic_x8_gaussian_noise_005": Trial(
        "pmrf_super_resolve_256",
        "Super-resolution",
        "Downscale 8 and noise 0.05 (PMRF super-resolution)",
        "shrunk to an eighth, noise of 0.05 on the small picture, every pixel repeated 8 times",
        "pmrf-super-resolve-256.ckpt",
        "enlarged",
    ),
    "colorization_gaussian_noise_025": Trial(
        "pmrf_colorize_256",
        "Colorization",
        "Grey and noise 0.25 (PMRF colorization)",
        "the plain mean of red, green and blue, with noise of 0.25",
        "pmrf-colorize-256.ckpt",
        "colorized",
    ),
    "random_inpainting_gaussian_noise_01": Trial(
        "pmrf_inpaint_256",
        "Inpainting",
        "Missing pixels 0.9 and noise 0.1 (PMRF inpainting)",
        "nine pixels in ten turned black, then noise of 0.1 on all of them",
        "pmrf-inpaint-256.ckpt",
        "inpainted",
    ),
}
"""The controlled experiments, by the authors' name of the damage."""

BLIND_FACE = Trial(
    "pmrf_blind_face_trial",
    "Blind face restoration",
    "Blur, noise and JPEG (PMRF blind face)",
    "random blur, shrinking up to 32 times, noise and JPEG; another **seed** in **Apply "
    "Degradation** draws another strength of each",
    FACE,
    "blind_face",
    size=512,
    steps=0,
)


def trial(wanted: Trial, *notes: Note) -> Template:
    """Clean, degraded, faithful and restored, side by side."""
    spoil = {"degradation": Wire("damage", "degradation"), "image": Wire("square", "IMAGE")}
    degraded = Wire("spoil", "degraded")
    columns = (
        Column(
            {"photo": photo("Clean photo"), "square": square(wanted.size)}, "1. A clean photo", BLUE
        ),
        Column(
            {
                "damage": Node("RestoreFlowLoadDegradation", {"preset": wanted.preset}),
                "spoil": Node("RestoreFlowApplyDegradation", spoil),
                "degraded": preview(degraded, "Degraded"),
            },
            "2. Spoiled on purpose",
            RED,
        ),
        Column(
            {
                "load mean": load_mean(wanted.weights),
                "mean": mean(degraded),
                "preview": preview(MEAN),
            },
            "3. Faithful",
            VIOLET,
        ),
        Column(
            {"load flow": load_flow(wanted.weights), "sampler": sampler(steps=wanted.steps)},
            "4. Lifelike",
            GREEN,
        ),
        choice("5. Your choice between the two", trade_off(1.0), wanted.picture),
    )
    return Template(wanted.name, columns, notes)


def how_to_try(wanted: Trial, first: str, last: str) -> Note:
    """What the trial shows; `first` is what must be known before it runs."""
    return Note(
        "How to use this workflow",
        f"""
# {wanted.title}: a trial of PMRF

A clean photo is spoiled in a known way and restored, so you see what comes back and what is
invented. The damage: {wanted.damage}.

1. {first}
2. Choose a clean photo in **Load Image**: a square crop of a face, aligned as in FFHQ, which these
   weights learnt from. Its middle is scaled to {wanted.size} x {wanted.size}.
3. Press **Run** and compare the pictures in the lower row.
4. Slide **realism** in **Trade-Off** and press **Run** again: no network runs a second time.

**Posterior Mean** gives the picture with the least error. It invents nothing, so fine texture
stays smooth.

**Flow Sampler** makes it lifelike. Where the damage left nothing, what comes back is **invented**:
plausible, and perhaps not what was there. Another **seed** invents something else.

**Trade-Off** mixes the two: 0 invents nothing, 1 is PMRF as published.

{last}
""",
    )


def by_hand(folder: str, wanted: Trial) -> Note:
    """How the authors' file comes onto this machine, and what else their folder holds."""
    return Note(
        "Bring the weights by hand",
        f"""
The authors share these weights on [Google Drive]({DRIVE}), from where no program can fetch them.

1. Open `controlled_experiments`, then the folder of this damage (by the authors' own name for it
   `{folder}`), then `pmrf`, and download `epoch=999-step=273000.ckpt`.
2. Save it as `{wanted.weights}` in ComfyUI's `models/restoreflow`.
3. Press **R**. The one file serves both loaders.

It is a Lightning checkpoint: a pickle, which could hold code. Here it is read as numbers only, and
a file that would have to run code is refused.

### The other methods in that folder

- `mmse`, the posterior mean alone: choose it in **Load Posterior Mean**, and bypass **Flow
  Sampler**, which then passes the posterior mean on.
- `naive_flow` and `posterior_conditioned_on_y`: choose it in **Load Flow**, and wire **degraded**
  of **Apply Degradation** into the sampler's **image**.
- `posterior_conditioned_on_mmse`: choose it in both loaders; the wires stay.

Save each under a name of its own. Keep **realism** at 1 for the last three: what is proved of the
mixture is proved of PMRF.
""",
    )


SETTINGS = """
### Settings of the paper

**steps** is {steps}, as in the authors' test; their script also lists 5, 10, 20 and 50.
**source_noise** -1 takes what the checkpoint was trained with. Their test ran the weights of the
last step: switch **ema** off in **Load Flow** for the same, or leave it on for the moving
averages. Their photos were CelebA-Test, brought to 256 px.

The 100 steps take two to three minutes on two CPU cores, reckoned from single steps with random
weights of this size.
"""


def trials() -> Iterator[Template]:
    """The paper's tests."""
    first = f"The first run fetches `{FACE}`: see below."
    yield trial(BLIND_FACE, how_to_try(BLIND_FACE, first, FACES))
    for folder, wanted in EXPERIMENTS.items():
        first = f"Bring the weights once, `{wanted.weights}`: see the note beside."
        settings = SETTINGS.format(steps=wanted.steps)
        yield trial(wanted, how_to_try(wanted, first, settings), by_hand(folder, wanted))


TEMPLATES = (NOISY_PHOTO, PMRF_FACE, *trials())
BLUEPRINTS = (DENOISE_PHOTO,)
