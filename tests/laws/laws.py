"""The laws every solver obeys, as functions of a plan: no Monte Carlo, no tolerance for luck.

Everything but the model is linear, so one batch of unit vectors run through the real stepper reads off every coefficient of every state: entry 0
starts at 1 with all draws 0, entry 1 + j has draw j equal to 1. Laws return numbers; the tests compare them, and the mutants must break them.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.integrate import solve_ivp

import seeds
from seeds.integrals import Eta, Integrals
from seeds.plans import Plan, Point
from seeds.predictions import PREDICTIONS, Prediction
from seeds.solvers import SOLVERS
from seeds.stepper import Stepper

Make = Callable[..., Plan]
STDS = (0.1, 0.3, 0.7, 1.5, 3.0)
ENDS = {"nsr_max": math.exp(2), "nsr_min": math.exp(-2), "grid": "uniform_lam", "final": "none"}

CASES = [(name, dict(case)) for name, solver in SOLVERS.items() for case in solver.cases]
EXPONENTIAL = [(name, case) for name, case in CASES if SOLVERS[name].interpolates]
WITH_PREDICTIONS = [(name, case, form) for name, case in CASES for form in (PREDICTIONS if SOLVERS[name].interpolates else ("data",))]


def ids(value) -> str:
    """Readable test names."""
    if isinstance(value, dict):
        return "-".join(f"{k}{v:.3g}" if isinstance(v, float) else f"{k}{v}" for k, v in value.items()) or "default"
    return str(value)


def states(plan: Plan, denoise: Callable[[torch.Tensor, Point], torch.Tensor], x: torch.Tensor, draw) -> list[torch.Tensor]:
    """Every state of a run: the one first asked about, then the one made after each call."""
    stepper = Stepper(plan, x, draw, reuse=False)
    found = [stepper.x]
    while not stepper.done:
        stepper.advance(denoise(stepper.x, stepper.at))
        found.append(stepper.x)
    return found


def responses(plan: Plan, denoise, start: float = 1.0) -> list[torch.Tensor]:
    """(1 + draws,) for each state: its linear response to the start state and to each draw."""
    unit = torch.eye(1 + len(plan.draws), dtype=torch.float64)
    return states(plan, denoise, start * unit[0], lambda j: unit[1 + j])


def slope(errors: list[float]) -> float:
    """Order of convergence from the errors at N and 2 N steps."""
    return math.log2(errors[0] / errors[1])


def gaussian_errors(make: Make, solver: str, steps=(128, 256), **options) -> list[float]:
    """Largest relative error of the output variance over data N(0, s^2), for each number of steps: the exact weak error."""
    errors = []
    for n in steps:
        plan = make(solver, steps=n, schedule="vp", **ENDS, **options)
        worst = 0.0
        for s in STDS:

            def denoise(x, at, s=s):
                return at.alpha * s**2 / (at.alpha**2 * s**2 + at.sigma**2) * x

            def variance(at, s=s):
                return at.alpha**2 * s**2 + at.sigma**2

            last = responses(plan, denoise, math.sqrt(variance(plan.start)))[-1]
            worst = max(worst, abs(last.square().sum().item() / variance(plan.end) - 1))
        errors.append(worst)
    return errors


MIXTURE = (
    torch.tensor([-0.9, 0.1, 0.6], dtype=torch.float64),
    torch.tensor([0.25, 0.4, 0.15], dtype=torch.float64),
    torch.tensor([0.3, 0.5, 0.2]),
)
STARTS = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)


def mixture_denoiser(x: torch.Tensor, at: Point) -> torch.Tensor:
    """E[data | x] for the one-dimensional mixture above, written out here: a nonlinear oracle that shares no code with seeds.exact."""
    mean, std, weight = MIXTURE
    variance = at.alpha**2 * std**2 + at.sigma**2
    away = x[..., None] - at.alpha * mean
    log = weight.double().log() - variance.log() / 2 - away.square() / (2 * variance)
    return (torch.softmax(log, -1) * (mean + at.alpha * std**2 / variance * away)).sum(-1)


def solved_flow() -> torch.Tensor:
    """Where the probability-flow ODE of the mixture takes each start, in units of the state's scale: by scipy, to 1e-13."""

    def slope(log_nsr, y):
        nsr = float(np.exp(log_nsr))
        return y - mixture_denoiser(torch.from_numpy(y), Point(nsr, 1.0, nsr)).numpy()

    start = STARTS.numpy() * np.hypot(1, np.exp(2))
    solved = solve_ivp(slope, (2.0, -2.0), start, method="DOP853", rtol=1e-13, atol=1e-14)
    return torch.from_numpy(solved.y[:, -1] / np.hypot(1, np.exp(-2)))


def ode_errors(make: Make, solver: str, reference: torch.Tensor, steps=(96, 192), **options) -> list[float]:
    """Largest error of the probability-flow ODE of the mixture over several starts, for each number of steps."""
    errors = []
    for n in steps:
        plan = make(solver, steps=n, schedule="vp", **ENDS, **options)
        last = states(plan, mixture_denoiser, STARTS * math.hypot(plan.start.alpha, plan.start.sigma), None)[-1]
        errors.append((last / math.hypot(plan.end.alpha, plan.end.sigma) - reference).abs().max().item())
    return errors


def form_of(name: str) -> Prediction:
    """The prediction of that name with its default numbers."""
    return PREDICTIONS[name]()


def levels_of(plan: Plan) -> list[Point]:
    """The level of each state."""
    return plan.points()


