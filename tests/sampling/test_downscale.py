"""Shrinking by a known filter, against the libraries whose filters these are."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from restoreflow.sampling.downscale import FILTERS, Downscale

pytestmark = pytest.mark.usefixtures("random_state_untouched")

PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
FACTORS = [2, 3, 4, 7, 16]


def uniform(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("factor", FACTORS)
def test_bicubic_is_torchs_antialiased_one(factor):
    x = uniform(2, 3, 5 * factor, 7 * factor)
    expected = F.interpolate(x, (5, 7), mode="bicubic", antialias=True, align_corners=False)
    assert torch.allclose(Downscale("Small", factor).apply(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", FACTORS)
def test_box_is_the_mean_of_each_block(factor):
    x = uniform(2, 3, 5 * factor, 7 * factor)
    y = Downscale("Small", factor, "box").apply(x)
    assert torch.allclose(y, F.avg_pool2d(x, factor), rtol=0, atol=1e-14)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("method", FILTERS)
def test_every_method_is_pillows(method, factor):
    x = uniform(1, 1, 5 * factor, 7 * factor).float()
    picture = Image.fromarray(x[0, 0].numpy(), mode="F").resize((7, 5), PILLOW[method])
    expected = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.float32).view(5, 7)
    y = Downscale("Small", factor, method).apply(x)[0, 0]
    assert torch.allclose(y, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", FILTERS)
def test_light_is_kept(method):
    grey = torch.full((1, 3, 12, 20), 0.3, dtype=torch.float64)
    y = Downscale("Small", 4, method).apply(grey)
    assert torch.allclose(y, torch.full_like(y, 0.3), atol=1e-14) and y.shape == (1, 3, 3, 5)


@pytest.mark.parametrize("method", FILTERS)
def test_its_pseudo_inverse_fits_exactly(method):
    """A has full rank: A A+ = 1."""
    operator, y = Downscale("Small", 3, method), uniform(2, 3, 5, 7)
    x = operator.pseudo_inverse(y)
    assert x.shape == (2, 3, 15, 21)
    assert torch.allclose(operator.apply(x), y, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(1, 1), (4, 10), (9, 7), (12, 16)])
def test_simulating_extends_other_sizes_by_reflection(size):
    x = uniform(2, 3, *size)
    height, width = size
    y = Downscale("Small", 4, "box").simulate(x, 0)
    assert y.shape == (2, 3, -(-height // 4), -(-width // 4))
    if size == (9, 7):
        whole = F.pad(x, (0, 1, 0, 3), mode="reflect")
        assert torch.allclose(y, F.avg_pool2d(whole, 4), atol=1e-14)


def test_the_operator_itself_refuses_other_sizes():
    with pytest.raises(ValueError, match="Small shrinks.* multiples of 4; got .*10"):
        Downscale("Small", 4).apply(torch.zeros(1, 3, 8, 10))


@pytest.mark.parametrize("factor", [0, 1, 17, -2])
def test_the_factor_has_its_range(factor):
    with pytest.raises(ValueError, match=f"The factor must lie in 2..16; got {factor}"):
        Downscale("Small", factor)


def test_an_unknown_method_names_those_there_are():
    with pytest.raises(ValueError, match="one of bicubic, lanczos, box; got mitchell"):
        Downscale("Small", 2, "mitchell")


def test_one_operator_serves_pictures_of_many_sizes():
    operator = Downscale("Small", 2, "lanczos")
    for size in [(8, 10), (10, 8), (2, 2), (8, 10)]:
        x = uniform(1, 3, *size)
        assert torch.equal(operator.apply(x), Downscale("Small", 2, "lanczos").apply(x))
        assert operator.prox(x.float(), operator.apply(x).float(), 2.0).dtype == torch.float32
