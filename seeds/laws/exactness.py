"""What an exponential method does exactly, read off a plan: what is not the model is linear, so nothing is sampled and
nothing is left to luck.

With D = p y + q F (theory section 3) a right plan integrates a constant F exactly and gives F = 0 its exact
covariances. Both errors are rounding, some 1e-15 for each step, or the plan is wrong. The step that leaves SNR 0 and
the final denoise have formulas of their own and are left out. A method that is not exponential keeps what is at rest
where it is, and its noise is the process's to first order.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from seeds.integrals import Eta, Integrals
from seeds.plans import Plan, Point, terms
from seeds.predictions import Prediction
from seeds.solvers import Solver
from seeds.solvers.registry import options_of
from seeds.variables import Variable

Symbol = tuple[str, int]
"""("x" | "z", index), as a plan has them, or the start."""
CHUNK = 1024
"""Integrals taken at a time."""


def all_rows(_: int) -> bool:
    """Every call of a step."""
    return True


def polynomial_error(
    plan: Plan,
    prediction: Prediction,
    eta: Eta,
    degree: int = 0,
    rows: Callable[[int], bool] = all_rows,
    u: Variable | None = None,
    first: int = 0,
) -> float:
    """F = (u - u in the middle of the run)^degree, no noise: each step and stage from y = 0 at its start, against the
    weight of theory section 4.

    Every step is tested on its own: a state is set right before it is built on. F is the same at all calls, those of
    earlier steps too.

    Args:
        rows: which calls of a step to look at, counted from its start.
        u: the variable of the polynomial; None is lam.
        first: the call to begin with, after a start-up.
    Returns: the largest error, relative to the integral of |weight * F|.
    """
    levels, starts = plan.points(), plan.step_starts()
    here = [i for i in range(plan.nfe) if _inside(levels[starts[i]]) and _inside(levels[i + 1])]
    lam = np.array([level.lam for level in levels])

    def coordinate(at: np.ndarray) -> np.ndarray:
        return at if u is None else u(at)

    middle = coordinate(lam[np.isfinite(lam)]).mean()
    lam0, lam1 = lam[[starts[i] for i in here]], lam[[i + 1 for i in here]]
    integrals = Integrals(prediction, eta, lam0, lam1 - lam0)
    basis = (coordinate(integrals.panels.lam) - middle) ** degree
    exact = dict(zip(here, integrals.weight(basis), strict=True))
    size = dict(zip(here, integrals.size(basis), strict=True))
    p, q = _form(prediction, levels)
    x, d, worst = [0.0], [], 0.0
    for i, row in enumerate(plan.rows):
        value = (coordinate(lam[i : i + 1])[0] - middle) ** degree if math.isfinite(lam[i]) else 0.0
        d.append(p[i] * x[i] + q[i] * value)
        state = sum(weight * x[j] for j, weight in row.x) + sum(weight * d[j] for j, weight in row.d)
        if i in exact:
            if i >= first and rows(i - starts[i]):
                worst = max(worst, abs(state / levels[i + 1].alpha - exact[i]) / size[i])
            state = levels[i + 1].alpha * exact[i]
        x.append(0.0 if row.completes else state)
    return float(worst)


def constant_error(plan: Plan, prediction: Prediction, eta: Eta) -> float:
    """F = 1: `polynomial_error` of degree 0. Largest relative error."""
    return polynomial_error(plan, prediction, eta)


def linear_rows(solver: Solver, options: Mapping[str, object]) -> Callable[[int], bool]:
    """Which rows of a tableau's step integrate an F that is linear in lam: read off the table."""
    assert solver.tableau is not None, f"{solver.name} is no tableau"
    table = solver.tableau(**{name: value for name, value in options.items() if name in options_of(solver.tableau)})
    exact = []
    for end, row in zip((*table.c[1:], 1.0), table.a, strict=True):
        first: dict[tuple[int, float], float] = {}
        for c, weights in zip(table.c, row, strict=False):
            for key, weight in weights.items():
                first[key] = first.get(key, 0.0) + c * weight
        moments = {(2, end): end**2}
        exact.append(
            (2, end) in first and all(abs(value - moments.get(key, 0.0)) < 1e-12 for key, value in first.items())
        )
    return exact.__getitem__


