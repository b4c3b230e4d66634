"""The exactness laws of an exponential solver, read off a plan: what is not the model is linear, so nothing is sampled and nothing is left to luck.

With D = p y + q F (theory section 3) a right plan integrates a constant F exactly and gives F = 0 its exact covariances. Both errors are
rounding, some 1e-15 for each step, or the plan is wrong. The step that leaves SNR 0 and the final denoise have formulas of their own and are left out.
"""

from collections.abc import Mapping

import numpy as np

from seeds.integrals import Eta, Integrals
from seeds.plans import Plan, Point, terms
from seeds.predictions import Prediction

Name = tuple[str, int]
"""("x" | "z", index), as a plan has them, or the start."""
CHUNK = 1024
"""Integrals taken at a time."""


def constant_error(plan: Plan, prediction: Prediction, eta: Eta) -> float:
    """F = 1, no noise: every step and stage from y = 0 at its start, against the weight of section 4. Largest relative error."""
    levels, starts = plan.points(), plan.step_starts()
    rows = [i for i, row in enumerate(plan.rows) if _inside(levels[starts[i]]) and _inside(levels[i + 1])]
    lam = np.array([point.lam for point in levels])
    lam0, lam1 = lam[[starts[i] for i in rows]], lam[[i + 1 for i in rows]]
    exact = dict(zip(rows, Integrals(prediction, eta, lam0, lam1 - lam0).weight(), strict=True))
    p, q = _form(prediction, levels)
    x, d, worst = [0.0], [], 0.0
    for i, row in enumerate(plan.rows):
        d.append(p[i] * x[i] + q[i])
        made = sum(weight * x[j] for j, weight in row.x) + sum(weight * d[j] for j, weight in row.d)
        want = levels[i + 1].alpha * exact[i] if i in exact else made
        worst = max(worst, abs(made / want - 1)) if i in exact else worst
        x.append(0.0 if row.completes else want)
    return worst


def path_error(plan: Plan, prediction: Prediction, eta: Eta) -> float:
    """F = 0: y is then Gaussian, with covariance Phi(b, a) var(a) between lam a < b. Largest error, relative to the standard deviations.

    Every state, stages included, is held against itself and against those as near as the states of one step; no other covariance is made, so time and
    memory are linear in the rows.
    """
    levels, starts = plan.points(), plan.step_starts()
    kept = [i for i, level in enumerate(levels) if _inside(level)]
    reach = min(max(i + 1 - start for i, start in enumerate(starts)), len(kept) - 1)
    band = _band(plan, _form(prediction, levels)[0], reach)[:, kept]
    alpha, lam = np.array([levels[i].alpha for i in kept]), np.array([levels[i].lam for i in kept])
    phi, variance = _kept_and_added(prediction, eta, np.full_like(lam, lam[0]), lam)
    var = phi**2 * (band[0, 0] / alpha[0] ** 2) + variance
    worst = 0.0
    for lag in range(reach + 1):
        a, b = np.arange(len(kept) - lag), np.arange(lag, len(kept))
        early, late = np.where(lam[a] <= lam[b], a, b), np.where(lam[a] <= lam[b], b, a)
        want = _kept_and_added(prediction, eta, lam[early], lam[late])[0] * var[early]
        got = band[lag, b] / (alpha[a] * alpha[b])
        worst = max(worst, float(np.abs((got - want) / np.sqrt(var[a] * var[b])).max()))
    return worst


def _inside(level: Point) -> bool:
    return level.alpha > 0 and level.sigma > 0


