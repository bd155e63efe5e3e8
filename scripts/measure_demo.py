"""Measures the shipped demo weights on photographs, beside controls; a table, a JSON and sheets.

python scripts/measure_demo.py --out FOLDER. Needs scikit-image, scikit-learn and matplotlib (for
the photos they carry).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import demo_photos
import numpy as np
import pack  # noqa: F401 - makes restoreflow importable
import torch
from demo_photos import Photo, to_pixels, to_tensor
from PIL import Image
from restoreflow.models import registry
from restoreflow.sampling import metrics, noise, restore
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "models" / "embedded" / "demo-denoise-25.safetensors"

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


def restore_photo(number: int, clean: Tensor, degraded: Tensor, mean_part, flow_part) -> dict:
    """Every method but non-local means on one photo."""
    mean = restore.posterior_mean(mean_part, degraded)
    draw = noise.gaussian(mean.shape[1:], number, [0])
    few, many = (restore.sample(flow_part, mean, draw, steps=steps) for steps in (FEW, MANY))
    blends = {f"realism {r}": restore.trade_off(mean, many, r) for r in REALISMS}
    error = mean_square(many, clean)
    white = noise.gaussian(mean.shape[1:], 10_000 + number, [0])
    return {
        "degraded": degraded,
        "posterior mean": mean,
        **blends,
        f"flow K{FEW}": few,
        f"flow K{MANY}": many,
        "mean + white noise": spoiled_to(error, mean, white, clean),
        "mean + unsharp mask": spoiled_to(error, mean, fine_detail_of(mean), clean),
    }


def restore_set(photos: tuple[Photo, ...], mean_part, flow_part) -> Results:
    """All methods on all photos, every result rounded to 8 bit as a saved picture is."""
    clean = [to_tensor(photo.clean) for photo in photos]
    degraded = [to_tensor(demo_photos.add_noise(photo.clean, i)) for i, photo in enumerate(photos)]
    each = [
        restore_photo(number, *pair, mean_part, flow_part)
        for number, pair in enumerate(zip(clean, degraded, strict=True))
    ]
    results = {method: [photo[method] for photo in each] for method in each[0]}
    results["non-local means"] = tuned_non_local_means(clean, degraded)
    results = {name: [to_tensor(to_pixels(x)) for x in images] for name, images in results.items()}
    first = ("degraded", "non-local means")
    return {"clean": clean} | {name: results[name] for name in first} | results


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


def score_set(results: Results, photos: tuple[Photo, ...]) -> dict[str, dict[str, dict]]:
    """Method -> photo -> measure -> number."""
    clean = results["clean"]
    return {
        method: {
            photo.name: score(*pair) for photo, *pair in zip(photos, images, clean, strict=True)
        }
        for method, images in results.items()
        if method != "clean"
    }


def average(scores: dict[str, dict], measure: str) -> float:
    """Over the photos; of ratios the geometric mean."""
    values = [photo[measure] for photo in scores.values()]
    return float(np.exp(np.mean(np.log(values))) if measure == "fine" else np.mean(values))


def table(scores: dict[str, dict], grey: list[str]) -> str:
    """Averages of every method, in Markdown."""
    lines = ["| method | PSNR dB | SSIM | fine power | patch W2 | tint of grey photos |"]
    lines += ["| --- " * 6 + "|"]
    for method, photos in scores.items():
        psnr, ssim, fine, w2 = (average(photos, m) for m in ("psnr", "ssim", "fine", "w2"))
        cast = average({name: photos[name] for name in grey}, "tint")
        lines += [f"| {method} | {psnr:.2f} | {ssim:.3f} | {fine:.2f} | {w2:.2f} | {cast:.2f} |"]
    return "\n".join(lines)


def table_of_photos(scores: dict[str, dict]) -> str:
    methods = ("degraded", "non-local means", "posterior mean", f"flow K{FEW}", f"flow K{MANY}")
    lines = ["| photo | " + " | ".join(f"{m} dB" for m in methods) + " | W2 mean | W2 flow K25 |"]
    lines += ["| --- " * 8 + "|"]
    for photo in scores["degraded"]:
        psnrs = " | ".join(f"{scores[method][photo]['psnr']:.2f}" for method in methods)
        w2 = [scores[method][photo]["w2"] for method in ("posterior mean", f"flow K{MANY}")]
        lines += [f"| {photo} | {psnrs} | {w2[0]:.2f} | {w2[1]:.2f} |"]
    return "\n".join(lines)


def demands(scores: dict[str, dict]) -> dict[str, tuple[float, bool]]:
    """What the weights must reach -> (what they reach, whether that suffices)."""
    mean, many = scores["posterior mean"], scores[f"flow K{MANY}"]

    def psnr(method: str) -> np.ndarray:
        return np.array([photo["psnr"] for photo in scores[method].values()])

    gain = psnr("posterior mean") - psnr("degraded")
    over_nlm = (psnr("posterior mean") - psnr("non-local means")).mean()
    loss = (psnr("posterior mean") - psnr(f"flow K{MANY}")).mean()
    to_mean = average(many, "w2") / average(mean, "w2")
    to_noise = average(many, "w2") / average(scores["mean + white noise"], "w2")
    return {
        "mean gains >= 8.5 dB on average": (gain.mean(), gain.mean() >= 8.5),
        "mean gains >= 5.5 dB on every photo": (gain.min(), gain.min() >= 5.5),
        "mean >= 1.5 dB above non-local means": (over_nlm, over_nlm >= 1.5),
        "flow K25 loses <= 1.9 dB on average": (loss, loss <= 1.9),
        "flow K25 W2 <= 0.82 x the mean's": (to_mean, to_mean <= 0.82),
        "flow K25 W2 <= 0.93 x that of mean + white noise": (to_noise, to_noise <= 0.93),
    }


def sheet(results: Results, photos: tuple[Photo, ...]) -> Image.Image:
    """A detail of each photo, one row a photo, one column a method."""
    rows = []
    for number, photo in enumerate(photos):
        left, top = photo.detail
        window = np.s_[top : top + DETAIL_SIDE, left : left + DETAIL_SIDE]
        details = [to_pixels(results[method][number])[window] for method in COLUMNS]
        rows.append(np.concatenate(details, 1))
    pixels = np.concatenate(rows).repeat(DETAIL_ZOOM, 0).repeat(DETAIL_ZOOM, 1)
    return Image.fromarray(pixels)


def measure(name: str, photos: tuple[Photo, ...], out: Path, mean_part, flow_part) -> dict:
    results = restore_set(photos, mean_part, flow_part)
    scores = score_set(results, photos)
    grey = [photo.name for photo in photos if demo_photos.is_grey(photo.clean)]
    print(f"\n## {name}\n\n{table(scores, grey)}\n\n{table_of_photos(scores)}\n")
    reached = demands(scores)
    for demand, (value, holds) in reached.items():
        print(f"- {demand}: {value:.2f} {'holds' if holds else 'FAILS'}")
    sheet(results, photos).save(out / f"{name}.png")
    return {"scores": scores, "demands": {key: float(value) for key, (value, _) in reached.items()}}


def load_part(weights: Path, role: str) -> object:
    part = registry.load(weights, role)
    part.cast(torch.float32)
    return part


@torch.inference_mode()
def main() -> None:
    sets: dict[str, Callable] = {"trial": demo_photos.TRIAL, "held-out": demo_photos.HELD_OUT}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--sets", nargs="+", choices=sets, default=[*sets])
    parser.add_argument("--out", type=Path, required=True)
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    parts = [load_part(choice.weights, r) for r in (registry.POSTERIOR_MEAN, registry.FLOW)]
    report = {name: measure(name, sets[name], choice.out, *parts) for name in choice.sets}
    (choice.out / "measured.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
