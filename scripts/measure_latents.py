"""Measures the latent demos on photographs, as measure_demo does the one in pixels.

And their papers' claims: where a flow should start, what each segment of time brings, how many
steps it needs. python scripts/measure_latents.py --out FOLDER; makes tables, a JSON, and for each
set of photos a sheet and a plot.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from demo_photos import Photo
from matplotlib.figure import Figure
from measure_demo import (
    FEW,
    MANY,
    REALISMS,
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
    grey_ones,
    load_part,
    mean_square,
    pairs,
    score_set,
    sheet,
    table,
)
from restoreflow.models import checkpoint, registry
from restoreflow.models.checkpoint import Checkpoint
from restoreflow.models.contracts import Autoencoder, Flow, PosteriorMean
from restoreflow.models.families import elir
from restoreflow.sampling import autoencode, noise, restore
from restoreflow.sampling.integrate import Step
from restoreflow.sampling.trade_off import trade_off
from torch import Tensor

LATENT_PMRF = WEIGHTS.with_name("demo-latent-pmrf-25.safetensors")
ELIR = WEIGHTS.with_name("demo-elir-25.safetensors")
STEPS = (1, 3, 5, 25)

CLEAN, DEGRADED, MEAN = "clean", "degraded", "posterior mean of the pixels"
REBUILT = "clean, encoded and decoded"
LATENT_OF_MEAN, MEAN_OF_LATENT = "latent of the mean (a)", "mean of the latent (b)"
FROM_A, FROM_B = (f"flow K{FEW} from {source}" for source in ("(a)", "(b)"))
LATENT_FEW, LATENT_MANY = f"flow K{FEW}", f"flow K{MANY}"
IN_PIXELS = f"flow K{MANY} in pixels"
SPOILINGS = ("white noise", "unsharp mask")
NOISY = "with the source noise"

SIM_VAE, ONE_DECODER, SEGMENTS, COUNTS = (
    "Latent-PMRF, from the latent of the mean",
    "ELIR's latents, from either source",
    "ELIR, segment by segment",
    "ELIR, by the number of steps",
)
COLUMNS = (
    (SIM_VAE, CLEAN),
    (SIM_VAE, DEGRADED),
    (SIM_VAE, MEAN),
    (SIM_VAE, IN_PIXELS),
    (SIM_VAE, LATENT_MANY),
    (ONE_DECODER, MEAN_OF_LATENT),
    (ONE_DECODER, FROM_B),
)
"""Of the sheet: section and method."""

Sections = dict[str, dict[str, Tensor]]
"""Section -> method -> what it made of one photo."""


class Parts(NamedTuple):
    """The networks of the three demos, in float32."""

    mean: PosteriorMean
    flow: Flow
    vae: Autoencoder
    latent_flow: Flow
    elir_vae: Autoencoder
    teacher: Autoencoder
    """The autoencoder in whose latents ELIR's was to restore: it encodes clean pictures."""
    elir_mean: PosteriorMean
    consistency: Flow
    plain: Flow
    """A rectified flow without consistency, otherwise equal."""


def load_parts() -> Parts:
    original = checkpoint.read(ELIR)
    teacher = elir.load_autoencoder(standing_in(original, "teacher.", "enc."))
    plain = elir.load_flow(standing_in(original, "plain.", "fmir."))
    for part in (teacher, plain):
        part.cast(torch.float32)
    return Parts(
        load_part(WEIGHTS, registry.POSTERIOR_MEAN),
        load_part(WEIGHTS, registry.FLOW),
        load_part(LATENT_PMRF, registry.AUTOENCODER),
        load_part(LATENT_PMRF, registry.FLOW),
        load_part(ELIR, registry.AUTOENCODER),
        teacher,
        load_part(ELIR, registry.POSTERIOR_MEAN),
        load_part(ELIR, registry.FLOW),
        plain,
    )


