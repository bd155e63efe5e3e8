"""Latent nodes: sizes, tags, masks, and the host's own VAE nodes on our VAE objects."""

import pytest
import torch
import torch.nn.functional as F
from restoreflow.models.contracts import Autoencoder, Domain, Flow, PosteriorMean
from torch import nn

FACTOR = 8
CHANNELS = 3 * FACTOR**2


class Gain(nn.Module):
    def __init__(self, gain: float):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain), requires_grad=False)


def memory(height, width, batch, dtype):
    return height * width * batch


def autoencoder(space: str = "unshuffled", encoder: str | None = "abc", **facts) -> Autoencoder:
    """An exact one: every pixel becomes a channel, doubled."""
    network = Gain(2.0)

    def encoded(x):
        mean = F.pixel_unshuffle(x, FACTOR) * network.gain
        return mean, torch.full_like(mean, 0.1)

    return Autoencoder(
        name=f"{space}.safetensors",
        network=network,
        factor=FACTOR,
        multiple=4 * FACTOR,
        domain=Domain(name=space, channels=CHANNELS, encoder=encoder, **facts),
        encoded=encoded,
        decoded=lambda z: F.pixel_shuffle(z / network.gain, FACTOR),
        memory=memory,
        decoder_memory=memory,
    )


def flow(space: str = "unshuffled", encoder: str | None = "abc", **facts) -> Flow:
    network = Gain(0.5)
    return Flow(
        name="flow.safetensors",
        network=network,
        predict=lambda x, t, s: network.gain * x,
        memory=memory,
        domain=Domain(name=space, channels=CHANNELS, encoder=encoder, **facts),
        multiple=4,
        noise_std=0.1,
        steps=3,
    )


@pytest.fixture
def host_vae(nodes, host):
    return nodes.load.vae.host_vae


@pytest.fixture
def vae(host_vae):
    return host_vae(autoencoder())


@pytest.fixture
def latent(nodes):
    return nodes.latent


def encoded(latent, vae, image, **settings):
    return latent.Encode.execute(vae, image, **{"mode": "mean", "seed": 0, **settings}).args[0]


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (1, 9)])
def test_a_picture_comes_back_in_its_own_size(latent, vae, size):
    image = torch.rand(2, *size, 3)
    wire = encoded(latent, vae, image)
    assert all(side % 4 == 0 for side in wire["samples"].shape[-2:])
    assert wire["restoreflow"]["space"] == "unshuffled"
    assert (wire["restoreflow"]["height"], wire["restoreflow"]["width"]) == size
    (back,) = latent.Decode.execute(vae, wire).args
    assert torch.allclose(back, image, atol=1e-6)


@pytest.mark.parametrize(
    ("node", "settings"),
    [
        ("LatentUpscaleBy", {"upscale_method": "nearest-exact", "scale_by": 2.0}),
        ("LatentRotate", {"rotation": "90 degrees"}),
    ],
)
def test_a_latent_of_another_size_is_decoded_whole(latent, vae, node, settings):
    import nodes as core

    wire = encoded(latent, vae, torch.rand(1, 37, 90, 3))
    kind = core.NODE_CLASS_MAPPINGS[node]
    (changed,) = getattr(kind(), kind.FUNCTION)(samples=wire, **settings)
    height, width = (FACTOR * side for side in changed["samples"].shape[-2:])
    assert latent.Decode.execute(vae, changed).args[0].shape == (1, height, width, 3)


