"""The registry: what a solver declares is all that is known of it, and an option is written down once, in its builder's
signature."""

from typing import Annotated

import click
import pytest

import seeds
from seeds.cli import authors
from seeds.cli.options import OF_SOLVERS, PLAN, plan_options
from seeds.planning import arguments_of, grid_options
from seeds.solvers import SOLVERS, Orders, Solver, add, find_solver


def euler(
    write, levels, prediction, eta, *, boost: Annotated[float, "makes the first step longer"] = 1.0, plain: bool = True
):
    for p0, p1 in levels.steps:
        i, kept = write.calls, p1.nsr / p0.nsr
        write.row(p1, x={i: p1.alpha / p0.alpha * kept}, d={i: p1.alpha * (1 - kept)})


OWN = Solver("own", euler, Orders(1, None), interpolates=False)


def test_a_solver_is_accepted_wherever_a_name_is():
    assert find_solver(OWN) is OWN and "own" not in SOLVERS
    plan = seeds.plan(OWN, steps=4, schedule="vp", boost=2.0)
    assert plan.solver == "own" and plan.nfe == 5
    assert seeds.plan(SOLVERS["seeds-3"], steps=4, schedule="vp") == seeds.plan("seeds-3", steps=4, schedule="vp")
    one = seeds.sample(lambda x, at: 0.5 * x, (3,), seed=1, solver=OWN, steps=4, schedule="vp", start=1)
    assert one.shape == (1, 3)


def test_options_come_from_the_signature():
    boost, plain = OWN.options.values()
    assert boost == ("boost", float, 1.0, "makes the first step longer") and plain == ("plain", bool, True, "")
    assert list(SOLVERS["seeds-2"].options) == ["variant", "r", "S_churn", "S_min", "S_max", "S_noise"] and SOLVERS[
        "rk-1"
    ].options["S_max"].default == float("inf")


@pytest.mark.parametrize(("make", "words"), [
    (lambda: add(SOLVERS["seeds-1"]), "There is a solver 'seeds-1' already"),
    (lambda: Solver("x", euler, Orders(1, 1), noise="path"), "`noise` is 'eta', 'churn' or None, but is 'path'"),
    (lambda: Solver("x", euler, Orders(1, 1), eta=1.0),
        "`eta` = 1.0 is the default of a solver with noise='eta', but `noise` is None"),
    (lambda: Solver("two words", euler, Orders(1, 1)), "a word without spaces"),
    (lambda: seeds.plan(OWN, steps=2, schedule="vp", bost=2),
        r"`bost` = 2 is no option of own \(it takes: boost, plain\).* Did you mean `boost`"),
    (lambda: seeds.plan(OWN, steps=2, schedule="vp", eta=1),
        "own solves the ODE, eta = 0. Use seeds-2, or another solver with noise"),
    (lambda: seeds.plan("erk-3", steps=2, schedule="vp", eta=1), "erk-3 solves the ODE, eta = 0. Use seeds-3."),
    (lambda: seeds.plan("rk-2", steps=2, schedule="vp", eta=1), "Ask for churn with S_churn=40"),
])  # fmt: skip
def test_what_is_wrong_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_twins_are_each_others():
    for name, solver in SOLVERS.items():
        if solver.twin:
            other = SOLVERS[solver.twin]
            assert (
                other.twin == name
                and (solver.noise is None) != (other.noise is None)
                and solver.options == other.options
            )


def test_every_option_of_a_solver_has_help_and_is_on_the_command_line():
    @click.command
    @plan_options
    def command(**given):
        """Takes the options."""

    found = {option.name: option.help for option in command.params}
    for name, solver in SOLVERS.items():
        for option in solver.options.values():
            assert option.help and option.help in found[option.name] and name in found[option.name], (
                f"{name}: {option.name}"
            )


def test_every_option_of_a_plan_means_something_to_the_library_or_is_the_authors():
    """What a plan takes is said by the signature of `seeds.plan`, the grids and the solvers; the command line only adds
    how it is typed."""
    shaping = {name for grid in seeds.GRIDS for name in grid_options(grid)}
    assert set(PLAN) - set(authors.ONLY) <= {*arguments_of(seeds.plan), *shaping, *OF_SOLVERS}
    assert not set(arguments_of(seeds.plan)) - set(PLAN) - {"start", "stop", "sd", "round_nsr"}, (
        "an argument of a plan that is not on the command line"
    )
