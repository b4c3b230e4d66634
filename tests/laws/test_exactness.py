"""What an exponential integrator solves exactly, it solves exactly: to 1e-12, for random positions and random eta."""

import math

import numpy as np
import pytest
import torch

import seeds
from seeds import Eta
from seeds.laws import path_error, polynomial_error, subjects
from seeds.laws.exactness import linear_rows
from seeds.predictions import PREDICTIONS
from seeds.solvers import SOLVERS
from seeds.stepper import run
from seeds.variables import variable

GRID = np.array([7.0, 2.5, 1.1, 0.3, 0.02])
FORM = PREDICTIONS["v"]()
TABLE = [(-math.inf, 0.0), (-1.2, 1.7), (0.31, 0.4)]


KNOWN = np.geomspace(0.002, 100.0, 60)
ROUNDINGS = {
    "down": lambda nsr: KNOWN[np.maximum(np.searchsorted(KNOWN, nsr, side="right") - 1, 0)],
    "up": lambda nsr: KNOWN[np.minimum(np.searchsorted(KNOWN, nsr), len(KNOWN) - 1)],
    "nearest": lambda nsr: KNOWN[np.abs(np.log(KNOWN) - np.log(nsr)[:, None]).argmin(1)],
}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    ("solver", "case"),
    [("seeds-2", {}), ("seeds-2", {"variant": "2b"}), ("seeds-3", {}), ("seeds-3", {"variant": "3b"})],
)
def test_weights_are_formed_for_the_rounded_levels(solver, case, rounding):
    """Steps of a few known levels and of many: stages move, meet the ends and each other, and every one is where its
    weights say."""
    for steps in (2, 7, 19, 40):
        plan = seeds.plan(
            solver, steps=steps, schedule="edm", round_nsr=ROUNDINGS[rounding], prediction="v", final="none", **case
        )
        assert np.abs(np.log([row.at.nsr for row in plan.rows])[:, None] - np.log(KNOWN)).min(1).max() < 1e-12
        assert path_error(plan, FORM, Eta(1.0)) < 1e-12
        assert polynomial_error(plan, FORM, Eta(1.0)) < 1e-12


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("solver", "eta"), [("seeds-4", 1.0), ("erk-4", 0.0)])
def test_fixed_stages_between_rounded_levels_obey_the_same_laws(solver, eta, rounding):
    for steps in (2, 7, 19, 40):
        plan = seeds.plan(
            solver, steps=steps, schedule="edm", round_nsr=ROUNDINGS[rounding], prediction="v", final="none"
        )
        ends = [row.at.nsr for i, row in enumerate(plan.rows) if i == 0 or plan.rows[i - 1].completes]
        assert np.abs(np.log(ends)[:, None] - np.log(KNOWN)).min(1).max() < 1e-12
        assert path_error(plan, FORM, Eta(eta)) < 1e-12
        assert polynomial_error(plan, FORM, Eta(eta)) < 1e-12
        assert polynomial_error(plan, FORM, Eta(eta), 1, linear_rows(SOLVERS[solver], {})) < 1e-12


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("family", "variant"), [("2", "2a"), ("2", "2b"), ("3", "3a"), ("3", "3b")])
def test_random_positions_and_a_table_of_eta_are_as_exact(family, variant, prediction):
    rng = np.random.default_rng([ord(family), *map(ord, variant + prediction)])
    r = np.sort(rng.uniform(0.05, 1.0, 2))
    case = {"variant": variant, "r": float(r[0]) if family == "2" else (float(r[0]), float(r[1]))}
    for eta in (float(rng.uniform(0.05, 3)), TABLE):
        made = seeds.plan(
            f"seeds-{family}", sigmas=GRID, schedule="vp", prediction=prediction, eta=eta, final="none", **case
        )
        form = PREDICTIONS[prediction]()
        assert path_error(made, form, Eta(eta)) < 1e-12 and polynomial_error(made, form, Eta(eta)) < 1e-12
        rows = linear_rows(SOLVERS[f"seeds-{family}"], case)
        assert polynomial_error(made, form, Eta(eta), 1, rows) < 1e-12


@pytest.mark.parametrize("subject", [it for it in subjects() if it.solver.tableau and it.prediction == "data"], ids=str)
def test_the_linear_law_has_rows_to_look_at(subject):
    """A law that looks at no row cannot fail: every table but those of phi_1 alone has rows that take part."""
    table = subject.solver.tableau(**subject.options)
    rows = [linear_rows(subject.solver, subject.options)(i) for i in range(len(table.c))]
    assert any(rows) == any(k > 1 for row in table.a for weights in row for k, _ in weights)


@pytest.mark.parametrize("name", ["lam", "nsr^0.45", "t", "index"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_multistep_method_integrates_polynomials_in_its_variable(prediction, name):
    """After the start-up, of every degree below its values, whatever eta."""
    made = seeds.plan(
        "adams", sigmas=GRID, schedule="vp", prediction=prediction, eta=0.7, k=3, variable=name, final="none"
    )
    u = variable(name, seeds.VP(), np.array([at.lam for at in made.points()]))
    for degree in range(3):
        assert polynomial_error(made, PREDICTIONS[prediction](), Eta(0.7), degree, u=u, first=degree) < 1e-11
    assert polynomial_error(made, PREDICTIONS[prediction](), Eta(0.7), 3, u=u, first=2) > 1e-6


@pytest.mark.parametrize(("prediction", "std"), [("edm_raw", 0.5), ("v", 1.0)])
@pytest.mark.parametrize("solver", [name for name, it in SOLVERS.items() if it.interpolates])
def test_data_of_matching_std_is_sampled_exactly_in_one_step(solver, prediction, std):
    """Raw F on data of standard deviation sd, and v on standard deviation 1, vanish: any step is exact."""
    plan = seeds.plan(solver, sigmas=[80.0, 0.002], schedule="edm", prediction=prediction, final="none")
    unit = torch.eye(1 + len(plan.draws), dtype=torch.float64)
    start = math.sqrt(std**2 + 80.0**2)

    last = run(plan, lambda x, at: x * std**2 / (std**2 + at.nsr**2), start * unit[0], lambda j: unit[1 + j])
    assert last.square().sum().item() == pytest.approx(std**2 + 0.002**2, rel=1e-12)
