"""ELIR's files: three parts in one, what is deduced from shapes, collapsing, what is refused."""

import json
import re

import pytest
import torch
from fakes import as_loaded, save
from restoreflow.models import hub, registry
from restoreflow.models.checkpoint import WeightsError
from restoreflow.models.families import elir
from restoreflow.models.networks.lunet import LUnet
from restoreflow.models.networks.rrdb import RRDBNet
from restoreflow.models.networks.taesd import TAESD
from restoreflow.sampling.autoencode import decode, encode
from restoreflow.sampling.noise import gaussian
from restoreflow.sampling.restore import posterior_mean, sample
from torch import Tensor, nn

ROLES = (registry.AUTOENCODER, registry.POSTERIOR_MEAN, registry.FLOW)


def networks(stages=3, taesd_width=8, hidden=4, blocks=1, **flow) -> dict[str, nn.Module]:
    """Small random parts, by their prefix."""
    autoencoder = TAESD(taesd_width, 16, stages)
    flow = {"width": 32, "multiples": (1, 2), "time_dim": 16, **flow}
    return {
        "enc.": autoencoder.encoder,
        "mmse.": RRDBNet(16, hidden, blocks),
        "fmir.": LUnet(**flow),
        "dec.": autoencoder.decoder,
    }


def states(parts: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {prefix: network.state_dict() for prefix, network in parts.items()}


def flat(parts: dict[str, dict], prefix: str = "") -> dict[str, Tensor]:
    return {prefix + p + name: t for p, part in parts.items() for name, t in part.items()}


def lightning(average: dict[str, dict], raw: dict[str, dict]) -> dict:
    averages = {f"state_dict_{prefix.removesuffix('.')}": part for prefix, part in average.items()}
    return {**averages, "state_dict": flat(raw, "model."), "epoch": 3}


def load(path, *roles: str, ema: bool = True):
    return [registry.load(path, role, ema) for role in roles or ROLES]


@pytest.fixture
def parts():
    return networks()


@pytest.fixture
def file(tmp_path, parts):
    return save(tmp_path / "elir.safetensors", states(parts))


def run(loaded, pictures: Tensor, seed: int = 1) -> Tensor:
    """The whole restoration, as the nodes wire it."""
    autoencoder, mean, flow = loaded
    latents = posterior_mean(mean, encode(autoencoder, pictures))
    noise = gaussian(latents.shape[1:], seed, range(len(latents)))
    restored = decode(autoencoder, sample(flow, latents, noise, source_noise=0.1))
    return restored[..., : pictures.shape[-2], : pictures.shape[-1]]


# Containers


@pytest.mark.parametrize("container", ["pth", "ckpt", "safetensors"])
def test_every_container_gives_the_same(tmp_path, parts, container, random_state_untouched):
    state = states(parts)
    path = tmp_path / f"elir.{container}"
    if container == "safetensors":
        save(path, state)
    else:
        with torch.random.fork_rng():
            other = states(networks())
        torch.save(flat(state) if container == "pth" else lightning(state, other), path)
    for part, prefixes in zip(load(path), [("enc.", "dec."), ("mmse.",), ("fmir.",)], strict=True):
        kept = [*part.network.parameters()]
        given = [p for prefix in prefixes for p in parts[prefix].parameters()]
        assert all(torch.equal(a, b) for a, b in zip(kept, given, strict=True))


def test_lightnings_last_weights(tmp_path, parts):
    torch.save(lightning(states(networks()), states(parts)), tmp_path / "e.ckpt")
    (flow,) = load(tmp_path / "e.ckpt", registry.FLOW, ema=False)
    assert torch.equal(flow.network.final_proj.weight, parts["fmir."].final_proj.weight)


def test_all_parts_name_one_space(file):
    domains = [part.domain for part in load(file)]
    assert len({domain.encoder for domain in domains}) == 1 and domains[0].encoder
    assert {domain.name for domain in domains} == {"TAESD 16 channels, factor 8"}


def test_the_released_shapes_are_in_sd3s_space(tmp_path):
    path = save(tmp_path / "elir.safetensors", states(networks(taesd_width=64)))
    autoencoder, mean, flow = load(path)
    assert {part.domain.name for part in (autoencoder, mean, flow)} == {"SD3"}
    assert flow.domain.preview.shape == (17, 3) and flow.domain.scale == 1.5305
    alone = save(tmp_path / "flow.safetensors", {"fmir.": states(networks())["fmir."]})
    (flow,) = load(alone, registry.FLOW)
    assert (flow.domain.name, flow.domain.encoder) == ("SD3", None)


def test_a_record_tells_space_noise_and_steps(tmp_path, parts):
    record = {"space": {"name": "Demo"}, "flow": {"noise_std": 0.07, "steps": 4}}
    metadata = {"restoreflow": json.dumps(record)}
    path = save(tmp_path / "demo.safetensors", states(networks(stages=2)), metadata)
    autoencoder, mean, flow = load(path)
    assert {autoencoder.domain.name, mean.domain.name, flow.domain.name} == {"Demo"}
    assert (autoencoder.factor, flow.noise_std, flow.steps) == (4, 0.07, 4)


# Shapes


@pytest.mark.parametrize("multiples", [(1,), (1, 2, 1), (2, 2), (1, 2, 1, 2)])
@pytest.mark.parametrize("learned_rescaling", [True, False])
def test_the_flow_is_deduced_from_its_shapes(tmp_path, multiples, learned_rescaling):
    network = as_loaded(LUnet(16, 32, multiples, 2, 20, learned_rescaling))
    path = save(tmp_path / "flow.safetensors", {"fmir.": network.state_dict()})
    (flow,) = load(path, registry.FLOW)
    x, t = torch.randn(2, 16, 8, 12), torch.tensor([0.1, 0.8])
    assert torch.equal(flow.predict(x, t, t), network(x, t))
    assert flow.multiple == 2 ** sum(multiple > 1 for multiple in multiples)
    assert (flow.times, flow.origin, flow.native_size) == ("segments", "mean", None)


def test_a_rescaling_without_weights_is_told_apart(tmp_path):
    plain = LUnet(16, 32, (1,), 1, 16, learned_rescaling=True)
    path = save(tmp_path / "flow.safetensors", {"fmir.": plain.state_dict()})
    assert load(path, registry.FLOW)[0].multiple == 1


@pytest.mark.parametrize(
    ("shape", "noise_std", "steps"),
    [({"middle": 3}, 0.1, 5), ({"width": 96}, 0.04, 3), ({"width": 128}, None, 3)],
)
def test_noise_and_steps_where_shapes_tell_the_task(tmp_path, shape, noise_std, steps):
    path = save(tmp_path / "e.safetensors", states(networks(**shape)))
    (flow,) = load(path, registry.FLOW)
    assert (flow.noise_std, flow.steps) == (noise_std, steps)


def test_a_flow_that_cannot_tell_its_noise_is_asked_for_it(file):
    (flow,) = load(file, registry.FLOW)
    latents = torch.randn(1, 16, 4, 4)
    with pytest.raises(ValueError, match="does not tell its source noise; set source_noise"):
        sample(flow, latents, latents)


def test_encoding_pads_to_what_the_flow_takes(tmp_path):
    path = save(tmp_path / "e.safetensors", states(networks(multiples=(1, 2, 1, 2))))
    assert load(path, registry.AUTOENCODER)[0].multiple == 32
    alone = {prefix: part for prefix, part in states(networks()).items() if prefix != "fmir."}
    path = save(tmp_path / "vae.safetensors", alone)
    assert load(path, registry.AUTOENCODER)[0].multiple == 32


# Over-parametrised convolutions


class Double(nn.Sequential):
    """A 3x3 convolution and a 1x1 as they are trained."""

    def __init__(self, convolution: nn.Conv2d):
        wide = 4 * convolution.out_channels
        super().__init__(
            nn.Conv2d(convolution.in_channels, wide, 3, padding=1),
            nn.Conv2d(wide, convolution.out_channels, 1),
        )


def opened(network: nn.Module) -> dict[str, Tensor]:
    """Every 3x3 convolution of a network's blocks made two, in place; its trained state dict."""
    state = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Sequential) and name.endswith("block"):
            number = next(i for i, layer in enumerate(module) if isinstance(layer, nn.Conv2d))
            module[number] = Double(module[number])
    for name, tensor in network.state_dict().items():
        if match := re.fullmatch(r"(.*\bblock\.)(\d)\.([01])(\.\w+)", name):
            stem, place, second, kind = match.groups()
            name = f"{stem}{int(place) + int(second)}{kind}"
        state[name] = tensor
    return state


