"""Latent-PMRF's files: what shapes tell, what config.json tells, what is refused."""

import json
from pathlib import Path

import pytest
import torch
from fakes import LOOFORMERS, as_loaded, save, tiny_flow, tiny_looformer, tiny_simvae
from restoreflow.models import registry
from restoreflow.models.checkpoint import WeightsError, fingerprint
from restoreflow.models.networks.hdit import Level, Mapping
from restoreflow.models.networks.looformer import LooUFormer, Options
from restoreflow.models.networks.simvae import SimVAEShape
from restoreflow.sampling import autoencode, restore
from safetensors.torch import load_file

FILE = "diffusion_pytorch_model.safetensors"
CONFIG_NAMES = {
    "down": "downsample_method",
    "up": "upsample_method",
    "down_kernel": "downsample_kernel_size",
    "up_kernel": "upsample_kernel_size",
    "log_time": "time_embed_log_space",
}


def folder(path: Path, parts: dict[str, dict], **config) -> Path:
    """A diffusers folder with fields that nobody reads."""
    trained = {"_class_name": "Any", "decay": 0.9999, "optimization_step": 150000}
    (path / "config.json").write_text(json.dumps({**trained, **config}))
    return save(path / FILE, parts)


def autoencoder(path: Path):
    return registry.load(path, registry.AUTOENCODER)


def flow_config(windows=(3, None), **kinds) -> dict:
    """The published settings of a `tiny_looformer` of these arguments."""
    patch = kinds.get("patch") or 1
    own = {name: kinds[key] for key, name in CONFIG_NAMES.items() if key in kinds}
    return {
        "block_types": ["neighborhood" if k else "global" for k in windows],
        "window_sizes": [k or 0 for k in windows],
        "patch_size": [patch, patch],
        **own,
    }


def published_flow(path: Path, network=None, **config):
    network = network or tiny_looformer()
    settings = {**flow_config(), **config}
    return registry.load(folder(path, {"": network.state_dict()}, **settings), registry.FLOW)


# Sim-VAE


@pytest.mark.parametrize("shuffles", [False, True])
@pytest.mark.parametrize("norm", ["layer_norm", "group_norm"])
@pytest.mark.parametrize("position", ["pre_norm", "post_norm"])
def test_the_diffusers_folder(tmp_path, shuffles, norm, position):
    shape = SimVAEShape((32, 32, 64), 1, 1, 6, shuffles)
    network = tiny_simvae(shape, norm=norm, position=position)
    config = {"norm_type": norm, "norm_pos": position, "latent_channels": 6}
    part = autoencoder(folder(tmp_path, {"": network.state_dict()}, **config))
    pictures = torch.linspace(0, 1, 3 * 16 * 24).reshape(1, 3, 16, 24)
    mean, std = network.encode(2 * pictures - 1)
    ours = part.encode(pictures)
    assert torch.equal(ours[0], mean)
    assert torch.equal(ours[1], std)
    assert torch.equal(part.decode(mean), network.decode(mean) / 2 + 0.5)
    assert (part.factor, part.multiple, part.domain.name) == (4, 16, "Sim-VAE c6 f4")


@pytest.fixture
def both(tmp_path) -> Path:
    """One file of both networks, with the record of one trained here."""
    space = {"name": "RestoreFlow demo", "preview": [[0.5] * 3] * 5, "encoder": "0123456789ab"}
    record = {"restoreflow": json.dumps({"space": space})}
    parts = {"vae.": tiny_simvae().state_dict(), "flow.": tiny_looformer().state_dict()}
    return save(tmp_path / "demo.safetensors", parts, record)


def test_a_record_names_the_space(both, random_state_untouched):
    for role in (registry.AUTOENCODER, registry.FLOW):
        domain = registry.load(both, role).domain
        assert domain.name == "RestoreFlow demo"
        assert torch.equal(domain.preview, torch.full([5, 3], 0.5))
    assert domain.encoder == "0123456789ab"


