"""Plan, Stepper and integrals carry multistep methods with a corrector: one is written here, and has its theoretical order.

The last k values of F predict; when the new value is known, the corrector interpolates through it too and the value is kept (PEC). The correction,
corrected minus predicted, is a combination of answers and of the states they were asked at, so the next row can make it: no second list is needed.
"""

import math

import numpy as np
import pytest
import torch
from laws import ENDS, STARTS, mixture_denoiser, slope, states

import seeds
from seeds.integrals import Eta, Integrals
from seeds.plans import Plan
from seeds.predictions import PREDICTIONS
from seeds.solvers.levels import lay_out
from seeds.solvers.writer import Writer
from seeds.stepper import Stepper


def multistep(k: int, steps: int, prediction: str, corrected: bool, u=None) -> Plan:
    """Exponential Adams of k values on a uniform-lam grid of the EDM schedule, eta = 0; the first k - 1 calls are at given, exact states."""
    schedule, form, eta = seeds.EDM(), PREDICTIONS[prediction](), Eta(0.0)
    t = seeds.GRIDS["uniform_lam"](schedule, steps, nsr_max=ENDS["nsr_max"], nsr_min=ENDS["nsr_min"])
    levels = lay_out(schedule, t)
    lam, write = levels.lam, Writer("multistep", levels)
    nsr = np.exp(-lam)
    p, q = form.p(nsr), form.q(nsr)
    predicted: dict[int, float] = {}  # weight of F_j in the prediction of the step before
    for i, to in enumerate(levels.points[1:]):
        nodes = list(range(max(0, i - k + 1), i + 1))
        h = lam[i + 1] - lam[i]
        ahead = Integrals(form, eta, lam[i : i + 1], np.array([h]))
        offsets = (lam[nodes] - lam[i])[None, :]
        weights = {j: float(ahead.lagrange(offsets, n, u)[0]) for n, j in enumerate(nodes)}
        new, x, d = dict(weights), {i: float(ahead.phi[0]) / 1.0}, {}
        if corrected and i > 0:
            back = Integrals(form, eta, lam[i - 1 : i], np.array([lam[i] - lam[i - 1]]))
            through = sorted({*predicted, i})
            exact = {j: float(back.lagrange((lam[through] - lam[i - 1])[None, :], n, u)[0]) for n, j in enumerate(through)}
            for j in through:
                correction = exact[j] - predicted.get(j, 0.0)
                new[j] = new.get(j, 0.0) + float(ahead.phi[0]) * correction
        for j, weight in new.items():
            d[j] = d.get(j, 0.0) + weight / q[j]
            x[j] = x.get(j, 0.0) - weight * p[j] / q[j]
        write.row(to, x, d)
        predicted = weights
    return write.plan()


@pytest.mark.parametrize(("k", "corrected"), [(1, False), (2, False), (1, True), (2, True)])
@pytest.mark.parametrize("prediction", ["data", "noise", "v"])
def test_order_of_adams_methods(k, corrected, prediction, mixture_flow):
    errors = []
    for steps in (96, 192):
        plan = multistep(k, steps, prediction, corrected)
        assert plan.nfe == steps and plan.draws == ()
        start = STARTS * math.hypot(1.0, plan.start.sigma)
        last = states(plan, mixture_denoiser, start, None)[-1]
        errors.append((last / math.hypot(1.0, plan.end.sigma) - mixture_flow).abs().max().item())
    assert abs(slope(errors) - (k + corrected)) < 0.25


def test_another_variable_is_another_method_of_the_same_order(mixture_flow):
    """Polynomials in u = nsr^0.45 (theory: section 10) have the order of those in lam, and other numbers."""

    def power(lam):
        return np.exp(-0.45 * np.asarray(lam))

    errors = []
    for steps in (96, 192):
        plan = multistep(2, steps, "data", False, power)
        start = STARTS * math.hypot(1.0, plan.start.sigma)
        errors.append((states(plan, mixture_denoiser, start, None)[-1] / math.hypot(1.0, plan.end.sigma) - mixture_flow).abs().max().item())
    assert abs(slope(errors) - 2) < 0.25
    assert multistep(2, 8, "data", False, power).rows != multistep(2, 8, "data", False).rows


def test_memory_is_what_the_plan_reads():
    """The newest state, its answer, and one value back; the corrector of two values reads one more."""
    plan = multistep(2, 20, "data", True)
    stepper, most = Stepper(plan, torch.zeros(3, dtype=torch.float64), lambda j: torch.zeros(3)), 0
    while not stepper.done:
        stepper.advance(mixture_denoiser(stepper.x, stepper.at))
        most = max(most, stepper.held)
    assert most <= 4
