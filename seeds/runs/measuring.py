"""Measuring a study: rows that are missing, fewest model calls first; what is measured is kept unit by unit."""

import shlex
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seeds.distributed import Group
from seeds.errors import InputError
from seeds.images import fingerprint
from seeds.metrics.frechet import frechet_estimate
from seeds.metrics.inception_score import inception_score
from seeds.metrics.references import check_comparable
from seeds.metrics.together import collected
from seeds.runs.cache import Judged, RowFiles
from seeds.runs.folder import limited
from seeds.runs.identity import check_agreed
from seeds.runs.job import Job
from seeds.runs.progress import Progress
from seeds.runs.records import DONE, NAMES, NETWORK, claim, different, json_bytes, read_record
from seeds.runs.study import Study, StudyRow
from seeds.runs.tally import Tally
from seeds.storage import atomic, sweep

RECORD = "curves.json"
FORMAT = 1


def run_study(
    study: Study,
    out: Path,
    *,
    resume: bool = False,
    group: Group | None = None,
    threads: int | None = None,
    title: str = "",
    version: str = "",
    command: str = "",
    progress: bool = True,
    after_row: Callable[[dict[str, Any]], Any] = lambda record: None,
) -> dict[str, Any]:
    """Measures the rows that are missing, fewest model calls first, and returns the record, which is also written to
    curves.json.

    What was measured of a row is kept unit by unit until the row is done, so a killed study goes on where it was, with
    any number of processes where they share `out`, and ends with the same numbers.

    Args:
        title: heading of plots and page; "" is the model's name, or what the study was begun with.
        after_row: called on rank 0 with the record, after each row.
    Raises: as `run`; MetricError if the features are not the reference's.
    """
    group = group or Group()
    check_comparable(study.extractor.recipe, len(study.statistics.mu), study.statistics)  # before anything is drawn
    record = group.once(partial(_begun, study, out, resume or group.again, group, threads, title, version, command))
    for job in study.models.values():
        check_agreed(job.network, group)

    def write(**more: Any) -> None:
        record.update(more)
        atomic(out / RECORD, json_bytes(record))
        after_row(record)

    tallies = {name: Tally() for name in study.models}
    with limited(record["study"]["threads"]):
        _measure_baselines(study, record, group, write)
        _measure_rows(study, out, record, group, write, tallies, progress)

    def close() -> None:
        for k in range(len(study.rows)):
            RowFiles(out, k).clear()  # a process may have been killed between a row's end and its clearing
        write(status=DONE)
        sweep(out)

    group.once(close)
    record["status"] = DONE
    for name, job in study.models.items():
        if warning := tallies[name].total(group).warning(job.pixels.data_range):
            warnings.warn(f"{name}: {warning}" if len(study.models) > 1 else warning, stacklevel=2)
    return record


def check_free(out: Path, resume: bool, group: Group) -> None:
    """Raises: ValueError if no study may begin in `out`, or go on there, whatever it is."""
    group.once(lambda: _claimed(out, resume or group.again, lambda record: ()) and None)


def read_study(place: Path) -> dict[str, Any]:
    """The record of the study in a folder, or in its curves.json. Raises: ValueError if there is none."""
    path = place / RECORD if place.is_dir() else place
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: give the folder of a study of `seeds bench` or `seeds curves`, or its {RECORD}."
        )
    return read_record(path, path.read_bytes(), "study")


def _claimed(out: Path, resume: bool, differences: Callable[[dict[str, Any]], Sequence[str]]) -> dict[str, Any] | None:
    """The record of the study that goes on in `out`; None if there is none. Raises: ValueError if it may not."""
    before = read_study(out) if (out / RECORD).exists() else None
    foreign = next(chain.from_iterable(map(out.glob, ("rows", "[!.]*.html", "[!.]*.csv", "[!.]*.png"))), None)
    return claim(out, RECORD, "study", before, foreign=foreign, resume=resume, differences=differences).record


def _begun(
    study: Study, out: Path, resume: bool, group: Group, threads: int | None, title: str, version: str, command: str
) -> dict[str, Any]:
    """The record of a study that begins, or goes on. Raises: ValueError if it may not."""
    rows = [{"row": number, **study.row_facts(number), "status": "waiting"} for number in range(len(study.rows))]

    def facts(before: dict[str, Any] | None) -> dict[str, Any]:
        own = threads or (before["study"].get("threads") if before else None) or torch.get_num_threads()
        return study.facts(version, own)

    before = _claimed(out, resume, lambda record: _differences(record, study, facts(record), rows, out))
    group.begin()
    if before is None:
        record = {
            "format": FORMAT,
            "status": "running",
            "study": facts(None),
            "networks": study.networks,
            "title": title,
            "environment": study.environment(),
            "version": version,
            "command": command,
            "baselines": [],
            "rows": rows,
        }
    else:
        sweep(out)
        record = before | ({"title": title} if title else {})
    for k, row in enumerate(study.rows):
        atomic(RowFiles(out, k).plan, row.job.plan.to_json().encode())
    record["sources"] = dict(study.sources)
    atomic(out / RECORD, json_bytes(record))
    return record