def test_a_single_file_under_a_prefix_saved_while_compiled(tmp_path):
    state = tiny_simvae().state_dict()
    odd = {
        f"_orig_mod.{name}": tensor[None, :, None, None] if ".norm." in name else tensor
        for name, tensor in state.items()
    }
    plain = autoencoder(save(tmp_path / "plain.safetensors", {"": state}))
    for prefix in ("", "vae.", "vae/"):
        parts = {prefix: odd, "flow.": tiny_looformer().state_dict() if prefix else {}}
        part = autoencoder(save(tmp_path / "odd.safetensors", parts))
        for name, tensor in part.network.state_dict().items():
            assert torch.equal(tensor, state[name])
        assert part.domain.encoder == plain.domain.encoder
    assert (plain.domain.name, plain.multiple) == ("Sim-VAE c4", 32)
    assert registry.load(tmp_path / "odd.safetensors", registry.FLOW).domain.name == "Sim-VAE c4"


def test_the_fingerprint_is_the_encoders_in_any_precision(tmp_path):
    state = tiny_simvae().state_dict()
    encoder = {name: t for name, t in state.items() if name.startswith("encoder.")}
    half = {name: t.half() for name, t in state.items()}
    other = {**state, "decoder.conv_out.bias": state["decoder.conv_out.bias"] + 1}
    for tensors in (state, half, other):
        part = autoencoder(save(tmp_path / "vae.safetensors", {"": tensors}))
        assert part.domain.encoder == fingerprint(encoder)


@pytest.mark.parametrize("size", [(37, 50), (1, 1), (64, 96)])
def test_pictures_of_any_size_return_in_theirs(tmp_path, size):
    part = autoencoder(folder(tmp_path, {"": tiny_simvae().state_dict()}))
    flow = published_flow(tmp_path, tiny_looformer((3, 3, None)), **flow_config((3, 3, None)))
    latents = autoencode.encode(part, torch.rand(2, 3, *size))
    assert all(side % flow.multiple == 0 for side in latents.shape[-2:])
    restored = restore.sample(flow, latents, torch.randn_like(latents), steps=2)
    pictures = autoencode.decode(part, restored)[..., : size[0], : size[1]]
    assert pictures.shape == (2, 3, *size)


def test_the_settings_of_a_folder_scale_latents_for_flows_and_leave_the_wire(tmp_path):
    network = tiny_simvae()
    config = {"scaling_factor": 0.45, "shift_factor": 0.08}
    part = autoencoder(folder(tmp_path, {"": network.state_dict()}, **config))
    pictures = torch.rand(1, 3, 32, 32)
    assert torch.equal(part.encode(pictures)[0], network.encode(2 * pictures - 1)[0])
    assert (part.domain.scale, part.domain.shift) == (0.45, 0.08)
    assert part.name == f"{tmp_path.name}/{FILE} (Sim-VAE)"


def test_the_autoencoder_in_half_precision(tmp_path):
    part = autoencoder(folder(tmp_path, {"": tiny_simvae().state_dict()}))
    pictures = torch.rand(1, 3, 32, 32)
    exact = part.decode(part.encode(pictures)[0])
    part.cast(torch.bfloat16)
    assert torch.allclose(part.decode(part.encode(pictures)[0]), exact, atol=0.05)


# LooUFormer


@pytest.mark.parametrize("kinds", LOOFORMERS.values(), ids=LOOFORMERS)
def test_every_published_option(tmp_path, kinds):
    network = tiny_looformer(**kinds)
    flow = published_flow(tmp_path, network, **flow_config(**kinds))
    x, t = torch.randn(2, 4, 16, 24), torch.tensor([0.1, 0.8])
    assert torch.equal(flow.predict(x, t, t), -network(x, 1 - t))
    assert (flow.multiple, flow.domain.channels) == (network.multiple, 4)
    assert flow.minimum % flow.multiple == 0
    smallest = torch.randn(1, 4, flow.minimum, flow.minimum)
    assert flow.velocity(smallest, 0.5, 0.5).shape == smallest.shape


def test_facts_of_the_paper(tmp_path):
    flow = published_flow(tmp_path)
    assert (flow.noise_std, flow.steps, flow.times, flow.origin) == (0.1, 25, "velocity", "mean")
    assert (flow.condition, flow.native_size, flow.domain.encoder) == ("none", 64, None)


