"""The workflow files that `run.py batch` takes, and what --set does to them."""

import json

import batch_graph
import pytest
from photo_server import GRAPH as API
from photo_server import INFO
from restoreflow.jobs.graph import GraphError
from restoreflow.jobs.workflow import WorkflowError


def node(number: int, kind: str, values: list, **links: int) -> dict:
    inputs = [{"name": name, "type": name.upper(), "link": link} for name, link in links.items()]
    outputs = [{"type": kind} for kind in ("IMAGE", "MASK", "PHOTO")]
    return {"id": number, "type": kind, "widgets_values": values, "inputs": inputs,
            "outputs": outputs}  # fmt: skip


UI = {
    "nodes": [
        node(1, "RestoreFlowJobPhoto", ["", 2]),
        node(2, "Restore", [7, 0.5, "heun", "b.pth", True], image=1),
        node(3, "RestoreFlowSaveRestoredPhoto", ["_ui"], image=2, photo=3),
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 1, 2, 3, 1, "PHOTO"]],
    "version": 0.4,
}


def built(saved: dict, *assignments: str) -> dict:
    return batch_graph.build(saved, assignments, INFO)


def test_a_file_in_api_form_is_the_graph(tmp_path):
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(API))
    assert built(batch_graph.read(file)) == API


def test_a_file_of_the_canvas_is_converted():
    graph = built(UI)
    assert graph["2"]["inputs"]["solver"] == "heun" and graph["3"]["inputs"]["image"] == ["2", 0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, r"cannot be read \(No such file"),
        ("{", "not JSON"),
        ("\udcff", "not JSON"),
        ("[]", "no workflow of ComfyUI"),
        ("{}", "no workflow of ComfyUI"),
        ('{"a": 1}', "no workflow of ComfyUI"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, sentence):
    file = tmp_path / "graph.json"
    if text is not None:
        file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WorkflowError, match=sentence):
        batch_graph.read(file)


def test_a_node_of_the_canvas_only_asks_for_an_export():
    with_set = {**UI, "nodes": [*UI["nodes"], node(4, "SetNode", [])]}
    with pytest.raises(WorkflowError, match=r"no node SetNode: .* Workflow > Export \(API\)"):
        built(with_set)


def test_a_graph_that_cannot_be_run():
    unknown = {**API, "4": {"class_type": "Foreign", "inputs": {}}}
    with pytest.raises(WorkflowError, match="no node Foreign: install the pack"):
        built(unknown)
    with pytest.raises(GraphError, match="needs a Save Restored Photo"):
        built({key: API[key] for key in "12"})


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("2.steps=9", "steps", 9),
        ("My v1.5.steps=50", "steps", 50),
        ("Restore.strength=1e-1", "strength", 0.1),
        ("Restore.solver=heun", "solver", "heun"),
        (r"Restore.weights=face\a.pth", "weights", "face/a.pth"),
        ("2.tiled=Yes", "tiled", True),
        ("2.tiled=0", "tiled", False),
    ],
)
def test_a_widget_is_set(assignment, name, value):
    before = json.dumps(API)
    found = built(API, assignment)["2"]["inputs"][name]
    assert found == value and type(found) is type(value)
    assert json.dumps(API) == before


def test_a_text_may_hold_anything():
    assert built(API, "3.suffix=a=b.c")["3"]["inputs"]["suffix"] == "a=b.c"


def test_files_of_the_canvas_are_set_too():
    assert built(UI, "Restore.steps=3")["2"]["inputs"]["steps"] == 3


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("steps=9", "write it as node.input=value"),
        ("2.steps", "write it as node.input=value"),
        ("Flow.steps=9", r"no such node among 1 \(RestoreFlowJobPhoto\), 2 \(My v1.5, Restore\)"),
        ("2.step=9", r"2 \(My v1.5, Restore\) has no input step, but image, steps, strength"),
        ("2.note=hidden", "has no input note"),
        ("2.steps=many", "many is no whole number"),
        ("2.steps=1.5", "1.5 is no whole number"),
        ("2.steps=0", "0 is too small: it must be at least 1"),
        ("2.steps=51", "51 is too large: it must be at most 50"),
        ("2.strength=nan", "nan is no number"),
        ("2.strength=inf", "inf is no number"),
        ("2.solver=rk4", "rk4 is not among its choices: euler, heun"),
        ("2.tiled=maybe", "maybe is neither true nor false"),
        ("2.image=x", r"wired to 1 \(RestoreFlowJobPhoto\); set it there"),
        ("4.image=x", "takes a wire of IMAGE only"),
    ],
)
def test_a_widget_that_cannot_be_set(assignment, sentence):
    loose = {"class_type": "Restore", "inputs": {}, "_meta": {"title": "Loose"}}
    with pytest.raises(WorkflowError, match=sentence):
        built({**API, "4": loose}, assignment)


def test_a_name_of_two_nodes_lists_both():
    with pytest.raises(WorkflowError, match=r"may mean 2 \(My v1.5, Restore\), 5 \(Restore\)"):
        built({**API, "5": {"class_type": "Restore", "inputs": {}}}, "Restore.steps=2")
