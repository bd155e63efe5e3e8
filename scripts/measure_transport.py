"""Measures Deep Optimal Transport around two restorers, fitted on few and on many crops.

Fitted on crops of the photos by which the demo was judged while it was made, measured on those
that chose nothing. python scripts/measure_transport.py --out FOLDER; makes tables, a JSON, a sheet
and a plot.
"""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from demo_photos import Photo
from matplotlib.figure import Figure
from measure_demo import (
    MANY,
    SETS,
    WEIGHTS,
    Results,
    Scores,
    average,
    collected,
    command_line,
    controls,
    grey_ones,
    load_part,
    pairs,
    score_set,
    sheet,
    table,
)
from restoreflow.models import registry
from restoreflow.models.contracts import PIXEL, Autoencoder
from restoreflow.sampling import autoencode, noise, restore
from restoreflow.sampling.statistics import Statistics
from restoreflow.sampling.trade_off import trade_off
from restoreflow.sampling.transport import Transport, fitted
from torch import Tensor

LATENTS = WEIGHTS.with_name("demo-latent-pmrf-25.safetensors")
SIDE = 128
"""Of a crop, in pixels."""
SEED = 7
REALISMS = (0.25, 0.5, 0.75, 1.0, 1.5)
"""The papers' alpha is 1 - realism."""
SHRINKAGE, MAX_GAIN = 0.001, 10.0
"""The node's defaults."""
MEAN, FLOW = "posterior mean", f"flow K{MANY}"
"""The restorers: of least error, and a perceptual one."""


class Space(NamedTuple):
    """Where patches are taken."""

    name: str
    patch: int
    vae: Autoencoder | None = None

    def enter(self, pictures: Tensor) -> Tensor:
        return pictures if self.vae is None else autoencode.encode(self.vae, pictures)

    def leave(self, samples: Tensor) -> Tensor:
        return samples.clamp(0, 1) if self.vae is None else autoencode.decode(self.vae, samples)


class Fitting(NamedTuple):
    """On how many crops, and whether the clean ones show the same places."""

    crops: int
    same_places: bool = False

    def __str__(self) -> str:
        return f"{self.crops} crops" + (" of the same places" if self.same_places else "")


FITTINGS = (Fitting(12), Fitting(12, same_places=True), Fitting(100))
MANY_CROPS = FITTINGS[-1]

Pair = tuple[Tensor, dict[str, Tensor]]
"""A clean photo, and what each restorer made of it."""


def restored(photos: Sequence[Photo]) -> list[Pair]:
    """Every photo with the demo's noise, by both restorers."""
    mean_part, flow_part = (load_part(WEIGHTS, r) for r in (registry.POSTERIOR_MEAN, registry.FLOW))
    found = []
    for number, (clean, degraded) in enumerate(pairs(photos)):
        mean = restore.posterior_mean(mean_part, degraded)
        draw = noise.gaussian(mean.shape[1:], number, [0])
        lifelike = restore.sample(flow_part, mean, draw, steps=MANY)
        found.append((clean, {MEAN: mean, FLOW: lifelike, "degraded": degraded}))
    return found


def crops(pictures: Sequence[Tensor], count: int, seed: int) -> Iterator[Tensor]:
    """Crops [1, 3, SIDE, SIDE] at random places, taking turns through the pictures."""
    random = np.random.default_rng(seed)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        top, left = (int(random.integers(side - SIDE + 1)) for side in picture.shape[-2:])
        yield picture[..., top : top + SIDE, left : left + SIDE]


def fit(space: Space, photos: Sequence[Pair], restorer: str, fitting: Fitting) -> Transport:
    """On so many crops of restored photos and as many of clean ones."""
    other = SEED if fitting.same_places else SEED + 1
    sets = ([one[restorer] for _, one in photos], SEED), ([clean for clean, _ in photos], other)
    count = fitting.crops
    source, target = (
        sum_of(Statistics.of(space.enter(crop), space.patch) for crop in crops(some, count, seed))
        for some, seed in sets
    )
    domain = space.vae.domain if space.vae else PIXEL
    return fitted(
        Transport(
            name=space.name,
            domain=domain,
            source=source,
            target=target,
            shrinkage=SHRINKAGE,
            max_gain=MAX_GAIN,
            keep_mean=True,
        )
    )