def test_a_bare_file_has_windows_on_all_levels_but_the_last(tmp_path):
    network = tiny_looformer((7, None))
    flow = registry.load(
        save(tmp_path / "flow.pth.safetensors", {"": network.state_dict()}), "flow"
    )
    x, t = torch.randn(1, 4, 16, 16), torch.tensor([0.5])
    assert torch.equal(flow.predict(x, t, t), -network(x, 1 - t))


def test_guessed_windows_are_told(tmp_path, caplog):
    published_flow(tmp_path)
    assert not caplog.records
    published_flow(tmp_path, tiny_looformer((7, None)), block_types=None)
    (told,) = caplog.messages
    assert f"{tmp_path.name}/{FILE} comes without a config.json" in told
    assert "taken to be 3 x 3, global" in told


def test_a_mapping_of_no_layers(tmp_path):
    mapping = Mapping(width=24, depth=0, d_ff=0)
    levels = [Level(16, 1, 2, 32, 3), Level(32, 1, 4, 64, None)]
    network = as_loaded(LooUFormer(levels, mapping, 4, Options()))
    flow = published_flow(tmp_path, network)
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([0.5])
    assert torch.equal(flow.predict(x, t, t), -network(x, 1 - t))


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun"])
def test_time_runs_to_the_clean_latent(tmp_path, monkeypatch, solver):
    """The published velocity to one clean point is (x - clean) / sigma, which Euler follows."""
    flow, clean = published_flow(tmp_path), torch.randn(1, 4, 8, 8)
    sigmas = []

    def to_source(x, sigma):
        sigmas.append(sigma[0].item())
        return (x - clean) / sigma[:, None, None, None]

    monkeypatch.setattr(flow.network, "forward", to_source)
    start = torch.randn(3, 4, 8, 8)
    end = restore.sample(flow, start, torch.randn_like(start), steps=5, solver=solver)
    assert torch.isfinite(end).all()
    assert sigmas[0] == 1.0
    assert min(sigmas) > 0
    if solver == "euler":
        assert torch.allclose(end, clean.expand_as(end), atol=1e-5)
        assert sigmas == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_pictures_of_a_batch_are_restored_alone(tmp_path):
    """The published pipeline gives all of them the first one's velocity."""
    flow = published_flow(tmp_path)
    latents, noise = torch.randn(2, 4, 8, 12), torch.randn(2, 4, 8, 12)
    both = restore.sample(flow, latents, noise, steps=3)
    alone = [restore.sample(flow, latents[i : i + 1], noise[i : i + 1], steps=3) for i in range(2)]
    assert torch.allclose(both, torch.cat(alone), atol=1e-4)


def test_the_flow_scales_its_own_latents(tmp_path, monkeypatch):
    flow = published_flow(tmp_path, scaling_factor=0.5, shift_factor=0.1)
    seen = []
    monkeypatch.setattr(flow.network, "forward", lambda x, sigma: seen.append(x) or 0 * x)
    latents = torch.randn(1, 4, 8, 8)
    out = restore.sample(flow, latents, torch.randn_like(latents), steps=1, source_noise=0)
    assert torch.allclose(seen[0], (latents - 0.1) * 0.5)
    assert torch.allclose(out, latents, atol=1e-6)
    none = published_flow(tmp_path, scaling_factor=None, shift_factor=None)
    assert none.domain.is_plain


def test_a_half_precision_file_computes_exact_frequencies(tmp_path):
    half = {name: tensor.half() for name, tensor in tiny_looformer().state_dict().items()}
    flow = registry.load(save(tmp_path / "flow.safetensors", {"": half}), registry.FLOW)
    assert flow.dtype == torch.float16
    assert all(table.dtype == torch.float32 for table in flow.network.buffers())


# What is refused


def changed(state: dict, kind: str) -> dict:
    """A state dict without one tensor, with one too many, or with one of another shape."""
    name = next(name for name in state if name.endswith(("conv2.weight", "out_proj.weight")))
    if kind == "lacks":
        return {key: tensor for key, tensor in state.items() if key != name}
    if kind == "also holds":
        return {**state, "stranger.weight": torch.zeros(1)}
    return {**state, name: state[name][:, :-1]}


