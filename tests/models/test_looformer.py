"""LooUFormer: its times, its batches, its precision, its gradients."""

import pytest
import torch
from fakes import LOOFORMERS, tiny_looformer
from restoreflow.models.networks.looformer import LayerNorm

KINDS = pytest.mark.parametrize("kinds", LOOFORMERS.values(), ids=LOOFORMERS)


@KINDS
def test_pictures_of_a_batch_keep_their_own_times(kinds):
    network, x, sigma = tiny_looformer(**kinds), torch.randn(2, 4, 16, 24), torch.tensor([0.9, 0.3])
    single = torch.cat([network(x[i : i + 1], sigma[i : i + 1]) for i in range(2)])
    assert torch.allclose(network(x, sigma), single, atol=1e-4)
    turned = network(x, sigma.flip(0))
    assert torch.allclose(turned, single, atol=1e-4) != kinds.get("time", True)


@KINDS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(kinds, dtype):
    network, x, sigma = tiny_looformer(**kinds), torch.randn(1, 4, 16, 16), torch.tensor([0.4])
    exact = network(x, sigma)
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    rounded = network(x.to(dtype), sigma)
    assert rounded.dtype == dtype
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05


@KINDS
def test_every_weight_learns(kinds):
    network = tiny_looformer(**kinds).requires_grad_(True)
    network(torch.randn(1, 4, 16, 16), torch.tensor([0.4])).square().mean().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_a_new_network_starts_with_plain_norms():
    norm, x = LayerNorm(8, 4, bias=True), torch.randn(1, 8, 3, 3)
    plain = x / x.square().mean(1, keepdim=True).sqrt()
    assert torch.allclose(norm(x, torch.randn(1, 4)), plain, atol=1e-5)
