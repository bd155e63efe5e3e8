"""Weights: which are listed, how long they stay, what is refused."""

import asyncio
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from fakes import published_mean_names, tiny_mean
from restoreflow.models import registry
from restoreflow.models.checkpoint import WeightsError


def test_an_empty_folder_still_lists_the_demo(weights, nodes, weights_folder):
    assert weights.names() == [*weights.DEMOS]
    assert nodes.load.LoadFlow.execute(weights.DEMO).args[0].steps == 25


def test_files_of_subfolders_are_found_however_their_path_was_written(weights, weights_folder):
    (weights_folder / "faces").mkdir()
    shutil.copy(weights.EMBEDDED / weights.DEMO, weights_folder / "faces" / "mine.safetensors")
    (weights_folder / "config.json").write_text("{}")
    assert weights.names() == [*weights.DEMOS, "faces/mine.safetensors"]
    assert weights.check("faces\\mine.safetensors") is True
    windows = weights.load("faces\\mine.safetensors", registry.FLOW, "auto")
    assert windows is weights.load("faces/mine.safetensors", registry.FLOW, "auto")


@pytest.mark.parametrize("name", ["gone.safetensors", "../../secret.ckpt", "/etc/passwd"])
def test_a_missing_file_says_where_to_put_it(weights, weights_folder, name):
    assert "put it into models/restoreflow" in weights.check(name)
    with pytest.raises(WeightsError, match="There is no weight file"):
        weights.load(name, registry.FLOW, "auto")


def test_a_part_is_read_once_and_again_when_its_file_changes(weights, nodes, weights_folder):
    path = weights_folder / "mine.safetensors"
    shutil.copy(weights.EMBEDDED / weights.DEMO, path)
    first = weights.load(path.name, registry.FLOW, "auto")
    other = weights.load(path.name, registry.POSTERIOR_MEAN, "auto")
    assert weights.load(path.name, registry.FLOW, "auto") is first
    assert weights.load(path.name, registry.POSTERIOR_MEAN, "auto") is other
    before = nodes.load.LoadFlow.fingerprint_inputs(path.name)
    assert nodes.load.LoadFlow.fingerprint_inputs(path.name, precision="auto") == before
    os.utime(path, ns=(1, 1))
    assert weights.load(path.name, registry.FLOW, "auto") is not first
    assert nodes.load.LoadFlow.fingerprint_inputs(path.name) != before


def test_a_weight_that_is_still_to_be_fetched_is_the_same_before_and_after(weights):
    """So that a second run finds its results where the first left them."""
    assert weights.fingerprint("pmrf-face-512.safetensors") == ""
    assert weights.fingerprint(None) == "" == weights.fingerprint("gone.safetensors")


def test_averaged_and_last_weights_are_two_parts(weights, nodes, weights_folder):
    state = published_mean_names(tiny_mean())
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"params": other, "params_ema": state}, weights_folder / "mean.pth")
    averaged, last = (
        nodes.load.LoadPosteriorMean.execute("mean.pth", ema=ema).args[0] for ema in (True, False)
    )
    assert torch.equal(averaged.network.conv_last.weight, state["conv_last.weight"])
    assert torch.equal(last.network.conv_last.weight, other["conv_last.weight"])


def test_only_the_last_parts_are_kept(weights, weights_folder):
    for i in range(weights.KEPT_PARTS + 1):
        shutil.copy(weights.EMBEDDED / weights.DEMO, weights_folder / f"{i}.safetensors")
    first = weights.load("0.safetensors", registry.FLOW, "auto")
    for i in range(1, weights.KEPT_PARTS + 1):
        weights.load(f"{i}.safetensors", registry.FLOW, "auto")
    assert len(weights._parts) == weights.KEPT_PARTS
    assert weights.load("0.safetensors", registry.FLOW, "auto") is not first


