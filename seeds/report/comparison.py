"""Lines of a study at equal numbers of model calls: which is best, by how much, how many calls one needs for another's.

All from a record alone, so from any curves.json. Lines of a study share their seeds, so differences are taken in pairs
(`estimate.difference`): two lines may be told apart whose own intervals overlap.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from seeds.errors import InputError
from seeds.metrics.estimate import Estimate, difference
from seeds.report.points import METRICS, Row, StudyRecord, baselines, check, lines, point_of, together
from seeds.report.text import DASH, finite, number, to_csv

KEY = METRICS[0].key
"""Of the metric that lines are compared by."""

EXACT = re.compile(r"exact[/\\]([0-9a-f]{12})\.ref\.npz$")
"""The name of a reference that `seeds.runs.exact` made."""
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
    best: bool
    front: bool
    needed: float | None

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
            "metric": KEY,
            "convention": self.convention,
            "conventions": {name: words for name, (words, _) in CONVENTIONS.items()},
            "floor": None if self.floor is None else {"name": self.floor[0], **_numbers(self.floor[1])},
            "against": self.against,
            "overhead": dict(self.overhead),
            "entries": [self._flat(entry) for entry in self.entries],
        }

    def csv_text(self) -> str:
        """The entries as CSV, as `to_csv` writes it."""
        rows = [self._flat(entry) for entry in self.entries]
        return to_csv(list(rows[0]) if rows else ["line"], rows)

    def _flat(self, entry: Entry) -> dict[str, Any]:
        held = {"line": entry.line, "nfe_asked": entry.asked, "nfe": entry.nfe, "calls": entry.calls}
        for above, part in (("", entry.value), ("excess.", entry.excess), ("behind.", entry.behind)):
            held |= {above + name: value for name, value in _numbers(part).items()}
        held |= {"best": entry.best, "ties": entry.ties, "front": entry.front, "needed": finite(entry.needed)}
        return held | {f"overhead.{name}": self.overhead.get(entry.line, {}).get(name) for name in ("ms", "passes")}


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
    levels, names = dict(baselines(record, KEY)), lines(record)
    level = known("floor", floor, list(levels), next(iter(levels), None))
    line = known("against", against, names, next((name for name in names if _solver(name) == "auto"), None))
    guidance, count = record.get("study", {}).get("guidance") or 1.0, CONVENTIONS[convention][1]
    held = [(rows[0], point_of(rows, KEY).estimate) for rows in _by_calls(record).values()]
    measured = [Measured(row, count(row, guidance), value) for row, value in held]
    curve = None if line is None else [(it.calls, it.value.value) for it in measured if it.row["line"] == line]
    entries = [_entry(it, measured, levels.get(level or ""), curve) for it in measured]
    return Bench(entries, convention, None if level is None else (level, levels[level]), line, _overhead(record))


def _solver(line: str) -> str:
    """The first word of a line, behind the name of its model."""
    return line.rpartition(": ")[2].split()[0]


def _overhead(record: StudyRecord) -> Mapping[str, Mapping[str, float]]:
    return (record.get("bench") or {}).get("overhead") or {}


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
    overhead = {line: cost for record in reversed(records) for line, cost in _overhead(record).items()}
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


def _by_calls(record: StudyRecord) -> dict[tuple, list[Row]]:
    """The measured rows of each line and number of calls, one for each range of seeds."""
    return together(record, KEY, "line", "nfe_asked")


class Measured(NamedTuple):
    """A row, its model calls as a convention counts them, and its value over all ranges of seeds."""

    row: Row
    calls: int
    value: Estimate


def _entry(
    it: Measured,
    measured: Sequence[Measured],
    floor: Estimate | None,
    against: Sequence[tuple[float, float]] | None,
) -> Entry:
    """Where a line stands among those of its model."""
    row, calls, value = it
    own = [other for other in measured if other.row.get("model") == row.get("model")]
    there = [other.value for other in own if other.row["nfe_asked"] == row["nfe_asked"]]
    best = min(there, key=lambda other: other.value)
    excess = None if floor is None else difference(value, floor, paired=False)
    behind = difference(value, best, paired=len(best.parts) == len(value.parts))
    front = not any(n <= calls and (other.value, n) < (value.value, calls) for _, n, other in own)
    calls_needed = None if against is None else needed(against, value.value)
    asked, nfe = row["nfe_asked"], row["nfe"]
    return Entry(row["line"], asked, nfe, calls, value, excess, behind, best is value, front, calls_needed)


def _numbers(held: Estimate | None) -> dict[str, float | None]:
    return {name: getattr(held, name, None) for name in ("value", "low", "high")}


def table(found: Bench) -> str:
    """Lines down, calls allowed across: the value with half its interval, * the best, = not told from it."""
    budgets = sorted({entry.asked for entry in found.entries})
    held = {(entry.line, entry.asked): entry for entry in found.entries}
    names = list(dict.fromkeys(entry.line for entry in found.entries))

    def across(corner: str, names: Sequence[str], cell: Callable[[Entry], str]) -> list[list[str]]:
        cells = {key: cell(entry) for key, entry in held.items()}
        rows = [[name, *(cells.get((name, asked), DASH) for asked in budgets)] for name in names]
        return [[corner, *map(str, budgets)], *rows]

    rows = across("", names, _cell)
    if found.overhead:
        costs = [number(found.overhead.get(name, {}).get("ms")) for name in names]
        rows = [[*row, cost] for row, cost in zip(rows, ["ms a call", *costs], strict=True)]
    text = [_aligned(rows)]
    if found.floor is not None:
        text.append(f"floor ({found.floor[0]}): {_value(found.floor[1])}")
    marks = "* best, = not told from it (95 %, paired seeds); in brackets the calls made, where they are others"
    text += [marks, f"convention {found.convention}: {CONVENTIONS[found.convention][0]}"]
    own = {entry.calls for entry in found.entries if entry.line == found.against}
    if len(own) > 1:
        others = [name for name in names if name != found.against]
        text += ["", _aligned(across(f"calls of {found.against} for", others, lambda entry: _calls(entry, own)))]
    return "\n".join(text)


def _cell(entry: Entry) -> str:
    made = f" ({entry.calls})" if entry.calls != entry.asked else ""
    return _value(entry.value) + (" *" if entry.best else " =" if entry.ties else "") + made


def _value(value: Estimate) -> str:
    half = f" \u00b1{value.high - value.value:.2g}" if math.isfinite(value.high) else ""
    return f"{number(value.value)}{half}"


def _calls(entry: Entry, own: Collection[int]) -> str:
    """The calls that are needed for an entry, where the line compared with was measured at its `own`."""
    if entry.needed is None:
        return DASH
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
    others, found = _by_calls(second), []
    for (line, asked), a in _by_calls(first).items():
        if (b := others.get((line, asked))) is None:
            continue
        one, two = (point_of(rows, KEY).estimate for rows in (a, b))
        paired = [row["seeds"] for row in a] == [row["seeds"] for row in b] and len(one.parts) == len(two.parts)
        change = difference(two, one, paired=paired)
        said = {"line": line, "nfe_asked": asked, "nfe": [a[0]["nfe"], b[0]["nfe"]]}
        said |= {"before": one.value, "now": two.value}
        said |= {f"change.{name}": value for name, value in _numbers(change).items()}
        found.append(said | {"paired": paired, "tells": not (change.low <= 0 <= change.high)})
    if not found:
        raise InputError("The studies have no line and number of calls in common: there is nothing to compare.")
    return found


def changes(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `compared` gave as a table: < better, > worse than before, nothing where the interval holds 0."""
    text = [["line", "calls", "before", "now", "change", "", ""]]
    for row in rows:
        change, low, high = (row[f"change.{name}"] for name in ("value", "low", "high"))
        told = "" if not row["tells"] else "< better" if change < 0 else "> worse"
        cells = [row["line"], str(row["nfe_asked"]), number(row["before"]), number(row["now"])]
        cells += [f"{change:+.4g} [{low:+.3g}, {high:+.3g}]", told, "paired" if row["paired"] else "independent"]
        text.append(cells)
    return _aligned(text)
