"""Compare golden files with this implementation. Run by `run.py parity FILE...`.

A golden file holds inputs, weights and outputs that the published code computed; its metadata and
tensor names say which, never its own name. What is called here is what the nodes call.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pack  # noqa: F401 - makes restoreflow importable
import parity_dot
import parity_elir
import parity_flow_map
import parity_latent_pmrf
import parity_song_unet
import torch
from golden import (
    WHOLE,
    Comparison,
    Golden,
    Kind,
    as_checkpoint,
    compare,
    read,
    same,
    same_keys,
    select,
)
from restoreflow.models.checkpoint import read as read_checkpoint
from restoreflow.models.families import pmrf
from restoreflow.models.networks.neighborhood import neighborhood_attention
from restoreflow.sampling import restore
from restoreflow.sampling.tiling import pad_to
from safetensors import SafetensorError
from torch import Tensor

ATTENTION_TOLERANCE = 1e-5

# Each kind of golden file


def attention(golden: Golden) -> Iterator[Comparison]:
    """Neighbourhood attention alone: case{i}.{q, k, v, out}, heads last, scale 1."""
    for i, case in enumerate(golden.facts["cases"]):
        q, k, v, out = (golden.tensors[f"case{i}.{name}"] for name in ("q", "k", "v", "out"))
        ours = neighborhood_attention(q, k, v, case["kernel_size"])
        yield compare(f"case{i}.out", ours, out, ATTENTION_TOLERANCE)


def hdit(golden: Golden) -> Iterator[Comparison]:
    """The flow network: case{n}.{x, t, v}, and activations of the first case."""
    config = {"self_attns": golden.facts["config"]["self_attns"]}
    flow = pmrf.load_flow(as_checkpoint({"model.": golden.weights("sd.")}, config))
    yield from order(flow.network, golden)
    for case in golden.facts["cases"]:
        x, t, v = (golden.tensors[case[name]] for name in ("x", "t", "v"))
        prefix = case["x"].removesuffix("x") + "inter."
        activations = golden.weights(prefix)
        with recording(flow.network, activations) as seen:
            ours = flow.predict(x, t, t)
        yield compare(case["v"], ours, v)
        for name, theirs in activations.items():
            ours = seen[name][:1]
            if ours.ndim == 4:
                ours = ours[:, : theirs.shape[1], : theirs.shape[2]]
            yield compare(prefix + name, ours, theirs)


def order(network: torch.nn.Module, golden: Golden) -> Iterator[Comparison]:
    """The order of registration, in which moving averages are stored, where the file tells it."""
    if "param_order" in golden.facts:
        names = [published(name) for name, _ in network.named_parameters()]
        yield same("param_order", names, golden.facts["param_order"])


def published(name: str) -> str:
    """A tensor's published name; spandrel holds SwinIR's first convolution one name higher."""
    return name.replace("conv_first.", "conv_first.1.")


WATCHED: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
    "patch_in": lambda network: network.patch_in,
    "mapping_out": lambda network: network.mapping,
    "down0_block0_self_attn_out": lambda network: network.down_levels[0][0].self_attn,
    "mid_out": lambda network: network.mid_level[-1],
    "out_norm": lambda network: network.out_norm,
}
"""Golden names of activations, and whose output they are."""


class recording:  # noqa: N801  reads as a verb
    """Within it, a network's activations are kept under their golden names."""

    def __init__(self, network: torch.nn.Module, names: Iterable[str]):
        self.modules = {name: WATCHED[name](network) for name in names}

    def __enter__(self) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}
        self.hooks = [
            module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
            for name, module in self.modules.items()
        ]
        return seen

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def swinir(golden: Golden) -> Iterator[Comparison]:
    """The posterior mean's network: case{n}.{x, y}, unclipped and uncropped, and its masks."""
    state = golden.weights("sd.")
    filled = dict(state)
    pmrf.fill_window_buffers(filled)
    for name, facts in golden.facts.get("omitted_buffers", {}).items():
        digest = hashlib.sha256(filled[name].numpy().tobytes()).hexdigest()
        yield same(name, digest, facts["sha256"])
    part = pmrf.load_mean(as_checkpoint({"": state}))
    yield from order(part.network, golden)
    for case in golden.facts["cases"]:
        yield compare(case["y"], part.network(golden.tensors[case["x"]]), golden.tensors[case["y"]])
    for name, mask in golden.weights("aux.attn_mask_grid").items():
        grid = tuple(int(side) for side in name.split("x"))
        shifted = part.network.layers[0].residual_group.blocks[1]
        yield compare(f"aux.attn_mask_grid{name}", shifted.calculate_mask(grid), mask, 0.0)


