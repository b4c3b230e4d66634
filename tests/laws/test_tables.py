"""The published numbers, literally: free positions give other valid methods, so no law can tell a wrong r from a right
one."""

import itertools
import math

import numpy as np
import pytest
import torch

import seeds
from seeds.integrals import NODES, WEIGHTS
from seeds.solvers import SOLVERS
from seeds.stepper import run
from seeds.tableaus import Tableau, interpolate, order_1, order_2, order_3, order_4


def weight(table: Tableau, row: int, call: int, k: int, c: float) -> float:
    weights = table.a[row]
    return weights[call].get((k, c), 0.0) if call < len(weights) else 0.0


def numbers(table: Tableau) -> dict[tuple[int, int, int, float], float]:
    return {
        (row, call, k, c): value
        for row, weights in enumerate(table.a)
        for call, pairs in enumerate(weights)
        for (k, c), value in pairs.items()
        if value
    }


PUBLISHED = {
    "order_1": (order_1(), (0,), {(0, 0, 1, 1.0): 1}),
    "2a": (order_2(), (0, 1 / 2), {(0, 0, 1, 1 / 2): 1 / 2, (1, 1, 1, 1.0): 1}),
    "2b": (
        order_2("2b"),
        (0, 1 / 2),
        {(0, 0, 1, 1 / 2): 1 / 2, (1, 0, 1, 1.0): 1, (1, 0, 2, 1.0): -2, (1, 1, 2, 1.0): 2},
    ),
    "exponential Heun": (
        order_2("2b", 1.0),
        (0, 1),
        {(0, 0, 1, 1.0): 1, (1, 0, 1, 1.0): 1, (1, 0, 2, 1.0): -1, (1, 1, 2, 1.0): 1},
    ),
    "3a": (
        order_3(),
        (0, 1 / 3, 2 / 3),
        {
            (0, 0, 1, 1 / 3): 1 / 3,
            (1, 0, 1, 2 / 3): 2 / 3,
            (1, 0, 2, 2 / 3): -4 / 3,
            (1, 1, 2, 2 / 3): 4 / 3,
            (2, 0, 1, 1.0): 1,
            (2, 0, 2, 1.0): -3 / 2,
            (2, 2, 2, 1.0): 3 / 2,
        },
    ),
    "3b": (
        order_3("3b"),
        (0, 1 / 3, 2 / 3),
        {
            (0, 0, 1, 1 / 3): 1 / 3,
            (1, 0, 1, 2 / 3): 2 / 3,
            (1, 0, 2, 2 / 3): -4 / 3,
            (1, 1, 2, 2 / 3): 4 / 3,
            (2, 0, 1, 1.0): 1,
            (2, 0, 2, 1.0): -9 / 2,
            (2, 0, 3, 1.0): 9,
            (2, 1, 2, 1.0): 6,
            (2, 1, 3, 1.0): -18,
            (2, 2, 2, 1.0): -3 / 2,
            (2, 2, 3, 1.0): 9,
        },
    ),
    "4": (
        order_4(),
        (0, 1 / 2, 1 / 2, 1, 1 / 2),
        {
            (0, 0, 1, 1 / 2): 1 / 2,
            (1, 0, 1, 1 / 2): 1 / 2,
            (1, 0, 2, 1 / 2): -1,
            (1, 1, 2, 1 / 2): 1,
            (2, 0, 1, 1.0): 1,
            (2, 0, 2, 1.0): -2,
            (2, 1, 2, 1.0): 1,
            (2, 2, 2, 1.0): 1,
            (3, 0, 1, 1 / 2): 1 / 2,
            (3, 0, 2, 1 / 2): -3 / 4,
            (3, 0, 3, 1 / 2): 1 / 2,
            (3, 0, 2, 1.0): -1 / 4,
            (3, 0, 3, 1.0): 1,
            (3, 1, 2, 1 / 2): 1 / 2,
            (3, 1, 3, 1 / 2): -1 / 2,
            (3, 1, 2, 1.0): 1 / 4,
            (3, 1, 3, 1.0): -1,
            (3, 2, 2, 1 / 2): 1 / 2,
            (3, 2, 3, 1 / 2): -1 / 2,
            (3, 2, 2, 1.0): 1 / 4,
            (3, 2, 3, 1.0): -1,
            (3, 3, 2, 1 / 2): -1 / 4,
            (3, 3, 3, 1 / 2): 1 / 2,
            (3, 3, 2, 1.0): -1 / 4,
            (3, 3, 3, 1.0): 1,
            (4, 0, 1, 1.0): 1,
            (4, 0, 2, 1.0): -3,
            (4, 0, 3, 1.0): 4,
            (4, 3, 2, 1.0): -1,
            (4, 3, 3, 1.0): 4,
            (4, 4, 2, 1.0): 4,
            (4, 4, 3, 1.0): -8,
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name):
    table, positions, published = PUBLISHED[name]
    assert table.c == pytest.approx(positions, abs=0)
    found = numbers(table)
    assert found.keys() == published.keys()
    for key, value in published.items():
        assert found[key] == pytest.approx(value, rel=1e-14), key


def test_defaults_are_the_papers():
    for prefix in ("seeds", "erk"):
        assert SOLVERS[f"{prefix}-2"].tableau().c == (0.0, 1 / 2) and SOLVERS[f"{prefix}-2"].tableau().name == "2a"
        assert (
            SOLVERS[f"{prefix}-3"].tableau().c == (0.0, 1 / 3, 2 / 3) and SOLVERS[f"{prefix}-3"].tableau().name == "3a"
        )
        assert SOLVERS[f"{prefix}-4"].tableau().c == (0.0, 1 / 2, 1 / 2, 1.0, 1 / 2)


def test_interpolation_rows_by_hand():
    """Through {0, r} up to c: the weight on r is c^2 / r phi_2."""
    first, second = interpolate(0.8, (0.0, 0.4))
    assert first == pytest.approx({(1, 0.8): 0.8, (2, 0.8): -(0.8**2) / 0.4})
    assert second == pytest.approx({(2, 0.8): 0.8**2 / 0.4})


def test_a_wrong_table_says_what_is_wrong():
    good = order_2()
    with pytest.raises(
        ValueError,
        match=r"row 1: weights of phi_1 at c = 1 add to 1.01, not 1: a constant F would not be integrated exactly",
    ):
        Tableau("x", good.c, (good.a[0], ({(1, 1.0): 0.01}, {(1, 1.0): 1.0})), good.orders)
    with pytest.raises(ValueError, match=r"reads call 1, but only calls 0\.\.0 are made by then"):
        Tableau("x", good.c, (({}, {(1, 0.5): 0.5}), good.a[1]), good.orders)
    with pytest.raises(ValueError, match=r"positions must be 0, then in \(0, 1\]"):
        Tableau("x", (0.0, 1.5), good.a, good.orders)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: order_2(r=0.0), r"`r` of a two-stage method must be in \(0, 1\], but is 0.0"),
    (lambda: order_2("3a"), "`variant` must be one of 2a, 2b, but is '3a'"),
    (lambda: order_3("3b", r=(0.7, 0.7)), r"must be \(r1, r2\), not equal, each in \(0, 1\], but is \(0.7, 0.7\)"),
    (lambda: order_3(r=(0.7, math.nan)), r"must be \(r1, r2\) each in \(0, 1\]"),
    (lambda: order_3(r=(1.2, 0.5)), r"each in \(0, 1\]"),
])  # fmt: skip
def test_wrong_options_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_erk_4_in_noise_prediction_is_the_published_table_on_x_over_sigma():
    """Hochbruck and Ostermann 2005, (5.19), written out for w = x / sigma:  dw/dlam = w - eps, so z = h; the model is
    nonlinear."""

    def phi(k, z):
        return np.sum(WEIGHTS * np.exp((1 - NODES) * z) * NODES ** (k - 1)) / math.factorial(k - 1)

    nsr = np.array([9.0, 2.0, 0.9, 0.1, 0.02])
    plan = seeds.plan("erk-4", sigmas=nsr, schedule="vp", prediction="noise", final="none")
    y = start = torch.linspace(-20, 20, 9, dtype=torch.float64)
    for n0, n1 in itertools.pairwise(nsr):
        h = math.log(n0 / n1)
        at = {c: n0 * math.exp(-c * h) for c in (0, 0.5, 1)}
        p = {(k, c): phi(k, c * h) for k in (1, 2, 3) for c in (0.5, 1)}
        a52 = p[2, 0.5] / 2 - p[3, 1] + p[2, 1] / 4 - p[3, 0.5] / 2
        a54 = p[2, 0.5] / 4 - a52
        w, f = y / n0, []
        for c, row in (
            (0, ()),
            (0.5, (p[1, 0.5] / 2,)),
            (0.5, (p[1, 0.5] / 2 - p[2, 0.5], p[2, 0.5])),
            (1, (p[1, 1] - 2 * p[2, 1], p[2, 1], p[2, 1])),
            (0.5, (p[1, 0.5] / 2 - 2 * a52 - a54, a52, a52, a54)),
        ):
            stage = math.exp(c * h) * w + h * sum(weight * force for weight, force in zip(row, f, strict=True))
            f.append((torch.tanh(stage * at[c]) - stage * at[c]) / at[c])
        step = (p[1, 1] - 3 * p[2, 1] + 4 * p[3, 1], 0, 0, 4 * p[3, 1] - p[2, 1], 4 * p[2, 1] - 8 * p[3, 1])
        y = n1 * (math.exp(h) * w + h * sum(weight * force for weight, force in zip(step, f, strict=True)))
    found = run(plan, lambda x, at: torch.tanh(x / at.alpha), start * plan.start.alpha, None) / plan.end.alpha
    torch.testing.assert_close(found, y, rtol=1e-12, atol=1e-12)
