"""Renders the README's pictures and the demos' thumbnails with the real host and front end.

python scripts/render_pictures.py, with the environment's Python (`run.py` makes it). Writes
docs/canvas.png, docs/before_after.jpg and the thumbnails of the templates with demo weights.
"""

import io
import tempfile
from dataclasses import replace
from pathlib import Path

import comfyui
from canvas import Canvas, browser, canvas, template
from client import Client
from demo_photos import TRIAL, add_noise
from PIL import Image, ImageDraw, ImageFont
from render_thumbnails import caption, split
from restoreflow.jobs.workflow import to_prompt
from workflows_known import DEBLUR, SCRATCHES, SWEEP, UPSCALE
from workflows_latent import ELIR_OF_DEMO, LATENT_PMRF_DEMO

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TEMPLATE = "restore_noisy_photo"
WORKFLOWS = ROOT / "workflows"
LATENT_DEMOS = {LATENT_PMRF_DEMO.template: "Latent-PMRF", ELIR_OF_DEMO.template: "ELIR"}
"""The templates that restore the same photo by way of latents, and what their pictures say."""

KNOWN = {
    DEBLUR.name: ("A known blur, undone", ("blurred", "restored")),
    UPSCALE.name: ("Enlarged 4 times", ("small", "restored")),
    SCRATCHES.name: ("Scratches, filled", ("scratched", "filled")),
    SWEEP.name: ("One knob for noise", ("noisy", "lookahead 1")),
}
"""The templates of flow maps, and what their pictures say."""
SCRATCHES_AT = (((0.1, 0.2), (0.9, 0.35)), ((0.25, 0.9), (0.6, 0.1)), ((0.55, 0.6), (0.95, 0.95)))
SCRATCH = 5
"""Width in pixels."""

CAT = next(photo for photo in TRIAL if photo.name == "cat")
PHOTO = replace(CAT, side=CAT.box[2] - CAT.box[0])  # at the file's own resolution
DETAIL = (70, 66, 190, 166)
"""Left, top, right, bottom: an eye and the fur around it."""

ZOOM = 4
MARGIN, STRIP = 12, 44
INK, PAPER = (232, 232, 232), (24, 24, 26)


def restore(page: Canvas, client: Client, photo: Path) -> tuple[Image.Image, Image.Image]:
    """The posterior mean and the restored picture, from a run on the canvas."""
    page.open(TEMPLATE)
    page.set("LoadImage", "image", client.upload(photo))
    page.run(seconds=600)
    page.wait_for_pictures()
    found = [page.results(title)[0] for title in ("Posterior mean (faithful)", "Restored")]
    mean, result = (Image.open(io.BytesIO(client.get("/view", **place))) for place in found)
    return mean.convert("RGB"), result.convert("RGB")


def restored(client: Client, name: str, photo: Path, what: str = "SaveImage") -> Image.Image:
    """What a template makes of a photo, without a canvas: the first `what` shows it."""
    prompt = to_prompt(template(name), client.json("/object_info"))
    kinds = {node["class_type"]: key for key, node in reversed(prompt.items())}
    prompt[kinds["LoadImage"]]["inputs"]["image"] = client.upload(photo)
    entry = client.run(prompt, seconds=600)
    (picture,) = client.pictures(entry, kinds[what])
    return Image.open(io.BytesIO(picture)).convert("RGB")


def latent_thumbnails(client: Client, photo: Path) -> None:
    """Of the latent demos: their photo, and what they make of it."""
    for name, title in LATENT_DEMOS.items():
        both = split(Image.open(photo), restored(client, name, photo))
        labels = {"l": "noisy", "r": "realism 0.5"}
        save(caption(both, title, "demo weights", labels), WORKFLOWS / f"{name}.jpg")


