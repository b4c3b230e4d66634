"""`seeds curves`: quality against model calls, for many solvers, as a table, pictures and a page."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import seeds
from seeds.cli import jobs, models, options
from seeds.cli.metrics import FEATURES, REFERENCE, check_shape, extractor_of, statistics_of
from seeds.cli.sentences import Command
from seeds.cli.session import Session, pass_session

if TYPE_CHECKING:
    from seeds.runs import curves as studies

LINES = ("seeds-1", "seeds-2", "seeds-3", "erk-1", "erk-2", "erk-3")
NFE = "5,10,20,40,80"
ROUNDING = 1e-9
"""Relative; the linear algebra of another machine or version may change less of a number, and another picture changes far more."""
PAGE_EVERY = 60
"""Seconds between two pages of a running study."""


class Calls(click.ParamType):
    """Numbers of model calls: 5,10,20."""

    name = "calls"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            found = sorted({int(part) for part in value.split(",")})
        except ValueError:
            found = [0]
        if found[0] < 1:
            self.fail(f"{value!r} are no numbers of model calls, such as {NFE}.", param, ctx)
        return found


@click.command(cls=Command)
@click.option(
    *jobs.MODEL,
    multiple=True,
    default=(models.DEFAULT,),
    show_default=True,
    help="A bundled name, a file, or module:factory. Give it many times to draw each line for each model.",
)
@click.option("--out", type=options.Place(), default="curves", show_default=True, help="The folder to fill.")
@click.option(
    "--line",
    "lines",
    multiple=True,
    metavar='"SOLVER KEY=VALUE ..."',
    default=LINES,
    show_default=True,
    help='One curve: a solver and the options that are its own, as "seeds-2 variant=2b" or "rk-2 S_churn=40 s_noise=1.003". Give it many times.',
)
@click.option(
    "--nfe", type=Calls(), default=NFE, show_default=True, help="Model calls an image; each solver takes as many steps as they allow."
)
@click.option(
    "--seeds",
    "ranges",
    multiple=True,
    default=("0-1999",),
    show_default=True,
    help="Images of a row: 0-1999. Give it many times for a row each.",
)
@click.option("--features", default=FEATURES, show_default=True, help="As for `seeds fid`.")
@click.option("--sha256", metavar="HEX", help="SHA-256 of a TorchScript detector.")
@click.option("--ref", "reference", default=REFERENCE, show_default=True, help="Reference statistics: fashion-mnist, or an npz.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME=IMAGES",
    help="Images to be measured too: a level in the plots. Give it many times.",
)
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images the model is asked about at once.")
@click.option("--units", type=click.IntRange(2), default=10, show_default=True, help="Parts of the jackknife behind the intervals.")
@click.option("--splits", type=click.IntRange(1), default=10, show_default=True, help="Splits of the Inception score.")
@click.option("--shown", type=click.IntRange(1), default=10, show_default=True, help="Images of each row on the page.")
@click.option("--title", default="", help="Heading of plots and page; the model's name by default.")
@jobs.job_options
@jobs.device
@jobs.threads
@click.option("--resume", is_flag=True, help="Complete the study in the folder.")
@click.option("--row", type=click.IntRange(0), help="Repeat this row of the study in --out, and compare.")
@pass_session
def curves(session: Session, out: Path, row: int | None, resume: bool, threads: int | None, title: str, **given: Any) -> None:
    """Measure solvers at several numbers of model calls.

    Writes curves.json, curves.csv, plots, and index.html, a page to look at. Models x lines x model calls x seed ranges are the rows. Every image of a row
    is drawn, judged and forgotten; the first few are kept to be looked at. Options of solver and grid are for all lines that do not give their own.
    """
    if row is not None:
        if alien := options.typed({option.name for option in curves.params} - {"out", "row"}):
            raise click.UsageError(
                f"`--row` repeats a row by the arguments of its study, but is given with {', '.join(alien)}. Leave them out."
            )
        return repeat(session, out, row)
    from seeds import report
    from seeds.runs import curves as studies

    study = _study(session, given)
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("The plots of `seeds curves` need matplotlib, which is not installed: pip install seeds-sampler[report].")
    written = [0.0]

    def page(record: dict[str, Any]) -> None:
        if time.monotonic() - written[0] > PAGE_EVERY or record["status"] == "done":
            report.write(record, out)
            written[0] = time.monotonic()

    record = studies.run_study(
        study,
        out,
        resume=resume,
        group=session.group,
        threads=threads,
        title=title,
        version=seeds.__version__,
        arguments=session.arguments,
        command=session.command,
        after_row=page,
    )
    session.say(f"{len(record['rows'])} rows: {out / 'index.html'}")


SAID = ("solver", "steps", "nfe", "sigmas")
"""Options of a job that `curves` has no use for, or says itself: --line the solver, and --nfe, of which there may be several, the steps."""
curves.params = [option for option in curves.params if option.name not in SAID]


def repeat(session: Session, out: Path, number: int) -> None:
    """Measures a row again, by the arguments its study was started with, and says whether the numbers are the same."""
    from seeds import runs
    from seeds.runs import curves as studies
    from seeds.runs.folder import limited
    from seeds.runs.records import read_record

    path = out / studies.RECORD
    if not path.exists():
        raise ValueError(f"{path} does not exist: `--row` repeats a row of a study. Give the study's folder with --out.")
    record = read_record(path, path.read_bytes(), "study")
    if not number < len(record["rows"]):
        raise ValueError(f"`row` = {number}, but the study in {out} has rows 0 to {len(record['rows']) - 1}.")
    with curves.make_context("curves", record["arguments"][1:], parent=click.get_current_context().parent) as context:
        given = {key: value for key, value in context.params.items() if key not in ("out", "row", "resume", "threads", "title")}
        try:
            study = _study(session, given | {"baselines": ()})
        except ValueError as error:
            raise ValueError(
                f"{error} `--row` needs the model and the reference that the study was started with, under the names in `command` of {path}, which "
                "are looked for from the current folder."
            ) from error
    changed = studies.changed(study, number, record, seeds.__version__)
    if changed:
        raise ValueError(
            f"Row {number} cannot be repeated, for the study has {'; '.join(changed)}. Bring back what the study was started with (`command` in "
            f"{path}), or make a new study in another folder. It was made by version {record['version']}."
        )
    row, old = study.rows[number], record["rows"][number]
    with limited(record["study"]["threads"]), runs.Progress(session.group, row.line, *row.work(session.group)) as bar:
        new = json.loads(json.dumps(studies.measure(study, row, session.group, bar.asked)))
    session.say(json.dumps({**study.row_facts(number), **new}, indent=2))
    if not session.group.first:
        return
    if old["status"] != "done":
        session.say(f"Row {number} of the study is not done, so there is nothing to compare with. Complete it with --resume.", err=True)
        click.get_current_context().exit(1)
    largest = max(apart(new[key], old[key]) for key in ("frechet", "inception_score"))
    others = "; ".join(studies.elsewhere(study, record, seeds.__version__))
    others = f"It was made with {others}" if others else "Versions, platform and device are the same"
    verdict = "The same numbers but for rounding" if largest < ROUNDING else "Other numbers than the study has"
    size = f"{verdict}, apart by up to {largest:.0e} of their size: frechet {old['frechet']['value']} there. {others}."
    session.say("The same numbers." if largest == 0 else size, err=True)
    click.get_current_context().exit(0 if largest < ROUNDING else 1)


def apart(new: dict[str, Any] | None, old: dict[str, Any] | None) -> float:
    """The largest difference between the numbers of two estimates (value, interval, parts), beside the largest of them; infinite if anything else
    differs."""
    if new == old:
        return 0.0
    pairs = list(itertools.zip_longest(_leaves(new), _leaves(old)))
    numbers = [(a, b) for a, b in pairs if isinstance(a, float) and isinstance(b, float)]
    if any(pair not in numbers and pair[0] != pair[1] for pair in pairs):
        return math.inf
    return max(abs(a - b) for a, b in numbers) / max(max(abs(a), abs(b)) for a, b in numbers)


def _leaves(estimate: dict[str, Any] | None) -> Iterator[Any]:
    for name, value in sorted((estimate or {}).items()):
        if name != "metric":  # a name in words, which versions may change
            yield from (name, *value) if isinstance(value, list) else (name, value)


def _study(session: Session, given: dict[str, Any]) -> studies.Study:
    from seeds import runs
    from seeds.images import open_images
    from seeds.runs import curves as studies

    own = ("model", "lines", "nfe", "ranges", "features", "sha256", "reference", "baselines", "batch", "units", "splits", "shown", "device")
    names, lines, nfe, ranges, features, sha256, reference, baselines, batch, units, splits, shown, device = (given[key] for key in own)
    shared = {key: value for key, value in given.items() if key not in own}
    found = [jobs.loaded(session, name, device) for name in dict.fromkeys(names)]
    parts = [runs.parse_seeds(text) for text in dict.fromkeys(ranges)]
    if len({len(part) for part in parts}) > 1 or len(set().union(*parts)) < sum(map(len, parts)):
        raise ValueError(
            f"`seeds` = {ranges!r} have different sizes or seeds in common, but a point is the mean of them all. Make a study of each."
        )
    rows = []
    for model, line in itertools.product(found, dict.fromkeys(lines)):
        name = line if len(found) == 1 else f"{model.name}: {line}"
        options = shared | line_options(line)
        for calls, steps in steps_for(model, options, nfe, line).items():
            asked = {**options, "steps": steps}
            kept = {
                key: value
                for key, value in asked.items()
                if value is not None and key not in ("steps", "solver", "label", "guidance", "null", "dtype", "compiled", "data_range")
            }
            for part in parts:
                jobs.seeds_of(part, asked.get("label"), model)
                rows.append(studies.Row(name, kept, steps, calls, jobs.job(model, part, batch, asked)))
    statistics, reference_sha256 = statistics_of(reference)
    said = {"name": str(reference), "sha256": reference_sha256, "n": statistics.n}
    pairs = [text.partition("=") for text in baselines]
    if any(not images for _, _, images in pairs):
        raise ValueError(f"`baseline` must be NAME=IMAGES, but is {', '.join(baselines)}.")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise ValueError(f"`baseline` = {', '.join(baselines)} give one name to two sets of images. Give each its own.")
    extractor = extractor_of(session, features, sha256, device)
    for row in rows[:1]:
        channels, height, width = row.job.image_shape
        check_shape(extractor, height, width, channels)
    sets = {name: open_images(images) for name, _, images in pairs}
    return studies.Study(rows, extractor, statistics, said, sets, units, splits, shown)


def line_options(line: str) -> dict[str, Any]:
    """The options in "SOLVER KEY=VALUE ...", as the command line reads them. Raises: click.UsageError for what it does not know."""
    solver, *pairs = line.split() or [""]
    known = _known()
    flags = {name.lstrip("-"): option.opts[0] for option in known for name in (option.name or "", *option.opts)}
    words = [word for key, _, value in (pair.partition("=") for pair in pairs) for word in (flags.get(key, f"--{key}"), value)]
    parser = click.Command("line", params=known)
    try:
        with parser.make_context("line", ["--solver", solver, *words]) as context:
            return {key: value for key, value in context.params.items() if value is not None}
    except click.UsageError as error:
        raise click.UsageError(f"`--line` {line!r}: {error.format_message()}") from None


def _known() -> list[click.Parameter]:
    @options.plan_options
    def nothing() -> None: ...

    return [option for option in reversed(nothing.__click_params__) if option.name not in SAID[1:]]  # type: ignore[attr-defined]


def steps_for(found: models.Model, options: dict[str, Any], nfe: Sequence[int], line: str) -> dict[int, int]:
    """For each number of model calls, the steps that use most of them; those that allow no step, or no more than a smaller number, are left out."""
    if not isinstance(options.get("grid") or "", str):
        raise ValueError(f"`grid` of {line!r} lists its levels, but `--nfe` says how many there are to be. Give the grid by its name.")
    first, second = (jobs.job(found, [0], 1, {**options, "steps": steps}).plan.nfe for steps in (2, 3))
    chosen: dict[int, int] = {}
    each = max(1, second - first)
    for calls in nfe:
        steps = 2 + (calls - first) // each
        least = 2 if options["solver"] in ("etd-serk", "etd-erk", "rk") else 1
        if steps >= least and steps not in chosen.values():
            chosen[calls] = steps
    if not chosen:
        raise ValueError(
            f"`nfe` = {list(nfe)} allow no step of {line!r}, which needs {each} model calls a step and {first - 2 * each} at the end."
        )
    return chosen
