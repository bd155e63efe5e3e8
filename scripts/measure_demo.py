"""Measures the shipped demo weights on photographs, beside controls; a table, a JSON and sheets.

python scripts/measure_demo.py --out FOLDER. Needs scikit-image, scikit-learn and matplotlib (for
the photos they carry).
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import demo_photos
import numpy as np
import pack  # noqa: F401 - makes restoreflow importable
import torch
from demo_photos import Photo, to_pixels, to_tensor
from PIL import Image
from restoreflow.models import registry
from restoreflow.sampling import metrics, noise, restore
from restoreflow.sampling.trade_off import trade_off
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "models" / "embedded" / "demo-denoise-25.safetensors"
SETS = {"trial": demo_photos.TRIAL, "held-out": demo_photos.HELD_OUT}

NOISE_STD = demo_photos.NOISE_STD / 255
NLM_STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Candidates for the filter's h, in units of the noise; the best for a whole set is taken."""

FEW, MANY = 5, 25
REALISMS = (0.25, 0.5, 0.75)
FINE = 1 / 3
"""Cycles per pixel above which detail counts as fine."""

UNSHARP_RADIUS = 1.0
DETAIL_SIDE, DETAIL_ZOOM = 112, 2
COLUMNS = (
    "clean",
    "degraded",
    "non-local means",
    "posterior mean",
    "realism 0.5",
    "flow K25",
)

Results = dict[str, list[Tensor]]
"""Method -> one image [1, 3, H, W] in [0, 1] per photo."""

Scores = dict[str, dict[str, dict[str, float]]]
"""Method -> photo -> measure -> number."""


class Claim(NamedTuple):
    """What is said of the weights, the numbers it is about, and whether they bear it out."""

    what: str
    numbers: tuple[float, ...]
    holds: bool

    def __str__(self) -> str:
        signs = [" > " if a > b else " <= " for a, b in pairwise(self.numbers)]
        numbers = "".join(
            f"{x:.2f}{sign}" for x, sign in zip(self.numbers, [*signs, ""], strict=True)
        )
        return f"- {self.what}: {numbers} {'holds' if self.holds else 'FAILS'}"


def at_least(what: str, number: float, limit: float) -> Claim:
    return Claim(what, (float(number),), bool(number >= limit))


def at_most(what: str, number: float, limit: float) -> Claim:
    return Claim(what, (float(number),), bool(number <= limit))


def descending(what: str, *numbers: float) -> Claim:
    """That each number is smaller than the one before it."""
    return Claim(what, numbers, all(a > b for a, b in pairwise(numbers)))


# Restoring


def pairs(photos: Sequence[Photo]) -> list[tuple[Tensor, Tensor]]:
    """Each photo clean and degraded; a photo has the same noise in every measurement."""
    return [
        (to_tensor(photo.clean), to_tensor(demo_photos.add_noise(photo.clean, number)))
        for number, photo in enumerate(photos)
    ]


