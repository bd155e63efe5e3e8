"""Neighbourhood attention and the whole HDiT at 512 px, beside two other exact formulations.

python scripts/bench_attention.py [--repeats N], with the environment's Python (`run.py` makes it).
Random weights of PMRF's face network, float32, one run: the forms take turns, medians are
compared. Times are of this machine and say nothing alone; the ratios are the result. Peak memory
is what torch allocated beyond the inputs, by its profiler.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import pack  # noqa: F401 - makes restoreflow importable
import torch
from restoreflow.models.networks import hdit
from restoreflow.models.networks.neighborhood import neighborhood_attention
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

KERNEL_SIZE = 7
SIZE = 512
ROWS_AT_ONCE = 8
LEVELS = (
    hdit.Level(256, 2, 4, 768, KERNEL_SIZE),
    hdit.Level(512, 2, 8, 1536, KERNEL_SIZE),
    hdit.Level(1024, 8, 16, 3072, None),
)
MAPPING = hdit.Mapping(768, 2, 2304)

Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def windows(length: int, size: int) -> Tensor:
    """[length, size]: the positions that each position attends to, shifted inward at the ends."""
    first = (torch.arange(length) - size // 2).clamp(0, length - size)
    return first[:, None] + torch.arange(size)


def by_shifts(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    """One product of whole maps for each of the size^2 offsets; no copy of all windows."""
    rows, columns = windows(q.shape[1], size), windows(q.shape[2], size)
    offsets = [(i, j) for i in range(size) for j in range(size)]
    logits = torch.stack(
        [(q * k[:, rows[:, i]][:, :, columns[:, j]]).sum(-1) for i, j in offsets], dim=-1
    )
    weights = logits.softmax(-1)
    out = torch.zeros_like(v)
    for n, (i, j) in enumerate(offsets):
        out += weights[..., n, None] * v[:, rows[:, i]][:, :, columns[:, j]]
    return out


def by_gathered_rows(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    """Every query's own window gathered, some rows of queries at a time."""
    rows, columns = windows(q.shape[1], size), windows(q.shape[2], size)
    out = torch.empty_like(v)
    for start in range(0, q.shape[1], ROWS_AT_ONCE):
        band = slice(start, start + ROWS_AT_ONCE)
        near = (slice(None), rows[band][:, None, :, None], columns[None, :, None, :])
        keys, values = (x[near].flatten(3, 4) for x in (k, v))  # [B, rows, W, size^2, heads, d]
        weights = torch.einsum("bijhd,bijnhd->bijhn", q[:, band], keys).softmax(-1)
        out[:, band] = torch.einsum("bijhn,bijnhd->bijhd", weights, values)
    return out


FORMS: dict[str, Attention] = {
    "ours": neighborhood_attention,
    "49 shifts": by_shifts,
    "gathered rows": by_gathered_rows,
}


def median_seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Medians of interleaved calls, after one of each that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_bytes(call: Callable[[], object]) -> int:
    """The most that torch held at once beyond what stood before the call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def attentions() -> dict[str, Callable[[], Tensor]]:
    """A call of each form on the same queries, keys and values of the finest level."""
    finest, side = LEVELS[0], SIZE // 4
    q, k, v = torch.randn(3, 1, side, side, finest.heads, finest.width // finest.heads)
    return {name: lambda form=form: form(q, k, v, KERNEL_SIZE) for name, form in FORMS.items()}


def forwards() -> dict[str, Callable[[], Tensor]]:
    """A call of the same network on the same picture with each form of attention."""
    network = hdit.HDiT(LEVELS, MAPPING).eval()
    x, t = torch.rand(1, 3, SIZE, SIZE), torch.tensor([0.3])

    def call(form: Attention) -> Tensor:
        hdit.neighborhood_attention = form
        try:
            return network(x, t)
        finally:
            hdit.neighborhood_attention = neighborhood_attention

    return {name: lambda form=form: call(form) for name, form in FORMS.items()}


def report(title: str, calls: dict[str, Callable[[], Tensor]], repeats: int, beyond: int) -> None:
    """A table of one comparison; `beyond` bytes of the peak are the output's own."""
    results = {name: call() for name, call in calls.items()}
    seconds = median_seconds(calls, repeats)
    print(f"\n{title}\n{'form':<16}{'seconds':>9}{'ours / it':>11}{'peak MB':>9}{'max diff':>10}")
    for name, call in calls.items():
        difference = (results[name] - results["ours"]).abs().max().item()
        ratio = seconds["ours"] / seconds[name]
        peak = (peak_bytes(call) - beyond) / 2**20
        print(f"{name:<16}{seconds[name]:>9.3f}{ratio:>11.2f}{peak:>9.0f}{difference:>10.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    with torch.inference_mode():
        output = SIZE**2 // 16 * LEVELS[0].width * 4
        report("Attention, 128 x 128 tokens, 4 heads of 64", attentions(), repeats, output)
        report("HDiT (ImageNet256Sp4), 512 x 512 px", forwards(), repeats, 0)


if __name__ == "__main__":
    main()
