"""Renders the thumbnails of the templates whose weights are not in this repository.

python scripts/render_thumbnails.py, with the environment's Python (`run.py` makes it). They show
what goes in, never a result: a photo, and what the template's own preset makes of it.
"""

from dataclasses import replace

import comfyui
import numpy as np
import pack  # noqa: F401 - makes restoreflow importable
import workflows_faces
from demo_photos import HELD_OUT, TRIAL, to_pixels, to_tensor
from PIL import Image, ImageDraw, ImageFont, ImageOps
from restoreflow.sampling.presets import preset
from workflows_elir_trials import SIDE as SIDE_OF_ELIR
from workflows_elir_trials import TRIALS
from workflows_judging import MEASURED, TRANSPORT
from workflows_latent import ELIR_ENLARGED, ELIR_OF_FACE, SIM_VAE_FACE
from workflows_photos import FOLDER_OF_PHOTOS
from workflows_pixel import BLIND_FACE, EXPERIMENTS, PMRF_FACE

WORKFLOWS = comfyui.ROOT / "workflows"

ASTRONAUT = next(photo for photo in TRIAL if photo.name == "astronaut")
FACE = replace(ASTRONAUT, box=(136, 18, 314, 196))
"""Aligned as in FFHQ."""
COFFEE = next(photo for photo in TRIAL if photo.name == "coffee")
PEOPLE = (
    replace(ASTRONAUT, box=(48, 0, 398, 350)),
    replace(next(photo for photo in HELD_OUT if photo.name == "hopper"), box=(0, 0, 512, 512)),
)
FOUND = ((50, 62, 150, 202), (245, 100, 366, 270))
"""Boxes of their faces in the thumbnail."""
SEPIA = ("#1c120a", "#f3e4c8")
GROUP = ("Enlarged, with faces", "2x, PMRF")
EYES = ((0.38, 0.475), (0.62, 0.475))
"""Where FFHQ has them, as shares of the side."""

SIDE, STRIP, MARGIN = 400, 54, 12
LABEL, TITLE, SUBTITLE = 19, 23, 17
"""Sizes of letters."""
GREEN = (64, 224, 128)
INK, QUIET, SHADE = "white", (196, 200, 206), (14, 15, 18, 190)


def split(before: Image.Image, after: Image.Image) -> Image.Image:
    """Left of a slanted line before, right of it after."""
    before, after = map(fit, (before, after))
    top, bottom = 0.56 * SIDE, 0.44 * SIDE
    left = Image.new("L", before.size)
    ImageDraw.Draw(left).polygon([(0, 0), (top, 0), (bottom, SIDE), (0, SIDE)], 255)
    both = Image.composite(before, after, left)
    ImageDraw.Draw(both).line([(top, 0), (bottom, SIDE)], INK, 4)
    return both


def fit(picture: Image.Image) -> Image.Image:
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def caption(picture: Image.Image, title: str, subtitle: str, labels: dict[str, str]) -> Image.Image:
    """The picture with a strip at its foot, and labels in its upper corners (`l` and `r`)."""
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.rectangle((0, SIDE - STRIP, SIDE, SIDE), SHADE)
    middle = SIDE - STRIP // 2
    draw.text((MARGIN, middle), title, INK, ImageFont.load_default(TITLE), anchor="lm")
    draw.text(
        (SIDE - MARGIN, middle), subtitle, QUIET, ImageFont.load_default(SUBTITLE), anchor="rm"
    )
    for side, label in labels.items():
        place = (MARGIN if side == "l" else SIDE - MARGIN, MARGIN + 2)
        font = ImageFont.load_default(LABEL)
        left, top, right, bottom = draw.textbbox(place, label, font, anchor=f"{side}t")
        draw.rounded_rectangle((left - 7, top - 6, right + 7, bottom + 6), 6, SHADE)
        draw.text(place, label, INK, font, anchor=f"{side}t")
    return picture


def mark_eyes(picture: Image.Image) -> Image.Image:
    """The line on which an aligned face has its eyes, with a ring for each."""
    draw = ImageDraw.Draw(picture)
    level, radius = EYES[0][1] * SIDE, 0.07 * SIDE
    ends = [0, *(x * SIDE + sign * radius for x, _ in EYES for sign in (-1, 1)), SIDE]
    for start, end in zip(ends[::2], ends[1::2], strict=True):
        draw.line([(start, level), (end, level)], INK, 2)
    for x, y in EYES:
        draw.circle((x * SIDE, y * SIDE), radius, outline=INK, width=2)
    return picture


def degrade(name: str, side: int, seed: int) -> tuple[Image.Image, Image.Image]:
    """The clean face of that side, and as the preset leaves it."""
    clean = replace(FACE, side=side).clean
    spoiled = to_pixels(preset(name).simulate(to_tensor(clean), seed))
    return Image.fromarray(clean), Image.fromarray(spoiled)


