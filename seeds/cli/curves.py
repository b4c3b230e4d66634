"""`seeds curves`: quality against model calls, for many solvers, as a table, pictures and a page."""

from __future__ import annotations

import importlib.util
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import seeds
from seeds.auto import is_auto
from seeds.cli import authors, jobs, models, options
from seeds.cli.metrics import FEATURES, REFERENCE, check_shape, extractor_of, statistics_of
from seeds.cli.sentences import Command
from seeds.cli.session import Session, pass_session
from seeds.errors import InputError

if TYPE_CHECKING:
    from seeds import runs
    from seeds.plans import Plan
    from seeds.runs import study as studies
    from seeds.runs.peers import Sampler

SAID = ("solver", "steps", "nfe", "sigmas")
"""Options of a plan that `curves` says itself: --line the solver, and --nfe, of which there may be several, the
steps."""
LINES = ("auto", "seeds-1", "seeds-2", "seeds-3", "erk-1", "erk-2", "erk-3")
NFE = "5,10,20,40,80"
PAGE_EVERY = 60
"""Seconds between two pages of a running study."""


def _call_counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] < 1:
        raise ValueError
    return counts


_PARTS = options.adding(
    click.option(
        "--units",
        type=click.IntRange(2),
        default=10,
        show_default=True,
        help="Parts of the jackknife behind the intervals.",
    ),
    click.option(
        "--splits", type=click.IntRange(1), default=10, show_default=True, help="Splits of the Inception score."
    ),
    click.option(
        "--shown", type=click.IntRange(1), default=10, show_default=True, help="Images of each row on the page."
    ),
)


def study_options(
    calls: str, batch: int, reference: str | None = None, features: str | None = None
) -> Callable[[Callable], Callable]:
    """A decorator that adds what every study takes, by these defaults."""
    return options.adding(
        click.option(
            "--nfe",
            type=options.Text("calls", _call_counts, f"are no numbers of model calls, such as {NFE}"),
            default=calls,
            show_default=True,
            help="Model calls an image; each solver takes as many steps as they allow.",
        ),
        click.option(
            "--seeds",
            "ranges",
            multiple=True,
            default=("0-1999",),
            show_default=True,
            help="Images of a row: 0-1999. Give it many times for a row each.",
        ),
        click.option(
            "--features",
            default=features,
            show_default=features or "those made for such images",
            help="As for `seeds fid`.",
        ),
        click.option("--sha256", metavar="HEX", help="SHA-256 of a TorchScript detector."),
        click.option(
            "--ref",
            "reference",
            default=reference,
            show_default=reference or "samples of an exact model; the training set of a bundled one",
            help="Reference statistics: fashion-mnist, or an npz.",
        ),
        click.option(
            "--baseline",
            "baselines",
            multiple=True,
            metavar="NAME=IMAGES",
            help="Images to be measured too: a level in the plots. Give it many times.",
        ),
        click.option(
            "--batch",
            type=click.IntRange(1),
            default=batch,
            show_default=True,
            help="Images the model is asked about at once.",
        ),
        _PARTS,
        click.option("--title", default="", help="Heading of plots and page; the model's name by default."),
        jobs.job_options(*SAID),
        jobs.device,
        jobs.threads,
        click.option("--resume", is_flag=True, help="Complete the study in the folder."),
    )


