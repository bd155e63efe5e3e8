"""Bands of rows change no result."""

import pytest
import torch
from restoreflow.models.networks import hdit, neighborhood, pieces
from restoreflow.models.networks.hdit import HDiT, Level, Mapping
from restoreflow.models.networks.pieces import convolved
from restoreflow.models.networks.simvae import SimVAE, SimVAEShape
from restoreflow.models.networks.taesd import TAESD
from torch import nn


@pytest.fixture
def tiny_bands(monkeypatch):
    """Bands as small as they can be, from the call on."""

    torch.manual_seed(0)

    def use():
        for module in (pieces, neighborhood):
            monkeypatch.setattr(module, "piece_bytes", lambda device: 1)
        monkeypatch.setattr(pieces, "ROWS_A_REACH", 1)

    return use


@pytest.mark.parametrize("height", [1, 2, 5, 12, 31])
@pytest.mark.parametrize(
    ("layers", "reach", "up", "down"),
    [
        ([nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1)], 2, 1, 1),
        ([nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 3, 2, padding=1)], 2, 1, 2),
        ([nn.Upsample(scale_factor=2), nn.Conv2d(3, 4, 3, padding=1)], 1, 2, 1),
    ],
    ids=["same", "down", "up"],
)
def test_convolutions_in_bands(tiny_bands, layers, reach, up, down, height):
    network, x = nn.Sequential(*layers), torch.randn(2, 3, height, 6)
    tiny_bands()
    calls = []

    def counted(band):
        calls.append(band.shape[2])
        return network(band)

    ours = convolved(counted, x, reach=reach, widest=5, up=up, down=down)
    assert torch.allclose(ours, network(x), atol=1e-4)
    assert len(calls) > 1 or height < 2 * reach


@pytest.mark.parametrize("size", [(64, 48), (37, 21)])
def test_autoencoders_in_bands(tiny_bands, size):
    taesd, simvae = TAESD(8, 4, 2), SimVAE(SimVAEShape((8, 16), 1, 1, 4))
    x = torch.rand(1, 3, *size)

    def coded():
        z, (mean, std) = taesd.encoder(x), simvae.encode(x)
        return z, taesd.decoder(z), mean, std, simvae.decode(mean)

    with torch.no_grad():
        whole = coded()
        tiny_bands()
        for ours, expected in zip(coded(), whole, strict=True):
            assert torch.allclose(ours, expected, atol=1e-4)


def test_a_transformer_in_bands(tiny_bands):
    levels = [Level(16, 1, 2, 32, 3), Level(32, 1, 4, 64, None)]
    network, x = HDiT(levels, Mapping(16, 1, 32)), torch.randn(2, 3, 24, 40)
    t = torch.tensor([0.2, 0.7])
    with torch.no_grad():
        whole = network(x, t)
        tiny_bands()
        assert next(iter(hdit.bands(torch.empty(2, 6, 10, 16), 48))) == slice(0, 1)
        assert torch.allclose(network(x, t), whole, atol=1e-4)