@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_collapsed_networks_are_equal_even_at_borders(tmp_path, precision):
    trained = networks()
    state = {**states(trained), **{p: opened(trained[p]) for p in ("mmse.", "fmir.")}}
    assert "final_block.block.3.weight" in state["fmir."]
    assert "lrm.0.RDB1.conv5.block.1.bias" in state["mmse."]
    state = {p: {n: t.to(precision) for n, t in part.items()} for p, part in state.items()}
    torch.save(lightning(state, states(networks())), tmp_path / "e.ckpt")
    _, mean, flow = load(tmp_path / "e.ckpt")
    assert flow.dtype == mean.dtype == precision
    for part in (mean, flow):
        part.cast(torch.float32)
    z, t = torch.randn(1, 16, 4, 6), torch.tensor([0.3])
    bound = 2e-5 if precision == torch.float32 else 2e-2
    assert (mean.predict(z) - trained["mmse."](z)).abs().max() < bound
    assert (flow.predict(z, t, t) - trained["fmir."](z, t)).abs().max() < bound


def test_a_plain_network_is_left_alone(parts):
    state = parts["fmir."].state_dict()
    assert elir.collapse(state) == state


# Restoring


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 32)])
def test_any_size_returns_as_it_came(file, size, random_state_untouched):
    pictures = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    restored = run(load(file), pictures)
    assert restored.shape == pictures.shape
    assert restored.min() >= 0 and restored.max() <= 1


