"""The flow-map denoisers' network: the published numbers, names and two times."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from restoreflow.models import registry
from restoreflow.models.checkpoint import WeightsError
from restoreflow.models.networks.song_unet import SongUNet, SongUNetShape
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden" / "flow_map_song_unet.safetensors"
TOLERANCE = 1e-4
SHAPES = [
    SongUNetShape(3, 16, 8, (8, 8, 16), 1, (8,), 16, 32, 4),
    SongUNetShape(3, 8, 8, (16,), 2, (), 8, 24, 4),
    SongUNetShape(3, 24, 12, (24, 12), 2, (24, 12), 12, 16, 2),
]
WIDTHS = (128, 256, 384, 512)
SHARED = {"channels": 3, "width": 128, "widths": WIDTHS, "blocks": 3, "embedding": 512}
SIZES = {**SHARED, "features": 256, "taps": 4}
PUBLISHED = {
    "CelebA": (462, "b720c7bb7e1d", {**SIZES, "resolution": 128, "attention": (16,)}),
    "AFHQ": (438, "18fd417c5c2e", {**SIZES, "resolution": 256, "attention": ()}),
    "AFHQ cats": (438, "1a8f1dad2b67", {**SIZES, "resolution": 192, "attention": ()}),
    "CIFAR-10": (486, "36f20bbfd4b1", {**SIZES, "resolution": 32, "attention": (16, 8)}),
    "CIFAR-10, as DDPM++": (
        376,
        "85425df6645c",
        {
            **SHARED,
            "resolution": 32,
            "widths": (256,) * 3,
            "attention": (16, 8),
            "features": 128,
            "taps": 2,
        },
    ),
}
"""The published configurations: tensors, SHA-256 of their names and shapes in order, arguments."""


def shapes_of(network: SongUNet) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def awake(shape: SongUNetShape) -> SongUNet:
    """A random network in which every layer does something."""
    network = SongUNet(shape).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "norm" in name:
            parameter.copy_(torch.rand_like(parameter) + 0.5)
        else:
            parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return network


@pytest.fixture
def golden() -> dict[str, Tensor]:
    with safe_open(GOLDEN, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def file_of(path: Path, tensors: dict[str, Tensor], **record) -> Path:
    save_file(tensors, path, {"restoreflow": json.dumps(record)})
    return path


def weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}


@pytest.fixture
def flow(tmp_path, golden):
    part = registry.load(file_of(tmp_path / "map.safetensors", weights(golden)), registry.FLOW)
    part.cast(torch.float32)
    return part


# Against the published code


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_the_published_numbers(flow, golden, case):
    """The second case's picture is not of the size that was trained."""
    x, t, s, u = (golden[f"{case}.{name}"] for name in ("x", "t", "s", "u"))
    assert (flow.network(x, t, s) - u).abs().max() <= TOLERANCE
    # The same on pictures in [0, 1].
    assert (flow.predict((x + 1) / 2, t, s) - u / 2).abs().max() <= TOLERANCE
    exact = flow.network.double()(x.double(), t.double(), s.double())
    assert (exact - u).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_names(name):
    count, digest, arguments = PUBLISHED[name]
    shape = SongUNetShape(**arguments)
    with torch.device("meta"):
        shapes = shapes_of(SongUNet(shape))
    lines = "\n".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    assert len(shapes) == count
    assert hashlib.sha256(lines.encode()).hexdigest().startswith(digest)
    assert SongUNetShape.of(shapes) == shape


# The network


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_tell_the_shape(shape):
    network = awake(shape)
    again = SongUNet(SongUNetShape.of(shapes_of(network)))
    again.load_state_dict(network.state_dict())
    x, t, s = torch.randn(2, 3, 16, 24), torch.rand(2), torch.rand(2)
    assert SongUNetShape.of(shapes_of(network)) == shape
    assert torch.equal(network(x, t, s), again(x, t, s))


@pytest.mark.parametrize("shape", SHAPES)
def test_sides_are_multiples(shape):
    network = awake(shape)
    side = 3 * network.multiple
    x = torch.randn(1, 3, side, 2 * side)
    assert network(x, torch.zeros(1), torch.ones(1)).shape == x.shape


def test_both_times_matter():
    network, x = awake(SHAPES[0]), torch.randn(1, 3, 16, 16)
    early, late = torch.tensor([0.2]), torch.tensor([0.7])
    velocity = network(x, early, early)
    assert not torch.allclose(velocity, network(x, late, late), atol=1e-3)
    assert not torch.allclose(velocity, network(x, early, late), atol=1e-3)


