"""`seeds bench`: samplers at equal numbers of model calls; a study of `seeds curves` whose lines are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seeds.auto import AUTO
from seeds.cli import jobs, models, options
from seeds.cli.curves import measured, study_options
from seeds.cli.metrics import extractor_of
from seeds.cli.sentences import Command
from seeds.cli.session import Session, pass_session
from seeds.errors import InputError
from seeds.solvers import SOLVERS

if TYPE_CHECKING:
    from seeds.report.comparison import Comparison

MODEL = "fashion-mixture"
NFE = "5,10,20"
CONVENTIONS = ("calls", "no-final-denoise", "steps", "network")
"""Of seeds.report.comparison, which is loaded when there is something to compare."""
LINES = (
    *(
        "auto",
        "auto aim=accuracy",
        "seeds-3",
        "erk-3",
        "er-sde-3",
        "sa-solver",
        "dpmpp-2m",
        "dpmpp-2m-sde",
        "dpmpp-3m-sde",
    ),
    *("unipc", "deis-tab3", "ipndm", "edm-stochastic", "euler-maruyama"),
)
FEATURES: dict[tuple[int, ...], str] = {(1, 28, 28): "fashion-features", (3, 32, 32): "emoji-features"}
"""By the shape of an image; else its pixels."""
REFERENCES = {"fashion-unet": "fashion-mnist", "emoji-unet": "emoji"}
"""Of the bundled networks."""
EXACT = 20_000
"""Exact samples that the images are compared with, at least."""


class Group(click.Group, Command):
    """A command that has others beside it: its own options are for itself."""


def _seen(command: Callable) -> Callable:
    """Adds the options that say how a record is looked at."""
    return options.adding(
        click.option(
            "--convention",
            type=click.Choice(CONVENTIONS),
            default="calls",
            show_default=True,
            help="How calls are counted.",
        ),
        click.option("--floor", metavar="NAME", help="The baseline without a solver's error.  [default: the first]"),
        click.option(
            "--against",
            metavar="LINE",
            help="The line whose calls for the others' distances are listed.  [default: auto]",
        ),
    )(command)


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    *jobs.MODEL,
    default=MODEL,
    show_default=True,
    help="A bundled name, a file (a mixture is its own truth), or module:factory.",
)
@click.option("--out", type=options.FilePath(), default="bench", show_default=True, help="The folder to fill.")
@click.option(
    "--solvers",
    type=click.Choice(["some", "all"]),
    default="some",
    show_default=True,
    help="Those often used, or every one.",
)
@click.option(
    "--line",
    "lines",
    multiple=True,
    metavar='"SOLVER KEY=VALUE ..."',
    help="Instead of --solvers: as for `seeds curves`. Give it many times.",
)
@click.option("--peers", is_flag=True, help="And the code of diffusers, k-diffusion and azula, where it is installed.")
@_seen
@study_options(NFE, 250)
@pass_session
def bench(session: Session, **given: Any) -> None:
    """Compare samplers at equal numbers of model calls.

    Minutes, by default. Of an exact model (a mixture) the images are compared with samples of its own, and the floor
    is what other such samples have. All lines draw the same seeds, so differences are judged in pairs. Writes what
    `seeds curves` writes, and bench.png and bench.csv; --resume completes a killed run, and `seeds curves --row`
    repeats a row.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        return run(session, **given)
    if alien := options.typed({option.name for option in bench.params}):
        raise click.UsageError(
            f"`seeds bench {context.invoked_subcommand}` reads what was measured, but {alien[0]} stands before it. "
            "Leave it out."
        )