def test_the_pictures_of_a_batch_are_independent(file):
    loaded = load(file)
    pictures = torch.rand(3, 3, 32, 48)
    together = run(loaded, pictures)
    for i in range(3):
        assert torch.allclose(run(loaded, pictures[i : i + 1], 1 + i)[0], together[i], atol=1e-5)


def test_latents_of_any_size(file):
    _, mean, flow = load(file)
    latents = torch.randn(1, 16, 5, 7)
    assert posterior_mean(mean, latents).shape == latents.shape
    assert sample(flow, latents, latents, source_noise=0.1).shape == latents.shape


def test_a_segments_flow_takes_no_second_order_solver(file):
    (flow,) = load(file, registry.FLOW)
    latents = torch.randn(1, 16, 4, 4)
    with pytest.raises(ValueError, match="only the solver euler is right; got heun"):
        sample(flow, latents, latents, source_noise=0.1, solver="heun")


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision(file, precision):
    rough, exact = load(file), load(file)
    for part in rough:
        part.cast(precision)
        assert precision in part.dtypes
    z = torch.randn(1, 16, 8, 8)
    for ours, theirs in (
        (rough[1].estimate(z), exact[1].estimate(z)),
        (rough[2].velocity(z, 0.37, 0.5), exact[2].velocity(z, 0.37, 0.5)),
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).abs().max() < 0.03 * theirs.abs().max()


def test_training_reaches_every_parameter(parts):
    z = torch.randn(2, 16, 4, 4)
    latents = parts["mmse."](parts["enc."](torch.rand(2, 3, 32, 32)))
    velocity = parts["fmir."](latents + z, torch.tensor([0.2, 0.9]))
    parts["dec."](latents + velocity).square().mean().backward()
    for network in parts.values():
        assert all(p.grad is not None for p in network.parameters())


# Bad input, each one clear sentence


@pytest.mark.parametrize(
    ("key", "role", "says"),
    [
        (
            "fmir.mid_blocks.0.conv2d.bias",
            registry.FLOW,
            "lacks fmir.mid_blocks.0.conv2d.bias; delete",
        ),
        ("fmir.time_mlp.linear1.weight", registry.FLOW, "lacks 'time_mlp.linear1.weight'"),
        (
            "mmse.lrm.0.RDB2.conv3.block.0.weight",
            registry.POSTERIOR_MEAN,
            "lacks mmse.lrm.0.RDB2.c",
        ),
        ("dec.layers.18.weight", registry.AUTOENCODER, "lacks decoder.layers.18.weight"),
        ("enc.layers.14.weight", registry.AUTOENCODER, "lacks 'layers.14.weight'"),
        ("enc.layers.14.weight", registry.FLOW, "lacks 'layers.14.weight'"),
    ],
)
def test_a_missing_tensor(tmp_path, parts, key, role, says):
    state = flat(states(parts))
    del state[key]
    torch.save(state, tmp_path / "elir.pth")
    with pytest.raises(WeightsError, match=says) as error:
        load(tmp_path / "elir.pth", role)
    assert "elir.pth" in str(error.value)