def _form(prediction: Prediction, levels: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """D = p x + q F at each level; D = 0 outside the levels where that is defined."""
    inside = np.array([_inside(level) for level in levels])
    nsr = np.array([level.nsr if _inside(level) else 1.0 for level in levels])
    alpha = np.array([level.alpha if _inside(level) else 1.0 for level in levels])
    return np.where(inside, prediction.p(nsr) / alpha, 0.0), np.where(inside, prediction.q(nsr), 0.0)


def _kept_and_added(prediction: Prediction, eta: Eta, lam0: np.ndarray, lam1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) Phi(lam1, lam0) and the variance added in between, some at a time: their panels are many where the interval is long."""
    phi, variance = np.empty_like(lam0), np.empty_like(lam0)
    for i in range(0, len(lam0), CHUNK):
        part = slice(i, i + CHUNK)
        integrals = Integrals(prediction, eta, lam0[part], (lam1 - lam0)[part])
        phi[part], variance[part] = integrals.phi, integrals.variance()
    return phi, variance


def _band(plan: Plan, p: np.ndarray, reach: int) -> np.ndarray:
    """(reach + 1, states): the covariance of state i with state i - lag, where D = p x, and the start state and the draws are standard normals."""
    leaving = _leaving(plan, reach)
    band = np.zeros((reach + 1, len(plan.rows) + 1))
    known = _Gaussians()
    known.normal(("start", 0))
    weights: dict[Name, float] = {("start", 0): plan.opening.scale}
    draws = plan.opening.z
    for i in range(len(plan.rows) + 1):
        for j, weight in draws:
            known.normal(("z", j))
            weights["z", j] = weight
        known.add(("x", i), weights)
        near = range(min(reach, i) + 1)
        band[near, i] = [known.covariance(("x", i), ("x", i - lag)) for lag in near]
        for name in leaving.get(i - 1, ()):
            known.drop(name)
        if i < len(plan.rows):
            row = plan.rows[i]
            weights = {("x", j): weight for j, weight in terms((*row.x, *((j, weight * p[j]) for j, weight in row.d)))}
            draws = row.z
    return band


def _leaving(plan: Plan, reach: int) -> dict[int, list[Name]]:
    """For each row (the opening is row -1) what no later row reads, and no state within `reach` is compared with."""
    last: dict[Name, int] = {("start", 0): -1} | {("x", i): i + reach - 1 for i in range(len(plan.rows) + 1)}
    for (part, j), rows in plan.readers().items():
        name = ("x" if part == "d" else part, j)
        last[name] = max(last.get(name, -1), rows[-1])
    leaving: dict[int, list[Name]] = {}
    for name, row in last.items():
        leaving.setdefault(row, []).append(name)
    return leaving


class _Gaussians:
    """Jointly normal variables by name, of mean 0: sums of each other, with their covariances. What is dropped makes room."""

    def __init__(self) -> None:
        self._at: dict[Name, int] = {}
        self._free: list[int] = []
        self._cov = np.zeros((0, 0))

    def normal(self, name: Name) -> None:
        """A standard normal that knows of no other; nothing is new if it is there."""
        if name not in self._at:
            self._put(name, np.zeros(len(self._cov)), 1.0)

    def add(self, name: Name, weights: Mapping[Name, float]) -> None:
        """The sum of known variables."""
        at, values = [self._at[other] for other in weights], np.array(list(weights.values()))
        with_all = values @ self._cov[at]
        self._put(name, with_all, float(with_all[at] @ values))

    def covariance(self, one: Name, other: Name) -> float:
        return self._cov[self._at[one], self._at[other]]

    def drop(self, name: Name) -> None:
        at = self._at.pop(name)
        self._cov[at], self._cov[:, at] = 0.0, 0.0
        self._free.append(at)

    def _put(self, name: Name, with_all: np.ndarray, variance: float) -> None:
        if not self._free:
            have = len(self._cov)
            self._free, self._cov, with_all = (
                [*range(have, 2 * have + 8)],
                np.pad(self._cov, (0, have + 8)),
                np.pad(with_all, (0, have + 8)),
            )
        at = self._at[name] = self._free.pop()
        self._cov[at], self._cov[:, at], self._cov[at, at] = with_all, with_all, variance