@click.command(cls=Command)
@click.option(
    *jobs.MODEL,
    multiple=True,
    default=(models.DEFAULT,),
    show_default=True,
    help="A bundled name, a file, or module:factory. Give it many times to draw each line for each model.",
)
@click.option("--out", type=options.FilePath(), default="curves", show_default=True, help="The folder to fill.")
@click.option(
    "--line",
    "lines",
    multiple=True,
    metavar='"SOLVER KEY=VALUE ..."',
    default=LINES,
    show_default=True,
    help='One curve: a solver and the options that are its own, as "auto", "auto aim=accuracy" or "rk-2 S_churn=40 '
    's_noise=1.003". Give it many times.',
)
@study_options(NFE, 64, REFERENCE, FEATURES)
@click.option("--row", type=click.IntRange(0), help="Repeat this row of the study in --out, and compare.")
@pass_session
def curves(
    session: Session, out: Path, row: int | None, model: Sequence[str], device: str | None, **given: Any
) -> None:
    """Measure solvers at several numbers of model calls.

    Writes curves.json, curves.csv, plots, and index.html, a page to look at. Models x lines x model calls x seed ranges
    are the rows. Every image of a row is drawn, judged and forgotten; the first few are kept to be looked at. Options
    of solver and grid are for all lines that do not give their own.
    """
    if row is not None:
        if alien := options.typed({option.name for option in curves.params} - {"out", "row"}):
            raise click.UsageError(
                f"`--row` repeats a row by the arguments of its study, but is given with {', '.join(alien)}. Leave "
                "them out."
            )
        return repeat(session, out, row)
    _, record = measured(
        session, out, [jobs.loaded(session, name, device) for name in dict.fromkeys(model)], device=device, **given
    )
    session.say(f"{len(record['rows'])} rows: {out / 'index.html'}")


def measured(
    session: Session,
    out: Path,
    found: Sequence[models.Model],
    *,
    resume: bool,
    threads: int | None,
    title: str,
    **given: Any,
) -> tuple[studies.Study, dict[str, Any]]:
    """The study that the options ask for and its record, once it is measured; its report is in `out`."""
    from seeds import report
    from seeds.runs.measuring import run_study

    study = _study(session, found, **given)
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "The plots of a study need matplotlib, which is not installed: pip install seeds-sampler[report]."
        )
    written = [0.0]

    def page(record: dict[str, Any]) -> None:
        if time.monotonic() - written[0] > PAGE_EVERY or record["status"] == "done":
            report.write(record, out)
            written[0] = time.monotonic()

    return study, run_study(
        study,
        out,
        resume=resume,
        group=session.group,
        threads=threads,
        title=title,
        version=seeds.__version__,
        command=session.command,
        after_row=page,
    )


def repeat(session: Session, out: Path, number: int) -> None:
    """Measures a row again, by what its study has recorded, and says whether the numbers are the same."""
    from seeds import runs
    from seeds.runs import repeating
    from seeds.runs.folder import limited
    from seeds.runs.measuring import RECORD, measure

    record, row, plan = repeating.recorded(out, number)
    try:
        study = _one_row(session, record["sources"], row, plan)
    except ValueError as error:
        raise InputError(
            f"{error} `--row` needs the model and the reference that the study was started with, under the names in "
            f"`command` of {out / RECORD}, which are looked for from the current folder."
        ) from error
    if changed := repeating.changed(study, row, seeds.__version__):
        raise InputError(
            f"Row {number} cannot be repeated, for the study has {'; '.join(changed)}. Bring back what the study was "
            f"started with (`command` in {out / RECORD}), or make a new study in another folder. It was made by "
            f"version {record['version']}."
        )
    (again,), group = study.rows, session.group
    with limited(row["threads"]), runs.Progress(group, again.line, *again.work(group)) as bar:
        new = json.loads(json.dumps(measure(study, again, group, bar.asked)))
    model = {key: row[key] for key in ("model", "model_sha256") if key in record["rows"][number]}
    session.say(json.dumps({**again.facts(), **model, **new}, indent=2))
    if not group.first:
        return
    if row["status"] != "done":
        session.say(
            f"Row {number} of the study is not done, so there is nothing to compare with. Complete it with --resume.",
            err=True,
        )
        click.get_current_context().exit(1)
    session.say(repeating.verdict(study, record, row, new, seeds.__version__), err=True)
    click.get_current_context().exit(0 if repeating.furthest(new, row) < repeating.ROUNDING else 1)


