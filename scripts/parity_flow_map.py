"""Golden files of lookahead denoisers and the plug-and-play loop on Gaussian pictures.

Only the prior is computed here (`gaussians.py`); the denoisers, the loop and the operator's laws
are the pack's. What is averaged over random draws must agree to two per cent, distances to two per
cent of the posterior mean's.
"""

from collections.abc import Iterator

import torch
from gaussians import Gaussian, Loop, Matrix, gains_of, law, normals, proximal, replayed
from golden import Comparison, Golden, Kind, compare, same
from restoreflow.sampling import metrics, plug_and_play
from restoreflow.sampling.lookahead import ahead, denoise
from restoreflow.sampling.operators import Operator
from restoreflow.sampling.schedule import uniform
from torch import Tensor

CLOSED, LOOP, ROOTS, SOLVED, DRAWN = 1e-10, 1e-8, 1e-6, 1e-5, 0.02
"""Tolerances: of closed forms (relative to the largest number, if above 1), of loops, where roots
of singular covariances halve the digits, of conjugate gradients, and of random draws."""
DRAWS = 40_000
OPTIMAL = 1e-9
"""The share of an error that is above the frontier by rounding alone."""


def numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(name: str, ours: list[Tensor], theirs: list) -> Comparison:
    """The same quantity at all points of a case."""
    ours, theirs = torch.stack(ours), numbers(theirs)
    scale = theirs.abs().max().clamp(min=1)
    return compare(name, ours / scale, theirs / scale, CLOSED)


def drawn(name: str, ours: list[Tensor], theirs: list, scale: object) -> Comparison:
    """Averages over random draws, beside what they average to."""
    scale = numbers(scale)
    return compare(name, torch.stack(ours) / scale, numbers(theirs) / scale, DRAWN)


def prior_of(facts: dict) -> Gaussian:
    """Mean, eigenvalues and, where it is not the identity, their basis; or the covariance."""
    if "eigenvalues" in facts:
        basis = facts.get("Q")
        return Gaussian(
            numbers(facts["mu"]), numbers(facts["eigenvalues"]), basis and numbers(basis)
        )
    variances, basis = torch.linalg.eigh(numbers(facts["Sigma"]))
    return Gaussian(numbers(facts["mu"]), variances.clamp(min=0), basis)


# One call


def denoisers(golden: Golden) -> Iterator[Comparison]:
    """Lookahead denoisers and blends: gains, results, error and distance, the frontier."""
    for case in golden.facts["cases"]:
        prior, name = prior_of(case), case["name"]
        if prior.basis is not None:
            yield close(f"{name}.Sigma", [*prior.covariance], case["Sigma"])
        yield from points(prior, name, case["points"])
        yield from blends(prior, name, case["blends"])
        yield from random_pictures(prior, name, case)


def points(prior: Gaussian, name: str, theirs: list[dict]) -> Iterator[Comparison]:
    """Of the lookahead."""

    def all_of(key: str) -> list:
        return [point[key] for point in theirs]

    where = [(point["s"], point["kappa"]) for point in theirs]
    yield close(f"{name}.t", [numbers(ahead(*at)) for at in where], all_of("t"))
    gains = [gains_of(prior, *at) for at in where]
    reached = list(zip([s for s, _ in where], gains, strict=True))
    errors, distances = ([of(*at) for at in reached] for of in (prior.error, prior.distance))
    best = [prior.frontier(s, w2) for (s, _), w2 in zip(where, distances, strict=True)]
    excess = [error - least for error, least in zip(errors, best, strict=True)]
    least = [prior.least_error(s) for s, _ in where]
    farthest = [prior.distance(s, gains_of(prior, s, 0.0)) for s, _ in where]
    ours = {
        "mse": errors, "w2": distances, "dstar": least, "pstar": farthest,
        "d_frontier_at_w2": best, "excess": excess,
    }  # fmt: skip
    for key, values in ours.items():
        yield close(f"{name}.{key}", values, all_of(key))
    on_it = [(more <= OPTIMAL * error).item() for more, error in zip(excess, errors, strict=True)]
    yield same(f"{name}.on_frontier", on_it, all_of("on_frontier"))
    yield squares(prior, name, reached, all_of("w2"))
    if any("gain" in point for point in theirs):
        yield close(f"{name}.gain", gains, all_of("gain"))
        yield from pictures(prior, name, theirs)


