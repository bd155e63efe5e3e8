"""PMRF's published methods through the nodes, beside their loops as the paper has them."""

from pathlib import Path

import pytest
import torch
from fakes import published_mean_names, tiny_flow, tiny_mean
from restoreflow.models.checkpoint import WeightsError
from restoreflow.sampling.noise import gaussian
from torch import Tensor, nn

STEPS, SEED = 3, 5
NOISE_STD = 0.1
FILE = "epoch.ckpt"


@pytest.fixture
def degraded() -> Tensor:
    """Two pictures [2, 3, 64, 64]."""
    return torch.rand(2, 3, 64, 64)


def write(folder: Path, trained: nn.Module, mean: nn.Module | None = None, **settings) -> None:
    """A Lightning checkpoint as the controlled experiments left it."""
    networks = {"model.": trained, **({"mmse_model.": mean} if mean else {})}
    state = {
        prefix + name: tensor
        for prefix, network in networks.items()
        for name, tensor in published_mean_names(network).items()  # a flow's stay as they are
    }
    content = {
        "state_dict": state,
        "hyper_parameters": {"mmse_noise_std": NOISE_STD, "eps": 0.0, **settings},
        "ema": {"shadow_params": [parameter.detach() for parameter in trained.parameters()]},
    }
    torch.save(content, folder / FILE)


def gentle_flow(channels: int = 3) -> nn.Module:
    """One that keeps most pixels within [0, 1], where clipping hides nothing."""
    flow = tiny_flow(channels)
    nn.init.normal_(flow.patch_out.proj.weight, std=0.005)
    return flow


def by_hand(network: nn.Module, x: Tensor, condition: Tensor | None = None) -> Tensor:
    """Euler's steps from the state at t = 0, then clipped."""
    for i in range(STEPS):
        t = torch.full([len(x)], i / STEPS)
        seen = x if condition is None else torch.cat([x, condition], dim=1)
        x = x + network(seen, t) / STEPS
    return x.clamp(0, 1)


@pytest.fixture
def sample(nodes):
    """The flow of the file, loaded and sampled from a picture [B, 3, H, W]; the calls it took."""

    def run(image: Tensor) -> tuple[Tensor, int]:
        flow = nodes.load.LoadFlow.execute(FILE, "float32").args[0]
        calls = count_calls(flow.network)
        settings = (SEED, STEPS, -1.0, "euler")
        result = nodes.restore.SampleImage.execute(flow, image.movedim(1, -1), *settings).args[0]
        return result.movedim(-1, 1), len(calls)

    return run


@pytest.fixture
def estimate(nodes):
    """The posterior mean of a picture by the file, and the calls it took so far."""

    def run(image: Tensor) -> tuple[Tensor, list]:
        part = nodes.load.LoadPosteriorMean.execute(FILE, "float32").args[0]
        calls = count_calls(part.network)
        result = nodes.restore.PosteriorMean.execute(part, image.movedim(1, -1)).args[0]
        return result.movedim(-1, 1), calls

    return run


def count_calls(network: nn.Module) -> list[None]:
    """Grows by one at every call of the network."""
    calls = []
    network.register_forward_hook(lambda *_: calls.append(None))
    return calls


@pytest.fixture
def noise(degraded) -> Tensor:
    return gaussian(degraded.shape[1:], SEED, range(len(degraded)))


@torch.inference_mode()
def test_pmrf_starts_from_the_posterior_mean(weights_folder, degraded, noise, estimate, sample):
    flow, mean = gentle_flow(), tiny_mean()
    write(weights_folder, flow, mean, stage="flow", mmse_model_arch="swinir_M")
    faithful, _ = estimate(degraded)
    lifelike, _ = sample(faithful)
    expected = mean(degraded).clamp(0, 1)
    assert torch.allclose(faithful, expected, atol=1e-6)
    assert torch.allclose(lifelike, by_hand(flow, expected + NOISE_STD * noise), atol=1e-5)


@torch.inference_mode()
def test_conditioned_on_the_posterior_mean_computes_it_once(
    weights_folder, degraded, noise, estimate, sample
):
    flow, mean = gentle_flow(6), tiny_mean()
    settings = {"stage": "flow", "conditional": True, "mmse_model_arch": "swinir_M"}
    write(weights_folder, flow, mean, **settings)
    faithful, mean_calls = estimate(degraded)
    lifelike, flow_calls = sample(faithful)
    expected = by_hand(flow, noise, mean(degraded).clamp(0, 1))
    assert torch.allclose(lifelike, expected, atol=1e-5)
    assert (len(mean_calls), flow_calls) == (1, STEPS)


@torch.inference_mode()
@pytest.mark.parametrize("channels", [6, 4], ids=["colour", "grey"])
def test_conditioned_on_the_degraded_picture(weights_folder, degraded, noise, sample, channels):
    flow = gentle_flow(channels)
    settings = {"stage": "flow", "conditional": True, "colorization": channels == 4}
    write(weights_folder, flow, **settings)
    y = degraded if channels == 6 else degraded.mean(1, keepdim=True)
    lifelike, _ = sample(y.expand_as(degraded))
    assert torch.allclose(lifelike, by_hand(flow, noise, y), atol=1e-5)


@torch.inference_mode()
def test_the_naive_flow_starts_from_the_degraded_picture(weights_folder, degraded, noise, sample):
    flow = gentle_flow()
    write(weights_folder, flow, stage="naive_flow")
    lifelike, _ = sample(degraded)
    assert torch.allclose(lifelike, by_hand(flow, degraded + NOISE_STD * noise), atol=1e-5)


@torch.inference_mode()
def test_the_posterior_mean_alone(weights_folder, degraded, nodes, estimate):
    mean = tiny_mean()
    write(weights_folder, mean, stage="mmse")
    faithful, _ = estimate(degraded)
    assert torch.allclose(faithful, mean(degraded).clamp(0, 1), atol=1e-6)
    with pytest.raises(WeightsError, match=r"epoch\.ckpt holds the posterior mean .* but no flow"):
        nodes.load.LoadFlow.execute(FILE)
