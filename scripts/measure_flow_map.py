"""Measures the demo flow map: denoising over its knob, and four known degradations undone.

python scripts/measure_flow_map.py --out FOLDER makes tables, a JSON, sheets and a plot. Needs
PyWavelets for the wavelet denoiser that it is compared with, beside what the demo needs.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from demo_photos import Photo, is_grey, to_tensor
from matplotlib.figure import Figure
from measure_demo import (
    SETS,
    WEIGHTS,
    Claim,
    Results,
    Scores,
    at_least,
    at_most,
    average,
    collected,
    command_line,
    controls,
    descending,
    load_part,
    score_set,
    sheet,
)
from restoreflow.models import registry
from restoreflow.models.contracts import Flow
from restoreflow.sampling import metrics, plug_and_play
from restoreflow.sampling.blur import Blur, gaussian_kernel
from restoreflow.sampling.chain import Chain
from restoreflow.sampling.downscale import Downscale
from restoreflow.sampling.lookahead import denoised
from restoreflow.sampling.operators import GaussianNoise, Operator
from restoreflow.sampling.pointwise import Greying, RandomMasking
from scipy.ndimage import distance_transform_edt
from skimage.restoration import denoise_wavelet
from torch import Tensor

FLOW_MAP = WEIGHTS.with_name("demo-flow-map.safetensors")
LEVELS = (10, 25, 50)
"""Std of the noise, of 255."""
LOOKAHEADS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
BLENDS = (0.25, 0.5, 0.75)
FAITHFUL, LIFELIKE = "lookahead 0", "lookahead 1"
WAVELETS = ("db2", "sym4", "sym8", "bior4.4")
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Candidates of the wavelet denoiser; the best for a whole set and level is taken."""
SHIFTS = (0, 3, 5)
"""Pixels by which its grid is moved in each direction to average over."""
FIRST_SEED = 100
STEPS = 50
GREY = "left grey"
KNOB = (0.0, 0.5, 0.9)
DRAWS = 4


# Denoising


def wavelet(noisy: Tensor, level: int, kind: str, strength: float, shifts: Sequence[int]) -> Tensor:
    """BayesShrink, averaged over shifted grids."""
    pixels = noisy[0].permute(1, 2, 0).numpy()

    def once(pixels: np.ndarray) -> np.ndarray:
        return denoise_wavelet(
            pixels,
            sigma=strength * level / 255,
            wavelet=kind,
            convert2ycbcr=True,
            channel_axis=-1,
            rescale_sigma=True,
        )

    found = [
        np.roll(once(np.roll(pixels, shift, (0, 1))), tuple(-s for s in shift), (0, 1))
        for shift in product(shifts, shifts)
    ]
    return to_tensor(np.mean(found, 0).clip(0, 1))


def tuned_wavelet(clean: list[Tensor], noisy: list[Tensor], level: int) -> list[Tensor]:
    """With the wavelet and strength that give these very photos the highest average PSNR."""

    def results(shifts: Sequence[int], choice: tuple[str, float]) -> list[Tensor]:
        return [wavelet(image, level, *choice, shifts) for image in noisy]

    def quality(choice: tuple[str, float]) -> float:
        pairs = zip(results((0,), choice), clean, strict=True)
        return sum(metrics.psnr(*pair).item() for pair in pairs)

    return results(SHIFTS, max(product(WAVELETS, STRENGTHS), key=quality))


def denoise_set(photos: Sequence[Photo], level: int, flow: Flow) -> Results:
    """Every method on all photos with that noise, rounded to 8 bit as a saved photo is."""
    noise = GaussianNoise("noise", level / 255, eight_bit=True)
    clean = [to_tensor(photo.clean) for photo in photos]
    noisy = [noise.simulate(image, FIRST_SEED + i) for i, image in enumerate(clean)]
    filtered = tuned_wavelet(clean, noisy, level)
    each = []
    for i, (image, photo) in enumerate(zip(clean, noisy, strict=True)):

        def restored(lookahead: float, photo: Tensor = photo, **settings) -> Tensor:
            return denoised(flow, photo, level / 255, lookahead=lookahead, **settings)[0]

        found = {f"lookahead {look:g}": restored(look) for look in LOOKAHEADS}
        blends = {f"blend {share:g}": restored(share, blend=True) for share in BLENDS}
        estimated = denoised(flow, photo)[0]
        each.append(
            {
                **{"clean": image, "degraded": photo, "wavelet": filtered[i]},
                **{**found, **blends, f"{FAITHFUL}, noise estimated": estimated},
                **controls(i, image, found[FAITHFUL], found[LIFELIKE], FAITHFUL),
            }
        )
    return collected(each)


