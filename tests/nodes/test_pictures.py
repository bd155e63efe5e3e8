"""Pictures of every kind through the nodes: grey, with alpha, tiny, broken, masked."""

import pytest
import torch
from restoreflow.models.contracts import Flow
from restoreflow.models.networks.flow_unet import FlowUNet
from restoreflow.sampling.presets import PRESETS


@pytest.fixture
def parts(weights):
    return (
        weights.load(weights.DEMO, "posterior mean", "auto"),
        weights.load(weights.DEMO, "flow", "auto"),
    )


@pytest.fixture
def restore(nodes, parts):
    """The template's graph on an IMAGE."""

    def run(image, **settings):
        mean, flow = parts
        faithful = nodes.restore.PosteriorMean.execute(mean, image).args[0]
        known = {"seed": 0, "steps": 2, "source_noise": -1.0, "solver": "euler"}
        return nodes.restore.SampleImage.execute(flow, faithful, **{**known, **settings}).args[0]

    return run


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (33, 47), (64, 64)])
def test_sizes(restore, size):
    assert restore(torch.rand(2, *size, 3)).shape == (2, *size, 3)


def test_alpha_is_carried_aside(restore):
    image = torch.rand(1, 32, 40, 4)
    result = restore(image)
    assert torch.equal(result[..., 3], image[..., 3])
    assert torch.equal(result[..., :3], restore(image[..., :3]))


def test_one_channel_becomes_three(restore):
    grey = torch.rand(1, 32, 40, 1)
    assert torch.equal(restore(grey), restore(grey.expand(-1, -1, -1, 3)))


def test_inputs_are_not_changed(restore):
    image = torch.rand(1, 32, 40, 4)
    before = image.clone()
    restore(image, mask=torch.ones(1, 32, 40))
    assert torch.equal(image, before)


def test_half_precision_pictures(restore):
    assert restore(torch.rand(1, 16, 16, 3).half()).dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(restore, value):
    image = torch.rand(1, 16, 16, 3)
    image[0, 3, 3, 1] = value
    with pytest.raises(ValueError, match="The picture holds values that are not numbers"):
        restore(image)


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 16, 16, 2), (0, 16, 16, 3), (1, 0, 16, 3)])
def test_what_is_no_picture(restore, shape):
    with pytest.raises(ValueError, match="must be an IMAGE of 1, 3 or 4 channels"):
        restore(torch.rand(shape))


def test_the_mask_is_fitted_and_keeps_the_rest(restore, nodes, parts):
    image = torch.rand(2, 64, 64, 3)
    mask = torch.zeros(1, 32, 32)
    mask[:, 16:] = 1
    faithful = nodes.restore.PosteriorMean.execute(parts[0], image).args[0]
    result = restore(image, mask=mask)
    assert torch.equal(result[:, :31], faithful[:, :31])
    assert torch.equal(result[:, 33:], restore(image)[:, 33:])


def test_too_few_masks(restore):
    with pytest.raises(ValueError, match="Give one mask, or one a picture; got 2 masks for 3"):
        restore(torch.rand(3, 16, 16, 3), mask=torch.ones(2, 16, 16))


def test_trade_off_wants_two_versions_of_one_picture(nodes):
    small, large = torch.rand(1, 8, 8, 3), torch.rand(1, 8, 9, 3)
    with pytest.raises(ValueError, match=r"two versions of the same pictures; got \[1, 3, 8, 8\]"):
        nodes.trade_off.TradeOff.execute(small, large, 0.5)


def test_trade_off_takes_pictures_of_any_precision_and_keeps_alpha(nodes):
    faithful, lifelike = torch.rand(1, 8, 8, 4), torch.rand(1, 8, 8, 3).half()
    result = nodes.trade_off.TradeOff.execute(faithful, lifelike, 1.0).args[0]
    assert torch.equal(result[..., :3], lifelike.float())
    assert torch.equal(result[..., 3], faithful[..., 3])
    with pytest.raises(ValueError, match="The lifelike picture holds values that are not numbers"):
        nodes.trade_off.TradeOff.execute(faithful, lifelike * torch.nan, 0.5)


def test_a_mask_that_holds_no_numbers(restore):
    with pytest.raises(ValueError, match="The mask holds values that are not numbers"):
        restore(torch.rand(1, 16, 16, 3), mask=torch.full((1, 16, 16), torch.nan))


def test_the_global_random_state_is_untouched(restore, nodes):
    image = torch.rand(1, 16, 16, 3)
    before = torch.get_rng_state()
    degradation = next(iter(PRESETS.values()))
    nodes.degrade.ApplyDegradation.execute(degradation, image, 2**64 - 1)
    restore(image, seed=2**64 - 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def little_memory(monkeypatch) -> list[int]:
    """150 MB are free; what the process has taken since, at every call of a network."""
    import comfy.model_management as mm
    import psutil

    process, taken = psutil.Process(), []
    before = process.memory_info().rss
    monkeypatch.setattr(mm, "get_free_memory", lambda *_: 150 * 2**20)
    monkeypatch.setattr(
        mm,
        "throw_exception_if_processing_interrupted",
        lambda: taken.append(process.memory_info().rss - before),
    )
    return taken


def test_a_photo_of_20_megapixels_on_little_memory(nodes, little_memory):
    from spandrel import ModelLoader
    from spandrel.architectures.Compact import Compact

    network = ModelLoader().load_from_state_dict(
        Compact(num_feat=48, num_conv=1, upscale=1).state_dict()
    )
    image = torch.rand(1, 3648, 5472, 3)
    result = nodes.restore.PosteriorMean.execute(network, image).args[0]
    assert result.shape == image.shape
    assert len(little_memory) > 50  # tiles
    assert max(little_memory) < 1.2e9  # padded picture, canvas, its weights and one tile


def test_the_flow_on_a_photo_of_20_megapixels_on_little_memory(nodes, little_memory):
    network = FlowUNet(widths=(4, 4), depths=(1, 1)).requires_grad_(False)
    flow = Flow(
        name="Small",
        network=network,
        predict=network,
        memory=lambda height, width, batch, dtype: height * width * batch * 40,
        multiple=4,
        noise_std=0.05,
    )
    image = torch.rand(1, 3648, 5472, 3)
    result = nodes.restore.SampleImage.execute(flow, image, 0, 1, -1.0, "euler").args[0]
    assert result.shape == image.shape
    assert len(little_memory) > 8  # tiles
    assert max(little_memory) < 2.5e9  # noise, state, velocity, canvas: some 240 MB each
