"""Undoing known degradations, with a prior whose flow map is known."""

import math
from itertools import pairwise

import pytest
import torch
from gaussian_flows import MEAN, STD, noisy, pictures, pixel_flow, watched
from gaussians import Gaussian, Matrix, law, normals, proximal, signal, tasks
from restoreflow.sampling import plug_and_play
from restoreflow.sampling.blur import Blur, gaussian_kernel
from restoreflow.sampling.chain import Chain
from restoreflow.sampling.downscale import Downscale
from restoreflow.sampling.operators import (
    ROUNDING,
    GaussianNoise,
    Operator,
    conjugate_gradients,
    noise_like,
    unexplained,
)
from restoreflow.sampling.plug_and_play import GRADIENT, PROX, iterate, solve
from restoreflow.sampling.pointwise import Masking, RandomMasking
from restoreflow.sampling.schedule import uniform

SIGNAL = signal(24)
TASKS = dict(tasks(SIGNAL))
STEPS = 12


class Squared(Operator):
    """y = x^2, which is not linear."""

    name, linear, noise_std = "squared", False, 0.01

    def apply(self, x):
        return x.square()

    def norm(self, like):
        return 2.0


MISSING = RandomMasking("m", 0.5, 3)
OPERATORS = {
    "noise": GaussianNoise("n", 0.1),
    "mask": Chain([MISSING, GaussianNoise("n", 0.02)]),
    "downscale": Downscale("d", 2, "box"),
    "blur": Blur("b", gaussian_kernel(0.8)),
    "square": Squared(),
}


@pytest.fixture(params=OPERATORS)
def operator(request) -> Operator:
    return OPERATORS[request.param]


def measured(operator: Operator, count: int = 1, seed: int = 0):
    return operator.draw(pictures(count, 24, 32, seed), 5)


# The loop, on signals that go together


def laws(name: str, knob: tuple, draws: int = 1) -> list:
    operator = TASKS[name]
    loops = (proximal(SIGNAL, operator, 0.25, STEPS, lookahead, draws) for lookahead in knob)
    return [law(loop, SIGNAL, operator, STEPS * draws) for loop in loops]


@pytest.mark.parametrize("name", TASKS)
def test_the_error_rises_and_the_distance_falls_along_the_knob(name):
    found = laws(name, (0.0, 0.25, 0.5))
    assert all(more.error > less.error for less, more in pairwise(found))
    assert all(less.distance < more.distance for more, less in pairwise(found))
    _, left = TASKS[name].posterior(SIGNAL)
    assert all(one.error > left.trace() for one in found)


@pytest.mark.parametrize("name", TASKS)
def test_more_draws_are_more_faithful(name):
    found = [laws(name, (0.5,), draws)[0] for draws in (1, 2, 4)]
    assert all(less.error < more.error for more, less in pairwise(found))
    assert all(less.noise < more.noise for more, less in pairwise(found))


def test_a_measurement_that_tells_nothing_leaves_the_prior():
    blind = Matrix(torch.eye(24).double(), 1e6)
    ends = [law(proximal(SIGNAL, blind, 0.25, 5, end), SIGNAL, blind, 5) for end in (0.0, 1.0)]
    assert ends[1].distance < 1e-5 < ends[0].distance


def test_the_law_is_that_of_random_pictures():
    """What the tests above compute, beside what it stands for."""
    operator = TASKS["mask"]
    noise = normals(2**13, 24 + len(operator.matrix))[:, None, None]
    x, y = SIGNAL.made(noise[..., :24]), noise[..., 24:]
    loop = proximal(SIGNAL, operator, 0.25, STEPS, 0.5)
    y = operator.apply(x) + operator.noise_std * y
    result = loop(y, lambda: torch.randn_like(x))
    error = (result - x).square().sum(-1).mean().item()
    assert error == pytest.approx(laws("mask", (0.5,))[0].error.item(), rel=0.03)


def test_the_order_of_a_pass():
    happened = []

    def denoiser(x, s):
        happened.append(("denoise", s, x.item()))
        return x + 1

    def move(x, s):
        happened.append(("move", s, x.item()))
        return 10 * x

    def run(**order):
        happened.clear()
        passes = iterate(
            denoiser, move, lambda: torch.tensor(2.0), torch.tensor(5.0), [0.0, 0.5, 1.0], **order
        )
        return [one.clean.item() for one in passes]

    assert run() == [30.0, 170.0]
    assert happened == [
        ("denoise", 0.0, 2.0),
        ("move", 0.0, 3.0),
        ("denoise", 0.5, 16.0),
        ("move", 0.5, 17.0),
    ]
    assert run(data_first=True) == [3.0, 17.0]
    assert happened[0] == ("move", 0.0, 5.0)
    assert happened[2:] == [("move", 0.5, 3.0), ("denoise", 0.5, 16.0)]


