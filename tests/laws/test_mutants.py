"""The laws have teeth: every coefficient of every solver, 1 % off, breaks one; so do swapped draws and a phi at the wrong place."""

from dataclasses import replace

import pytest
from laws import (
    CASES,
    EXPONENTIAL,
    classic_noise_error,
    gaussian_errors,
    ids,
    linear_rows,
    mutate,
    path_error,
    polynomial_error,
    slope,
    step_starts,
    still_error,
)

import seeds
from seeds import tableaus
from seeds.plans import Plan
from seeds.solvers import SOLVERS, tableau_solver
from seeds.tableaus import Tableau

SIGMAS = [5.0, 1.5, 0.4]
LIMIT = 1e-12


def broken_exactness(plan: Plan, solver: str, case: dict, prediction: str, eta: float) -> list[str]:
    """The exactness laws that a plan breaks."""
    found = []
    if path_error(plan, prediction, eta) > LIMIT:
        found.append("path")
    if polynomial_error(plan, prediction, eta, degree=0) > LIMIT:
        found.append("constant")
    if polynomial_error(plan, prediction, eta, degree=1, rows=linear_rows(solver, case)) > LIMIT:
        found.append("linear")
    return found


def places(plan: Plan) -> list[tuple[int, str, int]]:
    """Every coefficient of the second step: (call within the step, part, position in its list)."""
    per_step = next(i for i, row in enumerate(plan.rows) if row.completes) + 1
    return [(i, part, k) for i in range(per_step) for part in "xdz" for k in range(len(getattr(plan.rows[per_step + i], part)))]


def off(plan: Plan, place: tuple[int, str, int], factor: float = 1.01) -> Plan:
    """That coefficient, 1 % off in every step."""
    call, part, k = place

    def change(i, row):
        pairs = list(getattr(row, part))
        if i != call or k >= len(pairs):
            return row
        pairs[k] = (pairs[k][0], pairs[k][1] * factor)
        return row._replace(**{part: tuple(pairs)})

    return mutate(plan, change)


@pytest.mark.parametrize("prediction", ["data", "noise", "v"])
@pytest.mark.parametrize(("solver", "case"), EXPONENTIAL, ids=ids)
def test_every_coefficient_one_percent_off_is_caught(solver, case, prediction):
    eta = 0.0 if SOLVERS[solver].eta == 0 else 1.0
    plan = seeds.plan(solver, sigmas=SIGMAS, schedule="vp", prediction=prediction, eta=eta, final="none", **case)
    assert broken_exactness(plan, solver, case, prediction, eta) == []
    found = places(plan)
    assert len(found) >= 2
    for place in found:
        assert broken_exactness(off(plan, place), solver, case, prediction, eta), f"{solver} {case} {prediction}: {place} 1 % off passes"


NOT_EXPONENTIAL = [(name, case) for name, case in CASES if not SOLVERS[name].interpolates]


@pytest.mark.parametrize(("solver", "case"), NOT_EXPONENTIAL, ids=ids)
def test_every_coefficient_of_the_classics_one_percent_off_is_caught(solver, case):
    """Their laws: where D = y nothing moves, and noise has its variance. What is wrong in both weights alike costs the order."""
    eta = SOLVERS[solver].eta
    plan = seeds.plan(solver, sigmas=SIGMAS, schedule="ve", final="none", **case, **SOLVERS[solver].noisy)
    assert plan.draws and classic_noise_error(plan, eta) < LIMIT and still_error(plan) < LIMIT
    for place in places(plan):
        wrong = off(plan, place)
        assert classic_noise_error(wrong, eta) > 1e-3 or still_error(wrong) > LIMIT, f"{solver} {case}: {place} 1 % off passes"


def test_a_wrong_weight_of_a_slope_costs_the_order():
    """Heun with weights 0.505 and 0.505 instead of 1/2 and 1/2, and Euler-Maruyama with a drift 1 % strong."""

    def strong(solver, **given):
        plan = seeds.plan(solver, **given)
        points = plan.points()

        def change(i, row):
            k = next(k for k, other in enumerate(plan.rows) if other is row)
            grow = points[k + 1].alpha / points[step_starts(plan)[k]].alpha
            moved = {j: value * 1.01 for j, value in row.x}
            moved[step_starts(plan)[k]] = moved.get(step_starts(plan)[k], 0.0) - 0.01 * grow
            return row._replace(x=tuple(moved.items()), d=tuple((j, value * 1.01) for j, value in row.d)) if row.completes else row

        return mutate(plan, change)

    for solver in ("rk-1", "rk-2", "euler-maruyama"):
        assert slope(gaussian_errors(seeds.plan, solver, (128, 256))) > SOLVERS[solver].orders().ode - 0.2
        assert slope(gaussian_errors(strong, solver, (128, 256))) < SOLVERS[solver].orders().ode - 0.2


