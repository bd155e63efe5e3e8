"""Restore real photos with the shipped workflows on a real ComfyUI. Run by `run.py demo`.

Prints how close each picture comes to the clean photo and writes a before/after sheet. `--all`
takes the latent workflows, too, and puts their papers' claims to the test (`measure_latents`).
"""

import argparse
import copy
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import comfyui
import environment
import numpy as np
import pack  # noqa: F401 - makes restoreflow importable
from client import Client, PromptError
from demo_photos import TRIAL, Photo, to_pixels, to_tensor
from PIL import Image, ImageDraw, ImageFont
from restoreflow.jobs.workflow import Prompt, WorkflowError, to_prompt
from restoreflow.sampling import metrics
from restoreflow.sampling.presets import preset
from setup_step import SetupError

SAMPLERS = ("RestoreFlowSampleImage", "RestoreFlowSampleLatent")
DEGRADATION = preset("Noise 25/255 (demo)")
NAMES = ("astronaut", "cat", "coffee", "camera")
FLOW_SEED = 0
SECONDS = 900
"""The longest that one photo may take."""

STAGES = ("degraded", "posterior mean", "restored")
LIMITS = (
    "Limits: the demo weights remove Gaussian noise of about 25/255 only.",
    "They have learnt from drawn patterns, never from photos, and are not a face model.",
)

SIDE = 288
"""Of every photo and of every enlarged detail, in pixels."""

DETAIL = 96
DETAIL_OF_PHOTO = 112
"""Of the detail that a Photo points to."""

MARGIN, GAP, SEAM = 48, 28, 4
TITLE, CAPTION = 158, 66
PAPER, INK, QUIET = (22, 23, 26), (236, 236, 234), (150, 152, 158)


class Workflow(NamedTuple):
    """A template that ships, and what it is called here."""

    title: str
    name: str


IN_PIXELS = Workflow("PMRF, in pixels", "restore_noisy_photo")
IN_LATENTS = (
    Workflow("Latent-PMRF, from the latent of the posterior mean", "latent_pmrf_demo"),
    Workflow("ELIR, from the posterior mean of the latent", "elir_demo"),
)


class Score(NamedTuple):
    """How close a picture is to the clean one: PSNR in dB over all channels, SSIM of luma."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Restoration:
    """A photo on its way through the workflow; every picture is uint8 [side, side, 3]."""

    photo: Photo
    clean: np.ndarray
    degraded: np.ndarray
    mean: np.ndarray
    restored: np.ndarray
    seconds: float

    @property
    def stages(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """In the order of STAGES."""
        return self.degraded, self.mean, self.restored

    @property
    def scores(self) -> list[Score]:
        """Of each stage, in the order of STAGES."""
        return [score(picture, self.clean) for picture in self.stages]


@dataclass(frozen=True)
class Run:
    """All photos on their way through one workflow."""

    workflow: Workflow
    restorations: list[Restoration]
    realism: float


# Numbers


def score(picture: np.ndarray, clean: np.ndarray) -> Score:
    """Of two uint8 pictures [H, W, 3]."""
    pair = to_tensor(picture), to_tensor(clean)
    return Score(metrics.psnr(*pair).item(), metrics.ssim(*pair).item())


def table(restorations: Sequence[Restoration]) -> str:
    """A line per photo and one of averages."""
    scores = np.array([restoration.scores for restoration in restorations])
    seconds = [restoration.seconds for restoration in restorations]
    rows = [(r.photo.name, s, r.seconds) for r, s in zip(restorations, scores, strict=True)]
    rows.append(("average", scores.mean(0), float(np.mean(seconds))))
    heads = "".join(f" | {stage:^14}" for stage in STAGES)
    lines = [f"{'photo':<10}{heads} | seconds", f"{'':<10}{' | PSNR dB   SSIM' * 3} |"]
    lines.append("-" * len(lines[0]))
    for name, stages, took in rows:
        cells = "".join(f" | {psnr:7.2f}  {ssim:5.3f}" for psnr, ssim in stages)
        lines.append(f"{name:<10}{cells} | {took:7.1f}")
    return "\n".join(lines)


# Restoring


def at_sheet_size(photo: Photo) -> Photo:
    """The photo at SIDE pixels, with the corner of a detail of DETAIL pixels in it."""
    centre = [(corner + DETAIL_OF_PHOTO / 2) * SIDE / photo.side for corner in photo.detail]
    left, top = (min(max(round(x - DETAIL / 2), 0), SIDE - DETAIL) for x in centre)
    return replace(photo, side=SIDE, detail=(left, top))


def degrade(clean: np.ndarray, seed: int) -> np.ndarray:
    """The clean photo with the demo's noise, as a file would hold it."""
    return to_pixels(DEGRADATION.simulate(to_tensor(clean), seed))