def claims_of_denoising(scores: Scores) -> list[Claim]:
    """What the knob must do."""

    def of(measure: str, *methods: str) -> list[float]:
        return [average(scores[method], measure) for method in methods]

    looks = [f"lookahead {look:g}" for look in LOOKAHEADS]
    blends = [FAITHFUL, *(f"blend {share:g}" for share in BLENDS), LIFELIKE]
    faithful, filtered, unknown = of("psnr", FAITHFUL, "wavelet", f"{FAITHFUL}, noise estimated")
    lifelike, spoiled = of("w2", LIFELIKE, f"{FAITHFUL} + white noise")
    return [
        at_least("lookahead 0 beats tuned wavelets by 0.5 dB", faithful - filtered, 0.5),
        at_least("an estimated noise costs at most 0.3 dB", unknown - faithful, -0.3),
        at_most("PSNR gained by looking ahead", max(of("psnr", *looks)) - faithful, 0.1),
        descending("PSNR over the last of the lookahead", *of("psnr", *looks[-3:])),
        descending("texture distance over the lookahead", *of("w2", *looks)),
        at_most("PSNR gained by blending", max(of("psnr", *blends)) - faithful, 0.1),
        descending("PSNR over the last of the blend", *of("psnr", *blends[-3:])),
        descending("texture distance over the blend", *of("w2", *blends)),
        descending("texture distance: lookahead 0 + white noise, 1", spoiled, lifelike),
    ]


# Known degradations


class Task(NamedTuple):
    """A degradation, and what is usually done about it."""

    operator: Operator
    rival: str
    undo: Callable[[Tensor, Tensor], Tensor]
    """(degraded, clean) -> the rival's picture."""


def tuned(candidates: Iterator[Tensor], clean: Tensor) -> Tensor:
    """The candidate nearest to the truth: the rival is given what nobody has."""
    return max(candidates, key=lambda image: metrics.psnr(image.clamp(0, 1), clean).item())


def wiener(blur: Blur, degraded: Tensor, clean: Tensor) -> Tensor:
    """Deconvolved with the strength of regularisation that is best for this photo."""
    weights = [10.0**power for power in np.arange(0, 4.1, 0.25)]
    circular = Blur(blur.name, blur.kernel, "circular")
    side = blur.margins[0]
    rows, columns = ([side] * 2 for _ in "yx")
    padded = F.pad(degraded, (*columns, *rows), mode="reflect")

    def candidates() -> Iterator[Tensor]:
        for weight in weights:
            whole = circular.prox(torch.full_like(padded, degraded.mean().item()), padded, weight)
            yield whole[..., side:-side, side:-side]

    return tuned(candidates(), clean)


def enlarged(degraded: Tensor, clean: Tensor) -> Tensor:
    return F.interpolate(degraded, clean.shape[-2:], mode="bicubic")


def nearest_kept(masking: RandomMasking, degraded: Tensor, clean: Tensor) -> Tensor:
    """Every lost pixel takes the nearest that is left."""
    lost = masking.given(degraded).keep[0, 0].numpy() == 0
    rows, columns = distance_transform_edt(lost, return_distances=False, return_indices=True)
    return degraded[..., torch.from_numpy(rows), torch.from_numpy(columns)]


def tasks() -> dict[str, Task]:
    """Noise of 2.55 behind all of them but lost colour, whose file is free of it."""
    blur, mask = Blur("blur", gaussian_kernel(1.6)), RandomMasking("mask", 0.7, 3)

    def noisy(operator: Operator) -> Operator:
        return Chain([operator, GaussianNoise("noise", 0.01)])

    return {
        "Gaussian blur of 1.6 px": Task(noisy(blur), "Wiener filter", partial(wiener, blur)),
        "down by 4 (bicubic)": Task(noisy(Downscale("down", 4)), "bicubic", enlarged),
        "70 % of pixels lost": Task(noisy(mask), "nearest pixel", partial(nearest_kept, mask)),
        "colour lost (luma)": Task(Greying("grey"), GREY, lambda grey, clean: grey),
    }


