"""The goldens that travel with the code pass, and the runner can say no."""

import importlib.util
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parent.parent
GOLDENS = sorted((ROOT / "tests" / "golden").iterdir())


@pytest.fixture
def parity(monkeypatch, capsys):
    """Runs the script as `run.py parity` does; returns (exit reason or None, what it printed)."""
    spec = importlib.util.spec_from_file_location("parity", ROOT / "scripts" / "parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*paths: Path) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["parity", *map(str, paths)])
        try:
            module.main()
        except SystemExit as stop:
            return stop.code, capsys.readouterr().out
        return None, capsys.readouterr().out

    return run


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_golden(parity, golden):
    reason, printed = parity(golden)
    assert reason is None
    assert " ok\n" in printed


def test_a_wrong_weight_is_out_of_tolerance(parity, tmp_path):
    golden = ROOT / "tests" / "golden" / "hdit_tiny_cond.safetensors"
    tensors = load_file(golden)
    tensors["sd.mid_level.0.ff.down_proj.weight"][0] += 0.01
    save_file(tensors, tmp_path / "other.safetensors", metadata=metadata(golden))
    reason, printed = parity(tmp_path / "other.safetensors")
    assert "out of tolerance" in reason
    assert "OUT OF TOLERANCE" in printed


def test_a_file_it_does_not_know_is_an_error_that_says_so(parity, tmp_path):
    unknown = tmp_path / "x.json"
    unknown.write_text('{"keys": {"somebody.else": [[1], "float32"]}}')
    assert parity(unknown)[0] == "x.json: no golden file that this version knows."


def metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()