def test_a_draw_depends_on_the_seed_alone(latent, vae, random_state_untouched):
    image = torch.linspace(0, 1, 2 * 32 * 32 * 3).reshape(2, 32, 32, 3)
    mean = encoded(latent, vae, image)["samples"]
    one, same, other = (
        encoded(latent, vae, image, mode="sample", seed=seed)["samples"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one[1:], encoded(latent, vae, image[1:], mode="sample", seed=2)["samples"])
    assert 0.09 < (one - mean).std() < 0.11


def test_an_unknown_mode_is_one_sentence(latent, vae):
    with pytest.raises(ValueError, match="mode must be one of mean, sample; got mode"):
        encoded(latent, vae, torch.rand(1, 32, 32, 3), mode="mode")


@torch.inference_mode()  # as the host runs every node
def test_the_hosts_own_nodes_work_with_our_vae(vae):
    import nodes as core

    image = torch.rand(1, 512, 640, 3)
    (wire,) = core.VAEEncode().encode(vae, image)
    (tiled,) = core.VAEEncodeTiled().encode(vae, image, 256, 64)
    assert wire["samples"].shape == (1, CHANNELS, 64, 80)
    assert torch.allclose(wire["samples"], tiled["samples"], atol=1e-5)
    for pictures in (
        core.VAEDecode().decode(vae, wire)[0],
        core.VAEDecodeTiled().decode(vae, wire, 256, 64)[0],
    ):
        assert torch.allclose(pictures, image, atol=1e-5)


def test_a_latent_without_tag_is_checked_by_its_channels(latent, vae):
    import nodes as core

    (wire,) = core.VAEEncode().encode(vae, torch.rand(1, 64, 64, 3))
    assert latent.Decode.execute(vae, wire).args[0].shape == (1, 64, 64, 3)
    with pytest.raises(ValueError, match=r"unshuffled \(192 channels\); got 16"):
        latent.Decode.execute(vae, {"samples": torch.rand(1, 16, 8, 8)})


def test_latents_of_another_space_are_refused_with_both_names(latent, vae):
    wire = encoded(latent, vae, torch.rand(1, 32, 32, 3))
    with pytest.raises(ValueError, match=r"space unshuffled \(from unshuffled.*latents of SD3"):
        latent.SampleLatent.execute(flow("SD3"), wire, 0, 0, -1, "euler")
    with pytest.raises(ValueError, match=r"another encoder \(unshuffled\.safetensors\).*flow\.saf"):
        latent.SampleLatent.execute(flow(encoder="def"), wire, 0, 0, -1, "euler")


def test_a_decoder_of_a_shared_space_takes_every_encoders_latents(latent, vae, host_vae):
    image = torch.rand(1, 32, 32, 3)
    wire = encoded(latent, vae, image)
    tuned = host_vae(autoencoder(encoder="def", shared=True))
    assert torch.allclose(latent.Decode.execute(tuned, wire).args[0], image, atol=1e-6)
    with pytest.raises(ValueError, match=r"another encoder \(unshuffled\.safetensors\)"):
        latent.Decode.execute(host_vae(autoencoder(encoder="def")), wire)


def test_a_flow_in_pixels_is_sent_to_the_node_for_images(latent, nodes, weights, vae):
    part = weights.load(weights.DEMO, "flow", "auto")
    for wire in (
        encoded(latent, vae, torch.rand(1, 32, 32, 3)),
        {"samples": torch.rand(1, 3, 8, 8)},
    ):
        with pytest.raises(ValueError, match="works on pictures; give it to the node for images"):
            latent.SampleLatent.execute(part, wire, 0, 0, -1, "euler")


def test_a_flow_without_scaling_takes_its_vaes(latent, host_vae):
    scaled = host_vae(autoencoder(scale=2.0, shift=0.25))
    wire = encoded(latent, scaled, torch.rand(1, 32, 32, 3))
    for part in (flow(), flow(scale=2.0, shift=0.25)):
        (result,) = latent.SampleLatent.execute(part, wire, 0, 3, 0.0, "euler").args
        grown = (wire["samples"] - 0.25) * (1 + 0.5 / 3) ** 3 + 0.25
        assert torch.allclose(result["samples"], grown, atol=1e-5)
    (result,) = latent.SampleLatent.execute(flow(scale=4.0), wire, 0, 3, 0.0, "euler").args
    assert torch.allclose(result["samples"], wire["samples"] * (1 + 0.5 / 3) ** 3, atol=1e-5)


def test_the_flow_runs_in_its_own_units(latent, vae):
    wire = encoded(latent, vae, torch.rand(1, 32, 32, 3))
    part = flow(scale=2.0, shift=0.25)
    (result,) = latent.SampleLatent.execute(part, wire, 0, 3, 0.0, "euler").args
    grown = (wire["samples"] - 0.25) * (1 + 0.5 / 3) ** 3 + 0.25
    assert torch.allclose(result["samples"], grown, atol=1e-5)
    assert result["restoreflow"] == wire["restoreflow"]


def test_batch_index_decides_the_noise(latent, vae):
    wire = encoded(latent, vae, torch.rand(3, 32, 32, 3))
    run = lambda wire: latent.SampleLatent.execute(flow(), wire, 5, 2, 1.0, "euler").args[0]  # noqa: E731
    together = run(wire)["samples"]
    last = {**wire, "samples": wire["samples"][2:], "batch_index": [2]}
    assert torch.allclose(run(last)["samples"], together[2:], atol=1e-6)


def test_a_noise_mask_says_where_latents_may_change(latent, vae):
    wire = encoded(latent, vae, torch.rand(2, 64, 64, 3))
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    result = latent.SampleLatent.execute(
        flow(), {**wire, "noise_mask": mask}, 0, 2, 1.0, "euler"
    ).args[0]["samples"]
    assert torch.equal(result[..., :4], wire["samples"][..., :4])
    assert not torch.allclose(result[..., 4:], wire["samples"][..., 4:], atol=0.1)
    with pytest.raises(ValueError, match="Give one noise mask, or one a latent; got 3"):
        latent.SampleLatent.execute(
            flow(), {**wire, "noise_mask": mask.expand(3, -1, -1)}, 0, 2, 1.0, "euler"
        )


def test_posterior_means_of_latents_and_of_pictures_are_not_confused(latent, nodes, vae):
    network = Gain(1.0)
    part = PosteriorMean(
        name="mean.safetensors",
        network=network,
        predict=lambda x: network.gain * x,
        memory=memory,
        domain=Domain(name="unshuffled", channels=CHANNELS),
    )
    image = torch.rand(1, 37, 41, 3)
    wire = encoded(latent, vae, image)
    (mean,) = latent.PosteriorMeanLatent.execute(part, wire).args
    assert torch.allclose(latent.Decode.execute(vae, mean).args[0], image, atol=1e-6)
    with pytest.raises(ValueError, match=r"latents of unshuffled \(192 channels\); got 3"):
        nodes.restore.PosteriorMean.execute(part, image)


@pytest.mark.parametrize("bad", [torch.rand(1, 16, 2, 8, 8), torch.rand(0, 16, 8, 8)])
def test_no_latents_of_pictures(latent, vae, bad):
    with pytest.raises(ValueError, match="LATENT of single pictures"):
        latent.Decode.execute(vae, {"samples": bad})


def test_no_numbers(latent, vae):
    with pytest.raises(ValueError, match="not numbers"):
        latent.Decode.execute(vae, {"samples": torch.full((1, CHANNELS, 8, 8), torch.nan)})


def test_no_vae(latent):
    with pytest.raises(TypeError, match="A VAE is needed; got a str"):
        latent.Encode.execute("vae", torch.rand(1, 8, 8, 3), "mean", 0)


@pytest.fixture(scope="module")
def kl(host):
    """The host's own small Kullback-Leibler autoencoder, with random weights."""
    import comfy.sd

    config = {
        "double_z": True, "z_channels": 4, "resolution": 64, "in_channels": 3, "out_ch": 3,
        "ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0,
    }  # fmt: skip
    vae = comfy.sd.VAE(sd={}, config={"params": {"ddconfig": config, "embed_dim": 4}})
    for parameter in vae.first_stage_model.parameters():
        nn.init.normal_(parameter, std=0.05)
    return vae


def test_any_vae_of_the_host_works(latent, kl):
    image = torch.rand(1, 30, 50, 3)
    wire = encoded(latent, kl, image)
    expected = kl.encode(F.pad(image.movedim(-1, 1), (0, 6, 0, 2), mode="reflect").movedim(1, -1))
    assert torch.allclose(wire["samples"], expected, atol=1e-4)
    assert latent.Decode.execute(kl, wire).args[0].shape == image.shape
    drawn = encoded(latent, kl, image, mode="sample")["samples"]
    assert not torch.allclose(drawn, wire["samples"])


def test_previews_are_shown_through_the_linear_map(latent, vae, monkeypatch):
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)
    shown = []
    module = latent.host.comfy.utils.ProgressBar
    monkeypatch.setattr(
        module,
        "update_absolute",
        lambda self, value, total=None, preview=None: shown.append(preview),
    )
    colours = torch.cat([torch.zeros(CHANNELS, 3), torch.tensor([[1.0, 0.5, 0.0]])])
    wire = encoded(latent, vae, torch.rand(1, 32, 64, 3))
    shown.clear()
    latent.SampleLatent.execute(flow(preview=colours), wire, 0, 2, 0.0, "euler")
    assert [preview is not None for preview in shown] == [True, True, True]
    kind, picture, _ = shown[-1]
    assert kind == "JPEG"
    assert picture.size == (8, 4)
    assert picture.getpixel((0, 0)) == (255, 128, 0)
    shown.clear()
    latent.SampleLatent.execute(flow(), wire, 0, 2, 0.0, "euler")
    assert shown == [None] * 3
