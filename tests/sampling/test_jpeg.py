"""JPEG: the file, its differentiable copy, and the cells that a file leaves open."""

import io

import pytest
import torch
from PIL import Image
from restoreflow.sampling.jpeg import JPEG, SUBSAMPLING, compressed, pixels, spectra
from restoreflow.sampling.operators import unexplained

pytestmark = pytest.mark.usefixtures("random_state_untouched")

ANNEX_K = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""ITU-T T.81, table K.1: luma, rows are vertical frequencies."""
COLOUR = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
"""Table K.2; 99 beyond these corners."""
SIZES = [(32, 48), (37, 61), (16, 16)]
"""The second fills no whole number of blocks."""
TINY = [(8, 8), (17, 1), (1, 1), (3, 5)]
"""Without a whole block of colour."""

coded = pytest.mark.parametrize("subsampling", SUBSAMPLING)
quality = pytest.mark.parametrize("quality", [10, 50, 90])


def scene(*size: int) -> torch.Tensor:
    """[2, 3, H, W] of soft colours within the range, so that nothing is clipped."""
    rows, columns = torch.meshgrid(*(torch.arange(side) / 9 for side in size), indexing="ij")
    waves = [torch.sin(k * rows + columns) * torch.cos(columns - k) for k in (1, 2, 3)]
    x = 0.5 + 0.2 * torch.stack(waves)
    return torch.stack([x, 1 - x.flip(0)])


def rms(x: torch.Tensor) -> float:
    return x.square().mean().sqrt().item()


@pytest.mark.parametrize("quality", [1, 7, 25, 50, 75, 92, 100])
def test_the_tables_are_libjpegs(quality):
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    colour = torch.full((8, 8), 99)
    colour[:4, :4] = torch.tensor(COLOUR)
    luma, *colours = JPEG("JPEG", quality).tables
    for table, whole in [(luma, torch.tensor(ANNEX_K)), *((one, colour) for one in colours)]:
        expected = ((whole * scale + 50) // 100).clamp(1, 255)
        assert torch.equal((table * 255).round().long(), expected)


@coded
@quality
@pytest.mark.parametrize("size", SIZES)
def test_the_copy_is_near_the_file(subsampling, quality, size):
    """libjpeg computes with integers: here and there a coefficient falls into the next cell.

    Measured in whole blocks: up to 0.009 rms, beside a loss of 0.006 (quality 90) to 0.05.
    """
    x = scene(*size)
    operator = JPEG("JPEG", quality, subsampling)
    y = torch.stack([compressed(one, quality, subsampling) for one in x])
    assert torch.equal(operator.simulate(x, 0), y)
    whole = operator.whole_blocks
    apart, loss = (rms(whole(operator.apply(x) - y)), rms(whole(x - y)))
    assert apart < 0.01
    if quality < 90:
        assert apart < 0.5 * loss


@coded
@quality
@pytest.mark.parametrize("size", SIZES)
def test_a_file_leaves_nothing_of_itself_and_little_of_the_truth(subsampling, quality, size):
    """Of the truth: 8-bit rounding; what fills no block, its whole loss."""
    x = scene(*size)
    operator = JPEG("JPEG", quality, subsampling)
    y = operator.simulate(x, 0)
    assert unexplained(operator, y, y).max() == 0
    whole = [operator.whole_blocks(one) for one in (x, y)]
    assert unexplained(operator, *whole).max() < 1 / 255
    assert (unexplained(operator, x.flip(0), y) > 2 * unexplained(operator, x, y)).all()
    assert unexplained(operator, x.flip(0), y).min() > 5 / 255


@pytest.mark.parametrize("size", TINY)
def test_pixels_in_no_block_are_held_loosely(size):
    """By half of the coarsest mean: 40 of 255 at quality 10."""
    x = scene(*size)
    operator = JPEG("JPEG", 10, "4:2:0")
    y = operator.simulate(x, 0)
    assert torch.equal(operator.apply(x), x)
    assert unexplained(operator, x, y).max() < 0.01
    assert unexplained(operator, y + 39 / 255, y).max() < 1e-7
    assert unexplained(operator, y + 50 / 255, y).min() > 9.9 / 255


def test_what_lies_in_the_cells_fits_as_well_as_the_file():
    operator = JPEG("JPEG", 20, "4:4:4")
    y = operator.simulate(scene(32, 32), 0)
    assert (operator.apply(y) - y).abs().max() < 0.02
    x = operator.prox(torch.full_like(y, 0.5), y, 1e6)
    before, after = (unexplained(operator, one, y) for one in (torch.full_like(y, 0.5), x))
    assert (after < 0.05 * before).all()
    assert (x - y).square().mean() > 1e-4


def test_the_derivative_takes_rounding_as_none():
    operator = JPEG("JPEG", 10, "4:4:4")
    x = scene(16, 24).double().requires_grad_(True)
    direction = torch.sin(torch.arange(x.numel()).double()).view_as(x)
    (slope,) = torch.autograd.grad(operator.apply(x), x, direction)
    assert torch.allclose(slope, direction, atol=1e-6)
    assert not torch.allclose(operator.apply(x), x, atol=1e-2)


@pytest.mark.parametrize("size", [(17, 17), (40, 24), (1080 // 8, 20)])
def test_the_prox_converges_for_pictures_that_are_not_whole_blocks(size):
    operator = JPEG("JPEG", 30)
    y = operator.measured(operator.simulate(scene(*size), 0))
    z = torch.full(operator.domain(y.shape), 0.5)
    x = operator.prox(z, y, 1e4)
    assert x.min() > -1 and x.max() < 2
    assert (unexplained(operator, x, y) < 0.5 * unexplained(operator, z, y)).all()


def test_a_grey_measurement_is_that_of_three_equal_channels():
    x = scene(16, 16)[:, :1]
    operator = JPEG("JPEG", 30)
    assert torch.equal(operator.apply(x), operator.apply(x.expand(-1, 3, -1, -1)))
    assert torch.equal(operator.draw(x, 0), operator.simulate(x.expand(-1, 3, -1, -1), 0))
    assert (operator.apply(x) - operator.apply(x).mean(1, keepdim=True)).abs().max() < 1e-6


def test_the_cosine_transform_is_orthonormal_and_inverted():
    x = scene(16, 24)[:, :1].double()
    coefficients = spectra(x)
    assert coefficients.shape == (2, 1, 2, 3, 8, 8)
    assert torch.allclose(coefficients.square().sum(), x.square().sum())
    assert torch.allclose(coefficients[..., 0, 0], 8 * torch.nn.functional.avg_pool2d(x, 8))
    assert torch.allclose(pixels(coefficients), x, atol=1e-14)
    upright = spectra((torch.arange(16) / 16.0).view(1, 1, 16, 1).expand(1, 1, 16, 16))
    assert upright[..., 1:, 0].abs().max() > 0.1 and upright[..., 1:].abs().max() < 1e-6


@coded
def test_the_file_is_what_pillow_writes(subsampling):
    x = scene(19, 23)[0]
    levels = (x * 255).round().byte().permute(1, 2, 0).contiguous()
    file = io.BytesIO()
    Image.fromarray(levels.numpy()).save(file, "JPEG", quality=35, subsampling=subsampling)
    with Image.open(file) as opened:
        expected = torch.frombuffer(bytearray(opened.convert("RGB").tobytes()), dtype=torch.uint8)
    y = compressed(x, 35, subsampling)
    assert torch.equal((y * 255).round().byte(), expected.view(19, 23, 3).permute(2, 0, 1))
    beyond = compressed(4 * x - 1, 35, subsampling)
    assert torch.equal(beyond, compressed((4 * x - 1).clamp(0, 1), 35, subsampling))


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_the_quality_has_its_range(quality):
    with pytest.raises(ValueError, match=f"The quality must lie in 1..100; got {quality}"):
        JPEG("JPEG", quality)


def test_an_unknown_subsampling_names_those_there_are():
    with pytest.raises(ValueError, match="one of 4:2:0, 4:4:4; got 4:2:2"):
        JPEG("JPEG", 80, "4:2:2")
