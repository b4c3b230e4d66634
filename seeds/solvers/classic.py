r"""The methods SEEDS is measured against: Runge-Kutta on the probability-flow ODE with EDM's churn, and
Euler-Maruyama."""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np

from seeds.errors import InputError
from seeds.integrals import Eta
from seeds.plans import Point
from seeds.predictions import Prediction
from seeds.schedules import Discrete
from seeds.solvers.churn import Amount, Churn, Highest, Louder, Lowest
from seeds.solvers.levels import Levels
from seeds.solvers.writer import Writer


class Slope(NamedTuple):
    """The ODE at one level, in the variable s for the state u = x / scale:  du/ds = a u + b D."""

    s: float
    scale: float
    a: float
    b: float


def in_nsr(levels: Levels, at: Point) -> Slope:
    """dy/dnsr = (y - D) / nsr for y = x / alpha."""
    return Slope(at.nsr, at.alpha, 1 / at.nsr, -1 / at.nsr)


def in_t(levels: Levels, at: Point) -> Slope:
    """dx/dt = sigma'/sigma x - alpha nsr'/nsr D in the time of the schedule.

    Its derivatives are those in lam by central differences of order 4, since a schedule has a t for every lam, but not
    a lam for every t near its ends.
    """
    step = 4e-3
    t = np.asarray(levels.schedule.t_of_lam(at.lam + step * np.array([-2.0, -1.0, 1.0, 2.0])))
    stencil = np.array([1.0, -8.0, 8.0, -1.0]) / (12 * step)
    growth = -1 / float(stencil @ t)  # d log nsr / dt
    log_sigma = -growth * float(stencil @ np.log(levels.schedule.sigma(t)))
    return Slope(at.t, 1.0, log_sigma, -at.alpha * growth)


VARIABLES: dict[str, Callable[[Levels, Point], Slope]] = {"nsr": in_nsr, "t": in_t}


StepVariable = Annotated[str, "what steps are taken in: nsr, as EDM's, or t of the schedule"]


def euler(
    write: Writer,
    levels: Levels,
    prediction: Prediction,
    eta: Eta,
    *,
    S_churn: Amount = 0.0,
    S_min: Lowest = 0.0,
    S_max: Highest = math.inf,
    S_noise: Louder = 1.0,
    variable: StepVariable = "nsr",
) -> None:
    """Writes Euler steps for the probability-flow ODE, with churn: `runge_kutta` with one stage."""
    runge_kutta(write, levels, stages=1, variable=variable, churn=Churn(S_churn, S_min, S_max, S_noise))


def two_stages(
    write: Writer,
    levels: Levels,
    prediction: Prediction,
    eta: Eta,
    *,
    r: Annotated[float, "position of the second stage, in (0, 1]: 1 is Heun, 1/2 midpoint, 2/3 Ralston"] = 1.0,
    S_churn: Amount = 0.0,
    S_min: Lowest = 0.0,
    S_max: Highest = math.inf,
    S_noise: Louder = 1.0,
    variable: StepVariable = "nsr",
) -> None:
    """Writes two-stage Runge-Kutta steps for the probability-flow ODE, with churn: `runge_kutta`."""
    runge_kutta(write, levels, stages=2, r=r, variable=variable, churn=Churn(S_churn, S_min, S_max, S_noise))


def runge_kutta(
    write: Writer, levels: Levels, *, stages: int, r: float = 1.0, variable: str = "nsr", churn: Churn
) -> None:
    """Writes Runge-Kutta steps for the probability-flow ODE: Euler (one stage), or two stages at 0 and r with weights
    (1 - 1/(2r), 1/(2r)).

    r = 1 is Heun's method, 1/2 the midpoint rule, 2/3 Ralston's. `variable` "nsr" steps y = x / alpha in nsr, as EDM
    does; "t" steps x in the time of the schedule, which must be smooth. Churn is applied before each step, before the
    first call and before the final denoise alike.

    Source: Karras et al. 2022 (arXiv:2206.00364), Algorithms 1 and 2.
    Raises: ValueError if r is not in (0, 1], or `variable` is unknown.
    """
    if isinstance(r, str) or np.ndim(r) != 0 or not 0 < r <= 1:
        raise InputError(f"`r` of rk-2 must be in (0, 1], but is {r!r}. Heun is 1, midpoint 1/2, Ralston 2/3.")
    if variable not in VARIABLES:
        raise InputError(f"`variable` must be one of {', '.join(VARIABLES)}, but is {variable!r}.")
    if variable == "t" and isinstance(levels.schedule, Discrete):
        raise InputError(
            "`variable` = 't' follows the slope of the schedule, but a table has none at its levels. Leave it out, or "
            "use schedule='vp'."
        )
    slope_at = VARIABLES[variable]
    for p1 in levels.points[1:]:
        churn.before(write, levels)
        p0, i = write.at, write.calls
        k0, k1 = slope_at(levels, p0), slope_at(levels, p1)
        ds = k1.s - k0.s
        stage = None
        if stages == 2:
            (stage,) = [p1] if r == 1 else levels.stages_at(np.array([_lam_of(levels, variable, k0.s + r * ds)]))
            if not (stage.nsr < p0.nsr):
                stage = None  # the network knows no level in between: an Euler step
        if stage is None:
            write.row(p1, {i: k1.scale / k0.scale * (1 + ds * k0.a)}, {i: k1.scale * ds * k0.b})
            continue
        kr = slope_at(levels, stage)
        r_ds = kr.s - k0.s
        write.row(stage, {i: kr.scale / k0.scale * (1 + r_ds * k0.a)}, {i: kr.scale * r_ds * k0.b}, completes=False)
        w_r = ds**2 / (2 * r_ds)
        w_0 = ds - w_r
        write.row(
            p1,
            {i: k1.scale / k0.scale * (1 + w_0 * k0.a), i + 1: k1.scale / kr.scale * w_r * kr.a},
            {i: k1.scale * w_0 * k0.b, i + 1: k1.scale * w_r * kr.b},
        )
    if write.final:
        churn.before(write, levels)


def _lam_of(levels: Levels, variable: str, s: float) -> float:
    return -math.log(s) if variable == "nsr" else float(levels.schedule.lam(s))


def euler_maruyama(write: Writer, levels: Levels, prediction: Prediction, eta: Eta) -> None:
    """Writes Euler-Maruyama steps on y = x / alpha in nsr, every coefficient frozen at the start of the step:

    y1 = y0 + (1 + eta) (nsr1 - nsr0) / nsr0 (y0 - D) + sqrt(2 eta nsr0 (nsr0 - nsr1)) z

    Source: the textbook method on theory section 2 (Kloeden and Platen 1992, chapter 9).
    """
    for p0, p1 in levels.steps:
        i, e = write.calls, float(eta(np.array([p0.lam]))[0])
        move = (1 + e) * (p1.nsr / p0.nsr - 1)
        z = {write.draw(p0.lam, p1.lam): p1.alpha * math.sqrt(2 * e * p0.nsr * (p0.nsr - p1.nsr))} if e > 0 else {}
        write.row(p1, {i: p1.alpha / p0.alpha * (1 + move)}, {i: -p1.alpha * move}, z)
