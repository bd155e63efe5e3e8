"""How fast this machine restores, beside what the published code computes. Run by `run.py bench`.

Each system at its native size, batch 1 and a full batch: time, memory, and arithmetic over the
machine's own ceiling, in one run with a baseline that computes as the published code does
(`bench_systems`). All forms of a trial take turns and medians are compared.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import bench_folder
import bench_measure as measure
import bench_options
import pack  # noqa: F401 - makes restoreflow importable
import torch
from bench_attention import by_shifts
from bench_rows import BASELINE, Row, Share, summed, table
from bench_systems import BFLOAT16, FLOAT32, FORMS, NATIVE, QUICK, SYSTEMS, Bench, How, Trial
from bench_transformers import Kernels
from bench_windows import Candidate, fastest

CPU_STEPS = 3
"""Steps of a flow on a CPU, where the published 25 would take minutes."""
QUICK_SIDE = 256
"""Of the matrices whose product is the ceiling, where only the bench itself is tried."""


class Runner:
    """Runs trials and keeps what it saw."""

    def __init__(self, device: torch.device, repeats: int, compiles: bool, ceiling_side: int):
        self.device, self.repeats, self.compiles = device, repeats, compiles
        self.ceilings = measure.ceilings(device, ceiling_side, repeats)
        self.halves = measure.has_bfloat16(device, self.ceilings)
        self.kernels = Kernels.compiled(device) if compiles else Kernels()
        self.candidates: list[Candidate] = []

    def rows(self, trial: Trial) -> Iterator[Row]:
        """One trial at batch 1 and at its full batch."""
        forms = [form for form in trial.forms if self.halves or form == FLOAT32]
        ours = {form: trial.ours(form) for form in forms}
        flops = self._flops(trial) / trial.evaluations
        for batch in sorted({1, trial.full[self.device.type]}):
            yield from self._fitting(trial, ours, flops, batch)

    def _flops(self, trial: Trial) -> int:
        inputs = trial.draw(1)
        return measure.count_flops(lambda attention: trial.baseline(How(attention), *inputs))

    def _fitting(self, trial: Trial, ours: dict, flops: float, batch: int) -> list[Row]:
        """At half the batch, and half again, where memory lacks."""
        try:
            return list(self._measured(trial, ours, flops, batch))
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            torch.cuda.empty_cache()
            return self._fitting(trial, ours, flops, batch // 2)

    def _measured(self, trial: Trial, ours: dict, flops: float, batch: int) -> Iterator[Row]:
        inputs = trial.draw(batch)
        how, name = self._how(trial, batch)
        baseline = partial(trial.baseline, how, *inputs)
        calls = {form: partial(call, *inputs) for form, call in ours.items()}
        expected = baseline()
        agreement = {f: measure.psnr(call(), expected, trial.span) for f, call in calls.items()}
        calls[BASELINE] = baseline
        seconds = measure.medians(calls, self.repeats, self.device)
        for form, call in calls.items():
            rate = flops * trial.evaluations * batch / seconds[form]
            yield Row(
                system=trial.system,
                part=trial.part,
                size=trial.size,
                batch=batch,
                form=form if form != BASELINE else f"{BASELINE} ({name})",
                evaluations=trial.evaluations,
                planned=trial.planned,
                seconds_per_evaluation=seconds[form] / trial.evaluations / batch,
                seconds_per_image=seconds[form] / trial.evaluations / batch * trial.planned,
                peak_bytes=measure.peak(call, self.device),
                flops_per_evaluation=flops,
                flops_per_second=rate,
                of_ceiling=rate / self.ceilings[self._ceiling(form)],
                times_baseline=seconds[BASELINE] / seconds[form],
                psnr=agreement.get(form),
            )

    def _ceiling(self, form: str) -> str:
        """Which ceiling a form is held against: the fastest product that its dtype may use."""
        if form in (FLOAT32, BASELINE):
            return measure.TF32 if measure.TF32 in self.ceilings else FLOAT32
        return BFLOAT16

    def _how(self, trial: Trial, batch: int) -> tuple[How, str]:
        """The machine's best for a baseline, and what the table calls it."""
        if trial.grid is None:
            return How(by_shifts), "plain"
        with measure.matmul_precision("high"):
            attention, seen = fastest(trial.grid, batch, self.device, self.repeats, self.compiles)
        self.candidates += seen
        chosen = next(candidate.name for candidate in seen if candidate.is_chosen)
        return How(attention, self.kernels), f"{chosen}; {self.kernels.name}"

    def whole(self, trials: list[Trial], rows: Iterable[Row]) -> list[Row]:
        """A picture's time where a system's parts add up to it."""
        shares = [Share(trial.part, trial.in_form) for trial in trials if trial.adds_up]
        return summed(shares, list(rows), FORMS) if shares else []


