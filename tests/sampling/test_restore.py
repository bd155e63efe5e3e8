"""A restoration's laws: batches, tiles, seeds, sizes, masks."""

import pytest
import torch
from restoreflow.models.contracts import Domain, Flow, PosteriorMean
from restoreflow.sampling.noise import gaussian
from restoreflow.sampling.pieces import Machine
from restoreflow.sampling.restore import posterior_mean, sample
from restoreflow.sampling.trade_off import trade_off
from torch import nn


class Scale(nn.Module):
    """A stationary network that sees a pixel's neighbours."""

    def __init__(self, channels=3):
        super().__init__()
        self.mix = nn.Conv2d(channels, 3, 3, padding=1, padding_mode="replicate")

    def forward(self, x, t=None, s=None):
        out = self.mix(x)
        return out if t is None else out * (1 + t.view(-1, 1, 1, 1))


def memory(height, width, batch, dtype):
    return height * width * batch


def flow(**facts) -> Flow:
    network = Scale(3 + facts.get("condition_channels", 0)).requires_grad_(False)
    known = {"multiple": 8, "minimum": 16, "noise_std": 0.1, "steps": 5, "memory": memory}
    return Flow(name="Test", network=network, **{"predict": network, **known, **facts})


def mean(**facts) -> PosteriorMean:
    network = Scale().requires_grad_(False)
    known = {"name": "Test", "multiple": 8, "minimum": 16, "memory": memory, "predict": network}
    return PosteriorMean(network=network, **{**known, **facts})


def restored(part, image, seed=0, **settings):
    return sample(part, image, gaussian(image.shape[1:], seed, range(len(image))), **settings)


def test_a_picture_is_restored_alike_alone_and_in_a_batch():
    part, seed, batch = flow(), 2**64 - 1, torch.rand(3, 3, 21, 34)
    before = torch.get_rng_state()
    together = restored(part, batch, seed)
    assert torch.equal(torch.get_rng_state(), before)
    for i in range(3):
        alone = restored(part, batch[i : i + 1], (seed + i) % 2**64)
        assert (alone - together[i]).abs().max() < 1e-5
    assert not torch.equal(gaussian((1, 4, 4), 0, [0]), gaussian((1, 4, 4), 1, [0]))


@pytest.mark.parametrize("size", [(200, 150), (90, 301)])
def test_tiles_of_a_stationary_flow_are_the_whole(size):
    part, image = flow(), torch.rand(2, 3, *size)
    whole = restored(part, image)
    assert (restored(part, image, tile=64) - whole).abs().max() < 1e-5


def test_little_memory_changes_no_stationary_result():
    part, image = flow(), torch.rand(1, 3, 256, 256)
    little = Machine(free_bytes=lambda: 30_000)
    assert (restored(part, image, machine=little) - restored(part, image)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (64, 64)])
def test_any_size_comes_back_in_its_own(size):
    image = torch.rand(1, 3, *size)
    assert posterior_mean(mean(), image).shape == image.shape
    assert restored(flow(), image).shape == image.shape


def test_the_posterior_mean_is_clipped():
    part = mean()
    part.network.mix.weight.mul_(10)
    result = posterior_mean(part, torch.rand(2, 3, 16, 16))
    assert result.min() >= 0
    assert result.max() <= 1


def test_an_estimator_that_enlarges_is_brought_back():
    enlarge = nn.Upsample(scale_factor=4)
    part = mean(scale=4, predict=enlarge)
    image = torch.rand(1, 3, 21, 30)
    assert torch.allclose(posterior_mean(part, image), image, atol=1e-6)


def test_the_mask_keeps_the_rest_bit_for_bit():
    image = torch.rand(2, 3, 32, 40)
    mask = torch.zeros(1, 1, 32, 40)
    mask[..., 8:20, 8:20] = 1
    part = flow()
    result, everywhere = restored(part, image, mask=mask), restored(part, image)
    assert torch.equal(result[..., :8, :], image[..., :8, :])
    assert torch.equal(result[..., 8:20, 8:20], everywhere[..., 8:20, 8:20])