def pipeline(golden: Golden) -> Iterator[Comparison]:
    """Whole restorations, one for each variant of PMRF's experiments."""
    for name, variant in golden.facts["variants"].items():
        yield from one_variant(golden, name, variant)


def one_variant(golden: Golden, name: str, variant: dict[str, Any]) -> Iterator[Comparison]:
    """One experiment: its posterior mean, source, states and result."""
    mean_prefix, flow_prefix = variant.get("mmse_prefix"), variant.get("net_prefix")
    parts = {}
    if mean_prefix:
        parts["mmse_model."] = golden.weights(mean_prefix)
    if flow_prefix:
        parts["model."] = golden.weights(flow_prefix)
    config = {**variant["init_kwargs"], "self_attns": golden.facts["hdit_config"]["self_attns"]}
    checkpoint = as_checkpoint(parts, config)

    degraded = golden.tensors[variant["y"]]
    if mean_prefix:
        estimator = pmrf.load_mean(checkpoint)
        degraded = pad_to(degraded, estimator.multiple)  # as published: padded, never cropped
    image = degraded.expand(-1, 3, -1, -1)
    if mean_prefix:
        if (raw := golden.tensors.get(f"{name}.mmse_raw")) is not None:
            yield compare(f"{name}.mmse_raw", estimator.network(degraded), raw)
        image = restore.posterior_mean(estimator, image)
    if not flow_prefix:
        yield compare(variant["xhat"], image, golden.tensors[variant["xhat"]])
        return
    flow = pmrf.load_flow(checkpoint)
    noise = golden.tensors[variant["noise"]]
    yield from restoration(golden, name, variant, flow, image, noise)


def restoration(golden, name, variant, flow, image, noise) -> Iterator[Comparison]:
    """The flow sampler on a recorded noise, against the recorded states."""
    if (source := golden.tensors.get(f"{name}.source")) is not None:
        ours = restore.start(flow, image, noise, restore.FROM_CHECKPOINT)
        yield compare(f"{name}.source", ours, source)
    steps: list = []
    result = restore.sample(
        flow, image, noise, steps=len(variant["t"]), tile=WHOLE, observe=steps.append
    )
    yield compare(
        f"{name}.t",
        torch.tensor([step.t for step in steps], dtype=torch.float64),
        torch.tensor(variant["t"], dtype=torch.float64),
    )
    if (states := golden.tensors.get(f"{name}.x_t_seq")) is not None:
        ours = torch.stack([step.end for step in steps]).reshape(states.shape)
        yield compare(f"{name}.x_t_seq", ours, states)
        last = states.reshape(len(steps), *image.shape)[-1]
        yield compare(f"{name} (result)", result, last.clamp(0, 1))
    if (last := golden.tensors.get(f"{name}.x_last")) is not None:
        yield compare(f"{name}.x_last", steps[-1].end, last)
        yield compare(f"{name} (result)", result, last.clamp(0, 1))


def keys(golden: Golden) -> Iterator[Comparison]:
    """Names, shapes and order of a whole network's tensors."""
    shapes = {name: tuple(shape) for name, (shape, _) in golden.facts["keys"].items()}
    if "model.patch_in.proj.weight" in shapes and "mmse_model.conv_first.1.weight" in shapes:
        yield from flow_keys(select(shapes, "model."), "model.")
        yield from mean_keys(select(shapes, "mmse_model."), "mmse_model.")
    elif "patch_in.proj.weight" in shapes:
        yield from flow_keys(shapes)
        yield from order(pmrf.build_network(shapes), golden)
    else:
        yield from mean_keys(shapes)


def flow_keys(shapes: dict[str, tuple], prefix: str = "") -> Iterator[Comparison]:
    """Of an HDiT built from the shapes."""
    ours = {name: tuple(t.shape) for name, t in pmrf.build_network(shapes).state_dict().items()}
    yield from same_keys(ours, shapes, prefix)


def mean_keys(shapes: dict[str, tuple], prefix: str = "") -> Iterator[Comparison]:
    """Of a SwinIR as spandrel builds it; tables that follow from shapes may be left out."""
    zeros = {name: torch.zeros(shape) for name, shape in shapes.items()}
    state = pmrf.load_mean(as_checkpoint({"": zeros})).network.state_dict()
    ours = {published(name): tuple(tensor.shape) for name, tensor in state.items()}
    derivable = [n for n in ours if n.endswith(pmrf.MEAN_BUFFERS) and n not in shapes]
    ours = {name: shape for name, shape in ours.items() if name not in derivable}
    yield from same_keys(ours, shapes, prefix)


