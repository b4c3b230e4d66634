"""The report of a curves study: a table that reads back, plots, and a page that keeps to itself whatever the record
says."""

import base64
import csv
import hashlib
import io
import itertools
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import study
from matplotlib.figure import Figure
from PIL import Image

from seeds import report
from seeds.metrics.estimate import over_parts
from seeds.report import figures, palette, writing
from seeds.report.points import METRICS, curves, span
from seeds.report.table import columns
from seeds.report.text import number, plain, to_json

HOSTILE = """</script><script>alert("1")</script>, 'x' & <img src=http://evil.example/a.png onerror=alert(1)> """
HOSTILE += "$a_b$ \u2028 \r\nq"


def hostile():
    record = study.record(((HOSTILE, {}, 1), ("_$x$", {}, 2)), nfe=(6, 12))
    record["study"] |= {"model": HOSTILE, HOSTILE: HOSTILE}
    record["environment"]["platform"] = HOSTILE
    record["baselines"][0]["name"] = record["command"] = record["version"] = HOSTILE
    for row in record["rows"]:
        row |= {"options": {HOSTILE: HOSTILE}, "command": HOSTILE, "plan_sha256": HOSTILE, "seeds": HOSTILE}
        row["frechet"]["method"] = HOSTILE
    return record


class Reader(HTMLParser):
    """Elements with their attributes, and the text inside scripts and all the rest."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.text, self.inside = [], [], "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts[0])


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def size(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


def test_the_table_reads_back():
    record = study.record()
    read = rows_of(report.csv_text(record))
    assert len(read) == len(record["rows"]) and list(read[0]) == columns()
    for held, row in zip(read, record["rows"], strict=True):
        for name in ("line", "solver", "seeds", "plan_sha256", "picture", "command", "status"):
            assert held[name] == row[name]
        assert [int(held[name]) for name in ("row", "steps", "nfe", "nfe_asked", "images")] == [
            row[name] for name in ("row", "steps", "nfe", "nfe_asked", "images")
        ]
        assert float(held["seconds"]) == row["seconds"] and json.loads(held["options"]) == row["options"]
        for key in ("frechet", "inception_score"):
            assert float(held[key]) == row[key]["value"] and float(held[f"{key}.low"]) == row[key]["low"]
            assert held[f"{key}.method"] == row[key]["method"]
        assert (
            held["study.features.sha256"] == "fe" * 32 and held["study.class"] == "" and held["study.guidance"] == "1.0"
        )
        assert json.loads(held["study.other"])["schedule"] == "edm" and held["environment.torch"] == "2.13.0"
        assert held["study.command"] == record["command"] and held["version"] == "0.1.0"


def test_the_table_keeps_the_record_even_where_it_is_hostile():
    record = hostile()
    text = report.csv_text(record)
    assert text.endswith("\r\n") and rows_of(text)[0]["line"] == HOSTILE
    assert json.loads(rows_of(text)[0]["options"]) == {HOSTILE: HOSTILE} and rows_of(text)[-1]["line"] == "_$x$"


def test_columns_do_not_depend_on_what_is_there():
    bare = {"format": 1, "rows": []}
    assert report.csv_text(bare) == ",".join(columns()) + "\r\n"
    waiting = rows_of(report.csv_text(study.record(waiting=3, score=False)))
    assert [row["status"] for row in waiting].count("waiting") == 3
    assert (
        waiting[-1]["frechet"]
        == waiting[-1]["seconds"]
        == waiting[0]["inception_score"]
        == waiting[0]["inception_score.low"]
        == ""
    )


@pytest.mark.parametrize(
    "make",
    [report.csv_text, report.plots, lambda record: report.page(record, {}), lambda record: report.write(record, None)],
)
@pytest.mark.parametrize("wrong", [{}, {"format": 2, "rows": []}, {"format": 1, "rows": "none"}])
def test_other_records_are_refused(make, wrong):
    with pytest.raises(ValueError, match=r"`record` must be the object of a curves.json of format 1"):
        make(wrong)


def test_one_range_keeps_its_own_interval():
    record = study.record()
    for row in record["rows"]:
        points = curves(record, "frechet")[row["line"]]
        assert any(point.rows == (row["row"],) and point.estimate.low == row["frechet"]["low"] for point in points)
        assert [point.nfe for point in points] == sorted(point.nfe for point in points) and len(points) == 4


def test_several_ranges_are_parts_of_a_point():
    record = study.record(seeds=("0-499", "500-999", "1000-1499"))
    for line, points in curves(record, "frechet").items():
        for point in points:
            rows = [row for row in record["rows"] if row["line"] == line and row["nfe"] == point.nfe]
            mean = sum(row["frechet"]["value"] for row in rows) / 3
            expected = over_parts("squared Frechet distance", [row["frechet"]["value"] for row in rows], 1500)
            assert (
                point.estimate.value == pytest.approx(mean)
                and point.estimate == expected
                and point.rows == tuple(row["row"] for row in rows)
            )


def test_ranges_that_are_not_there_yet_are_not_counted():
    record = study.record(seeds=("0-499", "500-999"), waiting=12)
    assert {len(point.rows) for points in curves(record, "frechet").values() for point in points} == {1}
    record = study.record(seeds=("0-499", "500-999"), waiting=1)
    assert [len(points[-1].rows) for points in curves(record, "frechet").values()] == [2, 2, 1]


def test_two_budgets_that_round_to_one_plan_are_one_point():
    record = study.record((("seeds-3", {}, 3),), nfe=(6, 7, 8))
    (points,) = curves(record, "frechet").values()
    assert [point.rows for point in points] == [(0,)]


def test_values_that_are_no_numbers_are_left_out():
    record = study.record()
    record["rows"][0]["frechet"] = None
    record["rows"][1]["frechet"]["value"] = None
    record["rows"][2]["frechet"] |= {"value": math.nan}
    record["rows"][3]["frechet"] |= {"low": None, "high": None, "error": None}
    points = {
        line: {number for point in points for number in point.rows}
        for line, points in curves(record, "frechet").items()
    }
    assert not {0, 1, 2} & set().union(*points.values()) and 3 in points["seeds-1"]
    page = Reader(report.page(record, {}))
    assert [point["low"] for point in page.data["metrics"][0]["points"] if point["rows"] == [3]] == [None]
    assert "NaN" not in page.scripts[0] and report.plots(record)["frechet.png"]


def test_any_axis_has_some_ticks_and_not_too_many():
    for low, ratio in itertools.product((1e-5, 0.3, 1, 2.6, 9.7, 4e4), (1.01, 1.3, 2, 4, 8.1, 30, 450, 1e4, 1e7, 1e15)):
        axis = Figure().add_subplot()
        axis.set_yscale("log")
        figures._ticks(axis, "y", low, low * ratio)
        ticks = axis.yaxis.get_majorticklocs() / low
        assert 3 <= sum((1 - 1e-9 <= ticks) & (ticks <= ratio * (1 + 1e-9))) <= 10


def test_a_diverged_run_does_not_stretch_the_axis():
    assert span([2, 3, 1e6], True) == (2, 20_000) and span([2, 3, 90], True) == (2, 90)
    assert span([9, 3, 0.0001], False) == (0.0009, 9)


def test_plots_are_png_files_of_the_metrics_there_are():
    assert list(report.plots(study.record())) == ["frechet.png", "inception_score.png"]
    assert list(report.plots(study.record(score=False))) == ["frechet.png"]
    assert report.plots(study.record(waiting=12)) == report.plots({"format": 1, "rows": []}) == {}
    for data in report.plots(study.record(seeds=("0-4", "5-9"), waiting=2)).values():
        assert min(size(data)) > 500


def test_plots_take_hostile_names_low_intervals_and_runs_that_diverged():
    record = hostile()
    record["rows"][0]["frechet"]["low"] = -1.0
    record["rows"][1]["frechet"]["value"] = 0.0
    record["rows"][2]["frechet"] |= {"value": 1e7, "low": 9e6, "high": 2e7}
    assert set(report.plots(record)) == {"frechet.png", "inception_score.png"}


def test_a_plot_shows_the_values():
    record, other = study.record(), study.record()
    other["rows"][4]["frechet"]["value"] *= 1.5
    assert report.plots(record) == report.plots(record)
    assert report.plots(record)["frechet.png"] != report.plots(other)["frechet.png"]


def test_plots_touch_nothing_global_and_need_matplotlib_only_when_drawn():
    code = (
        "import sys; sys.path.insert(0, 'tests/unit'); import study; from seeds import report; assert 'matplotlib' "
        "not in sys.modules; report.plots(study.record()); print('matplotlib.pyplot' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


def test_without_matplotlib_the_table_and_the_page_are_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install seeds-sampler\[report\]"):
        report.write(study.record(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.csv", "index.html"]


def test_the_page_asks_nobody_for_anything():
    for record in (study.record(), hostile()):
        page = Reader(report.page(record, study.pictures(record)))
        for tag, attributes in page.elements:
            for name in ("src", "href", "srcset", "action", "poster", "data", "background", "style", "xlink:href"):
                assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
            assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not re.search(r"@import|url\((?!#)", report.page(record, {}))


def test_the_policy_lets_in_what_is_written_here_only():
    record = hostile()
    text = report.page(record, study.pictures(record))
    policy = next(
        meta["content"] for meta in Reader(text).all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:" and "unsafe" not in policy
    parts = {
        "script-src": re.findall(r"<script>(.*?)</script>", text, re.DOTALL),
        "style-src": re.findall(r"<style>(.*?)</style>", text, re.DOTALL),
    }
    for rule, (part,) in parts.items():
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"


def test_hostile_names_stay_text():
    record = hostile()
    page = Reader(report.page(record, study.pictures(record)))
    assert [attributes.get("type") for attributes in page.all("script")] == ["application/json", None]
    assert len(page.all("img")) == 4 and all(
        image["src"].startswith("data:image/png;base64,") for image in page.all("img")
    )
    assert page.data["lines"][0]["name"] == page.data["rows"]["0"]["command"] == HOSTILE
    shown = " ".join(page.text.split())
    assert shown.count('</script><script>alert("1")</script>') > 10 and page.all("tr")[1]["id"] == "row-0"
    assert next(cell for cell in page.all("th") if "data-v" in cell)["data-v"] == HOSTILE


def test_the_page_has_every_row_without_a_script():
    record = study.record(waiting=2)
    page = Reader(report.page(record, study.pictures(record)))
    rows = [attributes["id"] for attributes in page.all("tr") if "id" in attributes]
    assert rows == [f"row-{row['row']}" for row in record["rows"]]
    for row in record["rows"][:-2]:
        assert number(row["frechet"]["value"]) in page.text and row["command"] in page.text
    assert "10 of 12 rows measured. 2 rows to come." in " ".join(page.text.split()) and page.text.count("waiting") >= 4
    assert "5e" * 32 in page.text and "toy-features" in page.text and record["command"] in page.text
    assert {image["data-row"] for image in page.all("img")} == {str(row["row"]) for row in record["rows"][:-2]}


def test_a_study_that_is_done_says_nothing_of_rows_to_come():
    assert "progress" not in {tag for tag, _ in Reader(report.page(study.record(), {})).elements}


def test_metrics_without_values_are_not_on_the_page():
    page = Reader(report.page(study.record(score=False), {}))
    assert [metric["key"] for metric in page.data["metrics"]] == ["frechet"] and "Inception score" not in page.text
    empty = Reader(report.page(study.record(waiting=12), {}))
    assert empty.data["metrics"] == [] and "No row has a value yet." in empty.text and "No pictures yet." in empty.text
    assert "No rows." in Reader(report.page({"format": 1, "rows": []}, {})).text


def test_the_chart_gets_the_points_of_the_plots():
    record = study.record(seeds=("0-499", "500-999"))
    page = Reader(report.page(record, {}))
    for metric, held in zip(METRICS, page.data["metrics"], strict=True):
        points = [point for line in curves(record, metric.key).values() for point in line]
        assert [(point["nfe"], point["value"], point["low"]) for point in held["points"]] == [
            (point.nfe, point.estimate.value, point.estimate.low) for point in points
        ]
    assert page.data["metrics"][0]["baselines"][0]["value"] == 0.9 and page.data["metrics"][1]["baselines"] == []


def test_pictures_are_of_one_range_and_enlarged_by_a_whole_number():
    record = study.record(seeds=("0-499", "500-999"))
    given = study.pictures(record)
    images = Reader(report.page(record, given)).all("img")
    assert [int(image["data-row"]) for image in images] == [
        row["row"] for row in record["rows"] if row["seeds"] == "0-499"
    ]
    for image in images:
        assert base64.b64decode(image["src"].partition(",")[2]) == given[int(image["data-row"])]
        assert (image["width"], image["height"], image["class"]) == (str(3 * 8 * 28), str(3 * 28), "small")


def test_what_is_no_png_is_refused():
    with pytest.raises(ValueError, match=r"`pictures\[1\]` must be a PNG file"):
        report.page(study.record(), {1: b"<svg onload=alert(1)>"})


def test_equal_records_give_equal_pages():
    record = study.record()
    assert report.page(record, study.pictures(record)) == report.page(
        json.loads(json.dumps(record)), study.pictures(record)
    )


def filled(folder, record):
    (folder / "rows").mkdir(parents=True)
    for row, data in study.pictures(record).items():
        (folder / record["rows"][row]["picture"]).write_bytes(data)
    return folder


def test_a_report_is_written_beside_its_record(tmp_path):
    record = study.record()
    written = report.write(record, filled(tmp_path / "s", record))
    assert [path.name for path in written] == ["curves.csv", "index.html", "frechet.png", "inception_score.png"]
    assert written[0].read_bytes().decode() == report.csv_text(record) and b"\r\r" not in written[0].read_bytes()
    assert written[1].read_bytes().decode() == report.page(record, study.pictures(record))
    assert not list((tmp_path / "s").glob(".*"))


def test_a_report_that_breaks_off_leaves_whole_files(tmp_path, monkeypatch):
    record = study.record()
    report.write(record, filled(tmp_path / "s", record))
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir() if path.is_file()}

    def breaks_off(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "disk full")

    monkeypatch.setattr(writing.Path, "write_bytes", breaks_off)
    with pytest.raises(OSError, match=r"curves\.csv cannot be written: disk full.*files that are there are whole"):
        report.write(study.record(waiting=3), tmp_path / "s")
    assert {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir() if path.is_file()} == before


def test_pictures_outside_the_folder_are_not_read(tmp_path):
    record = study.record()
    filled(tmp_path / "s", record)
    (tmp_path / "secret.png").write_bytes(study.picture(1))
    record["rows"][0]["picture"] = "../secret.png"
    record["rows"][1]["picture"] = str(tmp_path / "secret.png")
    record["rows"][2]["picture"] = "rows/none.png"
    assert set(writing.pictures(record, tmp_path / "s")) == {row["row"] for row in record["rows"]} - {0, 1, 2}
    assert report.page(record, writing.pictures(record, tmp_path / "s")).count("no picture") == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.77931, "0.7793"),
        (12.3, "12.30"),
        (999.96, "1000"),
        (55654.67, "55,655"),
        (0.0, "0.000"),
        (-1234.5, "-1,234"),
        (math.nan, "\u2013"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_settings_are_words():
    assert [plain(value) for value in (None, True, [1, 2.5], {"variant": "2b", "x": 0.1}, "a", {})] == [
        "none", "yes", "1, 2.5", "variant=2b  x=0.1", "a", "none",
    ]  # fmt: skip
    assert to_json({"a": [math.inf, 1.5]}) == '{"a":[null,1.5]}'


BLIND = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    levels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", BLIND)
@pytest.mark.parametrize(("colours", "card"), [(palette.LIGHT, "#ffffff"), (palette.DARK, "#1a1d21")])
def test_colours_can_be_told_apart(colours, card, eyes):
    seen = [lab(BLIND[eyes] @ linear(colour)) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 20
    light = [(XYZ[1] @ linear(colour)) + 0.05 for colour in (*colours, card)]
    assert min(max(one, light[-1]) / min(one, light[-1]) for one in light[:-1]) >= 2.95


def test_no_two_of_many_lines_look_the_same():
    looks = [palette.look(line) for line in range(32)]
    assert len(set(looks)) == 32 and len({look[:2] for look in looks[:16]}) == 16