def standing_in(original: Checkpoint, part: str, role: str) -> Checkpoint:
    """The file as if what it holds under one prefix were what it holds under another."""
    tensors = {n: t for n, t in original.part("").items() if not n.startswith(role)}
    tensors |= {role + name: tensor for name, tensor in original.part(part).items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return replace(original, shapes=shapes, tensors=tensors)


# Restoring


def restore_photo(number: int, clean: Tensor, degraded: Tensor, parts: Parts) -> Sections:
    """Every method on one photo."""
    given = {CLEAN: clean, DEGRADED: degraded}
    mean = restore.posterior_mean(parts.mean, degraded)
    latent = restore.posterior_mean(parts.elir_mean, autoencode.encode(parts.elir_vae, degraded))
    decoded = given | {MEAN_OF_LATENT: autoencode.decode(parts.elir_vae, latent)}
    return {
        SIM_VAE: given | latent_pmrf(number, clean, mean, parts),
        ONE_DECODER: given | one_decoder(number, clean, mean, latent, parts),
        SEGMENTS: decoded | segments(number, latent, parts),
        COUNTS: decoded | counts(number, latent, parts),
    }


def draw(shaped: Tensor, number: int) -> Tensor:
    """The source noise of a photo: the same for every flow in a space."""
    return noise.gaussian(shaped.shape[1:], number, [0])


def there_and_back(part: Autoencoder, picture: Tensor) -> Tensor:
    return autoencode.decode(part, autoencode.encode(part, picture))


def latent_pmrf(number: int, clean: Tensor, mean: Tensor, parts: Parts) -> dict[str, Tensor]:
    """A flow in the Sim-VAE's latents, beside the one in pixels from the same mean."""
    latent = autoencode.encode(parts.vae, mean)
    start = autoencode.decode(parts.vae, latent)
    source = draw(latent, number)
    few, many = (
        autoencode.decode(parts.vae, restore.sample(parts.latent_flow, latent, source, steps=k))
        for k in (FEW, MANY)
    )
    return {
        MEAN: mean,
        REBUILT: there_and_back(parts.vae, clean),
        LATENT_OF_MEAN: start,
        **{f"realism {r}": trade_off(mean, many, r) for r in REALISMS},
        LATENT_FEW: few,
        LATENT_MANY: many,
        **controls(number, clean, start, many, "(a)"),
        IN_PIXELS: restore.sample(parts.flow, mean, draw(mean, number), steps=MANY),
    }


def one_decoder(
    number: int, clean: Tensor, mean: Tensor, latent: Tensor, parts: Parts
) -> dict[str, Tensor]:
    """Both sources in one space, and the flow from each; it was trained on (b)."""

    def decode(latent: Tensor) -> Tensor:
        return autoencode.decode(parts.elir_vae, latent)

    def flow(latent: Tensor) -> Tensor:
        return decode(restore.sample(parts.consistency, latent, draw(latent, number), steps=FEW))

    other = autoencode.encode(parts.teacher, mean)
    faithful, lifelike = decode(latent), flow(latent)
    return {
        MEAN: mean,
        REBUILT: there_and_back(parts.teacher, clean),
        LATENT_OF_MEAN: decode(other),
        MEAN_OF_LATENT: faithful,
        FROM_A: flow(other),
        FROM_B: lifelike,
        **controls(number, clean, faithful, lifelike, "(b)"),
    }


def segments(number: int, latent: Tensor, parts: Parts) -> dict[str, Tensor]:
    """What the consistency flow's states look like, from its source to its end.

    The photos' sides are such that nothing is padded.
    """
    steps: list[Step] = []
    flow = parts.consistency
    restore.sample(flow, latent, draw(latent, number), steps=FEW, observe=steps.append)
    states = {NOISY: steps[0].x} | {segment(step.i + 1): step.end for step in steps}
    return {
        name: autoencode.decode(parts.elir_vae, flow.domain.to_wire(state))
        for name, state in states.items()
    }


def segment(number: int) -> str:
    return f"after segment {number}"


def counts(number: int, latent: Tensor, parts: Parts) -> dict[str, Tensor]:
    """The end of both kinds of flow, by the number of steps."""
    flows = {"consistency": parts.consistency, "plain": parts.plain}
    return {
        steps_of(kind, k): autoencode.decode(
            parts.elir_vae, restore.sample(flow, latent, draw(latent, number), steps=k)
        )
        for kind, flow in flows.items()
        for k in STEPS
    }


def steps_of(kind: str, k: int) -> str:
    return f"{kind} flow K{k}"


# The papers' claims


def rms(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Of the difference, in 1/255; averaged over the photos."""
    return 255 * float(np.mean([mean_square(*pair) ** 0.5 for pair in zip(a, b, strict=True)]))


def allowed(results: Results) -> float:
    """The PSNR of an error that is the mean's and the autoencoder's together."""
    errors = [
        mean_square(mean, clean) + mean_square(rebuilt, clean)
        for clean, mean, rebuilt in zip(*(results[x] for x in (CLEAN, MEAN, REBUILT)), strict=True)
    ]
    return float(np.mean(-10 * np.log10(errors)))


def latent_of_mean_claims(results: Results, scores: Scores) -> list[Claim]:
    """Latent-PMRF: decoding (a) gives the mean back, up to what the autoencoder loses."""
    lost = rms(results[REBUILT], results[CLEAN])
    away = rms(results[LATENT_OF_MEAN], results[MEAN])
    psnr = average(scores[LATENT_OF_MEAN], "psnr")
    return [
        descending("(a) misses the mean by less than clean photos lose (rms, 1/255)", lost, away),
        descending("(a) has more than the PSNR that mean and loss allow", psnr, allowed(results)),
    ]


def latent_pmrf_claims(results: Results, scores: Scores) -> list[Claim]:
    blends = [MEAN, *(f"realism {r}" for r in REALISMS), LATENT_MANY]
    return [
        *latent_of_mean_claims(results, scores),
        descending("W2 falls with realism", *along(scores, blends, "w2")),
        descending("PSNR falls from realism 0.25 on", *along(scores, blends[1:], "psnr")),
        descending(
            "W2: (a), the flow from it", *along(scores, [LATENT_OF_MEAN, LATENT_MANY], "w2")
        ),
        *control_claims(scores, "(a)", LATENT_MANY),
        descending(
            "W2: the flow in pixels, in latents", *along(scores, [IN_PIXELS, LATENT_MANY], "w2")
        ),
    ]


def source_claims(results: Results, scores: Scores) -> list[Claim]:
    """Both sources in one space: what bounds (a) does not bound (b)."""
    lost = rms(results[REBUILT], results[CLEAN])
    away = rms(results[MEAN_OF_LATENT], results[MEAN])
    psnr = average(scores[MEAN_OF_LATENT], "psnr")
    sources, ends = [LATENT_OF_MEAN, MEAN_OF_LATENT], [FROM_A, FROM_B]
    return [
        *latent_of_mean_claims(results, scores),
        descending("(b) misses the mean by more than clean photos lose (rms, 1/255)", away, lost),
        descending("(b) has less than the PSNR that mean and loss allow", allowed(results), psnr),
        descending("PSNR: (a), (b)", *along(scores, sources, "psnr")),
        descending("PSNR: the flow from (a), from (b)", *along(scores, ends, "psnr")),
        descending("W2: the flow from (a), from (b)", *along(scores, ends, "w2")),
        *control_claims(scores, "(b)", FROM_B),
    ]


def control_claims(scores: Scores, start: str, lifelike: str) -> list[Claim]:
    return [
        descending(f"W2: {control}, the flow", *along(scores, [control, lifelike], "w2"))
        for control in (f"{start} + {spoiling}" for spoiling in SPOILINGS)
    ]


def segment_claims(results: Results, scores: Scores) -> list[Claim]:
    """ELIR, Table 3."""
    states = [NOISY, *(segment(i + 1) for i in range(FEW))]
    others = [name for name in scores if name != MEAN_OF_LATENT]
    best, second = average(scores[MEAN_OF_LATENT], "psnr"), max(along(scores, others, "psnr"))
    noisier = along(scores, [NOISY, MEAN_OF_LATENT], "w2")
    return [
        descending("PSNR is highest after the mean", best, second),
        descending("PSNR falls with every segment", *along(scores, states[1:], "psnr")),
        descending("W2: the source noise worsens it", *noisier),
        descending("W2 falls with every segment", *along(scores, states, "w2")),
        descending("W2: the mean, the end", *along(scores, [MEAN_OF_LATENT, states[-1]], "w2")),
    ]


def count_claims(results: Results, scores: Scores) -> list[Claim]:
    """ELIR, Figure 4: consistent over segments, a flow needs few steps."""

    def w2(kind: str, *counts: int) -> list[float]:
        return along(scores, [steps_of(kind, k) for k in counts], "w2")

    def gain(kind: str) -> float:
        few, many = w2(kind, FEW, MANY)
        return few - many

    return [
        *(
            descending(f"W2 at K={k}: plain, consistency", *w2("plain", k), *w2("consistency", k))
            for k in STEPS[:-1]
        ),
        descending(
            f"W2 gained from K={FEW} to {MANY}: plain, consistency",
            *map(gain, ("plain", "consistency")),
        ),
        *(
            descending(f"W2 falls with K, {kind}", *w2(kind, *STEPS))
            for kind in ("consistency", "plain")
        ),
    ]


def along(scores: Scores, methods: Iterable[str], measure: str) -> list[float]:
    return [average(scores[method], measure) for method in methods]


CLAIMS: dict[str, Callable[[Results, Scores], list[Claim]]] = {
    SIM_VAE: latent_pmrf_claims,
    ONE_DECODER: source_claims,
    SEGMENTS: segment_claims,
    COUNTS: count_claims,
}

# The whole


def plot(scores: Scores) -> Figure:
    """PSNR and W2 of both kinds of flow over the number of steps."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    for axes, (measure, label) in zip(
        figure.subplots(1, 2), {"psnr": "PSNR dB", "w2": "patch W2"}.items(), strict=True
    ):
        for kind, mark in (("consistency", "o-"), ("plain", "s--")):
            values = along(scores, [steps_of(kind, k) for k in STEPS], measure)
            axes.plot(STEPS, values, mark, label=f"{kind} flow")
        axes.set(xlabel="steps K", ylabel=label, xscale="log")
        axes.set_xticks(STEPS, [str(k) for k in STEPS])
        axes.minorticks_off()
        axes.legend()
    return figure


@torch.inference_mode()
def measure(name: str, photos: Sequence[Photo], out: Path, parts: Parts) -> dict[str, Any]:
    """Prints all tables of a set and what they say of the claims; `out` takes the pictures."""
    each = [restore_photo(number, *pair, parts) for number, pair in enumerate(pairs(photos))]
    found = {section: collected([photo[section] for photo in each]) for section in CLAIMS}
    scores = {section: score_set(results, photos) for section, results in found.items()}
    claims = {section: CLAIMS[section](found[section], scores[section]) for section in CLAIMS}
    for section in CLAIMS:
        print(f"\n## {section} ({name})\n\n{table(scores[section], grey_ones(photos))}\n")
        print(*claims[section], sep="\n")
    columns = {f"{section}: {method}": found[section][method] for section, method in COLUMNS}
    sheet(columns, photos, list(columns)).save(out / f"latents-{name}.png")
    plot(scores[COUNTS]).savefig(out / f"steps-{name}.png", dpi=120)
    return {
        section: {"scores": scores[section], "claims": [c._asdict() for c in claims[section]]}
        for section in CLAIMS
    }


def main() -> None:
    choice = command_line(__doc__).parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    parts = load_parts()
    report = {
        name: measure(name, SETS[name][: choice.photos], choice.out, parts) for name in choice.sets
    }
    (choice.out / "latents.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
