"""Lines of a study at equal numbers of model calls: which is best, by how much, how many calls one needs for another's.

All from a record alone, so from any curves.json. Lines of a study share their seeds, so differences are taken in pairs
(`estimate.difference`): two lines may be told apart whose own intervals overlap.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from seeds.errors import InputError
from seeds.metrics.estimate import Estimate, difference
from seeds.report.points import METRICS, RowRecord, StudyRecord, baselines, check, lines, point_of, together
from seeds.report.text import DASH, number, to_csv

Comparison = Mapping[str, Any]
"""What `bench` returns."""
KEY = METRICS[0].key
"""Of the metric that lines are compared by."""

EXACT = re.compile(r"exact[/\\]([0-9a-f]{12})\.ref\.npz$")
"""The name of a reference that `seeds.runs.exact` made."""
CONVENTIONS: dict[str, tuple[str, Callable[[RowRecord, float], int]]] = {
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


def bench(
    record: StudyRecord, *, convention: str = "calls", floor: str | None = None, against: str | None = None
) -> dict[str, Any]:
    """The lines of a record, compared.

    Args:
        convention: how calls are counted; nothing is drawn anew.
        floor: the name of a baseline; None is the first, if there is one.
        against: a line; None is the first that is called auto, if there is one.
    Returns: plain values, nan and infinities among them:

        - `metric`, `convention`, and all `conventions` in words;
        - `floor`: name, value and interval of the baseline that has no solver's error; None without one;
        - `against`: the line whose calls are `needed`;
        - `overhead`: of each line, what it costs beside the model, where it was measured: `ms` and `passes` a call;
        - `entries`, one for each line and number of calls allowed, in the order of the record. `nfe_asked`, `nfe` and
          `calls` are calls allowed, made, and made as the convention counts them; `value`, `low` and `high` are of the
          metric; `excess.value`, ... are above the floor, `behind.value`, ... what it is worse by than the best line at
          as many calls allowed. `best`: it is that line; `ties`: the interval of `behind` holds 0; `front`: no line has
          as good a value with fewer calls; `needed`: calls that the line compared with needs for this value, nan if it
          never has it; `overhead.ms`, `overhead.passes`. What there is none of is None.
    Raises: ValueError if this is no record of a curves study, or has no such baseline or line.
    """
    check(record)
    if convention not in CONVENTIONS:
        raise InputError(f"`convention` must be one of {', '.join(CONVENTIONS)}, but is {convention!r}.")
    levels, names = dict(baselines(record, KEY)), lines(record)
    level = known("floor", floor, list(levels), next(iter(levels), None))
    auto = next(
        (name for name in names if name.rpartition(": ")[2].split()[0] == "auto"), None
    )  # behind a model's name
    line = known("against", against, names, auto)
    guidance, count = record.get("study", {}).get("guidance") or 1.0, CONVENTIONS[convention][1]
    held = [(rows[0], point_of(rows, KEY).estimate) for rows in _by_calls(record).values()]
    measured = [(row, count(row, guidance), value) for row, value in held]
    curve = [(calls, value.value) for row, calls, value in measured if row["line"] == line]
    return {
        "metric": KEY,
        "convention": convention,
        "conventions": {name: words for name, (words, _) in CONVENTIONS.items()},
        "floor": None if level is None else {"name": level} | _numbers("", levels[level]),
        "against": line,
        "overhead": (overhead := _overhead(record)),
        "entries": [
            _entry(*it, measured, levels.get(level or ""))
            | {"needed": None if line is None else needed(curve, it[2].value)}
            | {f"overhead.{name}": overhead.get(it[0]["line"], {}).get(name) for name in ("ms", "passes")}
            for it in measured
        ],
    }


def csv_of(found: Comparison) -> str:
    """The entries as CSV, as `to_csv` writes it."""
    return to_csv(list(found["entries"][0]) if found["entries"] else ["line"], found["entries"])


def _overhead(record: StudyRecord) -> Mapping[str, Mapping[str, float]]:
    return (record.get("bench") or {}).get("overhead") or {}


def _by_calls(record: StudyRecord) -> dict[tuple, list[RowRecord]]:
    """The measured rows of each line and number of calls, one for each range of seeds."""
    return together(record, KEY, "line", "nfe_asked")


def _entry(
    row: RowRecord,
    calls: int,
    value: Estimate,
    measured: Sequence[tuple[RowRecord, int, Estimate]],
    floor: Estimate | None,
) -> dict[str, Any]:
    """Where a line stands among those of its model."""
    own = [held for held in measured if held[0].get("model") == row.get("model")]
    there = [other for held, _, other in own if held["nfe_asked"] == row["nfe_asked"]]
    best = min(there, key=lambda other: other.value)
    behind = difference(value, best, paired=len(best.parts) == len(value.parts))
    excess = None if floor is None else difference(value, floor, paired=False)
    better = any(n <= calls and (other.value, n) < (value.value, calls) for _, n, other in own)
    numbers = _numbers("", value) | _numbers("excess.", excess) | _numbers("behind.", behind)
    named = {"line": row["line"], "nfe_asked": row["nfe_asked"], "nfe": row["nfe"], "calls": calls}
    return named | numbers | {"best": best is value, "ties": not behind.low > 0, "front": not better}


def joined(records: Sequence[StudyRecord]) -> StudyRecord:
    """Studies of one yardstick as one, so that what was measured later stands beside the rest: a line's rows at so many
    calls come from the first that has them.

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
        there = {(row["line"], row["nfe_asked"]) for row in rows}
        rows += [row for row in record["rows"] if (row["line"], row["nfe_asked"]) not in there]
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


