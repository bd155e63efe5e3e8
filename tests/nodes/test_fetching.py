"""Known weights in the loaders: listed and validated without network, fetched on the first run."""

import json
import os

import hub_server
import pytest
import torch
from fakes import published_mean_names, save, tiny_flow, tiny_mean
from hub_server import COMMIT
from restoreflow.models import hub
from restoreflow.models.hub import Hub, Known
from restoreflow.models.transfer import FetchError

NAME = "tiny-face.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> bytes:
    """A file as PMRF's authors publish it, with a small random flow and posterior mean."""
    parts = {"model.": tiny_flow().state_dict(), "mmse_model.": published_mean_names(tiny_mean())}
    return save(tmp_path_factory.mktemp("hub") / "model.safetensors", parts).read_bytes()


@pytest.fixture
def play(data, weights_folder, monkeypatch, tmp_path):
    """A Hub that serves the one known weight, which goes into the empty model folder."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(weights_folder.parent))
    hub_server.alone(monkeypatch, tmp_path / "cache")
    source = Hub("someone/something", "model.safetensors")
    monkeypatch.setattr(hub, "KNOWN", (Known(NAME, source, len(data), None, "MIT", "nothing"),))
    with hub_server.served(data) as play:
        hub_server.as_hub(monkeypatch, play.url)
        yield play


@pytest.fixture
def bar(monkeypatch) -> list[tuple[int, int]]:
    """What the node's progress bar has shown."""
    import comfy.utils

    seen = []
    hook = lambda done, total, *_, **__: seen.append((done, total))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    return seen


def is_one_sentence(error) -> bool:
    text = str(error.value)
    return "\n" not in text and text.endswith(".")


def test_listed_and_valid_without_network(weights, nodes, play, weights_folder):
    for node in (nodes.load.LoadPosteriorMean, nodes.load.LoadFlow):
        combo = node.define_schema().inputs[0]
        assert combo.options == [*weights.DEMOS, NAME]
        assert hub.KNOWN[0].label in combo.tooltip
        assert node.validate_inputs(NAME) is True
        assert node.validate_inputs(rf"faces\{NAME}") is True
        assert node.validate_inputs("other.safetensors") is not True
    assert play.asked == [] and os.listdir(weights_folder) == []


def test_fetched_on_the_first_run_only(weights, nodes, play, weights_folder, bar, data):
    assert NAME not in weights.names()
    flow = nodes.load.LoadFlow.execute(NAME).args[0]
    assert (weights_folder / NAME).read_bytes() == data
    assert bar[-1] == (len(data), len(data)) and bar == sorted(bar)
    assert NAME in weights.names() and weights.choices() == [*weights.DEMOS, NAME]
    asked = len(play.asked)
    assert nodes.load.LoadFlow.execute(NAME).args[0] is flow
    weights.forget()
    mean = nodes.load.LoadPosteriorMean.execute(NAME).args[0]
    assert len(play.asked) == asked and flow.noise_std == 0.1
    image = torch.rand(1, 64, 64, 3)
    assert nodes.restore.PosteriorMean.execute(mean, image).args[0].shape == image.shape


def test_fetched_into_the_own_folder_whatever_stands_before_it(
    weights, nodes, play, tmp_path, monkeypatch, data
):
    import folder_paths

    share, models = tmp_path / "share", tmp_path / "later"
    share.mkdir()
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    registered = ([str(share)], set())
    monkeypatch.setitem(folder_paths.folder_names_and_paths, weights.FOLDER, registered)
    weights.register_folder()
    assert weights.names() == [*weights.DEMOS]
    nodes.load.LoadFlow.execute(rf"old\{NAME}")
    own = models / "restoreflow" / NAME
    assert own.is_file() and NAME in weights.names() and os.listdir(share) == []
    own.rename(share / NAME)
    asked = len(play.asked)
    nodes.load.LoadFlow.execute(NAME)
    assert len(play.asked) == asked and not own.exists()


@pytest.mark.parametrize("setting", ["never", "nerver"])
def test_never_fails_at_once(weights, nodes, play, weights_folder, monkeypatch, setting):
    monkeypatch.setenv(hub.SETTING, setting)
    with pytest.raises(FetchError, match=f"RESTOREFLOW_FETCH={setting} forbids") as error:
        nodes.load.LoadFlow.execute(NAME)
    assert is_one_sentence(error) and play.asked == []
    for fact in (NAME, hub.KNOWN[0].source.url(), str(hub.KNOWN[0].size), str(weights_folder)):
        assert fact in str(error.value)


def test_a_file_in_a_subfolder_is_used_without_network(nodes, play, weights_folder, data):
    path = weights_folder / "faces" / "mine" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    nodes.load.LoadFlow.execute(NAME)
    nodes.load.LoadFlow.execute(rf"elsewhere\{NAME}")
    assert play.asked == [] and not (weights_folder / NAME).exists()


def test_a_file_in_the_hubs_cache_is_used_with_its_settings(nodes, play, tmp_path, data):
    repo = tmp_path / "cache" / "models--someone--something"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    (snapshot / "model.safetensors").write_bytes(data)
    settings = {"stage": "flow", "mmse_model_arch": "swinir_L", "mmse_noise_std": 0.025}
    (snapshot / "config.json").write_text(json.dumps(settings))
    assert nodes.load.LoadFlow.execute(NAME).args[0].noise_std == 0.025
    assert play.asked == []


def test_cancelled_then_resumed(weights, nodes, play, weights_folder, monkeypatch, data):
    import comfy.model_management as mm
    import comfy.utils

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *_, **__: cancel())
    cancel = lambda: mm.interrupt_current_processing(True)  # noqa: E731
    with pytest.raises(mm.InterruptProcessingException):
        nodes.load.LoadFlow.execute(NAME)
    assert weights.names() == [*weights.DEMOS]
    kept = (weights_folder / f"{NAME}.part").stat().st_size
    assert 0 < kept < len(data)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", None)
    nodes.load.LoadFlow.execute(NAME)
    assert play.gets()[-1]["Range"] == f"bytes={kept}-"


def test_a_file_that_is_gone_is_said_in_one_sentence(nodes, play):
    play.answers = [(404, {})]
    with pytest.raises(FetchError, match="has it no more") as error:
        nodes.load.LoadFlow.execute(NAME)
    assert is_one_sentence(error)
