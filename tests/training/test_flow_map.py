"""The flow map's objective: what it makes of Gaussian pictures, whose map is known."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from gaussians import Gaussian, gains_of, normals
from restoreflow.training import flow_map
from restoreflow.training.fit import Recipe, step_generator, update_average
from restoreflow.training.flow_map import Pair, diagonal, draw_pairs, draw_times, lagrangian
from torch import nn

SIZE, WIDTH, BATCH, STEPS, RATE = 16, 64, 256, 1200, 3e-3
"""About nine seconds; half the steps miss the tolerances at the lifelike end."""


class Map(nn.Module):
    """A small perceptron of states [B, d], and gains that follow from the times alone."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.pi / 2 * 2.0 ** torch.arange(4))
        self.enter, self.leave = nn.Linear(SIZE, WIDTH), nn.Linear(WIDTH, SIZE)
        self.times = nn.Sequential(
            nn.Linear(18, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH + SIZE)
        )
        nn.init.zeros_(self.leave.weight)

    def forward(self, x, s, t):
        times = torch.stack([s, t - s], 1)
        waves = (times[..., None] * self.frequencies).flatten(1)
        embedded = self.times(torch.cat([times, waves.sin(), waves.cos()], 1))
        scale, shift, gain = embedded.split([WIDTH, WIDTH, SIZE], 1)
        return gain * x + self.leave(nn.functional.silu(self.enter(x) * (1 + scale) + shift))


PICTURES = Gaussian(torch.zeros(SIZE), 1.5 * torch.arange(1, SIZE + 1) ** -1.5)


def drawn(generator):
    """Noise and pictures [BATCH, SIZE]."""
    noise, clean = (torch.randn(BATCH, SIZE, generator=generator) for _ in range(2))
    return noise, PICTURES.made(clean)


def step_loss(net, step):
    """Velocity alone, then the map near by, then all of it: as `flow_map.train` goes about it."""
    random = step_generator(0, step)
    loss = diagonal(net, *drawn(random), draw_times(BATCH, random))
    if step < 0.3 * STEPS:
        return loss
    pair = draw_pairs(BATCH, flow_map.NEAR if step < 0.5 * STEPS else 1.0, random)
    return loss + flow_map.MAP_WEIGHT * lagrangian(net, *drawn(random), pair)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    net = Map()
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, (0.9, 0.95), weight_decay=0.0)
    recipe = Recipe(steps=STEPS, rate=RATE, clip=1.0, warm_up=50)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate_at(step)
        optimiser.zero_grad()
        step_loss(net, step).backward()
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimiser.step()
        update_average(average, net, min(0.99, (step + 1) / (step + 11)))
    return average.requires_grad_(False)


@pytest.mark.parametrize("s", [0.3, 0.6])
@pytest.mark.parametrize("lookahead", [0.0, 0.5, 0.9, 1.0])
def test_it_learns_the_exact_map(trained, s, lookahead):
    noise, clean = normals(20_000, 2 * SIZE).float().chunk(2, 1)
    clean = PICTURES.made(clean)
    state, t = s * clean + (1 - s) * noise, s + lookahead * (1 - s)
    times = (torch.full([len(state)], time) for time in (s, t))
    result = state + (1 - s) * trained(state, *times)
    known = state + (1 - s) * PICTURES(state, s, t)
    assert (result - known).norm() < 0.1 * known.norm()
    gains = gains_of(PICTURES, s, lookahead)
    error = (result - clean).square().sum(1).mean().item()
    assert error == pytest.approx(PICTURES.error(s, gains).item(), rel=0.03)
    distance = (result.std(0) - PICTURES.variances.sqrt()).norm().item()
    assert distance == pytest.approx(PICTURES.distance(s, gains).item(), abs=0.1)


# The losses


@pytest.fixture
def ends():
    return drawn(step_generator(1, 0))


