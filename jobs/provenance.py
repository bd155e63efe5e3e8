"""What a result was made with, for the note beside it: read off the graph, which says it all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import graph as graphs
from .workflow import Prompt

WEIGHTS = (".safetensors", ".sft", ".ckpt", ".pth", ".pt", ".bin", ".gguf", ".onnx")
SEEDS = ("seed", "noise_seed")


def provenance(graph: Prompt, revision: Callable[[str], str | None]) -> dict[str, Any]:
    """Models, seeds and steps by the nodes that they are set on, and the graph's own sha256.

    Args:
        revision: a weight file's name -> the published version that it is of, if that is known.
    """
    constants = [
        (f"{node.get('_meta', {}).get('title') or node['class_type']} ({key})", name, value)
        for key, node in graph.items()
        for name, value in node.get("inputs", {}).items()
        if not isinstance(value, list)
    ]
    files = [v for _, _, v in constants if isinstance(v, str) and v.lower().endswith(WEIGHTS)]
    return {
        "models": [{"file": f, "revision": revision(f)} for f in dict.fromkeys(files)],
        "seed": {node: value for node, name, value in constants if name in SEEDS},
        "steps": {node: value for node, name, value in constants if name == "steps"},
        "graph_sha256": graphs.graph_hash(graph),
    }
