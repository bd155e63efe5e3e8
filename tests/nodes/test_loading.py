"""Weights: which are listed, how long they stay, what is refused."""

import asyncio
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from restoreflow.models import registry
from restoreflow.models.checkpoint import WeightsError


def test_an_empty_folder_still_lists_the_demo(nodes, host, weights_folder):
    assert host.weight_names() == [host.DEMO_WEIGHTS]
    assert nodes.load.LoadFlow.execute(host.DEMO_WEIGHTS).args[0].steps == 25


def test_files_of_subfolders_are_found_however_their_path_was_written(host, weights_folder):
    (weights_folder / "faces").mkdir()
    shutil.copy(host.EMBEDDED / host.DEMO_WEIGHTS, weights_folder / "faces" / "mine.safetensors")
    (weights_folder / "config.json").write_text("{}")
    assert host.weight_names() == [host.DEMO_WEIGHTS, "faces/mine.safetensors"]
    assert host.check_weights("faces\\mine.safetensors") is True
    windows = host.load("faces\\mine.safetensors", registry.FLOW, "auto")
    assert windows is host.load("faces/mine.safetensors", registry.FLOW, "auto")


@pytest.mark.parametrize("name", ["gone.safetensors", "../../secret.ckpt", "/etc/passwd"])
def test_a_missing_file_says_where_to_put_it(host, weights_folder, name):
    assert "put it into models/restoreflow" in host.check_weights(name)
    with pytest.raises(WeightsError, match="There is no weight file"):
        host.load(name, registry.FLOW, "auto")


def test_a_part_is_read_once_and_again_when_its_file_changes(host, weights_folder):
    path = weights_folder / "mine.safetensors"
    shutil.copy(host.EMBEDDED / host.DEMO_WEIGHTS, path)
    first = host.load(path.name, registry.FLOW, "auto")
    other = host.load(path.name, registry.POSTERIOR_MEAN, "auto")
    assert host.load(path.name, registry.FLOW, "auto") is first
    assert host.load(path.name, registry.POSTERIOR_MEAN, "auto") is other
    os.utime(path, ns=(1, 1))
    assert host.load(path.name, registry.FLOW, "auto") is not first


def test_only_the_last_files_are_kept(host, weights_folder):
    for i in range(host.KEPT_FILES + 1):
        shutil.copy(host.EMBEDDED / host.DEMO_WEIGHTS, weights_folder / f"{i}.safetensors")
    first = host.load("0.safetensors", registry.FLOW, "auto")
    for i in range(1, host.KEPT_FILES + 1):
        host.load(f"{i}.safetensors", registry.FLOW, "auto")
    assert len(host._parts) == host.KEPT_FILES
    assert host.load("0.safetensors", registry.FLOW, "auto") is not first


@pytest.mark.parametrize(
    ("path", "told", "kept"),
    [
        ("/free", {"free_memory": True}, 0),
        ("/api/free", {"unload_models": True}, 0),
        ("/free", {}, 1),
        ("/prompt", {"free_memory": True}, 1),
    ],
)
def test_parts_are_dropped_when_the_host_is_told_to_free_memory(host, path, told, kept):
    host._parts.clear()
    host.load(host.DEMO_WEIGHTS, registry.FLOW, "auto")

    async def json():
        return told

    request = SimpleNamespace(method="POST", path=path, json=json)
    asyncio.run(host._forget_when_told_to_free(request, SimpleNamespace(status=200)))
    assert len(host._parts) == kept


def test_precision(host, weights_folder):
    assert host.load(host.DEMO_WEIGHTS, registry.FLOW, "auto").dtype == torch.float32
    assert host.load(host.DEMO_WEIGHTS, registry.FLOW, "bfloat16").dtype == torch.bfloat16
    assert host.load(host.DEMO_WEIGHTS, registry.FLOW, "float16").dtype == torch.float16


def test_a_precision_that_a_network_does_not_run_in(host):
    part = SimpleNamespace(name="Mine", dtypes=(torch.bfloat16, torch.float32))
    with pytest.raises(WeightsError, match="Mine does not run in float16; choose bfloat16 or"):
        host._dtype(part, "float16")


def test_an_upscale_model_serves_as_posterior_mean(nodes, host):
    from spandrel import ModelLoader
    from spandrel.architectures.Compact import Compact

    state = Compact(num_feat=16, num_conv=2, upscale=2).state_dict()
    descriptor = ModelLoader().load_from_state_dict(state)
    image = torch.rand(1, 21, 30, 3)
    result = nodes.restore.PosteriorMean.execute(descriptor, image).args[0]
    assert result.shape == image.shape
    first = descriptor.patcher
    nodes.restore.PosteriorMean.execute(descriptor, image)
    assert descriptor.patcher is first


def test_something_else_on_the_socket(nodes, host):
    flow = host.load(host.DEMO_WEIGHTS, registry.FLOW, "auto")
    with pytest.raises(WeightsError, match="needs a posterior mean or an upscale model; got Flow"):
        nodes.restore.PosteriorMean.execute(flow, torch.rand(1, 8, 8, 3))


def test_a_cancelled_run_stops_within_a_step(nodes, host):
    import comfy.model_management as mm

    flow = host.load(host.DEMO_WEIGHTS, registry.FLOW, "auto")
    calls = []

    def interrupt(*_: object) -> None:
        calls.append(1)
        mm.interrupt_current_processing(True)

    hook = flow.network.register_forward_hook(interrupt)
    try:
        with pytest.raises(mm.InterruptProcessingException):
            nodes.restore.SampleImage.execute(flow, torch.rand(1, 16, 16, 3), 0, 9, -1.0, "euler")
    finally:
        hook.remove()
        mm.interrupt_current_processing(False)
    assert len(calls) == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_progress_and_previews_obey_the_hosts_setting(nodes, host, monkeypatch, wanted):
    import comfy.utils
    from comfy.cli_args import LatentPreviewMethod, args

    method = LatentPreviewMethod.Auto if wanted else LatentPreviewMethod.NoPreviews
    monkeypatch.setattr(args, "preview_method", method)
    seen = []
    monkeypatch.setattr(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, **_: seen.append((value, total, preview)),
    )
    flow = host.load(host.DEMO_WEIGHTS, registry.FLOW, "auto")
    image = torch.rand(1, 700, 50, 3)
    nodes.restore.SampleImage.execute(flow, image, 0, 2, -1.0, "euler")
    assert [(value, total) for value, total, _ in seen] == [(0, 2), (1, 2), (2, 2)]
    assert all((preview is not None) == wanted for *_, preview in seen)
    if wanted:
        kind, first, limit = seen[0][2]
        assert (kind, max(first.size) <= 2 * limit) == ("JPEG", True)
        expected = (image[0, 0, 0] * 255).round()
        assert torch.equal(torch.tensor(first.getpixel((0, 0))).float(), expected)
