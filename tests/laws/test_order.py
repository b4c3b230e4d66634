"""Declared orders are measured orders: weak orders exactly on Gaussian data, ODE orders on Gaussian data and on a nonlinear mixture."""

import pytest
from laws import CASES, WITH_PREDICTIONS, gaussian_errors, ids, ode_errors, slope

import seeds
from seeds.solvers import SOLVERS

TOLERANCE = 0.2


@pytest.mark.parametrize(("solver", "case", "prediction"), WITH_PREDICTIONS, ids=ids)
def test_ode_order(solver, case, prediction, mixture_flow):
    options = {**case, "prediction": prediction, "eta": 0.0}
    declared = SOLVERS[solver].orders(**case).ode
    linear = slope(gaussian_errors(seeds.plan, solver, **options))
    nonlinear = slope(ode_errors(seeds.plan, solver, mixture_flow, **options))
    assert abs(nonlinear - declared) < TOLERANCE, f"{solver} {case}: ODE order {nonlinear:.2f} on the mixture, declared {declared}"
    assert linear > declared - TOLERANCE, f"{solver} {case}: ODE order {linear:.2f} on Gaussians, declared {declared}"


WEAK = [(name, case, form) for name, case, form in WITH_PREDICTIONS if SOLVERS[name].orders(**case).weak]


@pytest.mark.parametrize(("solver", "case", "prediction"), WEAK, ids=ids)
def test_weak_order(solver, case, prediction):
    declared = SOLVERS[solver].orders(**case).weak
    churn = SOLVERS[solver].noisy
    measured = slope(gaussian_errors(seeds.plan, solver, prediction=prediction, **case, **(churn or {})))
    assert measured > declared - TOLERANCE, f"{solver} {case}: weak order {measured:.2f}, declared {declared}"
    if (
        not churn
    ):  # churn keeps the marginals exactly, so its error is the ODE method's, which may be better than its order on a linear model
        assert measured < declared + TOLERANCE, f"{solver} {case}: weak order {measured:.2f}, declared {declared}"


@pytest.mark.parametrize(("solver", "eta"), [("seeds-2", 1.0), ("erk-2", 0.0)])
def test_churn_before_exponential_steps_keeps_their_order(solver, eta):
    """What churn adds is what the higher level has more, so the marginals stay, and the order is that of the steps."""
    measured = slope(gaussian_errors(seeds.plan, solver, eta=eta, S_churn=5.0))
    assert measured > SOLVERS[solver].orders().ode - TOLERANCE


def test_every_solver_declares_an_order():
    assert {name for name, _ in CASES} == set(SOLVERS)
    for name, case in CASES:
        assert SOLVERS[name].orders(**case).ode >= 1
