"""Laws over every degradation: the presets, the operators, and chains of them."""

import math

import pytest
import torch
from restoreflow.sampling.blur import Blur, motion_kernel
from restoreflow.sampling.chain import Chain
from restoreflow.sampling.degradations import SuperResolution
from restoreflow.sampling.downscale import FILTERS, Downscale
from restoreflow.sampling.jpeg import JPEG
from restoreflow.sampling.noise import gaussian
from restoreflow.sampling.operators import (
    Degradation,
    GaussianNoise,
    Operator,
    conjugate_gradients,
    estimated_noise,
    noise_like,
    unexplained,
)
from restoreflow.sampling.pointwise import GREYS, Clipping, Greying, RandomMasking, masking
from restoreflow.sampling.presets import PRESETS, preset

pytestmark = pytest.mark.usefixtures("random_state_untouched")

SIZE = (9, 15)
BLOCKS = (48, 96)
"""Whole blocks of JPEG's, even after shrinking by 3."""
WEIGHTS = [0.03, 1.0, 40.0]
NOISE = GaussianNoise("Noise", 0.1)


def uniform(*shape: int, seed: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def normal(*shape: int, seed: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mask():
    return masking("Mask", (uniform(1, 1, *SIZE) > 0.6).float())


def blur(border: str = "reflect", tall: int = 5, wide: int = 3) -> Blur:
    return Blur("Blur", uniform(tall, wide), border)


DIRECT = {
    "noise": lambda: GaussianNoise("Noise", 0.1),
    "circular blur": lambda: blur("circular"),
    "circular blur, even kernel": lambda: blur("circular", 4, 6),
    "mask": mask,
    "random mask": lambda: RandomMasking("Missing", 0.4, 11),
    **{way: lambda way=way: Greying("Grey", GREYS[way]) for way in GREYS},
    **{method: lambda method=method: Downscale("Small", 3, method) for method in FILTERS},
    "blur, noise": lambda: Chain([blur("circular"), NOISE]),
    "noise, box, noise": lambda: Chain([NOISE, Downscale("Small", 3, "box"), NOISE]),
    "PMRF colorization": lambda: PRESETS["Grey and noise 0.25 (PMRF colorization)"],
}
"""Linear ones with a closed proximal step."""
ITERATED = {
    "blur": blur,
    "blur, even kernel": lambda: blur("reflect", 4, 6),
    "blur, downscale": lambda: Chain([blur(), Downscale("Small", 3)]),
    "mask, blur": lambda: Chain([mask(), blur("circular"), NOISE]),
    "blur, mask": lambda: Chain([blur(), RandomMasking("Missing", 0.4, 11)]),
    "downscale, grey": lambda: Chain([NOISE, Downscale("Small", 3), Greying("Grey")]),
    "grey, blur, downscale": lambda: Chain([Greying("Grey"), blur(), Downscale("Small", 3)]),
    "PMRF super-resolution, odd factor": lambda: SuperResolution("Small", factor=3),
    "PMRF super-resolution": lambda: SuperResolution("Small"),
}
"""Linear ones whose proximal step is conjugate gradients."""
LINEAR = DIRECT | ITERATED
BENT = {
    "clipping": lambda: Clipping("Clipped", 1.7),
    "JPEG 4:2:0": lambda: JPEG("JPEG", 30),
    "JPEG 4:4:4": lambda: JPEG("JPEG", 80, "4:4:4"),
    "clipping, noise": lambda: Chain([Clipping("Clipped", 1.7), NOISE]),
    "blur, clipping": lambda: Chain([blur(), Clipping("Clipped", 1.7)]),
    "grey, clipping": lambda: Chain([Greying("Grey"), Clipping("Clipped", 1.2), NOISE]),
    "downscale, noise, JPEG": lambda: Chain([Downscale("Small", 3), NOISE, JPEG("JPEG", 40)]),
    "mask, grey, JPEG": lambda: Chain(
        [RandomMasking("Missing", 0.4, 11), Greying("Grey"), JPEG("JPEG", 40)]
    ),
}
"""Those that are not linear, none of which rounds or clips before its last part."""
ALL = LINEAR | BENT

linear = pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)
bent = pytest.mark.parametrize("make", BENT.values(), ids=BENT)
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def clean_shape(operator: Operator, batch: int, size: tuple[int, int] = SIZE) -> torch.Size:
    """Of clean pictures of the operator, of this size where it takes such."""
    degraded = operator.simulate(torch.zeros(batch, 3, *size), 0)
    return operator.domain(operator.measured(degraded).shape)


def norms(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).norm(dim=1)


def products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).flatten(1).sum(1)


