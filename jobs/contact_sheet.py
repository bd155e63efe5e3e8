"""The report of a job to be looked at: one HTML file with all it shows in it, and nothing loaded.

It runs no script but its own, whatever a file may be called: its policy names that one by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain, islice
from pathlib import Path

from .ledger import Ledger
from .outputs import is_unchanged
from .pictures import inside, picture
from .progress import Progress, progress
from .report import BETWEEN, Row, Summary, rows, summaries
from .rows import DONE, FAILED, GONE, QUEUED, SKIPPED, WAITING, Job
from .source import PhotoError

PICTURES = 300
"""Photos that are shown; the others are listed."""
SIDE, QUALITY = 384, 75
SHOWN = (DONE, SKIPPED, FAILED, "left")
STYLE = Path(__file__).with_name("contact_sheet.css")
SCRIPT = """
const show = (pair, percent) => pair.style.setProperty("--at", percent + "%");
addEventListener("input", ({ target }) => show(target.closest(".pair"), target.value));
addEventListener("pointermove", ({ target, pointerType, clientX }) => {
  const pair = pointerType === "mouse" && target.closest(".pair");
  if (!pair) return;
  const { left, width } = pair.getBoundingClientRect();
  show(pair, ((clientX - left) / width) * 100);
});
"""
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)


def contact_sheet(ledger: Ledger, job: Job, pictures: bool = True) -> Iterator[bytes]:
    """The report as HTML, piece by piece: what failed first, then before and after, then the rest.

    Args:
        pictures: whether photos and results may be shown; else they are only listed.
    """
    return (part.encode() for part in _parts(ledger, job, pictures))


def _parts(ledger: Ledger, job: Job, pictures: bool) -> Iterator[str]:
    yield from _head(job, progress(ledger, job.id))
    failed = (_failure(row) for row in rows(ledger, job.id, (FAILED,)))
    yield from _table("Failed", ("photo", "reason", "#attempts"), failed)
    measured = (_measure(summary) for summary in summaries(ledger, job.id))
    yield from _table("Measures", ("measure", "#photos", "#mean", "#least", "#most"), measured)
    made = rows(ledger, job.id, (DONE, SKIPPED))
    figures = (_figure(job, row) for row in islice(made, PICTURES if pictures else 0))
    yield from _section("Before and after", "<div class=sheet>", figures, "</div>")
    others = chain(made, rows(ledger, job.id, (WAITING, QUEUED, GONE)))
    listed = (_listed(row) for row in others)
    yield from _table("Other photos", ("photo", "state", "result", "notes", "#"), listed)
    yield f"<footer>RestoreFlow, {_moment(time.time())}</footer><script>{SCRIPT}</script></html>\n"


def _section(title: str, opening: str, parts: Iterator[str], closing: str) -> Iterator[str]:
    """A heading with what comes under it, if there is anything."""
    if (first := next(parts, None)) is not None:
        yield f"<h2>{title}</h2>{opening}"
        yield first
        yield from parts
        yield closing


def _table(title: str, heads: Sequence[str], parts: Iterator[str]) -> Iterator[str]:
    """A section that is a table; columns of numbers have a `#` before their heads."""
    cells = "".join(_cell("th", head.removeprefix("#"), head[:1] == "#") for head in heads)
    opening = f"<table class={title.split()[0].lower()}><thead><tr>{cells}</tr></thead>"
    return _section(title, opening, parts, "</table>")


def _row(cells: Sequence[str], numbers: int) -> str:
    """A row of a table whose last columns are numbers."""
    texts = len(cells) - numbers
    inner = "".join(_cell("td", cell, index >= texts) for index, cell in enumerate(cells))
    return f"<tr>{inner}</tr>"


def _cell(tag: str, text: str, number: bool) -> str:
    return f"<{tag}{' class=number' * number}>{_text(text)}</{tag}>"


def _text(text: object) -> str:
    """Any text, as text; one of another direction does not turn what stands beside it."""
    return f"<bdi>{escape(str(text))}</bdi>"


def _head(job: Job, now: Progress) -> Iterator[str]:
    counts = {DONE: 0, SKIPPED: 0, FAILED: 0, **now.counts, "left": now.left}
    bars = "".join(
        f"<i class={kind} style='flex-grow:{counts[kind]}'></i>" for kind in SHOWN if counts[kind]
    )
    tiles = "".join(_tile(kind, counts[kind], kind) for kind in SHOWN)
    pace, limit = now.seconds_per_photo, job.settings.limit
    facts = {
        "photos": job.source,
        "results": job.target,
        "started": _moment(job.created),
        "only": limit and (f"the first {limit} photos" if limit > 1 else "the first photo"),
        "reason": job.reason,
        "left out": job.left_out,
    }
    yield (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{POLICY}">'
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(job.name)}</title><style>{STYLE.read_text(encoding='utf-8')}</style>"
        f"<header><p class=kind>Photo job {job.id}</p>"
        f"<h1>{_text(job.name)} <span class='state {job.state}'>{job.state}</span></h1>"
        "<dl class=facts>"
    )
    yield "".join(f"<dt>{key}<dd>{_text(value)}" for key, value in facts.items() if value)
    yield (
        f"</dl><div class=bar>{bars}</div><ul class=tiles>"
        f"{_tile('plain', now.total, 'photo' if now.total == 1 else 'photos')}{tiles}"
        f"{_tile('plain', _size(now.bytes), 'in all')}"
        f"{_tile('plain', f'{pace:.2f} s', 'a photo') if pace else ''}</ul></header>"
    )


def _size(count: float) -> str:
    """A number of bytes as file managers show it, in thousands."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = 0
    while count >= 999.5 and power < len(units) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.1f} {units[power]}" if power and count < 10 else f"{count:.0f} {units[power]}"


