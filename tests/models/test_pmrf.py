"""PMRF's files: what is deduced from shapes, what from the container, what is refused."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from fakes import published_mean_names, save, tiny_flow, tiny_mean
from restoreflow.models import registry
from restoreflow.models.checkpoint import WeightsError, read
from restoreflow.models.families import pmrf


@pytest.fixture
def hub_folder(tmp_path) -> Path:
    """The Hub's container: flow, mean, an Inception copy, and config.json beside them."""
    junk = {"inception.Conv2d_1a_3x3.conv.weight": torch.zeros(3)}
    mean = {
        name: tensor
        for name, tensor in published_mean_names(tiny_mean()).items()
        if not name.endswith(("attn_mask", "relative_position_index"))
    }
    parts = {"model.": tiny_flow().state_dict(), "mmse_model.": mean, "fid.": junk}
    save(tmp_path / "model.safetensors", parts)
    config = {"stage": "flow", "mmse_model_arch": "swinir_L", "mmse_noise_std": 0.025}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("patch", [2, 4])
def test_the_network_is_deduced_from_its_shapes(tmp_path, levels, patch):
    network = tiny_flow(patch=patch, levels=levels)
    path = save(tmp_path / "flow.safetensors", {"": network.state_dict()})
    flow = registry.load(path, registry.FLOW)
    x, t = torch.rand(2, 3, 64, 96), torch.tensor([0.1, 0.8])
    assert torch.equal(flow.predict(x, t, t), network(x, t))
    assert flow.multiple == patch * 2 ** (levels - 1)
    assert flow.minimum % flow.multiple == 0
    smallest = torch.rand(1, 3, flow.minimum, flow.minimum)
    assert flow.velocity(smallest, 0.5, 0.5).shape == smallest.shape


def test_the_hubs_container(hub_folder, random_state_untouched):
    flow = registry.load(hub_folder / "model.safetensors", registry.FLOW)
    mean = registry.load(hub_folder / "model.safetensors", registry.POSTERIOR_MEAN)
    assert (flow.origin, flow.condition, flow.noise_std, flow.steps) == ("mean", "none", 0.025, 25)
    assert (mean.multiple, mean.minimum) == (64, 64)


def test_the_hubs_file_without_its_config(hub_folder):
    (hub_folder / "config.json").unlink()
    assert registry.load(hub_folder / "model.safetensors", registry.FLOW).noise_std == 0.1


def test_a_bare_flow_cannot_tell_its_noise(tmp_path):
    path = save(tmp_path / "flow.safetensors", {"": tiny_flow().state_dict()})
    assert registry.load(path, registry.FLOW).noise_std is None


@pytest.mark.parametrize(
    ("channels", "with_mean", "condition"),
    [(6, True, "mean"), (6, False, "degraded"), (4, False, "degraded")],
)
def test_conditional_flows_start_from_noise(tmp_path, channels, with_mean, condition):
    parts = {"model.": tiny_flow(channels).state_dict()}
    if with_mean:
        parts["mmse_model."] = published_mean_names(tiny_mean())
    flow = registry.load(save(tmp_path / "flow.safetensors", parts), registry.FLOW)
    assert (flow.origin, flow.noise_std, flow.condition) == ("noise", 1.0, condition)
    assert flow.condition_channels == channels - 3


def test_lightning_checkpoints_give_their_moving_averages(tmp_path):
    raw, average = tiny_flow(), tiny_flow()
    content = {
        "state_dict": {f"model.{k}": v for k, v in raw.state_dict().items()},
        "hyper_parameters": {"stage": "naive_flow", "mmse_noise_std": 0.1},
        "ema": {"shadow_params": [p.detach() for p in average.parameters()]},
    }
    torch.save(content, tmp_path / "epoch.ckpt")
    flow = registry.load(tmp_path / "epoch.ckpt", registry.FLOW)
    assert flow.origin == "degraded"
    for name, parameter in flow.network.named_parameters():
        assert torch.equal(parameter, average.get_parameter(name))
    last = registry.load(tmp_path / "epoch.ckpt", registry.FLOW, ema=False)
    for name, parameter in last.network.named_parameters():
        assert torch.equal(parameter, raw.get_parameter(name))
    content["ema"]["shadow_params"].pop()
    torch.save(content, tmp_path / "short.ckpt")
    with pytest.raises(
        WeightsError, match=r"short\.ckpt holds \d+ moving averages that do not fit"
    ):
        registry.load(tmp_path / "short.ckpt", registry.FLOW)


