"""PNG plots of a record, drawn by matplotlib without its global state."""

import io
import math
from collections.abc import Container, Sequence
from typing import Any

from seeds.metrics.estimate import Estimate
from seeds.report.comparison import Bench
from seeds.report.palette import DASHES, LIGHT, MARKERS, look
from seeds.report.points import METRICS, CurvePoint, Metric, StudyRecord, baselines, check, curves, heading, span
from seeds.report.text import number as text_of

INK, MUTED, RULE = "#1c2126", "#59616b", "#e4e6ea"
INCHES, DPI = (8.6, 5.2), 150
LONGEST = 44
WIDE, TALL = 60, 11
"""Points on paper that a value written at the edge takes, at most."""


def plots(record: StudyRecord) -> dict[str, bytes]:
    """A PNG file for each metric that has a value: {"frechet.png": ..., "inception_score.png": ...}.

    Both axes are logarithmic, so values that are not positive are left out; bars are 95 % intervals, dotted lines the
    baselines. What is over 10,000 times worse than the best is written at the edge.

    Raises: ValueError if this is no record of a curves study; ImportError without matplotlib.
    """
    check(record)
    drawn = {metric: curves(record, metric.key) for metric in METRICS}
    return {
        f"{metric.key}.png": _plot(record, metric, lines)
        for metric, lines in drawn.items()
        if any(map(_positive, lines.values()))
    }


def _positive(points: list[CurvePoint]) -> list[CurvePoint]:
    return [point for point in points if point.estimate.value > 0]


def pareto(record: StudyRecord, found: Bench) -> bytes:
    """A PNG file: distance against calls as the convention counts them, and the front, what no line has with fewer
    calls.

    Lines that are on it, or the best at some number of calls, have their colours and names; the others are grey.
    """
    named = {entry.line for entry in found.entries if entry.front or entry.best or entry.line == found.against}
    lines: dict[str, list[CurvePoint]] = {entry.line: [] for entry in found.entries if entry.line in named}
    for entry in found.entries:
        lines.setdefault(entry.line, []).append(CurvePoint(entry.calls, entry.value, ()))
    front = sorted({(entry.calls, entry.value.value) for entry in found.entries if entry.front})
    return _plot(record, METRICS[0], lines, named, front)


def _plot(
    record: StudyRecord,
    metric: Metric,
    lines: dict[str, list[CurvePoint]],
    named: Container[str] | None = None,
    front: Sequence[tuple[float, float]] = (),
) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The plots are drawn by matplotlib, which is not installed: pip install seeds-sampler[report]"
        ) from error
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    heights: list[float] = []
    ends: list[float] = []
    calls: list[int] = []
    numbered = [(number, line, points) for number, (line, points) in enumerate(lines.items())]
    for number, line, points in numbered:
        shown = _positive(points)
        xs, ys = [point.nfe for point in shown], [point.estimate.value for point in shown]
        calls += xs
        heights += ys
        if shown and named is not None and line not in named:
            axis.plot(xs, ys, color=MUTED, alpha=0.35, linewidth=1, zorder=1)
        elif shown:
            ends += [end for end in _draw_line(axis, number, line, shown) if end > 0]
    if front:
        axis.step(*zip(*front, strict=True), where="post", color=INK, linewidth=4, alpha=0.15, zorder=1.5)
    for place, (name, found) in enumerate(held for held in baselines(record, metric.key) if held[1].value > 0):
        heights.append(found.value)
        axis.axhline(
            found.value, color=INK, linestyle=":", linewidth=1.2, label=_verbatim(name), alpha=(1, 0.7, 0.5)[place % 3]
        )
    axis.set_xscale("log")
    axis.set_yscale("log", nonpositive="clip")
    _ticks(axis, "x", *_limits(calls, 0.05))
    low, high = span(heights, metric.falls)
    inside = [end for end in ends if low / 2 < end < 2 * high]
    low, high = _limits([low, high, *inside], 0.05)
    _ticks(axis, "y", low, high)
    coloured = [(number, _positive(points)) for number, line, points in numbered if named is None or line in named]
    _at_the_edge(
        axis, [(point, LIGHT[look(number).colour]) for number, shown in coloured for point in shown], low, high
    )
    _frame(axis, record, metric)
    _legend(figure, axis, sum(bool(shown) for _, shown in coloured))
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def _legend(figure: Any, axis: Any, count: int) -> None:
    """The names of the `count` lines, and then of the baselines, which matplotlib has first."""
    handles, labels = axis.get_legend_handles_labels()
    bare = len(handles) - count
    ordered = handles[bare:] + handles[:bare], labels[bare:] + labels[:bare]
    figure.legend(*ordered, loc="outside right upper", frameon=False, fontsize=9)


