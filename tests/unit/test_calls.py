"""Model calls laid for a host that owns the loop: every number of calls is met, any end of the list is a run, and the
run is that of `seeds.plan`."""

import dataclasses

import numpy as np
import pytest
import torch

import seeds
from seeds import noise
from seeds.exact import Gaussian
from seeds.integrations import calls
from seeds.solvers.levels import points_at
from seeds.stepper import run

SOLVERS = [
    it
    for it in seeds.SOLVERS.values()
    if not it.source or it.name in ("unipc", "ipndm", "dpmpp-2s-ancestral", "er-sde-1")
]
TABLE = seeds.Discrete.linear()
ids = [solver.name for solver in SOLVERS]


def levels(path, high=80.0):
    return lambda count: np.asarray(path.t_of_nsr(np.geomspace(high, 0.02, count)))


def same(t):
    return t


@pytest.mark.parametrize("solver", SOLVERS, ids=ids)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 8, 11])
def test_the_number_of_calls_is_met_and_each_is_where_it_was_told(solver, count):
    run = calls.run_of(solver, seeds.EDM(), count, levels(seeds.EDM()), same, {})
    plan = run.plan()
    assert plan.nfe == count == len(run.t) and plan.end.sigma == 0
    assert [row.at.t for row in plan.rows] == pytest.approx(run.t)


@pytest.mark.parametrize("solver", SOLVERS, ids=ids)
def test_full_steps_alone_are_the_plan_of_the_front_door(solver):
    each, path = calls.calls_a_step(solver), seeds.EDM()
    made = calls.run_of(solver, path, 3 * each + 1, levels(path), same, {}).plan()
    plan = seeds.plan(solver, schedule=path, grid=levels(path)(4))
    x, model = 80 * noise.gaussian(range(3), -1, (2,)), Gaussian(0.3, 0.7, shape=(2,), schedule=path)
    drawn = [run(it, model, x, lambda j: noise.gaussian(range(3), j, (2,))) for it in (made, plan)]
    torch.testing.assert_close(*drawn, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS, ids=ids)
@pytest.mark.parametrize("path", [TABLE, seeds.Flow()], ids=["table", "flow from SNR 0"])
def test_a_run_may_begin_at_any_call_and_has_the_right_variance(solver, path):
    """On data N(m, s^2), from the exact state at that call: what is left is a run of the remaining calls, at the times
    that were told."""
    at = levels(path, 3.0) if path is TABLE else lambda count: np.linspace(1, 0.02, count)
    whole = calls.run_of(solver, path, 12, at, same, {})
    model, z = Gaussian(0.3, 0.7, shape=(1,), schedule=path), noise.gaussian(range(4000), -1, (1,))
    for begin in range(12):
        plan = whole.plan(begin)
        assert [row.at.t for row in plan.rows] == pytest.approx(whole.t[begin:])
        here = plan.start
        x = here.alpha * 0.3 + float(np.hypot(here.alpha * 0.7, here.sigma)) * z
        drawn = run(plan, model, x, lambda j: noise.gaussian(range(4000), j, (1,)))
        # what 12 calls of first order, and 3 steps of five calls, leave
        assert drawn.std() == pytest.approx(0.7, rel=0.33), begin
        assert torch.isfinite(drawn).all()


@pytest.mark.parametrize("name", ["pfdiff", "restart", "edm-stochastic"])
def test_a_method_that_asks_elsewhere_than_it_is_told_is_refused(name):
    with pytest.raises(ValueError, match=f"`solver` = '{name}' .*than the host's list of times has"):
        calls.run_of(seeds.SOLVERS[name], seeds.EDM(), 11, levels(seeds.EDM()), same, {}).plan()


def test_times_of_a_table_are_whole_and_different_and_the_weights_are_formed_for_them():
    def known(t):
        return np.array([700.0, 600.0, 500.0, 400.0, 300.0, 150.0, 100.0][: len(t)])

    run = calls.run_of(seeds.SOLVERS["seeds-2"], TABLE, 7, levels(TABLE), known, {"variant": "2b"})
    plan = run.plan()
    (a, b, c) = points_at(TABLE, np.array([700.0, 600.0, 500.0]))
    step = seeds.plan(
        "seeds-2", schedule=TABLE, grid=[a.t, c.t], final="none", variant="2b", r=(b.lam - a.lam) / (c.lam - a.lam)
    )
    assert [row.at.t for row in plan.rows] == [700, 600, 500, 400, 300, 150, 100]
    for mine, theirs in zip(plan.rows[:2], step.rows, strict=True):
        assert np.allclose(
            [w for _, w in (*mine.x, *mine.d, *mine.z)], [w for _, w in (*theirs.x, *theirs.d, *theirs.z)]
        )


def test_times_that_are_given_are_levels_of_one_call_stages_of_laid_solvers_and_starts_of_others():
    t = np.geomspace(50.0, 0.1, 11)
    for name in ("seeds-1", "seeds-2", "seeds-3", "euler-maruyama"):
        assert calls.run_at(seeds.SOLVERS[name], seeds.EDM(), t, {}).t == pytest.approx(t)
    own = calls.run_at(seeds.SOLVERS["seeds-4"], seeds.EDM(), t, {})
    assert own.t[[0, 5, 10]] == pytest.approx(t[[0, 5, 10]]) and own.plan().nfe == 11
    assert own.t[3] == pytest.approx(t[5]), "the fourth call of the published table stands at the end of the step"


def test_a_run_that_returns_a_state_ends_at_its_level():
    for name in ("seeds-1", "seeds-3", "seeds-4", "rk-2"):
        made = calls.run_of(seeds.SOLVERS[name], seeds.EDM(), 8, levels(seeds.EDM()), same, {}, end=0.01).plan()
        assert made.nfe == 8 and made.end.nsr == pytest.approx(0.01)


def test_what_is_left_over_comes_first_in_the_layout_of_multi_stage_hosts():
    sizes = [step.calls for step in calls.steps_of(seeds.SOLVERS["seeds-3"], 13, True, {}, rest_first=True)]
    assert sizes == [1, 2, 3, 3, 3] and sum(sizes) == 12


def test_a_solver_with_memory_is_one_run_of_all_levels_and_starts_anew_where_it_begins():
    from seeds.solvers.multistep import adams

    solver = seeds.Solver("two-values", adams, seeds.solvers.Orders(2, 2), noise="eta", eta=1.0, memory=True)
    path = seeds.EDM()
    made = calls.run_of(solver, path, 8, levels(path), same, {"k": 2})
    assert made.plan().rows == seeds.plan(solver, schedule=path, grid=made.t, k=2).rows and made.plan().remembers
    assert made.plan(3).rows == seeds.plan(solver, schedule=path, grid=made.t[3:], k=2).rows
    staged = calls.run_of(solver, path, 8, levels(path), same, {"k": 3, "corrector": 3, "startup": "singlestep"})
    assert staged.plan().nfe == 8
    assert dataclasses.replace(made, end=0.01, steps=(*made.steps, calls.Step(1))).plan().rows[-1].d[0][0] == 6
