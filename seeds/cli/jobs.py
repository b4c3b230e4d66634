"""Options that make a job, shared by every command that draws images, and the job they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from seeds.cli import models, options
from seeds.cli.session import Session

if TYPE_CHECKING:
    from seeds import runs

MODEL = ("--model", "--network", "model")
_WHAT = (
    click.option("--class", "label", type=int, help="The class of all images.  [default: one is drawn for each seed]"),
    click.option("--guidance", type=options.Finite(), default=1.0, show_default=True, help="Scale of classifier-free guidance; 1 is none."),
)
_HOW = (
    click.option("--noise", help="gaussian or two-point.  [default: gaussian]"),
    click.option("--noise_type", hidden=True),
    click.option("--dtype", type=click.Choice(("float32", "float64")), default="float32", show_default=True, help="Of the state."),
)
device = click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
threads = click.option("--threads", type=click.IntRange(1), help="Of the CPU.  [default: torch's choice, or those of the run resumed]")


def job_options(function: Callable) -> Callable:
    """Adds what a job needs besides its model, seeds, batch and device."""
    for option in reversed(_HOW):
        function = option(function)
    function = options.plan_options(function)
    for option in reversed(_WHAT):
        function = option(function)
    return function


def loaded(session: Session, model: str, device: str | None) -> models.Model:
    """The model, on this process' device."""
    return models.load_model(model, session.device(device))


def job(found: models.Model, seeds: Sequence[int], batch: int, given: dict[str, Any]) -> runs.Job:
    """The job that the values of `job_options` ask for. Raises: ValueError as `seeds.plan` and `Job` do."""
    from seeds import runs
    from seeds.sampling import plan_for

    own = {key: value for key, value in given.items() if key not in ("label", "guidance", "dtype")}
    arguments = options.arguments(own, found.denoiser)
    noise = arguments.pop("noise", "gaussian")
    return runs.Job(
        found.denoiser,
        plan_for(found.denoiser, **arguments),
        seeds,
        model=found.name,
        model_hash=found.sha256,
        batch=batch,
        label=given.get("label"),
        guidance=given.get("guidance", 1.0),
        noise=noise,
        dtype=given.get("dtype", "float32"),
        device=found.device,
    )
