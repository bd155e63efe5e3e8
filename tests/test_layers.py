"""The arrows between the rooms: outer rooms see inner ones, never the other way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("nodes", "models", "sampling", "jobs", "faces", "training")
SEES = {
    "nodes": {"nodes", "models", "sampling", "jobs", "faces"},
    "models": {"models"},
    "sampling": {"sampling", "models.contracts"},
    "jobs": {"jobs"},
    "faces": {"faces"},
}
SEES_IN_MODELS = {
    "networks": {"networks"},
    "families": {"families", "checkpoint", "contracts", "networks"},
    "contracts": {"contracts"},
    "checkpoint": {"checkpoint"},
    "onnx": {"checkpoint"},
    "registry": {"families", "checkpoint", "contracts", "onnx"},
    "hub": set(),
    "transfer": {"checkpoint", "hub"},
    "download": {"transfer", "hub"},
}
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "server"}


def imports(path: Path) -> list[tuple[int, str]]:
    """Every import of a file: (line, dotted name), relative ones resolved from the root."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            names = [node.module] if node.module else [alias.name for alias in node.names]
            dot = "." if node.level else ""
            found += [(node.lineno, dot + ".".join((*base, name))) for name in names]
    return found


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", SEES)
def test_rooms_see_only_inner_rooms(room):
    for path in files(room):
        for line, name in imports(path):
            if name.startswith("."):
                allowed = any(f"{name[1:]}.".startswith(f"{seen}.") for seen in SEES[room])
                assert allowed, f"{path}:{line} sees {name[1:]}"


@pytest.mark.parametrize("part", SEES_IN_MODELS)
def test_models_see_only_what_lies_below(part):
    paths = [p for p in files("models") if p.relative_to(ROOT / "models").parts[0].startswith(part)]
    assert paths
    for path in paths:
        for line, name in imports(path):
            if name.startswith(".models."):
                assert name.split(".")[2] in SEES_IN_MODELS[part], f"{path}:{line} sees {name}"


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "nodes"])
def test_only_nodes_speak_to_the_host(room):
    for path in files(room):
        for line, name in imports(path):
            assert name.split(".")[0] not in HOST, f"{path}:{line} imports {name}"


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "training"])
def test_nothing_of_the_pack_is_imported_absolutely(room):
    for path in files(room):
        for line, name in imports(path):
            assert name.split(".")[0] not in ROOMS, f"{path}:{line} imports {name} absolutely"


def test_the_doorbell_is_short_and_does_nothing():
    text = (ROOT / "__init__.py").read_text(encoding="utf-8")
    kinds = (ast.Expr, ast.ImportFrom, ast.Assign)
    assert len(text.splitlines()) <= 10
    assert all(isinstance(node, kinds) for node in ast.parse(text).body)


def test_the_checks_themselves_can_fail(tmp_path, monkeypatch):
    room = tmp_path / "sampling"
    room.mkdir()
    (room / "bad.py").write_text("from ..nodes import host\nimport comfy.utils\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    with pytest.raises(AssertionError, match=r"bad\.py:1 sees nodes"):
        test_rooms_see_only_inner_rooms("sampling")
    with pytest.raises(AssertionError, match=r"bad\.py:2 imports comfy"):
        test_only_nodes_speak_to_the_host("sampling")
