"""The exactness laws of an exponential solver, read off a plan: what is not the model is linear, so nothing is sampled and nothing is left to luck.

With D = p y + q F (theory section 3) a right plan integrates a constant F exactly and gives F = 0 its exact covariances. Both errors are
rounding, some 1e-15 for each step, or the plan is wrong. The step that leaves SNR 0 and the final denoise have formulas of their own and are left out.
"""

import numpy as np

from seeds.integrals import Eta, Integrals
from seeds.plan import Plan, Point
from seeds.predictions import Prediction


def constant_error(plan: Plan, prediction: Prediction, eta: Eta) -> float:
    """F = 1, no noise: every step and stage from y = 0 at its start, against the weight of section 4. Largest relative error."""
    levels, starts = plan.points(), _step_starts(plan)
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

    Every state, stages included, is held against itself and against those as near as the states of one step.
    """
    levels, starts = plan.points(), _step_starts(plan)
    kept = [i for i, level in enumerate(levels) if _inside(level)]
    y = (_responses(plan, _form(prediction, levels)[0]) / np.array([level.alpha or 1.0 for level in levels])[:, None])[kept]
    lam = np.array([levels[i].lam for i in kept])
    whole = Integrals(prediction, eta, np.full_like(lam, lam[0]), lam - lam[0])
    var = whole.phi**2 * (y[0] @ y[0]) + whole.variance()
    reach = max(i + 1 - start for i, start in enumerate(starts))
    worst = 0.0
    for lag in range(min(reach, len(kept) - 1) + 1):
        a, b = np.arange(len(kept) - lag), np.arange(lag, len(kept))
        early, late = np.where(lam[a] <= lam[b], a, b), np.where(lam[a] <= lam[b], b, a)
        want = Integrals(prediction, eta, lam[early], lam[late] - lam[early]).phi * var[early]
        got = np.einsum("ij,ij->i", y[a], y[b])
        worst = max(worst, float(np.abs((got - want) / np.sqrt(var[a] * var[b])).max()))
    return worst


def _inside(level: Point) -> bool:
    return level.alpha > 0 and level.sigma > 0


def _step_starts(plan: Plan) -> list[int]:
    """For each row the state that its step starts from."""
    starts, start = [], 0
    for i, row in enumerate(plan.rows):
        starts.append(start)
        start = i + 1 if row.completes else start
    return starts


def _form(prediction: Prediction, levels: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """D = p x + q F at each level; D = 0 outside the levels where that is defined."""
    inside = np.array([_inside(level) for level in levels])
    nsr = np.array([level.nsr if _inside(level) else 1.0 for level in levels])
    alpha = np.array([level.alpha if _inside(level) else 1.0 for level in levels])
    return np.where(inside, prediction.p(nsr) / alpha, 0.0), np.where(inside, prediction.q(nsr), 0.0)


def _responses(plan: Plan, p: np.ndarray) -> np.ndarray:
    """(states, 1 + draws): how each state answers to the start state and to each draw, where D = p x."""
    x = np.zeros((len(plan.rows) + 1, 1 + len(plan.draws)))
    x[0, 0] = plan.opening.scale
    for j, weight in plan.opening.z:
        x[0, 1 + j] += weight
    for i, row in enumerate(plan.rows):
        for j, weight in row.x:
            x[i + 1] += weight * x[j]
        for j, weight in row.d:
            x[i + 1] += weight * p[j] * x[j]
        for j, weight in row.z:
            x[i + 1, 1 + j] += weight
    return x