def _one_row(session: Session, sources: dict[str, Any], row: dict[str, Any], plan: Plan | Sampler) -> studies.Study:
    """The study of the one row that was recorded so."""
    from seeds import runs
    from seeds.runs.study import Study, StudyRow

    models.look_here()  # for a sampler of the user's own
    model = jobs.loaded(session, row["model"], sources["device"])
    denoiser = model.tuned(row["dtype"], row["compiled"])
    job = runs.Job.from_facts(row, denoiser, plan, model=model.name, model_hash=model.sha256, device=model.device)
    again = StudyRow(row["line"], row["options"], row["steps"], row["nfe_asked"], job)
    return Study(
        [again],
        **_yardstick(session, row["reference"]["name"], **sources),
        **{key: row[key] for key in ("units", "splits", "shown")},
    )


def _yardstick(
    session: Session, reference: str, features: str, sha256: str | None, device: str | None
) -> dict[str, Any]:
    """What images are measured with, as fields of a study."""
    statistics, reference_sha256 = statistics_of(reference)
    return {
        "extractor": extractor_of(session, features, sha256, device),
        "statistics": statistics,
        "reference": {"name": str(reference), "sha256": reference_sha256, "n": statistics.n},
        "sources": {"features": features, "sha256": sha256, "device": device},
    }


def _study(
    session: Session,
    found: Sequence[models.Model],
    *,
    lines: Sequence[str],
    nfe: Sequence[int],
    ranges: Sequence[str],
    baselines: Sequence[str],
    features: str,
    sha256: str | None,
    reference: str,
    batch: int,
    device: str | None,
    units: int,
    splits: int,
    shown: int,
    refused: Callable[[str], Any] | None = None,
    **shared: Any,
) -> studies.Study:
    """What the options ask for.

    Args:
        refused: told of a line that no plan can be made of, which is left out.
    Raises: ValueError for what does not go together.
    """
    from seeds import runs
    from seeds.images import open_images
    from seeds.runs.study import Study

    parts = [runs.parse_seeds(text) for text in dict.fromkeys(ranges)]
    if len({len(part) for part in parts}) > 1 or len(set().union(*parts)) < sum(map(len, parts)):
        raise InputError(
            f"`seeds` = {ranges!r} have different sizes or seeds in common, but a point is the mean of them all. Make "
            "a study of each."
        )
    rows: list[studies.StudyRow] = []
    for source, line in itertools.product(found, dict.fromkeys(lines)):
        try:
            rows += _rows(source, line, len(found) > 1, nfe, parts, batch, shared)
        except InputError as error:
            if refused is None:
                raise
            refused(f"{line}: {error}")
    if not rows:
        raise InputError(f"`nfe` = {list(nfe)} allow none of the lines. Give more calls.")
    pairs = [text.partition("=") for text in baselines]
    if any(not images for _, _, images in pairs):
        raise InputError(f"`baseline` must be NAME=IMAGES, but is {', '.join(baselines)}.")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise InputError(f"`baseline` = {', '.join(baselines)} give one name to two sets of images. Give each its own.")
    yardstick = _yardstick(session, reference, features, sha256, device)
    channels, height, width = rows[0].job.image_shape
    check_shape(yardstick["extractor"], height, width, channels)
    sets = {name: open_images(images) for name, _, images in pairs}
    return Study(rows, baselines=sets, units=units, splits=splits, shown=shown, **yardstick)


def _rows(
    model: models.Model,
    line: str,
    named: bool,
    nfe: Sequence[int],
    parts: Sequence[list[int]],
    batch: int,
    shared: dict[str, Any],
) -> Iterator[studies.StudyRow]:
    """The rows of a line: for each number of model calls one for each part of the seeds."""
    from seeds.runs.study import StudyRow

    for part in parts:
        jobs.seeds_of(part, shared.get("label"), model)
    points = _of_peer if ":" in line.partition(" ")[0] else _of_solver
    for calls, steps, said, job in points(model, line, nfe, batch, shared):
        for part in parts:
            yield StudyRow(f"{model.name}: {line}" if named else line, said, steps, calls, job(part))


Point = tuple[int, int, Mapping[str, Any], Callable[[Sequence[int]], "runs.Job"]]
"""Of a line: model calls allowed, steps, the options to write down, and the job of some seeds."""


