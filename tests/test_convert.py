"""Published snapshots become safetensors, and nothing in them is ever run."""

import io
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import convert_flow_map
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fakes import as_loaded
from restoreflow.models import registry
from restoreflow.models.checkpoint import read
from restoreflow.models.networks.song_unet import SongUNet, SongUNetShape
from torch import nn

SHAPE = SongUNetShape(3, 16, 8, (8, 16), 1, (8,), 16, 32, 4)
SOURCE = "import pathlib\npathlib.Path({!r}).touch()\nraise SystemExit('source was run')\n"


class Stored:
    """Pickles as the published code's persistent classes do: a call that executes their source."""

    def __init__(self, class_name: str, state: dict, ran: Path):
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE.format(str(ran)),
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self):
        rebuild = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        return rebuild, (self.meta,), None


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def stored(module: nn.Module, ran: Path, class_name: str = "Layer") -> object:
    """A module as a snapshot holds it; lists of modules are torch's own."""
    state = {
        "training": False,
        "_parameters": module._parameters,
        "_buffers": module._buffers,
        "_non_persistent_buffers_set": module._non_persistent_buffers_set,
        "_modules": {n: m and stored(m, ran) for n, m in module._modules.items()},
    }
    if isinstance(module, nn.ModuleDict):
        twin = nn.ModuleDict()
        twin.__dict__.update(state)
        return twin
    own = {"skip_scale": np.sqrt(0.5), "_init_kwargs": {"init": {"init_weight": np.float64(1e-5)}}}
    return Stored(class_name, {**state, **own}, ran)


class AMF(nn.Module):
    """The published network's outer class: the U-Net, and what only its training used."""

    def __init__(self, network: SongUNet):
        super().__init__()
        self.model = network
        self.model.map_augment = nn.Linear(9, SHAPE.features, bias=False)
        self.weight_net = nn.Linear(2, 1)


@pytest.fixture
def ran(tmp_path) -> Path:
    """Exists as soon as anything in a file was run."""
    return tmp_path / "ran"


@pytest.fixture
def snapshot(tmp_path, monkeypatch, ran):
    """Writes a snapshot of a network, its class and loss by name; then forgets their modules."""

    def make(network: nn.Module, kind="AMFPrecond", loss="IsotropicFlowMapLoss", **more) -> Path:
        persistence, losses = ModuleType("torch_utils.persistence"), ModuleType("training.losses")
        persistence._reconstruct_persistent_obj = reconstruct
        setattr(losses, loss, type(loss, (), {"__module__": losses.__name__}))
        content = {
            "ema": stored(network, ran, kind),
            "loss_fn": getattr(losses, loss)(),
            "augment_pipe": None,
            "dataset_kwargs": {"resolution": 16},
            **more,
        }
        path = tmp_path / "network-snapshot-000001.pkl"
        with monkeypatch.context() as patch:
            for module in (ModuleType("torch_utils"), persistence, ModuleType("training"), losses):
                patch.setitem(sys.modules, module.__name__, module)
            path.write_bytes(pickle.dumps(content))
        return path

    return make


def reconstruct(meta: dict) -> None:
    """Goes by the name of the published function, which would execute the source."""
    raise AssertionError("source was to be run")


reconstruct.__module__ = "torch_utils.persistence"
reconstruct.__qualname__ = reconstruct.__name__ = "_reconstruct_persistent_obj"


@pytest.fixture
def convert(monkeypatch, capsys):
    """Runs the script; returns (exit reason or None, what it printed)."""

    def run(*arguments: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["convert_flow_map", *map(str, arguments)])
        try:
            convert_flow_map.main()
        except SystemExit as stop:
            return stop.code, capsys.readouterr().out
        return None, capsys.readouterr().out

    return run


def test_a_snapshot_is_converted(tmp_path, snapshot, convert, ran):
    network = as_loaded(SongUNet(SHAPE))
    path, out = snapshot(AMF(network)), tmp_path / "map.safetensors"
    reason, printed = convert(path, out)
    assert reason is None and not ran.exists()
    assert "two-time, 16 px" in printed and "That is no denoiser" in printed
    flow = registry.load(out, registry.FLOW)
    x, t, s = torch.rand(2, 3, 16, 24), torch.tensor([0.1, 0.6]), torch.tensor([0.9, 0.6])
    with torch.no_grad():
        assert torch.equal(flow.predict(x, t, s), network(2 * x - 1, t, s) / 2)
    file = read(out)
    assert (file.config["clock"], file.config["converted_from"]) == ("data=1", path.name)
    assert set(file.shapes) == {f"model.{n}" for n in network.state_dict() if "augment" not in n}
    assert not [*tmp_path.glob("*.part")]