def step_starts(plan: Plan) -> list[int]:
    """For each state after the first, the state that its step started from."""
    starts, current = [], 0
    for i, row in enumerate(plan.rows):
        starts.append(current)
        if row.completes:
            current = i + 1
    return starts


def path_error(plan: Plan, prediction: str, eta) -> float:
    """Where F = 0 (D = p y) the process is Gaussian: every state, stages included, against Phi^2 V0 + var(n) and Phi(b, a) var(a).

    Returns the largest error of variances and covariances, relative to the product of standard deviations, over all pairs of states.
    """
    form, noise = form_of(prediction), Eta(eta)

    def denoise(x, at):
        return float(form.p(np.array([at.nsr]))[0]) / at.alpha * x

    y = torch.stack([x / at.alpha for x, at in zip(responses(plan, denoise), levels_of(plan), strict=True)])
    lam = np.array([at.lam for at in levels_of(plan)])
    lam0 = np.full_like(lam, lam[0])
    exact = Integrals(form, noise, lam0, lam - lam[0])
    phi, var = exact.phi, exact.phi**2 / plan.start.alpha**2 + exact.variance()
    low, high = np.minimum.outer(lam, lam), np.maximum.outer(lam, lam)
    between = Integrals(form, noise, low.ravel(), (high - low).ravel()).phi.reshape(low.shape)
    first = np.where(np.less_equal.outer(lam, lam), var[:, None], var[None, :])
    want = between * first
    got = (y @ y.T).numpy()
    assert np.isfinite(got).all() and len(phi) == len(got)
    return float(np.abs((got - want) / np.sqrt(np.outer(var, var))).max())


def polynomial_error(plan: Plan, prediction: str, eta, degree: int, rows: Callable[[int], bool] = lambda _: True) -> float:
    """F = (lam - lam of the step's start)^degree is integrated exactly by the rows chosen (by call index within a step): largest error relative to sum |w|.

    Every step is tested on its own: each state is set right before it is built on.
    """
    form, noise = form_of(prediction), Eta(eta)
    levels, starts = levels_of(plan), step_starts(plan)
    worst = 0.0
    stepper = Stepper(plan, torch.zeros(1, dtype=torch.float64), lambda j: torch.zeros(1, dtype=torch.float64), reuse=False)
    for i, start in enumerate(starts):
        base, at, to = levels[start], stepper.at, levels[i + 1]
        nsr = np.array([at.nsr])
        known = (at.lam - base.lam) ** degree if degree else 1.0
        denoised = form.p(nsr)[0] * stepper.x / at.alpha + form.q(nsr)[0] * known
        stepper.advance(denoised)
        exact = Integrals(form, noise, np.array([base.lam]), np.array([to.lam - base.lam]))
        basis = exact.panels.offset**degree if degree else 1.0
        want, scale = to.alpha * exact.weight(basis)[0], to.alpha * abs(exact._gain * basis * exact.panels.weight).sum()
        if rows(i - start):
            worst = max(worst, abs(stepper.x.item() - want) / scale)
        stepper.replace(torch.tensor([0.0 if plan.rows[i].completes else want], dtype=torch.float64))
    return worst


def linear_rows(solver: str, case: dict) -> Callable[[int], bool]:
    """Which rows of a tableau's step integrate an F that is linear in lam: read off the table."""
    table = SOLVERS[solver].tableau(**case)
    exact = []
    for end, row in zip((*table.c[1:], 1.0), table.a, strict=True):
        first: dict = {}
        for c, weights in zip(table.c, row, strict=False):
            for key, weight in weights.items():
                first[key] = first.get(key, 0.0) + c * weight
        exact.append(all(abs(value - (end**2 if key == (2, end) else 0.0)) < 1e-12 for key, value in first.items()) and (2, end) in first)
    return lambda i: exact[i]


def classic_noise_error(plan: Plan, eta: float) -> float:
    """Noise of the methods that are not exponential, against its formula: largest relative error over all draws.

    Churn from lam1 back to lam0 adds nsr0^2 - nsr1^2 to the variance of y; an Euler-Maruyama step adds 2 eta nsr0 (nsr0 - nsr1).
    """
    worst = 0.0
    made = [(plan.opening.z, plan.rows[0].at), *((row.z, at) for row, at in zip(plan.rows, levels_of(plan)[1:], strict=True))]
    for pairs, at in made:
        for j, value in pairs:
            lam0, lam1, stream = plan.draws[j]
            nsr0, nsr1 = math.exp(-lam0), math.exp(-lam1)
            variance = nsr0**2 - nsr1**2 if stream == "churn" else 2 * eta * nsr0 * (nsr0 - nsr1)
            worst = max(worst, abs(value / at.alpha / math.sqrt(variance) - 1))
    return worst


def still_error(plan: Plan) -> float:
    """Where D = y nothing pulls: without noise y stays where it is, at every stage (alpha = 1). Largest deviation from the start."""
    at_rest = states(plan, lambda x, at: x / at.alpha, torch.ones(1, dtype=torch.float64), lambda j: torch.zeros(1, dtype=torch.float64))
    return max(abs(float(x) - 1) for x in at_rest)


def mutate(plan: Plan, change: Callable[[int, "seeds.Plan"], object]) -> Plan:
    """The plan with every row changed by `change(call index within its step, row)`."""
    starts = step_starts(plan)
    return replace(plan, rows=tuple(change(i - starts[i], row) for i, row in enumerate(plan.rows)))
