"""The page of a record: one HTML file that asks nobody for anything. The template, its style and its script are
page.html, .css and .js beside this."""

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from PIL import Image, UnidentifiedImageError

from seeds.errors import InputError
from seeds.report.palette import DARK, DASHES, LIGHT, MARKERS, look
from seeds.report.points import (
    CUT,
    METRICS,
    CurvePoint,
    Metric,
    StudyRecord,
    baselines,
    check,
    curves,
    done,
    estimate,
    heading,
    lines,
)
from seeds.report.table import csv_text
from seeds.report.text import DASH, finite, flat, interval, number, plain, to_json

STRIP = 768
"""Pixels of the page that a picture is enlarged to, at most, and by a whole number."""
SMALL = 64
"""Height of a picture up to which its pixels are shown as squares."""


def page(record: StudyRecord, pictures: Mapping[int, bytes]) -> str:
    """The record as one HTML page: curves, images of the same seeds at each NFE, the table, the settings.

    Nothing is loaded from outside, and the page's own policy forbids it: pictures are data: URIs, and only the style
    and the script written here, known by their hashes, are taken. Equal arguments give equal pages.

    Args:
        pictures: the PNG files of rows, by row number: the first images of the row's seeds side by side.
    Raises: ValueError if this is no record of a curves study, or a picture is no PNG file.
    """
    check(record)
    drawn = {metric: points for metric in METRICS if any((points := curves(record, metric.key)).values())}
    style, script = _colours() + _part("page.css"), _part("page.js")
    name = heading(record)
    return Template(_part("page.html")).substitute(
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; base-uri "
        f"'none'; form-action 'none'",
        title=escape(f"{name}: quality against model calls"),
        style=style,
        symbols=_symbols(),
        heading=escape(name),
        far=f"{CUT:,}",
        summary=_summary(record),
        state=_state(record),
        facts=_facts(record, drawn),
        curves=_curves_note(record, drawn),
        images=_images(record, pictures, list(drawn)),
        table=_table(record, list(drawn)),
        settings=_settings(record),
        command=_code(str(record.get("command") or "")),
        version=escape(str(record.get("version") or "")),
        csv=_uri("text/csv;charset=utf-8", csv_text(record).encode()),
        json=_uri("application/json", to_json(record).encode()),
        data=_data(record, drawn),
        script=script,
    )


