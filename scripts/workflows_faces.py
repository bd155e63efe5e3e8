"""Templates for photos of people: faces found, restored and put back."""

from graphs import Column, Model, Node, Note, Template, Wire
from workflow_parts import (
    BLUE,
    FACE,
    GOLD,
    GREEN,
    MEAN,
    PHOTO,
    RED,
    TEAL,
    UPSCALER,
    UPSCALER_FROM,
    VIOLET,
    load_flow,
    load_mean,
    mean,
    photo,
    preview,
    sampler,
    save,
    trade_off,
)
from workflows_latent import (
    CHOICE,
    DECODED,
    DECODED_MEAN,
    ELIR_FACE,
    ELIR_OF_FACE,
    LICENCE_OF_ELIR,
    SLIDE,
    elir,
)

Nodes = dict[str, Node]

CHOSEN, CROPS = Wire("select", "faces"), Wire("align", "crops")
ONLY_THE_CROP = "take the crop's only"
"""In old photos what is finer than a crop is grain, and would stay on faces above 320 pixels."""
SMALLEST = 32
"""Pixels: in smaller faces even the detector errs by more than 4 percent of the height."""


def found() -> Column:
    """Which faces there are, which are chosen, and upright crops of them."""
    chosen = {"faces": Wire("detect", "faces"), "smallest": SMALLEST, "image": PHOTO}
    nodes = {
        "detect": Node("RestoreFlowDetectFaces", {"image": PHOTO}),
        "select": Node("RestoreFlowSelectFaces", chosen),
        "align": Node("RestoreFlowAlignFaces", {"image": PHOTO, "faces": CHOSEN}),
        "numbered": preview(Wire("select", "preview"), "Faces and their numbers"),
    }
    return Column(nodes, "2. Faces", TEAL)


def paste(crops: Wire, title: str, canvas: Wire = PHOTO) -> Node:
    wires = {"image": canvas, "crops": crops, "faces": CHOSEN}
    return Node("RestoreFlowPasteFaces", {**wires, "detail": ONLY_THE_CROP}, title)


def people(name: str, stages: tuple[Nodes, Nodes], means: Wire, knob: Node, note: Note) -> Template:
    """A photo whose faces go through two stages: faithful crops, then lifelike ones."""
    faithful, lifelike = stages
    columns = (
        Column({"photo": photo()}, "1. Your photo", BLUE),
        found(),
        Column(
            {
                **faithful,
                "paste mean": paste(means, "Paste Faces (faithful)"),
                "faithful": preview(Wire("paste mean", "image"), "Nothing invented"),
            },
            "3. Faithful",
            VIOLET,
        ),
        Column(lifelike, "4. Lifelike", GREEN),
        Column(
            {
                "trade-off": knob,
                "paste": paste(Wire("trade-off", "image"), "Paste Faces"),
                "save": save(Wire("paste", "image"), "faces"),
            },
            f"5. {CHOICE}",
            GOLD,
        ),
    )
    return Template(name, columns, (note,))


HOW = f"""
1. Choose your photo in **Load Image**: of any size, with one face or many.
2. Press **Run**. Below **Select Faces** you see which faces were found, with their numbers; the
   green ones are restored.
3. {SLIDE}

**Detect Faces** finds them, **Select Faces** says which count: so many of the largest, those of
some numbers, or those from a size on. Here that is {SMALLEST} pixels, so that a crowd in the
background stays as it is.

**Align Faces** cuts each out, upright, as the weights know faces. **Paste Faces** puts back what
was changed and nothing else: the rest of the photo keeps every pixel.
"""

KNOB = """
**Nothing invented** is the photo with the faithful faces only. **Restored** is your choice:
**Trade-Off** mixes the two, where 0 is the faithful face and 1 the lifelike one as published.
"""

HINTS = """
### If something is wrong

- A photo without a face passes through unchanged, and the nodes say so.
- A face is missed: lower **score** in **Detect Faces**, or put **Faces From Points** behind it and
  click the face on the photo.
- A patch is taken for a face: type the numbers of the others into **numbers**.
- A profile shows edges: choose another **shape** in **Paste Faces**.
- A large, sharp face has lost detail: set **detail** in **Paste Faces** to `keep the photo's own`.
- Only faces are restored. For the rest, wire an enlarged or restored version of the photo into
  **image** of **Paste Faces**: it may have any size.

### A folder of photos

Put **Job Photo** in the place of Load Image, and **Save Restored Photo** in the place of Save
Image; wire **photo** from the one to the other. Then open **Photo jobs** in the sidebar.

### The weights
"""

# No `models` of Detect Faces: both front ends offer only weights that a widget of the node names,
# and none that end in .onnx. The first run fetches them.
DETECTOR = """`face_detection_yunet_2023mar.onnx`, YuNet, MIT licence, 0.2 MB: from Hugging Face,
too"""

NOTE_ON_PMRF = Note(
    "How to use this workflow",
    f"""
# Restore the faces of an old photo with PMRF

{HOW}

**Posterior Mean** gives the face with the least error. It invents nothing, so skin and hair stay
smooth.

**Flow Sampler** makes it lifelike. Pores, lashes, hair and teeth come back, but they are
**invented**: plausible, and perhaps not this person's. Another **seed** invents others.

{KNOB}
{HINTS}
- `{FACE}`, by PMRF's authors, MIT licence. The first run fetches it from Hugging Face: 923 MB.
- {DETECTOR}.

All faces go through the networks as one batch. One takes about two minutes on two CPU cores,
reckoned from single steps with random weights of this size; a GPU is made for it.
""",
)

