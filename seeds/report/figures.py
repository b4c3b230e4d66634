"""PNG plots of a record, drawn by matplotlib without its global state."""

import io
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from seeds.report.comparison import Comparison
from seeds.report.palette import DASHES, LIGHT, MARKERS, look
from seeds.report.points import METRICS, CurvePoint, Metric, StudyRecord, baselines, drawn, estimate, heading, span
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
    return {
        f"{metric.key}.png": _plot(record, metric, lines)
        for metric, lines in drawn(record).items()
        if any(map(_positive, lines.values()))
    }


def _positive(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    return [point for point in points if point.estimate.value > 0]


def pareto(record: StudyRecord, found: Comparison) -> bytes:
    """A PNG file: distance against calls as the convention counts them, and the front, what no line has with fewer
    calls.

    Lines that are on it, or the best at some number of calls, have their colours and names; the others are grey.
    """
    entries = found["entries"]
    named = {it["line"] for it in entries if it["front"] or it["best"] or it["line"] == found["against"]}
    lines: dict[str, list[CurvePoint]] = {it["line"]: [] for it in entries if it["line"] in named}
    for it in entries:
        if (value := estimate(it)) is not None:
            lines.setdefault(it["line"], []).append(CurvePoint(it["calls"], value, ()))
    front = sorted({(it["calls"], it["value"]) for it in entries if it["front"]})
    return _plot(record, METRICS[0], lines, named, front)


def _plot(
    record: StudyRecord,
    metric: Metric,
    lines: Mapping[str, Sequence[CurvePoint]],
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
    canvas, axis = FigureCanvasAgg(figure), figure.add_subplot()
    shown = [(number, line, _positive(points)) for number, (line, points) in enumerate(lines.items())]
    shown = [(number, line, points) for number, line, points in shown if points]
    coloured = [held for held in shown if named is None or held[1] in named]
    for _, _, points in (held for held in shown if held not in coloured):
        axis.plot(*_places(points), color=MUTED, alpha=0.35, linewidth=1, zorder=1)
    ends = [end for held in coloured for end in _draw_line(axis, *held) if end > 0]
    if front:
        axis.step(*zip(*front, strict=True), where="post", color=INK, linewidth=4, alpha=0.15, zorder=1.5)
    floors = [(name, value.value) for name, value in baselines(record, metric.key) if value.value > 0]
    for place, (name, value) in enumerate(floors):
        alpha = (1, 0.7, 0.5)[place % 3]
        axis.axhline(value, color=INK, linestyle=":", linewidth=1.2, label=_verbatim(name), alpha=alpha)
    axis.set_xscale("log")
    axis.set_yscale("log", nonpositive="clip")
    calls, heights = _places([point for _, _, points in shown for point in points])
    _ticks(axis, "x", *_limits(calls, 0.05))
    low, high = span([*heights, *(value for _, value in floors)], metric.falls)
    low, high = _limits([low, high, *(end for end in ends if low / 2 < end < 2 * high)], 0.05)
    _ticks(axis, "y", low, high)
    outside = [
        (point, number) for number, _, points in coloured for point in points if not low <= point.estimate.value <= high
    ]
    _at_the_edge(axis, outside, low, high)
    _frame(axis, record, metric)
    handles, labels = axis.get_legend_handles_labels()  # matplotlib has the baselines first
    bare = len(handles) - len(coloured)
    ordered = handles[bare:] + handles[:bare], labels[bare:] + labels[:bare]
    figure.legend(*ordered, loc="outside right upper", frameon=False, fontsize=9)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def _places(points: Sequence[CurvePoint]) -> tuple[list[int], list[float]]:
    """Where points are on the plot: across, up."""
    return [point.nfe for point in points], [point.estimate.value for point in points]


def _draw_line(axis: Any, number: int, line: str, points: Sequence[CurvePoint]) -> list[float]:
    """Draws a line with its whiskers; where those end, the value itself where there is no interval, or it is not in
    it."""
    calls, values = _places(points)
    intervals = [(point.estimate.low, point.estimate.high, point.estimate.value) for point in points]
    ends = [list(filter(math.isfinite, interval)) for interval in intervals]
    lows, highs = list(map(min, ends)), list(map(max, ends))
    colour, marker, dash = look(number)
    axis.errorbar(
        calls,
        values,
        yerr=(np.subtract(values, lows), np.subtract(highs, values)),
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


def _at_the_edge(axis: Any, points: Sequence[tuple[CurvePoint, int]], low: float, high: float) -> None:
    """Writes the values of points outside the axes, each with the number of its line, where they would leave them, one
    below the other where they would meet."""
    written: list[tuple[bool, float, int]] = []
    for point, number in sorted(points, key=lambda held: (held[0].nfe, -held[0].estimate.value)):
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
            color=LIGHT[look(number).colour],
        )


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
