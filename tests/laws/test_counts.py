"""Every solver at every length: finite, honest about its model calls, and never reading the future."""

from itertools import pairwise

import pytest
import torch
from laws import CASES, ids, mixture_denoiser, states

import seeds
from seeds.solvers import SOLVERS

CALLS = {
    "seeds-1": 1,
    "erk-1": 1,
    "rk-1": 1,
    "euler-maruyama": 1,
    "seeds-2": 2,
    "erk-2": 2,
    "rk-2": 2,
    "seeds-3": 3,
    "erk-3": 3,
    "seeds-4": 5,
    "erk-4": 5,
}


@pytest.mark.parametrize("grid", ["karras", "uniform_lam"])
@pytest.mark.parametrize(("solver", "case"), CASES, ids=ids)
def test_every_length_is_finite_and_makes_exactly_nfe_calls(solver, case, grid):
    for steps in range(1, 31):
        for final, extra in (("denoise", 1), ("none", 0)):
            plan = seeds.plan(solver, steps=steps, schedule="edm", grid=grid, final=final, **case)
            asked = []

            def denoise(x, at, asked=asked):
                asked.append(at)
                return mixture_denoiser(x.double(), at).float()

            last = states(plan, denoise, torch.tensor([-80.0, 3.0, 120.0]), lambda j: torch.tensor([1.0, -0.5, 2.0]))[-1]
            assert torch.isfinite(last).all()
            assert len(asked) == plan.nfe == steps * CALLS.get(solver, (plan.nfe - extra) // steps) + extra
            assert all(at.sigma > 0 for at in asked)


def test_no_call_count_is_forgotten():
    assert set(CALLS) <= set(SOLVERS)


@pytest.mark.parametrize(("solver", "case"), CASES, ids=ids)
def test_draws_know_their_stretch_of_path(solver, case):
    plan = seeds.plan(solver, steps=4, schedule="vp", **case)
    path = [draw for draw in plan.draws if draw.stream == "path"]
    for before, after in pairwise(path):
        assert before.lam0 < before.lam1 and after.lam0 == pytest.approx(before.lam1, abs=1e-12)
    if path:
        assert path[0].lam0 == pytest.approx(plan.start.lam) and path[-1].lam1 == pytest.approx(plan.rows[-1].at.lam)


@pytest.mark.parametrize(("solver", "case"), CASES, ids=ids)
def test_plans_are_saved_and_read_without_losing_a_bit(solver, case):
    for schedule in ("edm", "flow"):
        plan = seeds.plan(solver, steps=3, schedule=schedule, **case)
        again = seeds.Plan.from_json(plan.to_json())
        assert again == plan and again.digest == plan.digest
