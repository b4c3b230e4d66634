r"""Exponential Adams methods, stochastic and not: each step interpolates F through values that are there already, one
model call a step.

With y = x / alpha, a step from level i (at lam_i) to level i + 1, and L_j the Lagrange polynomials in u(lam) through
the levels of `nodes` (theory section 4):

    y_{i+1} = Phi y_i + sum_{j in nodes} w_j F_j + n,        w_j = int Phi(lam_{i+1}, lam) (1 + eta) q L_j(u(lam)) dlam

The nodes of each sum:

    predictor   the last k levels, i - k + 1 .. i
    corrector   the last m levels and the one reached, i + 2 - m .. i + 1: once F_{i+1} is known, the difference of the
                two sums is added to y_{i+1}
                PEC     the answer is kept and not asked for again. The difference is a combination of F_j, so the next
                        row makes it: no call
                PECE    (`evaluate`) the corrected state is asked about as well, a second call a step, and the first
                        answer is read by nothing else

`measure` says how the polynomial becomes weights: exactly, as above, or flat, w_j = K mean L_j
(seeds.solvers.measures). Known points of the family:

    u = lam, exact      exponential Adams, RES, SA-Solver (a corrector, eta(lam)), UniPC (a corrector of k + 1 values,
                        but for two: bh1, bh2)
    u = lam, flat       DPM-Solver++ 2M, midpoint
    u = vp_t, noise     DEIS-tAB;  u = nsr, noise: iPNDM_v, DEIS-rhoAB;  u = nsr, data: ER-SDE-Solver (its third order:
                        "taylor")
    u = index, flat     iPNDM (noise);  "at 1": gradient estimation

Source: Hochbruck and Ostermann 2010 (doi:10.1017/S0962492910000048), section 2.5; theory section 10 for u, the measure,
    eta and predictions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np

from seeds.errors import InputError
from seeds.integrals import Array, Eta, Integrals
from seeds.plans import CLEAN
from seeds.predictions import Prediction
from seeds.solvers.levels import Levels
from seeds.solvers.measures import PUBLISHED, Rule, rule
from seeds.solvers.singlestep import singlestep
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders, Tableau, order_1, order_2, order_3, order_4

MOST = 4
"""Values a predictor may read; more are unstable at any useful step."""
STARTUPS = ("grow", "singlestep")


def adams(
    write: Writer,
    levels: Levels,
    prediction: Prediction,
    eta: Eta,
    *,
    k: Annotated[int, "values that a step reads, 1 to 4"] = 2,
    corrector: Annotated[int, "values of the corrector, the new one included, up to k + 1; 0 is none"] = 0,
    evaluate: Annotated[bool, "asks about the corrected state too: a second call a step (PECE)"] = False,
    variable: Annotated[str, "of the polynomials: lam, nsr, nsr^0.45, t, vp_t or index"] = "lam",
    measure: Annotated[str, "of the weights: exact, or flat in lam, nsr, nsr^0.45, t or index, or 'at 0.5'"] = "exact",
    startup: Annotated[str, "the first k - 1 steps: grow, from one value, or singlestep, with stages"] = "grow",
    lower_order_final: Annotated[
        bool, "the last step, a final denoise included, reads one value, the one before it two"
    ] = False,
    finish: Annotated[float, "nsr that a last step is taken to, in place of the final denoise; 0 is the denoise"] = 0.0,
) -> None:
    """Writes exponential Adams steps: one model call each, two with `evaluate`, but for stages of the start-up, and,
    where eta > 0, one draw each.

    With `finish`, the last answer is not the result: a step like the others goes on from the last level to that of
    `finish`, and y is returned as it is there, with noise of that standard deviation. A denoise is an average: what is
    finer than the last level is gone from it. The step extrapolates to it.

    Raises: ValueError naming the option that is out of its range.
    """
    _check(k, corrector, evaluate, measure, startup, finish)
    lam = levels.lam
    if len(lam) == 1:
        return
    singles = min(k - 1, len(lam) - 1) if startup == "singlestep" else 0
    ends, finishes = list(levels.points[1:]), write.final and 0 < finish < levels.points[-1].nsr
    if finishes:
        lam, ends = np.append(lam, -np.log(finish)), [*ends, CLEAN]
    h, denoises = np.diff(lam), write.final and not finishes
    weigh = rule(measure, variable, levels, prediction, eta)
    most = [min(k, len(h) - i + denoises) if lower_order_final else k for i in range(len(h))]
    early = [range(max(0, i + 1 - most[i]), i + 1) for i in range(len(h))]
    late = [range(max(0, i + 2 - min(corrector, most[i] + 1)), i + 2) for i in range(len(h))]
    predictor_weights = _weights(prediction, eta, lam, weigh, early)
    corrector_weights = _weights(prediction, eta, lam, weigh, late) if corrector else []
    whole = Integrals(prediction, eta, lam[:-1], h)
    phi, std = whole.phi.tolist(), np.sqrt(whole.variance()).tolist()
    calls: list[int] = []  # for each level, the model call that asked about it
    for i, to in enumerate(ends):
        calls.append(write.calls)
        if i < singles:
            singlestep(
                write, replace(levels, points=levels.points[i : i + 2]), prediction, eta, _startup_tableau(k, corrector)
            )
            continue
        noise = {write.draw(lam[i], lam[i + 1]): std[i]} if std[i] else {}
        if evaluate and to is not CLEAN:
            write.advance(
                to, phi[i], {calls[j]: weight for j, weight in predictor_weights[i].items()}, noise, completes=False
            )
            asks = [*calls, write.calls]
            write.advance(to, phi[i], {asks[j]: weight for j, weight in corrector_weights[i].items()}, noise)
            continue
        weights = dict(predictor_weights[i])
        if corrector and i > singles:
            for j in sorted({*corrector_weights[i - 1], *predictor_weights[i - 1]}):
                change = corrector_weights[i - 1].get(j, 0.0) - predictor_weights[i - 1].get(j, 0.0)
                weights[j] = weights.get(j, 0.0) + phi[i] * change
        write.advance(to, phi[i], {calls[j]: weight for j, weight in weights.items()}, noise)
    write.final = denoises


def adams_orders(
    k: int = 2,
    corrector: int = 0,
    evaluate: bool = False,
    variable: str = "lam",
    measure: str = "exact",
    startup: str = "grow",
    lower_order_final: bool = False,
    finish: float = 0.0,
) -> Orders:
    """Measured orders: of the interpolation, min(k + 1, m) or k, but no more than the measure, the start-up and the
    last steps allow; weak 2 at most."""
    inner = min(_inner_order(k, corrector), _most(measure))
    order = inner if startup == "singlestep" else min(inner, 3 if corrector > 1 else 2)
    ode = min(order, 2) if lower_order_final else order
    return Orders(ode, min(ode, 2))


def _inner_order(k: int, corrector: int) -> int:
    return min(corrector, k + 1) if corrector else k


def _most(measure: str) -> int:
    """The order that a measure allows: flat weights are those of the middle of the step."""
    if measure in ("exact", "bh1", "bh2"):
        return MOST
    return 1 if measure.startswith("at ") and float(measure[3:]) != 0.5 else 2


def _startup_tableau(k: int, corrector: int) -> Tableau:
    """A one-step method whose few steps cost no order: one below the inner one's."""
    return (order_1, order_2, order_3, order_4)[max(_inner_order(k, corrector) - 2, 0)]()