@linear
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_adjoint_is_the_transpose(make, dtype, bound):
    operator = make()
    for seed in range(5):
        u = normal(*clean_shape(operator, 3), seed=seed, dtype=dtype)
        image = operator.apply(u)
        v = normal(*image.shape, seed=seed + 100, dtype=dtype)
        pulled = operator.adjoint(v)
        assert pulled.shape == u.shape and pulled.dtype == image.dtype == dtype
        error = (products(image, v) - products(u, pulled)).abs()
        assert (error <= bound * norms(image) * norms(v)).all()


@linear
def test_it_is_linear(make):
    operator = make()
    u, v = (normal(*clean_shape(operator, 2), seed=seed) for seed in (1, 2))
    together = operator.apply(0.3 * u - 1.7 * v)
    assert operator.linear
    assert torch.allclose(
        together, 0.3 * operator.apply(u) - 1.7 * operator.apply(v), rtol=0, atol=1e-12
    )


@linear
def test_the_pseudo_inverse_projects(make):
    """A A+ A = A, and A+ A is symmetric: what A cannot see stays zero."""
    operator = make()
    bound = 1e-10 if make in DIRECT.values() else 1e-3
    u, v = (normal(*clean_shape(operator, 2), seed=seed) for seed in (1, 2))
    image = operator.apply(u)
    inverse = operator.pseudo_inverse(image)
    assert (norms(operator.apply(inverse) - image) <= bound * norms(image)).all()
    other = operator.pseudo_inverse(operator.apply(v))
    error = (products(inverse, v) - products(u, other)).abs()
    assert (error <= 5 * bound * norms(u) * norms(v)).all()


@linear
@pytest.mark.parametrize(
    "weight", [*WEIGHTS, torch.tensor([0.1, 3.0, 0.0]).double().view(3, 1, 1, 1)]
)
def test_the_prox_solves_its_problem(make, weight):
    operator = make()
    z = normal(*clean_shape(operator, 3), seed=1)
    y = operator.apply(normal(*z.shape, seed=2))
    y = y + operator.measured(operator.pictured(normal(*y.shape)))
    x = operator.prox(z, y, weight)
    assert x.dtype == torch.float64 and x.shape == z.shape
    left = weight * operator.adjoint(operator.apply(x) - y) + (x - z)
    right = weight * operator.adjoint(operator.apply(z) - y)
    # Conjugate gradients stop early where the weight makes them slow.
    bound = (
        1e-12 if make in DIRECT.values() else 2e-6 if torch.as_tensor(weight).max() < 5 else 2e-3
    )
    assert (norms(left) <= bound * norms(right) + 1e-12).all()


@linear
def test_the_prox_in_single_precision_is_that_in_double(make):
    operator = make()
    z, clean = (uniform(*clean_shape(operator, 2), seed=seed) for seed in (1, 2))
    y = operator.apply(clean)
    exact = operator.prox(z, y, 3.0)
    assert (operator.prox(z.float(), y.float(), 3.0) - exact).abs().max() < 1e-4


@linear
def test_the_norm_is_the_largest_singular_value(make):
    operator = make()
    shape = clean_shape(operator, 1)
    pixels = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    columns = [operator.apply(pixel).flatten() for pixel in pixels]
    largest = torch.linalg.svdvals(torch.stack(columns, dim=1))[0]
    assert 0.98 * largest <= operator.norm(pixels[0]) <= (1 + 1e-6) * largest