def test_stopping_early_takes_the_present_estimate():
    part, image = flow(), torch.rand(1, 3, 16, 16)
    steps = []
    full = restored(part, image, observe=steps.append)
    assert len(steps) == 5
    assert torch.equal(restored(part, image, stop_after=5), full)
    early = restored(part, image, stop_after=2)
    assert torch.equal(early, steps[1].clean.clamp(0, 1))
    assert torch.equal(restored(part, image, stop_after=9), full)


def test_no_source_noise_needs_no_seed():
    part, image = flow(), torch.rand(1, 3, 16, 16)
    one, other = (restored(part, image, seed, source_noise=0.0) for seed in (1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(restored(part, image, 1), restored(part, image, 2))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_condition_is_seen_at_every_step(channels):
    part = flow(origin="noise", condition="degraded", condition_channels=channels, noise_std=1.0)
    dark, light = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert not torch.equal(restored(part, dark), restored(part, light))


def test_weights_that_cannot_tell_their_noise_ask_for_it():
    with pytest.raises(ValueError, match="Test does not tell its source noise; set source_noise"):
        restored(flow(noise_std=None), torch.rand(1, 3, 16, 16))
    restored(flow(noise_std=None), torch.rand(1, 3, 16, 16), source_noise=0.1)


@pytest.mark.parametrize("times", ["segments", "two-time"])
def test_solvers_of_higher_order_are_refused_where_they_would_be_wrong(times):
    with pytest.raises(ValueError, match="only the solver euler is right; got heun"):
        restored(flow(times=times), torch.rand(1, 3, 16, 16), solver="heun")


@pytest.mark.parametrize("steps", [-1, 1001])
def test_steps_out_of_range(steps):
    with pytest.raises(ValueError, match="must lie in 1..1000"):
        restored(flow(), torch.rand(1, 3, 16, 16), steps=steps)


def test_a_latent_flow_is_refused_with_its_space():
    with pytest.raises(ValueError, match=r"Test works on latents of SD3 \(16 channels\); got 3"):
        restored(flow(domain=Domain(name="SD3", channels=16)), torch.rand(1, 3, 16, 16))


def test_latents_of_any_unit_follow_the_same_path():
    """An affine change of units changes nothing but the units; latents are not clipped."""
    wire, noise = 3 * torch.randn(2, 1, 4, 6, 5)
    own = Domain(name="own", channels=4)
    scaled = Domain(name="scaled", channels=4, scale=1.5, shift=0.25)
    field = {"predict": lambda x, t, s: x.sin(), "noise_std": 0.1}
    expected = sample(flow(domain=own, **field), scaled.to_network(wire), noise)
    result = sample(flow(domain=scaled, **field), wire, noise)
    assert torch.allclose(scaled.to_network(result), expected, atol=1e-5)
    assert result.abs().max() > 2


def test_negative_noise():
    with pytest.raises(ValueError, match=r"at least 0; got -0\.5"):
        restored(flow(), torch.rand(1, 3, 16, 16), source_noise=-0.5)


def test_the_knobs_ends_are_exact():
    faithful, lifelike = torch.rand(2, 1, 3, 9, 9)
    assert torch.equal(trade_off(faithful, lifelike, 0.0), faithful)
    assert torch.equal(trade_off(faithful, lifelike, 1.0), lifelike)
    assert torch.allclose(trade_off(faithful, lifelike, 0.25), 0.75 * faithful + 0.25 * lifelike)


def test_a_network_that_overflows_has_restored_nothing():
    part, image = flow(), torch.rand(1, 3, 16, 16)
    part.network.mix.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="not numbers in float32; its weights are damaged"):
        restored(part, image)
    broken = mean()
    broken.network.mix.weight.fill_(torch.inf)
    broken.cast(torch.bfloat16)
    with pytest.raises(ValueError, match="not numbers in bfloat16; choose float32"):
        posterior_mean(broken, image)


def test_noise_that_is_no_number():
    with pytest.raises(ValueError, match="at least 0; got nan"):
        restored(flow(), torch.rand(1, 3, 16, 16), source_noise=float("nan"))


def test_a_negative_stop():
    with pytest.raises(ValueError, match="stop_after must be 0 .all steps.* got -1"):
        restored(flow(), torch.rand(1, 3, 16, 16), stop_after=-1)


def test_the_knob_wants_two_versions_of_one_picture():
    with pytest.raises(ValueError, match="two versions of the same pictures"):
        trade_off(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9), 0.5)
