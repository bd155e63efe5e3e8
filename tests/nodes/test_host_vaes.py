"""VAEs that ComfyUI builds: Stable Diffusion's files through our loader, its own taesd3."""

import pytest
import torch
from fakes import save, tiny_elir, tiny_simvae
from restoreflow.models.checkpoint import WeightsError
from restoreflow.models.networks.taesd import TAESD
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def original(host) -> dict[str, torch.Tensor]:
    """Stable Diffusion's VAE with random weights, under the original names."""
    from comfy.ldm.models.autoencoder import AutoencoderKL

    config = {
        "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3,
        "ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [],
        "dropout": 0.0,
    }  # fmt: skip
    shapes = AutoencoderKL(ddconfig=config, embed_dim=4).state_dict()
    generator = torch.Generator().manual_seed(0)

    def weights(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim == 1:
            return torch.full(tensor.shape, float("norm" in name and name.endswith("weight")))
        return torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5

    return {name: weights(name, tensor).half() for name, tensor in shapes.items()}


def diffusers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same under diffusers' names, whose attention is linear."""
    from comfy import diffusers_convert as convert

    renamed = {}
    for name, tensor in state.items():
        attends = ".attn_1." in name
        for ours, theirs in convert.vae_conversion_map:
            name = name.replace(ours, theirs)
        if attends:
            for ours, theirs in convert.vae_conversion_map_attn[4:8]:
                name = name.replace(f".{ours}", f".{theirs}")
            name = name.replace(".norm.", ".group_norm.")
        renamed[name] = tensor[:, :, 0, 0] if attends and tensor.ndim == 4 else tensor
    return renamed


LAYOUTS = {"original": dict, "diffusers": diffusers}


@pytest.fixture
def read(nodes):
    def read(state: dict, name: str = "vae.safetensors", dtype=torch.float32):
        return nodes.load.vae._usual(state, name, dtype)

    return read


def test_both_layouts_load_alike_and_in_float32(nodes, weights_folder, original, monkeypatch):
    import comfy.model_management as mm

    monkeypatch.setattr(mm, "vae_dtype", lambda *_: torch.bfloat16)  # as on most GPUs
    image, pictures = torch.rand(1, 30, 45, 3), []
    for name, layout in LAYOUTS.items():
        save_file({k: t.contiguous() for k, t in layout(original).items()},
                  weights_folder / f"{name}.safetensors")  # fmt: skip
        vae = nodes.load.LoadRestorationVAE.execute(f"{name}.safetensors").args[0]
        part = nodes.load.vae.autoencoder(vae)
        assert part.name == f"{name}.safetensors (AutoencoderKL)" and part.dtype == torch.float32
        wire = nodes.latent.Encode.execute(vae, image, "mean", 0).args[0]
        pictures.append(nodes.latent.Decode.execute(vae, wire).args[0])
    assert torch.equal(*pictures) and pictures[0].shape == image.shape


def test_one_encoder_has_one_fingerprint_whatever_its_precision_and_decoder(nodes, read, original):
    tuned = {**original, "post_quant_conv.bias": original["post_quant_conv.bias"] + 1}
    full = {name: tensor.float() for name, tensor in original.items()}
    found = [
        nodes.load.vae.autoencoder(vae).domain.encoder
        for vae in (
            read(original), read(full), read(full, dtype=torch.bfloat16), read(tuned),
            read(diffusers(original)), read({**original, "loss.logvar": torch.zeros(1)}),
        )
    ]  # fmt: skip
    assert len(set(found)) == 1
    other = {**original, "encoder.conv_in.bias": original["encoder.conv_in.bias"] + 1}
    assert nodes.load.vae.autoencoder(read(other)).domain.encoder != found[0]


def test_another_encoders_latents_are_refused_by_the_names_of_the_files(nodes, read, original):
    other = {**original, "encoder.conv_in.bias": original["encoder.conv_in.bias"] + 1}
    image = torch.rand(1, 16, 16, 3)
    wire = nodes.latent.Encode.execute(read(other, "a.safetensors"), image, "mean", 0).args[0]
    with pytest.raises(ValueError, match=r"encoder \(a\.safetensors \(A.* b\.safetensors \(A"):
        nodes.latent.Decode.execute(read(original, "b.safetensors"), wire)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("ends", "says"),
    [
        (["decoder.conv_out.bias"], "lacks decoder.conv_out.bias; delete it and fetch it again"),
        (["encoder.conv_in.weight"], "lacks encoder.conv_in.weight; delete"),
        (["decoder.conv_in.weight"], "lacks decoder.conv_in.weight of a Stable Diffusion VAE"),
        (["post_quant_conv.weight"], "also holds quant_conv.weight and 2 more"),
    ],
)
def test_a_missing_tensor(read, original, layout, ends, says):
    """The host itself takes what the memory holds in its place."""
    cut = LAYOUTS[layout](original)
    cut = {name: t for name, t in cut.items() if name not in ends}
    with pytest.raises(WeightsError, match=rf"vae\.safetensors .*{says}"):
        read(cut)


