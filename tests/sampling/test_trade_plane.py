"""The plane of distortion and perception: theory's curve, and pictures that lie on it."""

import pytest
import torch
from restoreflow.sampling import metrics
from restoreflow.sampling.trade_off import trade_off
from restoreflow.sampling.trade_plane import plane, points_of, pooled_texture, texture_distance

REALISMS = [0.0, 0.25, 0.5, 0.75, 1.0]


def sweep(faithful, lifelike):
    return torch.cat([trade_off(faithful, lifelike, realism) for realism in REALISMS])


@pytest.fixture
def found():
    """What the lifelike adds is of the true texture, and orthogonal to the faithful one's error."""
    ramp = torch.linspace(0.3, 0.6, 32).expand(2, 3, 32, 32)
    stripes = 0.02 * (1 - 2 * (torch.arange(32) % 2)).float()[:, None]
    half = torch.where(torch.arange(32) < 16, 1, -1)[:, None]
    truth, lifelike = ramp + stripes, ramp + half * stripes
    return plane(sweep(ramp, lifelike), REALISMS, truth, None)


def test_orthogonal_errors_lie_on_the_curve(found):
    assert found.rmse.shape == (5, 2) and found.curve.shape == (101, 2)
    for realism, distortion in zip(REALISMS, found.distortion, strict=True):
        assert found.curve[round(100 * realism), 0].item() == pytest.approx(distortion, rel=1e-5)
    assert found.distortion[0] == pytest.approx(255 * 0.02, rel=1e-4)
    assert found.distortion[4] == pytest.approx(255 * 0.02 * 2**0.5, rel=1e-4)


def test_the_curve_is_the_papers(found):
    """D(P) = D* + (P* - P)^2, in the measured units of both ends."""
    rmse, texture = found.curve.T
    least, most = rmse[0] ** 2, rmse[-1] ** 2
    share = (texture[0] - texture) / (texture[0] - texture[-1])
    assert torch.allclose(rmse**2, least + share**2 * (most - least), rtol=1e-9)


def test_points_are_measured_as_by_compare_to_reference():
    a, b, truth = (torch.rand(2, 3, 24, 24) for _ in range(3))
    found = plane(sweep(a, b), REALISMS, truth, None)
    assert found.texture[4].item() == pytest.approx(metrics.patch_w2(b, truth).mean().item())
    mse = metrics.mean_squared_error(a, truth).mean().item()
    assert found.distortion[0] == pytest.approx(255 * mse**0.5)


def test_without_a_reference_the_faithful_picture_is_the_measure():
    a, b, natural = torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24), torch.rand(3, 3, 40, 50)
    found = plane(sweep(a, b), REALISMS, None, natural)
    steps = [x / found.distortion[4] for x in found.distortion]
    assert steps == pytest.approx(REALISMS, abs=1e-5)
    expected = texture_distance(pooled_texture(b), pooled_texture(natural)).item()
    assert found.texture[4].item() == pytest.approx(expected, rel=1e-6)


def test_pooled_textures():
    x, y = torch.rand(1, 3, 40, 30), torch.rand(1, 3, 40, 30)
    for one, other in zip(pooled_texture(x.repeat(3, 1, 1, 1)), metrics.texture(x), strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    distance = texture_distance(metrics.texture(x), metrics.texture(y))
    assert distance.item() == pytest.approx(metrics.patch_w2(x, y).item(), rel=1e-9)


def test_no_curve_without_both_ends():
    points = torch.rand(2, 3, 16, 16)
    assert plane(points, [0.0, 0.5], points[:1], None).curve is None
    assert plane(points, [0.0, 1.0], points[:1], None).curve is None, "the truth is no trade-off"


def test_points_of_a_text():
    assert points_of(" 0, .25 0.5,1", 8) == [0, 0.25, 0.5, 1]
    for wrong in ("", "0.5", "a, b", "0, nan", "0, 1e9"):
        with pytest.raises(ValueError, match="two realisms|numbers from -1 to 2"):
            points_of(wrong, 8)
    with pytest.raises(ValueError, match="7 pictures cannot be shared out to 3 realisms"):
        points_of("0, 0.5, 1", 7)


def test_small_pictures_are_told():
    with pytest.raises(ValueError, match="patches of 8 px"):
        plane(torch.rand(2, 3, 4, 9), [0.0, 1.0], torch.rand(1, 3, 4, 9), None)


def test_something_to_compare_with_is_needed():
    with pytest.raises(ValueError, match="Wire a reference"):
        plane(torch.rand(2, 3, 16, 16), [0.0, 1.0], None, None)
    with pytest.raises(ValueError, match="one size"):
        plane(torch.rand(2, 3, 16, 16), [0.0, 1.0], torch.rand(1, 3, 16, 20), None)
