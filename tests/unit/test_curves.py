"""Studies: the numbers of every row are those of one unbroken, single process, and each row can be repeated."""

import csv
import json
import math
import re
import shlex
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from click import UsageError
from click.testing import CliRunner
from detector import save
from PIL import Image

import seeds
from seeds.cli import commands, jobs, main
from seeds.cli.curves import line_options, rows_of
from seeds.cli.metrics import fid, is_
from seeds.cli.models import Model, load_model
from seeds.cli.session import Session
from seeds.distributed import Group
from seeds.images import ImageSet
from seeds.runs import Identity, Job
from seeds.runs.measuring import measure
from seeds.runs.repeating import apart

PLAN = ("--solver", "seeds-2", "--steps", "1")
RNG = np.random.default_rng(3)
LINES = (
    "--line",
    "seeds-2",
    "--line",
    "erk-1 grid=uniform_lam",
    "--nfe",
    "3,7,8",
    "--seeds",
    "0-19",
    "--seeds",
    "50-69",
)


@pytest.fixture(scope="module")
def measuring(tmp_path_factory):
    """Options: the small detector, a reference made by it, and a set of images."""
    folder = tmp_path_factory.mktemp("measuring")
    path, sha256 = save(folder / "small.pt")
    np.savez(folder / "train.npz", arr_0=RNG.integers(0, 256, (60, 4, 4, 3), np.uint8))
    features = ("--features", str(path), "--sha256", sha256)
    assert main(["ref", "--images", str(folder / "train.npz"), *features, "--out", str(folder / "ref.npz")]) == 0
    return (*features, "--ref", str(folder / "ref.npz")), str(folder / "train.npz")


def study(out, measuring, *more, model="toy:colour", lines=LINES):
    code = main(
        [
            "curves",
            "--model",
            model,
            "--out",
            str(out),
            *lines,
            *measuring[0],
            "--batch",
            "8",
            "--units",
            "5",
            "--splits",
            "2",
            *more,
        ]
    )
    return code, json.loads((out / "curves.json").read_text())


