"""The graph that `run.py batch` runs: a workflow file of either form, with what --set says."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pack  # noqa: F401 - makes restoreflow importable
from restoreflow.jobs import graph as graphs
from restoreflow.jobs.workflow import Prompt, WorkflowError, is_combo, options_of, to_prompt

SAVE_IT = "save it with Workflow > Save or Workflow > Export (API)"
TRUTH = {"true": True, "yes": True, "on": True, "1": True,
         "false": False, "no": False, "off": False, "0": False}  # fmt: skip
SHOWN = 20
"""So many choices are listed at most."""

Json = Mapping[str, Any]


def read(file: Path) -> dict[str, Any]:
    """A workflow file as it is, in the canvas's form or in API form.

    Raises:
        WorkflowError: it is neither.
    """
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkflowError(f"the workflow {file} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise WorkflowError(f"{file} is no workflow, for it is not JSON: {SAVE_IT}") from error
    if not isinstance(saved, dict) or not ("nodes" in saved or is_api(saved)):
        raise WorkflowError(f"{file} is no workflow of ComfyUI: {SAVE_IT}")
    return saved


def is_api(saved: Json) -> bool:
    """Whether a workflow is in API form."""
    nodes = saved.values()
    return bool(nodes) and all(isinstance(node, dict) and "class_type" in node for node in nodes)


def build(saved: Json, assignments: Sequence[str], info: Json) -> Prompt:
    """The graph of a job.

    Args:
        info: what the server answers to /object_info.

    Raises:
        WorkflowError: the server cannot run it, or an assignment does not fit it.
        GraphError: no job can be made of it.
    """
    graph = copy.deepcopy(dict(saved)) if is_api(saved) else to_prompt(saved, info)
    unknown = sorted({node["class_type"] for node in graph.values()} - {*info})
    if unknown:
        raise WorkflowError(
            f"the server has no node {', '.join(unknown)}: install the pack that it comes from"
        )
    for assignment in assignments:
        assign(graph, assignment, info)
    graphs.check(graph)
    return graph


def assign(graph: Prompt, assignment: str, info: Json) -> None:
    """Carry out one `node.input=value`."""
    address, equals, text = assignment.partition("=")
    if not equals or "." not in address:
        raise WorkflowError(f"--set {assignment}: write it as node.input=value")
    key, name = find(graph, address, info)
    node = graph[key]
    inputs = node.setdefault("inputs", {})
    if isinstance(link := inputs.get(name), list) and str(link[0]) in graph:
        raise WorkflowError(
            f"--set {address}: that input is wired to {told(graph, str(link[0]))}; set it there"
        )
    try:
        inputs[name] = value(specs(info, node)[name], text)
    except ValueError as error:
        raise WorkflowError(f"--set {address}: {error}") from error


def find(graph: Prompt, address: str, info: Json) -> tuple[str, str]:
    """The node's id and the input that an address means; both may have dots in their names."""
    splits = [(address[:i], address[i + 1 :]) for i, sign in enumerate(address) if sign == "."]
    named = [(key, name) for node, name in splits for key in called(graph, node)]
    if not named:
        among = ", ".join(told(graph, key) for key in graph)
        raise WorkflowError(f"--set {address}: there is no such node among {among}")
    fitting = [(key, name) for key, name in named if name in specs(info, graph[key])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        among = ", ".join(told(graph, key) for key, _ in fitting)
        raise WorkflowError(f"--set {address} may mean {among}: name the node by its id")
    key, name = named[0]
    there = ", ".join(specs(info, graph[key]))
    raise WorkflowError(f"--set {address}: {told(graph, key)} has no input {name}, but {there}")


def called(graph: Prompt, name: str) -> list[str]:
    """The nodes of that id, else of that title or type."""
    if name in graph:
        return [name]
    return [key for key, node in graph.items() if name in (title(node), node["class_type"])]


def title(node: Json) -> str:
    """What is written on a node."""
    return node.get("_meta", {}).get("title") or node["class_type"]


def told(graph: Prompt, key: str) -> str:
    """A node as a person recognises it."""
    node = graph[key]
    kind = node["class_type"]
    return f"{key} ({kind if title(node) == kind else f'{title(node)}, {kind}'})"


def specs(info: Json, node: Json) -> dict[str, Any]:
    """What a node's definition says of the inputs that a person sees, by name."""
    given = info[node["class_type"]]["input"]
    found = {**given.get("required", {}), **given.get("optional", {})}
    return {name: spec for name, spec in found.items() if not options_of(spec).get("hidden")}


def value(spec: Sequence[Any], text: str) -> Any:
    """What a text means for an input.

    Raises:
        ValueError: it is none of the input's values.
    """
    if is_combo(spec):
        return choice(spec, text)
    if spec[0] == "STRING":
        return text
    if spec[0] == "BOOLEAN":
        if text.lower() not in TRUTH:
            raise ValueError(f"{text} is neither true nor false")
        return TRUTH[text.lower()]
    if spec[0] in ("INT", "FLOAT"):
        return number(spec, text)
    raise ValueError(f"the input takes a wire of {spec[0]} only, no value")


def choice(spec: Sequence[Any], text: str) -> Any:
    """One of a list; either slash will do in the name of a file."""
    offered = spec[0] if isinstance(spec[0], list) else options_of(spec).get("options")
    if offered is None:  # the list comes from elsewhere
        return text
    for one in offered:
        if str(one).replace("\\", "/") == text.replace("\\", "/"):
            return one
    more = f" and {len(offered) - SHOWN} more" if len(offered) > SHOWN else ""
    shown = ", ".join(map(str, offered[:SHOWN]))
    raise ValueError(f"{text} is not among its choices: {shown or 'there are none'}{more}")


def number(spec: Sequence[Any], text: str) -> int | float:
    """A number within the input's bounds."""
    kind, noun = (int, "whole number") if spec[0] == "INT" else (float, "number")
    try:
        found = kind(text)
        math.floor(found)  # neither infinite nor not a number
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text} is no {noun}") from error
    low, high = (options_of(spec).get(end) for end in ("min", "max"))
    if low is not None and found < low:
        raise ValueError(f"{text} is too small: it must be at least {low}")
    if high is not None and found > high:
        raise ValueError(f"{text} is too large: it must be at most {high}")
    return found
