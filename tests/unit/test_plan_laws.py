"""The exactness laws that `seeds plan` prints: rounding for every exponential solver, and far from it for a plan that
is wrong."""

import math
import tracemalloc
from dataclasses import replace

import pytest

import seeds
from seeds import PREDICTIONS, SOLVERS, Eta
from seeds.laws.exactness import constant_error, path_error

EXPONENTIAL = [name for name, solver in SOLVERS.items() if solver.interpolates]


def errors(plan, prediction="data", eta=1.0):
    form = PREDICTIONS[prediction]()
    return constant_error(plan, form, Eta(eta)), path_error(plan, form, Eta(eta))


@pytest.mark.parametrize("schedule", ["edm", "vp", "flow"])  # flow starts at SNR 0
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("solver", EXPONENTIAL)
def test_every_solver_keeps_the_laws(solver, prediction, schedule):
    eta = SOLVERS[solver].eta
    assert max(errors(seeds.plan(solver, steps=7, schedule=schedule, prediction=prediction), prediction, eta)) < 1e-12


def test_tables_of_eta_ends_and_many_steps():
    table = [(-math.inf, 0.3), (-1.0, 0.0), (0.5, 2.0)]
    assert max(errors(seeds.plan("seeds-3", steps=9, schedule="vp", eta=table, final="none"), eta=table)) < 1e-12
    assert max(errors(seeds.plan("seeds-4", steps=300, schedule="edm"))) < 1e-11
    assert (
        max(errors(seeds.plan("seeds-2", steps=9, schedule="edm", start=3, stop=("nsr", 0.4), r=0.3, variant="2b")))
        < 1e-12
    )


def test_the_memory_of_the_laws_is_linear_in_the_steps():
    def peak(steps):
        plan = seeds.plan("seeds-3", steps=steps, schedule="edm")
        tracemalloc.start()
        try:
            assert max(errors(plan)) < 1e-10
            return tracemalloc.get_traced_memory()[1] / len(plan.rows)
        finally:
            tracemalloc.stop()

    assert peak(1600) < 1.2 * peak(800)


def scaled(plan, part, call, index, factor):
    """The plan with one coefficient of one call changed."""
    row = plan.rows[call]
    pairs = tuple((j, value * (factor if k == index else 1)) for k, (j, value) in enumerate(getattr(row, part)))
    return replace(plan, rows=(*plan.rows[:call], row._replace(**{part: pairs}), *plan.rows[call + 1 :]))


@pytest.mark.parametrize("call", range(6))
def test_a_coefficient_that_is_off_by_a_thousandth_is_seen(call):
    plan = seeds.plan("seeds-3", steps=3, schedule="vp", prediction="noise", final="none")
    form, eta = PREDICTIONS["noise"](), Eta(1.0)
    for index in range(len(plan.rows[call].d)):
        assert constant_error(scaled(plan, "d", call, index, 1.001), form, eta) > 1e-5
    for index in range(len(plan.rows[call].z)):
        assert path_error(scaled(plan, "z", call, index, 1.001), form, eta) > 1e-7


def test_swapped_draws_and_the_wrong_law_are_seen():
    plan = seeds.plan("seeds-2", steps=3, schedule="vp")
    (a, first), (b, second) = plan.rows[1].z
    swapped = replace(plan, rows=(plan.rows[0], plan.rows[1]._replace(z=((a, second), (b, first))), *plan.rows[2:]))
    assert errors(plan)[1] < 1e-12 < 1e-3 < errors(swapped)[1]
    assert errors(plan, eta=0.9)[0] > 1e-3 and errors(plan, prediction="noise")[0] > 1e-3
