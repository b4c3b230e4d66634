"""The page of a record: one HTML file that asks nobody for anything. The template, its style and its script are
page.html, .css and .js beside this."""

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from PIL import Image, UnidentifiedImageError

from seeds.errors import InputError
from seeds.metrics.estimate import Estimate
from seeds.report.palette import DARK, DASHES, LIGHT, MARKERS, look
from seeds.report.points import CUT, Drawn, Metric, RowRecord, StudyRecord, baselines, drawn, estimate, heading, lines
from seeds.report.table import csv_text
from seeds.report.text import DASH, finite, flat, interval, number, plain, to_json

STRIP = 768
"""Pixels of the page that a picture is enlarged to, at most, and by a whole number."""
SMALL = 64
"""Height of a picture up to which its pixels are shown as squares."""


class Html(str):
    """Text that is HTML; all other text is escaped."""


def html(name: str, /, *inner: Any, **attributes: Any) -> Html:
    """An element. `class_` is class, `data_v` data-v; an attribute that is True has no value, and None is left out."""
    words = [(f" {key.rstrip('_').replace('_', '-')}", value) for key, value in attributes.items() if value is not None]
    said = "".join(key if value is True else f'{key}="{escape(str(value))}"' for key, value in words)
    text = "".join(part if isinstance(part, Html) else escape(str(part)) for part in inner)
    return Html(f"<{name}{said}>{text}" + ("" if name in ("img", "input") else f"</{name}>"))


