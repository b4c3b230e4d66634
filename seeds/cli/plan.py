"""`seeds plan`: what a run would do, as numbers, and the laws that it obeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seeds.cli import jobs, models, options
from seeds.cli.options import Flag
from seeds.schedules import EDM

if TYPE_CHECKING:
    from seeds.planning import Request


@click.command()
@Flag(jobs.MODEL, "Plan for this model: its schedule, its noise levels.")
@options.plan_options
@Flag("--json as_json", "The plan as JSON, for Plan.from_json.", is_flag=True)
@Flag("--out", "Write the plan to this file too, for seeds sample --plan and Plan.load.", options.FilePath())
def plan(model: str | None, as_json: bool, out: Path | None, **plan_options: Any) -> None:
    """Print what a run would do, and check its laws.

    Points, coefficients, model calls and draws; nothing is drawn.
    """
    from seeds.planning import request_for

    denoiser = models.load_model(model, "cpu").denoiser if model else None
    own: dict[str, Any] = {} if model else {"schedule": EDM()}
    asked = request_for(denoiser, **own | options.arguments(plan_options, denoiser))
    made = asked.plan()
    if out is not None:
        made.save(out)
    if as_json:
        click.echo(made.to_json())
        return
    click.echo(made.table())
    for line in _laws(asked.chosen):
        click.echo(line)


def _laws(asked: Request) -> Iterator[str]:
    """What is known of the solver, and its exactness laws tested on the plan that is asked for, without churn and from
    zero."""
    from seeds.laws.exactness import constant_error, path_error  # torch, which the help does not wait for

    orders = asked.method.orders(**asked.own)
    yield f"Declared orders, each a measured one: ODE {orders.ode}, weak {orders.weak or '-'}."
    if not asked.method.interpolates:
        return
    churned, moved = asked.own.get("S_churn", 0) > 0, asked.start_at != "zero"
    made = replace(asked, start_at="zero", options={**asked.options, **({"S_churn": 0.0} if churned else {})}).plan()
    form, eta = asked.form, asked.stochastic
    if churned:
        yield "The laws are those of the steps, without the churn before them."
    if moved:
        yield "The laws are those of the plan that starts at zero."
    yield (
        f"Law 1, a constant {form.name} prediction is integrated exactly: largest error "
        f"{constant_error(made, form, eta):.1e}."
    )
    if asked.s_noise == 1:
        yield (
            f"Law 2, all noise is one Brownian path's: largest error of a covariance {path_error(made, form, eta):.1e}."
        )
    else:
        yield f"Law 2, all noise is one Brownian path's: broken by s_noise = {asked.s_noise:g}."
