"""A row of a study once more: the job that its record and its plan describe, and whether the numbers are the same."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seeds.errors import InputError
from seeds.plans import Plan
from seeds.runs.cache import RowFiles
from seeds.runs.facts import NETWORK, different
from seeds.runs.measuring import RECORD
from seeds.runs.peers import Sampler
from seeds.runs.records import read_record
from seeds.runs.study import Study

ROUNDING = 1e-9
"""Relative; the linear algebra of another machine or version may change less of a number, and another picture changes
far more."""
ELSEWHERE = ("version", "torch", "device")
"""Settings that may differ: `elsewhere` has them."""


def recorded(out: Path, number: int) -> tuple[dict[str, Any], dict[str, Any], Plan | Sampler]:
    """The record of the study in `out`, all that it says of a row, and the row's plan.

    Raises: ValueError if there is no such study or row, or the study was made by a version that kept no plans.
    """
    path = out / RECORD
    if not path.exists():
        raise InputError(
            f"{path} does not exist: `--row` repeats a row of a study. Give the study's folder with --out."
        )
    record = read_record(path, path.read_bytes(), "study")
    study, rows = record["study"], record["rows"]
    if not number < len(rows):
        raise InputError(f"`row` = {number}, but the study in {out} has rows 0 to {len(rows) - 1}.")
    file = RowFiles(out, number).plan
    if "sources" not in record or not file.is_file():
        raise InputError(
            f"Row {number} cannot be repeated: {path} keeps no plan of it ({file} is missing), as studies of earlier "
            f"versions. Repeat it with version {record.get('version') or 'that made it'}, or make a new study in "
            "another folder."
        )
    model, several = rows[number].get("model", study["model"]), {}
    if "model" in rows[number]:
        place = study["model"].index(model)
        several = {key: study[key][place] for key in ("model_sha256", "data_range", "decode_batch")}
    return (
        record,
        study | rows[number] | several | {"model": model, NETWORK: record["networks"][model]},
        Sampler.from_json(file.read_text()) or Plan.load(file),
    )


def changed(study: Study, row: dict[str, Any], version: str) -> list[str]:
    """What decides the numbers of a study's only row and is not what was recorded of it, in words."""
    now = study.rows[0].job.facts(version, row["threads"])
    now |= {"features": vars(study.extractor.recipe), "reference": dict(study.reference)}
    return different(row, {key: value for key, value in now.items() if key not in ELSEWHERE})


def elsewhere(study: Study, record: dict[str, Any], version: str) -> list[str]:
    """What of the versions, the platform and the device is not what the record says, in words."""
    return different({**record["environment"], "seeds": record["version"]}, {**study.environment(), "seeds": version})


def furthest(new: dict[str, Any], old: dict[str, Any]) -> float:
    """The largest difference between the numbers of two measurements of a row, as `apart`."""
    return max(apart(new[key], old[key]) for key in ("frechet", "inception_score"))


def verdict(study: Study, record: dict[str, Any], old: dict[str, Any], new: dict[str, Any], version: str) -> str:
    """A sentence: whether the numbers are the same, and where they were not made alike."""
    largest = furthest(new, old)
    if largest == 0:
        return "The same numbers."
    words = "; ".join(elsewhere(study, record, version))
    others = f"It was made with {words}" if words else "Versions, platform and device are the same"
    verdict = "The same numbers but for rounding" if largest < ROUNDING else "Other numbers than the study has"
    return f"{verdict}, apart by up to {largest:.0e} of their size: frechet {old['frechet']['value']} there. {others}."


def apart(new: dict[str, Any] | None, old: dict[str, Any] | None) -> float:
    """The largest difference between the numbers of two estimates (value, interval, parts), beside the largest of them;
    infinite if anything else differs."""
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
