"""Uncertainty Map and Sample Picker: what they hand on."""

import pytest
import torch
from restoreflow.models.contracts import Flow
from restoreflow.sampling.noise import gaussian
from restoreflow.sampling.presets import PRESETS
from restoreflow.sampling.spread import seed_of


class Still(torch.nn.Module):
    """A flow that stays: its draws are the picture with its source noise."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x, t, s):
        return self.weight * x


@pytest.fixture
def flow():
    network = Still()
    return Flow(
        name="still", network=network, predict=network, memory=lambda *_: 0, noise_std=0.02, steps=2
    )


@pytest.fixture
def chart(nodes, host):
    def run(flow, image, draws=6, seed=3, **more):
        settings = {"steps": 0, "source_noise": -1.0, "solver": "euler", **more}
        return nodes.spread.MapUncertainty.execute(flow, image, draws, seed, **settings).args

    return run


@pytest.fixture
def pick(nodes, host):
    def run(samples, rule="index", index=0, **more):
        return nodes.pick.PickSample.execute(samples, rule, index, **more).args

    return run


def test_all_outputs(chart, flow):
    image = torch.full((2, 40, 50, 4), 0.5)
    heat, grey, factor, mean, samples = chart(flow, image, keep=4)
    assert heat.shape[0] == 2 and heat.shape[2:] == (50, 3) and heat.shape[1] > 40
    assert grey.shape == (2, 40, 50, 3) and mean.shape == (2, 40, 50, 4)
    assert samples.shape == (8, 40, 50, 4) and samples[..., 3].eq(0.5).all()
    noise = torch.stack([gaussian((3, 40, 50), seed_of(3, n), range(2)) for n in range(6)])
    expected = 255 * 0.02 * noise.var(0).mean(1).sqrt()
    assert torch.allclose(factor * grey[..., 0], expected, atol=1e-3)
    assert factor == pytest.approx(expected.max().item(), abs=1e-3) and grey.max() == 1
    first = 0.5 + 0.02 * noise[0].movedim(1, -1)
    assert torch.allclose(samples[:2, ..., :3], first, atol=1e-6)


def test_a_scale_of_ones_own(chart, flow):
    grey, factor = chart(flow, torch.full((1, 16, 16, 1), 0.5), scale=51.0)[1:3]
    assert factor == 51 and grey.max() < 0.5


def test_few_draws_and_much_memory(chart, flow, nodes, monkeypatch):
    monkeypatch.setattr(nodes.spread, "KEPT_PIXELS", 3 * 16 * 16)
    assert len(chart(flow, torch.full((1, 16, 16, 3), 0.5), keep=8)[4]) == 3
    assert len(chart(flow, torch.full((4, 16, 16, 3), 0.5), keep=8)[4]) == 4


def test_what_is_no_flow(chart, flow):
    image = torch.rand(1, 16, 16, 3)
    with pytest.raises(TypeError, match="Uncertainty Map needs a Flow; got a str"):
        chart("flow", image)
    with pytest.raises(ValueError, match="not numbers"):
        chart(flow, image * torch.nan)
    with pytest.raises(ValueError, match="2 to 256 draws; got 1"):
        chart(flow, image, draws=1)


def test_tiny_and_wide_maps_have_a_scale(nodes, host):
    for size in ((1, 1), (3, 700), (700, 3)):
        heat = nodes.heat_map.with_scale(torch.rand(1, 1, *size), 12.345)
        assert heat.shape[1] > size[0] and heat.shape[2] == size[1]


def test_a_sample_by_its_number(pick):
    samples = torch.rand(6, 12, 12, 4)
    image, index, sheet = pick(samples, index=4)
    assert torch.equal(image, samples[4:5]) and index == 4
    assert sheet.shape[0] == 1 and sheet.shape[-1] == 3
    with pytest.raises(ValueError, match="There are 6 samples, from 0; got the index 6"):
        pick(samples, index=6)


def test_the_nearest_of_two_pictures(pick):
    mean = torch.full((2, 12, 12, 3), 0.5)
    offsets = torch.tensor([0.1, 0.01, 0.02, 0.2])[:, None, None, None]  # draw 0, then draw 1
    samples = mean.repeat(2, 1, 1, 1) + offsets
    image, index, _ = pick(samples, "nearest the posterior mean", posterior_mean=mean)
    assert torch.equal(image, samples[[2, 1]]) and index == 1


def test_the_one_that_explains_the_photo(pick):
    known = PRESETS["Noise 25/255 (demo)"]
    samples = torch.full((3, 12, 12, 3), 0.5) + torch.tensor([0.1, 0.3, 0.2])[:, None, None, None]
    photo = torch.full((1, 12, 12, 3), 0.78)
    assert pick(samples, "least data residual", degraded=photo, degradation=known)[1] == 1
    with pytest.raises(ValueError, match="wire the degraded photo and the degradation"):
        pick(samples, "least data residual")


def test_sheets_of_any_number(nodes, host):
    for count, batch, size in (
        (1, 1, (3, 900)),
        (13, 1, (64, 48)),
        (5, 3, (48, 64)),
        (256, 1, (9, 9)),
    ):
        samples = torch.rand(count, batch, 3, *size)
        sheet = nodes.heat_map.sheet(samples, torch.zeros(batch, dtype=torch.long))
        assert max(sheet.shape[1:3]) <= 2400
