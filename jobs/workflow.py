"""A workflow as the canvas saves it -> the prompt that ComfyUI's queue takes.

The front end does this conversion in the browser, the host never; here it is for whoever starts
from the saved file. `object_info` is the host's own answer of that name: it tells which inputs of a
node are widgets, and in which order the file lists their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Node = Mapping[str, Any]  # a node of the file
Prompt = dict[str, dict[str, Any]]  # node id -> {class_type, inputs, _meta}

MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUTS = -10  # inside a subgraph, the id that stands for its own inputs
SUBGRAPH_OUTPUTS = -20
NOTES = {"Note", "MarkdownNote"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR"}
CONTROLS = {"fixed", "increment", "decrement", "randomize", "increment-wrap"}
ANYTHING = {"*", ""}


class WorkflowError(ValueError):
    """The file cannot be converted; the message says why and what to do."""


@dataclass(frozen=True)
class Value:
    """What an input gets where no node stands behind it: a widget's or a primitive's value."""

    value: Any


Source = list | Value | None  # [node id, output] of a real node, a plain value, or nothing


@dataclass(frozen=True)
class Graph:
    """The canvas or one use of a subgraph, with where it lies in the graph around it."""

    nodes: Mapping[int, Node]
    links: Mapping[int, Mapping[str, Any]]
    subgraphs: Mapping[str, Node]
    definition: Mapping[str, Any]
    path: str = ""
    around: Graph | None = None
    instance: Node = field(default_factory=dict)

    def inside(self, node: Node) -> Graph:
        """The inside of a subgraph's node."""
        definition = self.subgraphs[node["type"]]
        return read(definition, self.subgraphs, f"{self.path}{node['id']}:", self, node)