def _weights(
    prediction: Prediction, eta: Eta, lam: Array, weigh: Rule, nodes: Sequence[range]
) -> list[dict[int, float]]:
    """For each step i, from lam[i] to lam[i + 1], the weights of F at the levels nodes[i]: {level: weight}."""
    weights_of: list[dict[int, float]] = [{} for _ in nodes]
    for steps in _alike(nodes):
        levels = np.array([nodes[i] for i in steps])  # (M, nodes)
        lam0, lam1 = lam[steps], lam[[i + 1 for i in steps]]
        weights = weigh(Integrals(prediction, eta, lam0, lam1 - lam0), lam[levels] - lam0[:, None])
        for i, row, values in zip(steps, levels.tolist(), weights.tolist(), strict=True):
            weights_of[i] = dict(zip(row, values, strict=True))
    return weights_of


def _alike(nodes: Sequence[range]) -> Iterable[list[int]]:
    """The steps in groups of one number of nodes: those of a group are computed at once."""
    for count in sorted({len(row) for row in nodes}):
        yield [i for i, row in enumerate(nodes) if len(row) == count]


def _check(k: int, corrector: int, evaluate: bool, measure: str, startup: str, finish: float) -> None:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= MOST:
        raise InputError(f"`k` must be a whole number from 1 to {MOST}, but is {k!r}: so many values does a step read.")
    if isinstance(corrector, bool) or not isinstance(corrector, (int, np.integer)) or not 0 <= corrector <= k + 1:
        raise InputError(
            f"`corrector` must be a whole number from 0 (none) to k + 1 = {k + 1}, the new value included, but is "
            f"{corrector!r}."
        )
    if evaluate and not corrector:
        raise InputError(
            "`evaluate` asks about the corrected state, but `corrector` is 0, none. Give it too, as corrector=2."
        )
    if corrector and measure in PUBLISHED and not measure.startswith("bh"):
        raise InputError(
            f"`measure` = {measure!r} is of a method without a corrector, but `corrector` is {corrector}. Leave one of "
            "them out."
        )
    if startup not in STARTUPS:
        raise InputError(f"`startup` must be one of {', '.join(STARTUPS)}, but is {startup!r}.")
    if not 0 <= finish < np.inf:
        raise InputError(f"`finish` must be a noise level, as nsr, or 0 for the final denoise, but is {finish!r}.")
