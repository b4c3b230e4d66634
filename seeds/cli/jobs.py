"""Options that make a job, shared by every command that draws images, and the job they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seeds.cli import models, options
from seeds.cli.options import Flag
from seeds.errors import InputError

if TYPE_CHECKING:
    from seeds import runs

MODEL = "--model --network model"
_WHAT = (
    Flag(
        "--class label",
        "The class of all images; several, as 0,1,2, which take turns; each:100, 100 images of each.  [default: one is "
        "drawn for each seed]",
        options.CLASSES,
        metavar="CLASSES",
    ),
    Flag("--guidance", "Scale of classifier-free guidance; 1 is none.", options.FINITE, default=1.0),
    Flag(
        "--data-range",
        "Of the model's data, black to white.  [default: the model's own; -1,1]",
        options.RANGE,
        metavar="LOW,HIGH",
    ),
    Flag("--null", "The class that means none, for guidance.  [default: the model's own, or no label]", int),
)
_HOW = (
    Flag(
        "--dtype",
        "float32, float64: of the state. bf16, fp16: of the network, the state being float32.",
        ("float32", "float64", "bf16", "fp16"),
        default="float32",
    ),
    Flag(
        "--compile compiled",
        "Compile the network: minutes first, then faster; the same images to rounding.",
        is_flag=True,
    ),
)
device = Flag("--device", "cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
threads = Flag(
    "--threads", "Of the CPU.  [default: torch's choice, or those of the run resumed]", click.IntRange(1, 1024)
)


def job_options(*left_out: str) -> Callable[[Callable], Callable]:
    """A decorator that adds what a job needs besides its model, seeds, batch and device; options of a plan may be left
    out by name."""
    plan = (flag for name, flag in options.PLAN.items() if name not in left_out)
    return options.adding(*_WHAT, *plan, *options.NOISE.values(), *_HOW)


def seeds_of(asked: list[int] | None, label: Any, model: models.Model) -> list[int] | None:
    """The seeds that were asked for, or as many as `--class each:N` needs.

    Raises: ValueError if that are others than were asked for.
    """
    from seeds.denoisers import facts

    classes = facts(model.denoiser).classes
    if not isinstance(label, options.Each) or not classes:
        return asked
    count = label.images * classes
    if asked is not None and len(asked) != count:
        raise InputError(
            f"`class` = each:{label.images} of {classes} classes are {count} images, but there are {len(asked)} seeds. "
            f"Leave --seeds out, or give {count} of them."
        )
    return list(range(count)) if asked is None else asked


def job(
    model: models.Model,
    seeds: Sequence[int],
    batch: int,
    *,
    label: Any = None,
    null: int | None = None,
    data: Path | None = None,
    start: float | None = None,
    plan: Path | None = None,
    **given: Any,
) -> runs.Job:
    """The job that the values of `job_options` ask for.

    Args:
        given: fields of `Job` by their name, and the options of a plan and of its noise, in either spelling.
    Raises: ValueError as `seeds.plan` and `Job` do.
    """
    from seeds import runs
    from seeds.denoisers import facts, state
    from seeds.images import open_images
    from seeds.planning import plan_for
    from seeds.plans import Plan

    own = {name: given.pop(name) for name in ("guidance", "dtype", "compiled", "data_range") if name in given}
    if null is not None and own.get("guidance", 1) == 1:
        raise InputError(
            f"`null` = {null} is the class that guidance takes for none, but there is no guidance. Add --guidance 2, "
            "or leave it out."
        )
    if plan is not None and not plan.is_file():
        raise InputError(f"`plan` = {plan} is no file: make one with seeds plan --out {plan}.")
    if plan is None and (data is None) != (start is None):
        raise InputError(
            "`data` and `start` belong together: the images to begin from, and the noise level that they are brought "
            "to."
        )
    arguments = options.arguments(given, model.denoiser) if plan is None else _beside_a_plan({**given, "start": start})
    if start is not None:
        arguments["start"] = ("nsr", start)
    noise, classes = arguments.pop("noise", "gaussian"), facts(model.denoiser).classes
    denoiser = model.tuned(own.get("dtype", "float32"), own.get("compiled", False))
    return runs.Job(
        denoiser if null is None else state(denoiser, null=null),
        plan_for(model.denoiser, **arguments) if plan is None else Plan.load(plan),
        seeds,
        model=model.name,
        model_hash=model.sha256,
        batch=batch,
        label=(tuple(range(classes)) or 0) if isinstance(label, options.Each) else label,
        noise=noise,
        device=model.device,
        data=open_images(data) if data is not None else None,
        **own,
    )


def _beside_a_plan(own: dict[str, Any]) -> dict[str, Any]:
    """What may be said beside a plan from a file. Raises: ValueError for what the plan fixes."""
    given = {name: value for name, value in own.items() if value is not None}
    if fixed := [name for name in given if name != "noise"]:
        name = fixed[0].replace("_", "-")
        raise InputError(
            f"`--plan` fixes the whole run, but `--{name}` is given too. Leave it out, or make another plan with seeds "
            "plan --out FILE."
        )
    return given