def sum_of(found: Iterator[Statistics]) -> Statistics:
    total = next(found)
    for one in found:
        total = total + one
    return total


def transported(
    space: Space, fits: dict[str, Transport], restorer: str, photos: Sequence[Pair]
) -> Results:
    """Every realism of every fit, beside the restorer and what spoils it to the same PSNR."""
    each = []
    for number, (clean, by) in enumerate(photos):
        start, results = by[restorer], {"clean": clean, restorer: by[restorer]}
        latent = space.enter(start)
        if space.vae is not None:
            results["encoded and decoded"] = space.leave(latent)
        for name, transport in fits.items():
            lifelike = space.leave(transport.apply(latent))
            for realism in REALISMS:
                mixed = trade_off(start, lifelike, realism).clamp(0, 1)
                results[f"{name}, realism {realism:g}"] = mixed
        results |= controls(number, clean, start, results[f"{MANY_CROPS}, realism 1"], restorer)
        each.append(results)
    return collected(each)


def plot(scores: dict[str, Scores]) -> Figure:
    """The plane: PSNR against the texture's distance; a colour a space, a style a fitting."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axes, restorer in zip(figure.subplots(1, 2), (MEAN, FLOW), strict=True):
        own = {name: found for name, found in scores.items() if name.startswith(f"{restorer}: ")}
        for colour, (section, found) in zip(("C0", "C1", "C2"), own.items(), strict=True):
            space = section.removeprefix(f"{restorer}: ")
            for fitting, style in zip(FITTINGS, (":", "--", "-"), strict=True):
                names = [restorer, *(f"{fitting}, realism {r:g}" for r in REALISMS)]
                line = [[average(found[n], m) for n in names] for m in ("psnr", "w2")]
                label = f"{space}: {fitting}"
                axes.plot(*line, colour + style, marker="o", markersize=3, label=label)
        for control, mark in (("white noise", "x"), ("unsharp mask", "+")):
            points = [found[f"{restorer} + {control}"] for found in own.values()]
            places = [[average(point, m) for point in points] for m in ("psnr", "w2")]
            axes.plot(*places, mark, color="grey", label=f"control: + {control}")
        axes.set(title=f"around the {restorer}", xlabel="PSNR dB", ylabel="texture distance, 1/255")
        axes.set(xlim=(29 if restorer == MEAN else 28, None), ylim=(0.8, 2.9))
        axes.invert_xaxis()
    lines, labels = axes.get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3, fontsize=7)
    return figure


@torch.inference_mode()
def main() -> None:
    choice = command_line(__doc__).parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    vae = load_part(LATENTS, registry.AUTOENCODER)
    spaces = (Space("latents, patch 3", 3, vae), Space("latents, patch 5", 5, vae),
              Space("pixels, patch 7", 7))  # fmt: skip
    held_out = SETS["held-out"][: choice.photos]
    learnt, judged = restored(SETS["trial"]), restored(held_out)
    scores, columns = {}, {}
    for restorer in (MEAN, FLOW):
        for space in spaces:
            section = f"{restorer}: {space.name}"
            fits = {str(f): fit(space, learnt, restorer, f) for f in FITTINGS}
            results = transported(space, fits, restorer, judged)
            scores[section] = score_set(results, held_out)
            columns |= {"clean": results["clean"], restorer: results[restorer]}
            columns[section] = results[f"{MANY_CROPS}, realism 1"]
            print(f"\n## {section}\n\n{table(scores[section], grey_ones(held_out))}", flush=True)
    sheet(columns, held_out, list(columns)).save(choice.out / "transport.png")
    plot(scores).savefig(choice.out / "transport-plane.png", dpi=150)
    (choice.out / "transport.json").write_text(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