def lightning(path: Path, goldens: list[Golden]) -> Iterator[Comparison]:
    """A training checkpoint's parts, against the pipeline file given in the same call.

    Of several pipeline files the one counts that fits best.
    """
    references = [golden for golden in goldens if "hdit_config" in golden.facts]
    if not references:
        raise ValueError("give the pipeline file that holds its weights in the same call")
    checkpoint = read_checkpoint(path)
    roles = (
        (pmrf.has_flow, pmrf.load_flow, "flow."),
        (pmrf.has_mean, pmrf.load_mean, "mmse_model."),
    )
    states = {
        prefix: {published(k): v for k, v in load(checkpoint).network.state_dict().items()}
        for holds, load, prefix in roles
        if holds(checkpoint)
    }
    results = [list(same_weights(states, golden)) for golden in references]
    yield from min(results, key=lambda lines: sum(not line.ok for line in lines))


def same_weights(states: dict[str, dict[str, Tensor]], golden: Golden) -> Iterator[Comparison]:
    """Every tensor of the loaded parts beside the golden one of its name."""
    for prefix, ours in states.items():
        theirs = golden.weights(prefix)
        extra = [n for n in ours if n not in theirs and not n.endswith(pmrf.MEAN_BUFFERS)]
        yield same(f"{prefix}* (names)", extra, [])
        for name, tensor in theirs.items():
            yield compare(prefix + name, ours.get(name, torch.empty(0)), tensor)


KINDS: list[Kind] = [
    (lambda g: "case0.q" in g.tensors, attention),
    (lambda g: g.facts.get("arch") == "hdit" and "cases" in g.facts, hdit),
    (lambda g: g.facts.get("arch") == "swinir" and "cases" in g.facts, swinir),
    (lambda g: "variants" in g.facts and "hdit_config" in g.facts, pipeline),
    (
        lambda g: any(
            name.endswith(("patch_in.proj.weight", "conv_first.1.weight"))
            for name in g.facts.get("keys", ())
        ),
        keys,
    ),
    *parity_dot.KINDS,
    *parity_elir.KINDS,
    *parity_flow_map.KINDS,
    *parity_latent_pmrf.KINDS,
    *parity_song_unet.KINDS,
]


def comparisons(path: Path, goldens: dict[Path, Golden]) -> Iterator[Comparison]:
    """All comparisons that a file asks for.

    Raises:
        ValueError: it is no golden file that this version knows.
    """
    if path not in goldens:
        return lightning(path, list(goldens.values()))
    twin = path.with_suffix(".safetensors")
    if path.suffix == ".json" and twin.is_file():
        return iter([same(f"metadata of {twin.name}", goldens[path].facts, read(twin).facts)])
    runner = next((run for matches, run in KINDS if matches(goldens[path])), None)
    if runner is None:
        raise ValueError("no golden file that this version knows")
    return runner(goldens[path])


def report(path: Path, goldens: dict[Path, Golden]) -> int:
    """Print one line a tensor; the number of those out of tolerance."""
    failed = 0
    print(f"{path.name}\n{'':2}{'tensor':<62}{'max abs':>10}{'max rel':>10}{'tol':>9}")
    for line in comparisons(path, goldens):
        failed += not line.ok
        print(
            f"{'':2}{line.name:<62}{line.absolute:>10.1e}{line.relative:>10.1e}"
            f"{line.tolerance:>9.0e}  {'ok' if line.ok else 'OUT OF TOLERANCE'}",
            flush=True,
        )
    return failed


def main() -> None:
    """Compare each file; exit with 1 if a tensor is out of tolerance or a file is not known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="+", type=Path)
    paths = parser.parse_args().file
    goldens: dict[Path, Golden] = {}
    faults, failed = [], 0
    for path in paths:
        try:
            if path.suffix != ".ckpt":
                goldens[path] = read(path)
        except (OSError, ValueError, SafetensorError) as error:
            faults.append(f"{path.name} cannot be read as a golden file: {error}.")
    with torch.inference_mode():
        for path in paths:
            try:
                if path in goldens or path.suffix == ".ckpt":
                    failed += report(path, goldens)
            except (OSError, ValueError, KeyError) as error:
                faults.append(f"{path.name}: {' '.join(str(error).split()).rstrip('.')}.")
    if not failed and not faults:
        print("All of them agree.")
    if failed:
        faults.append(f"{failed} tensor(s) are out of tolerance.")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