@bent
def test_the_gradient_is_the_slope_of_the_misfit(make):
    operator = make()
    x, clean = (uniform(*clean_shape(operator, 2), seed=seed) for seed in (1, 2))
    x = 1.6 * x - 0.3
    y = operator.measured(operator.simulate(clean, 0))

    def misfit(x):
        return operator.pull(x, y).square().sum() / 2

    slope = operator.gradient(x, y)
    assert slope.shape == x.shape and slope.abs().max() > 1e-4
    for seed in range(5):
        step = 1e-6 * normal(*x.shape, seed=seed)
        measured = (misfit(x + step) - misfit(x - step)) / 2
        assert torch.isclose(measured, (slope * step).sum(), rtol=1e-4, atol=1e-12)


@bent
@pytest.mark.parametrize("size", [SIZE, BLOCKS], ids=["odd", "blocks"])
@pytest.mark.parametrize("weight", [*WEIGHTS, torch.tensor([0.1, 3.0]).view(2, 1, 1, 1)])
def test_a_bent_prox_lessens_what_it_is_to_lessen(make, weight, size):
    operator = make()
    z, clean = (uniform(*clean_shape(operator, 2, size), seed=seed) for seed in (1, 2))
    y = operator.measured(operator.simulate(clean, 0))

    def cost(x):
        misfit = operator.residual(x, y).square().sum((1, 2, 3), keepdim=True)
        return (weight * misfit + (x - z).square().sum((1, 2, 3), keepdim=True)).flatten()

    before, after = cost(z), cost(operator.prox(z, y, weight))
    assert not operator.linear
    assert (after < before).all()


@bent
@pytest.mark.parametrize("size", [SIZE, BLOCKS], ids=["odd", "blocks"])
def test_a_bent_norm_bounds_the_slope(make, size):
    operator = make()
    x = uniform(*clean_shape(operator, 1, size)) / 2 + 0.1
    bound = operator.norm(x)
    y = operator.measured(operator.simulate(uniform(*x.shape, seed=8), 0))
    step = 1e-5 * normal(*x.shape)
    moved = operator.residual(x + step, y) - operator.residual(x, y)
    assert 0 < moved.norm() <= bound * step.norm()


@every
def test_a_picture_alone_is_as_in_its_batch(make):
    operator = make()
    clean, z = (uniform(*clean_shape(operator, 3), seed=seed).float() for seed in (1, 2))
    weight = torch.tensor([0.2, 5.0, 0.01]).view(3, 1, 1, 1)
    y = operator.apply(clean)
    results = {
        "apply": lambda at: operator.apply(clean[at]),
        "residual": lambda at: operator.residual(z[at], y[at]),
        "gradient": lambda at: operator.gradient(z[at], y[at]),
        "prox": lambda at: operator.prox(z[at], y[at], weight[at]),
        "unexplained": lambda at: unexplained(operator, z[at], y[at]),
    }
    if operator.linear:
        results["adjoint"] = lambda at: operator.adjoint(y[at])
        results["pseudo_inverse"] = lambda at: operator.pseudo_inverse(y[at])
    # Which pixels a random mask loses depends on the place in the batch.
    drawn = any(isinstance(part, RandomMasking) for part in getattr(operator, "parts", [operator]))
    for i in [0] if drawn else [0, 2]:
        at = slice(i, i + 1)
        for name, result in results.items():
            together, alone = result(slice(None))[at], result(at)
            near = 1e-6 * max(1.0, together.abs().max().item())
            assert torch.allclose(together, alone, rtol=0, atol=near), name


