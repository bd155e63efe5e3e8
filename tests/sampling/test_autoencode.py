"""Encoding and decoding: any size, tiles, the posterior's mean and draws from it."""

import pytest
import torch
import torch.nn.functional as F
from restoreflow.models.contracts import Autoencoder, Domain
from restoreflow.sampling.autoencode import decode, encode
from restoreflow.sampling.pieces import Machine
from torch import nn

FACTOR = 4


class Unshuffle(nn.Module):
    """An exact autoencoder: every pixel becomes a channel, scaled."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0), requires_grad=False)


def autoencoder(std: float | None = 0.5, **facts) -> Autoencoder:
    network = Unshuffle()

    def encoded(x):
        mean = F.pixel_unshuffle(x, FACTOR) * network.gain
        return mean, None if std is None else torch.full_like(mean, std)

    return Autoencoder(
        name="Test",
        network=network,
        factor=FACTOR,
        multiple=FACTOR,
        domain=Domain(name="unshuffled", channels=3 * FACTOR**2),
        encoded=encoded,
        decoded=lambda z: F.pixel_shuffle(z / network.gain, FACTOR),
        memory=lambda height, width, batch, dtype: height * width * batch,
        decoder_memory=lambda height, width, batch, dtype: height * width * batch * FACTOR**2,
        **facts,
    )


@pytest.mark.parametrize("size", [(1, 1), (37, 50), (64, 96)])
@pytest.mark.parametrize("tile", [0, 64])
def test_pictures_come_back(size, tile):
    pictures = torch.rand(2, 3, *size)
    latents = encode(autoencoder(), pictures, tile=tile)
    assert latents.shape[-2:] == tuple(-(-side // FACTOR) for side in size)
    back = decode(autoencoder(), latents, tile=tile)[..., : size[0], : size[1]]
    assert torch.allclose(back, pictures, atol=1e-6)


def test_tiles_and_whole_agree_on_little_memory():
    told = []
    pictures = torch.rand(1, 3, 256, 320)
    small = Machine(free_bytes=lambda: 128 * 128 * 2, tell=told.append)
    latents = encode(autoencoder(), pictures, machine=small)
    assert torch.allclose(latents, encode(autoencoder(), pictures), atol=1e-6)
    back = decode(autoencoder(), latents, machine=small)
    assert torch.allclose(back, pictures, atol=1e-6)
    assert len(told) == 2


@pytest.mark.parametrize(("tile", "count"), [(0, 1), (256, 9), (128, 25), (64, 121)])
def test_every_side_of_tiles_counts(tile, count):
    """Sides are given in pixels, and the decoder counts in latents."""
    counts = []
    latents = torch.rand(1, 48, 128, 128)
    decode(autoencoder(), latents, tile=tile, observe=lambda _, total: counts.append(total))
    assert counts[-1] == count


def test_a_draw_is_the_mean_plus_std_times_noise():
    pictures, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 48, 2, 2)
    asked = []

    def draw(shape):
        asked.append(shape)
        return noise

    drawn = encode(autoencoder(), pictures, noise=draw)
    assert torch.allclose(drawn, encode(autoencoder(), pictures) + 0.5 * noise)
    assert asked == [(48, 2, 2)]


def test_no_posterior_no_draw():
    with pytest.raises(ValueError, match="Test gives one latent a picture .* choose mean"):
        encode(autoencoder(std=None), torch.rand(1, 3, 8, 8), noise=torch.randn)


def test_latents_of_another_space_are_refused():
    with pytest.raises(ValueError, match=r"latents of unshuffled \(48 channels\); got 16"):
        decode(autoencoder(), torch.rand(1, 16, 8, 8))
