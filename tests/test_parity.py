"""The goldens that travel with the code pass, and the runner can say no."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from fakes import published_mean_names, save, tiny_flow, tiny_mean
from restoreflow.models import registry
from restoreflow.sampling.restore import posterior_mean, sample
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


@pytest.mark.parametrize("name", ["flow/ups.0.fac", "vae/encoder.conv_out.bias"])
def test_a_wrong_weight_of_a_whole_restoration(parity, tmp_path, name):
    golden = ROOT / "tests" / "golden" / "latent_pmrf_scaled.safetensors"
    tensors = load_file(golden)
    tensors[name] += 0.01
    save_file(tensors, tmp_path / "other.safetensors", metadata=metadata(golden))
    reason, printed = parity(tmp_path / "other.safetensors")
    assert "out of tolerance" in reason
    assert "single_scaled/x5" in printed


def test_metadata_beside_its_file(parity, tmp_path):
    golden = ROOT / "tests" / "golden" / "latent_pmrf_scaled.safetensors"
    (tmp_path / golden.name).write_bytes(golden.read_bytes())
    twin = tmp_path / "latent_pmrf_scaled.json"
    twin.write_text(metadata(golden)["json"])
    assert parity(twin)[0] is None
    twin.write_text("{}")
    assert "out of tolerance" in parity(twin)[0]


def test_weights_of_another_rule_are_out_of_tolerance(parity, tmp_path):
    golden = ROOT / "tests" / "golden" / "elir_infer_paths.safetensors"
    facts = json.loads(metadata(golden)["info"])
    facts["config"]["seed"] += 1
    save_file(load_file(golden), tmp_path / "x.safetensors", metadata={"info": json.dumps(facts)})
    reason, printed = parity(tmp_path / "x.safetensors")
    assert "2 tensor(s) are out of tolerance" in reason
    assert "chop.out" in printed


def test_a_file_it_does_not_know_is_an_error_that_says_so(parity, tmp_path):
    unknown = tmp_path / "x.json"
    unknown.write_text('{"keys": {"somebody.else": [[1], "float32"]}}')
    assert parity(unknown)[0] == "x.json: no golden file that this version knows."


def metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline file in the golden format, computed here: it tests the runner, not the numbers."""
    flow, mean = tiny_flow(), published_mean_names(tiny_mean())
    parts = {"flow.": flow.state_dict(), "mmse_model.": mean}
    held = {"model.": parts["flow."], "mmse_model.": mean}
    kinds = [{"type": "neighborhood", "kernel_size": 7}, {"type": "global"}]
    settings = {"mmse_model_arch": "swinir_tiny", "mmse_noise_std": 0.2, "eps": 0.03}
    weights = save(tmp_path / "model.safetensors", held)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    y, noise, steps = torch.rand(2, 3, 64, 128), torch.randn(2, 3, 64, 128), []
    with torch.inference_mode():
        image = posterior_mean(registry.load(weights, registry.POSTERIOR_MEAN), y)
        part = registry.load(weights, registry.FLOW)
        sample(part, image, noise, steps=3, tile=2**20, observe=steps.append)
    variant = {
        "init_kwargs": settings,
        "mmse_prefix": "mmse_model.",
        "net_prefix": "flow.",
        "noise": "pmrf.noise",
        "y": "y",
        "t": [step.t for step in steps],
    }
    parts[""] = {"y": y, "pmrf.noise": noise, "pmrf.x_last": steps[-1].end.clone()}
    facts = {"hdit_config": {"self_attns": kinds}, "variants": {"pmrf": variant}}

    def write(name: str, **changes) -> Path:
        variant["init_kwargs"] = {**settings, **changes}
        return save(tmp_path / name, parts, {"metadata_json": json.dumps(facts)})

    return write


def test_a_pipeline_of_other_depths_sizes_and_times(parity, pipeline):
    reason, printed = parity(pipeline("unseen.safetensors"))
    assert reason is None
    assert "pmrf.x_last" in printed


def test_a_pipeline_whose_noise_was_another(parity, pipeline):
    reason, printed = parity(pipeline("other.safetensors", mmse_noise_std=0.1))
    assert "out of tolerance" in reason


def test_a_training_checkpoint_against_its_pipeline(parity, pipeline, tmp_path):
    good = pipeline("good.safetensors")
    state = load_file(good)
    names = [name for name, _ in tiny_flow().named_parameters()]
    averages = [state[f"flow.{name}"] for name in names]
    raw = {f"model.{n}": state[f"flow.{n}"].clone() for n in tiny_flow().state_dict()}
    for name in names:
        raw[f"model.{name}"].fill_(0.123)
    content = {"state_dict": raw, "ema": {"shadow_params": averages}, "hyper_parameters": {}}
    torch.save(content, tmp_path / "epoch.ckpt")
    reason, _ = parity(tmp_path / "epoch.ckpt", good)
    assert reason is None
    torch.save({**content, "ema": None}, tmp_path / "raw.ckpt")
    reason, printed = parity(tmp_path / "raw.ckpt", good)
    assert "out of tolerance" in reason
    reason, printed = parity(tmp_path / "epoch.ckpt")
    assert reason == "epoch.ckpt: give the pipeline file that holds its weights in the same call."


def test_files_that_cannot_be_read_do_not_end_the_run(parity, tmp_path):
    (tmp_path / "page.safetensors").write_text("<html>")
    (tmp_path / "list.json").write_text("[]")
    reason, printed = parity(tmp_path / "page.safetensors", tmp_path / "list.json", GOLDENS[0])
    assert "page.safetensors cannot be read as a golden file" in reason
    assert "list.json cannot be read as a golden file: it holds no facts." in reason
    assert " ok\n" in printed
