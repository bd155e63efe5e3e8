"""The Sim-VAE's network: its shape from its weights, its sizes, its gradients."""

import pytest
import torch
from fakes import as_loaded, tiny_simvae
from restoreflow.models.networks.simvae import SimVAE, SimVAEShape

SHAPES = [
    SimVAEShape((8, 12, 16, 16), depth=1, middle_depth=1, channels=4, shuffles=False),
    SimVAEShape((32, 64, 96), depth=1, middle_depth=2, channels=16, shuffles=False),
    SimVAEShape((8, 8, 8), depth=2, middle_depth=1, channels=3, shuffles=True),
    SimVAEShape((8,), depth=1, middle_depth=1, channels=2, shuffles=False),
]


def shapes(network: SimVAE) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_tell_the_shape(shape):
    network = tiny_simvae(shape)
    again = as_loaded(SimVAE(SimVAEShape.of(shapes(network))))
    again.load_state_dict(network.state_dict())
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    mean, std = network.encode(x)
    assert SimVAEShape.of(shapes(network)) == shape
    assert torch.equal(again.encode(x)[0], mean)
    assert torch.equal(again.decode(mean), network.decode(mean))
    assert (
        mean.shape == std.shape == (1, shape.channels, 16 // network.factor, 24 // network.factor)
    )


def test_any_size_is_rounded_up():
    network = tiny_simvae()
    mean, _ = network.encode(torch.rand(1, 3, 37, 50))
    assert mean.shape == (1, 4, 5, 7)
    assert network.decode(mean).shape == (1, 3, 40, 56)


def test_a_pixel_knows_only_its_neighbourhood():
    """So a tile with enough overlap equals the whole; a norm over space would forbid it."""
    network = tiny_simvae(SimVAEShape((8, 12), 1, 1, 4))
    whole = torch.rand(1, 3, 96, 96)
    inner = network.encode(whole)[0][..., 20:28, 20:28]
    tile = network.encode(whole[..., 16:80, 16:80])[0][..., 12:20, 12:20]
    assert torch.allclose(inner, tile, atol=1e-5)


def test_the_variance_is_bounded():
    network = tiny_simvae()
    network.encoder.conv_out.bias[4:] = torch.tensor([-1e3, -1e3, 1e3, 1e3])
    _, std = network.encode(torch.rand(1, 3, 16, 16))
    expected = torch.tensor([-15.0, -15.0, 10.0, 10.0]).exp()
    assert torch.allclose(std, expected[:, None, None].expand_as(std))


@pytest.mark.parametrize("norm", ["layer_norm", "group_norm"])
@pytest.mark.parametrize("position", ["pre_norm", "post_norm"])
def test_every_weight_learns(norm, position):
    network = tiny_simvae(SimVAEShape((32, 32), 1, 1, 4), norm=norm, position=position)
    network.requires_grad_(True)
    mean, std = network.encode(torch.rand(2, 3, 8, 8))
    (network.decode(mean + std * torch.randn_like(std)).square().mean() + std.mean()).backward()
    assert all(parameter.grad.any() for parameter in network.parameters())