def _part(name: str) -> str:
    return files("seeds.report").joinpath(name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _colours() -> str:
    """The palette as custom properties, and a class for each colour and dash."""
    light, dark = (";".join(f"--c{at}:{colour}" for at, colour in enumerate(colours)) for colours in (LIGHT, DARK))
    classes = "".join(f".c{at}{{--c:var(--c{at})}}" for at in range(len(LIGHT)))
    dashes = "".join(
        f".d{at}{{stroke-dasharray:{' '.join(map(str, dash)) or 'none'}}}" for at, dash in enumerate(DASHES)
    )
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{classes}{dashes}\n"


def _symbols() -> str:
    def corners(marker: int) -> str:
        return " ".join(f"{x:g},{-y:g}" for x, y in MARKERS[marker])

    return "".join(
        f'<symbol id="m{at}" overflow="visible"><polygon points="{corners(at)}"/></symbol>'
        for at in range(len(MARKERS))
    )


def _mark(line: int) -> str:
    colour, marker, _ = look(line)
    return f'<svg class="mark c{colour}" viewBox="-1.6 -1.6 3.2 3.2" aria-hidden="true"><use href="#m{marker}"/></svg>'


def _code(command: str) -> str:
    """A command that breaks between its words only."""
    words = " ".join(f"<span>{escape(word)}</span>" for word in command.split(" "))
    return f'<code class="copied">{words}</code>' if command else DASH


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _summary(record: StudyRecord) -> str:
    study, rows = record.get("study", {}), record["rows"]
    calls, images, ranges = ({row[name] for row in rows} for name in ("nfe", "images", "seeds"))
    if not rows:
        return "No rows."
    text = f"{_counted(len(lines(record)), 'line')} from {_counted(min(calls), 'model call')} to {max(calls):,}. "
    text += f"{' or '.join(f'{count:,}' for count in sorted(images))} images a point"
    text += f" in each of {len(ranges)} ranges of seeds" if len(ranges) > 1 else ""
    reference, features = study.get("reference") or {}, study.get("features") or {}
    if reference.get("name"):
        text += f", compared with {reference['name']}"
        text += f" ({_counted(reference['n'], 'image')})" if reference.get("n") else ""
    text += f" in the features of {features['name']}" if features.get("name") else ""
    return escape(f"{text}.")


def _state(record: StudyRecord) -> str:
    have, every = len(done(record)), len(record["rows"])
    if have == every and record.get("status") == "done":
        return ""
    missing = (
        f"{_counted(every - have, 'row')} to come."
        if have < every
        else "Nothing is missing; the study has not been closed."
    )
    return (
        f'<p class="state" role="status"><strong>{have} of {_counted(every, "row")} measured.</strong> {missing} '
        f'<progress value="{have}" max="{max(every, 1)}" aria-label="rows measured"></progress></p>'
    )


def _facts(record: StudyRecord, drawn: Mapping[Metric, Mapping[str, list[CurvePoint]]]) -> str:
    """The best point of each metric, and the baselines."""
    cards = []
    for metric, points in drawn.items():
        every = [
            (point.estimate.value, place, line, point) for place, line in enumerate(points) for point in points[line]
        ]
        value, place, line, point = (min if metric.falls else max)(every, key=lambda held: held[0])
        title = f"{'Lowest' if metric.falls else 'Highest'} {metric.title}"
        cards.append(
            _fact(title, number(value), interval(point.estimate), f"{_mark(place)}{escape(line)}, NFE {point.nfe}")
        )
        cards += [
            _fact(metric.title, number(held.value), interval(held), escape(name))
            for name, held in baselines(record, metric.key)
        ]
    return f'<dl class="facts">{"".join(cards)}</dl>' if cards else ""


def _fact(title: str, value: str, between: str, what: str) -> str:
    return f'<div><dt>{escape(title)}</dt><dd><b>{value}</b> <span class="ci">{between}</span><p>{what}</p></dd></div>'


def _curves_note(record: StudyRecord, drawn: Mapping[Metric, Mapping[str, list[CurvePoint]]]) -> str:
    if not drawn:
        return "No row has a value yet."
    methods = sorted(
        {point.estimate.method for points in drawn.values() for line in points.values() for point in line} - {""}
    )
    spoken = f"Bars are 95 % intervals ({escape('; '.join(methods))}). " if methods else ""
    left_out = sum(point.estimate.value <= 0 for points in drawn.values() for line in points.values() for point in line)
    return (
        spoken
        + "Both axes are logarithmic."
        + (f" {_counted(left_out, 'value')} at or below 0 not drawn." if left_out else "")
    )


def _images(record: StudyRecord, pictures: Mapping[int, bytes], metrics: list[Metric]) -> str:
    """A group for each NFE that was asked for: the lines one below another, of one range of seeds."""
    seeds = next((row["seeds"] for row in record["rows"] if row["row"] in pictures), None)
    if seeds is None:
        return '<p class="note">No pictures yet.</p>'
    rows, places = (
        [row for row in record["rows"] if row["seeds"] == seeds],
        {line: place for place, line in enumerate(lines(record))},
    )
    calls = sorted({row["nfe_asked"] for row in rows})
    chosen = calls[(len(calls) - 1) // 2]
    choices = "".join(
        f'<label><input type="radio" name="nfe" '
        f'value="{value}"{" checked" if value == chosen else ""}><span>{text}</span></label>'
        for value, text in [*((nfe, nfe) for nfe in calls), ("", "All")]
    )
    groups = "".join(
        f'<div class="group" data-nfe="{nfe}"><h3>{_counted(nfe, "model call")}</h3>'
        + "".join(
            _figure(row, places[row["line"]], pictures.get(row["row"]), metrics)
            for row in rows
            if row["nfe_asked"] == nfe
        )
        + "</div>"
        for nfe in calls
    )
    return (
        f'<p class="note">The first seeds of {escape(seeds)}. A column is one seed: the same noise, on every line and '
        f"at every NFE.</p>"
        f'<fieldset class="choice" id="nfe" hidden><legend>Model calls '
        f"(NFE)</legend><div>{choices}</div></fieldset>{groups}"
    )


def _figure(row: Mapping[str, Any], place: int, picture: bytes | None, metrics: list[Metric]) -> str:
    values = [(metric.title, estimate(row.get(metric.key))) for metric in metrics]
    spoken = "".join(f"<span>{title} {number(value.value)}</span>" for title, value in values if value is not None)
    caption = (
        f"<figcaption>{_mark(place)}<b>{escape(row['line'])}</b><p><span>NFE "
        f"{row['nfe']}</span>{spoken}</p></figcaption>"
    )
    if picture is None:
        return (
            f'<figure>{caption}<p class="absent">{"no picture" if row["status"] == "done" else "waiting"}</p></figure>'
        )
    width, height = _size(picture, row["row"])
    small = ' class="small"' if height <= SMALL else ""
    alt = f"Images by {row['line']} at {row['nfe']} model calls"
    return (
        f'<figure>{caption}<img{small} data-row="{row["row"]}" width="{width * max(1, STRIP // width)}" '
        f'height="{height * max(1, STRIP // width)}" '
        f'alt="{escape(alt)}" src="{_uri("image/png", picture)}"></figure>'
    )


def _size(picture: bytes, row: int) -> tuple[int, int]:
    """Width and height of a PNG file."""
    try:
        return Image.open(io.BytesIO(picture), formats=["PNG"]).size
    except UnidentifiedImageError:
        raise InputError(
            f"`pictures[{row}]` must be a PNG file, but starts with {picture[:8]!r}. Draw the row again."
        ) from None


def _table(record: StudyRecord, metrics: list[Metric]) -> str:
    metric_titles = (metric.title for metric in metrics)
    titles = [
        *("Row", "Line", "NFE", "Asked", "Steps"),
        *metric_titles,
        *("Seeds", "Images", "Seconds", "Options", "Plan", "Command"),
    ]
    words, order = {"Line", "Seeds", "Options", "Plan", "Command"}, {"Row": ' aria-sort="ascending"'}
    head = "".join(
        f'<th scope="col" '
        f'data-kind="{"text" if title in words else "number"}"{order.get(title, "")}>{escape(title)}</th>'
        for title in titles
    )
    places = {line: place for place, line in enumerate(lines(record))}
    body = "".join(
        f'<tr id="row-{row["row"]}">{"".join(_cells(row, places[row["line"]], metrics))}</tr>' for row in record["rows"]
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def _cells(row: Mapping[str, Any], place: int, metrics: list[Metric]) -> Iterator[str]:
    waiting = row["status"] != "done"
    yield _number(row["row"])
    yield f'<th scope="row" data-v="{escape(row["line"])}">{_mark(place)}{escape(row["line"])}</th>'
    yield from (_number(row[name]) for name in ("nfe", "nfe_asked", "steps"))
    for metric in metrics:
        value = estimate(row.get(metric.key))
        if value is None:
            yield f'<td class="none" data-v="">{"waiting" if waiting else DASH}</td>'
        else:
            yield (
                f'<td data-v="{value.value!r}"><b>{number(value.value)}</b> <span '
                f'class="ci">{interval(value)}</span></td>'
            )
    yield _words(row["seeds"])
    yield _number(row["images"])
    seconds, (plan, command) = (
        finite(row.get("seconds")),
        (str(row.get(name) or "") for name in ("plan_sha256", "command")),
    )
    yield f'<td data-v="{"" if seconds is None else repr(seconds)}">{_seconds(seconds)}</td>'
    yield _words(plain(row.get("options")) if row.get("options") else DASH)
    yield (
        f'<td class="words" data-v="{escape(plan)}" title="{escape(plan)}"><code>{escape(plan[:8]) or DASH}</code></td>'
    )
    yield f'<td class="words" data-v="{escape(command)}">{_code(command)}</td>'


def _number(value: Any) -> str:
    return (
        f'<td data-v="{escape(str(value))}">{value:,}</td>'
        if isinstance(value, int)
        else f'<td class="none" data-v="">{DASH}</td>'
    )


def _words(text: str) -> str:
    return f'<td class="words" data-v="{escape(text)}">{escape(text)}</td>'


def _seconds(value: float | None) -> str:
    return DASH if value is None else f"{value:,.1f}"


def _settings(record: StudyRecord) -> str:
    groups = {
        "Study": record.get("study", {}),
        "Environment": {**record.get("environment", {}), "seeds": record.get("version")},
    }
    return "".join(
        f"<div><h3>{title}</h3><dl>{''.join(_terms(settings))}</dl></div>" for title, settings in groups.items()
    )


def _terms(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in flat(settings).items():
        text = plain(value)
        kind = ' class="hash"' if name.endswith("sha256") else ""
        yield f"<div><dt>{escape(name)}</dt><dd{kind}>{escape(text)}</dd></div>"


def _data(record: StudyRecord, drawn: Mapping[Metric, Mapping[str, list[CurvePoint]]]) -> str:
    """What the script draws, as JSON in which no tag can end or begin."""
    names = lines(record)
    rows = {row["row"]: _spoken_row(row, list(drawn)) for row in record["rows"]}
    metrics = [
        {
            "key": metric.key,
            "title": metric.title,
            "better": metric.better,
            "falls": metric.falls,
            "points": [
                _spoken(place, point)
                for place, line in enumerate(names)
                for point in points[line]
                if point.estimate.value > 0
            ],
            "baselines": [
                {"name": name, "value": value.value, "text": number(value.value)}
                for name, value in baselines(record, metric.key)
                if value.value > 0
            ],
        }
        for metric, points in drawn.items()
    ]
    data = {
        "lines": [{"name": line, **look(place)._asdict()} for place, line in enumerate(names)],
        "rows": rows,
        "metrics": metrics,
        "far": CUT,
    }
    return to_json(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _spoken(place: int, point: CurvePoint) -> dict[str, Any]:
    value = point.estimate
    return {
        "line": place,
        "nfe": point.nfe,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "text": number(value.value),
        "interval": interval(value),
        "method": value.method,
        "images": f"{value.n:,}",
        "rows": list(point.rows),
    }


def _spoken_row(row: Mapping[str, Any], metrics: list[Metric]) -> dict[str, Any]:
    values = {
        metric.key: number(value.value) for metric in metrics if (value := estimate(row.get(metric.key))) is not None
    }
    fields = {name: row.get(name) for name in ("nfe_asked", "steps", "seeds", "command")}
    return {
        **fields,
        "seconds": _seconds(finite(row.get("seconds"))),
        "options": plain(row.get("options") or {}),
        "values": values,
    }