@pytest.mark.parametrize("half", ["encoder.", "decoder."])
def test_half_a_file(nodes, weights_folder, original, half):
    kept = {name: t for name, t in original.items() if name.startswith(half)}
    save_file(kept, weights_folder / "half.safetensors")
    lost = {"encoder.": "decoder", "decoder.": "encoder"}[half]
    with pytest.raises(WeightsError, match=rf"half\.safetensors .*lacks {lost}\."):
        nodes.load.LoadRestorationVAE.execute("half.safetensors")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wrong_shape(read, original, layout):
    bad = LAYOUTS[layout](original)
    bad["encoder.conv_in.weight"] = bad["encoder.conv_in.weight"][:, :1]
    with pytest.raises(WeightsError, match=r"^vae\.safetensors looks .*encoder\.conv_in\.weight"):
        read(bad)


@pytest.fixture
def taesd3(host):
    """The host's own taesd3, as its VAELoader builds it, and the network in it."""
    import comfy.sd

    network = TAESD(64, 16, 3)
    state = {"vae_scale": torch.tensor(1.5305), "vae_shift": torch.tensor(0.0609)}
    for half, later in (("encoder", 0), ("decoder", 1)):
        for name, tensor in getattr(network, half).layers.state_dict().items():
            number, _, rest = name.partition(".")
            state[f"taesd_{half}.{int(number) + later}.{rest}"] = tensor
    return comfy.sd.VAE(sd=state), network


@torch.inference_mode()
def test_the_hosts_taesd3_decodes_latents_of_sd3s_space(nodes, weights_folder, taesd3):
    import nodes as core

    vae, network = taesd3
    tuned = TAESD(64, 16, 3)
    save(weights_folder / "elir.safetensors",
         {"enc.": tuned.encoder.state_dict(), "dec.": network.decoder.state_dict()})  # fmt: skip
    own = nodes.load.LoadRestorationVAE.execute("elir.safetensors").args[0]
    image = torch.rand(1, 32, 64, 3)
    wire = nodes.latent.Encode.execute(own, image, "mean", 0).args[0]
    expected = core.VAEDecode().decode(vae, wire)[0]
    assert torch.allclose(nodes.latent.Decode.execute(vae, wire).args[0], expected, atol=1e-4)
    assert torch.allclose(nodes.latent.Decode.execute(own, wire).args[0], expected, atol=1e-4)
    theirs = nodes.latent.Encode.execute(vae, image, "mean", 0).args[0]
    assert theirs["restoreflow"]["space"] == "SD3"
    nodes.latent.Decode.execute(own, theirs)


def test_a_flow_of_a_tuned_encoder_refuses_the_hosts_latents(nodes, weights_folder, taesd3):
    state = tiny_elir()
    own = {k: t for k, t in state.items() if k.startswith(("mmse.", "fmir."))}
    save(weights_folder / "elir.safetensors",
         {"": own, "enc.": TAESD(64, 16, 3).encoder.state_dict()})  # fmt: skip
    flow = nodes.load.LoadFlow.execute("elir.safetensors", "float32").args[0]
    wire = nodes.latent.Encode.execute(taesd3[0], torch.rand(1, 32, 32, 3), "mean", 0).args[0]
    with pytest.raises(ValueError, match=r"another encoder \(ComfyUI \(TAESD\)\) than"):
        nodes.latent.SampleLatent.execute(flow, wire, 0, 0, 0.1, "euler")


@pytest.mark.parametrize("kind", ["elir", "simvae"])
def test_what_the_host_saves_of_our_vae_can_be_loaded_again(nodes, weights_folder, tmp_path, kind):
    import comfy.utils

    state = tiny_elir() if kind == "elir" else tiny_simvae().state_dict()
    save(weights_folder / "own.safetensors", {"": state})
    own = nodes.load.LoadRestorationVAE.execute("own.safetensors").args[0]
    comfy.utils.save_torch_file(own.get_sd(), weights_folder / "again.safetensors")
    again = nodes.load.LoadRestorationVAE.execute("again.safetensors").args[0]
    assert load_file(weights_folder / "again.safetensors").keys() == own.get_sd().keys()
    image = torch.rand(1, 32, 32, 3)
    latents = [
        nodes.latent.Encode.execute(vae, image, "mean", 0).args[0]["samples"]
        for vae in (own, again)
    ]
    assert torch.equal(*latents)