def _of_solver(
    model: models.Model, line: str, nfe: Sequence[int], batch: int, shared: dict[str, Any]
) -> Iterator[Point]:
    given = shared | line_options(line)
    for calls, steps in steps_for(model, given, nfe, line).items():
        asked = given | length_of(given, calls, steps)
        said = {
            name: asked[name]
            for name in (*options.PLAN, *options.NOISE)
            if name not in SAID and asked.get(name) is not None
        }
        yield calls, steps, said, partial(jobs.job, model, batch=batch, **asked)


def _of_peer(model: models.Model, line: str, nfe: Sequence[int], batch: int, shared: dict[str, Any]) -> Iterator[Point]:
    """Of a sampler of others, which is told of the options of plans those of the grid, if it is told levels at all."""
    from seeds.runs.peers import LEVELS, Sampler

    models.look_here()
    grid = {name: shared[name] for name in LEVELS if shared.get(name) is not None}
    own = {name: value for name, value in shared.items() if name not in {*options.PLAN, *options.NOISE}}

    def sampler(steps: int) -> Sampler:
        return Sampler.of(line, steps, model.denoiser, **grid)

    def job(peer: Sampler, part: Sequence[int]) -> runs.Job:
        return replace(jobs.job(model, part, batch, solver="erk-1", steps=1, **own), plan=peer)

    for calls, steps in _most_steps(lambda steps: sampler(steps).nfe, nfe, line).items():
        peer = sampler(steps)
        yield calls, steps, peer.options, partial(job, peer)


def line_options(line: str) -> dict[str, Any]:
    """The options in "SOLVER KEY=VALUE ...", as the command line reads them. Raises: click.UsageError for what it does
    not know."""
    solver, *pairs = line.split() or [""]
    known = [flag.parameter for name, flag in options.PLAN.items() if name not in SAID[1:]]
    flags = {name.lstrip("-"): option.opts[0] for option in known for name in (option.name or "", *option.opts)}
    words = [
        word
        for key, _, value in (pair.partition("=") for pair in pairs)
        for word in (flags.get(key, f"--{key}"), value)
    ]
    parser = click.Command("line", params=[*known])
    try:
        with parser.make_context("line", ["--solver", solver, *words]) as context:
            return {key: value for key, value in context.params.items() if value is not None}
    except click.UsageError as error:
        raise click.UsageError(f"`--line` {line!r}: {error.format_message()}") from None


def length_of(given: dict[str, Any], calls: int, steps: int) -> dict[str, int]:
    """The argument that asks for a run of so many calls, which are so many steps."""
    return {"nfe": calls} if is_auto(given["solver"]) else {"steps": steps}


def steps_for(found: models.Model, given: dict[str, Any], nfe: Sequence[int], line: str) -> dict[int, int]:
    """For each number of model calls, the steps that use most of them; those that allow no step, or no more than a
    smaller number, are left out.

    The rule of "auto" makes as many calls as it is asked for, so there it is the steps of that run.
    """
    if is_auto(given["solver"]):
        return {calls: calls - (given.get("final") != "none") for calls in nfe}
    if not isinstance(given.get("grid") or "", str):
        raise InputError(
            f"`grid` of {line!r} lists its levels, but `--nfe` says how many there are to be. Give the grid by its "
            "name."
        )
    least = 2 if given["solver"] in authors.SOLVERS else 1
    return _most_steps(lambda steps: jobs.job(found, [0], 1, **given | {"steps": steps}).plan.nfe, nfe, line, least)


def _most_steps(made: Callable[[int], int], nfe: Sequence[int], line: str, least: int = 1) -> dict[int, int]:
    """The steps that use most of each number of calls, where so many steps `made` so many calls, of which each takes
    the same."""
    first, second = made(2), made(3)
    chosen: dict[int, int] = {}
    each = max(1, second - first)
    for calls in nfe:
        steps = 2 + (calls - first) // each
        if steps >= least and steps not in chosen.values():
            chosen[calls] = steps
    if not chosen:
        raise InputError(
            f"`nfe` = {list(nfe)} allow no step of {line!r}, which needs {each} model calls a step and "
            f"{first - 2 * each} at the end."
        )
    return chosen
