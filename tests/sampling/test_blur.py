"""Blur by a known kernel."""

import math

import pytest
import torch
from restoreflow.sampling.blur import BORDERS, Blur, gaussian_kernel, motion_kernel
from scipy import ndimage

pytestmark = pytest.mark.usefixtures("random_state_untouched")

MODES = {"circular": "wrap", "reflect": "mirror"}
"""Ours -> SciPy's."""
KERNELS = [(1, 1), (3, 3), (5, 1), (7, 9), (4, 4), (2, 5), (6, 3)]


def uniform(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", KERNELS)
def test_it_is_scipys_convolution(border, size):
    kernel, x = uniform(*size), uniform(2, 3, 11, 14, seed=4)
    y = Blur("Blur", kernel, border).apply(x)
    # SciPy centres an even kernel at the same pixel, (h // 2, w // 2).
    for i, j in [(0, 0), (1, 2)]:
        expected = ndimage.convolve(
            x[i, j].numpy(), (kernel / kernel.sum()).numpy(), mode=MODES[border]
        )
        assert torch.allclose(y[i, j], torch.from_numpy(expected), rtol=0, atol=1e-13)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(4, 4), (4, 5), (3, 6)])
def test_a_point_becomes_the_kernel_around_its_centre(border, size):
    kernel, x = uniform(*size), torch.zeros(1, 3, 15, 17, dtype=torch.float64)
    x[..., 7, 8] = 1
    tall, wide = size
    top, left = 7 - tall // 2, 8 - wide // 2
    picture = Blur("Blur", kernel, border).apply(x)
    place = picture[0, 1, top : top + tall, left : left + wide]
    assert torch.allclose(place, kernel / kernel.sum(), rtol=0, atol=1e-14)
    assert abs(picture.sum().item() - 3) < 1e-12


@pytest.mark.parametrize("border", BORDERS)
def test_it_loses_no_light(border):
    blur = Blur("Blur", 7 * uniform(5, 4).float(), border)
    assert abs(blur.kernel.sum().item() - 1) < 1e-14 and blur.kernel.dtype == torch.float64
    grey = torch.full((1, 3, 9, 8), 0.3)
    assert torch.allclose(blur.apply(grey), grey, atol=1e-6)
    assert abs(blur.norm(grey) - 1) < (1e-5 if border == "circular" else 0.2)


@pytest.mark.parametrize("border", BORDERS)
def test_a_kernel_as_large_as_the_picture_is_allowed_and_a_larger_one_refused(border):
    x = uniform(1, 3, 5, 7)
    assert Blur("Blur", uniform(5, 7), border).apply(x).shape == x.shape
    blur = Blur("Camera shake", uniform(5, 9), border)
    for use in (blur.apply, blur.adjoint):
        with pytest.raises(
            ValueError,
            match="Camera shake: the kernel is 9 x 5 pixels, larger than the picture of 7 x 5; "
            "give a smaller kernel",
        ):
            use(x)


def test_an_even_kernel_as_large_as_the_picture_is_told_in_its_own_size():
    """It may be refused, since its centre makes it one pixel larger, but not under a false size."""
    blur = Blur("Blur", uniform(4, 4))
    try:
        assert blur.apply(uniform(1, 3, 4, 4)).shape == (1, 3, 4, 4)
    except ValueError as error:
        assert "the kernel is 4 x 4 pixels" in str(error)


@pytest.mark.parametrize(
    "kernel",
    [
        torch.tensor([[0.5, -0.1, 0.5]]),
        torch.tensor([[0.5, math.nan]]),
        torch.tensor([[math.inf, 1.0]]),
        torch.ones(1, 3, 3),
        torch.ones(3),
        torch.ones(0, 3),
    ],
    ids=["negative", "nan", "infinite", "three sides", "one side", "empty"],
)
def test_a_kernel_is_one_picture_of_light(kernel):
    with pytest.raises(ValueError, match="A blur kernel is one picture"):
        Blur("Blur", kernel)


def test_a_black_kernel_is_refused():
    with pytest.raises(ValueError, match="black all over; give one with light in it"):
        Blur("Blur", torch.zeros(3, 3))


