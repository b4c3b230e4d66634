"""`seeds curves`: quality against model calls, for many solvers, as a table, pictures and a page."""

from __future__ import annotations

import importlib.util
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import seeds
from seeds.cli import jobs, models, options
from seeds.cli.metrics import FEATURES, PARTS, REFERENCE, check_shape, extractor_of, statistics_of
from seeds.cli.options import Flag
from seeds.cli.session import Command, Session, pass_session
from seeds.errors import InputError, TooFewCalls

if TYPE_CHECKING:
    from seeds import runs
    from seeds.plans import Plan
    from seeds.runs import study as studies
    from seeds.runs.peers import Sampler

SAID = ("solver", "steps", "nfe", "sigmas")
"""Options of a plan that `curves` says itself: --line the solver, and --nfe, of which there may be several, the
steps."""
LINES = ("auto", "seeds-1", "seeds-2", "seeds-3", "erk-1", "erk-2", "erk-3")
LINE = '"SOLVER KEY=VALUE ..."'
NFE = "5,10,20,40,80"
CUT = ("units", "splits", "shown")
"""Options that are fields of a study."""
PAGE_EVERY = 60
"""Seconds between two pages of a running study."""


def _counts(text: str) -> list[int]:
    return options.checked(sorted({int(part) for part in text.split(",")}), lambda counts: counts[0] >= 1)


def study_options(
    calls: str, batch: int, reference: str | None = None, features: str | None = None
) -> Callable[[Callable], Callable]:
    """A decorator that adds what every study takes, by these defaults."""
    return options.adding(
        Flag(
            "--nfe",
            "Model calls an image; each solver takes as many steps as they allow.",
            options.Text("calls", _counts, f"are no numbers of model calls, such as {NFE}"),
            default=calls,
        ),
        Flag(
            "--seeds ranges", "Images of a row. Give it many times for a row each.", multiple=True, default=("0-1999",)
        ),
        Flag(
            "--features", "As for `seeds fid`.", default=features, show_default=features or "those made for such images"
        ),
        Flag("--sha256", "SHA-256 of a TorchScript detector.", metavar="HEX"),
        Flag(
            "--ref reference",
            "Reference statistics: fashion-mnist, or an npz.",
            default=reference,
            show_default=reference or "samples of an exact model; the training set of a bundled one",
        ),
        Flag(
            "--baseline baselines",
            "Images to be measured too: a level in the plots. Give it many times.",
            options.Text("baseline", lambda text: options.checked(text.partition("=")[::2], all), "is no NAME=IMAGES"),
            multiple=True,
            metavar="NAME=IMAGES",
        ),
        Flag("--batch", "Images the model is asked about at once.", options.POSITIVE, default=batch),
        PARTS,
        Flag("--splits", "Splits of the Inception score.", options.POSITIVE, default=10),
        Flag("--shown", "Images of each row on the page.", options.POSITIVE, default=10),
        Flag("--title", "Heading of plots and page; the model's name by default.", default=""),
        jobs.job_options(*SAID),
        jobs.device,
        jobs.threads,
        Flag("--resume", "Complete the study in the folder.", is_flag=True),
    )


@click.command(cls=Command)
@Flag(
    jobs.MODEL,
    "A bundled name, a file, or module:factory. Give it many times to draw each line for each model.",
    multiple=True,
    default=(models.DEFAULT,),
)
@Flag("--out", "The folder to fill.", options.FilePath(), default="curves")
@Flag(
    "--line lines",
    'One curve: a solver and the options that are its own, as "auto", "auto aim=accuracy" or "rk-2 S_churn=40 '
    's_noise=1.003". Give it many times.',
    multiple=True,
    metavar=LINE,
    default=LINES,
)
@study_options(NFE, 64, REFERENCE, FEATURES)
@Flag("--row", "Repeat this row of the study in --out, and compare.", click.IntRange(0))
@pass_session
def curves(
    session: Session, out: Path, row: int | None, model: Sequence[str], device: str | None, **given: Any
) -> None:
    """Measure solvers at several numbers of model calls.

    Writes curves.json, curves.csv, plots, and index.html, a page to look at. Models x lines x model calls x seed ranges
    are the rows. Every image of a row is drawn, judged and forgotten; the first few are kept to be looked at. Options
    of solver and grid are for all lines that do not give their own.
    """
    if row is None:
        found = [models.load_model(name, session.device(device)) for name in dict.fromkeys(model)]
        _, record = measured(session, out, found, device=device, **given)
        return session.say(f"{len(record['rows'])} rows: {out / 'index.html'}")
    if alien := options.typed({option.name for option in curves.params} - {"out", "row"}):
        raise click.UsageError(
            f"`--row` repeats a row by the arguments of its study, but is given with {', '.join(alien)}. Leave them "
            "out."
        )
    repeat(session, out, row)


def measured(
    session: Session, out: Path, found: Sequence[models.Model], **given: Any
) -> tuple[studies.Study, dict[str, Any]]:
    """The study that the options ask for and its record, once it is measured; its report is in `out`."""
    from seeds import report
    from seeds.runs.measuring import run_study

    how = {name: given.pop(name) for name in ("resume", "threads", "title")}
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

    return study, run_study(study, out, after_row=page, **how, **session.call)


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
    same, said = repeating.verdict(study, record, row, new, seeds.__version__)
    session.say(said, err=True)
    click.get_current_context().exit(0 if same else 1)


