"""Measures PMRF beside posterior sampling by a flow of equal size and training.

python scripts/measure_posterior.py --weights FILE --out FOLDER; the file is what `python
training/train.py posterior` makes, and PMRF's flow lies beside it. Makes a table, a JSON and, for
each set of photos, a sheet.

In theory a posterior's sample has twice the squared error of its mean, so it is 3.01 dB below;
PMRF's flow has the least error of all results that look like photographs (arXiv 2410.00418).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from demo_photos import Photo
from measure_demo import (
    MANY,
    SETS,
    WEIGHTS,
    Claim,
    Results,
    Scores,
    average,
    collected,
    command_line,
    controls,
    descending,
    load_part,
    pairs,
    score_set,
    sheet,
)
from restoreflow.models import checkpoint, registry
from restoreflow.models.contracts import Flow, PosteriorMean
from restoreflow.sampling import noise, restore
from torch import Tensor

MORE = 100
DRAWS = 4
NEXT_SEED = 20_000
"""Between the draws of one photo."""

MEAN, PMRF = "posterior mean", f"PMRF, {MANY} steps"
SHIPPED = f"PMRF as shipped (trained longer), {MANY} steps"
SAMPLE, LONGER = (f"posterior sampling, {steps} steps" for steps in (MANY, MORE))
MEAN_OF_SAMPLES = f"mean of {DRAWS} posterior samples, {MANY} steps"
NOISED, NOISED_FURTHER = (f"{MEAN}, spoiled to {name}" for name in ("PMRF", "sampling"))
COLUMNS = ("clean", "degraded", MEAN, PMRF, LONGER, MEAN_OF_SAMPLES)
MEASURES = {"PSNR": ("psnr", 2), "SSIM": ("ssim", 3), "texture": ("w2", 2)}
"""Heading -> measure and its decimals."""


class Parts(NamedTuple):
    """The mean in float32, the flows in bfloat16, as they were trained: half the time."""

    mean: PosteriorMean
    shipped: Flow
    """From the posterior mean, as is `pmrf`."""
    posterior: Flow
    """From noise, given the degraded picture."""
    pmrf: Flow
    """Trained as `posterior` was."""


def load_parts(posterior: Path, pmrf: Path) -> Parts:
    flows = [registry.load(path, registry.FLOW) for path in (WEIGHTS, posterior, pmrf)]
    for flow in flows:
        flow.cast(torch.bfloat16)
    return Parts(load_part(WEIGHTS, registry.POSTERIOR_MEAN), *flows)


def restore_photo(number: int, clean: Tensor, degraded: Tensor, parts: Parts) -> dict[str, Tensor]:
    """Every method on one photo; the same noise starts all flows."""
    mean = restore.posterior_mean(parts.mean, degraded)
    draws = [
        noise.gaussian(mean.shape[1:], number + NEXT_SEED * draw, [0]) for draw in range(DRAWS)
    ]
    lifelike = restore.sample(parts.pmrf, mean, draws[0], steps=MANY)
    samples = [restore.sample(parts.posterior, degraded, draw, steps=MANY) for draw in draws]
    longer = restore.sample(parts.posterior, degraded, draws[0], steps=MORE)
    return {
        "clean": clean,
        "degraded": degraded,
        MEAN: mean,
        SHIPPED: restore.sample(parts.shipped, mean, draws[0], steps=MANY),
        PMRF: lifelike,
        SAMPLE: samples[0],
        LONGER: longer,
        MEAN_OF_SAMPLES: torch.stack(samples).mean(0),
        NOISED: controls(number, clean, mean, lifelike)["mean + white noise"],
        NOISED_FURTHER: controls(number, clean, mean, longer)["mean + white noise"],
    }


def restore_set(photos: Sequence[Photo], parts: Parts) -> Results:
    """All methods on all photos."""
    each = []
    for number, pair in enumerate(pairs(photos)):
        each.append(restore_photo(number, *pair, parts))
        print(f"{photos[number].name} is restored", flush=True)
    return collected(each)


def claims(scores: Scores) -> list[Claim]:
    """What theory says of the averages."""

    def of(measure: str, *methods: str) -> list[float]:
        return [average(scores[method], measure) for method in methods]

    one, several = of("psnr", SAMPLE, MEAN_OF_SAMPLES)
    promised = 10 * math.log10(2 / (1 + 1 / DRAWS))
    return [
        descending("PSNR: mean, PMRF, posterior sampling", *of("psnr", MEAN, PMRF, LONGER)),
        descending("texture: mean, posterior sampling", *of("w2", MEAN, LONGER)),
        descending("texture: posterior sampling, PMRF", *of("w2", LONGER, PMRF)),
        Claim(
            f"the mean of {DRAWS} samples gains what theory promises within 0.5 dB",
            (several - one, promised),
            abs(several - one - promised) <= 0.5,
        ),
    ]


def table(reports: dict[str, Scores]) -> str:
    """Averages of every method over each set, in Markdown."""
    headings = []
    for scores in reports.values():
        first, *others = MEASURES
        headings += [f"{first}, {len(scores[MEAN])} photos", *others]
    lines = [f"| | {' | '.join(headings)} |", "| --- " * (1 + len(headings)) + "|"]
    for method in next(iter(reports.values())):
        numbers = [
            f"{average(scores[method], measure):.{decimals}f}"
            for scores in reports.values()
            for measure, decimals in MEASURES.values()
        ]
        lines += [f"| {method} | {' | '.join(numbers)} |"]
    return "\n".join(lines)


def trained(weights: Path, part: Flow) -> str:
    """How large a file's flow is and how it was trained, in one sentence."""
    record = checkpoint.read(weights).config["training"]
    stages = [
        f"{name} {record['plan'][name]['steps']} steps, {record['minutes'][name]} min, "
        f"loss {record['final_losses'][name]}"
        for name in record["final_losses"]
        if name != "mean"
    ]
    return (
        f"- {weights.name}: a flow of {part.parameter_count:,} parameters, {'; '.join(stages)} "
        f"({record['machine']})"
    )


@torch.inference_mode()
def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the flow from noise")
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    own, beside = choice.weights, choice.weights.with_stem(f"{choice.weights.stem}-pmrf")
    parts = load_parts(own, beside)
    reports: dict[str, Scores] = {}
    report: dict[str, Any] = {}
    lines = []
    for name in choice.sets:
        photos = SETS[name][: choice.photos]
        results = restore_set(photos, parts)
        reports[name] = score_set(results, photos)
        held = claims(reports[name])
        sheet(results, photos, COLUMNS).save(choice.out / f"{name}.png")
        lines += [f"\n{name}:\n", *map(str, held)]
        report[name] = {"scores": reports[name], "claims": [claim._asdict() for claim in held]}
    files = ((WEIGHTS, parts.shipped), (own, parts.posterior), (beside, parts.pmrf))
    text = "\n".join([table(reports), "", *(trained(*file) for file in files), *lines, ""])
    print(f"\n{text}")
    (choice.out / "table.md").write_text(text)
    (choice.out / "measured.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
