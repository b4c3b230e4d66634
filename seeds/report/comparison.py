"""Lines of a study at equal numbers of model calls: which is best, by how much, how many calls one needs for another's.

All from a record alone, so from any curves.json. Lines of a study share their seeds, so differences are taken in pairs
(`estimate.difference`): two lines may be told apart whose own intervals overlap.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from seeds.errors import InputError
from seeds.metrics.estimate import Estimate, difference
from seeds.report.points import METRICS, StudyRecord, baselines, check, estimate, point_of
from seeds.report.text import DASH, number, to_json

EXACT = re.compile(r"exact[/\\]([0-9a-f]{12})\.ref\.npz$")
"""The name of a reference that `seeds.runs.exact` made."""
Row = Mapping[str, Any]
CONVENTIONS: dict[str, tuple[str, Callable[[Row, float], int]]] = {
    "calls": (
        "every call of the denoiser counts: stages, the final denoise, and a guided call once. As EDM counts (Heun: "
        "2 N - 1), and as many as the steps of k-diffusion and diffusers for methods of one call a step",
        lambda row, guidance: row["nfe"],
    ),
    "no-final-denoise": (
        "without the final denoise, as papers count that end at the lowest level (DPM-Solver, DEIS, SEEDS)",
        lambda row, guidance: row["nfe"] - row.get("denoises", _ends(row)),
    ),
    "steps": (
        "steps of any number of calls, the last one to level 0 included: num_inference_steps of diffusers, steps of "
        "front ends",
        lambda row, guidance: row["steps"] + _ends(row),
    ),
    "network": (
        "evaluations of the network: a guided call counts twice, with its label and without",
        lambda row, guidance: row["nfe"] * (1 if guidance == 1 else 2),
    ),
}
"""How calls are counted: in words, and of a row under guidance. A first step without a call counts in none of them."""


@dataclass(frozen=True)
class Entry:
    """A line at one number of model calls.

    Attributes:
        asked, nfe, calls: calls allowed, made, and made as the convention counts them.
        value: of the metric.
        excess: above the floor; None without one.
        behind: what it is worse by than the best line at as many calls allowed.
        best, ties: it is the best there; the interval of `behind` holds 0.
        front: no line has as good a value with fewer calls.
        needed: calls that the line compared with needs for this value; None without one, nan if it never has it.
    """

    line: str
    asked: int
    nfe: int
    calls: int
    value: Estimate
    excess: Estimate | None
    behind: Estimate
    best: bool = False
    front: bool = False
    needed: float | None = None

    @property
    def ties(self) -> bool:
        return self.best or not self.behind.low > 0


@dataclass(frozen=True)
class Bench:
    """What a study says of its lines at equal numbers of calls.

    Attributes:
        entries: by line and calls allowed, in the order of the record.
        floor: name and value of the baseline that has no solver's error.
        against: the line whose calls `Entry.needed` are.
        overhead: of each line, what it costs beside the model, where it was measured: `ms` and `passes` for each call.
    """

    entries: Sequence[Entry]
    convention: str
    floor: tuple[str, Estimate] | None
    against: str | None
    overhead: Mapping[str, Mapping[str, float]]

    def facts(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "metric": METRICS[0].key,
            "convention": self.convention,
            "conventions": {name: words for name, (words, _) in CONVENTIONS.items()},
            "floor": None if self.floor is None else {"name": self.floor[0], **_numbers(self.floor[1])},
            "against": self.against,
            "overhead": dict(self.overhead),
            "entries": [self._flat(entry) for entry in self.entries],
        }

    def csv_text(self) -> str:
        """The entries as RFC 4180 CSV, a header first; numbers read back to the bit."""
        out = io.StringIO()
        rows = [self._flat(entry) for entry in self.entries]
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["line"])
        writer.writeheader()
        writer.writerows(
            {name: to_json(held).strip('"') if held is not None else "" for name, held in row.items()} for row in rows
        )
        return out.getvalue()

    def _flat(self, entry: Entry) -> dict[str, Any]:
        held = {"line": entry.line, "nfe_asked": entry.asked, "nfe": entry.nfe, "calls": entry.calls}
        parts = {"": entry.value, "excess.": entry.excess, "behind.": entry.behind}
        numbers = {above + name: held for above, part in parts.items() for name, held in _numbers(part).items()}
        needed = entry.needed if entry.needed is not None and math.isfinite(entry.needed) else None
        beside = {f"overhead.{name}": self.overhead.get(entry.line, {}).get(name) for name in ("ms", "passes")}
        return (
            held | numbers | {"best": entry.best, "ties": entry.ties, "front": entry.front, "needed": needed} | beside
        )


def bench(
    record: StudyRecord, *, convention: str = "calls", floor: str | None = None, against: str | None = None
) -> Bench:
    """The lines of a record, compared.

    Args:
        convention: how calls are counted; nothing is drawn anew.
        floor: the name of a baseline; None is the first, if there is one.
        against: a line; None is the first that is called auto, if there is one.
    Raises: ValueError if this is no record of a curves study, or has no such baseline or line.
    """
    check(record)
    if convention not in CONVENTIONS:
        raise InputError(f"`convention` must be one of {', '.join(CONVENTIONS)}, but is {convention!r}.")
    levels, lines = dict(baselines(record, METRICS[0].key)), list(dict.fromkeys(row["line"] for row in record["rows"]))
    level = known("floor", floor, list(levels), next(iter(levels), None))
    line = known(
        "against", against, lines, next((line for line in lines if line.rpartition(": ")[2].split()[0] == "auto"), None)
    )
    guidance = record.get("study", {}).get("guidance") or 1.0
    entries = [_entry(rows, convention, guidance, levels.get(level or "")) for rows in _together(record)]
    entries = [replace(entry, **_rank(entry, entries, record)) for entry in entries]
    if line is not None:
        curve = [(entry.calls, entry.value.value) for entry in entries if entry.line == line]
        entries = [replace(entry, needed=needed(curve, entry.value.value)) for entry in entries]
    overhead = (record.get("bench") or {}).get("overhead") or {}
    return Bench(entries, convention, None if level is None else (level, levels[level]), line, overhead)


def joined(records: Sequence[StudyRecord]) -> StudyRecord:
    """Studies of one yardstick as one, so that a line measured later stands beside the others; a line comes from the
    first that has it.

    Raises: ValueError if they differ in features, reference, seeds or units.
    """
    first, *others = records
    rows = list(first["rows"])
    for record in others:
        for key in ("features", "reference", "seeds", "units", "guidance"):
            a, b = (settings(held).get(key) for held in (first, record))
            if a != b:
                raise InputError(
                    f"The studies have different {key}, {a} and {b}: their lines cannot be compared in one table."
                )
        there = {row["line"] for row in rows}
        rows += [row for row in record["rows"] if row["line"] not in there]
    overhead = {
        line: cost
        for record in reversed(records)
        for line, cost in ((record.get("bench") or {}).get("overhead") or {}).items()
    }
    return {**first, "rows": rows, "bench": {"overhead": overhead}}


def settings(record: StudyRecord) -> dict[str, Any]:
    """What decides the numbers of a study, wherever its files are: a reference is its hash, or, made of exact samples,
    the key of what it was made from, for its last bits may differ between machines."""
    study = record.get("study", {})
    reference = study.get("reference") or {}
    made = EXACT.search(str(reference.get("name")))
    return {**study, "reference": made[1] if made else reference.get("sha256"), "baselines": None}


def needed(curve: Sequence[tuple[float, float]], level: float) -> float:
    """Model calls at which a curve of (calls, distance) first falls to a level, by straight lines between logarithms.

    Returns: -inf where the curve begins below the level, nan where it never falls to it.
    """
    points = sorted(curve)
    if points and points[0][1] <= level:
        return points[0][0] if points[0][1] == level else -math.inf
    for (n0, d0), (n1, d1) in pairwise(points):
        if d0 > level >= d1 > 0:
            return n0 * (n1 / n0) ** (math.log(d0 / level) / math.log(d0 / d1))
    return math.nan


def known(name: str, asked: str | None, there: Sequence[str], usual: str | None = None) -> str | None:
    """What is asked for by that argument, or the usual. Raises: ValueError if it is not there."""
    if asked is not None and asked not in there:
        raise InputError(f"`{name}` = {asked!r} is not in the study, which has {', '.join(there) or 'none'}.")
    return usual if asked is None else asked


def _ends(row: Row) -> int:
    """Whether a call at the lowest level leads to level 0, by whatever step."""
    return 0 if row.get("options", {}).get("final") == "none" else 1


def _together(record: StudyRecord) -> list[list[Row]]:
    """The measured rows of each line and number of calls, one for each range of seeds."""
    found: dict[tuple, list[Row]] = {}
    for row in record["rows"]:
        if estimate(row.get(METRICS[0].key)) is not None:
            found.setdefault((row["line"], row["nfe_asked"]), []).append(row)
    return list(found.values())


def _entry(rows: Sequence[Row], convention: str, guidance: float, floor: Estimate | None) -> Entry:
    values = [value for row in rows if (value := estimate(row[METRICS[0].key])) is not None]
    value, row = point_of(rows[0]["nfe"], list(enumerate(values))).estimate, rows[0]
    excess = None if floor is None else difference(value, floor, paired=False)
    return Entry(
        row["line"], row["nfe_asked"], row["nfe"], CONVENTIONS[convention][1](row, guidance), value, excess, value
    )


def _rank(entry: Entry, entries: Sequence[Entry], record: StudyRecord) -> dict[str, Any]:
    """Where a line stands among those of its model."""
    models = {row["line"]: row.get("model") for row in record["rows"]}
    own = [other for other in entries if models[other.line] == models[entry.line]]
    best = min((other for other in own if other.asked == entry.asked), key=lambda other: other.value.value)
    front = all(other.value.value > entry.value.value for other in own if other.calls < entry.calls) and not any(
        other.value.value < entry.value.value for other in own if other.calls == entry.calls
    )
    paired = len(best.value.parts) == len(entry.value.parts)
    return {"behind": difference(entry.value, best.value, paired=paired), "best": best is entry, "front": front}


def _numbers(held: Estimate | None) -> dict[str, float | None]:
    return {name: getattr(held, name, None) for name in ("value", "low", "high")}


def table(found: Bench) -> str:
    """Lines down, calls allowed across: the value with half its interval, * the best, = not told from it."""
    budgets = sorted({entry.asked for entry in found.entries})
    held = {(entry.line, entry.asked): entry for entry in found.entries}
    lines = list(dict.fromkeys(entry.line for entry in found.entries))
    head = ["", *(f"{calls}" for calls in budgets), *(["ms a call"] if found.overhead else [])]
    rows = [head]
    for line in lines:
        cells = [_cell(held.get((line, calls))) for calls in budgets]
        beside = found.overhead.get(line, {}).get("ms")
        rows.append([line, *cells, *([number(beside) if beside is not None else DASH] if found.overhead else [])])
    text = [_aligned(rows)]
    if found.floor is not None:
        text.append(f"floor ({found.floor[0]}): {_value(found.floor[1])}")
    marks = "* best, = not told from it (95 %, paired seeds); in brackets the calls made, where they are others"
    text += [marks, f"convention {found.convention}: {CONVENTIONS[found.convention][0]}"]
    if len({entry.calls for entry in found.entries if entry.line == found.against}) > 1:
        others = [line for line in lines if line != found.against]
        calls = [[line, *(_calls(held.get((line, asked)), found) for asked in budgets)] for line in others]
        text += ["", _aligned([[f"calls of {found.against} for", *map(str, budgets)], *calls])]
    return "\n".join(text)


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return DASH
    made = f" ({entry.calls})" if entry.calls != entry.asked else ""
    return _value(entry.value) + (" *" if entry.best else " =" if entry.ties else "") + made


def _value(value: Estimate) -> str:
    half = f" \u00b1{value.high - value.value:.2g}" if math.isfinite(value.high) else ""
    return f"{number(value.value)}{half}"


def _calls(entry: Entry | None, found: Bench) -> str:
    if entry is None or entry.needed is None:
        return DASH
    own = [other.calls for other in found.entries if other.line == found.against]
    if math.isnan(entry.needed):
        return f"> {max(own)}"
    return f"< {min(own)}" if entry.needed < 0 else f"{entry.needed:.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def compared(first: StudyRecord, second: StudyRecord) -> list[dict[str, Any]]:
    """Two studies row by row: for each line and number of calls that both have, the second less the first.

    The difference is paired where both drew the same seeds and had the same units, else as of independent sets; `tells`
    says whether its interval leaves 0 out.

    Raises: ValueError if one is no record of a curves study, if they measured with different features, or have no row
        in common.
    """
    for record in (first, second):
        check(record)
    before, now = (record.get("study", {}).get("features") for record in (first, second))
    if before != now:
        raise InputError(f"The studies measured with different features, {before} and {now}: no distances to compare.")
    rows = {(held[0]["line"], held[0]["nfe_asked"]): held for held in _together(second)}
    found = []
    for a in _together(first):
        b = rows.get((a[0]["line"], a[0]["nfe_asked"]))
        if b is None:
            continue
        one, two = (_entry(held, "calls", 1.0, None).value for held in (a, b))
        paired = [row["seeds"] for row in a] == [row["seeds"] for row in b] and len(one.parts) == len(two.parts)
        change = difference(two, one, paired=paired)
        tells = not (change.low <= 0 <= change.high)
        found.append(
            {
                "line": a[0]["line"],
                "nfe_asked": a[0]["nfe_asked"],
                "nfe": [a[0]["nfe"], b[0]["nfe"]],
                "before": one.value,
                "now": two.value,
            }
            | {f"change.{name}": value for name, value in _numbers(change).items()}
            | {"paired": paired, "tells": tells}
        )
    if not found:
        raise InputError("The studies have no line and number of calls in common: there is nothing to compare.")
    return found


def changes(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `compared` gave as a table: < better, > worse than before, nothing where the interval holds 0."""
    head = ["line", "calls", "before", "now", "change", "", ""]
    return _aligned(
        [head]
        + [
            [
                row["line"],
                str(row["nfe_asked"]),
                number(row["before"]),
                number(row["now"]),
                f"{row['change.value']:+.4g} [{row['change.low']:+.3g}, {row['change.high']:+.3g}]",
                "" if not row["tells"] else "< better" if row["change.value"] < 0 else "> worse",
                "paired" if row["paired"] else "independent",
            ]
            for row in rows
        ]
    )
