"""How numbers and settings are written, in every form of the report."""

import json
import math
from collections.abc import Mapping
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
        if isinstance(value, Mapping):
            out |= flat(value, f"{above}{name}.")
        else:
            out[f"{above}{name}"] = value
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
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): finite(held) for name, held in value.items()}
        case list() | tuple():
            return [finite(held) for held in value]
        case _:
            return value


def to_json(value: Any) -> str:
    """JSON in one line, without nan."""
    return json.dumps(finite(value), allow_nan=False, separators=(",", ":"))
