"""`seeds bench`: samplers at equal numbers of model calls; a study of `seeds curves` whose lines are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seeds.auto import AUTO
from seeds.cli import jobs, models, options
from seeds.cli.curves import LINE, measured, study_options
from seeds.cli.metrics import extractor_of
from seeds.cli.options import FilePath, Flag
from seeds.cli.session import Command, Session, pass_session
from seeds.errors import InputError
from seeds.solvers import SOLVERS

if TYPE_CHECKING:
    from seeds.report.comparison import Comparison

MODEL = "fashion-mixture"
NFE = "5,10,20"
CONVENTIONS = ("calls", "no-final-denoise", "steps", "network")
"""Of seeds.report.comparison, which is loaded when there is something to compare."""
LINES = tuple(
    "auto,auto aim=accuracy,seeds-3,erk-3,er-sde-3,sa-solver,dpmpp-2m,dpmpp-2m-sde,dpmpp-3m-sde,unipc,deis-tab3,ipndm,"
    "edm-stochastic,euler-maruyama".split(",")
)
FEATURES: dict[tuple[int, ...], str] = {(28, 28, 1): "fashion-features", (32, 32, 3): "emoji-features"}
"""By the shape of an image; else its pixels."""
REFERENCES = {"fashion-unet": "fashion-mnist", "emoji-unet": "emoji"}
"""Of the bundled networks."""
EXACT = 20_000
"""Exact samples that the images are compared with, at least."""


class Parent(click.Group, Command):
    """A command that has others beside it: its own options are for itself."""


_seen = options.adding(
    Flag("--convention", "How calls are counted.", CONVENTIONS, default="calls"),
    Flag("--floor", "The baseline without a solver's error.  [default: the first]", metavar="NAME"),
    Flag("--against", "The line whose calls for the others' distances are listed.  [default: auto]", metavar="LINE"),
)


@click.group(cls=Parent, invoke_without_command=True)
@Flag(jobs.MODEL, "A bundled name, a file (a mixture is its own truth), or module:factory.", default=MODEL)
@Flag("--out", "The folder to fill.", FilePath(), default="bench")
@Flag("--solvers", "Those often used, or every one.", ("some", "all"), default="some")
@Flag("--line lines", "Instead of --solvers: as for `seeds curves`. Give it many times.", multiple=True, metavar=LINE)
@Flag("--peers", "And the code of diffusers, k-diffusion and azula, where it is installed.", is_flag=True)
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
@click.argument("studies", type=FilePath(), nargs=-1, required=True)
@_seen
@Flag("--out", "A folder for bench.csv and bench.png.", FilePath())
@options.JSON
@pass_session
def show(session: Session, studies: Sequence[Path], out: Path | None, as_json: bool, **seen: Any) -> None:
    """Print the comparison of a study, a folder or its curves.json, of `seeds bench` or `seeds curves`; or of
    several."""
    from seeds.report.comparison import bench, joined, table
    from seeds.report.text import finite
    from seeds.runs.measuring import read_study

    record = joined([read_study(place) for place in studies])
    found = bench(record, **seen)
    if out is not None:
        _write(record, found, out)
    session.say(json.dumps(finite(found), indent=2, allow_nan=False) if as_json else table(found))


@bench.command(cls=Command)
@click.argument("before", type=FilePath())
@click.argument("now", type=FilePath())
@options.JSON
@pass_session
def compare(session: Session, before: Path, now: Path, as_json: bool) -> None:
    """Print how the rows of a study, NOW, differ from those of another, BEFORE: folders, or their curves.json."""
    from seeds.report.comparison import changes, compared, settings
    from seeds.runs.measuring import read_study
    from seeds.runs.records import different

    one, two = read_study(before), read_study(now)
    rows = compared(one, two)
    if as_json:
        return session.say(json.dumps(rows, indent=2, allow_nan=False))
    session.say(changes(rows))
    if apart := different(settings(one), settings(two)):
        session.say(f"Other settings: {'; '.join(apart)}.")


def run(
    session: Session, *, model: str, out: Path, solvers: str, lines: Sequence[str], peers: bool, **given: Any
) -> None:
    """Measures what is missing, and shows all of it."""
    from seeds import report
    from seeds.report.comparison import known, table
    from seeds.report.text import finite
    from seeds.runs.measuring import RECORD, check_free
    from seeds.runs.overhead import overhead
    from seeds.runs.records import json_bytes
    from seeds.storage import atomic

    seen = {name: given.pop(name) for name in ("convention", "floor", "against")}
    check_free(out, given["resume"], session.group)
    chosen = _chosen(session, solvers, lines, peers)
    known("against", seen["against"], chosen)
    found = models.load_model(model, session.device(given["device"]))
    given |= _yardstick(session, found, out, **given)
    known("floor", seen["floor"], [name for name, _ in given["baselines"]])
    refused = None if lines else lambda said: session.say(f"Left out: {said}", err=True)
    study, record = measured(session, out, [found], lines=chosen, refused=refused, **given)
    if not session.group.first:
        return
    jobs_of = {row.line: row.job for row in study.rows}  # of the most calls
    earlier = (record.get("bench") or {}).get("overhead") or {}
    record["bench"] = {"overhead": {line: earlier.get(line) or overhead(job) for line, job in jobs_of.items()}}
    compared = report.bench(record, **seen)
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


def _chosen(session: Session, solvers: str, lines: Sequence[str], peers: bool) -> list[str]:
    """The lines to draw: those given, else so many of ours; and those of others, if they are asked for."""
    from seeds.runs.peers import LINES as THEIRS
    from seeds.runs.peers import absent

    chosen, missing = list(lines or ((AUTO, f"{AUTO} aim=accuracy", *SOLVERS) if solvers == "all" else LINES)), absent()
    if peers and missing:
        session.say(f"Left out, for they are not installed: {', '.join(missing)}.", err=True)
    here = {name: own.split("; ") for name, own in THEIRS.items() if peers and name not in missing}
    return chosen + [f"{name}:{line}" for name, own in here.items() for line in own]


def _yardstick(session: Session, found: models.Model, out: Path, **given: Any) -> dict[str, Any]:
    """The reference, the features and the baselines of a model: those asked for, else its own.

    Raises: ValueError if it has none.
    """
    from seeds import runs
    from seeds.runs.exact import exact_sets, is_exact

    own = {name: given[name] for name in ("label", "guidance", "null", "data_range", "dtype", "compiled", "batch")}
    seeds = jobs.seeds_of(runs.parse_seeds(given["ranges"][0]), own["label"], found) or []
    job = jobs.job(found, seeds, solver="erk-1", steps=1, **own)
    features = given["features"] or FEATURES.get(job.image_shape, "pixels")
    reference, baselines = given["reference"], given["baselines"]
    if reference is None and is_exact(found.denoiser):
        session.say("Exact samples of the model, to be compared with ...", err=True)
        extractor = extractor_of(session, features, given["sha256"], given["device"])
        reference, floor = exact_sets(job, extractor, out / "exact", EXACT, session.group)
        baselines = [(f"{len(seeds):,} exact samples", floor), *baselines]
    reference = reference or REFERENCES.get(found.name)
    if reference is None:
        raise InputError(
            f"`--ref` is missing: {found.name} is no exact model, with samples of its own, so say what its images are "
            "to be compared with. seeds ref makes statistics of images."
        )
    return {"reference": str(reference), "features": features, "baselines": baselines}
