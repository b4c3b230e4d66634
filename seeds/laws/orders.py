"""Orders of convergence, measured without Monte Carlo: of the ODE, and weak, on data for which the answer is known.

    ode_errors        the probability-flow ODE of a mixture, against its solution
    gaussian_errors   the variance of the output on Gaussian data: exact, by responses
    quiet_errors      both, of the same plans without noise
    skew_errors       the third cumulant on Gaussian data made slightly skew: exact to first order, for any plan, and no
                      linear model can stand for it
    largest_step      the largest step in lam at which the variance on Gaussian data is still within 10 %
    mixture_errors    expectations on a mixture: Gauss-Hermite over the draws of a step, backward on a grid; for methods
                      without memory

A `make` is called as make(steps=..., schedule=..., **more) and returns a Plan.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from seeds.errors import InputError
from seeds.laws.responses import MIXTURE, Gaussians, mixture_denoiser, sensitivities, states, unit_scale
from seeds.plans import Opening, Plan, Point, Row

Make = Callable[..., Plan]
MODELS = Gaussians(np.array([0.1, 0.3, 0.7, 1.5, 3.0]))
ENDS: dict[str, Any] = {
    "schedule": "vp",
    "nsr_max": math.exp(2),
    "nsr_min": math.exp(-2),
    "grid": "uniform_lam",
    "final": "none",
}
"""Uniform lam from -2 to 2: on a longer range, or with one std, sign changes make a slope meaningless."""
STARTS = np.linspace(-2.0, 2.0, 9)
STEPS, NOISY_STEPS = (96, 192), (128, 256)


def slope(errors: Sequence[float]) -> float:
    """Order of convergence from the errors at N and 2 N steps."""
    return math.log2(errors[0] / errors[1])


def gaussian_errors(make: Make, steps: Sequence[int] = NOISY_STEPS, **options: Any) -> list[float]:
    """Largest relative error of the output variance over data N(0, s^2), for each number of steps: the weak error."""
    return [_variance_error(plan, _held(plan)[-1]) for plan in (make(steps=n, **ENDS, **options) for n in steps)]


def _variance_error(plan: Plan, last: np.ndarray) -> float:
    """From (S, normals), what the last state holds of each normal."""
    return float(np.abs((last**2).sum(1) / MODELS.variance(plan.end) - 1).max())


@functools.lru_cache(maxsize=4)
def _held(plan: Plan) -> list[np.ndarray]:
    """(S, 1 + draws) for each state, what it holds of the start and of each draw, on Gaussian data."""
    return [state.numpy() for state in MODELS.responses(plan)]


def largest_step(make: Make, within: float = 0.1, most: int = 96, **options: Any) -> float:
    """The largest step in lam, of equal steps from -3 to 3, up to which the output variance is within 10 % for data of
    every std of `MODELS`.

    Every smaller step, down to 6 / `most`, is within it too. 0 if none is.
    """
    ends = {**ENDS, "nsr_max": math.exp(3), "nsr_min": math.exp(-3)}
    fewest = most + 1
    while fewest > 1:
        plan = make(steps=fewest - 1, **ends, **options)
        if not _variance_error(plan, _held(plan)[-1]) <= within:
            break
        fewest -= 1
    return 6 / fewest if fewest <= most else 0.0


def skew_errors(make: Make, steps: Sequence[int] = NOISY_STEPS, **options: Any) -> list[float]:
    """Largest error of the output's third cumulant, to first order in that of the data, 1, over data of standard
    deviation s.

    D is gain x + bend (x^2 / variance - 1). With x linear in the normals, C_i its covariance with the last state, g_i
    the last state's answer to something added to answer i and r to the start, the third cumulant of the output is  r^3
    alpha_start^3 + 6 sum_i g_i bend_i C_i^2 / variance_i.
    """
    errors = []
    for n in steps:
        plan = make(steps=n, **ENDS, **options)
        weights = _held(plan)
        to_start, to_answers = sensitivities(plan, MODELS)
        covariance = np.array([np.einsum("sk,sk->s", state, weights[-1]) for state in weights[:-1]])
        bend = np.array([MODELS.bend(row.at) / MODELS.variance(row.at) for row in plan.rows])
        third = (to_start * plan.start.alpha) ** 3 + 6 * (to_answers * bend * covariance**2).sum(0)
        errors.append(float(np.abs(third / plan.end.alpha**3 - 1).max()))
    return errors


@functools.cache
def solved_flow() -> np.ndarray:
    """Where the probability-flow ODE of the mixture takes each of `STARTS`, in units of the state's size: classical
    Runge-Kutta, to 1e-12."""

    def pull(log_nsr: float, y: np.ndarray) -> np.ndarray:
        nsr = math.exp(log_nsr)
        return y - mixture_denoiser(torch.from_numpy(y), Point(nsr, 1.0, nsr)).numpy()

    count = 2000
    h, y = -4.0 / count, STARTS * math.hypot(1, math.exp(2))
    for i in range(count):
        at = 2.0 + i * h
        k1 = pull(at, y)
        k2 = pull(at + h / 2, y + h / 2 * k1)
        k3 = pull(at + h / 2, y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + pull(at + h, y + h * k3))
    return y / math.hypot(1, math.exp(-2))


def ode_errors(make: Make, steps: Sequence[int] = STEPS, **options: Any) -> list[float]:
    """Largest error of the probability-flow ODE of the mixture over several starts, for each number of steps."""
    return quiet_errors(make, steps, **options)[0]


def quiet_errors(make: Make, steps: Sequence[int] = STEPS, **options: Any) -> tuple[list[float], list[float]]:
    """`ode_errors`, and `gaussian_errors` of the same plans, which draw nothing."""
    nonlinear, linear = [], []
    for n in steps:
        plan = make(steps=n, **ENDS, **options)
        mixture, gaussian = _undisturbed(plan.start, plan.opening, plan.rows, plan.end)
        nonlinear.append(float(np.abs(mixture / unit_scale(plan.end) - solved_flow()).max()))
        linear.append(_variance_error(plan, gaussian[:, None]))
    return nonlinear, linear


@functools.lru_cache(maxsize=8)
def _undisturbed(start: Point, opening: Opening, rows: tuple[Row, ...], end: Point) -> tuple[np.ndarray, np.ndarray]:
    """The last states of a plan without draws: from `STARTS` on the mixture, and from the marginal on Gaussian data.

    A solver and its twin have the same rows.
    """
    count = len(STARTS)

    def denoise(x: torch.Tensor, at: Point) -> torch.Tensor:
        return torch.cat([mixture_denoiser(x[:count], at), torch.from_numpy(MODELS.gain(at)) * x[count:]])

    first = np.concatenate([STARTS * unit_scale(start), np.sqrt(MODELS.variance(start))])
    last = states(Plan("", start, rows, end, opening=opening), denoise, torch.from_numpy(first), _none)[-1].numpy()
    return last[:count], last[count:]


def startup_errors(make: Make, h: Sequence[float] = (1 / 64, 1 / 128), **options: Any) -> list[float]:
    """Largest error after the first four steps of size h, of the ODE of the mixture: what a method with memory makes
    before it has any."""
    errors = []
    for size in h:
        nsr = np.exp(1.0 - size * np.arange(5))
        common = {"schedule": "vp", "final": "none", **options}
        plan, fine = make(sigmas=nsr, **common), make(sigmas=np.exp(1.0 - size / 16 * np.arange(65)), **common)
        x = torch.from_numpy(STARTS * unit_scale(plan.start))
        one, other = (states(each, mixture_denoiser, x, _none)[-1] for each in (plan, fine))
        errors.append(float((one - other).abs().max()))
    return errors


def _none(j: int) -> torch.Tensor:
    raise AssertionError(f"an ODE reads draw {j}")


REACH, PLACES, HERMITE = 6.0, 161, 4
WAVES = np.array([0.7, 1.5, 2.5])
"""Expectations that are compared: of cos(w y) and sin(w y)."""


def mixture_errors(make: Make, steps: Sequence[int] = (32, 64), **options: Any) -> list[float]:
    """Largest error of E cos(w y) and E sin(w y) at the end, for a start from the mixture's own marginal, for each
    number of steps.

    The expectation over the draws of a step is a Gauss-Hermite sum, taken step by step from the last to the first on a
    grid of states: no sampling, and a model that is not linear. Of methods without memory, whose steps read nothing but
    where they start.
    """
    errors = []
    for n in steps:
        plan = make(steps=n, **ENDS, **options)
        if plan.remembers:
            raise InputError(
                f"{plan.solver} reads values of earlier steps, but an expectation is carried from step to step by the "
                "state alone."
            )
        value = _waves(np.linspace(-REACH, REACH, PLACES) * unit_scale(plan.end) / plan.end.alpha)
        for rows in reversed(_by_step(plan)):
            value = _expected(plan, rows, value)
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        waves = np.zeros(value.shape[1])
        for mean, std, weight in zip(*MIXTURE, strict=True):
            x = plan.start.alpha * mean + math.sqrt(plan.start.alpha**2 * std**2 + plan.start.sigma**2) * nodes
            waves += weight * (weights / weights.sum()) @ _at(value, x / unit_scale(plan.start))
        errors.append(float(np.abs(waves - _exact_waves(plan.end.nsr)).max()))
    return errors


def _waves(y: np.ndarray) -> np.ndarray:
    return np.concatenate([np.cos(y[..., None] * WAVES), np.sin(y[..., None] * WAVES)], axis=-1)


def _exact_waves(nsr: float) -> np.ndarray:
    parts = [
        weight * _waves(np.array(mean)) * np.tile(np.exp(-(WAVES**2) * (std**2 + nsr**2) / 2), 2)
        for mean, std, weight in zip(*MIXTURE, strict=True)
    ]
    return np.sum(parts, axis=0)


def _by_step(plan: Plan) -> list[list[int]]:
    """The rows of each step."""
    groups: dict[int, list[int]] = {}
    for i, start in enumerate(plan.step_starts()):
        groups.setdefault(start, []).append(i)
    return list(groups.values())


def _expected(plan: Plan, rows: list[int], value: np.ndarray) -> np.ndarray:
    """(places, waves) the expectation of `value`, a function of the state after the step, as a function of the state
    before it."""
    first = rows[0]
    if first == 0 and plan.opening.z:
        raise InputError(f"{plan.solver} lifts the state before its first call; measure its order without that.")
    draws = sorted({j for i in rows for j, _ in plan.rows[i].z})
    nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE)
    points = plan.points()
    shape = [1] * (1 + len(draws))

    def along(axis: int, values: np.ndarray) -> np.ndarray:
        return values.reshape([*shape[:axis], len(values), *shape[axis + 1 :]])

    z = {j: along(1 + k, nodes) for k, j in enumerate(draws)}
    x = {first: along(0, np.linspace(-REACH, REACH, PLACES) * unit_scale(points[first]))}
    d: dict[int, np.ndarray] = {}
    for i in rows:
        d[i] = mixture_denoiser(torch.from_numpy(x[i]), points[i]).numpy()
        state: Any = 0.0
        for part, pairs in ((x, plan.rows[i].x), (d, plan.rows[i].d), (z, plan.rows[i].z)):
            for j, weight in pairs:
                state = state + weight * part[j]
        x[i + 1] = state
    after = np.broadcast_to(x[rows[-1] + 1], [PLACES] + [HERMITE] * len(draws))
    result = _at(value, after / unit_scale(points[rows[-1] + 1]))
    for _ in draws:
        result = np.tensordot(weights / weights.sum(), result, axes=(0, result.ndim - 2))
    return result


def _at(value: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(places, waves) values on the grid, at other places: by the polynomial through the six nearest; outside, the
    value at the edge."""
    at = (np.clip(place, -REACH, REACH) + REACH) * (PLACES - 1) / (2 * REACH)
    first = np.clip(at.astype(int) - 2, 0, PLACES - 6)
    t = at - first
    result = np.zeros((*place.shape, value.shape[1]))
    for k in range(6):
        basis = np.ones_like(t)
        for m in range(6):
            if m != k:
                basis = basis * (t - m) / (k - m)
        result += basis[..., None] * value[first + k]
    return result
