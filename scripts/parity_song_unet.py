"""The published flow-map network's golden file: its mean velocity, of several sizes and times."""

from collections.abc import Iterator

import torch
from golden import Comparison, Golden, Kind, as_checkpoint, compare
from restoreflow.models.families import flow_map


def mean_velocity(golden: Golden) -> Iterator[Comparison]:
    """case{n}.{x, t, s, u}; the weights are stored in half precision and were run in single."""
    flow = flow_map.load_flow(as_checkpoint({"model.": golden.weights("model.")}))
    flow.cast(torch.float32)
    for case in golden.facts["cases"]:
        x, t, s, u = (golden.tensors[case[name]] for name in ("x", "t", "s", "u"))
        yield compare(case["u"], flow.network(x, t, s), u)


KINDS: list[Kind] = [(lambda g: g.facts.get("arch") == "song_unet", mean_velocity)]
