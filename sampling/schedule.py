"""Time grids: increasing lists of times, one more than there are steps."""


def uniform(steps: int, start: float = 0.0, end: float = 1.0) -> list[float]:
    """`steps` equal steps from `start` to `end`, in [0, 1].

    Raises:
        ValueError: fewer than one step, or more than a thousand.
    """
    if not 1 <= steps <= 1000:
        raise ValueError(f"The number of steps must lie in 1..1000; got {steps}.")
    return [start + (end - start) * i / steps for i in range(steps)] + [end]