@bench.command(cls=Command)
@click.argument("studies", type=options.FilePath(), nargs=-1, required=True)
@_seen
@click.option("--out", type=options.FilePath(), help="A folder for bench.csv and bench.png.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_session
def show(session: Session, studies: Sequence[Path], out: Path | None, as_json: bool, **seen: Any) -> None:
    """Print the comparison of a study, a folder or its curves.json, of `seeds bench` or `seeds curves`; or of
    several."""
    from seeds.report.comparison import bench, joined, table
    from seeds.report.text import finite

    record = joined([_record(place) for place in studies])
    found = bench(record, **seen)
    if out is not None:
        _write(record, found, out)
    session.say(json.dumps(finite(found), indent=2, allow_nan=False) if as_json else table(found))


@bench.command(cls=Command)
@click.argument("before", type=options.FilePath())
@click.argument("now", type=options.FilePath())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_session
def compare(session: Session, before: Path, now: Path, as_json: bool) -> None:
    """Print how the rows of a study, NOW, differ from those of another, BEFORE: folders, or their curves.json."""
    from seeds.report.comparison import changes, compared, settings
    from seeds.runs.facts import different

    one, two = _record(before), _record(now)
    rows = compared(one, two)
    if as_json:
        return session.say(json.dumps(rows, indent=2, allow_nan=False))
    session.say(changes(rows))
    if apart := different(settings(one), settings(two)):
        session.say(f"Other settings: {'; '.join(apart)}.")


def run(
    session: Session,
    *,
    model: str,
    out: Path,
    solvers: str,
    lines: Sequence[str],
    peers: bool,
    convention: str,
    floor: str | None,
    against: str | None,
    reference: str | None,
    features: str | None,
    baselines: Sequence[str],
    **given: Any,
) -> None:
    """Measures what is missing, and shows all of it."""
    from seeds import report
    from seeds.report.comparison import known, table
    from seeds.report.text import finite
    from seeds.runs.measuring import RECORD, check_free
    from seeds.runs.overhead import overhead
    from seeds.runs.records import json_bytes
    from seeds.storage import atomic

    check_free(out, given["resume"], session.group)
    chosen = _chosen(session, solvers, lines, peers)
    known("against", against, chosen)
    found = jobs.loaded(session, model, given["device"])
    reference, features, sets = _yardstick(session, found, out, reference, features, **given)
    known("floor", floor, [name for name, _, _ in (text.partition("=") for text in (*sets, *baselines))])
    yardstick: dict[str, Any] = {"reference": reference, "features": features, "baselines": [*sets, *baselines]}
    refused = None if lines else lambda said: session.say(f"Left out: {said}", err=True)
    study, record = measured(session, out, [found], lines=chosen, refused=refused, **yardstick, **given)
    if not session.group.first:
        return
    jobs_of = {row.line: row.job for row in study.rows}  # of the most calls
    earlier = (record.get("bench") or {}).get("overhead") or {}
    record["bench"] = {"overhead": {line: earlier.get(line) or overhead(job) for line, job in jobs_of.items()}}
    compared = report.bench(record, convention=convention, floor=floor, against=against)
    atomic(out / RECORD, json_bytes(record | {"bench": finite(compared)}))
    _write(record, compared, out)
    session.say(f"{table(compared)}\n\n{len(record['rows'])} rows: {out / 'index.html'}")


def _write(record: Mapping[str, Any], found: Comparison, out: Path) -> None:
    """The table and the plot, as files."""
    from seeds.report import pareto
    from seeds.report.comparison import csv_of
    from seeds.storage import atomic

    atomic(out / "bench.csv", csv_of(found).encode())
    atomic(out / "bench.png", pareto(record, found))


def _record(place: Path) -> dict[str, Any]:
    from seeds.runs.measuring import RECORD
    from seeds.runs.records import read_record

    path = place / RECORD if place.is_dir() else place
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: give the folder of a study of `seeds bench` or `seeds curves`, or its {RECORD}."
        )
    return read_record(path, path.read_bytes(), "study")


def _chosen(session: Session, solvers: str, lines: Sequence[str], peers: bool) -> list[str]:
    """The lines to draw: those given, else so many of ours; and those of others, if they are asked for."""
    from seeds.runs.peers import LINES as THEIRS
    from seeds.runs.peers import absent

    chosen, missing = list(lines or ((AUTO, f"{AUTO} aim=accuracy", *SOLVERS) if solvers == "all" else LINES)), absent()
    if peers and missing:
        session.say(f"Left out, for they are not installed: {', '.join(missing)}.", err=True)
    return chosen + [line for name, own in THEIRS.items() if peers and name not in missing for line in own]


def _yardstick(
    session: Session,
    found: models.Model,
    out: Path,
    reference: str | None,
    features: str | None,
    *,
    ranges: Sequence[str],
    batch: int,
    sha256: str | None,
    device: str | None,
    **given: Any,
) -> tuple[str, str, list[str]]:
    """The reference, the features and the baseline of a model: those asked for, else its own.

    Raises: ValueError if it has none.
    """
    from seeds import runs
    from seeds.runs.exact import exact_sets, is_exact

    own = {name: given[name] for name in ("label", "guidance", "null", "data_range", "dtype", "compiled")}
    seeds = jobs.seeds_of(runs.parse_seeds(ranges[0]), own["label"], found) or []
    job = jobs.job(found, seeds, batch, solver="erk-1", steps=1, **own)
    features = features or FEATURES.get(job.image_shape, "pixels")
    if reference is None and is_exact(found.denoiser):
        session.say("Exact samples of the model, to be compared with ...", err=True)
        truth, floor = exact_sets(
            job, extractor_of(session, features, sha256, device), out / "exact", EXACT, session.group
        )
        return str(truth), features, [f"{len(seeds):,} exact samples={floor}"]
    reference = reference or REFERENCES.get(found.name)
    if reference is None:
        raise InputError(
            f"`--ref` is missing: {found.name} is no exact model, with samples of its own, so say what its images are "
            "to be compared with. seeds ref makes statistics of images."
        )
    return reference, features, []
