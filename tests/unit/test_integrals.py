"""Eta as users give it, and the corners of the quadrature. The integrals themselves are held by
tests/laws/test_integral.py."""

import math

import numpy as np
import pytest

import seeds
from seeds.integrals import ETA_MAX, PANEL, Eta, Integrals, Panels
from seeds.predictions import PREDICTIONS

TABLE = [(-math.inf, 0.0), (-1.2, 1.7), (0.31, 0.4)]


def test_numbers_tables_and_callables():
    lam = np.array([-9.0, -1.2, 0.0, 0.31, 5.0])
    assert Eta(0.7)(lam).tolist() == [0.7] * 5 and Eta(np.float32(0.5))(lam).tolist() == [0.5] * 5
    assert Eta(TABLE)(lam).tolist() == [0.0, 1.7, 1.7, 0.4, 0.4], "at a jump the value after it"
    assert Eta(np.array(TABLE))(lam).tolist() == Eta(TABLE)(lam).tolist()
    assert Eta(abs)(lam.reshape(5, 1)).tolist() == np.abs(lam).reshape(5, 1).tolist()
    assert Eta(TABLE).breaks == (-1.2, 0.31) and Eta(1.0).breaks == Eta(abs).breaks == ()
    assert Eta(0).is_zero and Eta([(-math.inf, 0.0), (1.0, 0.0)]).is_zero
    assert not (Eta(TABLE).is_zero or Eta(1e-9).is_zero or Eta(lambda lam: 0.0).is_zero)


@pytest.mark.parametrize(("value", "words"), [
    (-0.1, "`eta` must be a number from 0"), (math.nan, "but is nan"), (ETA_MAX + 1, "but is 1001"),
    ([(-math.inf, 1.0), (0.0, -1.0)], "but is -1"),
    ([], "must start at lam_from = -inf and rise"), ([(0.0, 1.0)], "must start at lam_from = -inf"),
    ([(-math.inf, 1.0), (2.0, 1.0), (1.0, 0.0)], "and rise, but its lam_from are"),
    ([(-math.inf, 1.0), (math.nan, 0.0)], "and rise"), ("much", "must be a number, a table"),
    (None, "must be a number, a table"), ([(1, 2, 3)], "must be a number, a table"),
])  # fmt: skip
def test_what_is_no_eta_is_named(value, words):
    with pytest.raises(ValueError, match=words):
        Eta(value)


def test_a_callable_is_checked_where_it_is_asked():
    with pytest.raises(ValueError, match=r"`eta` must be a number from 0 .* but is -2"):
        seeds.plan("seeds-1", steps=3, schedule="edm", eta=lambda lam: -2.0 if lam > 0 else 1.0)


def test_the_noise_from_snr_0_on():
    assert Eta(0.0).total(3.0) == 0 and Eta(0.1).total(-3.0) == math.inf
    assert Eta([(-math.inf, 0.0), (-1.0, 2.0), (1.0, 0.5)]).total(3.0) == pytest.approx(2 * 2.0 + 2 * 0.5)
    assert Eta([(-math.inf, 0.0), (-1.0, 2.0), (1.0, 0.5)]).total(0.5) == pytest.approx(1.5 * 2.0)
    assert Eta([(-math.inf, 0.0), (-1.0, 2.0)]).total(-2.0) == 0
    assert Eta([(-math.inf, 0.3), (-90.0, 0.0)]).total(0.0) == math.inf
    assert Eta(lambda lam: 1.0).total(0.0) == math.inf
    # int (1 - u^2)^2 = 16/15
    assert Eta(lambda lam: max(0.0, 1 - (lam / 2) ** 2) ** 2).total(9.0) == pytest.approx(2 * 16 / 15, rel=1e-4)
    assert Eta(lambda lam: math.exp(-lam)).total(-2.0) == math.inf, (
        "a size that no step could have is no error where only 'for ever' counts"
    )


def test_panels_are_short_and_never_cross_a_jump():
    panels = Panels(Eta(TABLE), np.array([-3.0, 0.3]), np.array([5.0, 1e-9]))
    edges = panels.lam[:, [0, -1]]
    assert (panels.length <= PANEL).all() and panels.owner.tolist() == sorted(panels.owner)
    assert not any(low < jump < high for low, high in edges for jump in (-1.2, 0.31))
    assert panels.sum(np.ones_like(panels.lam)) == pytest.approx([5.0, 1e-9], rel=1e-14)
    np.testing.assert_allclose(
        panels.tail(2 * panels.offset), panels_end(panels)[:, None] ** 2 - panels.offset**2, rtol=1e-9, atol=1e-25
    )


def panels_end(panels):
    return np.array([5.0, 1e-9])[panels.owner]


def test_large_eta_and_long_steps_stay_exact():
    for eta in (50.0, 1000.0):
        integrals = Integrals(PREDICTIONS["data"](), Eta(eta), np.array([-1.0]), np.array([2.0]))
        assert integrals.weight()[0] == pytest.approx(-math.expm1(-(1 + eta) * 2.0), rel=1e-12)
        assert integrals.variance()[0] == pytest.approx(math.exp(-2.0) * -math.expm1(-4 * eta), rel=1e-12)


def test_lagrange_weights_add_up_to_the_weight_of_a_constant_in_any_variable():
    integrals = Integrals(PREDICTIONS["v"](), Eta(1.0), np.array([-2.0, 0.5]), np.array([1.5, 0.7]))
    nodes = np.array([[-0.6, 0.0, 1.5], [-0.4, 0.0, 0.7]])
    for u in (None, lambda lam: np.exp(-0.45 * lam)):
        weights = list(integrals.lagrange(nodes, u).T)
        np.testing.assert_allclose(sum(weights), integrals.weight(), rtol=1e-12)
        coordinate = integrals.panels.lam if u is None else u(integrals.panels.lam)
        at_nodes = np.array([-2.0, 0.5])[:, None] + nodes if u is None else u(np.array([-2.0, 0.5])[:, None] + nodes)
        np.testing.assert_allclose(
            sum(w * at_nodes[:, j] ** 2 for j, w in enumerate(weights)), integrals.weight(coordinate**2), rtol=1e-11
        )


@pytest.mark.parametrize("eta", [0.0, 1.0, [(-np.inf, 0.5), (0.0, 2.0)]])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_an_interval_has_its_numbers_among_any_others_to_the_bit(name, eta):
    rng = np.random.default_rng(1)
    h, lam0 = rng.uniform(0.01, 2.5, 40), rng.uniform(-5, 4, 40)  # of one panel and of several
    whole = Integrals(PREDICTIONS[name](), Eta(eta), lam0, h)
    for part in (slice(0, 1), slice(17, None), slice(None, 22), slice(39, 40)):
        alone = Integrals(PREDICTIONS[name](), Eta(eta), lam0[part], h[part])
        for of in (lambda it: it.phi, Integrals.weight, Integrals.variance):
            assert np.array_equal(of(whole)[part], of(alone))