# Photos


@pytest.mark.parametrize(("steps", "draws"), [(0, 1), (5, 1), (3, 4)])
@pytest.mark.parametrize("data_step", plug_and_play.DATA_STEPS)
def test_calls_are_counted_and_seen(steps, draws, data_step):
    seen, done = [], []
    flow = pixel_flow(watched(seen))
    solved = solve(
        flow, OPERATORS["mask"], measured(OPERATORS["mask"]), seed=1, steps=steps, draws=draws,
        data_step=data_step, observe=done.append,
    )  # fmt: skip
    assert len(seen) == solved.evaluations == (steps or flow.steps) * draws
    assert [one.i for one in done] == list(range(steps or flow.steps))
    assert torch.equal(done[-1].clean.clamp(0, 1), solved.picture)


@pytest.mark.parametrize("data_step", plug_and_play.DATA_STEPS)
def test_a_photo_is_solved_alike_alone_and_in_a_batch(operator, data_step, random_state_untouched):
    y, settings = measured(operator, 3), {"steps": 4, "draws": 2, "data_step": data_step}
    if operator.hides:  # each picture of a batch has a mask of its own
        operator = Masking("m", MISSING.given(y[:1]).keep, 0.02)
    together = solve(pixel_flow(), operator, y, seed=2**64 - 1, **settings)
    again = solve(pixel_flow(), operator, y, seed=2**64 - 1, **settings)
    assert torch.equal(again.picture, together.picture)
    for i in range(3):
        alone = solve(
            pixel_flow(), operator, y[i : i + 1], seed=(2**64 - 1 + i) % 2**64, **settings
        )
        assert torch.equal(alone.picture[0], together.picture[i])
        assert torch.equal(alone.residual[0], together.residual[i])
    other = solve(pixel_flow(), operator, y, seed=1, **settings)
    assert not torch.equal(other.picture, together.picture)


def test_the_seeds_noise_is_not_the_samplers():
    seen = []
    solve(pixel_flow(watched(seen)), OPERATORS["noise"], measured(OPERATORS["noise"]), seed=5)
    used = 2 * seen[0][0][0] - 1
    assert abs(used.std().item() - 1) < 0.05
    for stream in (0, 0x9E3779B97F4A7C15):
        other = noise_like(torch.zeros(1, *used.shape), 5, stream)[0]
        assert torch.corrcoef(torch.stack([used.flatten(), other.flatten()]))[0, 1].abs() < 0.1


def test_a_photo_without_noise_stays_as_it_is():
    y = pictures(2).clamp(0, 1)
    solved = solve(pixel_flow(), GaussianNoise("n", 0.0), y, seed=0, steps=50)
    assert (solved.picture - y).abs().max() < 0.005
    assert solved.noise_std.tolist() == pytest.approx([ROUNDING] * 2)
    assert solved.residual.max() < 0.002


@pytest.mark.parametrize("data_step", plug_and_play.DATA_STEPS)
def test_it_comes_nearer_to_picture_and_measurement(operator, data_step):
    x, y = pictures(1, 24, 32), measured(operator)
    solved = solve(
        pixel_flow(), operator, y, seed=0, steps=25, lookahead=0.0, draws=16, data_step=data_step
    )
    guess = torch.full_like(x, MEAN)
    assert (solved.picture - x).square().mean() < 0.9 * (guess - x).square().mean()
    misfit = unexplained(operator, guess, operator.measured(y))
    assert solved.residual.item() < 0.75 * misfit.item()
    assert solved.picture.min() >= 0
    assert solved.picture.max() <= 1


def test_proximal_steps_heed_the_noise():
    """The least error for a Gaussian pixel is that of Wiener's gain."""
    errors, x = {}, pictures(1, 64, 64)
    y = noisy(x, 0.1)
    for name in plug_and_play.DATA_STEPS:
        solved = solve(
            pixel_flow(), OPERATORS["noise"], y, seed=0, steps=30, lookahead=0.0, draws=8,
            data_step=name,
        )  # fmt: skip
        errors[name] = (solved.picture - x).square().mean().item()
    assert errors[PROX] < 0.75 * 0.1**2
    assert errors[PROX] < errors[GRADIENT]


def test_unknown_noise_is_estimated():
    y = noisy(torch.full((2, 3, 64, 64), MEAN), torch.tensor([0.05, 0.15]).view(2, 1, 1, 1))
    solved = solve(pixel_flow(), GaussianNoise("n", None), y, seed=0, steps=2)
    assert solved.noise_std.tolist() == pytest.approx([0.05, 0.15], rel=0.1)