@pytest.mark.parametrize(("solver", "case"), [(name, case) for name, case in EXPONENTIAL if SOLVERS[name].eta], ids=ids)
def test_swapped_draws_are_caught(solver, case):
    plan = seeds.plan(solver, sigmas=SIGMAS, schedule="vp", final="none", **case)
    per_step = len(plan.draws) // 2
    if per_step == 1:
        swapped = mutate(plan, lambda i, row: row._replace(z=tuple((0, value) for _, value in row.z)))  # one draw for all steps
    else:

        def change(i, row):
            numbers = [j for j, _ in row.z]
            if len(numbers) < 2:
                return row
            numbers[0], numbers[1] = numbers[1], numbers[0]
            return row._replace(z=tuple((j, value) for j, (_, value) in zip(numbers, row.z, strict=True)))

        swapped = mutate(plan, change)
    assert "path" in broken_exactness(swapped, solver, case, "data", 1.0)


def test_independent_stage_noise_is_caught():
    """The step with a draw of its own instead of the path of its stage."""
    plan = seeds.plan("seeds-2", sigmas=SIGMAS, schedule="vp", final="none")
    fresh = replace(plan, draws=(*plan.draws, *plan.draws))
    shifted = mutate(fresh, lambda i, row: row if i == 0 else row._replace(z=tuple((j + len(plan.draws), value) for j, value in row.z)))
    assert "path" in broken_exactness(shifted, "seeds-2", {}, "data", 1.0)


def mutant_orders(table: Tableau, eta: float, monkeypatch) -> tuple[float, list[str]]:
    """Order measured and exactness broken, for a solver made of a wrong table."""
    monkeypatch.setitem(SOLVERS, "mutant", tableau_solver("mutant", lambda: table, eta))
    plan = seeds.plan("mutant", sigmas=SIGMAS, schedule="vp", eta=eta, final="none")
    return slope(gaussian_errors(seeds.plan, "mutant", (64, 128), eta=eta)), broken_exactness(plan, "mutant", {}, "data", eta)


def test_a_phi_at_the_wrong_place_is_caught(monkeypatch):
    """The authors' phi_2 of stage 3, formed at c_2 instead of c_3, with everything else right; and phi_2 where phi_3 belongs in ERK-4."""
    right = tableaus.order_3()
    third, one = 2 / 3, 1.0
    wrong = replace(right, a=(right.a[0], ({(1, third): third, (2, 1 / 3): -4 / 3}, {(2, 1 / 3): 4 / 3}), right.a[2]))
    order, _ = mutant_orders(wrong, 0.0, monkeypatch)
    monkeypatch.setitem(SOLVERS, "mutant", tableau_solver("mutant", lambda: wrong, 0.0))
    stage = polynomial_error(seeds.plan("mutant", sigmas=SIGMAS, schedule="vp", final="none"), "data", 0.0, 1, linear_rows("seeds-3", {}))
    assert order < 2.8 or stage > LIMIT

    right = tableaus.order_4()
    last = tuple({({(3, one): (2, one)}.get(key, key)): value for key, value in weights.items()} for weights in right.a[4])
    order, broken = mutant_orders(replace(right, a=(*right.a[:4], last)), 0.0, monkeypatch)
    assert order < 3.8 or broken


def test_signs_of_erk_4_are_caught(monkeypatch):
    """The two signs that the authors' ERK-4 has wrong cost two orders."""
    right = tableaus.order_4()
    last = ({(1, 1.0): 1.0, (2, 1.0): -3.0, (3, 1.0): 4.0}, {}, {}, {(2, 1.0): 1.0, (3, 1.0): -4.0}, {(2, 1.0): 2.0})
    order, _ = mutant_orders(replace(right, a=(*right.a[:4], last)), 0.0, monkeypatch)
    assert order < 3.8