@pytest.mark.parametrize(
    ("path", "told", "kept"),
    [
        ("/free", {"free_memory": True}, 0),
        ("/api/free", {"unload_models": True}, 0),
        ("/free", {}, 1),
        ("/prompt", {"free_memory": True}, 1),
    ],
)
def test_parts_are_dropped_when_the_host_is_told_to_free_memory(weights, host, path, told, kept):
    weights.forget()
    weights.load(weights.DEMO, registry.FLOW, "auto")

    async def json():
        return told

    request = SimpleNamespace(method="POST", path=path, json=json)
    asyncio.run(host._forget_when_told_to_free(request, SimpleNamespace(status=200)))
    assert len(weights._parts) == kept


def test_precision(weights, weights_folder):
    assert weights.load(weights.DEMO, registry.FLOW, "auto").dtype == torch.float32
    assert weights.load(weights.DEMO, registry.FLOW, "bfloat16").dtype == torch.bfloat16
    assert weights.load(weights.DEMO, registry.FLOW, "float16").dtype == torch.float16


def test_a_precision_that_a_network_does_not_run_in(weights):
    part = SimpleNamespace(name="Mine", dtypes=(torch.bfloat16, torch.float32))
    with pytest.raises(WeightsError, match="Mine does not run in float16; choose bfloat16 or"):
        weights._dtype(part, "float16")


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


def test_something_else_on_the_socket(weights, nodes):
    flow = weights.load(weights.DEMO, registry.FLOW, "auto")
    with pytest.raises(TypeError, match="Posterior Mean needs a PosteriorMean; got a Flow"):
        nodes.restore.PosteriorMean.execute(flow, torch.rand(1, 8, 8, 3))


def test_a_cancelled_run_stops_within_a_step(weights, nodes):
    import comfy.model_management as mm

    flow = weights.load(weights.DEMO, registry.FLOW, "auto")
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
def test_progress_and_previews_obey_the_hosts_setting(weights, nodes, monkeypatch, wanted):
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
    flow = weights.load(weights.DEMO, registry.FLOW, "auto")
    image = torch.rand(1, 700, 50, 3)
    nodes.restore.SampleImage.execute(flow, image, 0, 2, -1.0, "euler")
    assert [(value, total) for value, total, _ in seen] == [(0, 2), (1, 2), (2, 2)]
    assert all((preview is not None) == wanted for *_, preview in seen)
    if wanted:
        kind, first, limit = seen[0][2]
        assert (kind, max(first.size) <= 2 * limit) == ("JPEG", True)
        expected = (image[0, 0, 0] * 255).round()
        assert torch.equal(torch.tensor(first.getpixel((0, 0))).float(), expected)


def test_another_part_on_a_socket_of_any_type(nodes, weights):
    mean = weights.load(weights.DEMO, registry.POSTERIOR_MEAN, "auto")
    image = torch.rand(1, 8, 8, 3)
    with pytest.raises(TypeError, match="Flow Sampler needs a Flow; got a PosteriorMean"):
        nodes.restore.SampleImage.execute(mean, image, 0, 1, -1.0, "euler")
    with pytest.raises(TypeError, match="Apply Degradation needs a Degradation; got a str"):
        nodes.degrade.ApplyDegradation.execute("noise", image, 0)


def test_a_name_that_another_node_will_give_is_checked_later(weights):
    assert weights.check(None) is True


def test_settings_that_arrive_later_are_seen(weights, weights_folder):
    shutil.copy(weights.EMBEDDED / weights.DEMO, weights_folder / "model.safetensors")
    before = weights.load("model.safetensors", registry.FLOW, "auto")
    (weights_folder / "config.json").write_text("{}")
    assert weights.load("model.safetensors", registry.FLOW, "auto") is not before


def test_posterior_means_run_in_float32_unless_told_otherwise(weights, monkeypatch):
    import comfy.model_management as mm

    monkeypatch.setattr(mm, "unet_dtype", lambda *_: torch.bfloat16)
    weights.forget()
    assert weights.load(weights.DEMO, registry.POSTERIOR_MEAN, "auto").dtype == torch.float32
    assert weights.load(weights.DEMO, registry.FLOW, "auto").dtype == torch.bfloat16
    weights.forget()


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_known_by_every_backends_words(host, error, is_one):
    assert host._is_out_of_memory(error) is is_one