def squares(prior: Gaussian, name: str, reached: list, theirs: list) -> Comparison:
    """The distance again, as the pack measures it between any two Gaussians."""
    ours = []
    for s, gains in reached:
        spread = prior.along(torch.eye(len(prior.mean)).to(gains), (gains * prior.std(s)) ** 2)
        both = prior.mean, spread, prior.mean, prior.covariance
        ours.append(metrics.gaussian_w2_squared(*both))
    return close(f"{name}.w2 (squared)", ours, [w2**2 for w2 in theirs])


def pictures(prior: Gaussian, name: str, theirs: list[dict]) -> Iterator[Comparison]:
    """Recorded states and what becomes of them: D, and X on its chord."""
    held = [point for point in theirs if "x_s" in point]
    results, ends = [], []
    for point in held:
        x, s, t = numbers(point["x_s"]), point["s"], point["t"]
        results.append(denoise(prior, x, s, point["kappa"]))
        ends.append(x + (t - s) / (1 - s) * (results[-1] - x))
    yield close(f"{name}.D", results, [point["D"] for point in held])
    yield close(f"{name}.X_st", ends, [point["X_st"] for point in held])


def blends(prior: Gaussian, name: str, theirs: list[dict]) -> Iterator[Comparison]:
    """Of the two ends: optimal throughout, and the chords that each direction would take."""
    where = [(point["s"], point["alpha"]) for point in theirs]
    reached = [(s, gains_of(prior, s, alpha, blend=True)) for s, alpha in where]
    errors, distances = ([of(*at) for at in reached] for of in (prior.error, prior.distance))
    yield close(f"{name}.blends.mse", errors, [point["mse"] for point in theirs])
    yield close(f"{name}.blends.w2", distances, [point["w2"] for point in theirs])
    best = [prior.frontier(s, w2).item() for (s, _), w2 in zip(where, distances, strict=True)]
    yield close(f"{name}.blends (frontier)", errors, best)
    times = [prior.time_of(*at) for at in where]
    for end, of in (("min", Tensor.amin), ("max", Tensor.amax)):
        key = f"per_direction_t_{end}"
        yield close(f"{name}.blends.{key}", [of(t) for t in times], [p[key] for p in theirs])


def random_pictures(prior: Gaussian, name: str, case: dict) -> Iterator[Comparison]:
    """Error and distance of both, on drawn pictures and noise."""
    noise, source = normals(DRAWS, 2 * len(prior.mean)).chunk(2, 1)
    x = prior.made(noise)
    for what, knob in (("points", "kappa"), ("blends", "alpha")):
        errors, distances, farthest = [], [], []
        for point in case[what]:
            s = point["s"]
            state = s * x + (1 - s) * source
            result = denoise(prior, state, s, point[knob], blend=what == "blends")
            errors.append((result - x).square().sum(1).mean())
            away = result - prior.mean
            stds = (away if prior.basis is None else away @ prior.basis).std(0)
            distances.append((stds - prior.variances.sqrt()).square().sum().sqrt())
            farthest.append(prior.distance(s, gains_of(prior, s, 0.0)).item())
        mse, w2 = ([point[key] for point in case[what]] for key in ("mse", "w2"))
        yield drawn(f"{name}.{what}.mse (drawn)", errors, mse, mse)
        yield drawn(f"{name}.{what}.w2 (drawn)", distances, w2, farthest)


# The loop


def problems(golden: Golden) -> Iterator[Comparison]:
    """Linear degradations of one prior: the operator's laws, the posterior, both loops."""
    facts = golden.facts
    prior = prior_of(facts)
    for problem in facts["problems"]:
        operator = Matrix(numbers(problem["A"]), problem["sigma"])
        yield from operator_laws(problem, prior, operator)
        yield from posterior(problem, prior, operator)
        y = numbers(problem["y"])[None, None, None]
        noise = numbers(problem["eps"])[:, None, None, None]
        for case in problem["denoise_first"]:
            name = f"{problem['name']}.denoise_first.{case['kappa']}"
            loop = proximal(prior, operator, facts["v"], facts["N"], case["kappa"])
            yield compare(
                f"{name}.result", loop(y, replayed(noise))[0, 0, 0], numbers(case["result"]), LOOP
            )
            ours = law(loop, prior, operator, facts["N"])
            for key, value in zip(("mse", "w2", "noise_var_trace"), ours, strict=True):
                yield compare(f"{name}.{key}", value, numbers(case[key]), LOOP)
            yield from random_problems(
                name, loop, prior, operator, facts["N"], case, problem["pstar"]
            )
        for case in problem["data_first"]:
            name = f"{problem['name']}.data_first.{case['lookahead']}"
            ours = descended(prior, operator, facts["N"], case, y, noise)
            yield compare(f"{name}.result", ours, numbers(case["result"]), LOOP)


