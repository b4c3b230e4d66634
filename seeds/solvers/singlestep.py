r"""Exponential Runge-Kutta methods, stochastic (SEEDS) and not (ERK): the compiler from a tableau to a plan.

With y = x / alpha, a step lam0 -> lam1 = lam0 + h and the stage (or the end) at lam0 + c h:

    y_c = Phi_c y_0 + sum_j w_cj F_j + n_c,        F_j = (D_j - p_j y_j) / q_j

w_cj are the tableau's weights on the moments of theory section 4; all stages and the step read ONE Brownian path, one draw for each stretch between
neighbouring positions: n_b = Phi(b, a) n_a + std(a -> b) z.

A network may know some noise levels only (`levels.round_nsr`). The ends of steps are such levels. Stages of a family with free positions move to such
levels too; those of a fixed tableau stay where it puts them, and the network rounds what it is told of the level, as iDDPM's and `wrap` do.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from seeds.integrals import Eta, Integrals
from seeds.plans import Point
from seeds.predictions import Prediction
from seeds.solvers.levels import Levels
from seeds.solvers.writer import Writer
from seeds.tableaus import Tableau

MERGE = 1e-9
"""Positions nearer than this fraction of a step are one position."""


def singlestep(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta, tableau: Tableau, at: Callable[..., Tableau] | None = None
) -> None:
    """Writes all steps of an exponential Runge-Kutta method: s N rows and, where eta > 0, a draw for each stretch of path.

    Args:
        tableau: the method.
        at: the family's tableau for other stage positions, for networks that know some levels only (`levels.round_nsr`); it gets the distinct
            positions strictly inside the method's own range, possibly fewer than the method has. None if the positions cannot move: then the stages
            stay exactly at `tableau.c`, between known levels, and only the ends of steps are known levels.
    """
    lam = levels.lam
    lam0, h = lam[:-1], np.diff(lam)
    if len(h) == 0:
        return
    if levels.round_nsr is None or at is None:
        _write(write, tableau, replace(levels, round_nsr=None), prediction, eta, lam0, h)
        return
    for i in range(len(h)):
        known = levels.at_lam(lam0[i] + np.array(tableau.c[1:]) * h[i])
        inside = {float((point.lam - lam0[i]) / h[i]): point for point in known}
        stages = {1.0 if c > 1 - MERGE else c: point for c, point in sorted(inside.items()) if c > MERGE}
        c = [c for c, following in pairwise([*stages, np.inf]) if following - c > MERGE]
        _write(write, at(c), levels, prediction, eta, lam0[i : i + 1], h[i : i + 1], first=i, stages=stages)


def _write(
    write: Writer,
    tableau: Tableau,
    levels: Levels,
    prediction: Prediction,
    eta: Eta,
    lam0: np.ndarray,
    h: np.ndarray,
    first: int = 0,
    stages: Mapping[float, Point] | None = None,
) -> None:
    """All coefficients of M steps at once, as (M,) arrays; then their rows. `stages`: the levels at the positions of a single step."""
    ends = (*tableau.c[1:], 1.0)
    points = _points(tableau, levels, lam0, h, first, stages)
    alpha, nsr = np.array([[(p.alpha, p.nsr) for p in step] for step in points]).transpose(2, 1, 0)  # (s + 1, M)
    p, q = prediction.p(nsr), prediction.q(nsr)
    reach = {
        c: Integrals(prediction, eta, lam0, c * h) for c in {c for row in tableau.a for weights in row for _, c in weights} | set(ends)
    }
    moments = {(k, c): reach[c].moment(k) / c for row in tableau.a for weights in row for k, c in weights}

    marks = [0.0, *sorted(set(ends))]
    stretches = [Integrals(prediction, eta, lam0 + a * h, (b - a) * h) for a, b in pairwise(marks)]
    std = [np.sqrt(stretch.variance()) for stretch in stretches]

    rows = []
    for i, (end, row) in enumerate(zip(ends, tableau.a, strict=True)):
        scale = alpha[i + 1]
        w = [sum((weight * moments[key] for key, weight in weights.items()), np.zeros_like(h)) for weights in row]
        x = [-scale * w_j * p[j] / (q[j] * alpha[j]) for j, w_j in enumerate(w)]
        x[0] = x[0] + scale * reach[end].phi / alpha[0]
        d = [scale * w_j / q[j] for j, w_j in enumerate(w)]
        z, phi = [], scale
        for k in reversed(range(marks.index(end))):
            z.append(phi * std[k])
            phi = phi * stretches[k].phi
        rows.append(tuple(np.stack(part, axis=1).tolist() for part in (x, d, z[::-1])))

    noisy = np.stack(std, axis=1) > 0
    for m in range(len(h)):
        call = write.calls
        draws = {k: write.draw(lam0[m] + marks[k] * h[m], lam0[m] + marks[k + 1] * h[m]) for k in range(len(std)) if noisy[m, k]}
        for i, (x, d, z) in enumerate(rows):
            write.row(
                points[m][i + 1],
                {call + j: value for j, value in enumerate(x[m])},
                {call + j: value for j, value in enumerate(d[m])},
                {draws[k]: value for k, value in enumerate(z[m]) if k in draws},
                completes=i == len(rows) - 1,
            )


def _points(
    tableau: Tableau, levels: Levels, lam0: np.ndarray, h: np.ndarray, first: int, stages: Mapping[float, Point] | None
) -> list[list[Point]]:
    """The s + 1 levels of each step: its start, its stages, its end; ends are the grid's own points, bit for bit."""
    starts, ends = levels.points[first : first + len(h)], levels.points[first + 1 : first + 1 + len(h)]
    columns: list[list[Point] | tuple[Point, ...]] = [starts]
    columns += [list(ends) if c == 1.0 else levels.at_lam(lam0 + c * h) if stages is None else [stages[c]] for c in tableau.c[1:]]
    return [list(step) for step in zip(*columns, ends, strict=True)]
