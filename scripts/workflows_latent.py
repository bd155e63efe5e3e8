"""Templates and blueprints that work on latents: Latent-PMRF and ELIR."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from graphs import OWN, Blueprint, Column, Node, Note, Template, Wire
from workflow_parts import (
    BLUE,
    DEMO,
    FACE,
    GREEN,
    LATENT_DEMO,
    MEAN,
    PHOTO,
    SIM_VAE,
    SIM_VAE_CARD,
    TEAL,
    VIOLET,
    choice,
    decode,
    encode,
    load_flow,
    load_mean,
    load_vae,
    mean,
    mean_latent,
    photo,
    preview,
    sampler_latent,
    square,
    trade_off,
)

Nodes = dict[str, Node]

ELIR_DEMO = "demo-elir-25.safetensors"
ELIR_FACE, ELIR_BLIND = "elir_bfr.pth", "elir_bsr.pth"
LATENT_FLOW = "latent-pmrf-c32/diffusion_pytorch_model.safetensors"
"""Where the authors' flow belongs once it is public: a loader reads the config.json beside a file
of this name only."""

GIVEN, KNOB = Wire(OWN, "image"), Wire(OWN, "realism")
COURSE = {name: Wire(OWN, name) for name in ("steps", "seed")}
"""What comes from outside into a blueprint."""

PREPARED = Wire("prepared", "IMAGE")
DECODED, DECODED_MEAN = Wire("decode", "image"), Wire("decode mean", "image")
CHOICE = "Your choice between the two"


class Task(NamedTuple):
    """A template, and a blueprint of the same parts."""

    template: str
    blueprint: str
    description: str
    """Of the blueprint."""
    realism: float
    vae: str
    """Its file; ELIR's holds the other two as well."""
    mean: str
    flow: str
    prepare: Callable[[Wire], Node] | None = None
    """What is done to the picture before."""
    has_flow: bool = True
    """Without, the sampler is bypassed."""

    def prepared(self, image: Wire) -> tuple[Nodes, Wire]:
        """The nodes that prepare a picture, and where it is then."""
        return ({"prepared": self.prepare(image)}, PREPARED) if self.prepare else ({}, image)

    def lifelike(self, latent: Wire, **course: Wire) -> Nodes:
        """From a latent to the lifelike picture."""
        return {
            "load flow": load_flow(self.flow),
            "sampler": sampler_latent(latent, not self.has_flow, **course),
            "decode": decode(Wire("sampler", "lifelike"), "Decode (lifelike)"),
        }


def to_512(image: Wire) -> Node:
    return square(512, image)


def enlarged(image: Wire) -> Node:
    """As ELIR's blind super-resolution wants it."""
    settings = {"upscale_method": "bicubic", "scale_by": 4.0}
    return Node("ImageScaleBy", {"image": image, **settings}, "Enlarge 4 times")


# Latent-PMRF: the latent of the posterior mean


def latent_pmrf(task: Task, image: Wire, **course: Wire) -> tuple[Nodes, Nodes, Nodes]:
    """Faithful, into latents, lifelike."""
    return (
        {"load mean": load_mean(task.mean), "mean": mean(image)},
        {"load vae": load_vae(task.vae), "encode": encode(MEAN)},
        task.lifelike(Wire("encode", "latent"), **course),
    )


def latent_pmrf_template(task: Task, *notes: Note) -> Template:
    prepare, image = task.prepared(PHOTO)
    faithful, latents, lifelike = latent_pmrf(task, image)
    columns = (
        Column({"photo": photo(), **prepare}, "1. Your photo", BLUE),
        Column({**faithful, "preview": preview(MEAN)}, "2. Faithful", VIOLET),
        Column(latents, "3. Into latents", TEAL),
        Column(lifelike, "4. Lifelike", GREEN),
        choice(f"5. {CHOICE}", trade_off(task.realism, MEAN, DECODED), task.template),
    )
    return Template(task.template, columns, notes)


def latent_pmrf_blueprint(task: Task) -> Blueprint:
    prepare, image = task.prepared(GIVEN)
    stages = (prepare, *latent_pmrf(task, image, **COURSE))
    return blueprint(task, stages, MEAN)


# ELIR: the posterior mean of the latent


