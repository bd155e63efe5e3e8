"""Pastes sharp faces into a spoiled collage with the real host; prints what detail costs and gains.

python scripts/render_faces.py, with the environment's Python (`run.py` makes it). The restorer is
the clean collage itself, so that the picture, docs/faces.jpg, shows cutting out and pasting only.
"""

import io
import math
import tempfile
from pathlib import Path

import comfyui
import numpy as np
import pack  # noqa: F401 - makes restoreflow importable
import torch
import torch.nn.functional as F
from client import Client
from PIL import Image, ImageDraw, ImageFont
from restoreflow.faces import geometry
from restoreflow.faces.align import align
from restoreflow.faces.detections import Faces
from restoreflow.faces.masks import ellipse
from restoreflow.faces.paste import paste
from restoreflow.faces.warp import warp
from skimage.data import astronaut
from torch import Tensor

POINTS = torch.tensor(
    [[203.8, 101.0], [246.3, 103.5], [223.0, 125.8], [204.2, 140.5], [244.3, 140.8]]
).double()
"""Of the astronaut, marked by hand."""
FACE = 110
"""Height of her face in pixels."""
HEIGHTS = (110, 200, 330, 500, 700, 1000)
"""Of the faces by which the choices of `detail` are compared."""
HEIGHT, WIDTH = 1400, 1800
COLLAGE = (
    *((900, -12, 1290, 720), (500, 20, 420, 1010), (300, -20, 330, 330)),
    *((220, 8, 10, 660), (160, 0, 690, 150), (100, 15, 640, 470)),
)
"""Height of each face, its angle and its middle; one leaves the frame."""
NOISE = 8 / 255
STRIP, MARGIN = 40, 8
INK, PAPER = (232, 232, 232), (24, 24, 26)


def placed(face: float, degrees: float, x: float, y: float) -> Tensor:
    """[1, 2, 3]: from the astronaut's photo to the collage."""
    factor, angle = face / FACE, math.radians(degrees)
    c, s = factor * math.cos(angle), factor * math.sin(angle)
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    middle = torch.tensor([x, y]).double()
    return torch.cat([turn, (middle - turn @ POINTS.mean(0))[:, None]], dim=1)[None]


def collage() -> tuple[Tensor, Tensor]:
    """The clean picture [1, 3, H, W], and the points of its faces [N, 5, 2]."""
    photo = torch.from_numpy(astronaut() / 255).permute(2, 0, 1).float()
    rows, columns = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    picture, points = torch.full((3, HEIGHT, WIDTH), 0.5), []
    for face, degrees, x, y in COLLAGE:
        transform = placed(face, degrees, x, y)
        drawn = warp(photo, geometry.invert(transform)[0], (slice(0, HEIGHT), slice(0, WIDTH)))
        near = ((columns - x) ** 2 + (rows - y) ** 2).sqrt() < 1.1 * face
        picture = torch.where(near, drawn, picture)
        points.append(geometry.move(transform, POINTS)[0])
    return picture[None].clamp(0, 1), torch.stack(points)


def spoiled(clean: Tensor) -> Tensor:
    """Blurred by a third of its resolution, faded and with grain."""
    small = F.interpolate(clean, scale_factor=1 / 3, mode="bilinear", antialias=True)
    soft = F.interpolate(small, clean.shape[2:], mode="bicubic")
    grain = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (0.1 + 0.8 * soft + NOISE * grain).clamp(0, 1)


