"""Runge-Kutta and Euler-Maruyama against their formulas written out; churn's corners. Orders and noise are under
tests/laws."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import seeds
from seeds.schedules import VE, VP, Cosine, Flow
from seeds.solvers.classic import in_t
from seeds.solvers.levels import Levels, points_at
from seeds.stepper import run

START = torch.tensor([-30.0, 0.5, 20.0], dtype=torch.float64)
NSR = [9.0, 2.0, 0.3]


def d(x, at):
    return torch.tanh(x / at.alpha / (1 + at.nsr))


def slope(y, nsr):
    return (y - torch.tanh(y / (1 + nsr))) / nsr


@pytest.mark.parametrize("schedule", ["edm", "vp", "flow"])
@pytest.mark.parametrize("r", [1.0, 1 / 2, 2 / 3, 0.3])
def test_two_stages_by_hand(r, schedule):
    plan = seeds.plan("rk-2", sigmas=NSR, schedule=schedule, r=r, final="none")
    y = START.clone()
    for n0, n1 in pairwise(NSR):
        k0 = slope(y, n0)
        k1 = slope(y + r * (n1 - n0) * k0, n0 + r * (n1 - n0))
        y = y + (n1 - n0) * ((1 - 1 / (2 * r)) * k0 + k1 / (2 * r))
    found = run(plan, d, START * plan.start.alpha, None) / plan.end.alpha
    torch.testing.assert_close(found, y, rtol=1e-10, atol=1e-10)
    assert [row.completes for row in plan.rows] == [False, True, False, True]


@pytest.mark.parametrize("schedule", ["edm", "vp"])
def test_one_stage_by_hand(schedule):
    plan = seeds.plan("rk-1", sigmas=NSR, schedule=schedule, final="none")
    y = START.clone()
    for n0, n1 in pairwise(NSR):
        y = y + (n1 - n0) * slope(y, n0)
    torch.testing.assert_close(run(plan, d, START * plan.start.alpha, None) / plan.end.alpha, y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("schedule", ["edm", "vp"])
def test_euler_maruyama_by_hand(schedule, eta):
    plan = seeds.plan("euler-maruyama", sigmas=NSR, schedule=schedule, eta=eta, final="none")
    y, draws = START.clone(), [torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64) * (j + 1) for j in range(2)]
    for j, (n0, n1) in enumerate(pairwise(NSR)):
        y = y + (1 + eta) * (n1 - n0) * slope(y, n0) + math.sqrt(2 * eta * n0 * (n0 - n1)) * draws[j]
    assert len(plan.draws) == (2 if eta else 0)
    torch.testing.assert_close(
        run(plan, d, START * plan.start.alpha, draws.__getitem__) / plan.end.alpha, y, rtol=1e-10, atol=1e-10
    )


SLOPES = {  # schedule: (alpha' / alpha, nsr' / nsr)
    VP(): lambda t: (-(19.9 * t + 0.1) / 2, (19.9 * t + 0.1) / 2 / -np.expm1(-(19.9 / 2 * t + 0.1) * t)),
    VE(): lambda t: (0.0, 1 / (2 * t)),
    Flow(): lambda t: (-1 / (1 - t), 1 / t + 1 / (1 - t)),
    Cosine(): lambda t: (-np.pi / 2 * np.tan(np.pi / 2 * t), np.pi / np.sin(np.pi * t)),
}


@pytest.mark.parametrize("schedule", SLOPES, ids=repr)
def test_slopes_in_t_are_the_derivatives_up_to_the_ends(schedule):
    for t in (schedule.t_min, 0.3 * schedule.t_max, 0.999 * schedule.t_max):
        (at,) = points_at(schedule, np.array([t]))
        log_alpha, log_nsr = SLOPES[schedule](t)
        found = in_t(Levels(schedule, ()), at)
        assert (found.s, found.scale) == (t, 1.0)
        assert found.a == pytest.approx(log_alpha + log_nsr, rel=1e-8, abs=1e-8)
        assert found.b == pytest.approx(-at.alpha * log_nsr, rel=1e-8)


@pytest.mark.parametrize("schedule", ["cosine", "flow", "vp", "ve", "edm"])
@pytest.mark.parametrize("solver", ["rk-1", "rk-2"])
def test_steps_in_t_start_at_every_schedules_own_end(solver, schedule):
    plan = seeds.plan(solver, steps=4, schedule=schedule, variable="t")
    assert plan.start.t == seeds.SCHEDULES[schedule]().t_max


def levels_of_calls(**options):
    return [row.at.nsr for row in seeds.plan("rk-1", sigmas=[*NSR, 0.0], schedule="edm", **options).rows]


def test_churn_lifts_each_level_by_its_share():
    """n counts the grid's levels, three here; gamma is capped at sqrt(2) - 1."""
    assert levels_of_calls(S_churn=0.3) == pytest.approx([n * 1.1 for n in NSR], rel=1e-13)
    assert levels_of_calls(S_churn=100.0) == pytest.approx([n * math.sqrt(2) for n in NSR], rel=1e-13)
    assert levels_of_calls(S_churn=0.3, S_min=2.0, S_max=2.0) == pytest.approx([9.0, 2.2, 0.3], rel=1e-13), (
        "both ends belong to the range"
    )
    assert levels_of_calls(S_churn=0.3, S_min=2.1) == pytest.approx([9.9, 2.0, 0.3], rel=1e-13)
    assert levels_of_calls() == NSR
    part = seeds.plan("rk-1", sigmas=[*NSR, 0.0], schedule="edm", S_churn=0.3, start=1)
    assert part.rows[0].at.nsr == pytest.approx(2.2, rel=1e-13), "a part of the grid is churned as the whole"


