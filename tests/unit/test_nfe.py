"""nfe=: the most steps that a number of model calls allows, all of them counted."""

import pytest
import torch

import seeds
from seeds.exact import Gaussian

DATA = Gaussian(0.0, 1.0, shape=(1,), schedule=seeds.EDM())


CASES = [
    (name, path)
    for name, it in seeds.SOLVERS.items()
    for path in ("edm", "flow", "vp")
    if path == "flow" or not it.source
]


@pytest.mark.parametrize(("solver", "schedule"), CASES)
def test_it_is_met_or_one_step_more_would_be_too_many(solver, schedule):
    for nfe in (7, 12, 31) if solver != "restart" else (31,):  # its own steps are 12 calls
        made = seeds.plan(solver, nfe=nfe, schedule=schedule)
        steps = next(n for n in range(1, 40) if seeds.plan(solver, steps=n + 1, schedule=schedule).nfe > nfe)
        assert made == seeds.plan(solver, steps=steps, schedule=schedule) and made.nfe <= nfe


def test_calls_are_those_really_made():
    """After `start`, without the final denoise, and at levels that a network knows."""
    asked = []

    def counted(x, at):
        asked.append(at)
        return DATA(x, at)

    counted.schedule = seeds.EDM()
    seeds.sample(counted, (1,), seed=0, solver="seeds-2", nfe=9, data=torch.zeros(1), start=("nsr", 2.0))
    assert len(asked) == 9
    assert seeds.plan("seeds-1", nfe=9, schedule="edm", final="none").nfe == 9
    table = seeds.Discrete.linear()
    assert seeds.plan("seeds-3", nfe=20, schedule=table, round_nsr=table.round_nsr).nfe == 19


def test_what_says_the_length_twice_or_not_at_all_is_refused():
    for how, words in (
        ({"nfe": 10, "steps": 3}, "`steps` = 3 and `nfe` = 10 both say how long the run is"),
        ({"nfe": 3}, "`nfe` = 3 is too few for seeds-3: one step takes 4 calls here, the final denoise included"),
        (
            {"nfe": 10, "sigmas": [3.0, 1.0]},
            "`nfe` = 10 says how many levels a named grid is to have, but the levels are given",
        ),
        ({"nfe": 2.5}, "`nfe` = 2.5 must be a whole number"),
        ({"nfe": True}, "`nfe` = True must be a whole number"),
    ):
        with pytest.raises(ValueError, match=words):
            seeds.plan("seeds-3", schedule="edm", **how)