def _tile(kind: str, value: object, label: str) -> str:
    return f"<li class={kind}><b>{value}</b><span>{label}</span></li>"


def _failure(row: Row) -> str:
    return _row((row.photo.path, row.photo.error or "", str(row.photo.attempts)), 1)


def _measure(summary: Summary) -> str:
    numbers = (f"{value:.4g}" for value in (summary.mean, summary.least, summary.most))
    return _row((summary.name, str(summary.photos), *numbers), 4)


def _listed(row: Row) -> str:
    results = BETWEEN.join(output.path for output in row.outputs)
    numbers = " · ".join(_numbers(row))
    return _row((row.photo.path, row.photo.state, results, " ".join(row.notes), numbers), 1)


def _figure(job: Job, row: Row) -> str:
    results = [output.path for output in row.outputs]
    before = _picture(job.source, row.photo.path)
    is_whole = bool(results) and is_unchanged(job.target, row.outputs[0])
    after = _picture(job.target, results[0]) if is_whole else None
    sides = {"before": before, "after": after}
    images = "".join(
        f"<img class={side} src='{data}' alt='{side}'><span>{side}</span>"
        for side, data in sides.items()
        if data
    )
    both = bool(before and after)
    slider = "<input type=range value=50 aria-label='how much is shown of before'>" if both else ""
    lines = "".join(
        f"<small>{_text(line)}</small>" for line in (*results, *_numbers(row), *row.notes)
    )
    return (
        f"<figure><div class='pair{'' if both else ' alone'}'>{images}{slider}</div>"
        f"<figcaption>{_text(row.photo.path)}{lines}</figcaption></figure>"
    )


def _picture(root: Path, path: str) -> str | None:
    """A picture as a link that holds it; None if there is none to show."""
    if (file := inside(root, path)) is None:
        return None
    try:
        data, kind = picture(file, SIDE, QUALITY)
    except PhotoError:
        return None
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _numbers(row: Row) -> list[str]:
    """A photo's size and time, and its measures, as far as they are known."""
    photo, measured = row.photo, row.measures.items()
    size = f"{photo.width} × {photo.height}" if photo.width else ""
    spent = f"{photo.seconds:.2f} s" if photo.seconds else ""
    facts = " · ".join(fact for fact in (size, spent) if fact)
    values = " · ".join(f"{name} {value:.4g}" for name, value in measured if value is not None)
    return [line for line in (facts, values) if line]


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