def to_prompt(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Prompt:
    """The prompt (API format) of a workflow saved by the canvas (version 0.4)."""
    if "nodes" not in workflow:
        raise WorkflowError(
            "this is no workflow saved by ComfyUI's canvas: save it with Workflow > Save"
        )
    definitions = workflow.get("definitions", {}).get("subgraphs", [])
    canvas = read(workflow, {definition["id"]: definition for definition in definitions})
    try:
        prompt = dict(convert(canvas, object_info))
    except RecursionError as error:
        raise WorkflowError("the workflow's links run in a circle: open and repair it") from error
    for node in prompt.values():  # a link to a muted node is no link
        node["inputs"] = {
            name: value
            for name, value in node["inputs"].items()
            if not isinstance(value, list) or value[0] in prompt
        }
    return prompt


def read(definition: Mapping[str, Any], subgraphs: Mapping[str, Node], *place: Any) -> Graph:
    """A graph of the file; its links are arrays on the canvas and objects inside subgraphs."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [
        link if isinstance(link, Mapping) else dict(zip(keys, link, strict=False))
        for link in definition.get("links", [])
    ]
    return Graph(
        {node["id"]: node for node in definition["nodes"]},
        {link["id"]: link for link in links},
        subgraphs,
        definition,
        *place,
    )


def convert(graph: Graph, object_info: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes of a graph that the host runs, with those of its subgraphs."""
    for node in graph.nodes.values():
        kind = node["type"]
        if node.get("mode") in (MUTED, BYPASSED) or is_virtual(node):
            continue
        if kind in graph.subgraphs:
            yield from convert(graph.inside(node), object_info)
        elif kind not in object_info:
            raise WorkflowError(
                f"the host has no node {kind}: install the pack it comes from or, if it exists on "
                "the canvas only, save the workflow with Workflow > Export (API)"
            )
        else:
            inputs = {**widget_values(node, object_info[kind]), **linked_inputs(graph, node)}
            title = node.get("title") or object_info[kind].get("display_name") or kind
            api = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
            yield f"{graph.path}{node['id']}", api


def is_virtual(node: Node) -> bool:
    """Whether a node exists on the canvas only."""
    return node["type"] in NOTES | {"Reroute", "PrimitiveNode"}


def linked_inputs(graph: Graph, node: Node) -> dict[str, Any]:
    """What a node's links bring to its inputs, by name."""
    sources = {
        slot["name"]: source(graph, node, index)
        for index, slot in enumerate(node.get("inputs") or [])
    }
    return {
        name: wrapped(found.value) if isinstance(found, Value) else found
        for name, found in sources.items()
        if found is not None
    }


def source(graph: Graph, node: Node, index: int, kind: str | None = None) -> Source:
    """What stands behind a node's input; `kind` is the type wanted, if not the input's own."""
    slot = node["inputs"][index]
    link = graph.links.get(slot.get("link"))
    return link and link_source(graph, link, kind or slot["type"])


def link_source(graph: Graph, link: Mapping[str, Any], kind: str) -> Source:
    """What stands behind a link; nothing where its node is gone."""
    if link["origin_id"] == SUBGRAPH_INPUTS:
        return outer_source(graph, link["origin_slot"])
    origin = graph.nodes.get(link["origin_id"])
    return origin and output_source(graph, origin, link["origin_slot"], kind)


def outer_source(graph: Graph, index: int) -> Source:
    """What stands behind an input of the subgraph that `graph` is the inside of."""
    name = graph.definition["inputs"][index]["name"]
    slots = graph.instance.get("inputs") or []
    for place, slot in enumerate(slots):
        if slot["name"] == name and slot.get("link") is not None:
            return source(graph.around, graph.instance, place)
    values = dict(zip(promoted_inputs(graph), listed(graph.instance), strict=False))
    return Value(values[name]) if name in values else None


def promoted_inputs(graph: Graph) -> list[str | None]:
    """The inputs that the widgets of a subgraph's node stand for, None for an inner node's."""
    proxies = graph.instance.get("properties", {}).get("proxyWidgets")
    if proxies:  # front ends of late 2025
        return [name if str(owner) == "-1" else None for owner, name, *_ in proxies]
    slots = {slot["name"]: slot for slot in graph.instance.get("inputs") or []}
    names = [entry["name"] for entry in graph.definition["inputs"]]
    return [name for name in names if name not in slots or slots[name].get("widget")]


def output_source(graph: Graph, node: Node, slot: int, kind: str) -> Source:
    """What stands behind a node's output, through everything that exists on the canvas only."""
    if node.get("mode") == BYPASSED:
        index = bypass_input(node, slot, kind)
        return None if index is None else source(graph, node, index)
    if node["type"] == "Reroute":
        return source(graph, node, 0, kind)
    if node["type"] == "PrimitiveNode":
        values = listed(node)
        return Value(values[0]) if values else None
    if node["type"] in graph.subgraphs:
        return inner_source(graph.inside(node), slot, kind)
    return [f"{graph.path}{node['id']}", slot]


def inner_source(graph: Graph, slot: int, kind: str) -> Source:
    """What stands behind an output of the subgraph that `graph` is the inside of."""
    for link in graph.links.values():
        if (link["target_id"], link["target_slot"]) == (SUBGRAPH_OUTPUTS, slot):
            return link_source(graph, link, kind)
    return None


def bypass_input(node: Node, slot: int, kind: str) -> int | None:
    """The input that a bypassed node passes on: the front end's own rule.

    The input beside the output if it fits, else the first of exactly the wanted type, else the
    first that fits.
    """
    types = [entry["type"] for entry in node.get("inputs") or []]
    if kind in ANYTHING:
        return (slot if slot < len(types) else 0) if types else None
    produced = node["outputs"][slot]["type"]
    fitting = [
        index
        for index, given in enumerate(types)
        if connects(given, produced) and connects(given, kind)
    ]
    exact = [index for index, given in enumerate(types) if given == kind]
    return next(iter([slot] if slot in fitting else exact + fitting), None)


def connects(one: str, other: str) -> bool:
    """Whether the canvas lets two socket types be wired; a type may be a list with commas."""
    if str(one) in ANYTHING or str(other) in ANYTHING:
        return True
    return bool({*str(one).lower().split(",")} & {*str(other).lower().split(",")})


def widget_values(node: Node, definition: Mapping[str, Any]) -> dict[str, Any]:
    """A node's widget values by name; what an older file does not hold has its default."""
    widgets = dict(widget_inputs(definition))
    named = node.get("widgets_values_named") or node.get("widgets_values")
    if not isinstance(named, Mapping):
        named = positional_values(widgets, listed(node))
    defaults = {name: default(spec) for name, spec in widgets.items()}
    return {name: wrapped(named.get(name, defaults[name])) for name in widgets}


def widget_inputs(definition: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """The inputs of a node definition that are widgets, in the canvas's order."""
    for section in ("required", "optional"):
        for name, spec in definition["input"].get(section, {}).items():
            options = options_of(spec)
            kind = options.get("widgetType", spec[0])
            if str(kind).startswith("COMFY_") and "COMBO" in str(kind):
                raise WorkflowError(
                    f"the widgets of {definition['name']} depend on each other: "
                    "save the workflow with Workflow > Export (API)"
                )
            if (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput"):
                yield name, spec


def positional_values(
    widgets: Mapping[str, Sequence[Any]], values: Sequence[Any]
) -> dict[str, Any]:
    """Values by name from the file's list, which also holds the widgets of seed control."""
    named, rest = {}, list(values)
    for name, spec in widgets.items():
        if not rest:
            break
        named[name] = rest.pop(0)
        if has_control(name, spec) and rest and rest[0] in CONTROLS:
            del rest[: 2 if is_combo(spec) else 1]  # a combo's control has a filter beside it
    return named


def has_control(name: str, spec: Sequence[Any]) -> bool:
    """Whether the canvas adds a `control after generate` to a widget."""
    is_seed = spec[0] == "INT" and name in ("seed", "noise_seed")
    control = options_of(spec).get("control_after_generate")
    return bool(is_seed if control is None else control)


def default(spec: Sequence[Any]) -> Any:
    """The value of a new widget."""
    options = options_of(spec)
    if "default" in options:
        return options["default"]
    if is_combo(spec):
        choices = spec[0] if isinstance(spec[0], list) else options.get("options")
        return choices[0] if choices else ""
    return {"STRING": "", "BOOLEAN": False}.get(spec[0], 0)


def is_combo(spec: Sequence[Any]) -> bool:
    """Whether a widget offers a list of choices."""
    return isinstance(spec[0], list) or spec[0] == "COMBO"


def options_of(spec: Sequence[Any]) -> Mapping[str, Any]:
    """The options of an input in a node definition."""
    return spec[1] if len(spec) > 1 else {}


def listed(node: Node) -> Sequence[Any]:
    """A node's widget values as the file lists them."""
    values = node.get("widgets_values")
    return values if isinstance(values, list) else []


def wrapped(value: Any) -> Any:
    """A list is a link in a prompt, so a value that is one is wrapped."""
    return {"__value__": value} if isinstance(value, list) else value