def test_moving_averages_of_a_posterior_mean(tmp_path):
    raw, average = published_mean_names(tiny_mean()), tiny_mean()
    content = {
        "state_dict": {f"model.{k}": v for k, v in raw.items()},
        "hyper_parameters": {"stage": "mmse"},
        "ema": {"shadow_params": [p.detach() for p in average.parameters()]},
    }
    torch.save(content, tmp_path / "mean.ckpt")
    mean = registry.load(tmp_path / "mean.ckpt", registry.POSTERIOR_MEAN)
    for name, parameter in mean.network.named_parameters():
        assert torch.equal(parameter, average.get_parameter(name))


def test_difface_s_container(tmp_path):
    state = published_mean_names(tiny_mean())
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"params": other, "params_ema": state}, tmp_path / "swinir.pth")
    for ema, expected in [(True, state), (False, other)]:
        mean = registry.load(tmp_path / "swinir.pth", registry.POSTERIOR_MEAN, ema)
        assert torch.equal(mean.network.conv_last.weight, expected["conv_last.weight"])


def test_a_half_precision_file_computes_exact_frequencies(tmp_path):
    exact = tiny_flow().state_dict()
    half = {k: v.half() for k, v in exact.items()}
    flow = registry.load(save(tmp_path / "flow.safetensors", {"": half}), registry.FLOW)
    assert all(table.dtype == torch.float32 for table in flow.network.buffers())
    for name, table in flow.network.named_buffers():
        if name.endswith("freqs"):
            assert torch.equal(table, exact[name])


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>Too large to scan</html>",
        b'{"message": "rate limited"}',
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1",
    ],
)
def test_a_page_in_place_of_the_file(tmp_path, content):
    (tmp_path / "flow.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"flow\.ckpt is a web page or a pointer .* delete it"):
        registry.load(tmp_path / "flow.ckpt", registry.FLOW)


@pytest.mark.parametrize(
    "content",
    [
        {0: torch.zeros(1)},
        {"state_dict": {"a": torch.zeros(1)}, "ema": [torch.zeros(1)]},
        {"state_dict": {"a": torch.zeros(1)}, "hyper_parameters": [1]},
    ],
)
def test_a_checkpoint_of_an_odd_kind(tmp_path, content):
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(WeightsError, match=r"odd\.ckpt"):
        registry.load(tmp_path / "odd.ckpt", registry.FLOW)


@pytest.mark.parametrize(
    "settings", [{"eps": "abc"}, {"self_attns": 5}, {"mmse_noise_std": "abc"}], ids=str
)
def test_settings_that_make_no_sense(tmp_path, settings):
    state = {f"model.{k}": v for k, v in tiny_flow().state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": settings}, tmp_path / "odd.ckpt")
    with pytest.raises(WeightsError, match=r"odd\.ckpt looks like the flow of PMRF, but"):
        registry.load(tmp_path / "odd.ckpt", registry.FLOW)


def test_tensors_of_no_rank(tmp_path):
    state = {**tiny_flow().state_dict(), "patch_in.proj.weight": torch.zeros(3)}
    path = save(tmp_path / "odd.safetensors", {"": state})
    with pytest.raises(WeightsError, match=r"odd\.safetensors looks like the flow of PMRF, but"):
        registry.load(path, registry.FLOW)


@pytest.mark.parametrize("attentions", [["neighborhood"], ["global"], ["neighborhood"] * 3])
def test_settings_that_do_not_fit_the_levels(tmp_path, attentions):
    path = save(tmp_path / "model.safetensors", {"model.": tiny_flow().state_dict()})
    config = {"self_attns": [{"type": kind} for kind in attentions]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"describes \d levels of attention for 2"):
        registry.load(path, registry.FLOW)


def test_attention_that_is_not_known(tmp_path):
    path = save(tmp_path / "model.safetensors", {"model.": tiny_flow().state_dict()})
    config = {"self_attns": [{"type": "shifted-window"}, {"type": "global"}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="attention of type shifted-window; known are"):
        registry.load(path, registry.FLOW)


def test_other_restoration_networks_load_through_spandrel(tmp_path):
    from spandrel.architectures.HAT import HAT

    network = HAT(depths=[2], num_heads=[2], embed_dim=96, window_size=8, upsampler="pixelshuffle")
    path = save(tmp_path / "hat.safetensors", {"": network.state_dict()})
    assert registry.load(path, registry.POSTERIOR_MEAN).scale == network.upscale


def test_the_window_buffers_are_spandrels_own(tmp_path):
    mean = tiny_mean()
    full = published_mean_names(mean)
    bare = {k: v for k, v in full.items() if not k.endswith(("attn_mask", "position_index"))}
    assert len(bare) < len(full)
    pmrf.fill_window_buffers(bare)
    assert bare.keys() == full.keys()
    for name in full:
        assert torch.equal(bare[name], full[name])


def test_half_precision_keeps_the_frequencies(tmp_path):
    path = save(tmp_path / "flow.safetensors", {"": tiny_flow().state_dict()})
    flow, exact = registry.load(path, registry.FLOW), registry.load(path, registry.FLOW)
    flow.cast(torch.bfloat16)
    assert flow.dtype == torch.bfloat16
    assert flow.network.time_emb.weight.dtype == torch.float32
    x = torch.rand(1, 3, 64, 64)
    error = flow.velocity(x, 0.3, 0.3) - exact.velocity(x, 0.3, 0.3)
    assert error.dtype == torch.float32
    assert error.abs().max() < 0.05 * exact.velocity(x, 0.3, 0.3).abs().max()


# Bad input, each one clear sentence


def test_another_role(tmp_path):
    path = save(tmp_path / "flow.safetensors", {"": tiny_flow().state_dict()})
    with pytest.raises(WeightsError, match="holds the flow of PMRF, but no posterior mean"):
        registry.load(path, registry.POSTERIOR_MEAN)


def test_another_family(tmp_path):
    path = save(tmp_path / "vae.safetensors", {"": {"decoder.conv.weight": torch.zeros(2)}})
    with pytest.raises(WeightsError, match="of no family known as a flow .* decoder.conv.weight"):
        registry.load(path, registry.FLOW)


def test_a_half_written_file(tmp_path):
    path = save(tmp_path / "flow.safetensors", {"": tiny_flow().state_dict()})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"flow\.safetensors is damaged"):
        registry.load(path, registry.FLOW)


def test_a_flow_that_lacks_tensors(tmp_path):
    state = tiny_flow().state_dict()
    del state["mid_level.0.ff.up_proj.weight"], state["patch_out.proj.weight"]
    path = save(tmp_path / "flow.safetensors", {"": state})
    with pytest.raises(WeightsError, match="lacks 'patch_out.proj.weight' of an HDiT"):
        registry.load(path, registry.FLOW)


def test_a_flow_with_a_missing_layer(tmp_path):
    state = tiny_flow().state_dict()
    del state["mid_level.0.ff.up_proj.weight"]
    path = save(tmp_path / "flow.safetensors", {"": state})
    with pytest.raises(
        WeightsError,
        match=r"flow\.safetensors does not fit .* it lacks mid_level.0.ff.up_proj.weight;",
    ):
        registry.load(path, registry.FLOW)


@pytest.mark.parametrize("name", ["notes.txt", "photo.png"])
def test_a_file_that_is_no_weight_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(WeightsError, match="is no weight file; expected one of"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "content", [{"params": [1, 2]}, {"state_dict": None}, {"a": 1}, {"params": torch.zeros(2)}]
)
def test_a_pickle_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x\.pth (holds no tensors|is of no family)"):
        registry.load(tmp_path / "x.pth", registry.FLOW)


@pytest.mark.parametrize("config", ["{", "[1]"])
def test_settings_that_are_damaged(tmp_path, config):
    path = save(tmp_path / "model.safetensors", {"model.": tiny_flow().state_dict()})
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=r"model\.safetensors: config.json beside it"):
        registry.load(path, registry.FLOW)


def test_a_suffix_in_capitals(tmp_path):
    path = save(tmp_path / "FLOW.SAFETENSORS", {"": tiny_flow().state_dict()})
    assert registry.load(path, registry.FLOW).multiple == 8


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt", "a.pth"])
def test_a_file_of_rubbish(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match=f"{name} "):
        read(tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"There is no weight file gone\.safetensors"):
        read(tmp_path / "gone.safetensors")


class Bomb:
    """A pickle that would run a command when loaded."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"x": Bomb()}}, tmp_path / "bomb.ckpt")
    with zipfile.ZipFile(tmp_path / "bomb.ckpt") as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        assert b"pathlib" in archive.read(pickled)
    with pytest.raises(WeightsError, match="would have to run code to load; it was not opened"):
        read(tmp_path / "bomb.ckpt")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match=r"plain\.pth"):
        read(tmp_path / "plain.pth")
    assert not Path("exploded").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_mean_runs_in_half_precision_at_sizes_that_were_not_trained(tmp_path, dtype):
    path = save(tmp_path / "mean.safetensors", {"": published_mean_names(tiny_mean())})
    exact, half = (registry.load(path, registry.POSTERIOR_MEAN) for _ in range(2))
    half.cast(dtype)
    x = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    assert (exact.estimate(x) - half.estimate(x)).abs().max() < 0.01