def test_a_velocitys_loss_is_recorded(tmp_path, snapshot, convert):
    path = snapshot(AMF(SongUNet(SHAPE)), loss="FlowMatchingLoss")
    assert convert(path, tmp_path / "v.safetensors")[0] is None
    assert registry.load(tmp_path / "v.safetensors", registry.FLOW).times == "velocity"


def test_weights_of_a_gpu_are_read_without_one(tmp_path, snapshot, convert, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        path = snapshot(AMF(SongUNet(SHAPE)))
    assert b"cuda:0" in path.read_bytes()
    assert convert(path, tmp_path / "map.safetensors")[0] is None


@pytest.mark.parametrize("denoises", [True, False])
def test_the_trial_knows_a_denoiser(denoises):
    def smoothed(x, t, s):
        clean = F.avg_pool2d(
            (x - (1 - t) * 0.5) / t, 5, stride=1, padding=2, count_include_pad=False
        )
        return (clean - x) / (1 - t) if denoises else x - clean

    flow = SimpleNamespace(native_size=64, source_mean=0.5, noise_std=0.5, velocity=smoothed)
    before, after = convert_flow_map.trial(flow)
    assert (after > before + convert_flow_map.TRIAL_GAIN) == denoises


def test_no_file_is_overwritten_unasked(tmp_path, snapshot, convert):
    path, out = snapshot(AMF(SongUNet(SHAPE))), tmp_path / "map.safetensors"
    out.write_bytes(b"mine")
    assert "exists; give another name, or --replace" in convert(path, out)[0]
    assert out.read_bytes() == b"mine"
    assert convert(path, out, "--replace")[0] is None
    assert registry.load(out, registry.FLOW)


def test_nothing_is_left_half_written(tmp_path, snapshot, convert, monkeypatch):
    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(convert_flow_map, "save_file", fail)
    path, out = snapshot(AMF(SongUNet(SHAPE))), tmp_path / "map.safetensors"
    assert "No space left" in convert(path, out)[0]
    assert not out.exists() and not [*tmp_path.glob("*.part")]


# What is refused


@pytest.mark.parametrize("function", [os.system, eval, exec, __import__, getattr])
def test_a_hostile_pickle_runs_nothing(tmp_path, snapshot, convert, ran, function):
    text = f"touch {ran}" if function is os.system else f"open({str(ran)!r}, 'w')"
    path = snapshot(AMF(SongUNet(SHAPE)), augment_pipe=Calls(function, text))
    reason, _ = convert(path, tmp_path / "map.safetensors")
    assert "is no snapshot of a flow-map denoiser (it names" in reason
    assert reason.endswith("nothing of it was run.")
    assert not ran.exists() and not (tmp_path / "map.safetensors").exists()


def test_a_hostile_storage_runs_nothing(tmp_path, snapshot, convert, ran):
    content = io.BytesIO()
    torch.save(Calls(os.system, f"touch {ran}"), content, _use_new_zipfile_serialization=False)
    hostile = Calls(torch.storage._load_from_bytes, content.getvalue())
    path = snapshot(AMF(SongUNet(SHAPE)), augment_pipe=hostile)
    assert "is no snapshot of a flow-map denoiser" in convert(path, tmp_path / "m.safetensors")[0]
    assert not ran.exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("MFPrecond", "class MFPrecond, whose clock is reversed; supported is AMFPrecond"),
        ("EDMPrecond", "a network of class EDMPrecond; supported"),
    ],
)
def test_another_network(tmp_path, snapshot, convert, kind, says):
    path = snapshot(AMF(SongUNet(SHAPE)), kind=kind)
    assert says in convert(path, tmp_path / "m.safetensors")[0]


def test_a_network_that_does_not_fit(tmp_path, snapshot, convert):
    network = SongUNet(SHAPE)
    del network.dec["8x8_in1"]
    reason, _ = convert(snapshot(AMF(network)), tmp_path / "m.safetensors")
    assert "lacks model.dec.8x8_in1." in reason
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps({"ema": 3}), pickle.dumps([])])
def test_no_snapshot_at_all(tmp_path, convert, content):
    (tmp_path / "a.pkl").write_bytes(content)
    reason, _ = convert(tmp_path / "a.pkl", tmp_path / "m.safetensors")
    assert reason.startswith("a.pkl is no snapshot of a flow-map denoiser")


def test_there_is_no_such_file(tmp_path, convert):
    assert "No such file" in convert(tmp_path / "a.pkl", tmp_path / "m.safetensors")[0]


def test_another_container_is_not_written(tmp_path, convert):
    assert "call it m.safetensors" in convert(tmp_path / "a.pkl", tmp_path / "m.pth")[0]