def test_pictures_of_a_batch_keep_their_own_times():
    network, x = awake(SHAPES[0]), torch.randn(2, 3, 16, 16)
    t, s = torch.tensor([0.1, 0.6]), torch.tensor([0.4, 0.9])
    single = torch.cat([network(x[i : i + 1], t[i : i + 1], s[i : i + 1]) for i in range(2)])
    assert torch.allclose(network(x, t, s), single, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype):
    network, x, time = awake(SHAPES[0]), torch.randn(1, 3, 16, 16), torch.tensor([0.5])
    expected = network(x, time, time)
    half = network.to(dtype)(x.to(dtype), time, time)
    assert half.dtype == dtype
    assert (half.float() - expected).square().mean().sqrt() < 0.05 * expected.square().mean().sqrt()


# The loaded flow


def test_what_a_flow_map_promises(flow):
    assert (flow.times, flow.origin, flow.condition) == ("two-time", "noise", "none")
    assert (flow.noise_std, flow.source_mean, flow.steps) == (0.5, 0.5, 50)
    assert (flow.native_size, flow.multiple) == (16, 4)
    one, two, three = (flow.memory(64, 64, batch, torch.float32) for batch in (1, 2, 3))
    assert three - two == two - one > 0


def test_at_equal_times_it_is_the_velocity(flow, golden):
    x, t, s, u = (golden[f"case0.{name}"][1:] for name in ("x", "t", "s", "u"))
    assert torch.equal(t, s)
    picture = (x + 1) / 2
    assert (flow.velocity(picture, t.item(), t.item()) - u / 2).abs().max() <= TOLERANCE


def test_a_record_tells_a_plain_velocity(tmp_path, golden):
    path = file_of(tmp_path / "v.safetensors", weights(golden), flow={"times": "velocity"})
    flow = registry.load(path, registry.FLOW)
    flow.cast(torch.float32)
    x = torch.rand(1, 3, 16, 16)
    assert flow.times == "velocity"
    assert torch.equal(flow.velocity(x, 0.3, 0.9), flow.velocity(x, 0.3, 0.3))


def test_training_tensors_are_left_in_the_file(tmp_path, golden, random_state_untouched):
    tensors = {
        **weights(golden),
        "model.map_augment.weight": torch.zeros(16, 9),
        "weight_net.conv1.weight": torch.zeros(4, 2, 3, 3),
    }
    torch.save(tensors, tmp_path / "map.pt")
    assert registry.load(tmp_path / "map.pt", registry.FLOW).times == "two-time"


# Bad input, each one clear sentence


@pytest.mark.parametrize("name", ["map_noise_t.freqs", "map_noise_r.conv.weight"])
def test_other_embeddings_of_time(tmp_path, golden, name):
    tensors = {**weights(golden), f"model.{name}": torch.zeros(4)}
    with pytest.raises(WeightsError, match=r"map\.safetensors holds a flow map of a reversed cl"):
        registry.load(file_of(tmp_path / "map.safetensors", tensors), registry.FLOW)


def test_a_reversed_clock(tmp_path, golden):
    path = file_of(tmp_path / "map.safetensors", weights(golden), clock="noise=1")
    with pytest.raises(WeightsError, match="only those of two times a picture with the data at"):
        registry.load(path, registry.FLOW)


def test_grey_pictures(tmp_path):
    state = awake(SHAPES[0]._replace(channels=1)).state_dict()
    path = file_of(tmp_path / "m.safetensors", {f"model.{n}": t for n, t in state.items()})
    with pytest.raises(WeightsError, match="flow map of 1 channels; pictures have 3"):
        registry.load(path, registry.FLOW)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dec.4x4_in0.qkv.weight", r"lacks model\.dec\.4x4_in0\.qkv\.weight; delete it"),
        ("enc.8x8_block0.conv0.weight", r"lacks 'enc\.8x8_block0\.conv0\.weight' of a SongUNet"),
    ],
)
def test_a_missing_tensor(tmp_path, golden, name, says):
    tensors = weights(golden)
    del tensors[f"model.{name}"]
    with pytest.raises(WeightsError, match=says):
        registry.load(file_of(tmp_path / "map.safetensors", tensors), registry.FLOW)
