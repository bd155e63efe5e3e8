"""TAESD's files: the layouts they come in, what is deduced from shapes, what is refused."""

import json

import pytest
import torch
import torch.nn.functional as F
from fakes import save
from restoreflow.models import registry
from restoreflow.models.checkpoint import WeightsError
from restoreflow.models.families import taesd
from restoreflow.models.networks.taesd import TAESD
from restoreflow.sampling.autoencode import decode, encode


def tiny(width=8, channels=16, stages=3) -> TAESD:
    return TAESD(width, channels, stages).eval()


def half(network: TAESD, name: str, prefix: str, later: int = 0) -> dict:
    """One half's tensors under a prefix and numbers, as the original stores them."""
    return {
        f"{prefix}{int(number) + later}.{rest}": tensor
        for key, tensor in getattr(network, name).layers.state_dict().items()
        for number, _, rest in [key.partition(".")]
    }


def layouts(network: TAESD) -> dict[str, dict]:
    original = half(network, "encoder", "taesd_encoder.")
    return {
        "diffusers": network.state_dict(),
        "ComfyUI": {**original, **half(network, "decoder", "taesd_decoder.", later=1)},
    }


def load(path, **parts):
    return registry.load(save(path, {"": parts}), registry.AUTOENCODER)


@pytest.mark.parametrize("layout", ["diffusers", "ComfyUI"])
def test_every_layout_gives_the_same(tmp_path, layout):
    network = tiny()
    part = load(tmp_path / "a.safetensors", **layouts(network)[layout])
    x, z = torch.rand(2, 3, 40, 24), torch.randn(2, 16, 5, 3)
    assert torch.equal(part.encode(x)[0], network.encoder(x))
    assert torch.equal(part.decode(z), network.decoder(z))
    assert part.encode(x)[1] is None and (part.factor, part.multiple) == (8, 8)


def test_the_layouts_agree_on_the_encoder(tmp_path):
    prints = {
        load(tmp_path / f"{name}.safetensors", **state).domain.encoder
        for name, state in layouts(tiny()).items()
    }
    assert len(prints) == 1


@pytest.mark.parametrize(("width", "channels", "stages"), [(8, 4, 3), (16, 16, 2), (24, 6, 1)])
def test_the_network_is_deduced_from_its_shapes(tmp_path, width, channels, stages):
    network = tiny(width, channels, stages)
    part = load(tmp_path / "a.safetensors", **network.state_dict())
    pictures = torch.rand(1, 3, 37, 50)
    latents = encode(part, pictures)
    assert latents.shape == (1, channels, -(-37 // 2**stages), -(-50 // 2**stages))
    assert decode(part, latents).shape[-1] >= 50
    name = f"TAESD {channels} channels, factor {2**stages}"
    assert (part.domain.name, part.domain.channels, part.domain.scale) == (name, channels, 1)


def test_the_published_one_speaks_the_units_of_sd3(tmp_path):
    network = tiny(width=64)
    part = load(tmp_path / "taesd3.safetensors", **network.state_dict())
    assert part.domain.name == "SD3"
    x, raw = torch.rand(1, 3, 32, 32), torch.randn(1, 16, 4, 4)
    wire = encode(part, x)
    assert torch.allclose((wire - 0.0609) * 1.5305, network.encoder(x), atol=1e-6)
    assert torch.allclose(part.decode(raw / 1.5305 + 0.0609), network.decoder(raw), atol=1e-5)


def test_the_preview_is_the_published_one_of_raw_latents():
    raw = torch.randn(5, 16)
    factors, bias = torch.tensor(taesd.COLOURS[:-1]), torch.tensor(taesd.COLOURS[-1])
    wire = raw / taesd.SCALE + taesd.SHIFT
    ours = F.pad(wire, (0, 1), value=1) @ taesd._colours()
    assert torch.allclose(ours, (raw @ factors + bias) / 2 + 0.5, atol=1e-6)


def test_a_record_names_the_space(tmp_path):
    preview = [[0.1, 0.2, 0.3]] * 17
    space = {"name": "Demo", "scale": 2.0, "shift": 0.5, "preview": preview}
    metadata = {"restoreflow": json.dumps({"space": space})}
    network = tiny(stages=2)
    path = save(tmp_path / "demo.safetensors", {"": network.state_dict()}, metadata)
    part = registry.load(path, registry.AUTOENCODER)
    assert part.domain.name == "Demo" and torch.equal(part.domain.preview, torch.tensor(preview))
    x = torch.rand(1, 3, 8, 8)
    assert torch.allclose(part.encode(x)[0], network.encoder(x) / 2 + 0.5)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path, precision):
    state = tiny().state_dict()
    exact, part = (load(tmp_path / "a.safetensors", **state) for _ in range(2))
    part.cast(precision)
    x = torch.rand(1, 3, 64, 64)
    latents, rough = exact.encode(x)[0], part.encode(x)[0]
    assert rough.dtype == torch.float32
    assert (rough - latents).abs().max() < 0.05 * latents.abs().max()
    assert (part.decode(latents) - exact.decode(latents)).abs().max() < 0.02


# Bad input, each one clear sentence


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize("prefix", ["", "taesd_{}.", "{}.layers."])
def test_half_an_autoencoder(tmp_path, name, prefix):
    later = 1 if name == "decoder" and "layers" not in prefix else 0
    state = half(tiny(), name, prefix.format(name), later)
    other = {"encoder": "decoder", "decoder": "encoder"}[name]
    says = rf"half\.safetensors holds one half of a TAESD and lacks the other, its {other}; choose"
    with pytest.raises(WeightsError, match=says):
        load(tmp_path / "half.safetensors", **state)


def test_a_missing_tensor(tmp_path):
    state = tiny().state_dict()
    del state["encoder.layers.4.conv.2.weight"]
    with pytest.raises(WeightsError, match=r"a\.safetensors .* lacks encoder.layers.4.conv.2.w"):
        load(tmp_path / "a.safetensors", **state)
    del state["encoder.layers.14.weight"]
    with pytest.raises(WeightsError, match=r"a\.safetensors lacks 'layers.14.weight' of its enc"):
        load(tmp_path / "a.safetensors", **state)


def test_a_decoder_of_another_width(tmp_path):
    parts = {
        "encoder.": tiny().encoder.state_dict(),
        "decoder.": tiny(width=16).decoder.state_dict(),
    }
    with pytest.raises(WeightsError, match="has another shape for decoder.layers.0.weight"):
        registry.load(save(tmp_path / "a.safetensors", parts), registry.AUTOENCODER)


def test_another_role(tmp_path):
    path = save(tmp_path / "a.safetensors", {"": tiny().state_dict()})
    with pytest.raises(WeightsError, match="holds the autoencoder of TAESD, but no flow"):
        registry.load(path, registry.FLOW)