def still_error(plan: Plan) -> float:
    """Where D = y nothing pulls: without noise y stays where it is, at every stage. Largest deviation from the start,
    relative."""
    levels = plan.points()
    x = [levels[0].alpha]
    for row in plan.rows:
        x.append(
            sum(weight * x[j] for j, weight in row.x) + sum(weight * x[j] / levels[j].alpha for j, weight in row.d)
        )
    return max(abs(value / level.alpha - 1) for value, level in zip(x, levels, strict=True))


def noise_error(plan: Plan, eta: Eta) -> float:
    """The size of each draw against the process, to first order in the step: largest relative error of a standard
    deviation.

    Churn from lam1 back to lam0 adds nsr0^2 - nsr1^2 to the variance of y, at any size; a stretch of path adds 2 eta
    nsr0^2 (lam1 - lam0) where it is short. So ask for steps of some 1e-4, of a method that is not exponential:
    `path_error` knows what those do.
    """
    levels, worst = plan.points(), 0.0
    noises = [(plan.opening.z, levels[0]), *((row.z, at) for row, at in zip(plan.rows, levels[1:], strict=True))]
    for pairs, at in noises:
        for j, value in pairs:
            lam0, lam1, stream = plan.draws[j]
            nsr0, nsr1 = math.exp(-lam0), math.exp(-lam1)
            path = 2 * float(eta(np.array([lam0]))[0]) * nsr0**2 * (lam1 - lam0)
            variance = nsr0**2 - nsr1**2 if stream == "churn" else path
            worst = max(worst, abs(value / at.alpha / math.sqrt(variance) - 1))
    return worst


def path_error(plan: Plan, prediction: Prediction, eta: Eta) -> float:
    """F = 0: y is then Gaussian, with covariance Phi(b, a) var(a) between lam a < b. Largest error, relative to the
    standard deviations.

    Every state, stages included, is held against itself and against those as near as the states of one step; no other
    covariance is made, so time and memory are linear in the rows.
    """
    levels, starts = plan.points(), plan.step_starts()
    inner = [i for i, level in enumerate(levels) if _inside(level)]
    reach = min(max(i + 1 - start for i, start in enumerate(starts)), len(inner) - 1)
    band = _band(plan, _form(prediction, levels)[0], reach)[:, inner]
    alpha, lam = np.array([levels[i].alpha for i in inner]), np.array([levels[i].lam for i in inner])
    phi, variance = _kept_and_added(prediction, eta, np.full_like(lam, lam[0]), lam)
    var = phi**2 * (band[0, 0] / alpha[0] ** 2) + variance
    worst = 0.0
    for lag in range(reach + 1):
        a, b = np.arange(len(inner) - lag), np.arange(lag, len(inner))
        early, late = np.where(lam[a] <= lam[b], a, b), np.where(lam[a] <= lam[b], b, a)
        want = _kept_and_added(prediction, eta, lam[early], lam[late])[0] * var[early]
        covariance = band[lag, b] / (alpha[a] * alpha[b])
        worst = max(worst, float(np.abs((covariance - want) / np.sqrt(var[a] * var[b])).max()))
    return worst


def _inside(level: Point) -> bool:
    return level.alpha > 0 and level.sigma > 0


