"""A study: solvers against model calls, measured; every row is one job, and the table says all that repeats it."""

import json
import math
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seeds.distributed import Group
from seeds.metrics.estimate import Estimate
from seeds.metrics.features import Extractor
from seeds.metrics.frechet import frechet_estimate
from seeds.metrics.images import ImageSet, Piece
from seeds.metrics.inception_score import inception_score
from seeds.metrics.references import Statistics, check_comparable
from seeds.metrics.together import collected, merged
from seeds.runs import files
from seeds.runs.folder import DONE, environment, limited
from seeds.runs.job import Job
from seeds.runs.progress import Progress
from seeds.runs.seed_text import show_seeds
from seeds.storage import atomic, sweep

RECORD = "curves.json"
FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One point of a curve.

    Attributes:
        line: the name of the curve.
        options: of the solver and the grid, as they were given.
        steps: what `nfe_asked` model calls are enough for.
        job: what is drawn.
    """

    line: str
    options: Mapping[str, Any]
    steps: int
    nfe_asked: int
    job: Job

    def facts(self) -> dict[str, Any]:
        """What identifies the row, as JSON-able values."""
        plan = self.job.plan
        return {
            "line": self.line,
            "solver": plan.solver,
            "options": {key: value if isinstance(value, (str, int)) else repr(value) for key, value in self.options.items()},
            "steps": self.steps,
            "nfe": plan.nfe,
            "nfe_asked": self.nfe_asked,
            "seeds": show_seeds(self.job.seeds),
            "images": len(self.job.seeds),
            "plan_sha256": plan.digest,
        }


@dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
        rows: jobs of one model.
        extractor, statistics, reference: the features, what the images are compared with, and its name and hash.
        baselines: image sets by name, measured in the same way.
        units, splits: parts of the jackknife of the Frechet distance, and splits of the Inception score.
        shown: images of each row to be kept as a picture.
    """

    rows: Sequence[Row]
    extractor: Extractor
    statistics: Statistics
    reference: Mapping[str, Any]
    baselines: Mapping[str, ImageSet] = field(default_factory=dict)
    units: int = 10
    splits: int = 10
    shown: int = 10

    def facts(self, version: str, threads: int) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON-able values."""
        job = self.rows[0].job.facts(version, threads)
        return {
            **{key: job[key] for key in job if key not in ("solver", "nfe", "plan_sha256", "seeds")},
            "features": vars(self.extractor.recipe),
            "reference": dict(self.reference),
            "seeds": list(dict.fromkeys(show_seeds(row.job.seeds) for row in self.rows)),
            "nfe": sorted({row.nfe_asked for row in self.rows}),
            "units": self.units,
            "splits": self.splits,
            "shown": self.shown,
            "baselines": {name: str(images.path) for name, images in self.baselines.items()},
        }


def run_study(
    study: Study,
    out: Path,
    *,
    resume: bool = False,
    group: Group | None = None,
    threads: int | None = None,
    title: str = "",
    version: str = "",
    arguments: Sequence[str] = (),
    command: str = "",
    progress: bool = True,
    after_row: Callable[[dict[str, Any]], Any] = lambda record: None,
) -> dict[str, Any]:
    """Measures the rows that are missing, fewest model calls first, and returns the record, which is also written to curves.json.

    What was measured of a row is kept unit by unit until the row is done, so a killed study goes on where it was, with any number of processes
    where they share `out`, and ends with the same numbers.

    Args:
        title: heading of plots and page; "" is the model's name, or what the study was begun with.
        arguments: of the command line, for `seeds curves --row`.
        after_row: called on rank 0 with the record, after each row.
    Raises: as `run`; MetricError if the features are not the reference's.
    """
    group = group or Group()
    resume = resume or group.restarts > 0
    path = out / RECORD
    check_comparable(study.extractor.recipe, len(study.statistics.mu), study.statistics)  # before anything is drawn

    def prepare() -> str:
        before = files.record(path, path.read_bytes(), "study") if path.exists() else None
        if before is not None and not resume:
            raise ValueError(f"{out} holds a study ({before['status']}). Complete it with --resume, or choose another folder.")
        chosen = threads or (before["study"].get("threads") if before else None) or torch.get_num_threads()
        facts = study.facts(version, chosen)
        rows = [{"row": number, **row.facts(), "status": "waiting"} for number, row in enumerate(study.rows)]
        if before is None:
            record = {
                "format": FORMAT,
                "status": "running",
                "study": facts,
                "title": title,
                "environment": {**environment(study.rows[0].job.device), "torch": torch.__version__},
                "version": version,
                "command": command,
                "arguments": list(arguments),
                "baselines": [],
                "rows": rows,
            }
        else:
            _check_same(before, facts, rows, out)
            sweep(out)
            record = before | ({"title": title} if title else {})
        atomic(path, files.json_bytes(record))
        return json.dumps(record)

    record = json.loads(group.once(prepare))
    todo = sorted((k for k, row in enumerate(record["rows"]) if row["status"] != DONE), key=lambda k: (study.rows[k].job.plan.nfe, k))
    missing = [name for name in study.baselines if name not in [found["name"] for found in record["baselines"]]]

    def keep() -> str:
        atomic(path, files.json_bytes(record))
        after_row(record)
        return ""

    with limited(record["study"]["threads"]):
        for name in missing:
            images = study.baselines[name]
            found = _measured(study, ((piece.first, *_judged(study, piece)) for piece in images.pieces(1000, owns=group.owns)), group)
            record["baselines"].append({"name": name, "images": images.count, **found})
            group.once(keep)
        work = {k: sum(map(len, group.share(study.rows[k].job.units))) * study.rows[k].job.plan.nfe for k in todo}
        with Progress(group, "study", sum(work.values()), show=progress) as bar:
            for done, k in enumerate(todo, 1):
                row = study.rows[k]
                bar.say(f"row {done}/{len(todo)}: {row.line}, {row.job.plan.nfe} NFE")
                cache = Cache(out, k)
                result = measure(study, row, group, bar.asked, cache)
                record["rows"][k] |= {"status": DONE, **result, "picture": cache.picture.relative_to(out).as_posix()}
                record["rows"][k]["command"] = f"seeds curves --out {out} --row {k}"
                group.once(keep)
                cache.clear()

    def close() -> str:
        for k in range(len(study.rows)):
            Cache(out, k).clear()  # a process may have been killed between a row's end and its clearing
        record["status"] = DONE
        keep()
        sweep(out)
        return ""

    group.once(close)
    return record


def measure(study: Study, row: Row, group: Group, asked: Callable[[int], Any], cache: "Cache | None" = None) -> dict[str, Any]:
    """The numbers of one row: on rank 0 frechet and inception_score (None where the extractor has no classes), and seconds of all processes."""
    spent = [0]

    def pieces() -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        job = row.job
        for number, unit in enumerate(job.units):
            if not group.owns(number):
                continue
            held = cache.read(number) if cache else None
            if held is None:
                begun = time.perf_counter()
                piece = Piece(number * job.batch, job.images(unit, asked))
                held = *_judged(study, piece), round(1000 * (time.perf_counter() - begun))
                if cache:
                    cache.write(number, *held, images=piece.images[: study.shown] if number == 0 else None)
            else:
                asked(len(unit) * job.plan.nfe)
            spent[0] += held[2]
            yield number * job.batch, held[0], held[1]

    found = _measured(study, pieces(), group)
    seconds = int(group.total({"ms": np.array(spent[0])})["ms"]) / 1000
    return {**found, "seconds": seconds}


def _judged(study: Study, piece: Piece) -> tuple[np.ndarray, np.ndarray | None]:
    """Features (B, d), and class probabilities if the extractor has classes."""
    features, probabilities = study.extractor.judge(piece.images)
    check_comparable(study.extractor.recipe, features.shape[1], study.statistics)
    return features, probabilities


def _measured(study: Study, judged: Iterator[tuple[int, np.ndarray, np.ndarray | None]], group: Group) -> dict[str, Any]:
    classes: list[tuple[int, np.ndarray]] = []

    def features() -> Iterator[tuple[int, np.ndarray]]:
        for first, rows, probabilities in judged:
            if probabilities is not None:
                classes.append((first, probabilities))
            yield first, rows

    stream = merged(features(), study.units, group)
    probabilities = collected(classes, group) if study.extractor.classify else None
    if not group.first:
        return {}
    score = None if probabilities is None else _plain(inception_score(probabilities, study.splits))
    return {"frechet": _plain(frechet_estimate(stream, study.statistics.mu, study.statistics.sigma)), "inception_score": score}


def _plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON-able values."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in asdict(estimate).items()}


class Cache:
    """What is known of a row before it is done: one file for each unit; and its picture, which stays."""

    def __init__(self, out: Path, row: int):
        self.folder, self.picture = out / "rows" / f"{row:03d}", out / "rows" / f"{row:03d}.png"

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray | None, int] | None:
        """(features, probabilities, milliseconds) of a unit, if they are there and whole."""
        try:
            with np.load(self._path(number), allow_pickle=False) as file:
                return file["features"], file["probabilities"] if "probabilities" in file.files else None, int(file["ms"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            return None

    def write(self, number: int, features: np.ndarray, probabilities: np.ndarray | None, ms: int, *, images: np.ndarray | None) -> None:
        if images is not None:
            atomic(self.picture, files.png(np.concatenate(list(images), axis=1)))
        arrays = {"features": features, "ms": np.array(ms)} | ({} if probabilities is None else {"probabilities": probabilities})
        atomic(self._path(number), files.npz_bytes(arrays))

    def clear(self) -> None:
        """The row is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _check_same(before: dict[str, Any], facts: dict[str, Any], rows: list[dict[str, Any]], out: Path) -> None:
    now = json.loads(json.dumps({**facts, "rows": rows}))
    old = {**before["study"], "rows": [{key: row.get(key) for key in rows[0]} | {"status": "waiting"} for row in before["rows"]]}
    differences = [key for key in now if old.get(key) != now[key]]
    if differences:
        said = "; ".join(f"{key} {old.get(key)!r}, now {now[key]!r}" for key in differences if key != "rows") or "other rows"
        raise ValueError(
            f"{out} holds another study: it has {said}. Give --resume what the study was started with (`command` in {out / RECORD}), or choose "
            "another folder."
        )
