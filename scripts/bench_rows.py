"""A line of the bench's table, and how parts add up to a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

BASELINE = "baseline"
WHOLE = "whole picture"
COLUMNS = ("system", "part", "size", "batch", "form", "evaluations", "s / evaluation", "s / image",
           "peak MB", "GFLOP/s", "of ceiling", "x baseline", "PSNR dB")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What was measured of one form of one trial at one batch."""

    system: str
    part: str
    size: str
    batch: int
    form: str
    """The precision of ours, or the baseline with what it was given of the machine's best."""
    evaluations: int
    """Of a network, in a call that was timed."""
    planned: int
    """The same for one picture, as published."""
    seconds_per_evaluation: float
    """For one picture of the batch."""
    seconds_per_image: float
    """At the planned number of evaluations."""
    peak_bytes: int
    """That torch held at once beyond weights and inputs."""
    flops_per_evaluation: float
    """That the mathematics of one picture needs, whatever a formulation computes beside."""
    flops_per_second: float
    of_ceiling: float | None
    """Of the same machine's product of large matrices in the same precision."""
    times_baseline: float
    """How many times as fast as the baseline."""
    psnr: float | None
    """Against the baseline's result; None for itself."""

    @property
    def is_baseline(self) -> bool:
        return self.form.startswith(BASELINE)

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows them."""
        return (
            self.system, self.part, self.size, str(self.batch), self.form,
            f"{self.evaluations} of {self.planned}", f"{self.seconds_per_evaluation:.4f}",
            f"{self.seconds_per_image:.3f}", f"{self.peak_bytes / 2**20:.0f}",
            f"{self.flops_per_second / 1e9:.0f}",
            "" if self.of_ceiling is None else f"{self.of_ceiling:.0%}",
            f"{self.times_baseline:.2f}", "" if self.psnr is None else f"{self.psnr:.1f}",
        )  # fmt: skip

    def __str__(self) -> str:
        return "  ".join(filter(None, self.cells))


def table(rows: Sequence[Row]) -> str:
    """All rows, as Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


class Share(NamedTuple):
    """A part of a picture."""

    part: str
    in_form: Callable[[str], str]
    """Which of its forms a whole in some form takes."""


def summed(shares: Sequence[Share], rows: Sequence[Row], forms: Sequence[str]) -> list[Row]:
    """One row a form and batch for pictures that take all these parts.

    Time and arithmetic add up; of memory the most counts, of PSNR the least.
    """
    found = []
    for batch in sorted({row.batch for row in rows}):
        at = {
            (row.part, BASELINE if row.is_baseline else row.form): row
            for row in rows
            if row.batch == batch
        }
        theirs = [at.get((share.part, BASELINE)) for share in shares]
        ways = {}  # two forms that take the same forms of every part are one
        for form in (BASELINE, *forms):
            named = [form if form == BASELINE else share.in_form(form) for share in shares]
            ways.setdefault(tuple(named), form)
        for named, form in ways.items():
            parts = [at.get((s.part, n)) for s, n in zip(shares, named, strict=True)]
            if None not in parts and None not in theirs:
                found.append(_sum(form, parts, sum(row.seconds_per_image for row in theirs)))
    return found


def _sum(form: str, parts: list[Row], baseline: float) -> Row:
    seconds = sum(row.seconds_per_image for row in parts)
    flops = sum(row.flops_per_evaluation * row.planned for row in parts)
    psnrs = [row.psnr for row in parts if row.psnr is not None]
    return replace(
        parts[-1],
        part=WHOLE,
        form=form,
        evaluations=1,
        planned=1,
        seconds_per_evaluation=seconds,
        seconds_per_image=seconds,
        peak_bytes=max(row.peak_bytes for row in parts),
        flops_per_evaluation=flops,
        flops_per_second=flops / seconds,
        of_ceiling=None,
        times_baseline=baseline / seconds,
        psnr=min(psnrs, default=None),
    )
