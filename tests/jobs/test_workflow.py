"""The conversion of saved workflows; tests/browser compares it with the front end's own."""

import pytest
from restoreflow.jobs.workflow import WorkflowError, bypass_input, to_prompt


def definition(required: dict, optional: dict | None = None) -> dict:
    return {"name": "Node", "input": {"required": required, "optional": optional or {}}}


INFO = {
    "Load": definition({"image": [["a.png", "b.png"], {"image_upload": True}]}),
    "Restore": definition(
        {
            "image": ["IMAGE"],
            "seed": ["INT", {"default": 7, "control_after_generate": True}],
            "steps": ["INT", {"default": 25}],
        },
        {"mask": ["MASK"], "solver": ["COMBO", {"options": ["euler", "heun"]}]},
    ),
    "Save": definition({"images": ["IMAGE"], "prefix": ["STRING", {"default": "out"}]}),
}
SAVED = [0, "randomize", 5, "heun"]  # seed, its control, steps, solver


def node(number, kind, values=(), inputs=(), outputs=(), **more) -> dict:
    """A node of a file; inputs are (name, type, link), outputs types."""
    return {
        "id": number,
        "type": kind,
        "widgets_values": list(values),
        "inputs": [dict(zip(("name", "type", "link"), entry, strict=True)) for entry in inputs],
        "outputs": [{"type": kind} for kind in outputs],
        **more,
    }


def load() -> dict:
    return node(1, "Load", ["b.png", "image"], outputs=["IMAGE", "MASK"])


def restore(**more) -> dict:
    return node(2, "Restore", SAVED, [("image", "IMAGE", 1)], ["IMAGE"], **more)


def save(link: int = 2) -> dict:
    return node(3, "Save", ["final"], [("images", "IMAGE", link)])


def workflow(*nodes: dict, links=((1, 1, 0, 2, 0, "IMAGE"), (2, 2, 0, 3, 0, "IMAGE"))) -> dict:
    return {"nodes": list(nodes), "links": [list(link) for link in links], "version": 0.4}


def inputs(*nodes: dict, info=INFO, **more) -> dict:
    """The inputs of each node of the prompt."""
    prompt = to_prompt(workflow(*nodes, **more), info)
    return {number: entry["inputs"] for number, entry in prompt.items()}


def test_links_and_widgets():
    assert to_prompt(workflow(load(), restore(title="Mine"), save()), INFO) == {
        "1": {"class_type": "Load", "inputs": {"image": "b.png"}, "_meta": {"title": "Load"}},
        "2": {
            "class_type": "Restore",
            "inputs": {"seed": 0, "steps": 5, "solver": "heun", "image": ["1", 0]},
            "_meta": {"title": "Mine"},
        },
        "3": {
            "class_type": "Save",
            "inputs": {"prefix": "final", "images": ["2", 0]},
            "_meta": {"title": "Save"},
        },
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 5, "heun"], (3, 5, "heun")),  # a file without the control's value
        ([3, "fixed"], (3, 25, "euler")),  # an older file: the rest has its defaults
        ([], (7, 25, "euler")),
        ({"seed": 2**64 - 1, "steps": 1}, (2**64 - 1, 1, "euler")),
    ],
)
def test_widget_values_of_other_files(values, expected):
    found = inputs(restore() | {"widgets_values": values})["2"]
    assert (found["seed"], found["steps"], found["solver"]) == expected


def test_values_by_name_win():
    named = {"seed": 1, "control_after_generate": "fixed", "steps": 2, "solver": "euler"}
    found = inputs(restore(widgets_values_named=named))["2"]
    assert found == {"seed": 1, "steps": 2, "solver": "euler"}


def test_a_combo_with_control_has_a_filter_beside_it():
    info = {
        "Pick": definition({"name": [["a", "b"], {"control_after_generate": True}], "n": ["INT"]})
    }
    assert inputs(node(1, "Pick", ["b", "fixed", "", 4]), info=info)["1"] == {"name": "b", "n": 4}


def test_a_link_whose_node_is_gone_is_no_link():
    assert "image" not in inputs(restore())["2"]


def test_a_list_value_is_wrapped():
    info = {"Pick": definition({"names": ["COMBO", {"options": ["a"]}]})}
    assert inputs(node(1, "Pick", [["a", "b"]]), info=info)["1"] == {
        "names": {"__value__": ["a", "b"]}
    }


def test_notes_reroutes_and_primitives_live_on_the_canvas_only():
    nodes = (
        load(),
        node(5, "Reroute", inputs=[("", "*", 1)], outputs=["IMAGE"]),
        node(6, "PrimitiveNode", [9, "fixed"], outputs=["INT"]),
        node(7, "Note", ["read me"]),
        node(8, "MarkdownNote", ["# read me"]),
        node(2, "Restore", SAVED, [("image", "IMAGE", 2), ("steps", "INT", 3)], ["IMAGE"]),
    )
    links = [(1, 1, 0, 5, 0, "*"), (2, 5, 0, 2, 0, "IMAGE"), (3, 6, 0, 2, 1, "INT")]
    found = inputs(*nodes, links=links)
    assert set(found) == {"1", "2"}
    assert found["2"]["image"] == ["1", 0] and found["2"]["steps"] == 9


