"""A study: solvers against model calls, measured; every row is one job, and the table says all that repeats it."""

import json
import math
import shlex
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from seeds.distributed import Group
from seeds.images import ImageSet, Piece, fingerprint, png
from seeds.metrics.checks import check_splits, check_units
from seeds.metrics.estimate import Estimate
from seeds.metrics.features import Extractor
from seeds.metrics.frechet import frechet_estimate
from seeds.metrics.inception_score import inception_score
from seeds.metrics.references import Statistics, check_comparable
from seeds.metrics.together import collected
from seeds.runs.facts import NAMES, NETWORK, check_agreed, different
from seeds.runs.folder import DONE, environment, limited
from seeds.runs.job import Job
from seeds.runs.progress import Progress
from seeds.runs.records import json_bytes, read_record
from seeds.runs.seed_text import show_seeds
from seeds.runs.tally import Tally
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

    def work(self, group: Group) -> tuple[int, int]:
        """Model calls and images of this process' share."""
        images = sum(map(len, group.share(self.job.units)))
        return images * self.job.plan.nfe, images

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
        rows: jobs, of one model or of several.
        extractor, statistics, reference: the features, what the images are compared with, and its name and hash.
        baselines: image sets by name, measured in the same way.
        units, splits: parts of the jackknife of the Frechet distance, and splits of the Inception score.
        shown: images of each row to be kept as a picture.
    Raises: MetricError if a row or a baseline has too few images for the units or the splits, or images of a shape that the extractor refuses.
    """

    rows: Sequence[Row]
    extractor: Extractor
    statistics: Statistics
    reference: Mapping[str, Any]
    baselines: Mapping[str, ImageSet] = field(default_factory=dict)
    units: int = 10
    splits: int = 10
    shown: int = 10

    def __post_init__(self) -> None:
        for images in {*(len(row.job.seeds) for row in self.rows), *(images.count for images in self.baselines.values())}:
            check_units(self.units, images, 2)
            if self.extractor.classify:
                check_splits(self.splits, images)
        drawn = {(height, width, channels) for channels, height, width in (job.image_shape for job in self.models.values())}
        for shape in {*drawn, *(next(images.batches(1)).shape[1:] for images in self.baselines.values())}:
            self.extractor.check(*shape)

    @cached_property
    def models(self) -> dict[str, Job]:
        """The first job of each model, by the model's name."""
        found: dict[str, Job] = {}
        for row in self.rows:
            found.setdefault(row.job.model, row.job)
        return found

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """What each model's network is known by, as JSON-able values, by the model's name."""
        return {name: job.network.facts() for name, job in self.models.items()}

    def row_facts(self, number: int) -> dict[str, Any]:
        """What identifies a row: its own facts, and its model where there are several."""
        job = self.rows[number].job
        own = {"model": job.model, "model_sha256": job.model_hash} if len(self.models) > 1 else {}
        return self.rows[number].facts() | own

    def facts(self, version: str, threads: int) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON-able values."""
        job = next(iter(self.models.values())).facts(version, threads)
        models = list(self.models.values())
        several = {
            "model": [job.model for job in models],
            "model_sha256": [job.model_hash for job in models],
            "data_range": [list(job.pixels.data_range) for job in models],
            "decode_batch": [job.pixels.batch if job.pixels.decode else None for job in models],
        }
        return {
            **{key: job[key] for key in job if key not in ("solver", "nfe", "plan_sha256", "seeds", NETWORK)},
            **(several if len(models) > 1 else {}),
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
    resume = resume or group.again
    path = out / RECORD
    check_comparable(study.extractor.recipe, len(study.statistics.mu), study.statistics)  # before anything is drawn

    def prepare() -> str:
        before = read_record(path, path.read_bytes(), "study") if path.exists() else None
        if before is not None and not resume:
            raise ValueError(f"{out} holds a study ({before['status']}). Complete it with --resume, or choose another folder.")
        if before is None and (foreign := list(chain.from_iterable(map(out.glob, ("rows", "[!.]*.html", "[!.]*.csv", "[!.]*.png"))))):
            raise ValueError(f"{foreign[0]} is there already, and is of no study ({path} is missing). Choose another folder.")
        chosen = threads or (before["study"].get("threads") if before else None) or torch.get_num_threads()
        facts = study.facts(version, chosen)
        rows = [{"row": number, **study.row_facts(number), "status": "waiting"} for number in range(len(study.rows))]
        if before is not None:
            _check_same(before, facts, study.networks, rows, out)
            _check_baselines(before, study, out)
        group.begin()
        if before is None:
            record = {
                "format": FORMAT,
                "status": "running",
                "study": facts,
                "networks": study.networks,
                "title": title,
                "environment": _environment(study),
                "version": version,
                "command": command,
                "arguments": list(arguments),
                "baselines": [],
                "rows": rows,
            }
        else:
            sweep(out)
            record = before | ({"title": title} if title else {})
        atomic(path, json_bytes(record))
        return json.dumps(record)

    record = json.loads(group.once(prepare))
    for job in study.models.values():
        check_agreed(job.network, group)
    todo = sorted((k for k, row in enumerate(record["rows"]) if row["status"] != DONE), key=lambda k: (study.rows[k].job.plan.nfe, k))
    missing = [name for name in study.baselines if name not in [found["name"] for found in record["baselines"]]]

    def keep() -> str:
        atomic(path, json_bytes(record))
        after_row(record)
        return ""

    tallies = {name: Tally() for name in study.models}
    with limited(record["study"]["threads"]):
        for name in missing:
            images = study.baselines[name]
            found = _measured(study, ((piece.first, *_judged(study, piece)) for piece in images.pieces(1000, owns=group.owns)), group)
            sha256 = fingerprint(images) if group.first else ""
            record["baselines"].append({"name": name, "images": images.count, "sha256": sha256, **found})
            group.once(keep)
        calls, images = (sum(own) for own in zip((0, 0), *(study.rows[k].work(group) for k in todo), strict=True))
        with Progress(group, "study", calls, images, progress, even=False) as bar:
            for done, k in enumerate(todo, 1):
                row = study.rows[k]
                bar.say(f"row {done}/{len(todo)}: {row.line}, {row.job.plan.nfe} NFE", row.job.plan.nfe)
                cache = Cache(out, k)
                result = measure(study, row, group, bar.asked, cache, tallies[row.job.model])
                record["rows"][k] |= {"status": DONE, **result, "picture": cache.picture.relative_to(out).as_posix()}
                record["rows"][k]["command"] = shlex.join(["seeds", "curves", "--out", str(out), "--row", str(k)])
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
    for name, job in study.models.items():
        said = tallies[name].total(group).warning(job.pixels.data_range)
        if said and group.first:
            warnings.warn(f"{name}: {said}" if len(study.models) > 1 else said, stacklevel=2)
    return record


def changed(study: Study, number: int, record: Mapping[str, Any], version: str) -> list[str]:
    """What decides the numbers of a row and is not what the record says, in words. Versions and the device are left out: `elsewhere` has them."""
    if not number < len(study.rows):
        return [f"the number of rows {len(record['rows'])}, now {len(study.rows)}"]
    old = _with_networks({**record["study"], **record["rows"][number]}, record.get("networks"))
    now = _with_networks({**study.facts(version, record["study"]["threads"]), **study.row_facts(number)}, study.networks)
    apart = ("version", "torch", "device", "shown", "baselines")
    return different(old, {key: value for key, value in now.items() if key not in apart})


def elsewhere(study: Study, record: Mapping[str, Any], version: str) -> list[str]:
    """What of the versions, the platform and the device is not what the record says, in words."""
    return different({**record["environment"], "seeds": record["version"]}, {**_environment(study), "seeds": version})


def _environment(study: Study) -> dict[str, str]:
    return {**environment(study.rows[0].job.device), "torch": torch.__version__}


def measure(
    study: Study, row: Row, group: Group, asked: Callable[[int], Any], cache: "Cache | None" = None, tally: Tally | None = None
) -> dict[str, Any]:
    """The numbers of one row: on rank 0 frechet and inception_score (None where the extractor has no classes), and seconds of all processes.

    Args:
        tally: counts the pixels of the images that are drawn.
    """
    spent = [0]
    shown: list[tuple[int, np.ndarray]] = []

    def pieces() -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        job = row.job
        for number, unit in enumerate(job.units):
            if not group.owns(number):
                continue
            first = number * job.batch
            wanted = max(0, study.shown - first)  # of its images, for the picture
            held = cache.read(number, wanted > 0) if cache else None
            if held is None:
                begun = time.perf_counter()
                piece = Piece(first, job.images(unit, asked, tally))
                features, probabilities = _judged(study, piece)
                ms = round(1000 * (time.perf_counter() - begun))
                held = Judged(features, probabilities, ms, piece.images[:wanted] if wanted else None)
                if cache:
                    cache.write(number, held)
            else:
                asked(len(unit) * job.plan.nfe)
            spent[0] += held.ms
            if held.images is not None:
                shown.append((first, held.images))
            yield first, held.features, held.probabilities

    found = _measured(study, pieces(), group)
    if cache:
        flat = collected(((first, images.reshape(len(images), -1).astype(np.float32)) for first, images in shown), group)
        if group.first:  # whose the first unit is
            cache.write_picture(flat.astype(np.uint8).reshape(-1, *shown[0][1].shape[1:]))
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

    rows = collected(features(), group)
    probabilities = collected(classes, group) if study.extractor.classify else None
    if not group.first:
        return {}
    score = None if probabilities is None else _plain(inception_score(probabilities, study.splits))
    return {"frechet": _plain(frechet_estimate(rows, study.statistics.mu, study.statistics.sigma, study.units)), "inception_score": score}


def _plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON-able values."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in asdict(estimate).items()}


class Judged(NamedTuple):
    """What is known of a unit: features, class probabilities if there are classes, the time it took, and those of its images that are shown."""

    features: np.ndarray
    probabilities: np.ndarray | None
    ms: int
    images: np.ndarray | None


class Cache:
    """What is known of a row before it is done: one file for each unit; and its picture, which stays."""

    def __init__(self, out: Path, row: int):
        self.folder, self.picture = out / "rows" / f"{row:03d}", out / "rows" / f"{row:03d}.png"

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"

    def read(self, number: int, shown: bool) -> Judged | None:
        """A unit, if it is there and whole; with its images if they are to be `shown`."""
        try:
            with self._path(number).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return Judged(
                    file["features"],
                    file["probabilities"] if "probabilities" in file.files else None,
                    int(file["ms"]),
                    file["images"] if shown else None,
                )
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            return None

    def write(self, number: int, judged: Judged) -> None:
        arrays = {name: np.asarray(value) for name, value in judged._asdict().items() if value is not None}

        def save(part: Path) -> None:
            with part.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]

        atomic(self._path(number), save)

    def write_picture(self, images: np.ndarray) -> None:
        """Images (B, H, W, C) side by side."""
        atomic(self.picture, png(np.concatenate(list(images), axis=1)))

    def clear(self) -> None:
        """The row is done."""
        with suppress(OSError):
            for path in self.folder.glob("[0-9]*.npz"):
                path.unlink()
            self.folder.rmdir()


def _with_networks(study: Mapping[str, Any], networks: Mapping[str, Any] | None) -> dict[str, Any]:
    """The facts of a study and of its networks; those of an older record, which says nothing of networks, as they are."""
    return {**study} if networks is None else {**study, NETWORK: list(networks.values())}


def _check_same(before: dict[str, Any], facts: dict[str, Any], networks: dict[str, Any], rows: list[dict[str, Any]], out: Path) -> None:
    differences = different(_with_networks(before["study"], before.get("networks")), _with_networks(facts, networks))
    for old, now in zip(before["rows"], rows, strict=False):
        own = {key: value for key, value in now.items() if key not in ("status", *NAMES)}  # the networks are those of the study
        differences = differences or [f"row {now['row']}: {words}" for words in different(old, own)]
    if len(before["rows"]) != len(rows):
        differences = differences or [f"{len(before['rows'])} rows, now {len(rows)}"]
    if differences:
        raise ValueError(
            f"{out} holds another study: it has {'; '.join(differences)}. Give --resume what the study was started with (`command` in "
            f"{out / RECORD}), or choose another folder."
        )


def _check_baselines(before: dict[str, Any], study: Study, out: Path) -> None:
    for found in before["baselines"]:
        images = study.baselines[found["name"]]
        if found.get("sha256", now := fingerprint(images)) != now:
            raise ValueError(
                f"{out} holds another study: {images.path} had other files when it was measured as the baseline {found['name']!r}. Bring them back, or "
                "choose another folder."
            )