def field(x, s, t):
    """The exact map, called as a network."""
    return PICTURES(x, s[:, None], t[:, None])


def test_the_exact_map_leaves_nothing_of_the_lagrangian(ends):
    pair = draw_pairs(BATCH, 1.0, step_generator(1, 1))
    assert lagrangian(field, *ends, pair) < 1e-9
    assert lagrangian(lambda x, s, t: field(x, s, s), *ends, pair) > 0.01


def test_the_exact_velocity_is_the_diagonals_least(ends):
    s = draw_times(BATCH, step_generator(1, 1))
    least = diagonal(field, *ends, s)
    for other in (0.9, 1.1):
        assert diagonal(lambda x, s, t, by=other: by * field(x, s, t), *ends, s) > least
    seen = []
    diagonal(lambda x, s, t: seen.append((s, t)) or x, *ends, s)
    assert torch.equal(*seen[0])


def test_only_the_motion_is_trained_by_the_lagrangian(ends):
    """A network that is right on the diagonal gets no gradient there: its target has none."""
    bent = torch.zeros(1, requires_grad=True)

    def network(x, s, t):
        return 1.1 * field(x, s, t) + torch.where((s == t)[:, None], bent, 0.0)

    pair = Pair(torch.full([BATCH], 0.2), torch.full([BATCH], 0.7))
    loss = lagrangian(network, *ends, pair)
    assert not loss.requires_grad or torch.autograd.grad(loss, bent)[0] == 0
    shifted = torch.zeros(1, requires_grad=True)
    loss = lagrangian(lambda x, s, t: 1.1 * field(x, s, t) + shifted, *ends, pair)
    assert torch.autograd.grad(loss, shifted)[0].abs() > 0


def test_a_map_that_lands_anywhere_teaches_nothing_wild(ends):
    seen = []

    def wild(x, s, t):
        seen.append(x)
        return 1e6 * x

    pair = Pair(torch.full([BATCH], 0.2), torch.full([BATCH], 0.7))
    assert lagrangian(wild, *ends, pair).isfinite()
    assert seen[1].abs().max() <= flow_map.FARTHEST


# The times


def test_times_lie_in_range_and_more_of_them_late():
    s = draw_times(20_000, step_generator(0, 0))
    assert 0 <= s.min() < 0.001
    assert 0.999 < s.max() < 1
    late = flow_map.LATE_SHARE + (1 - flow_map.LATE_SHARE) * (1 - flow_map.LATE)
    assert (s >= flow_map.LATE).float().mean().item() == pytest.approx(late, abs=0.01)


@pytest.mark.parametrize("widest", [0.05, flow_map.NEAR, 1.0])
def test_pairs_reach_no_farther_than_they_may(widest):
    s, t = draw_pairs(20_000, widest, step_generator(0, 0))
    assert (s <= t).all()
    assert s.min() >= 0
    assert t.max() <= 1
    assert (t - s).max() <= widest + 1e-6
    assert (t - s).max() > 0.9 * widest
    assert (t == 1).float().mean().item() == pytest.approx(flow_map.TO_THE_END, abs=0.02)


# Whole steps


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, s, t):
        return self.mix(x) * (1 + s + t * t).view(-1, 1, 1, 1)


def test_a_step_is_its_generators():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    recipe = replace(Recipe(steps=1, rate=1e-3, clip=1.0), batch=4, crop=32)
    net = Small()
    losses = {
        "velocity": partial(flow_map.velocity_loss, net),
        "map": partial(flow_map.map_loss, net, net, 1.0),
    }
    before = torch.get_rng_state()
    for loss_of in losses.values():
        one, again, other = (
            loss_of(pictures, recipe, torch.device("cpu"), step_generator(3, step))
            for step in (0, 0, 1)
        )
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
        assert torch.autograd.grad(one, net.mix.weight)[0].abs().sum() > 0
    assert torch.equal(torch.get_rng_state(), before)