def test_a_missing_bias_of_a_double_convolution(tmp_path, parts):
    state = {**states(parts), "mmse.": opened(parts["mmse."])}
    del state["mmse."]["lrm.0.RDB1.conv1.block.1.bias"]
    path = save(tmp_path / "e.safetensors", state)
    with pytest.raises(WeightsError, match=r"lacks 'lrm.0.RDB1.conv1.block.1.bias' of mmse"):
        load(path, registry.POSTERIOR_MEAN)


@pytest.mark.parametrize(
    ("key", "shape", "says"),
    [
        ("final_proj.weight", (15, 32, 1, 1), "has another shape for fmir.final_proj.weight"),
        (
            "down_blocks.1.1.conv.weight",
            (15, 32, 3, 3),
            "also holds fmir.down_blocks.1.1.conv.weight",
        ),
        ("final_block.block.3.weight", (32, 7, 1, 1), "convolutions of fmir.. that do not follow"),
    ],
)
def test_a_wrong_shape(tmp_path, parts, key, shape, says):
    state = flat(states(parts))
    state[f"fmir.{key}"] = torch.zeros(shape)
    if "block.3" in key:
        state["fmir.final_block.block.3.bias"] = torch.zeros(32)
    torch.save(state, tmp_path / "e.pth")
    with pytest.raises(WeightsError, match=says) as error:
        load(tmp_path / "e.pth", registry.FLOW)
    assert "e.pth" in str(error.value)


def test_widths_that_no_norm_takes(tmp_path, parts):
    state = {"first_proj.weight": torch.zeros(40, 16, 1, 1)}
    path = save(tmp_path / "e.safetensors", {"fmir.": {**parts["fmir."].state_dict(), **state}})
    with pytest.raises(WeightsError, match="flow of 40 channels; an LUnet's are a multiple of 32"):
        load(path, registry.FLOW)


@pytest.mark.parametrize("role", ROLES)
def test_a_training_checkpoint_without_a_part(tmp_path, parts, role):
    lost = {registry.AUTOENCODER: "dec.", registry.POSTERIOR_MEAN: "mmse.", registry.FLOW: "fmir."}
    state = states(parts)
    del state[lost[role]]
    torch.save(lightning(state, {}), tmp_path / "e.ckpt")
    with pytest.raises(WeightsError, match=r"e\.ckpt holds (one half|.* of ELIR, but no)"):
        load(tmp_path / "e.ckpt", role)


@pytest.mark.parametrize("half", ["enc.", "dec."])
def test_half_an_autoencoder(tmp_path, parts, half):
    state = states(parts)
    del state[half]
    path = save(tmp_path / "e.safetensors", state)
    with pytest.raises(WeightsError, match=rf"lacks the other, {half}\*; choose a file that holds"):
        load(path, registry.AUTOENCODER)


def test_averages_alone(tmp_path, parts):
    path = tmp_path / "e.ckpt"
    torch.save(lightning(states(parts), {}), path)
    content = torch.load(path)
    del content["state_dict"]
    torch.save(content, path)
    assert registry.load(path, registry.FLOW).steps == 3
    with pytest.raises(WeightsError, match=r"e\.ckpt holds moving averages .* switch ema on"):
        registry.load(path, registry.FLOW, ema=False)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"version https://git-lfs"])
def test_no_weights_at_all(tmp_path, content):
    (tmp_path / "e.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="instead of the file; delete it and fetch it again.$"):
        registry.load(tmp_path / "e.pth", registry.FLOW)


def test_a_half_downloaded_file(tmp_path, parts):
    torch.save(flat(states(parts)), tmp_path / "elir.pth")
    content = (tmp_path / "elir.pth").read_bytes()
    (tmp_path / "elir.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        WeightsError, match=r"elir\.pth is damaged, incomplete or no weight file; delete it and"
    ):
        load(tmp_path / "elir.pth", registry.FLOW)


def test_latents_go_where_latents_belong(file):
    _, mean, _ = load(file)
    with pytest.raises(ValueError, match=r"works on latents of .* \(16 channels\); got 3"):
        posterior_mean(mean, torch.rand(1, 3, 32, 32))


def test_the_released_files_are_known():
    names = {known.name: known for known in hub.KNOWN}
    for task in ("bfr", "sr", "denoising", "inpainting", "bsr"):
        assert not names[f"elir_{task}.pth"].exact
    assert names["elir_bfr.pth"].label == "elir_bfr.pth (about 150 MB)"
    assert names["taesd3.safetensors"].licence == "MIT"