def solve_set(photos: Sequence[Photo], task: Task, flow: Flow) -> Results:
    """The rival and the solver on all photos."""
    each = []
    for i, photo in enumerate(photos):
        clean = to_tensor(photo.clean)
        degraded = task.operator.simulate(clean, FIRST_SEED + i)

        def solved(photo: Tensor = degraded, seed: int = i, **settings) -> Tensor:
            settings = {"steps": STEPS, **settings}
            return plug_and_play.solve(flow, task.operator, photo, seed=seed, **settings).picture

        given = F.interpolate(degraded, clean.shape[-2:], mode="nearest")
        found = {f"lookahead {look:g}": solved(lookahead=look) for look in KNOB}
        each.append(
            {
                **{"clean": clean, "degraded": given, task.rival: task.undo(degraded, clean)},
                **{f"lookahead 0, {DRAWS} draws": solved(lookahead=0.0, draws=DRAWS), **found},
                "gradient step": solved(lookahead=0.5, data_step="gradient"),
            }
        )
    return collected(each)


def claims_of_solving(scores: Scores, task: Task) -> list[Claim]:
    def of(measure: str, *methods: str) -> list[float]:
        return [average(scores[method], measure) for method in methods]

    averaged = f"lookahead 0, {DRAWS} draws"
    return [
        descending(f"PSNR: solver, {task.rival}", *of("psnr", averaged, task.rival)),
        descending(
            "PSNR: draws averaged, then over the lookahead",
            *of("psnr", averaged, *(f"lookahead {look:g}" for look in KNOB)),
        ),
        descending(
            "texture distance over the lookahead", *of("w2", *(f"lookahead {k:g}" for k in KNOB))
        ),
    ]


# Reports


def table(scores: Scores) -> str:
    """Averages of every method, in Markdown."""
    lines = ["| method | PSNR dB | SSIM | texture distance |", "| --- " * 4 + "|"]
    for method, photos in scores.items():
        psnr, ssim, w2 = (average(photos, measure) for measure in ("psnr", "ssim", "w2"))
        lines += [f"| {method} | {psnr:.2f} | {ssim:.3f} | {w2:.2f} |"]
    return "\n".join(lines)


def plot(scores: dict[str, Scores]) -> Figure:
    """The plane: error against the texture's distance, a panel a noise level."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (title, found) in zip(figure.subplots(1, len(scores)), scores.items(), strict=True):
        looks = [f"lookahead {look:g}" for look in LOOKAHEADS]
        blends = [FAITHFUL, *(f"blend {share:g}" for share in BLENDS), LIFELIKE]
        marks = {"lookahead": (looks, "C0o-"), "blend": (blends, "C1s--")}
        marks |= {
            "tuned wavelets": (["wavelet"], "k^"),
            "control: + white noise": ([f"{FAITHFUL} + white noise"], "x"),
            "control: + unsharp mask": ([f"{FAITHFUL} + unsharp mask"], "+"),
        }
        for label, (methods, style) in marks.items():
            line = [[average(found[m], measure) for m in methods] for measure in ("psnr", "w2")]
            axes.plot(*line, style, markersize=4, label=label)
        axes.set(title=title, xlabel="PSNR dB", ylabel="texture distance, 1/255")
        axes.invert_xaxis()
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    return figure


def report(out: Path, name: str, results: Results, photos: Sequence[Photo], claims) -> Scores:
    """Prints a table and what it bears out; keeps a sheet."""
    scores = score_set(results, photos)
    print(f"\n## {name}\n\n{table(scores)}\n", *claims(scores), sep="\n", flush=True)
    file = "".join(letter if letter.isalnum() else "-" for letter in name)
    sheet(results, photos, [m for m in results if "control" not in m]).save(out / f"{file}.png")
    return scores


@torch.inference_mode()
def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--weights", type=Path, default=FLOW_MAP)
    parser.add_argument("--only", choices=("denoising", "solving"))
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    flow = load_part(choice.weights, registry.FLOW)
    all_scores: dict[str, Scores] = {}
    for name in choice.sets:
        photos = SETS[name][: choice.photos]
        of_levels: dict[str, Scores] = {}
        for level in LEVELS if choice.only != "solving" else ():
            title = f"noise {level}/255"
            results = denoise_set(photos, level, flow)
            of_levels[title] = report(
                choice.out, f"{name}: {title}", results, photos, claims_of_denoising
            )
        if of_levels:
            plot(of_levels).savefig(choice.out / f"{name}-plane.png", dpi=150)
        all_scores |= {f"{name}: {title}": found for title, found in of_levels.items()}
        for title, task in tasks().items() if choice.only != "denoising" else ():
            judged = [p for p in photos if task.rival != GREY or not is_grey(p.clean)]
            results = solve_set(judged, task, flow)
            claims = partial(claims_of_solving, task=task)
            all_scores[f"{name}: {title}"] = report(
                choice.out, f"{name}: {title}", results, judged, claims
            )
    (choice.out / "measured.json").write_text(json.dumps(all_scores, indent=1))


if __name__ == "__main__":
    main()
