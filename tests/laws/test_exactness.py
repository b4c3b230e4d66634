"""What an exponential integrator solves exactly, it solves exactly: to 1e-12, for random positions and random eta."""

import math

import numpy as np
import pytest
import torch
from laws import EXPONENTIAL, ids, linear_rows, path_error, polynomial_error

import seeds
from seeds.predictions import PREDICTIONS
from seeds.solvers import SOLVERS
from seeds.stepper import run

GRID = np.array([7.0, 2.5, 1.1, 0.3, 0.02])
TABLE = [(-math.inf, 0.0), (-1.2, 1.7), (0.31, 0.4)]


def draw_case(solver: str, rng: np.random.Generator) -> dict:
    """A random case of the solver: positions where it has any, and a random eta or eta table."""
    case = {}
    if "r" in SOLVERS[solver].options:
        case["variant"] = str(rng.choice(["2a", "2b"] if solver.endswith("2") else ["3a", "3b"]))
        r = np.sort(rng.uniform(0.05, 1.0, 2))
        case["r"] = float(r[0]) if solver.endswith("2") else (float(r[0]), float(r[1]))
    return case


EXPONENTIAL_NAMES = [name for name, solver in SOLVERS.items() if solver.interpolates]
DRAWN = [
    (name, draw_case(name, rng), form, 0.0 if SOLVERS[name].eta == 0 else eta)
    for name in EXPONENTIAL_NAMES
    for form in PREDICTIONS
    for rng in [np.random.default_rng([len(name), len(form), EXPONENTIAL_NAMES.index(name)])]
    for eta in (float(rng.uniform(0.05, 3)), TABLE)
]


@pytest.mark.parametrize(("solver", "case", "prediction", "eta"), DRAWN, ids=ids)
def test_stages_lie_on_one_brownian_path(solver, case, prediction, eta):
    plan = seeds.plan(solver, sigmas=GRID, schedule="vp", prediction=prediction, eta=eta, final="none", **case)
    assert path_error(plan, prediction, eta) < 1e-12


KNOWN = np.geomspace(0.002, 100.0, 60)
ROUNDINGS = {
    "down": lambda nsr: KNOWN[np.maximum(np.searchsorted(KNOWN, nsr, side="right") - 1, 0)],
    "up": lambda nsr: KNOWN[np.minimum(np.searchsorted(KNOWN, nsr), len(KNOWN) - 1)],
    "nearest": lambda nsr: KNOWN[np.abs(np.log(KNOWN) - np.log(nsr)[:, None]).argmin(1)],
}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    ("solver", "case"), [("seeds-2", {}), ("seeds-2", {"variant": "2b"}), ("seeds-3", {}), ("seeds-3", {"variant": "3b"})], ids=ids
)
def test_weights_are_formed_for_the_rounded_levels(solver, case, rounding):
    """Steps of a few known levels and of many: stages move, meet the ends and each other, and every one is where its weights say."""
    for steps in (2, 7, 19, 40):
        plan = seeds.plan(solver, steps=steps, schedule="edm", round_nsr=ROUNDINGS[rounding], prediction="v", final="none", **case)
        assert np.abs(np.log([row.at.nsr for row in plan.rows])[:, None] - np.log(KNOWN)).min(1).max() < 1e-12
        assert path_error(plan, "v", 1.0) < 1e-12
        assert polynomial_error(plan, "v", 1.0, degree=0) < 1e-12


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("solver", "eta"), [("seeds-4", 1.0), ("erk-4", 0.0)])
def test_fixed_stages_between_rounded_levels_obey_the_same_laws(solver, eta, rounding):
    for steps in (2, 7, 19, 40):
        plan = seeds.plan(solver, steps=steps, schedule="edm", round_nsr=ROUNDINGS[rounding], prediction="v", final="none")
        ends = [row.at.nsr for i, row in enumerate(plan.rows) if i == 0 or plan.rows[i - 1].completes]
        assert np.abs(np.log(ends)[:, None] - np.log(KNOWN)).min(1).max() < 1e-12
        assert path_error(plan, "v", eta) < 1e-12
        assert polynomial_error(plan, "v", eta, degree=0) < 1e-12
        assert polynomial_error(plan, "v", eta, degree=1, rows=linear_rows(solver, {})) < 1e-12


@pytest.mark.parametrize(("solver", "case", "prediction", "eta"), DRAWN, ids=ids)
def test_constant_and_linear_quantities_are_integrated_exactly(solver, case, prediction, eta):
    plan = seeds.plan(solver, sigmas=GRID, schedule="vp", prediction=prediction, eta=eta, final="none", **case)
    assert polynomial_error(plan, prediction, eta, degree=0) < 1e-12
    assert polynomial_error(plan, prediction, eta, degree=1, rows=linear_rows(solver, case)) < 1e-12


@pytest.mark.parametrize(("solver", "case"), EXPONENTIAL, ids=ids)
def test_the_linear_law_has_rows_to_look_at(solver, case):
    """A law that looks at no row cannot fail: every table but those of phi_1 alone has rows that take part."""
    table = SOLVERS[solver].tableau(**case)
    rows = [linear_rows(solver, case)(i) for i in range(len(table.c))]
    assert any(rows) == any(k > 1 for row in table.a for weights in row for k, _ in weights)


@pytest.mark.parametrize(("prediction", "std"), [("edm_raw", 0.5), ("v", 1.0)])
@pytest.mark.parametrize("solver", EXPONENTIAL_NAMES)
def test_data_of_matching_std_is_sampled_exactly_in_one_step(solver, prediction, std):
    """Raw F on data of standard deviation sd, and v on standard deviation 1, vanish: any step is exact."""
    plan = seeds.plan(solver, sigmas=[80.0, 0.002], schedule="edm", prediction=prediction, final="none")
    unit = torch.eye(1 + len(plan.draws), dtype=torch.float64)
    start = math.sqrt(std**2 + 80.0**2)

    last = run(plan, lambda x, at: x * std**2 / (std**2 + at.nsr**2), start * unit[0], lambda j: unit[1 + j])
    assert last.square().sum().item() == pytest.approx(std**2 + 0.002**2, rel=1e-12)