def known_thumbnails(client: Client, folder: Path) -> None:
    """Of the templates that undo what is known: before and after."""
    clean = Image.fromarray(PHOTO.clean)
    whole, scratched = folder / "cat.png", folder / "scratched_cat.png"
    clean.save(whole)
    paint = Image.new("L", clean.size, 255)
    width, height = clean.size
    draw = ImageDraw.Draw(paint)
    for ends in SCRATCHES_AT:
        draw.line([(width * x, height * y) for x, y in ends], 0, SCRATCH)
    Image.merge("RGBA", (*clean.split(), paint)).save(scratched)
    for name, (title, labels) in KNOWN.items():
        photo = scratched if name == SCRATCHES.name else whole
        after = restored(client, name, photo)
        if name == SCRATCHES.name:
            before = Image.composite(clean, Image.new("RGB", clean.size, "white"), paint)
        else:
            before = restored(client, name, photo, "PreviewImage")
        left, right = labels
        both = caption(split(before, after), title, "demo flow map", {"l": left, "r": right})
        save(both, WORKFLOWS / f"{name}.jpg")


def save(picture: Image.Image, path: Path, quality: int = 88) -> None:
    picture.save(path, quality=quality)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KB")


def picture_of_canvas(page: Canvas) -> None:
    """docs/canvas.png: the graph alone, without the front end's bars."""
    page.page.evaluate("() => app.canvas.deselectAll?.()")
    page.page.add_style_tag(content=".comfyui-body-top, .side-tool-bar-container { opacity: 0 }")
    page.fit()
    left, top, right, bottom = page.page.evaluate(
        """() => {
            const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas;
            const frame = canvas.getBoundingClientRect();
            const boxes = [...app.graph._nodes.map(n => [n.pos[0], n.pos[1] - 30, ...n.size]),
                           ...app.graph._groups.map(g => [...g.pos, ...g.size])];
            const x = v => frame.x + (v + offset[0]) * scale;
            const y = v => frame.y + (v + offset[1]) * scale;
            return [x(Math.min(...boxes.map(b => b[0]))), y(Math.min(...boxes.map(b => b[1]))),
                    x(Math.max(...boxes.map(b => b[0] + b[2]))),
                    y(Math.max(...boxes.map(b => b[1] + b[3])))];
        }"""
    )
    clip = {
        "x": left - MARGIN,
        "y": top - MARGIN,
        "width": right - left + 2 * MARGIN,
        "height": bottom - top + 2 * MARGIN,
    }
    DOCS.mkdir(exist_ok=True)
    page.page.screenshot(path=DOCS / "canvas.png", clip=clip)


def before_after(pictures: dict[str, Image.Image]) -> Image.Image:
    """The same enlarged detail of each picture, side by side, with captions."""
    details = [picture.crop(DETAIL) for picture in pictures.values()]
    width, height = (ZOOM * side for side in details[0].size)
    size = (len(details) * (width + MARGIN) + MARGIN, height + MARGIN + STRIP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (words, detail) in enumerate(zip(pictures, details, strict=True)):
        x = MARGIN + number * (width + MARGIN)
        sheet.paste(detail.resize((width, height), Image.Resampling.BICUBIC), (x, MARGIN))
        place = (x + width // 2, height + MARGIN + STRIP // 2)
        draw.text(place, words, INK, ImageFont.load_default(22), anchor="mm")
    return sheet


def main() -> None:
    if browser() is None:
        raise SystemExit("no Chromium was found: install it, or set RESTOREFLOW_BROWSER")
    noisy = Image.fromarray(add_noise(PHOTO.clean, 0))
    with tempfile.TemporaryDirectory() as scratch:
        photo = Path(scratch) / "noisy_cat.png"
        noisy.save(photo)
        with comfyui.Host(comfyui.find(), Path(scratch) / "host") as host:
            client = Client(host.url)
            with canvas(client, width=1800, height=1100, scale=1.5) as page:
                mean, result = restore(page, client, photo)
                picture_of_canvas(page)
            latent_thumbnails(client, photo)
            known_thumbnails(client, Path(scratch))
    captions = ("noisy photo", "posterior mean: faithful", "restored: realism 0.5")
    sheet = before_after(dict(zip(captions, (noisy, mean, result), strict=True)))
    save(sheet, DOCS / "before_after.jpg", quality=92)
    save(split(noisy, result), WORKFLOWS / f"{TEMPLATE}.jpg")


if __name__ == "__main__":
    main()