def elir(task: Task, image: Wire, **course: Wire) -> tuple[Nodes, Nodes, Nodes]:
    """Into latents, faithful, lifelike."""
    return (
        {"encode": encode(image), "load vae": load_vae(task.vae)},
        {
            "load mean": load_mean(task.mean),
            "mean": mean_latent(Wire("encode", "latent")),
            "decode mean": decode(MEAN, "Decode (faithful)"),
        },
        task.lifelike(MEAN, **course),
    )


def elir_template(task: Task, *notes: Note) -> Template:
    """The VAE's wires run in the open, between the nodes above and the pictures."""
    prepare, image = task.prepared(PHOTO)
    latents, faithful, lifelike = elir(task, image)
    columns = (
        Column(
            {"photo": photo(), **prepare, **latents},
            "1. Your photo, into latents",
            BLUE,
            ["load vae"],
        ),
        Column({**faithful, "preview": preview(DECODED_MEAN)}, "2. Faithful", VIOLET),
        Column(lifelike, "3. Lifelike", GREEN, ["decode"]),
        choice(f"4. {CHOICE}", trade_off(task.realism, DECODED_MEAN, DECODED), task.template),
    )
    return Template(task.template, columns, notes)


def elir_blueprint(task: Task) -> Blueprint:
    prepare, image = task.prepared(GIVEN)
    latents, *stages = elir(task, image, **COURSE)
    return blueprint(task, ({**prepare, **latents}, *stages), DECODED_MEAN)


def blueprint(task: Task, stages: Sequence[Nodes], faithful: Wire) -> Blueprint:
    """A column for every stage that has nodes, and one for the knob."""
    knob = {"trade-off": trade_off(KNOB, faithful, DECODED)}
    return Blueprint(
        task.blueprint,
        f"{task.description} Unpack it to see and change the parts.",
        ("restore photo", "latent pmrf", "elir"),
        [Column(stage) for stage in (*stages, knob) if stage],
        ("image", "realism", *COURSE),
        {"restored": Wire("trade-off", "image"), "posterior mean": faithful},
        {"realism": task.realism},
    )


# The demos

NOISE = "Gaussian noise of about 25/255"

LATENT_PMRF_DEMO = Task(
    "latent_pmrf_demo",
    "denoise_with_latent_pmrf",
    "Restores a noisy photo with Latent-PMRF: posterior mean, a flow on its latents and trade-off, "
    f"with the demo weights ({NOISE}).",
    *(0.5, LATENT_DEMO, DEMO, LATENT_DEMO),
)

ELIR_OF_DEMO = Task(
    "elir_demo",
    "denoise_with_elir",
    "Restores a noisy photo with ELIR: posterior mean and flow both on latents, and trade-off, "
    f"with the demo weights ({NOISE}).",
    *(0.5, ELIR_DEMO, ELIR_DEMO, ELIR_DEMO),
)

SLIDE = """Slide **realism** in **Trade-Off** and press **Run** again: no network runs a second
   time."""

DEMO_LIMITS = """
### Limits

The demo weights come with the pack. They remove one kind of noise: Gaussian noise of about 25/255,
as in a dim, grainy shot. They have learnt from drawn patterns, never from photos or faces. They do
not mend blur, scratches or strong JPEG blocks. A clean photo only gets smoother.

Every node explains itself: select it and press the **i** above it.
"""

DEMO_OF_LATENT_PMRF = Note(
    "How to use this workflow",
    f"""
# Restore a noisy photo with Latent-PMRF

1. Choose your photo in **Load Image**.
2. Press **Run**.
3. {SLIDE}

**Posterior Mean** gives the picture with the least error. It invents nothing, so fine texture
stays smooth.

**Encode** turns *that* picture into latents, a smaller description of it. **Flow Sampler
(Latent)** makes them lifelike, and **Decode** makes a picture of them again. Some grain and texture
come back, and some of it is a plausible guess.

**Trade-Off** mixes the two: 0 is faithful, 1 is lifelike.

### Why latents

PMRF's flow works on pixels, this one on latents, a sixteenth as many places. The way there and
back costs fine texture: bypass **Flow Sampler (Latent)** and set **realism** to 1 to see the
posterior mean encoded and decoded, and nothing else. With these small demo weights the loss is
about as large as what the flow brings back: `restore_noisy_photo` restores the same photos better.
This workflow shows the wiring; for measured figures see the README.

{DEMO_LIMITS}
""",
)

