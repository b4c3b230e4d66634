"""The table of a record: one flat line for each row, with everything that repeats it."""

from typing import Any

from seeds.report.points import METRICS, RowRecord, StudyRecord, check
from seeds.report.text import flat, to_csv

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
    """The rows of a record as CSV, as `to_csv` writes it.

    Columns are the same for every study: the row, each metric with its interval, how to repeat the row, the study's
    settings, the environment. Settings without a column of their own are in `study.other`, as JSON.

    Raises: ValueError if this is no record of a curves study.
    """
    check(record)
    study, named = record.get("study", {}), {name.partition(".")[0] for name in STUDY}
    shared = flat({"study": study, "environment": record.get("environment", {})}) | {
        "study.other": {name: value for name, value in study.items() if name not in named},
        "study.command": record.get("command"),
        "version": record.get("version"),
    }

    def cells(row: RowRecord) -> dict[str, Any]:
        values = flat({metric.key: row.get(metric.key) or {} for metric in METRICS})
        values |= {metric.key: values.get(f"{metric.key}.value") for metric in METRICS}
        own = {f"study.{name}": row[name] for name in ("model", "model_sha256") if name in row}  # of several models
        return {**row, **values, **shared, **own}

    return to_csv(columns(), map(cells, record["rows"]))