def _one_row(session: Session, sources: dict[str, Any], row: dict[str, Any], plan: Plan | Sampler) -> studies.Study:
    """The study of the one row that was recorded so."""
    from seeds import runs
    from seeds.runs.study import Study, StudyRow

    models.look_here()  # for a sampler of the user's own
    model = models.load_model(row["model"], session.device(sources["device"]))
    denoiser = model.tuned(row["dtype"], row["compiled"])
    job = runs.Job.from_facts(row, denoiser, plan, model=model.name, model_hash=model.sha256, device=model.device)
    again = StudyRow(row["line"], row["options"], row["steps"], row["nfe_asked"], job)
    yardstick = _yardstick(session, reference=row["reference"]["name"], **sources)
    return Study([again], **yardstick, **{name: row[name] for name in CUT})


def _yardstick(session: Session, *, reference: str, **sources: Any) -> dict[str, Any]:
    """What images are measured with, as fields of a study.

    Args:
        sources: where the features are found: those of `extractor_of`.
    """
    statistics, sha256 = statistics_of(reference)
    return {
        "extractor": extractor_of(session, **sources),
        "statistics": statistics,
        "reference": {"name": str(reference), "sha256": sha256, "n": statistics.n},
        "sources": sources,
    }


def _study(
    session: Session,
    found: Sequence[models.Model],
    *,
    lines: Sequence[str],
    ranges: Sequence[str],
    baselines: Sequence[tuple[str, str]],
    refused: Callable[[str], Any] | None = None,
    **given: Any,
) -> studies.Study:
    """What the options ask for.

    Args:
        refused: told of a line that no plan can be made of, which is left out.
    Raises: ValueError for what does not go together.
    """
    from seeds import runs
    from seeds.images import open_images
    from seeds.runs.study import Study

    own = {name: given.pop(name) for name in (*CUT, "reference", "features", "sha256", "device")}
    parts = [runs.parse_seeds(text) for text in dict.fromkeys(ranges)]
    if len({len(part) for part in parts}) > 1 or len(set().union(*parts)) < sum(map(len, parts)):
        raise InputError(
            f"`seeds` = {ranges!r} have different sizes or seeds in common, but a point is the mean of them all. Make "
            "a study of each."
        )
    rows: list[studies.StudyRow] = []
    for source, line in itertools.product(found, dict.fromkeys(lines)):
        try:
            name = f"{source.name}: {line}" if len(found) > 1 else line
            rows += [*rows_of(source, line, name, parts, **given)]
        except InputError as error:
            if refused is None:
                raise
            refused(f"{line}: {error}")
    if not rows:
        raise InputError(f"`nfe` = {given['nfe']} allow none of the lines. Give more calls.")
    if len(dict(baselines)) < len(baselines):
        names = ", ".join(name for name, _ in baselines)
        raise InputError(f"`baseline` = {names} give one name to two sets of images. Give each its own.")
    cut = {name: own.pop(name) for name in CUT}
    yardstick = _yardstick(session, **own)
    check_shape(yardstick["extractor"], *rows[0].job.image_shape)
    return Study(rows, baselines={name: open_images(images) for name, images in baselines}, **cut, **yardstick)


def rows_of(
    model: models.Model, line: str, name: str, parts: Sequence[list[int]], *, nfe: Sequence[int], **shared: Any
) -> Iterator[studies.StudyRow]:
    """The rows of a line: for each number of model calls, which rise, one for each part of the seeds. Numbers that
    allow no step are left out, and those that allow no more calls than a smaller one.

    Raises: TooFewCalls if none is left.
    """
    from seeds.runs.study import StudyRow

    for part in parts:
        jobs.seeds_of(part, shared.get("label"), model)
    made, point = [0], _of_peer if ":" in line.partition(" ")[0] else _of_solver
    for calls in nfe:
        try:
            said, steps, job = point(model, line, calls, **shared)
        except TooFewCalls:
            if calls == nfe[-1]:
                raise
            continue
        if job.plan.nfe not in made:
            made.append(job.plan.nfe)
            yield from (StudyRow(name, said, steps, calls, replace(job, seeds=part)) for part in parts)


def _of_solver(model: models.Model, line: str, calls: int, **shared: Any) -> tuple[Mapping[str, Any], int, runs.Job]:
    """Of so many calls: the options to write down, the steps, and the job of some seed."""
    given = shared | line_options(line)
    job = jobs.job(model, [0], nfe=calls, **given)
    names = [name for name in (*options.PLAN, *options.NOISE) if name not in SAID and given.get(name) is not None]
    plan: Any = job.plan
    return {name: given[name] for name in names}, plan.steps - (plan.end.sigma == 0), job


def _of_peer(model: models.Model, line: str, calls: int, **shared: Any) -> tuple[Mapping[str, Any], int, runs.Job]:
    """Of a sampler of others, which is told of the options of plans those of the grid, if it is told levels at all."""
    from seeds.runs.peers import LEVELS, Sampler

    models.look_here()
    grid = {name: shared[name] for name in LEVELS if shared.get(name) is not None}
    peer = Sampler.within(calls, line, model.denoiser, **grid)
    own = {name: value for name, value in shared.items() if name not in {*options.PLAN, *options.NOISE}}
    return peer.options, peer.steps, replace(jobs.job(model, [0], solver="erk-1", steps=1, **own), plan=peer)


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
