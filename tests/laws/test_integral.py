"""The one integral against closed forms and mpmath: 1e-13 relative to sum |w|, for h from 1e-12 to 50."""

import math

import mpmath
import numpy as np
import pytest

from seeds.integrals import NODES, WEIGHTS, Eta, Integrals
from seeds.predictions import PREDICTIONS

H = [1e-12, 1e-8, 1e-4, 0.3, 3.0, 10.0, 50.0]
TOLERANCE = 1e-13


def phi(k: int, z: float) -> mpmath.mpf:
    """phi_1(z) = (e^z - 1) / z, phi_{k+1}(z) = (phi_k(z) - 1/k!) / z, in 120 digits."""
    with mpmath.workdps(120):
        value, z = mpmath.exp(mpmath.mpf(z)), mpmath.mpf(z)
        for j in range(k):
            value = (value - 1 / mpmath.factorial(j)) / z
        return +value


@pytest.mark.parametrize("h", H)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 4.0])
def test_data_mode_is_phi(h, eta):
    integrals = Integrals(PREDICTIONS["data"](), Eta(eta), np.array([-1.3]), np.array([h]))
    rate = (1 + eta) * h
    for k in (1, 2, 3, 4):
        exact = rate * phi(k, -rate)
        assert integrals.moment(k)[0] == pytest.approx(float(exact), rel=TOLERANCE)
    assert integrals.phi[0] == pytest.approx(math.exp(-rate), rel=TOLERANCE)
    nsr1 = mpmath.exp(mpmath.mpf(1.3) - mpmath.mpf(h))
    assert integrals.variance()[0] == pytest.approx(
        float(nsr1**2 * -mpmath.expm1(-2 * eta * mpmath.mpf(h))), rel=TOLERANCE
    )


@pytest.mark.parametrize("h", H)
def test_noise_mode_closed_forms(h):
    """eta = 1: Phi = 1, weight of a constant -2 (nsr0 - nsr1), variance nsr0^2 - nsr1^2."""
    integrals = Integrals(PREDICTIONS["noise"](), Eta(1.0), np.array([-2.1]), np.array([h]))
    nsr0 = mpmath.exp(mpmath.mpf(2.1))
    assert integrals.phi[0] == 1
    assert integrals.weight()[0] == pytest.approx(float(2 * nsr0 * mpmath.expm1(-mpmath.mpf(h))), rel=TOLERANCE)
    assert integrals.variance()[0] == pytest.approx(float(-(nsr0**2) * mpmath.expm1(-2 * mpmath.mpf(h))), rel=TOLERANCE)