@every
def test_simulation_is_seeded(make):
    operator = make()
    x = uniform(*clean_shape(operator, 3)).float()
    y = operator.simulate(x, 2**64 - 1)
    assert y.shape[:2] == x.shape[:2] and y.dtype == x.dtype
    assert 0 <= y.min() <= y.max() <= 1
    assert torch.equal(operator.simulate(x, 2**64 - 1), y)
    assert torch.equal(operator.simulate(x[:1], 2**64 - 1), y[:1])
    measurement = operator.measured(y)
    assert operator.apply(x).shape[-2:] == measurement.shape[-2:]
    assert operator.domain(measurement.shape) == x.shape
    held = operator.measured(operator.pictured(measurement))
    assert torch.allclose(held, measurement, rtol=0, atol=1e-6)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_comfyui_may_run_it_in_inference_mode(make, dtype):
    """Made, used and cached there, as nodes do, and then differentiated there."""

    def results() -> list[torch.Tensor]:
        operator = make()
        clean, z = (uniform(*clean_shape(operator, 2), seed=seed).to(dtype) for seed in (1, 2))
        y = operator.measured(operator.simulate(clean, 5))
        done = [y, operator.apply(z), operator.gradient(z, y), operator.prox(z, y, 0.7)]
        if operator.linear:
            done += [operator.adjoint(y), operator.pseudo_inverse(y)]
        return [*done, torch.tensor(operator.norm(z))]

    expected = results()
    with torch.inference_mode():
        inside = results()
    assert all(map(torch.equal, inside, expected))


@pytest.mark.parametrize(
    "make",
    [
        lambda: blur("circular"),
        blur,
        lambda: Blur("Motion", motion_kernel(9, 30)),
        lambda: Greying("Grey"),
        lambda: Greying("Grey", GREYS["mean"]),
        *(lambda method=method: Downscale("Small", 3, method) for method in FILTERS),
        lambda: Downscale("Small", 4, "bicubic"),
        lambda: RandomMasking("Missing", 0.4, 11),
        lambda: Clipping("Clipped", 1.7),
        lambda: Chain([Greying("Grey"), Downscale("Small", 3), Clipping("Clipped", 1.7)]),
        lambda: SuperResolution("Small"),
    ],
)
def test_white_noise_gains_what_it_says(make):
    operator = make()
    x, noise = torch.full((2, 3, 240, 240), 0.3), 0.01 * normal(2, 3, 240, 240).float()
    added = operator.apply(x + noise) - operator.apply(x)
    kept = added[operator.measured(torch.ones_like(added)) != 0] if operator.hides else added
    assert abs(kept.std().item() / 0.01 / operator.noise_gain - 1) < 0.02


def test_the_residual_of_the_truth_is_the_noise():
    for make in LINEAR.values():
        operator = make()
        x = uniform(*clean_shape(operator, 2))
        y = operator.apply(x)
        assert unexplained(operator, x, y).max() < 1e-12
    operator = Chain([RandomMasking("Missing", 0.4, 11), NOISE])
    x = torch.full((2, 3, 100, 100), 0.5)
    left = unexplained(operator, x, operator.measured(operator.simulate(x, 0)))
    assert left.shape == (2,) and left.dtype == torch.float64
    assert (left - 0.1).abs().max() < 2e-3


def test_conjugate_gradients_solve_each_system_of_a_batch():
    factors = normal(3, 12, 12)
    matrices = factors @ factors.mT + torch.eye(12, dtype=torch.float64)
    right = normal(3, 1, 1, 12, seed=4)
    right[1] = 0
    expected = torch.linalg.solve(matrices, right.view(3, 12, 1)).view_as(right)

    def matrix(x):
        return (matrices @ x.view(3, 12, 1)).view_as(x)

    assert torch.allclose(conjugate_gradients(matrix, right), expected, atol=1e-5)
    few = conjugate_gradients(matrix, right, most=2)
    assert not torch.allclose(few, expected, atol=1e-2)


@pytest.mark.parametrize("std", [0.01, 0.05, 0.1, 0.3])
def test_the_noise_of_a_smooth_picture_is_estimated(std):
    axis = torch.linspace(0, 3, 200)
    smooth = 0.5 + 0.2 * torch.sin(axis)[:, None] * torch.cos(2 * axis)[None]
    x = smooth.expand(2, 3, 200, 200) + std * noise_like(torch.zeros(2, 3, 200, 200), 0)
    estimate = estimated_noise(x)
    assert estimate.shape == (2,)
    assert (estimate / std - 1).abs().max() < 0.05
    assert torch.allclose(estimate[1:], estimated_noise(x[1:]), rtol=1e-6)