def face(title: str, subtitle: str, seed: int) -> Image.Image:
    """What a template for faces wants; another seed gives other damage."""
    _, spoiled = degrade(BLIND_FACE.preset, BLIND_FACE.size, seed)
    return caption(mark_eyes(fit(spoiled)), title, subtitle, {"l": "your photo, aligned"})


def people(title: str, system: str) -> Image.Image:
    """An old photo with its faces numbered, as Select Faces shows them."""
    both = Image.new("RGB", (SIDE, SIDE))
    for number, portrait in enumerate(PEOPLE):
        grey = Image.fromarray(replace(portrait, side=SIDE).clean).convert("L").convert("RGB")
        spoiled = preset("Noise 25/255 (demo)").simulate(to_tensor(np.asarray(grey)), number)
        old = ImageOps.colorize(Image.fromarray(to_pixels(spoiled)).convert("L"), *SEPIA)
        both.paste(old.crop((SIDE // 4, 0, 3 * SIDE // 4, SIDE)), (number * SIDE // 2, 0))
    draw = ImageDraw.Draw(both)
    for number, box in enumerate(FOUND, 1):
        draw.rectangle(box, outline=GREEN, width=3)
        draw.rectangle((box[0], box[1] - 28, box[0] + 24, box[1]), GREEN)
        place = (box[0] + 12, box[1] - 14)
        draw.text(place, str(number), "black", ImageFont.load_default(TITLE), anchor="mm")
    return caption(both, title, system, {})


def enlarged(factor: int) -> Image.Image:
    """A small photo, and what is made of it before any network sees it."""
    side = SIDE // factor
    small = Image.fromarray(replace(COFFEE, side=side).clean)
    before, after = (
        small.resize((SIDE, SIDE), method)
        for method in (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)
    )
    return split(before, after)


def cat_and_coffee() -> tuple[Image.Image, Image.Image, Image.Image]:
    """A clean photo, the same with the demo's noise, and another one."""
    cat = next(photo for photo in TRIAL if photo.name == "cat")
    clean = replace(cat, side=SIDE).clean
    noisy = preset("Noise 25/255 (demo)").simulate(to_tensor(clean), 0)
    arrays = (clean, to_pixels(noisy), replace(COFFEE, side=SIDE).clean)
    return tuple(map(Image.fromarray, arrays))


def sheet(count: int = 3) -> Image.Image:
    """A folder's photos as they come, side by side."""
    side, both = SIDE // count, Image.new("RGB", (SIDE, SIDE))
    noise = preset("Noise 25/255 (demo)")
    photos = (TRIAL * count)[: count * count]
    for number, photo in enumerate(photos):
        clean = replace(photo, side=side).clean
        noisy = to_pixels(noise.simulate(to_tensor(clean), number))
        both.paste(Image.fromarray(noisy), (number % count * side, number // count * side))
    return both


def main() -> None:
    pictures = {
        FOLDER_OF_PHOTOS.name: caption(sheet(), "A folder of photos", "photo job", {}),
        PMRF_FACE.name: face("PMRF faces", "512 px", seed=2),
        SIM_VAE_FACE.template: face("Latent-PMRF faces", "Sim-VAE, 512 px", seed=4),
        ELIR_OF_FACE.template: face("ELIR faces", "512 px", seed=9),
        ELIR_ENLARGED.template: caption(
            enlarged(4), "Any photo, 4x", "ELIR", {"l": "your photo", "r": "bicubic, to mend"}
        ),
    }
    texts = (("Faces in old photos", "PMRF"), ("Faces in old photos", "ELIR"), GROUP)
    for template, words in zip(workflows_faces.TEMPLATES, texts, strict=True):
        pictures[template.name] = people(*words)
    trials = [(trial, "PMRF", trial.size) for trial in (BLIND_FACE, *EXPERIMENTS.values())]
    for trial, system, side in (*trials, *((trial, "ELIR", SIDE_OF_ELIR) for trial in TRIALS)):
        both = split(*degrade(trial.preset, side, seed=3))
        labels = {"l": "clean", "r": "degraded"}
        pictures[trial.name] = caption(both, trial.title, f"{system}, {side} px", labels)
    clean, noisy, other = cat_and_coffee()
    labels = {"l": "your photo", "r": "a natural one"}
    words = ("A natural look, untrained", "transport")
    pictures[TRANSPORT.name] = caption(split(noisy, other), *words, labels)
    labels = {"l": "clean", "r": "degraded"}
    pictures[MEASURED.name] = caption(split(clean, noisy), "Measure", "PSNR, SSIM, maps", labels)
    for name, picture in pictures.items():
        path = WORKFLOWS / f"{name}.jpg"
        picture.save(path, quality=88)
        print(f"{path.relative_to(comfyui.ROOT)}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
