"""How numbers and settings are written, in every form of the report."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seeds.metrics.estimate import Estimate

DASH = "\u2013"


def number(value: float | None) -> str:
    """Four digits, commas between thousands; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def interval(value: Estimate) -> str:
    """[low, high], or nothing where there is none."""
    return f"[{number(value.low)}, {number(value.high)}]" if math.isfinite(value.low) else ""


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as one level: {"features": {"name": n}} is {"features.name": n}."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        out |= flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return out


def plain(value: Any) -> str:
    """A setting in words: none, yes, no, 1, 2, 3."""
    match value:
        case None | "":
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(plain, value))
        case Mapping():
            return "  ".join(f"{name}={plain(held)}" for name, held in value.items()) or "none"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def finite(value: Any) -> Any:
    """The same JSON value with null for what JSON cannot hold: nan and the infinities."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def to_json(value: Any) -> str:
    """JSON in one line, without nan."""
    return json.dumps(finite(value), allow_nan=False, separators=(",", ":"))


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """These columns of rows as RFC 4180 CSV (lines end in CR LF), a header first: text as it is, the rest as JSON, so
    that numbers read back to the bit. What there is none of, null or nan, is empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        cells = [finite(row.get(name)) for name in columns]
        writer.writerow([held if held is None or isinstance(held, str) else to_json(held) for held in cells])
    return out.getvalue()
