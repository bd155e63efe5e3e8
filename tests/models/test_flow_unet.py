"""The flow network: its shape from its weights, its locality, its two times."""

import pytest
import torch
from restoreflow.models.networks.flow_unet import FlowUNet, FlowUNetShape

SHAPES = [
    FlowUNetShape(channels=3, widths=(8, 16, 16), depths=(1, 1, 2), patch=2),
    FlowUNetShape(channels=1, widths=(8,), depths=(2,), patch=1),
    FlowUNetShape(channels=16, widths=(8, 12), depths=(2, 1), patch=1),
]


def awake(shape: FlowUNetShape) -> FlowUNet:
    """A network without the zeros that it starts from."""
    net = FlowUNet(*shape).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return net


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_tell_the_shape(shape: FlowUNetShape):
    net = awake(shape)
    again = FlowUNet(*FlowUNetShape.of(net.state_dict()))
    again.load_state_dict(net.state_dict())
    x, t, s = torch.rand(2, shape.channels, 16, 24), torch.rand(2), torch.rand(2)
    assert FlowUNetShape.of(net.state_dict()) == shape
    assert torch.equal(net(x, t, s), again(x, t, s))


@pytest.mark.parametrize("shape", SHAPES)
def test_sides_are_multiples(shape: FlowUNetShape):
    net = awake(shape)
    side = 3 * net.multiple
    x = torch.rand(1, shape.channels, side, 2 * side)
    assert net(x, torch.zeros(1), torch.ones(1)).shape == x.shape


def test_a_new_network_stands_still():
    x = torch.rand(1, 3, 16, 16)
    assert not FlowUNet()(x, torch.rand(1), torch.rand(1)).any()


def test_a_pixel_knows_only_its_neighbourhood():
    """So a tile with enough overlap equals the whole, whatever the size of either."""
    net = awake(SHAPES[0])
    whole = torch.rand(1, 3, 192, 192)
    tile = whole[..., 32:160, 32:160]
    time = torch.tensor([0.3])
    inner = net(whole, time, time)[..., 88:104, 88:104]
    assert torch.allclose(inner, net(tile, time, time)[..., 56:72, 56:72], atol=1e-5)


def test_both_times_matter():
    net, x = awake(SHAPES[0]), torch.rand(1, 3, 16, 16)
    early, late = torch.tensor([0.2]), torch.tensor([0.7])
    velocity = net(x, early, early)
    assert not torch.allclose(velocity, net(x, late, late), atol=1e-3)
    assert not torch.allclose(velocity, net(x, early, late), atol=1e-3)


def test_images_of_a_batch_keep_their_own_times():
    net, x = awake(SHAPES[0]), torch.rand(2, 3, 16, 16)
    t, s = torch.tensor([0.1, 0.6]), torch.tensor([0.4, 0.9])
    single = torch.cat([net(x[i : i + 1], t[i : i + 1], s[i : i + 1]) for i in range(2)])
    assert torch.allclose(net(x, t, s), single, atol=1e-5)


def test_the_step_can_be_differentiated():
    """Two-time training needs the derivative along s."""
    net, x, t = (
        awake(SHAPES[0]).double(),
        torch.rand(1, 3, 16, 16).double(),
        torch.zeros(1).double(),
    )
    s, one = torch.tensor([0.5]).double(), torch.ones(1).double()
    _, slope = torch.func.jvp(lambda end: net(x, t, end), (s,), (one,))
    step = 1e-6
    numeric = (net(x, t, s + step) - net(x, t, s - step)) / (2 * step)
    assert torch.allclose(slope, numeric, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype: torch.dtype):
    net, x, time = awake(SHAPES[0]), torch.rand(1, 3, 32, 32), torch.tensor([0.5])
    expected = net(x, time, time)
    half = net.to(dtype)(x.to(dtype), time, time)
    assert half.dtype == dtype
    assert (half.float() - expected).square().mean().sqrt() < 0.05 * expected.square().mean().sqrt()
