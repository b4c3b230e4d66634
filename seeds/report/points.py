"""The curves of a record: for each line and metric, values over NFE with their intervals. What every form of the report
is drawn from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seeds.errors import InputError
from seeds.metrics.estimate import Estimate, over_parts

FORMAT = 1
"""The form of curves.json that is read here."""

CUT = 10_000
"""How many times worse than the best a value may be and still be inside the axes."""

StudyRecord = Mapping[str, Any]
RowRecord = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A column of the record that is drawn over NFE."""

    key: str
    title: str
    falls: bool
    """Lower is better."""

    @property
    def better(self) -> str:
        return "lower is better" if self.falls else "higher is better"


METRICS = (
    Metric("frechet", "squared Frechet distance", falls=True),
    Metric("inception_score", "Inception score", falls=False),
)


@dataclass(frozen=True)
class CurvePoint:
    """One point of a line.

    Attributes:
        nfe: model calls made.
        estimate: the row's own if there is one; over several ranges of seeds, their mean with the interval of
            `over_parts`.
        rows: the numbers of the rows behind it, one for each range.
    """

    nfe: int
    estimate: Estimate
    rows: tuple[int, ...]


Drawn = Mapping[Metric, Mapping[str, Sequence[CurvePoint]]]
"""The metrics that have values, and the points of every line."""


def check(record: StudyRecord) -> None:
    """Raises: ValueError if this is no record of a curves study, or one of another format."""
    if record.get("format") != FORMAT or not isinstance(record.get("rows"), (list, tuple)):
        raise InputError(
            f"`record` must be the object of a curves.json of format {FORMAT}, but its format is "
            f"{record.get('format')!r}. Use the version of seeds that wrote it."
        )


def heading(record: StudyRecord) -> str:
    """What the study is called: its own title, else its model or models."""
    model = record.get("study", {}).get("model", "")
    return str(record.get("title") or (", ".join(model) if isinstance(model, list) else model))


def lines(record: StudyRecord) -> list[str]:
    """The names of the lines, in the order of their first rows."""
    return list(dict.fromkeys(row["line"] for row in record["rows"]))


def estimate(held: Mapping[str, Any] | None) -> Estimate | None:
    """An ESTIMATE of the record; null inside it is nan, and None is what has no value."""
    value, error, low, high = (_number((held or {}).get(name)) for name in ("value", "error", "low", "high"))
    if held is None or math.isnan(value):
        return None
    metric, method = (str(held.get(name) or "") for name in ("metric", "method"))
    parts = tuple(map(_number, held.get("parts") or ()))
    return Estimate(metric, value, error, low, high, method, int(held.get("n") or 0), parts)


def together(record: StudyRecord, metric: str, *columns: str) -> dict[tuple, list[RowRecord]]:
    """The measured rows by what they have in these columns: those of one list are parts of a point, of other seeds.

    Rows that repeat seeds (two budgets may round to one plan) count once.
    """
    found: dict[tuple, dict[str, RowRecord]] = {}
    for row in record["rows"]:
        if estimate(row.get(metric)) is not None:
            found.setdefault(tuple(map(row.get, columns)), {}).setdefault(row["seeds"], row)
    return {key: list(parts.values()) for key, parts in found.items()}


def point_of(rows: Sequence[RowRecord], metric: str) -> CurvePoint:
    """The point that measured rows are parts of."""
    values = [value for row in rows if (value := estimate(row[metric])) is not None]
    whole = values[0]
    if len(values) > 1:
        whole = over_parts(whole.metric, [value.value for value in values], sum(value.n for value in values))
    return CurvePoint(rows[0]["nfe"], whole, tuple(row["row"] for row in rows))


def curves(record: StudyRecord, metric: str) -> dict[str, list[CurvePoint]]:
    """The points of every line, by rising NFE; a line of which nothing is measured has none."""
    found: dict[str, list[CurvePoint]] = {line: [] for line in lines(record)}
    for (line, *_), rows in together(record, metric, "line", "nfe", "plan_sha256").items():
        found[line].append(point_of(rows, metric))
    return {line: sorted(points, key=lambda point: point.nfe) for line, points in found.items()}


def drawn(record: StudyRecord) -> Drawn:
    """What is drawn of a record. Raises: as `check`."""
    check(record)
    return {metric: points for metric in METRICS if any((points := curves(record, metric.key)).values())}


def baselines(record: StudyRecord, metric: str) -> list[tuple[str, Estimate]]:
    """(name, estimate) of the baselines that have this metric."""
    held = [(str(line["name"]), estimate(line.get(metric))) for line in record.get("baselines") or ()]
    return [(name, value) for name, value in held if value is not None]


def _number(value: Any) -> float:
    """nan for what is no finite number."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan


def span(values: Sequence[float], falls: bool) -> tuple[float, float]:
    """The part of a log axis that is drawn: all of the positive `values` up to CUT times the best. One diverged run
    must not flatten the others."""
    low, high = min(values), max(values)
    return (low, min(high, CUT * low)) if falls else (max(low, high / CUT), high)