def operator_laws(problem: dict, prior: Gaussian, operator: Matrix) -> Iterator[Comparison]:
    """The recorded product, and the pack's own solvers beside exact ones."""
    name, test = problem["name"], problem["adjoint_test"]
    u, v = (numbers(test[key])[None, None, None] for key in ("u", "v"))
    inner = numbers(test["inner"])
    yield compare(f"{name}.<A u, v>", (operator.apply(u) * v).sum(), inner, CLOSED)
    yield compare(f"{name}.<u, A* v>", (u * operator.adjoint(v)).sum(), inner, CLOSED)
    y = numbers(problem["y"])[None, None, None]
    pinv = numbers(problem["pinv_y"])[None, None, None]
    yield compare(f"{name}.A pinv_y", operator.apply(operator.pseudo_inverse(y)),
                  operator.apply(pinv), SOLVED)  # fmt: skip
    z, weight = prior.mean.expand_as(pinv), 0.1 / operator.noise_std**2
    found = Operator.prox(operator, z, y, weight)
    yield compare(f"{name}.prox (conjugate gradients)", found, operator.prox(z, y, weight), SOLVED)


def posterior(problem: dict, prior: Gaussian, operator: Matrix) -> Iterator[Comparison]:
    """Its mean and covariance, the least error and the distance at that."""
    gain, left = operator.posterior(prior)
    name, y = problem["name"], numbers(problem["y"])
    shown = gain @ operator.matrix @ prior.covariance
    moved = metrics.gaussian_w2_squared(prior.mean, shown, prior.mean, prior.covariance).sqrt()
    ours = {
        "posterior_mean": prior.mean + gain @ (y - operator.matrix @ prior.mean),
        "posterior_cov": left,
        "mmse": left.trace(),
        "pstar": moved,
    }
    for key in (key for key in ours if key in problem):
        tolerance = ROOTS if key == "pstar" else LOOP
        yield compare(f"{name}.{key}", ours[key], numbers(problem[key]), tolerance)


def random_problems(
    name: str,
    loop: Loop,
    prior: Gaussian,
    operator: Matrix,
    calls: int,
    case: dict,
    farthest: float,
) -> Iterator[Comparison]:
    """The loop's error and distance on drawn pictures, measurements and noise."""
    rows, columns = operator.matrix.shape
    noise = normals(DRAWS, rows + (1 + calls) * columns)[:, None, None]
    of_x, of_y, of_loop = noise.split([columns, rows, calls * columns], -1)
    x = prior.made(of_x)
    y = operator.apply(x) + operator.noise_std * of_y
    result = loop(y, replayed(of_loop.unflatten(-1, (calls, columns)).movedim(-2, 0)))
    error = (result - x).square().sum(-1).mean()
    result = result[:, 0, 0]
    both = result.mean(0), result.mT.cov(), prior.mean, prior.covariance
    distance = metrics.gaussian_w2_squared(*both).sqrt()
    yield drawn(f"{name}.mse (drawn)", [error], [case["mse"]], case["mse"])
    yield drawn(f"{name}.w2 (drawn)", [distance], [case["w2"]], farthest)


def descended(
    prior: Gaussian, operator: Matrix, steps: int, case: dict, y: Tensor, noise: Tensor
) -> Tensor:
    """The published order, step and lookahead, which is one of time alone."""

    def denoiser(x: Tensor, s: float) -> Tensor:
        return denoise(prior, x, s, min(case["lookahead"] / (1 - s), 1.0))

    def move(z: Tensor, s: float) -> Tensor:
        return z - case["gain"] * (1 - s) ** case["alpha"] * 2 * operator.gradient(z, y)

    *_, last = plug_and_play.iterate(
        denoiser, move, replayed(noise), torch.zeros_like(noise[0]), uniform(steps), data_first=True
    )
    return last.clean[0, 0, 0]


def is_of_denoisers(golden: Golden) -> bool:
    cases = golden.facts.get("cases")
    return isinstance(cases, list) and bool(cases) and "eigenvalues" in cases[0]


KINDS: list[Kind] = [
    (is_of_denoisers, denoisers),
    (lambda g: "problems" in g.facts and "Sigma" in g.facts, problems),
]
