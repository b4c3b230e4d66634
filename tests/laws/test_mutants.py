"""The laws have teeth: every coefficient of every solver, 1 % off, breaks one; so do swapped draws and a phi at the
wrong place."""

import functools
from dataclasses import replace

import pytest

import seeds
from seeds import Eta, tableaus
from seeds.laws import LAWS, Subject, gaussian_errors, slope, subjects
from seeds.laws.exactness import linear_rows, path_error, polynomial_error
from seeds.laws.mutants import with_row
from seeds.plans import Plan
from seeds.predictions import PREDICTIONS
from seeds.solvers import SOLVERS, Solver, tableau_solver
from seeds.tableaus import Tableau

SIGMAS = [5.0, 1.5, 0.4]
LIMIT = 1e-12
DATA = PREDICTIONS["data"]()


def mutate(plan: Plan, change) -> Plan:
    """The plan with every row changed by `change(call index within its step, row)`."""
    for i, start in enumerate(plan.step_starts()):
        plan = with_row(plan, i, change(i - start, plan.rows[i]))
    return plan


def test_a_wrong_weight_of_a_slope_costs_the_order():
    """Heun with weights 0.505 and 0.505 instead of 1/2 and 1/2, and Euler-Maruyama with a drift 1 % strong."""

    def strong(solver, **given):
        plan = seeds.plan(solver, **given)
        points = plan.points()

        def change(i, row):
            k = next(k for k, other in enumerate(plan.rows) if other is row)
            grow = points[k + 1].alpha / points[plan.step_starts()[k]].alpha
            moved = {j: value * 1.01 for j, value in row.x}
            moved[plan.step_starts()[k]] = moved.get(plan.step_starts()[k], 0.0) - 0.01 * grow
            return (
                row._replace(x=tuple(moved.items()), d=tuple((j, value * 1.01) for j, value in row.d))
                if row.completes
                else row
            )

        return mutate(plan, change)

    for solver in ("rk-1", "rk-2", "euler-maruyama"):
        right, wrong = (slope(gaussian_errors(functools.partial(make, solver))) for make in (seeds.plan, strong))
        assert right > SOLVERS[solver].orders().ode - 0.2 > wrong


@pytest.mark.parametrize(
    "subject", [it for it in subjects() if it.solver.tableau and it.solver.noise and it.prediction == "data"], ids=str
)
def test_swapped_draws_are_caught(subject):
    plan = subject.plan(sigmas=SIGMAS, schedule="vp", final="none", eta=1.0)
    per_step = len(plan.draws) // 2
    if per_step == 1:
        # one draw for all steps
        swapped = mutate(plan, lambda i, row: row._replace(z=tuple((0, value) for _, value in row.z)))
    else:

        def change(i, row):
            numbers = [j for j, _ in row.z]
            if len(numbers) < 2:
                return row
            numbers[0], numbers[1] = numbers[1], numbers[0]
            return row._replace(z=tuple((j, value) for j, (_, value) in zip(numbers, row.z, strict=True)))

        swapped = mutate(plan, change)
    assert path_error(swapped, DATA, Eta(1.0)) > LIMIT


def test_a_draw_that_stands_for_another_stretch_is_caught():
    """Relabelled in all rows alike, draws give the same law; a host that is asked for the noise of a stretch would be
    told the wrong one."""
    seeds_2 = SOLVERS["seeds-2"]

    def relabelled(write, levels, prediction, eta):
        seeds_2.build(write, levels, prediction=prediction, eta=eta)
        write.rows = [row._replace(z=tuple((j ^ 1, value) for j, value in row.z)) for row in write.rows]

    it = Subject(Solver("relabelled", relabelled, seeds_2.order, noise="eta", eta=1.0))
    assert any("lies ahead of it" in fault for fault in LAWS["draws"].faults(it))
    assert not list(LAWS["draws"].faults(Subject(seeds_2)))


def test_independent_stage_noise_is_caught():
    """The step with a draw of its own instead of the path of its stage."""
    plan = seeds.plan("seeds-2", sigmas=SIGMAS, schedule="vp", final="none")
    fresh = replace(plan, draws=(*plan.draws, *plan.draws))
    shifted = mutate(
        fresh,
        lambda i, row: row if i == 0 else row._replace(z=tuple((j + len(plan.draws), value) for j, value in row.z)),
    )
    assert path_error(shifted, DATA, Eta(1.0)) > LIMIT


def broken(table: Tableau, rows) -> tuple[float, bool]:
    """The order measured as an ODE, and whether a law of exactness is broken, for a solver made of a wrong table."""
    mutant = tableau_solver("mutant", lambda: table, 0.0)
    plan = seeds.plan(mutant, sigmas=SIGMAS, schedule="vp", final="none")
    errors = (
        polynomial_error(plan, DATA, Eta(0.0)),
        path_error(plan, DATA, Eta(0.0)),
        polynomial_error(plan, DATA, Eta(0.0), 1, rows),
    )
    return slope(gaussian_errors(functools.partial(seeds.plan, mutant), (64, 128))), max(errors) > LIMIT


def test_a_phi_at_the_wrong_place_is_caught():
    """The authors' phi_2 of stage 3, formed at c_2 instead of c_3, with everything else right; and phi_2 where phi_3
    belongs in ERK-4."""
    right = tableaus.order_3()
    third, one = 2 / 3, 1.0
    wrong = replace(right, a=(right.a[0], ({(1, third): third, (2, 1 / 3): -4 / 3}, {(2, 1 / 3): 4 / 3}), right.a[2]))
    order, inexact = broken(wrong, linear_rows(SOLVERS["seeds-3"], {}))
    assert order < 2.8 or inexact

    right = tableaus.order_4()
    last = tuple(
        {({(3, one): (2, one)}.get(key, key)): value for key, value in weights.items()} for weights in right.a[4]
    )
    order, inexact = broken(replace(right, a=(*right.a[:4], last)), linear_rows(SOLVERS["erk-4"], {}))
    assert order < 3.8 or inexact


def test_signs_of_erk_4_are_caught():
    """The two signs that the authors' ERK-4 has wrong cost two orders."""
    right = tableaus.order_4()
    last = ({(1, 1.0): 1.0, (2, 1.0): -3.0, (3, 1.0): 4.0}, {}, {}, {(2, 1.0): 1.0, (3, 1.0): -4.0}, {(2, 1.0): 2.0})
    order, _ = broken(replace(right, a=(*right.a[:4], last)), linear_rows(SOLVERS["erk-4"], {}))
    assert order < 3.8