DEMO_OF_ELIR = Note(
    "How to use this workflow",
    f"""
# Restore a noisy photo with ELIR

1. Choose your photo in **Load Image**.
2. Press **Run**.
3. {SLIDE}

**Encode** turns the noisy photo into latents. All that follows works on these.

**Posterior Mean (Latent)** gives the latent with the least error. Decoded, it is the faithful
picture, smooth where detail is lost. Decoding is not linear, so this picture is near the least
error in pixels, not at it.

**Flow Sampler (Latent)** makes the latent lifelike. A little texture comes back: these small demo
weights show the wiring, and `restore_noisy_photo` restores the same photos better. For measured
figures see the README.

**Trade-Off** mixes the two pictures: 0 is faithful, 1 is lifelike.

### Three loaders, one file

ELIR's encoder was trained together with its posterior mean. Always choose the same file in all
three loaders: latents of another encoder are refused.

{DEMO_LIMITS}
""",
)

# Faces

ALIGNED = """a square crop of head and shoulders, aligned as in FFHQ, with the eyes level and a
little above the middle. Its middle is scaled to 512 x 512, the size that these weights know"""

SIM_VAE_FACE = Task(
    "latent_pmrf_simvae",
    "restore_face_with_latent_pmrf",
    "Latent-PMRF for faces with the authors' Sim-VAE. The flow's weights "
    f"({LATENT_FLOW}) are not public: its sampler is bypassed, and what comes out is the posterior "
    "mean, encoded and decoded.",
    *(1.0, SIM_VAE, FACE, LATENT_FLOW, to_512, False),
)

NOTE_ON_SIM_VAE = Note(
    "How to use this workflow",
    f"""
# Latent-PMRF with the authors' Sim-VAE

**The flow is missing.** The authors have published their autoencoder, but the weights of their flow
(`{LATENT_FLOW}`) are not public. So **Flow Sampler (Latent)** is bypassed here, and until they
are, the graph shows two things:

- **Posterior mean**: the faithful face. It invents nothing, so skin and hair stay smooth.
- **Restored**: the same face, encoded and decoded by Sim-VAE. This is how much the way through
  latents keeps; the flow would start from here. The authors measured 42.7 dB on faces.

1. Bring the weights: see below.
2. Choose a photo of one face in **Load Image**: {ALIGNED}.
3. Press **Run**.

### The weights

- `{SIM_VAE}`: Sim-VAE with 32 channels, by Latent-PMRF's authors, about 364 MB. Save
  `diffusion_pytorch_model.safetensors` of [their page]({SIM_VAE_CARD}) under this name in
  ComfyUI's `models/restoreflow`, and press **R**. Licence: see its model card.
- `{FACE}`: PMRF's published weights for faces, MIT licence. The first run fetches them from Hugging
  Face: 923 MB. They stand in for the authors' own posterior mean, which is not public either.

### Once the flow is public

1. Make the folder `latent-pmrf-c32` in `models/restoreflow`. Save both files of the authors' folder
   in it under their own names: `diffusion_pytorch_model.safetensors` and `config.json`. The second
   tells what the first cannot, such as which layers look through windows.
2. Press **R**; **Load Flow** names the file already.
3. Select **Flow Sampler (Latent)** and press Ctrl + B: it is no longer bypassed. Its **steps** of 0
   then mean 25, as in the authors' tests.
4. Set **mode** of **Encode** to `sample`, as the authors' pipeline does.

Then **realism** 0 is the faithful face and 1 the lifelike one, in which detail is invented.
""",
)

LICENCE_OF_ELIR = """by ELIR's authors. Their repository is under the Apache-2.0 licence; the
weights carry no licence text of their own"""

ELIR_OF_FACE = Task(
    "elir_face_512",
    "restore_face_with_elir",
    "Restores a face of 512 pixels with ELIR: posterior mean and flow on latents, and trade-off.",
    *(1.0, ELIR_FACE, ELIR_FACE, ELIR_FACE, to_512),
)

