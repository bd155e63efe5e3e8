"""One loop for every flow: x moves from t to s by the mean velocity over [t, s].

A flow is a callable `(x, t, s) -> mean velocity`. A plain velocity ignores s (Euler's method); the
map to the end of a segment and a two-time flow map use it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

Field = Callable[[Tensor, float, float], Tensor]


class Step(NamedTuple):
    """One step of the loop, x being the state at t."""

    i: int
    t: float
    x: Tensor
    velocity: Tensor
    end: Tensor
    """The state at the next time."""

    @property
    def clean(self) -> Tensor:
        """What stands at t = 1 if the velocity stays: the flow's present estimate of the picture.

        At the last step this is the result; before it, an estimate of E[clean | x].
        """
        return self.x + (1 - self.t) * self.velocity


def integrate(flow: Field, x: Tensor, times: Sequence[float]) -> Iterator[Step]:
    """Follow `flow` from x at times[0] through all times; the last step's `end` is the result."""
    for i, (t, s) in enumerate(pairwise(times)):
        velocity = flow(x, t, s)
        end = x + (s - t) * velocity
        yield Step(i, t, x, velocity, end)
        x = end


def euler(velocity: Field) -> Field:
    """First order, one call a step."""
    return velocity


def midpoint(velocity: Field) -> Field:
    """Second order, two calls a step: the velocity halfway along an Euler step."""

    def mean(x: Tensor, t: float, s: float) -> Tensor:
        half = (t + s) / 2
        return velocity(x + (half - t) * velocity(x, t, half), half, s)

    return mean


def heun(velocity: Field) -> Field:
    """Second order, two calls a step: the average of the velocities at an Euler step's two ends."""

    def mean(x: Tensor, t: float, s: float) -> Tensor:
        first = velocity(x, t, s)
        return (first + velocity(x + (s - t) * first, s, s)) / 2

    return mean


SOLVERS: dict[str, Callable[[Field], Field]] = {"euler": euler, "midpoint": midpoint, "heun": heun}