def test_a_flat_picture_has_no_noise_and_edges_count_little():
    assert estimated_noise(torch.full((1, 3, 33, 21), 0.4)).item() == 0
    edges = (torch.arange(200) // 23 % 2 * 0.8 + 0.1).expand(1, 3, 199, 200)
    noisy = edges + 0.02 * noise_like(edges, 1)
    assert abs(estimated_noise(noisy).item() / 0.02 - 1) < 0.1


def test_texture_misleads_the_estimate_upwards():
    texture = 0.5 + 0.1 * noise_like(torch.zeros(1, 3, 64, 64), 0)
    assert estimated_noise(texture + 0.01 * noise_like(texture, 5)).item() > 0.05


def test_noise_cannot_be_estimated_in_one_row():
    for size in [(1, 50), (50, 1), (2, 3)]:
        with pytest.raises(ValueError, match="Too few pixels of the photo tell its noise"):
            estimated_noise(torch.full((1, 3, *size), 0.5))


def test_only_what_is_seen_and_not_cut_off_tells_the_noise():
    """Holes and a black border have no noise; they are no sign of a photo without."""
    x = 0.5 + 0.1 * noise_like(torch.zeros(1, 3, 100, 100), 0)
    x[..., :60] = 0
    assert abs(estimated_noise(x).item() / 0.1 - 1) < 0.05
    missing = RandomMasking("Missing", 0.3, 1)
    photo = missing.apply(0.5 + 0.1 * noise_like(torch.zeros(1, 3, 100, 100), 0))
    assert abs(estimated_noise(photo, missing.seen(photo)).item() / 0.1 - 1) < 0.05
    with pytest.raises(ValueError, match="the others are lost, black or white"):
        estimated_noise(torch.ones(1, 3, 50, 50))


@pytest.mark.parametrize("std", [-0.1, math.nan, math.inf])
def test_noise_has_a_std_from_zero(std):
    with pytest.raises(ValueError, match="The level of noise must be at least 0 of 255; got"):
        GaussianNoise("Noise", std)


def test_noise_of_unknown_strength_is_not_simulated():
    unknown = GaussianNoise("Old film", None)
    with pytest.raises(ValueError, match="Old film has no known strength.*give its level"):
        unknown.simulate(torch.zeros(1, 3, 4, 4), 0)


@pytest.fixture(params=PRESETS)
def degradation(request) -> Degradation:
    return PRESETS[request.param]


def test_it_keeps_its_promise(degradation):
    assert isinstance(degradation, Degradation)


def test_simulation_is_seeded_and_independent_of_the_batch(degradation, random_state_untouched):
    x = torch.rand(3, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    y = degradation.simulate(x, 2**64 - 1)
    assert y.shape == x.shape
    assert 0 <= y.min() <= y.max() <= 1
    assert torch.equal(degradation.simulate(x[1:2], 0), y[1:2])
    assert not torch.equal(degradation.simulate(x, 5), y)


def test_its_noise_is_not_the_samplers_of_the_same_seed(degradation):
    x = torch.full((1, 3, 64, 64), 0.5)
    noise = gaussian((3, 64, 64), 7, [0])
    added = degradation.simulate(x, 7) - x
    for channel in range(3):
        pair = torch.stack([added[0, channel].flatten(), noise[0, channel].flatten()])
        assert torch.corrcoef(pair)[0, 1].abs() < 0.1


def test_gaussian_noise_has_its_std():
    x = torch.full((1, 3, 200, 200), 0.5)
    y = PRESETS["Noise 25/255 (demo)"].simulate(x, 0)
    assert abs((y - x).std().item() - 25 / 255) < 1e-3
    assert (
        torch.equal((y * 255).round(), y * 255) or (y * 255 - (y * 255).round()).abs().max() < 1e-4
    )


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ValueError, match="There is no degradation fog; choose one of Noise 25/255"):
        preset("fog")
