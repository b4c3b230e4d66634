"""Exponential Adams methods: the classical weights in their limit, what each option does, and what a method with memory
never reads."""

import math

import numpy as np
import pytest
import torch

import seeds
from seeds.laws.responses import mixture_denoiser
from seeds.solvers import SOLVERS
from seeds.stepper import Stepper
from seeds.variables import variable

ADAMS = SOLVERS["adams"]
EQUAL = {"schedule": "edm", "grid": "uniform_lam"}
SMALL = {"sigmas": np.exp(-1e-4 * np.arange(8)), "schedule": "edm", "final": "none"}


def f_weights(plan, row):
    """{steps back: weight of F / h} in data mode, where F = D, with the step's h = 1e-4."""
    return {row - j: value / 1e-4 for j, value in plan.rows[row].d}


@pytest.mark.parametrize(("k", "bashforth"), [(1, [1]), (2, [3 / 2, -1 / 2]), (3, [23 / 12, -16 / 12, 5 / 12]),
                                              (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24])])  # fmt: skip
def test_small_steps_are_adams_bashforths(k, bashforth):
    plan = seeds.plan(ADAMS, k=k, **SMALL)
    assert [f_weights(plan, 5)[back] for back in range(k)] == pytest.approx(bashforth, rel=1e-3)


@pytest.mark.parametrize(("m", "moulton"), [(1, [1]), (2, [1 / 2, 1 / 2]), (3, [5 / 12, 8 / 12, -1 / 12]),
                                            (4, [9 / 24, 19 / 24, -5 / 24, 1 / 24])])  # fmt: skip
def test_the_correction_is_adams_moultons_less_what_was_predicted(m, moulton):
    k = 3
    plain, late = (f_weights(seeds.plan(ADAMS, k=k, corrector=c, **SMALL), 5) for c in (0, m))
    predicted = [0, 23 / 12, -16 / 12, 5 / 12]
    for back in range(4):
        want = (moulton[back] if back < m else 0) - predicted[back]
        assert late.get(back, 0) - plain.get(back, 0) == pytest.approx(want, abs=2e-3)


def test_each_run_grows_from_one_value_or_takes_stages():
    grown = seeds.plan(ADAMS, steps=6, k=3, **EQUAL)
    assert [len(row.d) for row in grown.rows] == [1, 2, 3, 3, 3, 3, 1] and grown.nfe == 7
    staged = seeds.plan(ADAMS, steps=6, k=3, startup="singlestep", **EQUAL)
    assert staged.nfe == 7 + 2 and [row.completes for row in staged.rows[:4]] == [False, True, False, True]
    final = seeds.plan(ADAMS, steps=6, k=3, lower_order_final=True, **EQUAL)
    assert [len(row.d) for row in final.rows] == [1, 2, 3, 3, 3, 2, 1]  # the final denoise is the last step
    final = seeds.plan(ADAMS, steps=6, k=3, lower_order_final=True, final="none", **EQUAL)
    assert [len(row.d) for row in final.rows] == [1, 2, 3, 3, 2, 1]


@pytest.mark.parametrize("eta", [0.0, 1.5])
def test_a_finish_is_one_step_more_in_place_of_the_denoise(eta):
    sigmas, options = np.geomspace(20, 0.1, 6), {"k": 3, "corrector": 3, "variable": "nsr^0.3", "eta": eta}
    longer = seeds.plan(ADAMS, sigmas=[*sigmas, 0.01], schedule="edm", final="none", **options)
    finished = seeds.plan(ADAMS, sigmas=sigmas, schedule="edm", finish=0.01, **options)
    assert finished.nfe == len(sigmas) and finished.end.sigma == 0
    for row, other in zip(finished.rows, longer.rows, strict=True):
        for part in ("x", "d", "z"):
            assert np.allclose(getattr(row, part), getattr(other, part), rtol=1e-9)
    on_vp = seeds.plan(ADAMS, sigmas=sigmas, schedule="vp", finish=0.01, **options).on(seeds.EDM())
    assert all(np.allclose(row.d, other.d, rtol=1e-9) for row, other in zip(on_vp.rows, longer.rows, strict=True))


