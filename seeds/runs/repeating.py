"""A row of a study once more: the job that its record and its plan describe, and whether the numbers are the same."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seeds.errors import InputError
from seeds.plans import Plan
from seeds.runs.cache import RowFiles
from seeds.runs.measuring import RECORD, read_study
from seeds.runs.peers import Sampler
from seeds.runs.records import NETWORK, different
from seeds.runs.study import OF_A_MODEL, Study

ROUNDING = 1e-9
"""Relative; the linear algebra of another machine or version may change less of a number, and another picture changes
far more."""
ELSEWHERE = ("version", "torch", "device")
"""Settings that may differ: `verdict` names them."""


def recorded(out: Path, number: int) -> tuple[dict[str, Any], dict[str, Any], Plan | Sampler]:
    """The record of the study in `out`, all that it says of a row, and the row's plan.

    Raises: ValueError if there is no such study or row, or the study was made by a version that kept no plans.
    """
    record = read_study(out)
    study, rows = record["study"], record["rows"]
    if not number < len(rows):
        raise InputError(f"`row` = {number}, but the study in {out} has rows 0 to {len(rows) - 1}.")
    file = RowFiles(out, number).plan
    if "sources" not in record or not file.is_file():
        raise InputError(
            f"Row {number} cannot be repeated: {out / RECORD} keeps no plan of it ({file} is missing), as "
            f"studies of earlier versions. Repeat it with version {record.get('version') or 'that made it'}, or make a "
            "new study in another folder."
        )
    row = study | rows[number]
    if "model" in rows[number]:
        place = study["model"].index(row["model"])
        row |= {key: study[key][place] for key in OF_A_MODEL}
    return (
        record,
        row | {NETWORK: record["networks"][row["model"]]},
        Sampler.from_json(file.read_text()) or Plan.load(file),
    )


def changed(study: Study, row: dict[str, Any], version: str) -> list[str]:
    """What decides the numbers of a study's only row and is not what was recorded of it, in words."""
    now = study.rows[0].job.facts(version, row["threads"])
    now |= {"features": vars(study.extractor.recipe), "reference": dict(study.reference)}
    return different(row, {key: value for key, value in now.items() if key not in ELSEWHERE})


def verdict(
    study: Study, record: dict[str, Any], old: dict[str, Any], new: dict[str, Any], version: str
) -> tuple[bool, str]:
    """Whether the numbers of a row are the same but for rounding, and a sentence that says so, and what it was made
    with otherwise."""
    furthest = max(apart(new[key], old[key]) for key in ("frechet", "inception_score"))
    if furthest == 0:
        return True, "The same numbers."
    here = {**study.environment(), "seeds": version}
    words = "; ".join(different({**record["environment"], "seeds": record["version"]}, here))
    others = f"It was made with {words}" if words else "Versions, platform and device are the same"
    same = furthest < ROUNDING
    said = "The same numbers but for rounding" if same else "Other numbers than the study has"
    there = f"frechet {old['frechet']['value']} there"
    return same, f"{said}, apart by up to {furthest:.0e} of their size: {there}. {others}."


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
