"""Folders of photos through a real ComfyUI, beside the bare loop over the same networks.

The bare loop has its pictures in memory and saves none; what a folder takes longer is reading,
writing, the queue and the host.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import comfyui
import job_trials
import torch
from bench_measure import medians
from bench_systems import BFLOAT16, FLOAT32, MIXED, Bench, elir_face, elir_weights, pmrf_weights
from golden import as_checkpoint
from restoreflow.models.families import pmrf
from restoreflow.sampling import restore
from safetensors.torch import save_file
from torch import Tensor

SECONDS = {"cpu": 60, "cuda": 20}
"""That the bare loop would take for a folder."""
GROUPS = 4
"""Of photos, at least."""
LONGEST = 3600
MODELS = Path("models", "restoreflow")

Node = dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """What was seen of one folder."""

    system: str
    group: int
    """Photos that go through the graph at once."""
    photos: int
    per_minute: float
    bare_per_minute: float

    @property
    def ratio(self) -> float:
        """Of the folder's rate to the bare loop's."""
        return self.per_minute / self.bare_per_minute

    def __str__(self) -> str:
        return (
            f"folder, {self.system}, group {self.group}: {self.per_minute:.1f} photos a minute "
            f"({self.photos} photos), {self.ratio:.1%} of {self.bare_per_minute:.1f} in a bare loop"
        )


@dataclass(frozen=True)
class Pipeline:
    """A system as a folder's graph and as a bare loop."""

    name: str
    weights: dict[str, Tensor]
    nodes: Callable[[str, str, int], dict[str, Node]]
    """(file of the weights, precision of the flow, steps) -> what stands between Job Photo, which
    is 1, and 9, whose image is saved."""
    bare: Callable[[str], Callable[[Tensor], Tensor]]
    """Form -> (pictures) -> restored."""
    full: dict[str, int]
    """Photos of a full group, by kind of device."""

    @property
    def file(self) -> str:
        """What its weights are called in the host's folder."""
        return f"bench {self.name}.safetensors"

    def save(self, models: Path) -> Path:
        """Write the weights into a host's folder of them."""
        models.mkdir(parents=True, exist_ok=True)
        path = models / self.file
        save_file({name: t.contiguous() for name, t in self.weights.items()}, path)
        return path


def node(kind: str, **inputs: Any) -> Node:
    return {"class_type": f"RestoreFlow{kind}", "inputs": inputs}


def loader(kind: str, file: str, precision: str = FLOAT32) -> Node:
    return node(f"Load{kind}", weights=file, precision=precision, ema=True)


def sampler(kind: str, steps: int, **inputs: Any) -> Node:
    course = {"seed": 0, "steps": steps, "source_noise": -1.0, "solver": "euler"}
    return node(f"Sample{kind}", flow=["3", 0], **course, **inputs)


def pmrf_nodes(file: str, precision: str, steps: int) -> dict[str, Node]:
    return {
        "2": loader("PosteriorMean", file),
        "3": loader("Flow", file, precision),
        "4": node("PosteriorMean", posterior_mean=["2", 0], image=["1", 0]),
        "9": sampler("Image", steps, image=["4", 0]),
    }


def elir_nodes(file: str, precision: str, _steps: int) -> dict[str, Node]:
    return {
        "2": loader("PosteriorMean", file),
        "3": loader("Flow", file, precision),
        "4": loader("RestorationVAE", file),
        "5": node("Encode", vae=["4", 0], image=["1", 0], mode="mean", seed=0),
        "6": node("PosteriorMeanLatent", posterior_mean=["2", 0], latent=["5", 0]),
        "7": sampler("Latent", 0, latent=["6", 0]),
        "9": node("Decode", vae=["4", 0], latent=["7", 0]),
    }