def template(client: Client, workflow: Workflow) -> Prompt:
    """The shipped workflow as a prompt."""
    path = comfyui.ROOT / "workflows" / f"{workflow.name}.json"
    return to_prompt(json.loads(path.read_text(encoding="utf-8")), client.json("/object_info"))


def node_of(prompt: Prompt, *kinds: str) -> str:
    """The id of the template's node of that type, or of one of those types."""
    found = [number for number, node in prompt.items() if node["class_type"] in kinds]
    if len(found) != 1:
        raise WorkflowError(
            f"a workflow must hold one {' or '.join(kinds)}, not {len(found)}: "
            "restore the files in workflows/"
        )
    return found[0]


def restore(client: Client, prompt: Prompt, photo: Photo, seed: int, label: str) -> Restoration:
    """Degrade a photo and run the workflow on it, showing `label` and the time meanwhile."""
    clean = photo.clean
    degraded = degrade(clean, seed)
    prompt = copy.deepcopy(prompt)
    prompt[node_of(prompt, *SAMPLERS)]["inputs"]["seed"] = FLOW_SEED
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"noisy_{photo.name}.png"
        Image.fromarray(degraded).save(file)
        prompt[node_of(prompt, "LoadImage")]["inputs"]["image"] = client.upload(file)
    start = time.monotonic()
    entry = wait(client, client.submit(prompt), label)
    seconds = time.monotonic() - start
    mean, restored = (
        picture_of(client, entry, node_of(prompt, kind)) for kind in ("PreviewImage", "SaveImage")
    )
    return Restoration(photo, clean, degraded, mean, restored, seconds)


def wait(client: Client, prompt_id: str, label: str) -> dict[str, Any]:
    """A prompt's history once it has ended well, with a line that shows how long it has taken."""
    start, terminal = time.monotonic(), sys.stdout.isatty()
    again = f"\r{label}" if terminal else ""
    print(label, end="", flush=True)
    try:
        while client.history(prompt_id) is None:
            elapsed = time.monotonic() - start
            if elapsed > SECONDS:
                raise PromptError(f"the photo was not restored within {SECONDS} s")
            if terminal:
                print(f"{again} {elapsed:6.1f} s", end="", flush=True)
            time.sleep(0.05)
        entry = client.wait(prompt_id, 1)
        print(f"{again} {time.monotonic() - start:6.1f} s", end="")
        return entry
    finally:
        print(flush=True)


def picture_of(client: Client, entry: dict[str, Any], node: str) -> np.ndarray:
    """What a node of an ended prompt saved or previewed, as uint8 [H, W, 3]."""
    (data,) = client.pictures(entry, node)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# The sheet


def place(row: int, column: int) -> tuple[int, int]:
    """Left and top of a photo on the sheet; its enlarged detail lies right of it."""
    return MARGIN + column * (2 * SIDE + SEAM + GAP), TITLE + row * (SIDE + CAPTION)


