r"""How the polynomial through known values becomes their weights: against the kernel of theory section 4, or flat, or
as a published method has it.

With F ~ sum_j L_j(u) F_j on a step lam0 -> lam1 and K = int Phi (1 + eta) q dlam, the exact first-order weight:

    "exact"                  w_j = int Phi (1 + eta) q L_j dlam
    "lam", "nsr^p", "t",     w_j = K x the mean over the step of L_j, flat in that variable: DPM-Solver++'s midpoint
                             forms (lam, last 2), iPNDM
    "vp_t", "index"          (index)
    "at r"                   w_j = K x L_j at the fraction r of the step, in lam: gradient estimation ("at 1", gamma = 1
                             + r)
    "bh1", "bh2"             two values F_0, F_o at 0 and o (in lam): K F_0 + B h / (2 o) (F_o - F_0), with B = q(nsr1)
                             int (1 + eta) dlam, or
                             B = K: UniPC's two functions B(h), and bh1 in SA-Solver's published code. More values:
                             exact
    "half", "half-midpoint"  three values: exact, but for half the weight of the second difference: the published code
                             of DPM-Solver++ 3M.
                             Two: exact, or flat in lam
    "taylor"                 three values: F_0 + s F[0,1] + s^2 F[0,1,2] with s = u - u_0, against the kernel:
                             ER-SDE-Solver's. Fewer: exact

All keep a constant F exact. Source of the idea: theory section 10.
"""

import math
from collections.abc import Callable

import numpy as np

from seeds import variables
from seeds.errors import InputError
from seeds.integrals import NODES, WEIGHTS, Array, Eta, Integrals, lagrange_values
from seeds.predictions import Prediction
from seeds.solvers.levels import Levels
from seeds.variables import Variable

Rule = Callable[[Integrals, Array], Array]
"""(M, k) weights of F at (M, k) nodes, given as lam - lam0, noisiest first."""
PUBLISHED = ("bh1", "bh2", "half", "half-midpoint", "taylor")


def rule(measure: str, variable: str, levels: Levels, prediction: Prediction, eta: Eta) -> Rule:
    """The rule of that name, with polynomials in that variable.

    Raises: ValueError if there is no such measure, or no such variable.
    """
    u = variables.variable(variable, levels.schedule, levels.lam)
    if measure == "exact":
        return lambda it, nodes: it.lagrange(nodes, u)
    if measure in PUBLISHED:
        return _published(measure, u, prediction, eta)
    name, _, place = str(measure).partition(" ")
    if name == "at":
        return _flat(u, _at(measure, place))
    try:
        m, back = variables.variable(measure, levels.schedule, levels.lam), variables.inverse(measure, levels.schedule)
    except ValueError:
        names = ", ".join(("exact", *variables.NAMES, "at r", *PUBLISHED))
        raise InputError(
            f"`measure` must be one of {names}, with numbers for p and r, but is {measure!r}. As in 'nsr^0.45', 'at "
            "0.5'."
        ) from None
    return _flat(u, lambda it: _evenly(it, m, back), WEIGHTS)


def _at(measure: str, place: str) -> Callable[[Integrals], Array]:
    try:
        r = float(place)
    except ValueError:
        r = math.nan
    if not 0 <= r <= 1:
        raise InputError(f"`measure` = {measure!r}: the place in the step is a number from 0 to 1, as in 'at 0.5'.")
    return lambda it: r * it.h[:, None]


def _evenly(it: Integrals, m: Variable | None, back: Variable | None) -> Array:
    """(M, 20) lam - lam0 at the quadrature's nodes in m."""
    if m is None or back is None:
        return it.h[:, None] * NODES
    first, last = m(it.lam0)[:, None], m(it.lam0 + it.h)[:, None]
    return back(first + NODES * (last - first)) - it.lam0[:, None]


def _flat(u: Variable | None, places: Callable[[Integrals], Array], weights: Array | float = 1.0) -> Rule:
    """K x the mean of L_j over these places."""

    def weigh(it: Integrals, nodes: Array) -> Array:
        at = places(it)
        if u is not None:
            at, nodes = u(it.lam0[:, None] + at), u(it.lam0[:, None] + nodes)
        return it.weight()[:, None] * np.stack(
            [(weights * basis).sum(1) for basis in lagrange_values(at, nodes)], axis=1
        )

    return weigh


def _published(measure: str, u: Variable | None, prediction: Prediction, eta: Eta) -> Rule:
    if u is not None and measure != "taylor":
        raise InputError(f"`measure` = {measure!r} has polynomials in lam: leave `variable` out.")

    def weigh(it: Integrals, nodes: Array) -> Array:
        exact, count = it.lagrange(nodes, u), nodes.shape[1]
        if count == 2 and measure in ("bh1", "bh2", "half-midpoint"):
            whole, last = it.weight(), np.exp(-it.lam0 - it.h)
            size = prediction.q(last) * it.panels.sum(1 + it.panels.eta) if measure == "bh1" else whole
            other = np.abs(nodes).argmax(axis=1)[:, None]  # of the value that is not the one at the start of the step
            away = size * it.h / (2 * np.take_along_axis(nodes, other, 1)[:, 0])
            return np.where(np.arange(2) == other, away[:, None], (whole - away)[:, None])
        if count == 3 and measure in ("half", "half-midpoint"):
            return exact - it.weight(it.panels.offset**2)[:, None] / 2 * _second_difference(nodes)
        if count == 3 and measure == "taylor":
            places, at = (nodes, it.panels.offset) if u is None else (u(it.lam0[:, None] + nodes), u(it.panels.lam))
            start = places[:, -1]
            moment = it.weight(at - start[it.panels.owner, None]) * (places[:, -2] - start)
            return exact + moment[:, None] * _second_difference(places)
        return exact

    return weigh


def _second_difference(nodes: Array) -> Array:
    """(M, 3) weights of the divided difference of three values."""
    a, b, c = nodes.T
    return np.stack([1 / ((a - b) * (a - c)), 1 / ((b - a) * (b - c)), 1 / ((c - a) * (c - b))], axis=1)