def page(record: StudyRecord, pictures: Mapping[int, bytes]) -> str:
    """The record as one HTML page: curves, images of the same seeds at each NFE, the table, the settings.

    Nothing is loaded from outside, and the page's own policy forbids it: pictures are data: URIs, and only the style
    and the script written here, known by their hashes, are taken. Equal arguments give equal pages.

    Args:
        pictures: the PNG files of rows, by row number: the first images of the row's seeds side by side.
    Raises: ValueError if this is no record of a curves study, or a picture is no PNG file.
    """
    metrics = drawn(record)
    style, script = _colours() + _part("page.css"), _part("page.js")
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
    return Template(_part("page.html")).substitute(
        policy=f"{policy}base-uri 'none'; form-action 'none'",
        title=escape(f"{heading(record)}: quality against model calls"),
        style=style,
        symbols=_symbols(),
        heading=escape(heading(record)),
        far=f"{CUT:,}",
        summary=escape(_summary(record)),
        state=_state(record),
        facts=_facts(record, metrics),
        curves=escape(_curves_note(metrics)),
        images=_images(record, pictures, metrics),
        table=_table(record, metrics),
        settings=_settings(record),
        command=_code(str(record.get("command") or "")),
        version=escape(str(record.get("version") or "")),
        csv=_uri("text/csv;charset=utf-8", csv_text(record).encode()),
        json=_uri("application/json", to_json(record).encode()),
        data=_data(record, metrics),
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
    strokes = [" ".join(map(str, dash)) or "none" for dash in DASHES]
    dashes = "".join(f".d{at}{{stroke-dasharray:{stroke}}}" for at, stroke in enumerate(strokes))
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{classes}{dashes}\n"


def _symbols() -> str:
    corners = [" ".join(f"{x:g},{-y:g}" for x, y in marker) for marker in MARKERS]
    shapes = [html("polygon", points=points) for points in corners]
    return "".join(html("symbol", shape, id=f"m{at}", overflow="visible") for at, shape in enumerate(shapes))


def _mark(line: int) -> Html:
    colour, marker, _ = look(line)
    use = html("use", href=f"#m{marker}")
    return html("svg", use, class_=f"mark c{colour}", viewBox="-1.6 -1.6 3.2 3.2", aria_hidden="true")


def _code(command: str) -> str:
    """A command that breaks between its words only."""
    words = Html(" ".join(html("span", word) for word in command.split(" ")))
    return html("code", words, class_="copied") if command else DASH


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
    return f"{text}."


def _state(record: StudyRecord) -> str:
    have, every = sum(row["status"] == "done" for row in record["rows"]), len(record["rows"])
    if have == every and record.get("status") == "done":
        return ""
    coming = f"{_counted(every - have, 'row')} to come."
    missing = coming if have < every else "Nothing is missing; the study has not been closed."
    bar = html("progress", value=have, max=max(every, 1), aria_label="rows measured")
    measured = html("strong", f"{have} of {_counted(every, 'row')} measured.")
    return html("p", measured, f" {missing} ", bar, class_="state", role="status")


def _facts(record: StudyRecord, metrics: Drawn) -> str:
    """The best point of each metric, and the baselines."""
    cards: list[tuple[str, Estimate, tuple[str, ...]]] = []
    for metric, points in metrics.items():
        every = [(point, place, line) for place, line in enumerate(points) for point in points[line]]
        best = (min if metric.falls else max)(every, key=lambda held: held[0].estimate.value)
        title, (point, place, line) = f"{'Lowest' if metric.falls else 'Highest'} {metric.title}", best
        cards.append((title, point.estimate, (_mark(place), f"{line}, NFE {point.nfe}")))
        cards += [(metric.title, value, (name,)) for name, value in baselines(record, metric.key)]
    shown = [
        html("div", html("dt", title), html("dd", *_value(value), html("p", *what))) for title, value, what in cards
    ]
    return html("dl", *shown, class_="facts") if shown else ""


def _value(value: Estimate) -> tuple[str, ...]:
    return html("b", number(value.value)), " ", html("span", interval(value), class_="ci")


def _curves_note(metrics: Drawn) -> str:
    values = [point.estimate for points in metrics.values() for line in points.values() for point in line]
    if not values:
        return "No row has a value yet."
    methods, left_out = sorted({value.method for value in values} - {""}), sum(value.value <= 0 for value in values)
    text = f"Bars are 95 % intervals ({'; '.join(methods)}). " if methods else ""
    text += "Both axes are logarithmic."
    return f"{text} {_counted(left_out, 'value')} at or below 0 not drawn." if left_out else text


def _images(record: StudyRecord, pictures: Mapping[int, bytes], metrics: Iterable[Metric]) -> str:
    """A group for each NFE that was asked for: the lines one below another, of one range of seeds."""
    seeds = next((row["seeds"] for row in record["rows"] if row["row"] in pictures), None)
    if seeds is None:
        return html("p", "No pictures yet.", class_="note")
    calls = sorted({row["nfe_asked"] for row in record["rows"] if row["seeds"] == seeds})
    groups = {nfe: [html("h3", _counted(nfe, "model call"))] for nfe in calls}
    for row, place in _placed(record):
        if row["seeds"] == seeds:
            groups[row["nfe_asked"]].append(_figure(row, place, pictures.get(row["row"]), metrics))
    choices, chosen = [], calls[(len(calls) - 1) // 2]
    for nfe, text in [*zip(calls, calls, strict=True), ("", "All")]:
        field = html("input", type="radio", name="nfe", value=nfe, checked=nfe == chosen or None)
        choices.append(html("label", field, html("span", text)))
    said = f"The first seeds of {seeds}. A column is one seed: the same noise, on every line and at every NFE."
    legend = html("legend", "Model calls (NFE)")
    choice = html("fieldset", legend, html("div", *choices), class_="choice", id="nfe", hidden=True)
    shown = [html("div", *group, class_="group", data_nfe=nfe) for nfe, group in groups.items()]
    return "".join([html("p", said, class_="note"), choice, *shown])


def _placed(record: StudyRecord) -> Iterator[tuple[RowRecord, int]]:
    """Every row, and the place of its line."""
    places = {line: place for place, line in enumerate(lines(record))}
    return ((row, places[row["line"]]) for row in record["rows"])


def _figure(row: RowRecord, place: int, picture: bytes | None, metrics: Iterable[Metric]) -> Html:
    values = [(metric.title, estimate(row.get(metric.key))) for metric in metrics]
    spoken = [html("span", f"{title} {number(value.value)}") for title, value in values if value is not None]
    words = html("p", html("span", f"NFE {row['nfe']}"), *spoken)
    caption = html("figcaption", _mark(place), html("b", row["line"]), words)
    if picture is None:
        absent = "no picture" if row["status"] == "done" else "waiting"
        return html("figure", caption, html("p", absent, class_="absent"))
    try:
        width, height = Image.open(io.BytesIO(picture), formats=["PNG"]).size
    except UnidentifiedImageError:
        raise InputError(
            f"`pictures[{row['row']}]` must be a PNG file, but starts with {picture[:8]!r}. Draw the row again."
        ) from None
    times = max(1, STRIP // width)
    image = html(
        "img",
        class_="small" if height <= SMALL else None,
        data_row=row["row"],
        width=width * times,
        height=height * times,
        alt=f"Images by {row['line']} at {row['nfe']} model calls",
        src=_uri("image/png", picture),
    )
    return html("figure", caption, image)


def _table(record: StudyRecord, metrics: Iterable[Metric]) -> str:
    before, after = (
        ("Row", "Line", "NFE", "Asked", "Steps"),
        ("Seeds", "Images", "Seconds", "Options", "Plan", "Command"),
    )
    words, sorted_by = {"Line", "Seeds", "Options", "Plan", "Command"}, {"Row": "ascending"}
    head = [
        html("th", title, scope="col", data_kind="text" if title in words else "number", aria_sort=sorted_by.get(title))
        for title in (*before, *(metric.title for metric in metrics), *after)
    ]
    body = [html("tr", *_cells(row, place, metrics), id=f"row-{row['row']}") for row, place in _placed(record)]
    return html("thead", html("tr", *head)) + html("tbody", *body)


def _cells(row: RowRecord, place: int, metrics: Iterable[Metric]) -> Iterator[Html]:
    yield _number(row["row"])
    yield html("th", _mark(place), row["line"], scope="row", data_v=row["line"])
    yield from (_number(row[name]) for name in ("nfe", "nfe_asked", "steps"))
    for metric in metrics:
        if (value := estimate(row.get(metric.key))) is None:
            yield html("td", DASH if row["status"] == "done" else "waiting", class_="none", data_v="")
        else:
            yield html("td", *_value(value), data_v=repr(value.value))
    yield _words(row["seeds"], row["seeds"])
    yield _number(row["images"])
    yield html("td", _seconds(row), data_v="" if (seconds := finite(row.get("seconds"))) is None else repr(seconds))
    options, plan, command = row.get("options"), str(row.get("plan_sha256") or ""), str(row.get("command") or "")
    said = plain(options) if options else DASH
    yield _words(said, said)
    yield _words(html("code", plan[:8] or DASH), plan, title=plan)
    yield _words(_code(command), command)


def _number(value: Any) -> Html:
    if not isinstance(value, int):
        return html("td", DASH, class_="none", data_v="")
    return html("td", f"{value:,}", data_v=value)


def _words(shown: str, text: str, **attributes: str) -> Html:
    """A cell that is sorted by its text."""
    return html("td", shown, class_="words", data_v=text, **attributes)


def _seconds(row: RowRecord) -> str:
    value = finite(row.get("seconds"))
    return DASH if value is None else f"{value:,.1f}"


def _settings(record: StudyRecord) -> str:
    environment = {**record.get("environment", {}), "seeds": record.get("version")}
    groups = {"Study": record.get("study", {}), "Environment": environment}
    return "".join(html("div", html("h3", title), html("dl", *_terms(held))) for title, held in groups.items())


def _terms(settings: Mapping[str, Any]) -> Iterator[Html]:
    for name, value in flat(settings).items():
        kind = "hash" if name.endswith("sha256") else None
        yield html("div", html("dt", name), html("dd", plain(value), class_=kind))


def _data(record: StudyRecord, metrics: Drawn) -> str:
    """What the script draws, as JSON in which no tag can end or begin."""
    data = {
        "lines": [{"name": line, **look(place)._asdict()} for place, line in enumerate(lines(record))],
        "rows": {row["row"]: _spoken_row(row, metrics) for row in record["rows"]},
        "metrics": [_spoken_metric(record, metrics, metric) for metric in metrics],
        "far": CUT,
    }
    return to_json(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _spoken_metric(record: StudyRecord, metrics: Drawn, metric: Metric) -> dict[str, Any]:
    held = [(place, point) for place, points in enumerate(metrics[metric].values()) for point in points]
    points = [(point, {"line": place, "nfe": point.nfe, "rows": list(point.rows)}) for place, point in held]
    floors = [(name, value.value) for name, value in baselines(record, metric.key) if value.value > 0]
    return vars(metric) | {
        "better": metric.better,
        "points": [which | _spoken(point.estimate) for point, which in points if point.estimate.value > 0],
        "baselines": [{"name": name, "value": value, "text": number(value)} for name, value in floors],
    }


def _spoken(value: Estimate) -> dict[str, Any]:
    numbers = {name: getattr(value, name) for name in ("value", "low", "high", "method")}
    return numbers | {"text": number(value.value), "interval": interval(value), "images": f"{value.n:,}"}


def _spoken_row(row: RowRecord, metrics: Iterable[Metric]) -> dict[str, Any]:
    values = {metric.key: estimate(row.get(metric.key)) for metric in metrics}
    fields = {name: row.get(name) for name in ("nfe_asked", "steps", "seeds", "command")}
    fields |= {"seconds": _seconds(row), "options": plain(row.get("options") or {})}
    return fields | {"values": {key: number(value.value) for key, value in values.items() if value is not None}}