@pytest.fixture(scope="module")
def whole(measuring, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    code, record = study(out, measuring, "--baseline", f"train={measuring[1]}")
    assert code == 0
    return out, record


def numbers(record):
    return [(row["line"], row["nfe"], row["seeds"], row["frechet"], row["inception_score"]) for row in record["rows"]]


def test_a_row_is_what_the_metric_commands_say(whole, measuring):
    (out, record), shared = whole, ("--model", "toy:colour", "--batch", 8, *measuring[0])
    assert [(row["line"], row["steps"], row["nfe"], row["seeds"]) for row in record["rows"]] == [
        (line, steps, nfe, text)
        for line, points in (("seeds-2", ((1, 3), (3, 7))), ("erk-1 grid=uniform_lam", ((2, 3), (6, 7), (7, 8))))
        for steps, nfe in points
        for text in ("0-19", "50-69")
    ]
    row = record["rows"][7]
    plan = ("--solver", "erk-1", "--grid", "uniform_lam", "--steps", 6, "--seeds", "50-69")
    said = [
        json.loads(CliRunner().invoke(command, [str(word) for word in (*shared[:-2], *plan, *more, "--json")]).stdout)
        for command, more in ((fid, (*shared[-2:], "--units", 5)), (is_, ("--splits", 2)))
    ]
    for found, key in zip(said, ("frechet", "inception_score"), strict=True):
        assert {name: found[name] for name in row[key]} == row[key]
    assert (
        record["baselines"][0]["frechet"]["value"] == pytest.approx(0, abs=1e-6)
        and record["baselines"][0]["images"] == 60
    )
    assert (out / "rows" / "007.png").exists() and not (out / "rows" / "007").exists()
    assert {path.name for path in out.iterdir()} == {
        "curves.json",
        "curves.csv",
        "frechet.png",
        "inception_score.png",
        "index.html",
        "rows",
    }
    with (out / "curves.csv").open(newline="") as file:
        assert [float(line["frechet"]) for line in csv.DictReader(file)] == [
            row["frechet"]["value"] for row in record["rows"]
        ]


def test_a_row_is_repeated_by_its_command(whole, capsys):
    out, record = whole
    assert main(["curves", "--out", str(out), "--row", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["frechet"] == record["rows"][3]["frechet"]
    record["rows"][3]["frechet"]["value"] *= 1.001
    (out / "curves.json").write_text(json.dumps(record))
    assert main(["curves", "--out", str(out), "--row", "3"]) == 1
    assert "Other numbers than the study has" in capsys.readouterr().err
    record["rows"][3]["frechet"]["value"] /= 1.001
    (out / "curves.json").write_text(json.dumps(record))
    assert main(["curves", "--out", str(out), "--row", "10"]) == 2
    assert "rows 0 to 9" in capsys.readouterr().err
    for words in (("--line", "seeds-1"), ("--threads", "2"), ("--resume",)):
        assert main(["curves", "--out", str(out), "--row", "3", *words]) == 2
        assert f"by the arguments of its study, but is given with {words[0]}. Leave them out" in capsys.readouterr().err
    (out / "curves.json").write_text(
        json.dumps(
            record | {"rows": [*record["rows"][:3], record["rows"][3] | {"status": "waiting"}, *record["rows"][4:]]}
        )
    )
    assert main(["curves", "--out", str(out), "--row", "3"]) == 1
    assert "Row 3 of the study is not done, so there is nothing to compare with" in capsys.readouterr().err
    (out / "curves.json").write_text(json.dumps(record))


SMALL = ("--line", "seeds-2", "--nfe", "3", "--seeds", "0-19")


@pytest.fixture
def own(measuring, tmp_path, monkeypatch):
    """A study in a folder with a blank in its name, of a model, a reference and a baseline that are files of its
    own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("own_model.py").write_text("from toy import colour\n")
    Path("own.npz").write_bytes(Path(measuring[0][-1]).read_bytes())
    Path("train.npz").write_bytes(Path(measuring[1]).read_bytes())
    code, record = study(
        Path("my study"),
        measuring,
        "--ref",
        "own.npz",
        "--baseline",
        "train=train.npz",
        model="own_model:colour",
        lines=SMALL,
    )
    yield record
    assert code == 0
    sys.modules.pop("own_model", None)


def repeated(capsys, record, row=0):
    """(exit code, stderr) of a row's command as the shell reads it."""
    _, *words = shlex.split(record["rows"][row]["command"])
    capsys.readouterr()
    return main(words), capsys.readouterr().err


def test_a_row_is_repeated_by_its_command_in_any_folder_and_without_the_baselines(own, capsys):
    Path("train.npz").unlink()
    assert repeated(capsys, own) == (0, "The same numbers.\n")


def test_a_row_is_not_repeated_with_another_model_or_reference(own, measuring, capsys, monkeypatch):
    model, reference = Path("own_model.py"), Path("own.npz")
    before = model.read_text(), reference.read_bytes()
    model.write_text(before[0] + "# the same network from another file\n")
    assert repeated(capsys, own) == (0, "The same numbers.\n")
    monkeypatch.setattr(Job, "images", lambda *_, **__: pytest.fail("a row was drawn"))
    model.write_text("from toy import tinted as colour\n")
    sys.modules.pop("own_model")
    code, err = repeated(capsys, own)
    assert code == 2 and re.match(
        r"Error: Row 0 cannot be repeated, for the study has another network: its answers to fixed probes", err
    )
    model.write_text(before[0])
    sys.modules.pop("own_model")
    with np.load(reference) as file:
        np.savez(reference, **{key: value + 1 if key == "mu" else value for key, value in file.items()})
    code, err = repeated(capsys, own)
    assert code == 2 and "the study has reference.sha256 '" in err and "model_sha256" not in err
    reference.unlink()
    code, err = repeated(capsys, own)
    assert (
        code == 2
        and "own.npz does not exist" in err
        and "under the names in `command` of my study/curves.json, which are looked for from" in err
    )


def test_a_row_is_repeated_by_its_own_plan_and_not_by_another(own, measuring, capsys, monkeypatch):
    """The record holds the study: what makes plans may change, and so may the words of the command line."""
    file, path = Path("my study/rows/000.plan.json"), Path("my study/curves.json")
    path.write_text(json.dumps(own | {"command": "seeds curves --no-such-option"}))
    monkeypatch.setattr("seeds.planning.plan_for", lambda *given, **more: pytest.fail("a plan was made"))
    assert repeated(capsys, own) == (0, "The same numbers.\n")
    other = seeds.plan("seeds-1", steps=2, schedule="vp")
    before = file.read_text()
    file.write_text(other.to_json())
    code, err = repeated(capsys, own)
    assert code == 2 and "for the study has solver 'seeds-2', now 'seeds-1'" in err and other.digest in err
    file.write_text(before)
    for kept in ({name: value for name, value in own.items() if name != "sources"}, own):
        path.write_text(json.dumps(kept | {"version": "0.0.9"}))
        if kept is own:
            file.unlink()
        code, err = repeated(capsys, own)
        assert code == 2 and "keeps no plan of it" in err and "Repeat it with version 0.0.9, or make a new study" in err


def test_other_numbers_are_said_with_the_other_versions(own, capsys):
    path = Path("my study/curves.json")
    own["rows"][0]["frechet"]["parts"][1] *= 1 + 4e-12
    path.write_text(json.dumps(own))
    code, err = repeated(capsys, own)
    assert code == 0 and "The same numbers but for rounding, apart by up to" in err
    own["rows"][0]["frechet"]["value"] *= 1.001
    path.write_text(json.dumps(own))
    code, err = repeated(capsys, own)
    assert code == 1 and "Other numbers than the study has, apart by up to" in err and "e-04 of their size" in err
    assert "Versions, platform and device are the same." in err
    own["environment"]["torch"] = own["study"]["torch"] = "1.0"
    path.write_text(json.dumps(own))
    code, err = repeated(capsys, own)
    assert code == 1 and "It was made with torch '1.0', now '" in err


def test_how_far_two_estimates_are_apart():
    estimate = {"metric": "kid", "value": 2.0, "low": 1e-9, "parts": [1.0, -4.0], "error": None}
    assert apart(estimate, estimate) == 0 == apart(None, None)
    assert apart(estimate, estimate | {"value": 2.5, "parts": [1.0, -4.1]}) == pytest.approx(0.5 / 4.1)
    # a difference of large numbers has their rounding
    assert apart(estimate, estimate | {"low": -1e-9}) == pytest.approx(2e-9 / 4)
    assert apart(estimate, estimate | {"metric": "kernel distance"}) == 0  # one number by two names
    for other in ({"error": 0.1}, {"parts": [1.0]}, {"parts": [1.0, -4.0, 2.0]}, {"more": 1.0}):
        assert apart(estimate, estimate | other) == apart(estimate | other, estimate) == math.inf
    assert apart(estimate, None) == apart(None, estimate) == math.inf


def test_records_that_miss_something_are_named(own, capsys):
    for key in ("rows", "status"):
        Path("my study/curves.json").write_text(json.dumps({name: value for name, value in own.items() if name != key}))
        code, err = repeated(capsys, own)
        assert (
            code == 2
            and "my study/curves.json is not the record of a study. Bring the record back, or choose another folder."
            in err
        )


def test_lines_are_drawn_for_each_model(measuring, tmp_path, capsys):
    out, more = tmp_path / "out", ("--model", "toy:tinted")
    code, record = study(out, measuring, *more, lines=SMALL)
    assert code == 0 and record["format"] == 1 and record["study"]["model"] == ["toy:colour", "toy:tinted"]
    assert [(row["line"], row["model"]) for row in record["rows"]] == [
        ("toy:colour: seeds-2", "toy:colour"), ("toy:tinted: seeds-2", "toy:tinted"),
    ]  # fmt: skip
    alone = {
        model: study(tmp_path / model, measuring, model=model, lines=SMALL)[1] for model in ("toy:colour", "toy:tinted")
    }
    for row in record["rows"]:
        (only,) = alone[row["model"]]["rows"]
        assert row["frechet"] == only["frechet"] and only["line"] == "seeds-2" and "model" not in only
        assert (
            alone[row["model"]]["study"]["model"] == row["model"]
            and alone[row["model"]]["study"]["model_sha256"] == row["model_sha256"]
        )
    with (out / "curves.csv").open(newline="") as file:
        assert [line["study.model"] for line in csv.DictReader(file)] == ["toy:colour", "toy:tinted"]
    assert "toy:colour, toy:tinted: quality against model calls" in (out / "index.html").read_text()
    assert repeated(capsys, record, 1) == (0, "The same numbers.\n")
    record["rows"][1] |= {"status": "waiting", "frechet": None}
    (out / "curves.json").write_text(json.dumps(record | {"status": "running"}))
    assert study(out, measuring, *more, "--resume", lines=SMALL)[1]["rows"][1]["status"] == "done"
    assert study(out, measuring, "--resume", lines=SMALL)[0] == 2


def test_too_few_images_are_noticed_before_anything_is_written(measuring, tmp_path, capsys):
    np.savez(tmp_path / "few.npz", arr_0=np.zeros((7, 4, 4, 3), np.uint8))
    for more, words in (
        (("--seeds", "0-5"), "N = 6 is too small for 5 units"),
        (("--splits", "21"), "`splits` is 21, but must lie between 1 and N = 20"),
        (("--baseline", f"few={tmp_path / 'few.npz'}"), "N = 7 is too small for 5 units"),
    ):
        lines = SMALL[:4] if more[0] == "--seeds" else SMALL
        command = [
            "curves",
            "--model",
            "toy:colour",
            "--out",
            str(tmp_path / "out"),
            *lines,
            *measuring[0],
            "--units",
            "5",
            "--splits",
            "2",
        ]
        assert main([*command, *more]) == 1
        assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_picture_of_a_row_holds_the_images_that_are_shown_whatever_the_batch(measuring, tmp_path):
    out = tmp_path / "out"
    study(out, measuring, "--shown", "11", lines=SMALL)  # two units of 8
    picture = np.asarray(Image.open(out / "rows" / "000.png"))
    assert (
        main(
            [
                "sample",
                "--model",
                "toy:colour",
                "--out",
                str(tmp_path / "s.npz"),
                "--batch",
                "8",
                "--seeds",
                "0-19",
                *PLAN,
            ]
        )
        == 0
    )
    with np.load(tmp_path / "s.npz") as file:
        np.testing.assert_array_equal(picture, np.concatenate(list(file["arr_0"][:11]), axis=1))


def test_images_that_the_features_do_not_know_are_refused_before_anything_is_written(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["curves", "--model", "toy:plain", "--out", str(out), *SMALL]) == 1
    assert (
        "`images` are 6 x 5 pixels, but fashion-features knows 28 x 28 only" in capsys.readouterr().err
        and not out.exists()
    )


ONE = LINES[:-2]
"""Rows of three units each, one range of seeds."""


class Counted:
    """The toy model for `load_model`: counts its calls, and is stopped in one of them."""

    def __init__(self):
        self.calls, self.stop = 0, 0

    def load(self, source, device=None):
        def at_call(call, x):
            self.calls += 1
            if self.calls == self.stop:
                raise KeyboardInterrupt
            return x

        return Model(toy.Toy(at_call, shape=(3, 4, 4), classes=10), source, "0" * 64, "cpu")


@pytest.fixture
def counted(monkeypatch):
    model = Counted()
    monkeypatch.setattr("seeds.cli.models.load_model", model.load)
    monkeypatch.setattr(Identity, "of", lambda *given, **more: Identity("", ()))
    return model


def stopped(out, measuring, counted, stop, *more, lines=ONE):
    """A study that was stopped in this call of its model; the calls of the unit it broke off."""
    counted.stop = stop
    code, record = study(out, measuring, *more, lines=lines)
    assert code == 130 and record["status"] == "running" and counted.calls == stop
    for nfe in sorted(row["nfe"] for row in record["rows"] for _ in range(3)):
        if stop <= nfe:
            return stop
        stop -= nfe


def wanted(whole):
    return [row for row in numbers(whole[1]) if row[2] == "0-19"]


def pictures(out, record):
    return {
        (row["line"], row["nfe"]): (out / row["picture"]).read_bytes()
        for row in record["rows"]
        if row["seeds"] == "0-19"
    }


@pytest.mark.parametrize("stop", [2, 8, 34, 61])  # in the first unit of a row and in a later one
def test_a_stopped_study_goes_on_where_it_was(whole, measuring, tmp_path, counted, stop):
    again = stopped(tmp_path, measuring, counted, stop)
    code, record = study(tmp_path, measuring, "--resume", lines=ONE)
    assert code == 0 and record["status"] == "done" and numbers(record) == wanted(whole)
    assert pictures(tmp_path, record) == pictures(*whole)
    assert counted.calls == 3 * sum(row["nfe"] for row in record["rows"]) + again
    assert not list((tmp_path / "rows").glob("*/"))


def test_a_damaged_unit_of_a_stopped_study_is_drawn_again(whole, measuring, tmp_path, counted):
    again = stopped(tmp_path, measuring, counted, 8)
    kept = sorted((tmp_path / "rows").rglob("*.npz"))
    kept[0].write_bytes(kept[0].read_bytes()[:-30])
    _, record = study(tmp_path, measuring, "--resume", lines=ONE)
    assert len(kept) == 2 and numbers(record) == wanted(whole)
    assert counted.calls == 3 * sum(row["nfe"] for row in record["rows"]) + again + 3


def test_a_study_is_not_begun_over_the_files_of_another_whose_record_is_gone_or_of_somebody(
    measuring, tmp_path, counted, capsys
):
    stopped(tmp_path, measuring, counted, 8)
    (tmp_path / "curves.json").unlink()
    for name in ("rows", "index.html", "curves.csv", "frechet.png", "cat.png"):
        foreign = tmp_path / f"with {name}" / name
        foreign.parent.mkdir()
        (tmp_path / "rows").rename(foreign) if name == "rows" else foreign.write_text("precious")
        before = {path: path.is_dir() or path.read_bytes() for path in foreign.parent.rglob("*")}
        with pytest.raises(FileNotFoundError, match=r"curves\.json"):
            study(foreign.parent, measuring, lines=ONE)
        assert f"{name} is there already, and is of no study" in capsys.readouterr().err
        assert before == {path: path.is_dir() or path.read_bytes() for path in foreign.parent.rglob("*")}


def test_what_somebody_put_beside_the_units_of_a_study_stays(whole, measuring, tmp_path, counted):
    stopped(tmp_path, measuring, counted, 8)
    (notes := tmp_path / "rows" / "000" / "notes.txt").write_text("precious")
    code, record = study(tmp_path, measuring, "--resume", lines=ONE)
    assert code == 0 and numbers(record) == wanted(whole) and list(notes.parent.iterdir()) == [notes]


def test_processes_started_anew_go_on_with_the_study_that_they_had_begun(whole, measuring, tmp_path, counted):
    again = stopped(tmp_path, measuring, counted, 8)
    words = [
        "curves",
        "--model",
        "toy:colour",
        "--out",
        str(tmp_path),
        *ONE,
        *measuring[0],
        "--batch",
        "8",
        "--units",
        "5",
        "--splits",
        "2",
    ]
    with pytest.raises(ValueError, match=r"holds a study \(running\)"):
        commands.main(words, standalone_mode=False, obj=Session(words, Group()))
    commands.main(words, standalone_mode=False, obj=Session(words, Group(again=True)))
    record = json.loads((tmp_path / "curves.json").read_text())
    assert numbers(record) == wanted(whole) and counted.calls == 3 * sum(row["nfe"] for row in record["rows"]) + again


def test_the_seconds_of_a_row_are_those_of_all_processes(monkeypatch):
    class Echo(Group):
        def gathered(self, own):
            return [own] * (2 if isinstance(own, int) else 1)  # milliseconds of two

    def slow(call, x):
        time.sleep(0.02)
        return x

    row = SimpleNamespace(job=Job(toy.Toy(slow), seeds.plan("seeds-1", steps=3, schedule="edm"), (0, 1, 2, 3), batch=2))
    judge = SimpleNamespace(
        judge=lambda images: (images.reshape(len(images), -1)[:, :2].astype(np.float32), None),
        classes=False,
        recipe=None,
    )
    at = SimpleNamespace(mu=np.zeros(2), sigma=np.eye(2))
    monkeypatch.setattr("seeds.runs.measuring.check_comparable", lambda *given: None)
    found = measure(SimpleNamespace(shown=1, units=2, extractor=judge, statistics=at), row, Echo(), lambda calls: None)
    assert found["seconds"] >= 2 * 2 * row.job.plan.nfe * 0.02


def test_baselines_are_measured_once_and_must_stay_what_they_were(measuring, tmp_path, counted, monkeypatch, capsys):
    sets = [tmp_path / "folder", tmp_path / "train.npz"]
    np.savez(sets[1], arr_0=RNG.integers(0, 256, (60, 4, 4, 3), np.uint8))
    sets[0].mkdir()
    for number in range(20):
        Image.fromarray(RNG.integers(0, 256, (4, 4, 3), np.uint8)).save(sets[0] / f"{number}.png")
    (tmp_path / "elsewhere").mkdir()
    linked = (sets[0] / "19.png").rename(tmp_path / "elsewhere" / "19.png")
    (sets[0] / "linked").symlink_to(linked.parent)
    more = ("--baseline", f"a={sets[0]}", "--baseline", f"b={sets[1]}")
    out = tmp_path / "out"
    stopped(out, measuring, counted, 8, *more)
    for path, named in ((sets[0] / "7.png", sets[0]), (linked, sets[0]), (sets[1], sets[1])):
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        assert study(out, measuring, *more, "--resume", lines=ONE)[0] == 2
        assert f"{named} had other files when it was measured" in capsys.readouterr().err
        path.write_bytes(before)
    (sets[0] / "notes.txt").write_text("no image")
    usual = ImageSet.pieces
    looked = []
    monkeypatch.setattr(ImageSet, "pieces", lambda *given, **more: looked.append(given[1]) or usual(*given, **more))
    code, record = study(out, measuring, *more, "--resume", lines=ONE)
    assert code == 0 and [found["name"] for found in record["baselines"]] == ["a", "b"]
    assert looked == [1, 1]  # at one image of each, for its size
    more = ("--baseline", f"a={sets[0]}", "--baseline", f"a={sets[1]}")
    assert study(tmp_path / "out", measuring, *more)[0] == 2 and "give one name to two sets" in capsys.readouterr().err


def test_another_study_is_not_resumed_and_none_is_overwritten(whole, measuring, capsys):
    out, _ = whole
    assert (
        study(out, measuring)[0] == 2 and "holds a study (done). Complete it with --resume" in capsys.readouterr().err
    )
    assert study(out, measuring, "--resume", "--shown", "4")[0] == 2
    assert "shown 10, now 4" in capsys.readouterr().err
    assert (
        study(
            out, measuring, "--baseline", f"train={measuring[1]}", "--resume", lines=("--line", "seeds-1", *LINES[2:])
        )[0]
        == 2
    )
    assert (
        "it has row 0: line 'seeds-2', now 'seeds-1'; row 0: solver 'seeds-2', now 'seeds-1'" in capsys.readouterr().err
    )
    assert study(out, measuring, "--baseline", f"train={measuring[1]}", "--resume", "--line", "erk-2")[0] == 2
    assert "it has 10 rows, now 14" in capsys.readouterr().err


def rows(line, calls):
    return list(rows_of(load_model("toy:plain"), line, line, [[0]], nfe=calls, batch=1))


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ("seeds-3", 1),
        ("seeds-2 variant=2b", 1),
        ("erk-4", 1),
        ("rk-2", 1),
        ("euler-maruyama", 1),
        ("etd-serk order=3", 2),
    ],
)
def test_steps_use_the_calls_that_are_allowed(line, more):
    """Of the authors' solvers `steps` counts levels, one more than intervals."""
    found = rows(line, [1, 6, 7, 8, 9, 20, 33])
    assert len({row.steps for row in found}) == len(found) >= 3 and found[0].nfe_asked > 1
    for row in found:
        longer = jobs.job(load_model("toy:plain"), [0], 1, **line_options(line) | {"steps": row.steps + more}).plan
        assert row.job.plan.nfe <= row.nfe_asked < longer.nfe


@pytest.mark.parametrize("line", ["auto", "auto aim=accuracy", "auto eta=1 final=none"])
def test_the_default_makes_as_many_calls_as_are_asked_for(line):
    for row, calls in zip(rows(line, [5, 8]), (5, 8), strict=True):
        plan, aim = row.job.plan, line_options(line).get("aim", "law")
        assert (plan.solver, plan.nfe, plan.about["aim"], row.steps) == (
            "auto",
            calls,
            aim,
            calls - ("none" not in line),
        )


def test_a_line_takes_the_options_of_the_solver():
    assert line_options("rk-2 S_churn=40 s_noise=1.003") == {"solver": "rk-2", "S_churn": 40.0, "s_noise": 1.003}
    assert line_options("seeds-3 r=0.25,0.8 eta=-inf:0,1.2:1") == {
        "solver": "seeds-3",
        "r": (0.25, 0.8),
        "eta": [(-np.inf, 0.0), (1.2, 1.0)],
    }
    for line, words in (
        ("seeds-3 colour=red", "No such option.*--colour"),
        ("seeds-3 eta=x", "is no number"),
        ("seeds-3 eta", "eta"),
    ):
        with pytest.raises(UsageError, match=words):
            line_options(line)


def test_mistakes_are_named(measuring, tmp_path, capsys):
    for more, words in (
        (("--nfe", "1"), "`nfe` = 1 is too few for seeds-2: one step takes 3 calls"),
        (("--nfe", "x"), "are no numbers of model calls"),
        (("--baseline", "train"), "NAME=IMAGES"),
        (("--line", "seeds-33"), "There is no solver"),
        (("--solver", "seeds-2"), "No such option"),
        (("--steps", 5), "No such option"),
        (("--sigmas", "3,2,1"), "No such option"),
        (("--grid", "3,2,1"), "but the levels are given. Give the grid by its name"),
        (("--seeds", "0-19", "--seeds", "15-34"), "have different sizes or seeds in common"),
        (("--seeds", "0-19", "--seeds", "20-24"), "have different sizes or seeds in common"),
        (("--seeds", "5-1"), "runs backwards"),
    ):
        assert (
            main(["curves", "--model", "toy:colour", "--out", str(tmp_path / "out"), *LINES[:4], *measuring[0], *more])
            == 2
        )
        assert words in capsys.readouterr().err
    assert main(["curves", "--out", str(tmp_path / "out"), "--row", "1"]) == 2
    for name in ("model", "features", "ref"):
        asked = {"model": "toy:colour", "features": measuring[0][1], "ref": measuring[0][-1], name: ""}
        words = [word for key, value in asked.items() for word in (f"--{key}", value)]
        assert (
            main(
                [
                    "curves",
                    "--out",
                    str(tmp_path / "out"),
                    *LINES[:4],
                    *words,
                    "--sha256",
                    measuring[0][3],
                    "--seeds",
                    "0-19",
                ]
            )
            != 0
        )
        assert f"{name}` is empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_bundled_reference_is_that_of_the_bundled_features():
    from seeds.checkpoints import load
    from seeds.cli.metrics import statistics_of
    from seeds.metrics.features import from_module

    statistics, _ = statistics_of("fashion-mnist")
    assert (
        statistics.n == 60_000 and statistics.recipe == from_module(load("fashion-features"), "fashion-features").recipe
    )
