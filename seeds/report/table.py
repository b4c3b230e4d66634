"""The table of a record: one flat line for each row, with everything that repeats it."""

import csv
import io
from typing import Any

from seeds.report.points import METRICS, StudyRecord, check
from seeds.report.text import flat, to_json

ROW = ("row", "status", "line", "solver", "options", "steps", "nfe", "nfe_asked", "seeds", "images")
ESTIMATE = ("value", "error", "low", "high", "method", "n")
ABOUT = ("seconds", "plan_sha256", "picture", "command")
STUDY = (
    "model", "model_sha256", "features.name", "features.sha256", "features.resize", "features.channels",
    "reference.name", "reference.sha256", "reference.n", "batch", "units", "splits", "dtype", "device", "threads",
    "class", "guidance", "noise",
)  # fmt: skip
ENVIRONMENT = ("python", "numpy", "torch", "platform", "device")


def columns() -> list[str]:
    """The names of the columns, in order."""
    return [
        *ROW,
        *(metric.key if part == "value" else f"{metric.key}.{part}" for metric in METRICS for part in ESTIMATE),
        *ABOUT,
        *(f"study.{name}" for name in STUDY),
        "study.other",
        "study.command",
        *(f"environment.{name}" for name in ENVIRONMENT),
        "version",
    ]


def csv_text(record: StudyRecord) -> str:
    """The rows of a record as RFC 4180 CSV (lines end in CR LF), a header first.

    Columns are the same for every study: the row, each metric with its interval, how to repeat the row, the study's
    settings, the environment. Settings without a column of their own are in `study.other`, as JSON. Numbers are written
    so that they read back to the bit; what there is none of is empty.

    Raises: ValueError if this is no record of a curves study.
    """
    check(record)
    study, environment = record.get("study", {}), record.get("environment", {})
    settings = flat(study)
    shared = {f"study.{name}": settings.get(name) for name in STUDY}
    shared["study.other"] = {
        name: value for name, value in study.items() if name not in {known.partition(".")[0] for known in STUDY}
    }
    shared |= {"study.command": record.get("command"), "version": record.get("version")}
    shared |= {f"environment.{name}": environment.get(name) for name in ENVIRONMENT}
    out = io.StringIO()
    writer = csv.DictWriter(out, columns())
    writer.writeheader()
    for row in record["rows"]:
        cells = {name: row.get(name) for name in (*ROW, *ABOUT)}
        for metric in METRICS:
            numbers = row.get(metric.key) or {}
            cells |= {f"{metric.key}.{part}": numbers.get(part) for part in ESTIMATE[1:]} | {
                metric.key: numbers.get("value")
            }
        own = {f"study.{name}": row[name] for name in ("model", "model_sha256") if name in row}  # of several models
        writer.writerow({name: _cell(value) for name, value in (cells | shared | own).items()})
    return out.getvalue()


def _cell(value: Any) -> str:
    """Text as it is, numbers as JSON writes them, the rest as JSON; nothing for null and nan."""
    if isinstance(value, str):
        return value
    text = to_json(value)
    return "" if text == "null" else text
