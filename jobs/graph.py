"""The graph of a job: what makes it one, what it is told from others by, and one photo's prompt."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .workflow import Prompt

JOB_PHOTO = "RestoreFlowJobPhoto"
SAVE = "RestoreFlowSaveRestoredPhoto"
RUN_TIME = {"job", "rows", "group"}
"""The inputs of Job Photo that say which photos a prompt is for, and nothing of what is done."""
LARGEST_GROUP = 64
"""Photos that may share a prompt."""


class GraphError(ValueError):
    """A graph that no job can be made of; one sentence says what to change."""


def check(graph: Prompt) -> None:
    """Let a graph pass that has one Job Photo and a Save Restored Photo behind it.

    Raises:
        GraphError: it is another.
    """
    if not graph or not all(isinstance(n, dict) and "class_type" in n for n in graph.values()):
        raise GraphError("This is no graph in API form: save it with Workflow > Export (API).")
    firsts, saves = nodes(graph, JOB_PHOTO), nodes(graph, SAVE)
    if len(firsts) != 1:
        raise GraphError(
            f"A photo job needs exactly one Job Photo node, but the graph has {len(firsts)}."
        )
    if not saves:
        raise GraphError(
            "A photo job needs a Save Restored Photo node, but the graph has none, so nothing "
            "would be kept."
        )
    if set(fed_saves(graph)) != set(saves):
        raise GraphError(
            "Wire the photo output of Job Photo to the photo input of each Save Restored Photo: "
            "without it, there is no name to save under."
        )
    names = {
        json.dumps([_input(graph, key, "suffix"), _input(graph, key, "format")]) for key in saves
    }
    if len(names) < len(saves):
        raise GraphError(
            "Two Save Restored Photo nodes have the same suffix and format, so one would replace "
            "what the other saved: give each a suffix of its own."
        )


def _input(graph: Prompt, key: str, name: str) -> Any:
    return graph[key].get("inputs", {}).get(name)


def nodes(graph: Prompt, kind: str) -> list[str]:
    """The ids of the nodes of a type."""
    return [key for key, node in graph.items() if node["class_type"] == kind]


def fed_saves(graph: Prompt) -> list[str]:
    """The ids of the Save nodes that get the job's photo on their socket `photo`: its outputs."""
    (first,) = nodes(graph, JOB_PHOTO)
    wired = ((key, graph[key].get("inputs", {}).get("photo")) for key in nodes(graph, SAVE))
    links = {key: str(link[0]) for key, link in wired if _is_link(link)}
    return [key for key, link in links.items() if first in {link} | _before(graph, link)]


def needed(graph: Prompt) -> Prompt:
    """The part of a graph that a job runs: what saves or measures its photo, and all before that.

    Previews and other outputs are for a person who watches one picture; of ten thousand they
    would only fill the disk.
    """
    measuring = [
        key for key, node in graph.items() if _is_link(node.get("inputs", {}).get("photo"))
    ]
    kept = set(measuring).union(*(_before(graph, key) for key in measuring))
    return {key: node for key, node in graph.items() if key in kept}


def sees_photo(graph: Prompt, key: str) -> bool:
    """Whether what a node does may differ from photo to photo; a node that is unknown may, too."""
    (first,) = nodes(graph, JOB_PHOTO)
    return key not in graph or key == first or first in _before(graph, key)


def _before(graph: Prompt, key: str) -> set[str]:
    """All nodes that a node depends on."""
    found, ahead = set(), [key]
    while ahead:
        for source in _sources(graph.get(ahead.pop(), {})):
            if source not in found:
                found.add(source)
                ahead.append(source)
    return found


def _sources(node: Mapping[str, Any]) -> Iterator[str]:
    for value in node.get("inputs", {}).values():
        if _is_link(value):
            yield str(value[0])


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def group_of(graph: Prompt) -> int:
    """How many photos may share a prompt, as Job Photo says."""
    value = graph[nodes(graph, JOB_PHOTO)[0]].get("inputs", {}).get("group", 1)
    return max(value, 1) if isinstance(value, int) else 1


def graph_hash(graph: Prompt) -> str:
    """The same for graphs that do the same: for any order, titles and photos asked for."""
    bare = {key: _bare(node) for key, node in graph.items()}
    return digest(bare)


def _bare(node: Mapping[str, Any]) -> dict[str, Any]:
    run_time = RUN_TIME if node["class_type"] == JOB_PHOTO else set()
    inputs = {k: v for k, v in node.get("inputs", {}).items() if k not in run_time}
    return {"class_type": node["class_type"], "inputs": inputs}


def digest(value: Any) -> str:
    """The sha256 of a JSON value, in which 1 and 1.0 are the same, as in a browser."""
    text = json.dumps(_normal(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _normal(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def without_photos(graph: Prompt) -> Prompt:
    """The graph as it is for any photo: the same for all prompts of a job."""
    asked = RUN_TIME - {"group"}
    bare = {
        key: {**node, "inputs": {k: v for k, v in node["inputs"].items() if k not in asked}}
        for key, node in graph.items()
        if node["class_type"] == JOB_PHOTO and "inputs" in node
    }
    return {**graph, **bare}


def with_photos(graph: Prompt, asker: str, rows: Sequence[int]) -> Prompt:
    """The graph for some photos, which `asker` may have; shared nodes but for Job Photo."""
    (first,) = nodes(graph, JOB_PHOTO)
    node = copy.deepcopy(graph[first])
    node["inputs"] = {**node.get("inputs", {}), "job": asker, "rows": json.dumps(list(rows))}
    return {**graph, first: node}
