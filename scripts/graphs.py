"""Builds files for ComfyUI's canvas, templates and blueprints, from compact descriptions.

A description says what a person would: which nodes, the widget values that differ from the
defaults, the wires, titled columns, notes. A host's `/object_info` tells slots, widgets and their
order; places and sizes follow one rule (`Drawing._place`). Equal descriptions give equal files.
"""

import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pack  # noqa: F401 - makes restoreflow importable
from restoreflow.jobs.workflow import (
    BYPASSED,
    default,
    has_control,
    is_combo,
    options_of,
    widget_inputs,
)
from restoreflow.jobs.workflow import SUBGRAPH_INPUTS as INPUTS
from restoreflow.jobs.workflow import SUBGRAPH_OUTPUTS as OUTPUTS

PROJECT = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
PACK = {"cnr_id": "restoreflow", "ver": re.search('^version = "(.+)"', PROJECT, re.M)[1]}
CORE = {"cnr_id": "comfy-core", "ver": "0.3.75"}
FRONT_END = "1.32.9"
"""This and CORE's version are the oldest for which the files are made."""

TITLE = 30  # a node's title lies above its position
WIDTH, APART, LEFT, TOP = 340, 100, 500, 100
"""Of nodes; between columns; of the first node."""
LONG, WIDER = 32, 460
"""A value of more letters would be cut off; it widens its node, and that its column."""
GAP, MARGIN = 30, 30
"""Below nodes; between nodes and the border of their group."""
PICTURES = {"LoadImage", "PreviewImage", "SaveImage", "RestoreFlowBeforeAfter"}
PICTURE_HEIGHT = 420
LIVE_PREVIEW = dict.fromkeys(
    ("RestoreFlowSampleImage", "RestoreFlowSampleLatent", "RestoreFlowPlugAndPlay"), 260
)
"""By how much a node grows while it shows how far it has come."""
NOTE_WIDTH, LETTERS, LINE = 420, 64, 16
"""Of a note, in pixels, in letters a line, and in pixels a line."""
NOTE_COLOURS = {"color": "#29323a", "bgcolor": "#38444e"}

END_WIDTH = 140
"""Of the boxes for a subgraph's own inputs and outputs."""
LISTED = {"nodes", "links", "groups", "inputs", "outputs"}
"""What a graph's file holds line by line."""

Json = dict[str, Any]


class GraphError(ValueError):
    """A description that does not fit the host's nodes; the message says where."""


class Wire(NamedTuple):
    """From an output of the node with that key; from OWN, an input of the blueprint itself."""

    node: str
    output: str


OWN = "own"


class Model(NamedTuple):
    """A weight file that a node needs: the canvas says where it is to be had."""

    name: str
    url: str
    directory: str


@dataclass(frozen=True)
class Node:
    """A node's type and, by name, its wires and the values that differ from the defaults."""

    kind: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    models: Sequence[Model] = ()
    bypassed: bool = False

    @property
    def width(self) -> int:
        """In pixels."""
        values = (value for value in self.inputs.values() if isinstance(value, str))
        return WIDER if any(len(value) > LONG for value in values) else WIDTH


@dataclass(frozen=True)
class Column:
    """Nodes by key from top to bottom, pictures below; a title makes it a coloured group."""

    nodes: Mapping[str, Node]
    title: str = ""
    colour: str = ""
    low: Sequence[str] = ()
    """The last nodes that are no pictures, if they stand right above the pictures' row."""

    @property
    def width(self) -> int:
        return max(node.width for node in self.nodes.values())


class Note(NamedTuple):
    """Markdown, left of the columns."""

    title: str
    wrapped: str
    """Its lines broken anywhere; lists and headings begin lines of their own."""

    @property
    def text(self) -> str:
        """A line for every paragraph, heading and entry of a list, as the canvas wants it.

        What stands as code becomes bold: Nodes 2.0 shows code as blue on blue.
        """
        lines = re.sub(r"(?<!\n)\n *(?!\n|- |\d+\. |#)", " ", self.wrapped.strip())
        return lines.replace("`", "**")