NOTE_ON_ELIR_FACE = Note(
    "How to use this workflow",
    f"""
# Restore a face with ELIR

1. Choose a photo of one face in **Load Image**: {ALIGNED}.
2. Press **Run**.
3. {SLIDE}

**Encode** turns the photo into latents; the encoder was trained for damaged faces.

**Posterior Mean (Latent)** gives the latent with the least error. Decoded, it is the faithful face:
little is invented, so skin and hair stay smooth.

**Flow Sampler (Latent)** makes it lifelike. Pores, lashes, hair and teeth come back, but they are
**invented**: plausible, and perhaps not this person's. Another **seed** invents others. 0 **steps**
are the weights' own number, 5.

**Trade-Off** mixes the two: 0 is the faithful face, 1 is ELIR as published.

### What to expect

The weights learnt to mend blur, low resolution, noise and JPEG damage, together and of unknown
strength, on aligned faces only. They are not for whole scenes: crop the face first.

ELIR is made to be small. In its paper, on CelebA-Test, it has 37 million weights to PMRF's 176
million. Its faces are a little less faithful (PSNR 25.55 against 26.25 dB) and about as lifelike
(FID 39.75 against 38.52).

### The weights

`{ELIR_FACE}`, {LICENCE_OF_ELIR}. The first run fetches the file from GitHub: about 150 MB. All
three loaders use it, and it is kept for later runs. It is a pickle, which could hold code; here it
is read as numbers only.

### What it costs

500 billion operations for a face, more than half of them to encode and decode. A further step adds
8 percent.
""",
)

# Any photo

ELIR_ENLARGED = Task(
    "elir_blind_4x",
    "enlarge_with_elir",
    "Enlarges any photo 4 times and mends it with ELIR: posterior mean and flow on latents, and "
    "trade-off.",
    *(1.0, ELIR_BLIND, ELIR_BLIND, ELIR_BLIND, enlarged),
)

NOTE_ON_ELIR_ENLARGED = Note(
    "How to use this workflow",
    f"""
# Enlarge any photo 4 times with ELIR

1. Choose a small photo in **Load Image**, of anything.
2. Press **Run**. The photo is enlarged 4 times by bicubic interpolation first; the networks then
   mend it and never change its size.
3. {SLIDE}

**Posterior Mean (Latent)**, decoded, is the faithful picture: little is invented, so fine texture
stays smooth.

**Flow Sampler (Latent)** makes it lifelike. Texture comes back, but it is **invented**: plausible,
and perhaps not what was there. Another **seed** invents another. 0 **steps** are the weights' own
number, 3.

**Trade-Off** mixes the two: 0 is the faithful picture, 1 is ELIR as published.

### What to expect

The weights learnt on ImageNet to mend blur, noise and JPEG damage of unknown strength in pictures
enlarged 4 times, 256 pixels at a time. A photo that is large already only costs time: shrink it
before, or bypass **Enlarge 4 times**.

### What it costs

To encode and decode takes most of the memory, as the nodes reckon it: 1.3 GB for a result of
1024 x 1024, 5.4 GB for 2048 x 2048. Where memory is short, the nodes work in tiles. The flow's
group norms see the whole picture, and in a tile only the tile: so the result of tiles differs
slightly. **tile** of each node sets their size.

### The weights

`{ELIR_BLIND}`, {LICENCE_OF_ELIR}. The first run fetches the file from GitHub: about 76 MB. All
three loaders use it.
""",
)

TEMPLATES = (
    latent_pmrf_template(LATENT_PMRF_DEMO, DEMO_OF_LATENT_PMRF),
    latent_pmrf_template(SIM_VAE_FACE, NOTE_ON_SIM_VAE),
    elir_template(ELIR_OF_DEMO, DEMO_OF_ELIR),
    elir_template(ELIR_OF_FACE, NOTE_ON_ELIR_FACE),
    elir_template(ELIR_ENLARGED, NOTE_ON_ELIR_ENLARGED),
)
BLUEPRINTS = (
    *map(latent_pmrf_blueprint, (LATENT_PMRF_DEMO, SIM_VAE_FACE)),
    *map(elir_blueprint, (ELIR_OF_DEMO, ELIR_OF_FACE, ELIR_ENLARGED)),
)