NOTE_ON_ELIR = Note(
    "How to use this workflow",
    f"""
# Restore the faces of an old photo with ELIR

{HOW}

**Posterior Mean (Latent)** gives the latent with the least error. Decoded, it is the faithful face:
little is invented, so skin and hair stay smooth.

**Flow Sampler (Latent)** makes it lifelike. Pores, lashes, hair and teeth come back, but they are
**invented**: plausible, and perhaps not this person's. Another **seed** invents others.

{KNOB}
{HINTS}
- `{ELIR_FACE}`, {LICENCE_OF_ELIR}. The first run fetches the file from GitHub: about 150 MB. All
  three loaders use it.
- {DETECTOR}.

All faces go through the networks as one batch. ELIR is made to be small: see `elir_face_512` for
what it costs, and how it compares with PMRF.
""",
)


NOTE_ON_GROUPS = Note(
    "How to use this workflow",
    f"""
# Enlarge a group photo and restore its faces

1. Choose your photo in **Load Image**: small, with people in it.
2. Press **Run**. The result is twice as large: the background by an upscale model, the faces by
   PMRF.
3. {SLIDE}

An upscaler knows no faces, and a face restorer knows nothing else: so each does what it can. Faces
are found and cut out of **your photo**, not of the enlarged one, and put onto the enlarged one:
**Paste Faces** takes it as its **image**, at whatever size.

**Nothing invented** is the cautious version: the photo enlarged plainly, with the faces of
**Posterior Mean**. What the upscale model adds to the background is invented, as is what **Flow
Sampler** adds to the faces: plausible, and perhaps not what was there.

### Other sizes

The upscale model makes the photo 4 times as large; **Upscale Image By** brings that to twice. For 4
times, set it to 1, and the one of **Nothing invented** to 4. Any upscale model and any other
restoration will do in the place of that column. A face larger than 512 pixels in the result is as
sharp as a crop of 512.

### If something is wrong

- Memory runs out: the photo is large already. Take `restore_faces_pmrf`.
- A face is missed: lower **score** in **Detect Faces**, or put **Faces From Points** behind it and
  click the face.
- The people in the background stay coarse: lower **smallest** in **Select Faces**.

### A folder of photos

Put **Job Photo** in the place of Load Image, and **Save Restored Photo** in the place of Save
Image; wire **photo** from the one to the other. Then open **Photo jobs** in the sidebar.

### The weights

- `{UPSCALER}`, Real-ESRGAN's authors, BSD-3-Clause, 67 MB: into `models/upscale_models`. ComfyUI
  offers to fetch it when this workflow is opened.
- `{FACE}`, by PMRF's authors, MIT licence. The first run fetches it from Hugging Face: 923 MB.
- {DETECTOR}.
""",
)

TWICE, PLAIN = Wire("twice", "IMAGE"), Wire("plain", "IMAGE")


def with_background() -> Template:
    """Faces restored, on a background that an upscale model enlarged."""
    upscaler = Model(UPSCALER, UPSCALER_FROM, "upscale_models")
    load = Node("UpscaleModelLoader", {"model_name": UPSCALER}, models=(upscaler,))
    wires = {"upscale_model": Wire("load upscaler", "UPSCALE_MODEL"), "image": PHOTO}
    upscaled = {"image": Wire("upscaled", "IMAGE"), "upscale_method": "area", "scale_by": 0.5}
    plain = {"image": PHOTO, "upscale_method": "lanczos", "scale_by": 2.0}
    columns = (
        Column({"photo": photo()}, "1. Your photo", BLUE),
        found(),
        Column(
            {
                "load upscaler": load,
                "upscaled": Node("ImageUpscaleWithModel", wires),
                "twice": Node("ImageScaleBy", upscaled),
                "background": preview(TWICE, "Background"),
            },
            "3. Background",
            RED,
        ),
        Column(
            {
                "load mean": load_mean(FACE),
                "mean": mean(CROPS),
                "plain": Node("ImageScaleBy", plain),
                "paste mean": paste(MEAN, "Paste Faces (faithful)", PLAIN),
                "faithful": preview(Wire("paste mean", "image"), "Nothing invented"),
            },
            "4. Faithful",
            VIOLET,
        ),
        Column({"load flow": load_flow(FACE), "sampler": sampler()}, "5. Lifelike", GREEN),
        Column(
            {
                "trade-off": trade_off(1.0),
                "paste": paste(Wire("trade-off", "image"), "Paste Faces", TWICE),
                "save": save(Wire("paste", "image"), "group"),
            },
            f"6. {CHOICE}",
            GOLD,
        ),
    )
    return Template("restore_group_photo", columns, (NOTE_ON_GROUPS,))


def pmrf() -> Template:
    stages = (
        {"load mean": load_mean(FACE), "mean": mean(CROPS)},
        {"load flow": load_flow(FACE), "sampler": sampler()},
    )
    return people("restore_faces_pmrf", stages, MEAN, trade_off(1.0), NOTE_ON_PMRF)


def with_elir() -> Template:
    latents, faithful, lifelike = elir(ELIR_OF_FACE, CROPS)
    stages = ({**latents, **faithful}, lifelike)
    knob = trade_off(1.0, DECODED_MEAN, DECODED)
    return people("restore_faces_elir", stages, DECODED_MEAN, knob, NOTE_ON_ELIR)


TEMPLATES = (pmrf(), with_elir(), with_background())