@dataclass(frozen=True)
class Template:
    """A workflow in ComfyUI's template browser."""

    name: str
    columns: Sequence[Column]
    notes: Sequence[Note]


@dataclass(frozen=True)
class Blueprint:
    """A subgraph that ComfyUI offers as one node."""

    name: str
    description: str
    aliases: Sequence[str]
    columns: Sequence[Column]
    inputs: Sequence[str]
    """In the node's order; each is what it is first wired to, a widget where that is one."""
    outputs: Mapping[str, Wire]
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of its widgets, where they differ from the defaults."""


class Link(NamedTuple):
    """A wire as the canvas writes it: ids of nodes, and their slots by number."""

    id: int
    origin_id: int
    origin_slot: int
    target_id: int
    target_slot: int
    type: str


def identity(*names: str) -> str:
    """The same id for the same names, in every build."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("restoreflow", *names))))


# Files


def template(wanted: Template, info: Mapping[str, Any]) -> Json:
    """The content of a template's file."""
    drawing = Drawing(wanted.columns, info)
    nodes = [*drawing.nodes(), *_notes(wanted.notes, len(drawing.ids))]
    return {
        "id": identity(wanted.name),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(drawing.links),
        "nodes": nodes,
        "links": [list(link) for link in drawing.links],
        "groups": drawing.groups(),
        "config": {},
        "extra": {"ds": {"scale": 0.72, "offset": [110, 210]}, "frontendVersion": FRONT_END},
        "version": 0.4,
    }


def blueprint(wanted: Blueprint, info: Mapping[str, Any]) -> Json:
    """The content of a blueprint's file: a subgraph, and the one node that stands for it."""
    drawing = Drawing(wanted.columns, info, wanted.inputs, wanted.outputs, wanted.values)
    inputs, outputs = drawing.own_inputs(), drawing.own_outputs()
    widgets = [slot["name"] for slot in inputs if "widget" in slot]
    node = {
        **{"id": 1, "type": identity(wanted.name, "subgraph"), "pos": [0, 0]},
        "size": [WIDTH, _height(max(len(inputs) - len(widgets), len(outputs)), len(widgets))],
        **{"flags": {}, "order": 0, "mode": 0},
        "inputs": inputs,
        "outputs": [{**slot, "links": []} for slot in outputs],
        "properties": {**PACK, "proxyWidgets": [["-1", name] for name in widgets]},
        "widgets_values": [drawing.own_value(name) for name in widgets],
        "title": wanted.name,
    }
    definition = {
        "id": node["type"],
        "version": 1,
        "state": {
            **{"lastGroupId": len(drawing.groups()), "lastNodeId": len(drawing.ids)},
            **{"lastLinkId": len(drawing.links), "lastRerouteId": 0},
        },
        "revision": 0,
        "config": {},
        "name": wanted.name,
        "category": "RestoreFlow",
        "description": wanted.description,
        "inputNode": {"id": INPUTS, "bounding": _end(LEFT - 200, inputs)},
        "outputNode": {
            "id": OUTPUTS,
            "bounding": _end(drawing.lefts[-1], outputs),
        },
        "inputs": [
            {
                "id": identity(wanted.name, "input", slot["name"]),
                **{key: value for key, value in slot.items() if key != "widget"},
                "linkIds": drawing.ids_of_links(INPUTS, number, "origin"),
            }
            for number, slot in enumerate(inputs)
        ],
        "outputs": [
            {
                "id": identity(wanted.name, "output", slot["name"]),
                **slot,
                "linkIds": drawing.ids_of_links(OUTPUTS, number, "target"),
            }
            for number, slot in enumerate(outputs)
        ],
        "widgets": [],
        "nodes": list(drawing.nodes()),
        "groups": drawing.groups(),
        "links": [link._asdict() for link in drawing.links],
        "extra": {},
    }
    return {
        "id": identity(wanted.name),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {
            "BlueprintDescription": wanted.description,
            "BlueprintSearchAliases": list(wanted.aliases),
            "frontendVersion": FRONT_END,
        },
    }


