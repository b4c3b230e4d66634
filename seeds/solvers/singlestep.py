r"""Exponential Runge-Kutta methods, stochastic (SEEDS) and not (ERK): the compiler from a tableau to a plan.

With y = x / alpha, a step lam0 -> lam1 = lam0 + h and the stage (or the end) at lam0 + c h:

    y_c = Phi_c y_0 + sum_j w_cj F_j + n_c,        F_j = (D_j - p_j y_j) / q_j

w_cj are the tableau's weights on the moments of theory section 4. A moment of another position c' is carried over in y
/ q, where F has the same weight everywhere: it is multiplied by q_c / q_c'. So in data mode a table is the published
one on y, and in noise mode (eta = 0) the published one on x / sigma. All stages and the step read ONE Brownian path,
one draw for each stretch between neighbouring positions: n_b = Phi(b, a) n_a + std(a -> b) z.

A network may know some noise levels only (`levels.round_nsr`). The ends of steps are such levels. Stages of a family
with free positions move to such levels too; those of a fixed tableau stay where it puts them, and the network rounds
what it is told of the level, as iDDPM's and `wrap` do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from seeds.integrals import Eta, Integrals
from seeds.plans import Point
from seeds.predictions import Prediction
from seeds.solvers.churn import Churn
from seeds.solvers.levels import Levels
from seeds.solvers.writer import Writer
from seeds.tableaus import Tableau, Weights

NO_CHURN = Churn()
MERGE = 1e-9
"""Positions nearer than this fraction of a step are one position."""


def singlestep(
    write: Writer,
    levels: Levels,
    prediction: Prediction,
    eta: Eta,
    tableau: Tableau,
    at: Callable[..., Tableau] | None = None,
    churn: Churn = NO_CHURN,
) -> None:
    """Writes all steps of an exponential Runge-Kutta method: s N rows and, where eta > 0, a draw for each stretch of
    path.

    Args:
        tableau: the method.
        at: the family's tableau for other stage positions, for networks that know some levels only
            (`levels.round_nsr`); it gets the distinct positions strictly inside the method's own range, in the method's
            order, possibly fewer than the method has. None if the positions cannot move: then the stages stay exactly
            at `tableau.c`, between known levels, and only the ends of steps are known levels.
        churn: lifts the state before each step and before the final denoise.
    """
    starts, ends = [churn.lifted(levels, point) for point in levels.points[:-1]], levels.points[1:]
    if levels.round_nsr is None or at is None or levels.free_stages:
        _write(write, tableau, replace(levels, round_nsr=None), prediction, eta, _Steps(starts, ends, churn))
    else:
        for start, end in zip(starts, ends, strict=True):
            stages = _known_stages(tableau, levels, start.lam, end.lam - start.lam)
            _write(write, at([*stages]), levels, prediction, eta, _Steps([start], [end], churn, stages))
    if write.final:
        churn.before(write, levels)


class _Steps(NamedTuple):
    """The levels of M steps, from where churn has lifted the state; `stages`: of a single step, its stages' levels by
    position."""

    starts: Sequence[Point]
    ends: Sequence[Point]
    churn: Churn
    stages: Mapping[float, Point] | None = None


def _known_stages(tableau: Tableau, levels: Levels, lam0: float, h: float) -> dict[float, Point]:
    """The known levels nearest to the stages of a step, by position, in the tableau's order; those at the start, or on
    another stage, are left out."""
    stages: dict[float, Point] = {}
    for point in levels.at_lam(lam0 + np.array(tableau.c[1:]) * h):
        c = float((point.lam - lam0) / h)
        c = 1.0 if c > 1 - MERGE else c
        if c > MERGE and all(abs(c - other) > MERGE for other in stages):
            stages[c] = point
    return stages


def _write(write: Writer, tableau: Tableau, levels: Levels, prediction: Prediction, eta: Eta, steps: _Steps) -> None:
    """All coefficients of M steps at once, as (M,) arrays; then their rows."""
    if not steps.starts:
        return
    lam0 = np.array([point.lam for point in steps.starts])
    h = np.array([point.lam for point in steps.ends]) - lam0
    ends = (*tableau.c[1:], 1.0)
    points = _points(tableau, levels, lam0, h, steps)
    reach = {
        c: Integrals(prediction, eta, lam0, c * h)
        for c in {c for row in tableau.a for weights in row for _, c in weights} | set(ends)
    }
    moments = {(k, c): reach[c].moment(k) / c for row in tableau.a for weights in row for k, c in weights}
    unit = {c: prediction.q(np.exp(-lam0 - c * h)) for c in reach}
    marks = [0.0, *sorted(set(ends))]
    stretches = [Integrals(prediction, eta, lam0 + a * h, (b - a) * h) for a, b in pairwise(marks)]
    std = np.array([np.sqrt(stretch.variance()) for stretch in stretches]).T.tolist()  # (M, stretches)
    phis = np.array([stretch.phi for stretch in stretches]).T.tolist()
    phi = {end: reach[end].phi.tolist() for end in ends}

    def weight_of(table: Weights, end: float) -> np.ndarray:
        parts = (
            weight * moments[k, c] * (1.0 if c == end else unit[end] / unit[c]) for (k, c), weight in table.items()
        )
        return sum(parts, np.zeros_like(h))

    weights = [
        np.array([weight_of(table, end) for table in row]).T.tolist() for end, row in zip(ends, tableau.a, strict=True)
    ]  # (M, calls)
    for m in range(len(h)):
        if steps.starts[m] != write.at:
            write.renoise(steps.starts[m], steps.churn.S_noise)
        call, at = write.calls, [lam0[m] + mark * h[m] for mark in marks]
        draws = {k: write.draw(at[k], at[k + 1]) for k in range(len(stretches)) if std[m][k] > 0}
        for i, end in enumerate(ends):
            here = marks.index(end)
            path = {draw: (*phis[m][here - 1 : k : -1], std[m][k]) for k, draw in draws.items() if k < here}
            w = {call + j: value for j, value in enumerate(weights[i][m])}
            write.advance(points[m][i + 1], phi[end][m], w, path, completes=i == len(ends) - 1)


def _points(tableau: Tableau, levels: Levels, lam0: np.ndarray, h: np.ndarray, steps: _Steps) -> list[list[Point]]:
    """The s + 1 levels of each step: its start, its stages, its end; ends are the grid's own points, bit for bit."""
    starts, ends, stages = list(steps.starts), list(steps.ends), steps.stages
    columns = [starts]
    columns += [
        ends if c == 1.0 else levels.at_lam(lam0 + c * h) if stages is None else [stages[c]] for c in tableau.c[1:]
    ]
    return [list(step) for step in zip(*columns, ends, strict=True)]
