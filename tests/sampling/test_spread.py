"""The spread of draws against an affine flow, whose spread is known."""

import weakref

import pytest
import torch
from restoreflow.models.contracts import Flow
from restoreflow.sampling.noise import DEGRADING, ENCODING, SEEDS, gaussian
from restoreflow.sampling.restore import sample
from restoreflow.sampling.spread import APART, MOST, at_once, normalised, seed_of, spread

SIZE = (3, 10, 12)


class Affine(torch.nn.Module):
    """v(x) = rate * (x - 0.5): each Euler step multiplies what is left of grey."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(rate), requires_grad=False)

    def forward(self, x, t, s):
        return self.rate * (x - 0.5)


def drawing(flow, image, seed, **settings):
    def draw(numbers):
        noise = [gaussian(SIZE, seed_of(seed, n), range(len(image))) for n in numbers]
        images = image.repeat(len(numbers), 1, 1, 1)
        drawn = sample(flow, images, torch.cat(noise), **settings)
        return drawn.unflatten(0, (len(numbers), len(image)))

    return draw


@pytest.fixture
def flow():
    return Flow(
        name="affine",
        network=(net := Affine(-0.5)),
        predict=net,
        memory=lambda *_: 0,
        noise_std=0.02,
    )


@pytest.mark.parametrize("together", [1, 3, 8])
def test_of_an_affine_flow(flow, together):
    image = torch.full((2, *SIZE), 0.5)
    draw = drawing(flow, image, 7, steps=4)
    found = spread(draw, 8, together=together, keep=2)
    noise = torch.stack([gaussian(SIZE, seed_of(7, n), range(2)) for n in range(8)])
    factor = 0.02 * (1 - 0.5 / 4) ** 4
    expected = factor * noise.var(0, unbiased=True).mean(1, keepdim=True).sqrt()
    assert torch.allclose(found.std, expected, atol=1e-7)
    assert torch.allclose(found.mean, 0.5 + factor * noise.mean(0), atol=1e-6)
    assert torch.allclose(found.kept, 0.5 + factor * noise[:2].flatten(0, 1), atol=1e-6)


def test_many_draws_reach_the_flows_own_spread(flow):
    image = torch.full((1, *SIZE), 0.5)
    found = spread(drawing(flow, image, 0, steps=1), 256, together=64)
    assert found.typical.item() == pytest.approx(255 * 0.02 * 0.5, rel=0.02)


def test_without_source_noise_nothing_is_spread(flow):
    draw = drawing(flow, torch.rand(1, *SIZE), 0, steps=3, source_noise=0.0)
    found = spread(draw, 5)
    assert found.std.max() == 0
    assert normalised(found.std, 0)[1] == 0 and normalised(found.std, 0)[0].max() == 0


def test_the_first_draw_is_the_samplers_own(flow):
    image = torch.rand(2, *SIZE)
    kept = spread(drawing(flow, image, 11, steps=2), 2).kept
    assert torch.equal(kept, sample(flow, image, gaussian(SIZE, 11, range(2)), steps=2))


def test_a_picture_draws_the_same_alone_and_in_a_batch(flow):
    image = torch.rand(3, *SIZE)
    whole = spread(drawing(flow, image, 5, steps=2), 4).std
    alone = spread(drawing(flow, image[:1], 5, steps=2), 4).std
    assert torch.equal(whole[:1], alone)


def test_no_two_pictures_or_draws_share_a_noise():
    """torch takes the last 32 bits of a seed."""
    for seed in (0, 2**32 - 3, SEEDS - 1):
        seeds = {(seed_of(seed, n) + b) % 2**32 for n in range(MOST) for b in range(512)}
        assert len(seeds) == MOST * 512
    for stream in (DEGRADING, ENCODING):
        used = {(b ^ stream) % 2**32 for b in range(4096)}
        assert not used & {(APART * n + b) % 2**32 for n in range(MOST) for b in range(4096)}


def test_draws_are_uncorrelated():
    draws = [gaussian((1, 200, 200), seed_of(3, n), [0]).flatten() for n in range(4)]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(4)
    assert correlation.abs().max() < 0.03


def test_memory_does_not_grow_with_the_draws():
    drawn, most = [], 0

    def draw(numbers):
        nonlocal most
        most = max(most, sum(one() is not None for one in drawn))
        pictures = torch.rand(len(numbers), 1, *SIZE)
        drawn.append(weakref.ref(pictures))
        return pictures

    assert spread(draw, 64).kept.shape == (1, *SIZE)
    assert most <= 2


def test_how_much_is_drawn_together():
    assert at_once(torch.empty(1, 3, 64, 64, device="meta"), 8) == 8
    assert at_once(torch.empty(1, 3, 4000, 6000, device="meta"), 8) == 1


def test_the_scale():
    std = torch.tensor([0.0, 10.0, 20.0]).view(1, 1, 1, 3) / 255
    assert normalised(std, 0)[0].flatten().tolist() == pytest.approx([0, 0.5, 1])
    grey, top = normalised(std, 16)
    assert top == 16 and grey.flatten().tolist() == pytest.approx([0, 0.625, 1])
    with pytest.raises(ValueError, match="scale must be 0"):
        normalised(std, -1)


@pytest.mark.parametrize("wrong", [{"draws": 1}, {"draws": MOST + 1}, {"draws": 4, "keep": 0}])
def test_what_cannot_be_asked_for(wrong):
    with pytest.raises(ValueError, match="got"):
        spread(lambda numbers: torch.zeros(len(numbers), 1, *SIZE), **wrong)