def run(names: list[str], bench: Bench, runner: Runner) -> Iterator[Row]:
    """All rows of the named systems, each as soon as it is known."""
    for name in names:
        torch.manual_seed(0)
        trials, seen = SYSTEMS[name](bench), []
        for trial in trials:
            for row in runner.rows(trial):
                seen.append(row)
                yield row
        yield from runner.whole(trials, seen)


def report(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for, and print it as it comes."""
    device = torch.device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if asked.folder and device.type == "cpu" and torch.cuda.is_available():
        sys.exit("bench: --folder starts ComfyUI, which takes the GPU; leave out --device cpu")
    steps = asked.steps if asked.steps is not None else CPU_STEPS if device.type == "cpu" else 0
    side = QUICK_SIDE if asked.quick else measure.CEILING_SIDE[device.type]
    facts = measure.machine(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    with torch.inference_mode():
        runner = Runner(device, asked.repeats, not (asked.eager or asked.quick), side)
        for name, rate in runner.ceilings.items():
            print(f"ceiling, {name}: {rate / 1e9:.0f} GFLOP/s ({side} x {side} matrices)")
        if asked.quick:
            print("Tiny networks (--quick): these numbers only tell that the bench works.")
        bench = Bench(device, QUICK if asked.quick else NATIVE, steps)
        rows = []
        for row in run(asked.systems, bench, runner):
            rows.append(row)
            print(row, flush=True)
        folders = list(through_folders(bench, runner)) if asked.folder else []
    print(f"\n{table(rows)}\n")
    for candidate in runner.candidates:
        grid = candidate.grid
        print(f"attention, {grid.side} x {grid.side}, {grid.heads} heads, "
              f"batch {candidate.batch}: {candidate}")  # fmt: skip
    return {
        "machine": facts,
        "quick": asked.quick,
        "repeats": asked.repeats,
        "ceilings": runner.ceilings,
        "attention": [asdict(candidate) for candidate in runner.candidates],
        "rows": [asdict(row) for row in rows],
        "folders": [{**asdict(folder), "ratio": folder.ratio} for folder in folders],
    }


def through_folders(bench: Bench, runner: Runner) -> Iterator[bench_folder.Folder]:
    """Folders of photos through a host, each as soon as it is known."""
    for folder in bench_folder.measured(bench, runner.halves):
        print(folder, flush=True)
        yield folder


def main(arguments: list[str] | None = None) -> None:
    asked = bench_options.declare(argparse.ArgumentParser).parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit("bench: PyTorch finds no CUDA device here; leave out --device cuda")
    if asked.json not in (None, "-") and not Path(asked.json).resolve().parent.is_dir():
        sys.exit(f"bench: there is no folder for {asked.json}; choose another --json")
    with contextlib.redirect_stdout(sys.stderr if asked.json == "-" else sys.stdout):
        found = report(asked)
    text = json.dumps(found, indent=1, allow_nan=False)
    if asked.json == "-":
        print(text)
    elif asked.json:
        Path(asked.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