def test_a_finish_is_left_out_where_no_step_reaches_it():
    kept = {"sigmas": np.geomspace(20, 0.1, 6), "schedule": "edm"}
    for more in ({"finish": 0.1}, {"finish": 0.0}, {"finish": 0.2}):
        assert seeds.plan(ADAMS, **more, **kept) == seeds.plan(ADAMS, **kept)
    assert seeds.plan(ADAMS, finish=0.01, final="none", **kept) == seeds.plan(ADAMS, final="none", **kept)
    with pytest.raises(ValueError, match="`finish` must be a noise level"):
        seeds.plan(ADAMS, finish=-1.0, **kept)


def test_one_value_is_erk_1_and_seeds_1():
    for eta, twin in ((0.0, "erk-1"), (0.7, "seeds-1")):
        one, other = (
            seeds.plan(which, steps=5, schedule="vp", prediction="v", eta=eta, **more)
            for which, more in ((ADAMS, {"k": 1}), (twin, {}))
        )
        assert np.allclose([draw[:2] for draw in one.draws], [draw[:2] for draw in other.draws], atol=1e-12)
        for a, b in zip(one.rows, other.rows, strict=True):
            for part in "xdz":
                assert dict(getattr(a, part)) == pytest.approx(dict(getattr(b, part)), rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"k": 3}, {"k": 3, "corrector": 3, "variable": "t"}, {"k": 2, "startup": "singlestep", "variable": "index"}],
)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_value_at_snr_zero_is_never_a_node(options, eta):
    plan = seeds.plan(ADAMS, steps=6, schedule="flow", eta=eta, **options)
    assert plan.start.alpha == 0
    assert all(j > 0 for row in plan.rows[1:] for j, _ in (*row.x, *row.d))


def test_another_variable_is_another_method():
    rows = {
        name: seeds.plan(ADAMS, steps=8, schedule="vp", variable=name).rows
        for name in ("lam", "nsr", "nsr^0.45", "t", "index")
    }
    assert len(set(rows.values())) == 5
    assert rows["nsr"] == seeds.plan(ADAMS, steps=8, schedule="vp", variable="nsr^1").rows
    # equal steps in lam: index and lam are one variable
    again = seeds.plan(ADAMS, steps=8, variable="index", **EQUAL).rows
    for a, b in zip(again, seeds.plan(ADAMS, steps=8, **EQUAL).rows, strict=True):
        assert dict(a.d) == pytest.approx(dict(b.d), rel=1e-9)


def test_variables_by_hand():
    schedule, lam = seeds.VP(), np.array([-2.0, 0.0, 3.0])
    assert variable("lam", schedule, lam) is None
    assert variable("nsr^0.5", schedule, lam)(lam) == pytest.approx(np.exp(-lam / 2), rel=1e-15)
    assert variable("t", schedule, lam)(lam) == pytest.approx(schedule.t_of_lam(lam), rel=1e-15)
    assert variable("index", schedule, lam)(np.array([-2.0, -1.0, 1.5])) == pytest.approx([0.0, 0.5, 1.5], rel=1e-15)


@pytest.mark.parametrize(("options", "words"), [
    ({"k": 0}, "`k` must be a whole number from 1 to 4, but is 0"),
    ({"k": 2.5}, "`k` must be a whole number from 1 to 4, but is 2.5"),
    ({"corrector": 4}, r"`corrector` must be a whole number from 0 \(none\) to k \+ 1 = 3, the new value included, but "
                       r"is 4"),
    ({"startup": "heun"}, "`startup` must be one of grow, singlestep, but is 'heun'"),
    ({"variable": "sigma"}, r"`variable` must be one of lam, nsr, nsr\^p, t, vp_t, index.* but is 'sigma'"),
    ({"variable": "nsr^0"}, r"but is 'nsr\^0'"),
])  # fmt: skip
def test_what_is_wrong_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        seeds.plan(ADAMS, steps=4, schedule="vp", **options)


def test_memory_is_what_the_plan_reads():
    """The newest state, its answer, and one value back; the corrector of two values reads one more."""
    plan = seeds.plan(ADAMS, steps=20, k=2, corrector=3, **EQUAL)
    stepper, most = Stepper(plan, torch.zeros(3, dtype=torch.float64), lambda j: torch.zeros(3)), 0
    while not stepper.done:
        stepper.advance(mixture_denoiser(stepper.x, stepper.at))
        most = max(most, stepper.held)
    assert most <= 5 and plan.remembers and math.isfinite(float(stepper.x.sum()))
