"""The loop and its solvers against closed forms."""

import math

import pytest
import torch
from restoreflow.sampling.integrate import SOLVERS, integrate
from restoreflow.sampling.schedule import uniform


def end(velocity, x, steps, solver="euler"):
    *_, last = integrate(SOLVERS[solver](velocity), x, uniform(steps))
    return last.end


@pytest.mark.parametrize("steps", [1, 3, 25])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_straight_flow_is_exact_in_any_number_of_steps(solver, steps):
    source, target = torch.rand(2, 2, 3, 5, 4, dtype=torch.float64)
    result = end(lambda x, t, s: target - source, source, steps, solver)
    assert torch.allclose(result, target, atol=1e-14)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_solvers_converge_at_their_order(solver, order):
    # x' = x cos t with x(0) = 1 ends at exp(sin 1)
    def error(steps):
        one = torch.ones(1, dtype=torch.float64)
        result = end(lambda x, t, s: x * math.cos(t), one, steps, solver)
        return abs(result.item() - math.exp(math.sin(1)))

    observed = math.log2(error(64) / error(128))
    assert abs(observed - order) < 0.1


@pytest.mark.parametrize(("solver", "calls"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_calls_a_step(solver, calls):
    times = []
    end(lambda x, t, s: times.append(t) or x, torch.zeros(1), 4, solver)
    assert len(times) == 4 * calls
    assert all(0 <= t <= 1 for t in times)


def test_steps_tell_where_they_are():
    steps = list(integrate(lambda x, t, s: torch.ones(1), torch.zeros(1), [0.0, 0.25, 1.0]))
    assert [(step.i, step.t, step.x.item(), step.end.item()) for step in steps] == [
        (0, 0.0, 0.0, 0.25),
        (1, 0.25, 0.25, 1.0),
    ]
    assert all(step.clean == 1 for step in steps)
    assert torch.equal(steps[-1].clean, steps[-1].end)


def test_a_two_time_flow_uses_both_times():
    # the exact mean velocity of x' = x over [t, s] needs one step only
    def mean(x, t, s):
        return x * math.expm1(s - t) / (s - t)

    result = end(mean, torch.ones(1, dtype=torch.float64), 1)
    assert abs(result.item() - math.e) < 1e-15


def test_the_grid_is_uniform_and_ends_exactly():
    assert uniform(4) == [0, 0.25, 0.5, 0.75, 1]
    times = uniform(7, 0.1)
    assert times[0] == 0.1
    assert times[-1] == 1
    assert torch.tensor(times).diff().std() < 1e-7


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_steps_out_of_range(steps):
    with pytest.raises(ValueError, match=f"must lie in 1..1000; got {steps}"):
        uniform(steps)