def test_a_bypassed_node_passes_its_input_on():
    found = inputs(load(), restore(mode=4), save())
    assert found["3"]["images"] == ["1", 0] and "2" not in found


def test_a_muted_node_takes_its_links_with_it():
    found = inputs(load(), restore(mode=2), save())
    assert "images" not in found["3"] and "2" not in found


@pytest.mark.parametrize(
    ("given", "produced", "wanted", "expected"),
    [
        (["FLOW", "IMAGE"], "IMAGE", "IMAGE", 1),
        (["IMAGE", "IMAGE"], "IMAGE", "IMAGE", 0),
        (["FLOW", "*", "IMAGE"], "IMAGE", "IMAGE", 2),
        (["FLOW", "IMAGE,MASK"], "IMAGE", "IMAGE", 1),
        (["FLOW", "MASK"], "IMAGE", "IMAGE", None),
        (["FLOW", "MASK"], "IMAGE", "*", 0),
        ([], "IMAGE", "*", None),
    ],
)
def test_what_a_bypass_passes_on(given, produced, wanted, expected):
    slots = [(kind.lower(), kind, None) for kind in given]
    assert bypass_input(node(1, "Any", (), slots, [produced]), 0, wanted) == expected


def subgraph_workflow(instance: dict, inner: dict | None = None) -> dict:
    """Load -> subgraph (Restore inside, its steps promoted) -> Save."""
    steps = {"name": "steps", "type": "INT", "link": 12}
    inside = inner or node(4, "Restore", SAVED, [("image", "IMAGE", 11)], ["IMAGE"])
    inside["inputs"].append(steps)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [(11, -10, 0, 4, 0, "IMAGE"), (12, -10, 1, 4, 1, "INT"), (13, 4, 0, -20, 0, "IMAGE")]
    definition = {
        "id": "sub",
        "nodes": [inside],
        "links": [dict(zip(keys, link, strict=True)) for link in links],
        "inputs": [{"name": "image", "type": "IMAGE"}, {"name": "count", "type": "INT"}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
    }
    return {**workflow(load(), instance, save()), "definitions": {"subgraphs": [definition]}}


def instance(**more) -> dict:
    return node(2, "sub", more.pop("values", ()), [("image", "IMAGE", 1)], ["IMAGE"], **more)


def test_a_subgraph_is_flattened():
    prompt = to_prompt(subgraph_workflow(instance()), INFO)
    assert set(prompt) == {"1", "2:4", "3"}
    assert prompt["2:4"]["inputs"]["image"] == ["1", 0]
    assert prompt["2:4"]["inputs"]["steps"] == 5  # its own: nothing outside says otherwise
    assert prompt["3"]["inputs"]["images"] == ["2:4", 0]


@pytest.mark.parametrize("properties", [{}, {"proxyWidgets": [["4", "seed"], ["-1", "count"]]}])
def test_a_promoted_widget_has_the_value_of_this_use(properties):
    values = [1, 30] if properties else [30]
    prompt = to_prompt(subgraph_workflow(instance(values=values, properties=properties)), INFO)
    assert prompt["2:4"]["inputs"]["steps"] == 30


def test_a_bypassed_subgraph_passes_its_input_on():
    prompt = to_prompt(subgraph_workflow(instance(mode=4)), INFO)
    assert set(prompt) == {"1", "3"} and prompt["3"]["inputs"]["images"] == ["1", 0]


def test_a_bypassed_node_inside_a_subgraph():
    inner = node(4, "Restore", SAVED, [("image", "IMAGE", 11)], ["IMAGE"], mode=4)
    prompt = to_prompt(subgraph_workflow(instance(), inner), INFO)
    assert prompt["3"]["inputs"]["images"] == ["1", 0]


@pytest.mark.parametrize(
    ("saved", "info", "sentence"),
    [
        ({"1": {"class_type": "Load"}}, INFO, "no workflow saved by ComfyUI's canvas"),
        (workflow(node(1, "SetNode")), INFO, r"no node SetNode: .* Export \(API\)"),
        (
            workflow(node(1, "Dynamic", [1])),
            {"Dynamic": definition({"mode": ["COMFY_DYNAMICCOMBO_V3", {}]})},
            r"depend on each other: .* Export \(API\)",
        ),
        (
            workflow(
                node(1, "Reroute", inputs=[("", "*", 1)], outputs=["*"]),
                node(2, "Save", inputs=[("images", "IMAGE", 2)]),
                links=[(1, 1, 0, 1, 0, "*"), (2, 1, 0, 2, 0, "*")],
            ),
            INFO,
            "run in a circle",
        ),
    ],
)
def test_refusals(saved, info, sentence):
    with pytest.raises(WorkflowError, match=sentence):
        to_prompt(saved, info)