def sheet(restorations: Sequence[Restoration], realism: float) -> Image.Image:
    """A row per photo: clean, degraded, posterior mean, restored; each with a detail enlarged."""
    width, height = place(len(restorations), 4)
    paper = Image.new("RGB", (width - GAP + MARGIN, height + 2 * MARGIN - 16), PAPER)
    draw = ImageDraw.Draw(paper)

    def write(x: int, y: int, text: str, size: int, ink: tuple = INK, anchor: str = "ls") -> None:
        draw.text((x, y), text, ink, ImageFont.load_default(size), anchor=anchor)

    write(MARGIN, 72, "RestoreFlow: noisy photos, restored by the shipped workflow", 42)
    heads = ("clean", "degraded: noise 25/255", "posterior mean: faithful")
    for column, head in enumerate((*heads, f"restored: realism {realism:g}")):
        write(place(0, column)[0], TITLE - 18, head, 27)
    for row, restoration in enumerate(restorations):
        captions = [f"PSNR {s.psnr:.1f} dB    SSIM {s.ssim:.2f}" for s in restoration.scores]
        pictures = (restoration.clean, *restoration.stages)
        for column, caption in enumerate((restoration.photo.name, *captions)):
            x, y = place(row, column)
            corner = restoration.photo.detail
            paste(paper, Image.fromarray(pictures[column]), corner, (x, y))
            write(x, y + SIDE + 33, caption, 25, QUIET if column else INK)
        x, y = (a + b for a, b in zip(place(row, 0), restoration.photo.detail, strict=True))
        draw.rectangle((x, y, x + DETAIL - 1, y + DETAIL - 1), outline="white", width=2)
    write(MARGIN, height + 32, " ".join(LIMITS), 25, QUIET)
    return paper


def paste(
    paper: Image.Image, picture: Image.Image, corner: tuple[int, int], where: tuple[int, int]
) -> None:
    """Put a picture and, right of it, its detail enlarged onto the sheet."""
    left, top = corner
    detail = picture.crop((left, top, left + DETAIL, top + DETAIL))
    paper.paste(picture, where)
    enlarged = detail.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    paper.paste(enlarged, (where[0] + SIDE + SEAM, where[1]))


# The whole


def restore_photos(client: Client, workflow: Workflow) -> Run:
    """Every photo through one workflow."""
    print(f"\n{workflow.title} ({workflow.name}.json)")
    prompt = template(client, workflow)
    photos = [at_sheet_size(photo) for photo in TRIAL if photo.name in NAMES]
    restorations = [
        restore(client, prompt, photo, i, f"  {i + 1}/{len(photos)} {photo.name:<10}")
        for i, photo in enumerate(photos)
    ]
    realism = prompt[node_of(prompt, "RestoreFlowTradeOff")]["inputs"]["realism"]
    return Run(workflow, restorations, realism)


def restore_all(folder: Path, workflows: Sequence[Workflow]) -> list[Run]:
    """Every photo through every workflow, on a ComfyUI of our own."""
    start = time.monotonic()
    installation = comfyui.find()
    print("Starting ComfyUI ...", flush=True)
    shutil.rmtree(folder / "output", ignore_errors=True)  # of an earlier demo
    with comfyui.Host(installation, folder) as host:
        print(f"Ready after {time.monotonic() - start:.0f} s; restoring {len(NAMES)} photos")
        client = Client(host.url)
        try:
            return [restore_photos(client, workflow) for workflow in workflows]
        except (URLError, ConnectionError, TimeoutError) as error:
            raise PromptError(f"ComfyUI stopped answering: its log {host.log} says why") from error


def tell(runs: Sequence[Run]) -> None:
    """The table of each workflow, and how to read it."""
    for run in runs:
        print(f"\n{run.workflow.title}; realism {run.realism:g}\n\n{table(run.restorations)}")
    print(
        "\nRealism 0 is the posterior mean, 1 the flow. The posterior mean is made for the highest"
        " PSNR;\nthe flow trades a little of it for texture."
    )
    print("\n".join(LIMITS))


def measure(folder: Path) -> None:
    """The latent demos beside controls, and their papers' claims, on the photos of the trial."""
    import measure_latents  # brings what the plain demo would only wait for

    print("\nMeasuring the latent demos; texture is compared by patch W2 (lower is better) ...")
    measure_latents.measure("trial", TRIAL, folder, measure_latents.load_parts())
    print(f"\nDetails: {folder / 'latents-trial.png'}; steps: {folder / 'steps-trial.png'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Restore, print the tables and write the sheet; a failure is one sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    everything = parser.parse_args(arguments).all
    folder = environment.home() / "demo"
    try:
        runs = restore_all(folder, (IN_PIXELS, *(IN_LATENTS if everything else ())))
        tell(runs)
        path = folder / "before_after.png"
        sheet(runs[0].restorations, runs[0].realism).save(path)
        print(f"\nBefore and after: {path}")
        if everything:
            measure(folder)
    except (SetupError, PromptError, WorkflowError, OSError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