@pytest.mark.parametrize("kind", ["lacks", "also holds", "has another shape for"])
@pytest.mark.parametrize(
    ("role", "network"), [("autoencoder", tiny_simvae), ("flow", tiny_looformer)]
)
def test_tensors_that_do_not_fit(tmp_path, kind, role, network):
    path = save(tmp_path / "cut.safetensors", {"": changed(network().state_dict(), kind)})
    with pytest.raises(WeightsError, match=rf"cut\.safetensors .*{kind} \w+\."):
        registry.load(path, role)


@pytest.mark.parametrize(
    ("role", "network", "name"),
    [
        ("autoencoder", tiny_simvae, "decoder.conv_in.weight"),
        ("flow", tiny_looformer, "proj_in.proj.weight"),
    ],
)
def test_a_truncated_file(tmp_path, role, network, name):
    state = network().state_dict()
    del state[name]
    path = save(tmp_path / "cut.safetensors", {"": state})
    with pytest.raises(WeightsError, match=rf"cut\.safetensors lacks '{name}' of a .*fetch it"):
        registry.load(path, role)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"block_types": ["swin", "global"]}, "attention of type swin; known are neighborhood"),
        ({"block_types": ["global"] * 3, "window_sizes": [0] * 3}, "describes 3 levels .* for 2"),
        ({"window_sizes": [4, 0]}, "asks for attention windows of side 4; a side is odd"),
        ({"window_sizes": [0, 0]}, "asks for attention windows of side 0; a side is odd"),
        ({"window_sizes": ["3", 0]}, "asks for attention windows of side 3; a side is odd"),
        ({"window_sizes": [3]}, "describes 2 levels of attention and 1 windows for 2"),
    ],
)
def test_settings_of_a_flow_that_do_not_fit(tmp_path, config, message):
    with pytest.raises(WeightsError, match=message):
        published_flow(tmp_path, **config)


def test_patches_of_an_unknown_size(tmp_path):
    with pytest.raises(WeightsError, match=r"patches of a size that only its config\.json tells"):
        published_flow(tmp_path, tiny_looformer(patch=2), patch_size=None)


@pytest.mark.parametrize("key", ["norm_type", "norm_pos"])
def test_norms_that_are_not_known(tmp_path, key):
    path = folder(tmp_path, {"": tiny_simvae().state_dict()}, **{key: "other"})
    with pytest.raises(WeightsError, match=f"asks for {key} other; known are"):
        autoencoder(path)


def test_other_autoencoders_are_not_taken_for_it(tmp_path):
    block = "encoder.down_blocks.0.resnets.0"
    diffusers = {
        f"{block}.norm1.weight": 1,
        f"{block}.norm2.weight": 1,
        "decoder.conv_in.weight": 1,
    }
    ldm = {"encoder.down.0.block.0.norm1.weight": 1, "decoder.conv_in.weight": 1}
    for names in (diffusers, ldm):
        path = save(tmp_path / "kl.safetensors", {"": {name: torch.zeros(4) for name in names}})
        with pytest.raises(WeightsError, match=r"of no family known as a autoencoder"):
            autoencoder(path)


def test_roles_are_not_confused(tmp_path):
    vae = save(tmp_path / "vae.safetensors", {"": tiny_simvae().state_dict()})
    with pytest.raises(WeightsError, match="holds the autoencoder of Latent-PMRF, but no flow"):
        registry.load(vae, registry.FLOW)
    pmrf = save(tmp_path / "pmrf.safetensors", {"": tiny_flow().state_dict()})
    assert registry.load(pmrf, registry.FLOW).domain.name == "pixel"
    with pytest.raises(WeightsError, match="holds the flow of PMRF, but no autoencoder"):
        autoencoder(pmrf)


def test_settings_beside_a_file_of_another_name_are_not_its_own(tmp_path):
    path = folder(tmp_path, {"": tiny_simvae().state_dict()}, norm_pos="post_norm")
    other = path.rename(tmp_path / "other.safetensors")
    pictures, network = torch.rand(1, 3, 16, 16), tiny_simvae()
    network.load_state_dict(load_file(other))
    assert torch.equal(autoencoder(other).encode(pictures)[0], network.encode(2 * pictures - 1)[0])
