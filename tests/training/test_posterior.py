"""Posterior sampling and PMRF compared: equal in size and training, and both load."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from restoreflow.models import registry
from restoreflow.models.families.demo import conditioned
from restoreflow.models.networks.flow_unet import FlowUNet
from restoreflow.sampling import restore
from restoreflow.training import denoiser, fit, posterior, task

CPU = torch.device("cpu")
RECIPE = fit.Recipe(steps=3, rate=2e-3, clip=0.1, batch=2, crop=32, warm_up=1)
PLAN = posterior.Plan(4, 1, 64, 0, RECIPE)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for one another are slow on a busy machine, and these steps are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_only_steps_and_pictures_are_fewer_than_the_demos():
    own, demo = posterior.Plan(), denoiser.Plan()
    assert replace(own.flow, steps=0) == replace(demo.flow, steps=0)
    assert (own.side, own.seed) == (demo.side, demo.seed)


def test_only_the_first_layer_grows():
    plain, wide = FlowUNet().state_dict(), conditioned(FlowUNet(), 3).state_dict()
    larger = {name for name in plain if plain[name].shape != wide[name].shape}
    assert plain.keys() == wide.keys()
    assert larger == {"conv_in.weight"}


def test_it_learns_the_line_from_unit_noise_given_the_noisy_picture():
    pictures = torch.full((1, 32, 32, 3), 128, dtype=torch.uint8).numpy()
    recipe = fit.Recipe(steps=1, rate=0, clip=0, batch=64, crop=32)
    clean = 128 / 255

    def exact(planes, t, s):
        state, degraded = planes.chunk(2, 1)
        assert (degraded - clean).std().item() == pytest.approx(task.DEGRADATION_STD, rel=0.05)
        t = t[:, None, None, None]
        source = (state - t * clean) / (1 - t)
        assert source[t.flatten() < 0.9].std().item() == pytest.approx(1, rel=0.01)
        return clean - source

    generator = torch.Generator().manual_seed(0)
    assert posterior.posterior_loss(exact, pictures, recipe, CPU, generator) < 1e-4


def test_a_short_training_makes_two_flows_that_the_pack_loads(tmp_path: Path):
    out = tmp_path / "weights.safetensors"
    records = posterior.train(PLAN, tmp_path / "work", out, CPU, compile_flow=False)
    assert str(tmp_path) not in str(records)
    plans = [record["training"]["plan"] for record in records.values()]
    assert plans[0] == plans[1]
    pmrf = registry.load(tmp_path / "weights-pmrf.safetensors", registry.FLOW)
    flow = registry.load(out, registry.FLOW)
    assert (pmrf.origin, pmrf.condition, pmrf.noise_std) == ("mean", "none", task.SOURCE_STD)
    assert (flow.origin, flow.condition, flow.noise_std) == ("noise", "degraded", 1.0)
    assert flow.condition_channels == 3
    flow.cast(torch.float32)
    degraded, noise = torch.rand(1, 3, 20, 24), torch.randn(1, 3, 20, 24)
    one, other = (restore.sample(flow, y, noise, steps=2) for y in (degraded, 1 - degraded))
    assert one.shape == degraded.shape
    assert not torch.equal(one, other)
