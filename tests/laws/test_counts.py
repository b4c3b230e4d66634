"""Model calls and tensors of every solver, written out: a plan that asks more than it says, or holds more, is seen
here."""

import pytest

import seeds

CALLS = {
    "seeds-1": 1, "seeds-2": 2, "seeds-3": 3, "seeds-4": 5, "erk-1": 1, "erk-2": 2, "erk-3": 3, "erk-4": 5, "rk-1": 1,
    "rk-2": 2, "euler-maruyama": 1, "adams": 1, "deis-tab1": 1, "deis-tab2": 1, "deis-tab3": 1, "dpm-solver-2": 2,
    "dpm-solver-3": 3, "dpmpp-2s": 2, "dpmpp-sde": 2, "dpmpp-2m": 1, "dpmpp-3m": 1, "dpmpp-2m-sde": 1,
    "dpmpp-3m-sde": 1, "er-sde-1": 1, "er-sde-2": 1, "er-sde-3": 1, "ipndm": 1, "ipndm-v": 1, "gradient-estimation": 1,
    "pfdiff": 1, "ddim": 1, "dpmpp-2s-ancestral": 2, "lcm": 1, "tcd": 1, "edm-stochastic": 2, "res-2m": 1, "res-3m": 1,
    "dpm-2-ancestral": 2,
    "sa-solver": 1, "unipc": 1,
}  # fmt: skip
"""Calls of a step."""


@pytest.mark.parametrize("solver", CALLS)
def test_calls_of_a_run(solver):
    for steps in (1, 2, 7, 30):
        for final, extra in (("denoise", 1), ("none", 0)):
            assert seeds.plan(solver, steps=steps, schedule="edm", final=final).nfe == steps * CALLS[solver] + extra


def test_restart_adds_its_own_steps():
    for steps in (7, 30):
        plan = seeds.plan("restart", steps=steps, schedule="edm", times=3, back_steps=4)
        assert plan.nfe == 2 * (steps + 3 * 4) + 1 and plan.steps == steps + 1 and len(plan.draws) == 3


def test_no_call_count_is_forgotten():
    assert {name for name, it in seeds.SOLVERS.items() if it.build.__module__.startswith("seeds.")} == {
        *CALLS,
        "restart",
    }