def _draw_line(axis: Any, number: int, line: str, points: list[CurvePoint]) -> list[float]:
    """Draws a line with its whiskers; where those end."""
    values = [point.estimate.value for point in points]
    lows, highs = zip(*(_whisker(point.estimate) for point in points), strict=True)
    colour, marker, dash = look(number)
    axis.errorbar(
        [point.nfe for point in points],
        values,
        yerr=(
            [v - low for v, low in zip(values, lows, strict=True)],
            [high - v for v, high in zip(values, highs, strict=True)],
        ),
        color=LIGHT[colour],
        linestyle=(0, DASHES[dash]) if DASHES[dash] else "-",
        linewidth=1.4,
        marker=MARKERS[marker],
        markersize=6.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=1,
        capsize=2.5,
        label=_verbatim(line),
    )
    return [*highs, *lows]


def _frame(axis: Any, record: StudyRecord, metric: Metric) -> None:
    """What stands around the lines."""
    axis.grid(color=RULE, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(colors=MUTED, labelcolor=INK)
    axis.set_xlabel("model calls (NFE)", color=INK)
    axis.set_ylabel(f"{metric.title}, {metric.better}", color=INK)
    axis.set_title(_verbatim(heading(record)), loc="left", color=INK, fontweight="bold")


def _at_the_edge(axis: Any, points: list[tuple[CurvePoint, str]], low: float, high: float) -> None:
    """Writes the values of those of the coloured points that are outside the axes where they would leave them, one
    below the other where they would meet."""
    outside = [(point, colour) for point, colour in points if not low <= point.estimate.value <= high]
    written: list[tuple[bool, float, int]] = []
    for point, colour in sorted(outside, key=lambda held: (held[0].nfe, -held[0].estimate.value)):
        above = point.estimate.value > high
        x = axis.transData.transform((point.nfe, high))[0] * 72 / DPI
        near = {row for side, at, row in written if side == above and abs(at - x) < WIDE}
        row = next(row for row in range(len(near) + 1) if row not in near)
        written.append((above, x, row))
        axis.annotate(
            ("\u2191 " if above else "\u2193 ") + text_of(point.estimate.value),
            (point.nfe, high if above else low),
            (5, (-2 - TALL * row) * (1 if above else -1)),
            textcoords="offset points",
            va="top" if above else "bottom",
            fontsize=9,
            color=colour,
        )


def _whisker(estimate: Estimate) -> tuple[float, float]:
    """The ends of the interval, the value itself where there is none, or where the interval leaves it out."""
    ends = [end for end in (estimate.low, estimate.high, estimate.value) if math.isfinite(end)]
    return min(ends), max(ends)


def _limits(values: Sequence[float], margin: float) -> tuple[float, float]:
    """The span of positive values, widened by a part of itself on a log axis; around a single value, by a quarter."""
    low, high = min(values), max(values)
    by = (high / low) ** margin if high > low else 1.25
    return low / by, high * by


def _ticks(axis: Any, which: str, low: float, high: float) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    scale = getattr(axis, f"{which}axis")
    decades = LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,), numticks=10)
    scale.set_major_locator(MaxNLocator(7) if high < 8 * low else decades)
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter(lambda value, _: f"{value:,.12g}")
    getattr(axis, f"set_{which}lim")(low, high)


def _verbatim(text: str) -> str:
    """Text that matplotlib takes as it is, cut to LONGEST: no mathematics between dollars, no label hidden for its
    underscore."""
    text = (text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026").replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text
