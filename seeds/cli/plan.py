"""`seeds plan`: what a run would do, as numbers, and the laws that it obeys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from seeds.cli import models, options
from seeds.integrals import Eta
from seeds.names import lookup
from seeds.plans import Plan
from seeds.predictions import PREDICTIONS
from seeds.schedules import EDM
from seeds.solvers import find_solver


@click.command()
@click.option("--model", "--network", "model", help="Plan for this model: its schedule, its noise levels.")
@options.plan_options
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON, for Plan.from_json.")
@click.option("--out", type=options.FilePath(), help="Write the plan to this file too, for seeds sample --plan and Plan.load.")
def plan(model: str | None, as_json: bool, out: Path | None, **plan_options: Any) -> None:
    """Print what a run would do, and check its laws.

    Points, coefficients, model calls and draws; nothing is drawn.
    """
    from seeds.planning import plan_for

    denoiser = models.load_model(model, "cpu").denoiser if model else None
    own: dict[str, Any] = {} if model else {"schedule": EDM()}
    arguments = own | {"solver": "seeds-3"} | options.arguments(plan_options, denoiser)
    made = plan_for(denoiser, **arguments)
    if out is not None:
        made.save(out)
    if as_json:
        click.echo(made.to_json())
        return
    click.echo(made.table())
    other = {name: plain for name, plain in (("S_churn", 0.0), ("start_at", "zero")) if arguments.get(name, plain) != plain}
    for line in _laws(plan_for(denoiser, **arguments | other) if other else made, arguments):
        click.echo(line)


def _laws(made: Plan, arguments: dict[str, Any]) -> Iterator[str]:
    """What is known of the solver, and its exactness laws tested on this plan, which has no churn."""
    from seeds.laws.exactness import constant_error, path_error  # torch, which the help does not wait for

    solver = find_solver(arguments["solver"])
    orders = solver.orders(**{name: arguments[name] for name in solver.options if name in arguments})
    yield f"Declared orders, each a measured one: ODE {orders.ode}, weak {orders.weak or '-'}."
    if not solver.interpolates:
        return
    form = lookup("prediction", arguments.get("prediction", solver.prediction), PREDICTIONS)(
        *([arguments["sd"]] if "sd" in arguments else [])
    )
    eta = Eta(arguments.get("eta", solver.eta))
    if "fraction" in arguments:
        ends = [made.start, *(to for to, row in zip(made.points()[1:], made.rows, strict=True) if row.completes and to.sigma > 0)]
        eta = Eta.of_fraction(arguments["fraction"], np.array([end.lam for end in ends]))
    if arguments.get("S_churn", 0) > 0:
        yield "The laws are those of the steps, without the churn before them."
    if arguments.get("start_at", "zero") != "zero":
        yield "The laws are those of the plan that starts at zero."
    yield f"Law 1, a constant {form.name} prediction is integrated exactly: largest error {constant_error(made, form, eta):.1e}."
    if arguments.get("s_noise", 1) == 1:
        yield f"Law 2, all noise is one Brownian path's: largest error of a covariance {path_error(made, form, eta):.1e}."
    else:
        yield f"Law 2, all noise is one Brownian path's: broken by s_noise = {arguments['s_noise']:g}."