def _form(prediction: Prediction, levels: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """D = p x + q F at each level; D = 0 outside the levels where that is defined."""
    inside = np.array([_inside(level) for level in levels])
    nsr = np.array([level.nsr if _inside(level) else 1.0 for level in levels])
    alpha = np.array([level.alpha if _inside(level) else 1.0 for level in levels])
    return np.where(inside, prediction.p(nsr) / alpha, 0.0), np.where(inside, prediction.q(nsr), 0.0)


def _kept_and_added(
    prediction: Prediction, eta: Eta, lam0: np.ndarray, lam1: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(M,) Phi(lam1, lam0) and the variance added in between, some at a time: their panels are many where the interval
    is long."""
    phi, variance = np.empty_like(lam0), np.empty_like(lam0)
    for i in range(0, len(lam0), CHUNK):
        part = slice(i, i + CHUNK)
        integrals = Integrals(prediction, eta, lam0[part], (lam1 - lam0)[part])
        phi[part], variance[part] = integrals.phi, integrals.variance()
    return phi, variance


def _band(plan: Plan, p: np.ndarray, reach: int) -> np.ndarray:
    """(reach + 1, states): the covariance of state i with state i - lag, where D = p x, and the start state and the
    draws are standard normals."""
    leavers = _leaving(plan, reach)
    band = np.zeros((reach + 1, len(plan.rows) + 1))
    gaussians = _Gaussians()
    gaussians.normal(("start", 0))
    weights: dict[Symbol, float] = {("start", 0): plan.opening.scale}
    draws = plan.opening.z
    for i in range(len(plan.rows) + 1):
        for j, weight in draws:
            gaussians.normal(("z", j))
            weights["z", j] = weight
        gaussians.add(("x", i), weights)
        near = range(min(reach, i) + 1)
        band[near, i] = [gaussians.covariance(("x", i), ("x", i - lag)) for lag in near]
        for name in leavers.get(i - 1, ()):
            gaussians.drop(name)
        if i < len(plan.rows):
            row = plan.rows[i]
            weights = {("x", j): weight for j, weight in terms((*row.x, *((j, weight * p[j]) for j, weight in row.d)))}
            draws = row.z
    return band


def _leaving(plan: Plan, reach: int) -> dict[int, list[Symbol]]:
    """For each row (the opening is row -1) what no later row reads, and no state within `reach` is compared with."""
    last: dict[Symbol, int] = {("start", 0): -1} | {("x", i): i + reach - 1 for i in range(len(plan.rows) + 1)}
    for (part, j), rows in plan.readers().items():
        name = ("x" if part == "d" else part, j)
        last[name] = max(last.get(name, -1), rows[-1])
    leavers: dict[int, list[Symbol]] = {}
    for name, row in last.items():
        leavers.setdefault(row, []).append(name)
    return leavers


class _Gaussians:
    """Jointly normal variables by name, of mean 0: sums of each other, with their covariances. What is dropped makes
    room."""

    def __init__(self) -> None:
        self._at: dict[Symbol, int] = {}
        self._free: list[int] = []
        self._cov = np.zeros((0, 0))

    def normal(self, name: Symbol) -> None:
        """A standard normal that knows of no other; nothing is new if it is there."""
        if name not in self._at:
            self._put(name, np.zeros(len(self._cov)), 1.0)

    def add(self, name: Symbol, weights: Mapping[Symbol, float]) -> None:
        """The sum of known variables."""
        at, values = [self._at[other] for other in weights], np.array(list(weights.values()))
        with_all = values @ self._cov[at]
        self._put(name, with_all, float(with_all[at] @ values))

    def covariance(self, one: Symbol, other: Symbol) -> float:
        return self._cov[self._at[one], self._at[other]]

    def drop(self, name: Symbol) -> None:
        at = self._at.pop(name)
        self._cov[at], self._cov[:, at] = 0.0, 0.0
        self._free.append(at)

    def _put(self, name: Symbol, with_all: np.ndarray, variance: float) -> None:
        if not self._free:
            have = len(self._cov)
            self._free, self._cov, with_all = (
                [*range(have, 2 * have + 8)],
                np.pad(self._cov, (0, have + 8)),
                np.pad(with_all, (0, have + 8)),
            )
        at = self._at[name] = self._free.pop()
        self._cov[at], self._cov[:, at], self._cov[at, at] = with_all, with_all, variance
