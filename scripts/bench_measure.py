"""What the bench reads off a machine: time, memory, arithmetic, and how far two results differ."""

import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bench_attention import Attention, median_seconds, peak_bytes
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

Call = Callable[[], Tensor]

CEILING_SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product is the ceiling."""
NATIVE_GAIN = 1.5
"""How much faster products in bfloat16 must be for a CPU to have them in hardware."""
TF32 = "tf32"
EQUAL = 200.0
"""dB of equal results, and of any that differ less: JSON knows no infinity."""


def machine(device: torch.device) -> dict[str, Any]:
    """What a reader of the numbers must know of where they were measured."""
    facts = {"torch": torch.__version__, "system": platform.platform(), "device": device.type}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {**facts, "name": properties.name, "cuda": torch.version.cuda,
                "memory_bytes": properties.total_memory}  # fmt: skip
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {**facts, "name": _processor(), "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(), "load": load}  # fmt: skip


def _processor() -> str:
    """Linux tells the model in a file only."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


# Time


def medians(calls: Mapping[str, Call], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of calls that take turns, each waited for, after one that does not count."""

    def finished(call: Call) -> None:
        call()
        synchronize(device)

    timed = {name: lambda call=call: finished(call) for name, call in calls.items()}
    return median_seconds(timed, repeats)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def matmul_precision(level: str) -> Iterator[None]:
    """Within it, float32 products are as exact as `torch.set_float32_matmul_precision` says."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(level)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


# Memory


def peak(call: Call, device: torch.device) -> int:
    """The most bytes that torch held at once beyond what stood before the call."""
    if device.type != "cuda":
        return peak_bytes(call)
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


# Arithmetic


def ceilings(device: torch.device, side: int, repeats: int) -> dict[str, float]:
    """FLOP/s of one large product of matrices, by precision: more than any network reaches."""
    found = {}
    kinds = [("float32", torch.float32, "highest"), ("bfloat16", torch.bfloat16, "highest")]
    if device.type == "cuda":
        kinds.append((TF32, torch.float32, "high"))
    for name, dtype, level in kinds:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        product = {name: lambda a=a, b=b: a @ b}
        with matmul_precision(level):  # the best of several: noise only lowers a ceiling
            seconds = min(medians(product, 1, device)[name] for _ in range(max(repeats, 3)))
        found[name] = 2 * side**3 / seconds
    return found


def has_bfloat16(device: torch.device, found: Mapping[str, float]) -> bool:
    """Whether the machine multiplies in bfloat16 natively: seen in its speed, not in its name."""
    return device.type == "cuda" or found["bfloat16"] > NATIVE_GAIN * found["float32"]


def count_flops(call: Callable[[Attention], Tensor]) -> int:
    """Floating-point operations of the products and convolutions of a call, which is not run.

    Args:
        call: given a neighbourhood attention; of that, only the products that are needed count,
            whatever a formulation computes beside them.
    """
    inside = 0

    def attention(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        nonlocal inside
        inside += 4 * q.numel() * size**2  # a product with a key and one with a value, each
        return torch.empty_like(v)

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # PyTorch counts CUDA's
    counter = FlopCounterMode(display=False, custom_mapping={on_cpu: _attention_flops})
    with FakeTensorMode(allow_non_fake_inputs=True), counter:
        call(attention)
    return counter.get_total_flops() + inside


def _attention_flops(query: tuple, key: tuple, value: tuple, *_: Any, **__: Any) -> int:
    """Of global attention, by its shapes [B, heads, tokens, width]."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


# Agreement


def psnr(ours: Tensor, theirs: Tensor, span: float | None = 1.0) -> float:
    """In dB; `span` is the range of the values, None for that of `theirs`."""
    error = (ours.double().cpu() - theirs.double().cpu()).square().mean().item()
    span = (theirs.max() - theirs.min()).item() if span is None else span
    return min(10 * math.log10(span**2 / error), EQUAL) if error else EQUAL
