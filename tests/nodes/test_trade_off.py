import pytest
import torch


@pytest.fixture
def mix(nodes, host):
    return nodes.trade_off.TradeOff.execute


@pytest.fixture
def sweep(nodes, host):
    return nodes.trade_off.SweepTradeOff.execute


def pair(seed=0, alpha=False):
    random = torch.Generator().manual_seed(seed)
    return [torch.rand(2, 12, 10, 4 if alpha else 3, generator=random) for _ in range(2)]


def test_both_ends_are_exact(mix):
    faithful, lifelike = pair()
    assert torch.equal(mix(faithful, lifelike, 0.0)[0], faithful)
    assert torch.equal(mix(faithful, lifelike, 1.0)[0], lifelike)


@pytest.mark.parametrize("realism", [-1.0, 1.5, 2.0])
def test_extrapolated_pictures_stay_pictures(mix, realism):
    faithful, lifelike = pair()
    expected = (faithful + realism * (lifelike - faithful)).clamp(0, 1)
    torch.testing.assert_close(mix(faithful, lifelike, realism)[0], expected)


def test_a_limit_in_decibels_holds_the_knob_back(mix):
    faithful, lifelike = pair()
    mixed, used = mix(faithful, lifelike, 1.0, at_most=1.0)
    assert used == pytest.approx((10**0.1 - 1) ** 0.5)
    torch.testing.assert_close(mixed, torch.lerp(faithful, lifelike, used))
    assert mix(faithful, lifelike, 0.2, at_most=1.0)[1] == pytest.approx(0.2)


def test_a_known_psnr_makes_the_limit_exact(mix):
    """A posterior mean that is off by e in a place that the lifelike picture leaves alone."""
    clean = torch.full((1, 8, 8, 3), 0.5)
    faithful, lifelike = clean.clone(), clean.clone()
    faithful[:, :4] += 0.1
    lifelike[:, :4] += 0.1
    lifelike[:, 4:] += 0.2
    error = (faithful - clean).square().mean()
    mixed, _ = mix(faithful, lifelike, 2.0, at_most=1.5, faithful_psnr=-10 * error.log10().item())
    lost = 10 * ((mixed - clean).square().mean() / error).log10().item()
    assert lost == pytest.approx(1.5, abs=1e-4)


def test_the_limit_holds_on_either_side(mix):
    faithful, lifelike = pair()
    one, other = (mix(faithful, lifelike, side, at_most=0.5)[1] for side in (1.0, -1.0))
    assert -other == pytest.approx(one)


def test_equal_pictures_have_no_limit(mix):
    faithful, _ = pair()
    mixed, used = mix(faithful, faithful, 0.7, at_most=0.5, faithful_psnr=30.0)
    assert torch.equal(mixed, faithful)
    assert used == pytest.approx(0.7)


def test_a_sweep_is_many_trade_offs(mix, sweep):
    faithful, lifelike = pair(alpha=True)
    images, sheet, realisms = sweep(faithful, lifelike, " 0, .5,1 1.5")
    assert realisms == "0, 0.5, 1, 1.5"
    assert images.shape == (8, 12, 10, 4)
    for number, realism in enumerate((0.0, 0.5, 1.0, 1.5)):
        assert torch.equal(images[2 * number :][:2], mix(faithful, lifelike, realism)[0])
    assert sheet.shape[0] == 1 and sheet.shape[2:] == (40, 3)


def test_a_sheet_of_large_pictures_is_small(sweep):
    large = torch.rand(1, 1500, 1100, 3)
    assert max(sweep(large, large, "0, 1")[1].shape[1:3]) < 1100


@pytest.mark.parametrize("text", ["", "a, b", "0, 3", "nan"])
def test_what_is_no_realism_is_told(sweep, text):
    with pytest.raises(ValueError, match="Realisms are numbers from -1 to 2"):
        sweep(*pair(), text)