def mean_square(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().item()


def non_local_means(degraded: Tensor, strength: float) -> Tensor:
    pixels = degraded[0].permute(1, 2, 0).double().numpy()
    settings = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
    result = denoise_nl_means(pixels, h=strength * NOISE_STD, sigma=NOISE_STD, **settings)
    return to_tensor(result.clip(0, 1))


def tuned_non_local_means(clean: list[Tensor], degraded: list[Tensor]) -> list[Tensor]:
    """With the strength that gives these very photos the highest average PSNR."""

    def average(results: list[Tensor]) -> float:
        return sum(metrics.psnr(*pair).item() for pair in zip(results, clean, strict=True))

    return max(
        ([non_local_means(image, strength) for image in degraded] for strength in NLM_STRENGTHS),
        key=average,
    )


def spoiled_to(error: float, mean: Tensor, direction: Tensor, clean: Tensor) -> Tensor:
    """The mean plus as much of `direction` as brings its mean squared error up to `error`."""
    low, high = 0.0, 30.0
    for _ in range(30):
        amount = (low + high) / 2
        spoiled = (mean + amount * direction).clamp(0, 1)
        low, high = (amount, high) if mean_square(spoiled, clean) < error else (low, amount)
    return (mean + low * direction).clamp(0, 1)


def fine_detail_of(image: Tensor) -> Tensor:
    """What an unsharp mask adds."""
    blurred = gaussian_filter(image.numpy(), (0, 0, UNSHARP_RADIUS, UNSHARP_RADIUS))
    return image - torch.from_numpy(blurred)


def controls(
    number: int, clean: Tensor, start: Tensor, lifelike: Tensor, name: str = "mean"
) -> dict[str, Tensor]:
    """What brings detail without knowing any: the flow's start, called `name`, spoiled to its end's
    PSNR."""
    error = mean_square(lifelike, clean)
    white = noise.gaussian(start.shape[1:], 10_000 + number, [0])
    return {
        f"{name} + white noise": spoiled_to(error, start, white, clean),
        f"{name} + unsharp mask": spoiled_to(error, start, fine_detail_of(start), clean),
    }


def collected(each: Sequence[dict[str, Tensor]]) -> Results:
    """What was made of each photo, by method; rounded to 8 bit as a saved picture is."""
    return {name: [to_tensor(to_pixels(photo[name])) for photo in each] for name in each[0]}


def restore_photo(number: int, clean: Tensor, degraded: Tensor, mean_part, flow_part) -> dict:
    """Every method but non-local means on one photo."""
    mean = restore.posterior_mean(mean_part, degraded)
    draw = noise.gaussian(mean.shape[1:], number, [0])
    few, many = (restore.sample(flow_part, mean, draw, steps=steps) for steps in (FEW, MANY))
    blends = {f"realism {r}": trade_off(mean, many, r) for r in REALISMS}
    return {
        "clean": clean,
        "degraded": degraded,
        "posterior mean": mean,
        **blends,
        f"flow K{FEW}": few,
        f"flow K{MANY}": many,
        **controls(number, clean, mean, many),
    }


def restore_set(photos: Sequence[Photo], mean_part, flow_part) -> Results:
    """All methods on all photos."""
    given = pairs(photos)
    filtered = tuned_non_local_means(*map(list, zip(*given, strict=True)))
    each = []
    for number, (pair, image) in enumerate(zip(given, filtered, strict=True)):
        restored = restore_photo(number, *pair, mean_part, flow_part)
        first = {name: restored[name] for name in ("clean", "degraded")}
        each.append({**first, "non-local means": image, **restored})
    return collected(each)


# Measuring


def fine_power(image: Tensor) -> float:
    """Luma power above FINE, under a Hann window."""
    y = metrics.luma(image)[0, 0]
    window = torch.outer(*(torch.hann_window(side, False, dtype=y.dtype) for side in y.shape))
    power = torch.fft.fft2((y - y.mean()) * window).abs().square()
    rows, columns = (torch.fft.fftfreq(side, dtype=y.dtype) for side in y.shape)
    frequency = torch.hypot(rows[:, None], columns[None])
    return power[(frequency >= FINE) & (frequency < 0.5)].sum().item()


def tint(image: Tensor) -> float:
    """Mean distance of the channels from luma, in 1/255: 0 for a grey picture."""
    return 255 * (image - metrics.luma(image)).abs().mean().item()


def score(image: Tensor, clean: Tensor) -> dict[str, float]:
    return {
        "psnr": metrics.psnr(image, clean).item(),
        "ssim": metrics.ssim(image, clean).item(),
        "fine": fine_power(image) / fine_power(clean),
        "w2": metrics.patch_w2(image, clean).item(),
        "tint": tint(image),
    }


def score_set(results: Results, photos: Sequence[Photo]) -> Scores:
    """Of every method."""
    clean = results["clean"]
    return {
        method: {
            photo.name: score(*pair) for photo, *pair in zip(photos, images, clean, strict=True)
        }
        for method, images in results.items()
        if method != "clean"
    }


def average(scores: dict[str, dict[str, float]], measure: str) -> float:
    """Over the photos; of ratios the geometric mean."""
    values = [photo[measure] for photo in scores.values()]
    return float(np.exp(np.mean(np.log(values))) if measure == "fine" else np.mean(values))


def grey_ones(photos: Iterable[Photo]) -> list[str]:
    """The names of those without colour."""
    return [photo.name for photo in photos if demo_photos.is_grey(photo.clean)]


def table(scores: Scores, grey: Sequence[str]) -> str:
    """Averages of every method, in Markdown."""
    lines = ["| method | PSNR dB | SSIM | fine power | patch W2 | tint of grey photos |"]
    lines += ["| --- " * 6 + "|"]
    for method, photos in scores.items():
        psnr, ssim, fine, w2 = (average(photos, m) for m in ("psnr", "ssim", "fine", "w2"))
        cast = average({name: photos[name] for name in grey}, "tint") if grey else np.nan
        lines += [f"| {method} | {psnr:.2f} | {ssim:.3f} | {fine:.2f} | {w2:.2f} | {cast:.2f} |"]
    return "\n".join(lines)


def table_of_photos(scores: Scores) -> str:
    methods = ("degraded", "non-local means", "posterior mean", f"flow K{FEW}", f"flow K{MANY}")
    lines = ["| photo | " + " | ".join(f"{m} dB" for m in methods) + " | W2 mean | W2 flow K25 |"]
    lines += ["| --- " * 8 + "|"]
    for photo in scores["degraded"]:
        psnrs = " | ".join(f"{scores[method][photo]['psnr']:.2f}" for method in methods)
        w2 = [scores[method][photo]["w2"] for method in ("posterior mean", f"flow K{MANY}")]
        lines += [f"| {photo} | {psnrs} | {w2[0]:.2f} | {w2[1]:.2f} |"]
    return "\n".join(lines)


def demands(scores: Scores) -> list[Claim]:
    """What the weights must reach."""
    mean, many = scores["posterior mean"], scores[f"flow K{MANY}"]

    def psnr(method: str) -> np.ndarray:
        return np.array([photo["psnr"] for photo in scores[method].values()])

    gain = psnr("posterior mean") - psnr("degraded")
    over_nlm = (psnr("posterior mean") - psnr("non-local means")).mean()
    loss = (psnr("posterior mean") - psnr(f"flow K{MANY}")).mean()
    to_mean = average(many, "w2") / average(mean, "w2")
    to_noise = average(many, "w2") / average(scores["mean + white noise"], "w2")
    return [
        at_least("mean gains >= 8.5 dB on average", gain.mean(), 8.5),
        at_least("mean gains >= 5.5 dB on every photo", gain.min(), 5.5),
        at_least("mean >= 1.5 dB above non-local means", over_nlm, 1.5),
        at_most("flow K25 loses <= 1.9 dB on average", loss, 1.9),
        at_most("flow K25 W2 <= 0.82 x the mean's", to_mean, 0.82),
        at_most("flow K25 W2 <= 0.93 x that of mean + white noise", to_noise, 0.93),
    ]


def sheet(results: Results, photos: Sequence[Photo], columns: Sequence[str]) -> Image.Image:
    """A detail of each photo, one row a photo, one column a method."""
    rows = []
    for number, photo in enumerate(photos):
        left, top = photo.detail
        window = np.s_[top : top + DETAIL_SIDE, left : left + DETAIL_SIDE]
        details = [to_pixels(results[method][number])[window] for method in columns]
        rows.append(np.concatenate(details, 1))
    pixels = np.concatenate(rows).repeat(DETAIL_ZOOM, 0).repeat(DETAIL_ZOOM, 1)
    return Image.fromarray(pixels)


def measure(name: str, photos: Sequence[Photo], out: Path, mean_part, flow_part) -> dict[str, Any]:
    results = restore_set(photos, mean_part, flow_part)
    scores = score_set(results, photos)
    print(f"\n## {name}\n\n{table(scores, grey_ones(photos))}\n\n{table_of_photos(scores)}\n")
    reached = demands(scores)
    print(*reached, sep="\n")
    sheet(results, photos, COLUMNS).save(out / f"{name}.png")
    return {"scores": scores, "demands": [claim._asdict() for claim in reached]}


def load_part(weights: Path, role: str) -> Any:
    """In float32."""
    part = registry.load(weights, role)
    part.cast(torch.float32)
    return part


def command_line(description: str) -> argparse.ArgumentParser:
    """What every measurement on photographs asks."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--photos", type=int, help="only the first so many of each set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    return parser


@torch.inference_mode()
def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    parts = [load_part(choice.weights, r) for r in (registry.POSTERIOR_MEAN, registry.FLOW)]
    report = {
        name: measure(name, SETS[name][: choice.photos], choice.out, *parts) for name in choice.sets
    }
    (choice.out / "measured.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
