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


def done(record: StudyRecord) -> list[Mapping[str, Any]]:
    """The rows that are measured."""
    return [row for row in record["rows"] if row["status"] == "done"]


def estimate(held: Mapping[str, Any] | None) -> Estimate | None:
    """An ESTIMATE of the record; null inside it is nan, and None is what has no value."""
    if held is None or not _finite(held.get("value")):
        return None
    numbers = {
        name: float(held[name]) if _finite(held.get(name)) else math.nan for name in ("value", "error", "low", "high")
    }
    return Estimate(
        metric=str(held.get("metric") or ""),
        method=str(held.get("method") or ""),
        n=int(held.get("n") or 0),
        parts=tuple(float(part) if _finite(part) else math.nan for part in held.get("parts") or ()),
        **numbers,
    )


def curves(record: StudyRecord, metric: str) -> dict[str, list[CurvePoint]]:
    """The points of every line, by rising NFE; a line of which nothing is measured has none.

    Rows of one line and plan with different seeds are parts of one point. Rows that repeat seeds (two budgets may round
    to one plan) count once.
    """
    found: dict[str, dict[tuple, dict[str, tuple[int, Estimate]]]] = {line: {} for line in lines(record)}
    for row in record["rows"]:
        if (value := estimate(row.get(metric))) is not None:
            same = found[row["line"]].setdefault((row["nfe"], row.get("plan_sha256")), {})
            same.setdefault(row["seeds"], (row["row"], value))
    return {
        line: sorted(
            (point_of(nfe, list(parts.values())) for (nfe, _), parts in points.items()), key=lambda point: point.nfe
        )
        for line, points in found.items()
    }


def baselines(record: StudyRecord, metric: str) -> list[tuple[str, Estimate]]:
    """(name, estimate) of the baselines that have this metric."""
    held = [(str(line["name"]), estimate(line.get(metric))) for line in record.get("baselines") or ()]
    return [(name, value) for name, value in held if value is not None]


def point_of(nfe: int, parts: list[tuple[int, Estimate]]) -> CurvePoint:
    first = parts[0][1]
    if len(parts) > 1:
        whole = over_parts(first.metric, [value.value for _, value in parts], sum(value.n for _, value in parts))
    return CurvePoint(nfe, first if len(parts) == 1 else whole, tuple(number for number, _ in parts))


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def span(values: Sequence[float], falls: bool) -> tuple[float, float]:
    """The part of a log axis that is drawn: all of the positive `values` up to CUT times the best. One diverged run
    must not flatten the others."""
    low, high = min(values), max(values)
    return (low, min(high, CUT * low)) if falls else (max(low, high / CUT), high)