def text(graph: Json, depth: int = 0) -> str:
    """A graph as JSON with a line for every node, link and group."""
    margin = " " * (depth + 1)
    lines = []
    for key, value in graph.items():
        if key == "definitions":
            inner = ", ".join(text(subgraph, depth + 1) for subgraph in value["subgraphs"])
            body = f'{{"subgraphs": [{inner}]}}'
        elif key in LISTED and value:
            entries = f",\n{margin} ".join(map(json.dumps, value))
            body = f"[\n{margin} {entries}\n{margin}]"
        else:
            body = json.dumps(value)
        lines.append(f'{margin}"{key}": {body}')
    return "{\n" + ",\n".join(lines) + f"\n{' ' * depth}}}" + ("" if depth else "\n")


# Graphs


class Drawing:
    """Columns of nodes on a host's canvas, with their links and places."""

    def __init__(
        self,
        columns: Sequence[Column],
        info: Mapping[str, Any],
        inputs: Sequence[str] = (),
        outputs: Mapping[str, Wire] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Of a host's `/object_info`; with the own inputs, outputs and values of a subgraph."""
        self.columns = columns
        self.described = {key: node for column in columns for key, node in column.nodes.items()}
        self.ids = {key: number for number, key in enumerate(self.described, 1)}
        self.inputs, self.outputs, self.values = inputs, outputs or {}, values or {}
        for key, node in self.described.items():
            if node.kind not in info:
                raise GraphError(f"{key}: this host has no node {node.kind}")
        self.definitions = {key: info[node.kind] for key, node in self.described.items()}
        self.slots = {key: list(_inputs(self.definitions[key])) for key in self.described}
        for key, node in self.described.items():
            if unknown := set(node.inputs) - {slot["name"] for slot in self.slots[key]}:
                raise GraphError(f"{key}: {node.kind} has no input {', '.join(sorted(unknown))}")
        self.links = [
            Link(number, *self._origin(wire), *target, self._type(wire, kind))
            for number, (wire, target, kind) in enumerate(self._wires(), 1)
        ]
        self.lefts = list(accumulate((c.width + APART for c in columns), initial=LEFT))
        self.widths = {key: column.width for column in columns for key in column.nodes}
        self.places, self.bottom = self._place()

    def _wires(self) -> Iterator[tuple[Wire, tuple[int, int], str]]:
        """Every wire with the id and slot it leads to, and the type of that slot."""
        for key, node in self.described.items():
            for number, slot in enumerate(self.slots[key]):
                if isinstance(wire := node.inputs.get(slot["name"]), Wire):
                    yield wire, (self.ids[key], number), slot["type"]
        for number, wire in enumerate(self.outputs.values()):
            yield wire, (OUTPUTS, number), ""

    def _origin(self, wire: Wire) -> tuple[int, int]:
        """The id and slot that a wire comes from."""
        if wire.node == OWN:
            names, number = self.inputs, INPUTS
        else:
            names = self.definitions.get(wire.node, {}).get("output_name", ())
            number = self.ids.get(wire.node)
        if wire.output not in names:
            raise GraphError(f"there is no output {wire.output} of {wire.node}")
        return number, list(names).index(wire.output)

    def _type(self, wire: Wire, target: str) -> str:
        """What travels on a wire: what its origin gives, from outside what its target takes."""
        if wire.node == OWN:
            return target
        return self.definitions[wire.node]["output"][self._origin(wire)[1]]

    def ids_of_links(self, node: int, slot: int, end: str) -> list[int]:
        """Of the links whose `end`, origin or target, is that slot."""
        return [
            link.id
            for link in self.links
            if (getattr(link, f"{end}_id"), getattr(link, f"{end}_slot")) == (node, slot)
        ]

    def _columns(self) -> Iterator[tuple[int, Column]]:
        """Each column, after where it begins."""
        return zip(self.lefts, self.columns, strict=False)  # the last place is what follows

    def _place(self) -> tuple[dict[str, tuple[int, int]], int]:
        """Every node's position, and where the lowest ends.

        Columns are stacked with room for the taller nodes of Nodes 2.0; their pictures stand in
        one row, side by side.
        """
        places: dict[str, tuple[int, int]] = {}
        row = bottom = TOP
        for left, column in self._columns():
            y = TOP
            for key in column.nodes:
                if not self._is_picture(key):
                    places[key] = (left, y)
                    y += self._room(key)
            bottom = max(bottom, y)
            if column.low or any(map(self._is_picture, column.nodes)):
                row = max(row, y)
        for left, column in self._columns():
            y = row - sum(map(self._room, column.low))
            for key in (*column.low, *filter(self._is_picture, column.nodes)):
                places[key] = (left, y)
                y += self._room(key)
            bottom = max(bottom, y)
        return places, bottom - TITLE

    def _is_picture(self, key: str) -> bool:
        return self.described[key].kind in PICTURES

    def _shape(self, key: str) -> tuple[int, int]:
        """How many rows of sockets and of widgets a node shows."""
        inputs = sum("widget" not in slot for slot in self.slots[key])
        definition = self.definitions[key]
        widgets = len(list(self._values(key)))
        return max(inputs, len(definition["output"])), widgets

    def _values(self, key: str) -> Iterator[Any]:
        """The values of a node's widgets, with those that the canvas itself adds beside some."""
        for name, spec in widget_inputs(self.definitions[key]):
            value = self.described[key].inputs.get(name, default(spec))
            if isinstance(value, Wire):
                own = self.values if value.node == OWN else {}
                value = own.get(value.output, default(spec))
            yield value
            if has_control(name, spec):
                yield "fixed"
            if options_of(spec).get("image_upload"):
                yield "image"

    def _size(self, key: str) -> list[int]:
        height = PICTURE_HEIGHT if self._is_picture(key) else _height(*self._shape(key))
        return [self.widths[key], height]

    def _room(self, key: str) -> int:
        """From a node's position to that of the next below it."""
        sockets, widgets = self._shape(key)
        in_nodes_2 = 24 + 24 * sockets + 34 * widgets
        height = max(self._size(key)[1], in_nodes_2)
        return height + LIVE_PREVIEW.get(self.described[key].kind, 0) + GAP + TITLE

    def nodes(self) -> Iterator[Json]:
        """The nodes as the canvas writes them."""
        for order, (key, node) in enumerate(self.described.items()):
            definition, number = self.definitions[key], self.ids[key]
            inputs, outputs = [], []
            for slot, entry in enumerate(self.slots[key]):
                link = self.ids_of_links(number, slot, "target")
                inputs.append({**entry, "link": link[0]} if link else entry)
            given = zip(definition["output_name"], definition["output"], strict=True)
            for slot, (name, kind) in enumerate(given):
                links = self.ids_of_links(number, slot, "origin")
                outputs.append({**_slot(name, kind), **({"links": links} if links else {})})
            origin = PACK if definition["python_module"].startswith("custom_nodes.") else CORE
            values = list(self._values(key))
            mode = BYPASSED if node.bypassed else 0
            yield {
                **{"id": number, "type": node.kind, "pos": list(self.places[key])},
                **{"size": self._size(key), "flags": {}, "order": order, "mode": mode},
                **{"inputs": inputs, "outputs": outputs},
                **({"title": node.title} if node.title else {}),
                "properties": {
                    **{**origin, "Node name for S&R": node.kind},
                    **({"models": [m._asdict() for m in node.models]} if node.models else {}),
                },
                **({"widgets_values": values} if values else {}),
            }

    def groups(self) -> list[Json]:
        """The titled columns as the canvas writes groups, all of one height."""
        return [
            {
                **{"id": number + 1, "title": column.title},
                "bounding": [
                    *(left - MARGIN, 0),
                    *(column.width + 2 * MARGIN, self.bottom),
                ],
                **{"color": column.colour, "font_size": 24, "flags": {}},
            }
            for number, (left, column) in enumerate(self._columns())
            if column.title
        ]

    # A subgraph seen from outside

    def own_inputs(self) -> list[Json]:
        """The subgraph's inputs: each takes what the first input behind it takes."""
        slots = []
        for name in self.inputs:
            key, inner = self._behind(name)
            entry = next(slot for slot in self.slots[key] if slot["name"] == inner)
            widget = {"widget": {"name": name}} if "widget" in entry else {}
            slots.append({**_slot(name, entry["type"]), **widget})
        return slots

    def own_outputs(self) -> list[Json]:
        """The subgraph's outputs."""
        return [_slot(name, self._type(wire, "")) for name, wire in self.outputs.items()]

    def own_value(self, name: str) -> Any:
        """What a widget of the subgraph's node begins with."""
        if name in self.values:
            return self.values[name]
        key, inner = self._behind(name)
        return default(dict(widget_inputs(self.definitions[key]))[inner])

    def _behind(self, name: str) -> tuple[str, str]:
        """The node and its input that an input of the subgraph leads to first."""
        for key, node in self.described.items():
            for inner, value in node.inputs.items():
                if value == Wire(OWN, name):
                    return key, inner
        raise GraphError(f"the input {name} is wired to nothing")


def _inputs(definition: Json) -> Iterator[Json]:
    """A node's input slots as the canvas lists them: sockets first, then widgets."""
    widgets = dict(widget_inputs(definition))
    specs = [
        (name, spec, section)
        for section in ("required", "optional")
        for name, spec in definition["input"].get(section, {}).items()
    ]
    for name, spec, section in sorted(specs, key=lambda entry: entry[0] in widgets):
        kind = "COMBO" if is_combo(spec) else spec[0]
        yield {
            **{"localized_name": name, "name": name},
            **({"shape": 7} if section == "optional" else {}),
            "type": kind,
            **({"widget": {"name": name}} if name in widgets else {}),
        }
        if options_of(spec).get("image_upload"):
            yield {
                **{"localized_name": "choose file to upload", "name": "upload"},
                **{"type": "IMAGEUPLOAD", "widget": {"name": "upload"}},
            }


def _slot(name: str, kind: str) -> Json:
    return {"localized_name": name, "name": name, "type": kind}


def _height(sockets: int, widgets: int) -> int:
    """The classic canvas's height of a node, without its title."""
    return 6 + 20 * sockets + (24 * widgets + 8 if widgets else 0)


def _end(x: int, slots: Sequence[Json]) -> list[int]:
    return [x, 2 * TOP, END_WIDTH, 40 + 20 * len(slots)]


def _notes(notes: Sequence[Note], before: int) -> Iterator[Json]:
    """Notes side by side, the last next to the columns; `before` them so many nodes are numbered.

    Nothing lies below a note, because Nodes 2.0 makes it as tall as its text.
    """
    for number, note in enumerate(notes):
        lines = sum(max(math.ceil(len(line) / LETTERS), 1) for line in note.text.split("\n"))
        yield {
            **{"id": before + number + 1, "type": "MarkdownNote"},
            "pos": [(number + 1 - len(notes)) * (NOTE_WIDTH + GAP), TITLE],
            "size": [NOTE_WIDTH, LINE * lines + 2 * MARGIN],
            **{"flags": {}, "order": before + number, "mode": 0},
            **{"inputs": [], "outputs": [], "title": note.title, "properties": {}},
            **{"widgets_values": [note.text], **NOTE_COLOURS},
        }
