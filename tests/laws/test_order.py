"""What the laws of order stand on: the solution that they compare with, and orders that another way of measuring
gives."""

import functools

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import seeds
from seeds.laws.orders import STARTS, gaussian_errors, mixture_errors, skew_errors, slope, solved_flow
from seeds.laws.responses import mixture_denoiser
from seeds.plans import Point
from seeds.solvers import SOLVERS


def test_the_flow_of_the_mixture_is_scipys():
    def pull(log_nsr, y):
        nsr = float(np.exp(log_nsr))
        return y - mixture_denoiser(torch.from_numpy(y), Point(nsr, 1.0, nsr)).numpy()

    solved = solve_ivp(pull, (2.0, -2.0), STARTS * np.hypot(1, np.exp(2)), method="DOP853", rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(solved_flow(), solved.y[:, -1] / np.hypot(1, np.exp(-2)), atol=1e-11)


@pytest.mark.parametrize(("solver", "eta"), [("seeds-2", 1.0), ("erk-2", 0.0)])
def test_churn_before_exponential_steps_keeps_their_order(solver, eta):
    """What churn adds is what the higher level has more, so the marginals stay, and the order is that of the steps."""
    measured = slope(gaussian_errors(functools.partial(seeds.plan, solver), eta=eta, S_churn=5.0))
    assert measured > SOLVERS[solver].orders().ode - 0.2


def test_two_point_moments_are_seen_where_a_linear_model_sees_none():
    """A drift without its curvature has weak order 1 for a third cumulant and on a mixture, though the variance is of
    order 2 (midpoint noise left out)."""
    for errors in (skew_errors, mixture_errors):
        first, second = (
            slope(errors(functools.partial(seeds.plan, name), (32, 64), eta=1.0)) for name in ("seeds-1", "seeds-2")
        )
        assert first < 1.2 < 1.7 < second


def test_methods_with_memory_are_refused_where_a_state_alone_must_do():
    with pytest.raises(ValueError, match="adams reads values of earlier steps"):
        mixture_errors(functools.partial(seeds.plan, "adams"), (4,))


def test_every_solver_declares_an_order():
    for name, solver in SOLVERS.items():
        assert all(solver.orders(**case).ode >= 1 for case in solver.cases), name
