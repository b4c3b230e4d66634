"""Model calls and tensors of every solver, written out: a plan that asks more than it says, or holds more, is seen here."""

import pytest

import seeds

CALLS = {
    "seeds-1": 1, "seeds-2": 2, "seeds-3": 3, "seeds-4": 5, "erk-1": 1, "erk-2": 2, "erk-3": 3, "erk-4": 5, "rk-1": 1, "rk-2": 2, "euler-maruyama": 1,
    "adams": 1,
}  # fmt: skip
"""Calls of a step."""


@pytest.mark.parametrize("solver", CALLS)
def test_calls_of_a_run(solver):
    for steps in (1, 2, 7, 30):
        for final, extra in (("denoise", 1), ("none", 0)):
            assert seeds.plan(solver, steps=steps, schedule="edm", final=final).nfe == steps * CALLS[solver] + extra


def test_no_call_count_is_forgotten():
    assert {name for name, it in seeds.SOLVERS.items() if it.build.__module__.startswith("seeds.")} == set(CALLS)
