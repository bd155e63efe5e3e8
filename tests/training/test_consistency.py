"""ELIR's objective: what it is on straight paths, and whom it trains."""

import pytest
import torch
from restoreflow.training import consistency
from restoreflow.training.consistency import Networks
from torch import nn

SHAPE = (4, 16, 4, 4)


@pytest.fixture
def ends():
    return torch.randn(SHAPE), torch.randn(SHAPE)


@pytest.mark.parametrize("segments", [1, 3, 5])
def test_the_straight_paths_velocity_is_consistent(ends, segments):
    source, z = ends
    t = torch.tensor([0.0, 0.2, 0.5, 0.9])

    def velocity(x, t):
        return z - source

    loss, landing, end = consistency.consistency(velocity, source, z, t, segments, 0.05)
    assert loss < 1e-9
    assert torch.allclose(landing, consistency.point(source, z, end), atol=1e-4)
    assert consistency.flow_matching(velocity, source, z, t) < 1e-9


def test_a_time_on_an_edge_belongs_to_the_segment_before_it(ends):
    t = torch.tensor([0.0, 0.2, 0.25, 0.5])
    *_, end = consistency.consistency(lambda x, t: x, *ends, t, 4, 0.05)
    assert end.tolist() == [0.25, 0.25, 0.25, 0.5]


def test_the_target_beyond_a_segment_is_the_path_itself(ends):
    source, z = ends
    t = torch.tensor([0.24, 0.49, 0.74, 0.95])
    loss, landing, end = consistency.consistency(
        lambda x, t: torch.zeros_like(x), source, z, t, 4, 0.05
    )
    expected = (landing - consistency.point(source, z, end)).square().mean()
    assert torch.allclose(loss, expected)


def networks(pixels: bool) -> tuple[Networks, dict[str, nn.Module]]:
    parts = {
        "encode": nn.Conv2d(3, 16, 8, stride=8),
        "mean": nn.Conv2d(16, 16, 1),
        "velocity": nn.Conv2d(16, 16, 1),
        "teacher_encode": nn.Conv2d(3, 16, 8, stride=8),
        "teacher_decode": nn.ConvTranspose2d(16, 3, 8, stride=8),
    }
    velocity = parts["velocity"]
    given = {**parts, "velocity": lambda x, t: velocity(x)}
    if not pixels:
        given["teacher_decode"] = None
    return Networks(**given), parts


@pytest.mark.parametrize("pixels", [True, False])
def test_no_flows_gradient_reaches_encoder_and_mean(pixels):
    trained, parts = networks(pixels)
    clean, degraded = torch.rand(2, 4, 3, 32, 32)
    t, eps = torch.tensor([0.1, 0.3, 0.6, 0.9]), torch.randn(SHAPE)
    for part in ("teacher_encode", "teacher_decode"):
        parts[part].requires_grad_(False)
    loss = consistency.losses(trained, clean, degraded, t, eps, noise_std=0.1, segments=3, dt=0.05)
    loss.backward()
    gradient = parts["encode"].weight.grad.clone()
    assert parts["velocity"].weight.grad.abs().sum() > 0
    z, mean = consistency.latents(trained, clean, degraded)
    parts["encode"].zero_grad()
    nn.functional.mse_loss(mean, z).backward()
    assert torch.allclose(parts["encode"].weight.grad, gradient)