@pytest.mark.parametrize("data_step", plug_and_play.DATA_STEPS)
def test_what_a_mask_hides_grows_lifelike(data_step):
    operator = OPERATORS["mask"]
    y = measured(operator)
    lost = MISSING.given(y).keep.expand_as(y) == 0
    spreads = []
    for lookahead in (0.0, 0.5, 0.9):
        solved = solve(
            pixel_flow(), operator, y, seed=0, steps=20, lookahead=lookahead, data_step=data_step
        )
        filled = solved.picture[lost]
        assert filled.mean().item() == pytest.approx(MEAN, abs=0.02)
        spreads.append(filled.std().item())
    assert all(more > 1.05 * less for less, more in pairwise(spreads))
    assert spreads[0] < 0.9 * STD


def test_a_warm_start_begins_at_the_first_guess():
    seen, operator = [], Masking("m", torch.ones(1, 1, 24, 32), 0.0)
    y = pictures(1, 24, 32).clamp(0, 1)
    solve(pixel_flow(watched(seen)), operator, y, seed=0, steps=4, start=0.8)
    times = [t.item() for _, t, _ in seen]
    assert times == pytest.approx([0.8, 0.85, 0.9, 0.95])
    assert [s.item() for *_, s in seen] == pytest.approx([t + 0.5 * (1 - t) for t in times])
    noise = (seen[0][0] - 0.8 * y) / 0.2
    assert noise.mean().item() == pytest.approx(0.5, abs=0.03)
    assert noise.std().item() == pytest.approx(0.5, abs=0.03)


def test_within_inference_mode_as_the_host_runs_nodes(operator):
    y, settings = measured(operator), {"seed": 0, "steps": 2}
    known = solve(pixel_flow(), operator, y, **settings).picture
    with torch.inference_mode():
        assert torch.equal(solve(pixel_flow(), operator, y.clone(), **settings).picture, known)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (17, 3)])
def test_any_size_comes_back_in_its_own(size):
    y = pictures(2, *size)
    assert solve(pixel_flow(), OPERATORS["noise"], y, seed=0, steps=2).picture.shape == y.shape
    small = Downscale("d", 3)
    solved = solve(pixel_flow(), small, small.draw(pictures(1, 12, 18), 0), seed=0, steps=2)
    assert solved.picture.shape == (1, 3, 12, 18)


# What cannot be


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"draws": 0}, "draws must lie in 1..64; got 0"),
        ({"draws": 65}, "draws must lie in 1..64; got 65"),
        ({"data_step": "dance"}, "one of prox, gradient; got dance"),
        ({"start": 0.96}, "start must lie in 0..0.95; got 0.96"),
        ({"start": -0.1}, "start must lie in 0..0.95; got -0.1"),
        ({"start": math.nan}, "start must lie in 0..0.95; got nan"),
        ({"lookahead": 0.91}, "lookahead must lie in 0..0.9; got 0.91"),
        ({"lookahead": math.nan}, "lookahead must lie in 0..0.9; got nan"),
        ({"steps": 1001}, "steps must lie in 1..1000; got 1001"),
        ({"steps": -1}, "steps must lie in 1..1000; got -1"),
        ({"tile": -1}, "tile must be 0"),
    ],
)
def test_numbers_out_of_range_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        solve(pixel_flow(), OPERATORS["noise"], pictures(), seed=0, **settings)


def test_flows_and_photos_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="needs a flow map from noise"):
        solve(pixel_flow(origin="degraded"), OPERATORS["noise"], pictures(), seed=0)
    with pytest.raises(ValueError, match="got 4 channels"):
        solve(pixel_flow(), OPERATORS["noise"], torch.zeros(1, 4, 8, 8), seed=0)
    mask = Masking("hole", torch.ones(1, 1, 8, 8))
    with pytest.raises(ValueError, match="hole: the mask is 8 x 8"):
        solve(pixel_flow(), mask, pictures(1, 24, 32), seed=0)
    with pytest.raises(ValueError, match="gave values that are not numbers"):
        solve(pixel_flow(lambda x, t, s: x * math.nan), OPERATORS["noise"], pictures(), seed=0)


def test_uniform_times_end_where_the_loop_does():
    random = Gaussian(torch.zeros(4).double(), torch.ones(4).double())
    operator = Matrix(torch.eye(4).double(), 0.1)
    y = normals(3, 4)[:, None, None]
    kept = []
    passes = iterate(
        lambda x, s: x, lambda x, s: kept.append(s) or x, lambda: y, y, uniform(4, 0.2)
    )
    assert len([*passes]) == 4
    assert kept == pytest.approx([0.2, 0.4, 0.6, 0.8])
    exact = operator.prox(random.made(y), y, 3.0)
    known = conjugate_gradients(lambda x: 4 * x, random.made(y) + 3 * y)
    torch.testing.assert_close(exact, known)