CLOSED_PHI = {
    "data": lambda a, b, sd: mpmath.mpf(b) / a,
    "noise": lambda a, b, sd: mpmath.mpf(1),
    "v": lambda a, b, sd: mpmath.sqrt((1 + b**2) / (1 + a**2)),
    "flow": lambda a, b, sd: (1 + b) / (1 + a),
    "edm_raw": lambda a, b, sd: mpmath.sqrt((b**2 + sd**2) / (a**2 + sd**2)),
}


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("h", "eta"), [(1e-12, 1.0), (1e-4, 0.0), (0.3, 1.0), (3.0, 0.4), (50.0, 1.0)])
def test_every_prediction_against_mpmath(prediction, h, eta):
    """All weights of a three-node step and its noise variance, by mpmath's own quadrature in 30 digits with Phi in
    closed form."""
    lam0, form = -3.0, PREDICTIONS[prediction]()
    integrals = Integrals(form, Eta(eta), np.array([lam0]), np.array([h]))
    with mpmath.workdps(30):
        sd, end = mpmath.mpf(0.5), mpmath.mpf(h)

        def nsr(offset):
            return mpmath.exp(-(mpmath.mpf(lam0) + offset))

        def transfer(offset):
            return CLOSED_PHI[prediction](nsr(offset), nsr(end), sd) ** (1 + eta)

        def q(n):
            kinds = {
                "data": 1,
                "noise": -n,
                "v": -n / mpmath.sqrt(1 + n**2),
                "flow": -n / (1 + n),
                "edm_raw": n * sd / mpmath.sqrt(n**2 + sd**2),
            }
            return kinds[prediction]

        cuts = mpmath.linspace(0, end, 2 + int(h) // 3)

        def quad(f):
            return mpmath.quad(f, cuts)

        scale = quad(lambda u: abs(transfer(u) * (1 + eta) * q(nsr(u))))
        for k in (1, 2, 3):
            exact = quad(lambda u, k=k: transfer(u) * (1 + eta) * q(nsr(u)) * (u / end) ** (k - 1)) / mpmath.factorial(
                k - 1
            )
            assert abs(integrals.moment(k)[0] - exact) < TOLERANCE * scale
        nodes = np.array([[-0.5 * h, 0.0, 0.6 * h]])
        for j in range(3):
            others = [mpmath.mpf(float(nodes[0, i])) for i in range(3) if i != j]
            mine = mpmath.mpf(float(nodes[0, j]))

            def basis(u, others=others, mine=mine):
                return (u - others[0]) / (mine - others[0]) * (u - others[1]) / (mine - others[1])

            weights = quad(lambda u, basis=basis: abs(transfer(u) * (1 + eta) * q(nsr(u)) * basis(u)))
            exact = quad(lambda u, basis=basis: transfer(u) * (1 + eta) * q(nsr(u)) * basis(u))
            assert abs(integrals.lagrange(nodes)[0, j] - exact) < TOLERANCE * weights
        variance = quad(lambda u: transfer(u) ** 2 * 2 * eta * nsr(u) ** 2)
        assert integrals.variance()[0] == pytest.approx(float(variance), rel=TOLERANCE)
        assert integrals.phi[0] == pytest.approx(float(transfer(mpmath.mpf(0))), rel=10 * TOLERANCE)


def test_tables_are_split_at_their_jumps():
    """eta 2 on [0.5, 1.5] inside a step from 0 to 3, data mode: by hand."""
    integrals = Integrals(
        PREDICTIONS["data"](), Eta([(-math.inf, 0), (0.5, 2), (1.5, 0)]), np.array([0.0]), np.array([3.0])
    )
    assert integrals.phi[0] == pytest.approx(math.exp(-3 - 2), rel=TOLERANCE)
    assert integrals.weight()[0] == pytest.approx(1 - math.exp(-5), rel=TOLERANCE)
    made = math.exp(-3) * (1 - math.exp(-4))  # nsr at 1.5 squared, times what eta 2 makes over one nat
    assert integrals.variance()[0] == pytest.approx(made * math.exp(-3), rel=TOLERANCE)


def test_a_callable_eta_equals_the_same_constant_and_a_smooth_one_equals_mpmath():
    given = (np.array([-2.0]), np.array([4.0]))
    constant, called = (Integrals(PREDICTIONS["v"](), Eta(eta), *given) for eta in (0.7, lambda lam: 0.7))
    for name in ("phi",):
        assert getattr(constant, name)[0] == getattr(called, name)[0]
    assert constant.weight()[0] == called.weight()[0]
    assert constant.variance()[0] == called.variance()[0]

    smooth = Integrals(PREDICTIONS["data"](), Eta(lambda lam: 1 + math.sin(lam)), *given)
    with mpmath.workdps(30):

        def transfer(lam):
            return mpmath.exp(-(2 * (2 - lam) - mpmath.cos(2) + mpmath.cos(lam)))

        exact = mpmath.quad(
            lambda lam: transfer(lam) ** 2 * 2 * (1 + mpmath.sin(lam)) * mpmath.exp(-2 * lam), [-2, -1, 0, 1, 2]
        )
    assert smooth.variance()[0] == pytest.approx(float(exact), rel=TOLERANCE)


def test_the_rule_integrates_polynomials_of_degree_39():
    for degree in range(40):
        assert float(WEIGHTS @ NODES**degree) == pytest.approx(1 / (degree + 1), rel=4e-15)


def test_many_intervals_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(0)
    lam0, h = rng.uniform(-4, 4, 7), rng.uniform(1e-3, 9, 7)
    for prediction in PREDICTIONS:
        together = Integrals(PREDICTIONS[prediction](), Eta([(-math.inf, 1), (0.2, 0.1)]), lam0, h)
        for i in range(7):
            alone = Integrals(
                PREDICTIONS[prediction](), Eta([(-math.inf, 1), (0.2, 0.1)]), lam0[i : i + 1], h[i : i + 1]
            )
            assert together.moment(2)[i] == pytest.approx(alone.moment(2)[0], rel=1e-14)
            assert together.variance()[i] == pytest.approx(alone.variance()[0], rel=1e-13)