@pytest.mark.parametrize("solver", ["rk-1", "rk-2"])
def test_a_state_is_returned_at_its_level_not_churned_from_it(solver):
    """Without a final denoise no call follows the last level; whoever goes on from there churns it then."""
    options = {"sigmas": NSR, "schedule": "edm", "S_churn": 1.0}
    whole, part, rest = (seeds.plan(solver, **options, **cut) for cut in ({}, {"stop": 1}, {"start": 1}))
    assert seeds.plan(solver, final="none", **options).end.nsr == 0.3 and part.end.nsr == rest.start.nsr == 2.0
    assert [row.at for row in (*part.rows, *rest.rows)] == [row.at for row in whole.rows] and len(part.draws) + len(
        rest.draws
    ) == len(whole.draws)


def test_churn_keeps_the_marginals_on_every_schedule():
    """On data of variance 0.25, D exact: what the churn adds to x is what the higher level has more."""
    for schedule in ("vp", "flow", "edm"):
        plan = seeds.plan("rk-1", sigmas=NSR, schedule=schedule, S_churn=1.0, final="none")
        start, first = plan.start, plan.rows[0].at
        ((j, weight),) = plan.opening.z
        before = 0.25 * start.alpha**2 + start.sigma**2
        assert plan.opening.scale**2 * before + weight**2 == pytest.approx(
            0.25 * first.alpha**2 + first.sigma**2, rel=1e-12
        )
        assert (j, plan.draws[0].stream) == (0, "churn") and plan.draws[0].lam0 < plan.draws[0].lam1


def test_churn_stays_where_the_network_knows_no_higher_level():
    known = np.array([9.0, 2.0, 0.3])
    plan = seeds.plan(
        "rk-1",
        sigmas=NSR,
        schedule="edm",
        S_churn=1.0,
        round_nsr=lambda n: known[np.abs(known - np.asarray(n)[:, None]).argmin(1)],
    )
    assert [row.at.nsr for row in plan.rows] == NSR and plan.draws == ()


def test_churn_leaves_snr_0_alone():
    plan = seeds.plan("rk-2", steps=4, schedule="flow", S_churn=4.0)
    assert plan.start.alpha == 0 and plan.opening == (1.0, ()) and plan.rows[0].at.alpha == 0
    plain = seeds.plan("rk-2", steps=4, schedule="flow")
    gamma = min(4.0 / 5, math.sqrt(2) - 1)
    assert plan.rows[1].at.nsr == pytest.approx(plain.rows[1].at.nsr * (1 + gamma), rel=1e-12)


@pytest.mark.parametrize(("options", "words"), [
    ({"r": 0.0}, r"`r` of rk-2 must be in \(0, 1\], but is 0.0"),
    ({"S_churn": -1.0}, "`S_churn`, `S_min` and `S_max` must be at least 0, but are -1.0"),
    ({"S_min": math.nan}, "must be at least 0"),
    ({"variable": "lam"}, "`variable` must be one of nsr, t, but is 'lam'"),
])  # fmt: skip
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        seeds.plan("rk-2", steps=3, schedule="edm", **options)