def test_an_unknown_border_names_those_there_are():
    with pytest.raises(ValueError, match="one of reflect, circular; got zero"):
        Blur("Blur", torch.ones(3, 3), "zero")


def test_a_circular_blur_forgets_frequencies_that_it_loses():
    """Two equal pixels of eight lose the finest stripes: the inverse leaves them at zero."""
    blur = Blur("Blur", torch.tensor([[1.0, 1.0]]), "circular")
    x = uniform(1, 3, 6, 8)
    stripes = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64).expand_as(x)
    lost = (x * stripes).mean(-1, keepdim=True) * stripes
    assert lost.abs().max() > 0.01
    assert torch.allclose(blur.pseudo_inverse(blur.apply(x)), x - lost, rtol=0, atol=1e-12)


def test_sizes_and_precisions_do_not_mix_up():
    blur = Blur("Blur", uniform(3, 3), "circular")
    for height, width in [(9, 8), (8, 9), (9, 9), (9, 8)]:
        x = uniform(1, 3, height, width)
        expected = Blur("Blur", uniform(3, 3), "circular").apply(x)
        assert torch.equal(blur.apply(x), expected)
        single = blur.apply(x.float())
        assert single.dtype == torch.float32
        assert torch.allclose(single.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("std", [0.4, 1.0, 3.7])
def test_a_gaussian_kernel_has_its_std(std):
    kernel = gaussian_kernel(std)
    reach = kernel.shape[0] // 2
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    assert kernel.shape == (2 * math.ceil(4 * std) + 1,) * 2
    assert abs(kernel.sum().item() - 1) < 1e-14
    assert torch.equal(kernel, kernel.T) and torch.equal(kernel, kernel.flip(0))
    line = torch.exp(-(axis**2) / (2 * std**2))
    assert torch.allclose(kernel.sum(0), line / line.sum(), atol=1e-14)
    if std >= 1:
        assert abs((kernel.sum(0) * axis**2).sum().sqrt().item() / std - 1) < 2e-3


def test_a_motion_kernel_is_a_line_of_its_length_and_angle():
    level = motion_kernel(5, 0)
    middle = level.shape[0] // 2
    assert torch.allclose(level[middle, middle - 2 : middle + 3], torch.full((5,), 0.2).double())
    assert torch.allclose(level.sum(), torch.tensor(1.0).double())
    assert torch.allclose(motion_kernel(5, 90), level.T, atol=1e-15)
    assert torch.allclose(motion_kernel(5, 180), level, atol=1e-15)
    slanted = motion_kernel(9, 45)
    upper_right = slanted[: slanted.shape[0] // 2, slanted.shape[1] // 2 + 1 :].sum()
    assert upper_right > 0.35 and slanted[0, 0] == 0
    assert torch.allclose(slanted, slanted.flip(0, 1), atol=1e-15)
    point = motion_kernel(1, 77)
    assert point[point.shape[0] // 2, point.shape[1] // 2] == 1


@pytest.mark.parametrize("angle", [0, 13, 45, 90])
@pytest.mark.parametrize("length", [4, 12.5, 31])
def test_a_motion_kernel_spreads_like_an_even_motion(length, angle):
    kernel = motion_kernel(length, angle)
    axis = torch.arange(kernel.shape[0], dtype=torch.float64) - kernel.shape[0] // 2
    along = axis[None] * math.cos(math.radians(angle)) - axis[:, None] * math.sin(
        math.radians(angle)
    )
    assert abs((kernel * along**2).sum().sqrt().item() / (length / 12**0.5) - 1) < 0.1


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_a_gaussian_kernel_needs_a_width(std):
    with pytest.raises(ValueError, match="Gaussian blur must be above 0 pixels; got"):
        gaussian_kernel(std)


@pytest.mark.parametrize("length", [0.5, 0, math.nan, math.inf])
def test_a_motion_kernel_needs_a_length(length):
    with pytest.raises(ValueError, match="motion blur must be at least 1 pixel; got"):
        motion_kernel(length, 0)