def _ends(row: RowRecord) -> int:
    """Whether a call at the lowest level leads to level 0, by whatever step."""
    return 0 if row.get("options", {}).get("final") == "none" else 1


def _numbers(above: str, held: Estimate | None) -> dict[str, float | None]:
    return {above + name: getattr(held, name, None) for name in ("value", "low", "high")}


def table(found: Comparison) -> str:
    """Lines down, calls allowed across: the value with half its interval, * the best, = not told from it."""
    entries, against = found["entries"], found["against"]
    budgets = sorted({entry["nfe_asked"] for entry in entries})
    names = list(dict.fromkeys(entry["line"] for entry in entries))

    def across(corner: str, names: Sequence[str], cell: Callable[[Mapping[str, Any]], str]) -> list[list[str]]:
        cells = {(entry["line"], entry["nfe_asked"]): cell(entry) for entry in entries}
        rows = [[name, *(cells.get((name, asked), DASH) for asked in budgets)] for name in names]
        return [[corner, *map(str, budgets)], *rows]

    rows = across("", names, _cell)
    if found["overhead"]:
        costs = [number(found["overhead"].get(name, {}).get("ms")) for name in names]
        rows = [[*row, cost] for row, cost in zip(rows, ["ms a call", *costs], strict=True)]
    text = [_aligned(rows)]
    if found["floor"] is not None:
        text.append(f"floor ({found['floor']['name']}): {_value(found['floor'])}")
    marks = "* best, = not told from it (95 %, paired seeds); in brackets the calls made, where they are others"
    text += [marks, f"convention {found['convention']}: {CONVENTIONS[found['convention']][0]}"]
    own = {entry["calls"] for entry in entries if entry["line"] == against}
    if len(own) > 1:
        others = [name for name in names if name != against]
        text += ["", _aligned(across(f"calls of {against} for", others, lambda it: _calls(it["needed"], own)))]
    return "\n".join(text)


def _cell(entry: Mapping[str, Any]) -> str:
    made = f" ({entry['calls']})" if entry["calls"] != entry["nfe_asked"] else ""
    return _value(entry) + (" *" if entry["best"] else " =" if entry["ties"] else "") + made


def _value(held: Mapping[str, Any]) -> str:
    half = f" \u00b1{held['high'] - held['value']:.2g}" if math.isfinite(held["high"]) else ""
    return f"{number(held['value'])}{half}"


def _calls(needed: float, own: Collection[int]) -> str:
    """The calls that are needed of the line compared with, which was measured at its `own`."""
    if math.isnan(needed):
        return f"> {max(own)}"
    return f"< {min(own)}" if needed < 0 else f"{needed:.1f}"


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
        found.append(
            said | _numbers("change.", change) | {"paired": paired, "tells": not (change.low <= 0 <= change.high)}
        )
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
