"""A training of a few steps: it learns, resumes to the same weights, and ships a loadable file."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from restoreflow.models import registry
from restoreflow.training import denoiser, fit, networks, task
from safetensors import safe_open
from torch import nn

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for one another are slow on a busy machine, and these steps are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def short(steps: int) -> fit.Recipe:
    return fit.Recipe(steps=steps, rate=2e-3, clip=0.1, batch=2, crop=32, warm_up=1)


PLAN = denoiser.Plan(4, 1, 64, 0, short(3), short(3), 2, short(2))


def brightness(generator: torch.Generator, net: nn.Module) -> torch.Tensor:
    """A loss that a linear map from noise to its own half can bring to zero."""
    x = torch.randn(8, 4, generator=generator)
    return (net(x) - x / 2).square().mean()


def run(path: Path, loss_of) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Linear(4, 4)
    recipe = fit.Recipe(steps=60, rate=0.05, clip=1.0, warm_up=5)
    return fit.fit(net, partial(loss_of, net=net), recipe, 1, path)[0]


def test_a_resumed_run_ends_where_the_unbroken_one_does(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fit, "SAVE_STEPS", 25)
    calls = []

    def interrupted(generator, net):
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return brightness(generator, net)

    whole = run(tmp_path / "whole.pt", brightness)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken.pt", interrupted)
    resumed = run(tmp_path / "broken.pt", brightness)
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.allclose(whole.weight, 0.5 * torch.eye(4), atol=0.05)


def test_the_schedule_warms_up_and_cools_down():
    recipe = fit.Recipe(steps=1000, rate=1.0, clip=1.0, warm_up=100)
    rates = [recipe.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == max(rates[95:105]) <= 1
    assert rates[-1] == pytest.approx(recipe.last_rate, rel=0.01)


def test_the_noise_is_the_task():
    clean = torch.full((1, 3, 200, 200), 0.5)
    noisy = task.degrade(clean, torch.Generator().manual_seed(0))
    assert (noisy - clean).std().item() == pytest.approx(25 / 255, rel=0.01)
    assert torch.allclose(255 * noisy, (255 * noisy).round(), atol=1e-4)


def test_the_line_runs_from_the_source_to_the_clean_picture():
    clean, mean = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    state, t, velocity = task.flow_batch(clean, mean, torch.Generator().manual_seed(0))
    t = t[:, None, None, None]
    assert torch.allclose(state + (1 - t) * velocity, clean, atol=1e-5)
    source = state - t * velocity - mean
    assert source.std().item() == pytest.approx(task.SOURCE_STD, rel=0.1)


def test_fast_norms_change_nothing():
    torch.manual_seed(0)
    net = networks.build_mean()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = net(x)
        keys = [*net.state_dict()]
        fast = networks.with_fast_norms(net)
        assert torch.allclose(fast(x), expected, atol=1e-4)
    assert [*fast.state_dict()] == keys


def test_a_short_training_ships_what_the_pack_loads(tmp_path: Path):
    out = tmp_path / "weights.safetensors"
    denoiser.train(PLAN, tmp_path / "work", out, CPU, compile_flow=False)
    first = out.read_bytes()
    denoiser.train(PLAN, tmp_path / "again", out, CPU, compile_flow=False)
    with safe_open(out, "pt") as file:
        record = json.loads(file.metadata()["restoreflow"])
        again = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    out.write_bytes(first)
    with safe_open(out, "pt") as file:
        assert all(torch.equal(tensor, file.get_tensor(key)) for key, tensor in again.items())
    assert record["training"]["plan"]["mean"]["steps"] == 3
    assert str(tmp_path) not in json.dumps(record)
    mean, flow = (registry.load(out, role) for role in (registry.POSTERIOR_MEAN, registry.FLOW))
    assert flow.noise_std == task.SOURCE_STD
    assert mean.scale == 1


def test_a_work_folder_belongs_to_one_plan(tmp_path: Path):
    denoiser.pin_plan(PLAN, tmp_path)
    denoiser.pin_plan(PLAN, tmp_path)
    with pytest.raises(SystemExit, match="another plan"):
        denoiser.pin_plan(denoiser.Plan(), tmp_path)