def pipelines(bench: Bench) -> Iterator[Pipeline]:
    """One at a time, for the weights are large."""
    torch.manual_seed(0)
    weights = pmrf_weights(bench.sizes)
    bare = partial(bare_pmrf, bench, weights)
    yield Pipeline("PMRF face", weights, pmrf_nodes, bare, {"cpu": 2, "cuda": 32})
    torch.manual_seed(0)
    weights = elir_weights(bench.sizes)
    yield Pipeline(
        "ELIR face", weights, elir_nodes, partial(bare_elir, bench), {"cpu": 4, "cuda": 64}
    )


def bare_pmrf(bench: Bench, weights: dict[str, Tensor], form: str) -> Callable[[Tensor], Tensor]:
    file, steps = as_checkpoint({"": weights}), bench.count(pmrf.STEPS)
    mean = bench.part(pmrf.load_mean, file, form)
    flow = bench.part(pmrf.load_flow, file, form)

    def run(pictures: Tensor) -> Tensor:
        noise = torch.randn_like(pictures)
        return restore.sample(flow, restore.posterior_mean(mean, pictures), noise, steps=steps)

    return run


def bare_elir(bench: Bench, form: str) -> Callable[[Tensor], Tensor]:
    whole = elir_face(bench)[0]
    run = whole.ours(form)
    return lambda pictures: run(pictures, whole.draw(len(pictures))[1])


def graph(pipeline: Pipeline, precision: str, steps: int, group: int) -> dict[str, Node]:
    """A photo job's, in API form."""
    ends = job_trials.graph(group=group)
    saving = ends["3"]
    saving["inputs"]["image"] = ["9", 0]
    return {"1": ends["1"], **pipeline.nodes(pipeline.file, precision, steps), "10": saving}


def measured(bench: Bench, halves: bool) -> Iterator[Folder]:
    """Each system alone and in full groups, as fast as the nodes' own precisions allow.

    Args:
        halves: whether flows run in bfloat16.
    """
    form, precision = (MIXED, BFLOAT16) if halves else (FLOAT32, FLOAT32)
    for pipeline in pipelines(bench):
        side, groups = bench.sizes.side, sorted({1, pipeline.full[bench.device.type]})
        seconds = bare_seconds(bench, pipeline, form, groups)
        with running(pipeline) as jobs:
            for group, bare in zip(groups, seconds, strict=True):
                count = group * max(GROUPS, math.ceil(SECONDS[bench.device.type] / bare))
                made = graph(pipeline, precision, bench.steps, group)
                rate = 60 * photo_rate(jobs, made, f"group {group}", count, group, side)
                yield Folder(pipeline.name, group, count, rate, 60 * group / bare)


def bare_seconds(bench: Bench, pipeline: Pipeline, form: str, groups: list[int]) -> list[float]:
    """A group's time in the bare loop, of each size; the device is free again afterwards."""
    bare, side, found = pipeline.bare(form), bench.sizes.side, []
    for group in groups:
        call = {form: partial(bare, bench.uniform(group, 3, side, side))}
        found.append(medians(call, GROUPS, bench.device)[form])
    del bare, call
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
    return found


@contextmanager
def running(pipeline: Pipeline) -> Iterator[job_trials.Jobs]:
    """A host that has the system's weights."""
    work = Path(tempfile.mkdtemp(prefix="restoreflow-bench-"))
    try:
        pipeline.save(work / MODELS)
        with comfyui.Host(comfyui.find(), work) as host:
            yield job_trials.Jobs(host)
    finally:
        shutil.rmtree(work)


def photo_rate(
    jobs: job_trials.Jobs, made: dict[str, Node], name: str, count: int, group: int, side: int
) -> float:
    """Photos a second, from the first group's end on: what loads weights and warms up is before.

    Args:
        name: of the folders, in the host's input and output.
        count: photos beside the first group's.
    """
    source, target = (jobs.host.folder / place / name for place in ("input", "output"))
    job_trials.fill(source, count + group, side)
    job = jobs.wait(jobs.start(made, source, target), LONGEST)
    if job["counts"] != {"done": count + group}:
        raise RuntimeError(f"the folder did not go through: {job}")
    times = sorted(path.stat().st_mtime for path in target.rglob("*.jpg"))
    return count / (times[-1] - times[group - 1])