def pasted(client: Client, folder: Path, points: Tensor, **pictures: Tensor) -> Tensor:
    """The faces of `clean` in `old`, by the nodes of a real ComfyUI."""
    for name, picture in pictures.items():
        to_image(picture).save(folder / f"{name}.png")
    text = "\n".join(" ".join(f"{value:.2f}" for value in face.flatten()) for face in points)
    prompt = {
        "old": node("LoadImage", image=client.upload(folder / "old.png")),
        "clean": node("LoadImage", image=client.upload(folder / "clean.png")),
        "faces": node("RestoreFlowFacesFromPoints", image=["old", 0], points=text),
        "crops": node("RestoreFlowAlignFaces", image=["clean", 0], faces=["faces", 0], size=512),
        "paste": node(
            "RestoreFlowPasteFaces",
            **{"image": ["old", 0], "crops": ["crops", 0], "faces": ["faces", 0]},
            **{"shape": "ellipse", "match_colour": True, "detail": "take the crop's only"},
        ),
        "save": node("PreviewImage", images=["paste", 0]),
    }
    (picture,) = client.pictures(client.run(prompt, seconds=600), "save")
    return to_tensor(Image.open(io.BytesIO(picture)))


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def to_image(picture: Tensor) -> Image.Image:
    levels = (picture[0].clamp(0, 1) * 255).round().byte()
    return Image.fromarray(levels.movedim(0, -1).numpy())


def to_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture.convert("RGB")) / 255).permute(2, 0, 1)[None].float()


def compare(face: int) -> None:
    """How near a face comes to the truth where the photo's own detail stays, and where not."""
    side = int(1.7 * face)
    transform = placed(face, 0, side / 2, side / 2)
    photo = torch.from_numpy(astronaut() / 255).permute(2, 0, 1).float()
    area = (slice(0, side), slice(0, side))
    clean = warp(photo, geometry.invert(transform)[0], area)[None].clamp(0, 1)
    points = geometry.move(transform, POINTS)
    faces = Faces.from_points(points, torch.zeros(1, dtype=torch.long), side, side)
    pores = 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    grain = 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    detailed = clean + pores
    figures = []
    for photo, truth in ((clean + grain, clean), (detailed, detailed)):
        for kept in (True, False):
            crop = align(truth, faces)
            result, mask = paste(photo, crop, faces, ellipse(), keep_detail=kept)
            inside = mask[0] > 0.99
            error = (result - truth)[0, :, inside].square().mean()
            figures.append(-10 * math.log10(error + 1e-12))
    print(f"{face:5d} px  noisy: keep {figures[0]:.1f}, take {figures[1]:.1f} dB;"
          f"  clean: keep {min(figures[2], 99):.1f}, take {figures[3]:.1f} dB")  # fmt: skip


def sheet(pictures: dict[str, Tensor]) -> Image.Image:
    """Side by side, with captions."""
    images = {words: to_image(picture) for words, picture in pictures.items()}
    width, height = next(iter(images.values())).size
    size = (len(images) * (width + MARGIN) + MARGIN, height + MARGIN + STRIP)
    both = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(both)
    for number, (words, image) in enumerate(images.items()):
        left = MARGIN + number * (width + MARGIN)
        both.paste(image, (left, MARGIN))
        place = (left + width // 2, height + MARGIN + STRIP // 2)
        draw.text(place, words, INK, ImageFont.load_default(20), anchor="mm")
    return both


def halved(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, 2)


def main() -> None:
    torch.manual_seed(0)
    for face in HEIGHTS:
        compare(face)
    clean, points = collage()
    old = spoiled(clean)
    with (
        tempfile.TemporaryDirectory() as scratch,
        comfyui.Host(comfyui.find(), Path(scratch)) as host,
    ):
        client, folder = Client(host.url), Path(scratch)
        result = pasted(client, folder, points, old=old, clean=clean)
        grey = old.mean(1, keepdim=True).expand_as(old)
        of_grey = pasted(client, folder, points, old=grey, clean=clean)
    if not torch.equal(of_grey[:, 0], of_grey[:, 2]):
        raise SystemExit("a grey photo did not stay grey")
    pictures = {"a spoiled collage": halved(old), "sharp faces pasted": halved(result)}
    path = comfyui.ROOT / "docs" / "faces.jpg"
    sheet(pictures).save(path, quality=85)
    print(f"docs/faces.jpg: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