def _measure_baselines(study: Study, record: dict[str, Any], group: Group, write: Callable[[], None]) -> None:
    """Measures the sets of images that are not in the record yet."""
    measured = [baseline["name"] for baseline in record["baselines"]]
    for name, images in study.baselines.items():
        if name not in measured:
            pieces = [(piece.first, _judged(study, piece.images)) for piece in images.pieces(1000, owns=group.owns)]
            numbers = _measured(study, pieces, group)
            sha256 = fingerprint(images) if group.first else ""
            record["baselines"].append({"name": name, "images": images.count, "sha256": sha256, **numbers})
            group.once(write)


def _measure_rows(
    study: Study,
    out: Path,
    record: dict[str, Any],
    group: Group,
    write: Callable[[], None],
    tallies: Mapping[str, Tally],
    progress: bool,
) -> None:
    """Measures the rows that are not done, fewest model calls first."""
    todo = [k for k, row in enumerate(record["rows"]) if row["status"] != DONE]
    todo.sort(key=lambda k: study.rows[k].job.plan.nfe)
    calls, images = (sum(own) for own in zip((0, 0), *(study.rows[k].work(group) for k in todo), strict=True))
    with Progress(group, "study", calls, images, progress, even=False) as bar:
        for done, k in enumerate(todo, 1):
            row, files = study.rows[k], RowFiles(out, k)
            bar.say(f"row {done}/{len(todo)}: {row.line}, {row.job.plan.nfe} NFE", row.job.plan.nfe)
            numbers = measure(study, row, group, bar.asked, files, tallies[row.job.model])
            record["rows"][k] |= {"status": DONE, **numbers, "picture": files.picture.relative_to(out).as_posix()}
            record["rows"][k]["denoises"] = row.job.plan.denoises
            record["rows"][k]["command"] = shlex.join(["seeds", "curves", "--out", str(out), "--row", str(k)])
            group.once(write)
            files.clear()


def measure(
    study: Study,
    row: StudyRow,
    group: Group,
    asked: Callable[[int], Any],
    files: RowFiles | None = None,
    tally: Tally | None = None,
) -> dict[str, Any]:
    """The numbers of one row: on rank 0 frechet and inception_score (None where the extractor has no classes), and
    seconds of all processes.

    Args:
        tally: counts the pixels of the images that are drawn.
    """
    owned = [number for number in range(len(row.job.units)) if group.owns(number)]
    units = [(number * row.job.batch, _unit(study, row.job, number, asked, files, tally)) for number in owned]
    numbers = _measured(study, units, group)
    if files:
        shown = collected(((first, unit.images) for first, unit in units if unit.images is not None), group)
        if group.first:  # whose the first unit is
            files.write_picture(shown)
    return {**numbers, "seconds": sum(group.gathered(sum(unit.ms for _, unit in units))) / 1000}


def _unit(
    study: Study, job: Job, number: int, asked: Callable[[int], Any], files: RowFiles | None, tally: Tally | None
) -> Judged:
    """What is known of a unit: as it was kept, or drawn and judged now."""
    wanted = max(0, study.shown - number * job.batch)  # of its images, for the picture
    if files and (kept := files.read(number, wanted > 0)):
        asked(len(job.units[number]) * job.plan.nfe)
        return kept
    begun = time.perf_counter()
    images = job.images(job.units[number], asked, tally)
    judged = _judged(study, images)._replace(images=images[:wanted] if wanted else None)
    judged = judged._replace(ms=round(1000 * (time.perf_counter() - begun)))
    if files:
        files.write(number, judged)
    return judged


def _judged(study: Study, images: np.ndarray) -> Judged:
    """What the extractor makes of images."""
    features, probabilities = study.extractor.judge(images)
    check_comparable(study.extractor.recipe, features.shape[1], study.statistics)
    return Judged(features, probabilities)


def _measured(study: Study, units: Sequence[tuple[int, Judged]], group: Group) -> dict[str, Any]:
    """On rank 0 the numbers of this process' units, each with the place of its first image, and those of the others."""
    rows = collected(((first, unit.features) for first, unit in units), group)
    classes = None
    if study.extractor.classes:
        classes = collected(((first, of) for first, unit in units if (of := unit.probabilities) is not None), group)
    if not group.first:
        return {}
    distance = frechet_estimate(rows, study.statistics.mu, study.statistics.sigma, study.units)
    score = None if classes is None else inception_score(classes, study.splits).facts()
    return {"frechet": distance.facts(), "inception_score": score}


def _differences(
    before: dict[str, Any], study: Study, facts: dict[str, Any], rows: list[dict[str, Any]], out: Path
) -> list[str]:
    """In what the study of a record is another one, in words. Raises: ValueError if a baseline is, that was
    measured."""
    networks = list((before.get("networks") or {}).values()) or None  # an older record says nothing of them
    words = different({**before["study"], NETWORK: networks}, {**facts, NETWORK: list(study.networks.values())})
    for old, now in zip(before["rows"], rows, strict=False):
        # the networks are those of the study
        own = {key: value for key, value in now.items() if key not in ("status", *NAMES)}
        words = words or [f"row {now['row']}: {said}" for said in different(old, own)]
    if len(before["rows"]) != len(rows):
        words = words or [f"{len(before['rows'])} rows, now {len(rows)}"]
    for baseline in before["baselines"] if not words else ():
        images = study.baselines[baseline["name"]]
        if baseline.get("sha256", sha256 := fingerprint(images)) != sha256:
            raise InputError(
                f"{out} holds another study: {images.path} had other files when it was measured as the baseline "
                f"{baseline['name']!r}. Bring them back, or choose another folder."
            )
    return words
