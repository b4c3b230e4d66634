"""A sampling job on disk: the same bytes in any number of pieces, files that are whole or absent, and a record that
repeats it."""

import errno
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy import Toy

import seeds
from seeds.distributed import Group
from seeds.images import read_png, to_uint8
from seeds.noise import uniform_labels
from seeds.plans import Plan
from seeds.runs import Identity, Job, packing, parse_seeds, run, show_seeds
from seeds.runs.folder import Folder
from seeds.runs.records import name_of

PLAN = seeds.plan("seeds-2", steps=2, schedule="edm")
UNASKED = Identity("", ())
"""Of models whose calls are counted, or that change what they answer."""


def job(denoiser=None, **changes):
    return Job(
        denoiser or Toy(), **{"plan": PLAN, "seeds": (3, 8, 9, 1041, 5), "batch": 2, "identity": UNASKED, **changes}
    )


def draw(out, denoiser=None, **changes):
    """The job with these changes, run into `out`; keywords that `run` knows go there."""
    how = {
        key: changes.pop(key)
        for key in ("resume", "threads", "subdirs", "version", "command", "shard", "group")
        if key in changes
    }
    return run(job(denoiser, **changes), out, progress=False, **how)


def images(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("[0-9]*.png")}


def record(out):
    return json.loads((out / "run.json").read_text())


@pytest.mark.parametrize("text", ["0-3", "7", "1,2,5-10", " 3 - 4 , 9", "9,4-6,1", f"{2**64 - 2}-{2**64 - 1}"])
def test_seeds_are_read_and_shown(text):
    assert parse_seeds(show_seeds(parse_seeds(text))) == parse_seeds(text)


def test_seeds_keep_their_order():
    assert parse_seeds("1,2,5-10,0") == [1, 2, 5, 6, 7, 8, 9, 10, 0]
    assert show_seeds([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5-1", "runs backwards.*Write 1-5"),
        ("", "no list of seeds"),
        ("1,,2", "no list of seeds"),
        ("-3", "no list of seeds"),
        ("1--3", "no list of seeds"),
        ("a", "no list of seeds"),
        ("1.5", "no list of seeds"),
        ("1-5,3", "3 more than once"),
        (str(2**64), "below 2\\^64"),
        ("0-99999999999", "more than 10,000,000"),
    ],
)
def test_bad_seeds_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_seeds(text)


def test_files_are_named_by_their_seed():
    assert [name_of(seed, False) for seed in (42, 1234567)] == ["000042.png", "1234567.png"]
    assert name_of(51234, True) == "051000/051234.png"


def test_pixels_are_clipped_and_truncated():
    x = torch.tensor([-2.0, -1.0, -1.0 + 1 / 255, 0.0, 0.9999, 1.0, 7.0])
    assert to_uint8(x.view(1, 1, 1, 7)).tolist() == [[[[0], [0], [1], [128], [255], [255], [255]]]]
    assert to_uint8(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)


def test_the_files_hold_the_samples(tmp_path):
    found = draw(tmp_path, subdirs=True)
    assert sorted(images(tmp_path)) == sorted(
        [*(f"000000/{seed:06d}.png" for seed in (3, 5, 8, 9)), "001000/001041.png"]
    )
    for part in ([3, 8], [9, 1041], [5]):
        x = seeds.sample(Toy(), Toy.shape, seed=part, plan=PLAN)
        for seed, image in zip(part, x, strict=True):
            wanted = np.clip(image[0].numpy() * 127.5 + 128, 0, 255).astype(np.uint8)
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name_of(seed, True))), wanted)
    assert np.asarray(Image.open(tmp_path / "grid.png")).shape == (
        59 * 2 * 6,
        59 * 3 * 5,
    )  # enlarged by a whole number, to 896 pixels at most
    assert found == record(tmp_path) and found["drawn"] == 5


def test_the_record_repeats_the_run(tmp_path):
    draw(tmp_path, version="1.2", command="seeds sample")
    found = record(tmp_path)
    assert Plan.from_json(found["plan"]) == PLAN and found["status"] == "done" and found["command"] == "seeds sample"
    assert (
        found["job"] | {"seeds": "3,8-9,1041,5", "batch": 2, "nfe": 5, "plan_sha256": PLAN.digest, "version": "1.2"}
        == found["job"]
    )
    assert found["environment"]["numpy"] == np.__version__ and found["seconds"] > 0
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(images(tmp_path).items()))
    assert found["files"] == {"count": 5, "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def test_a_class_is_drawn_for_each_seed_unless_one_is_asked_for(tmp_path):
    free, fixed = Toy(classes=10), Toy(classes=10)
    draw(tmp_path / "free", free, batch=5)
    draw(tmp_path / "fixed", fixed, batch=5, label=7)
    assert all(torch.equal(labels, uniform_labels((3, 8, 9, 1041, 5), 10)) for labels in free.labels)
    assert all(labels.tolist() == [7] * 5 for labels in fixed.labels)


def test_guidance_asks_with_and_without_the_class(tmp_path):
    model = Toy(classes=10)
    draw(tmp_path, model, batch=5, guidance=2.0)
    assert [labels is None for labels in model.labels] == [True, False] * PLAN.nfe


@pytest.mark.parametrize("stop", range(1, 4))
def test_a_stopped_run_is_completed_with_the_same_bytes(tmp_path, stop):
    draw(tmp_path / "whole")

    def halt(call, x):
        if call == stop * PLAN.nfe:  # in the last call of a unit
            raise KeyboardInterrupt
        return x

    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        draw(out, Toy(halt))
    assert len(images(out)) == 2 * (stop - 1) and record(out)["status"] == "running"
    model = Toy()
    found = draw(out, model, resume=True)
    assert images(out) == images(tmp_path / "whole") and model.calls == (4 - stop) * PLAN.nfe
    assert found["files"] == record(tmp_path / "whole")["files"] and found["drawn"] == 5 - 2 * (stop - 1)


def test_what_a_killed_writer_left_is_taken_away_at_the_end(tmp_path):
    (tmp_path / "000000").mkdir()
    left = tmp_path / "000000" / ".000003.png.123-0123abcd.part"
    left.write_bytes(b"half")
    draw(tmp_path, subdirs=True)
    assert not left.exists() and len(images(tmp_path)) == 5


def test_a_unit_with_a_missing_file_is_drawn_whole_and_a_finished_run_not_at_all(tmp_path):
    draw(tmp_path)
    before = images(tmp_path)
    (tmp_path / "000008.png").unlink()
    asked = []
    draw(tmp_path, Toy(lambda call, x: asked.append(len(x)) or x), resume=True)
    assert images(tmp_path) == before and asked == [2] * PLAN.nfe
    model = Toy()
    done = record(tmp_path)
    assert (
        draw(tmp_path, model, resume=True) == done | {"drawn": 0, "seconds": 0.0}
        and model.calls == 0
        and record(tmp_path) == done
    )


def test_a_finished_run_with_an_image_of_another_is_not_called_complete(tmp_path):
    draw(tmp_path)
    (tmp_path / "000003.png").write_bytes((tmp_path / "000008.png").read_bytes())
    with pytest.raises(ValueError, match="holds other images than its record says"):
        draw(tmp_path, resume=True)
    (tmp_path / "000003.png").unlink()
    before = record(tmp_path)["files"]
    assert draw(tmp_path, resume=True)["files"] == before


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "000003.png (1 of 8)"), (7, "000000.png, 000001.png, 000002.png, 000003.png, 000004.png, ... (7 of 8)")],
)
def test_the_images_that_somebody_changed_are_named(tmp_path, count, words):
    draw(tmp_path, seeds=range(8))
    other = draw(tmp_path / "other", Toy(lambda call, x: x + 1), seeds=range(8)) and images(tmp_path / "other")
    for seed in [3, 0, 1, 2, 4, 5, 6][:count]:
        (tmp_path / f"{seed:06d}.png").write_bytes(other[f"{seed:06d}.png"])
    with pytest.raises(
        ValueError,
        match=rf"holds other images than its record says, so somebody has changed them: {re.escape(words)}\. Take away",
    ):
        draw(tmp_path, seeds=range(8), resume=True)
    (tmp_path / "SHA256SUMS").write_text("forged")
    with pytest.raises(
        ValueError, match=r"changed them \(SHA256SUMS, which would tell which, is not that of the record\)\. Take away"
    ):
        draw(tmp_path, seeds=range(8), resume=True)


def test_the_sums_are_what_sha256sum_reads(tmp_path):
    draw(tmp_path, subdirs=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    assert hashlib.sha256((tmp_path / "SHA256SUMS").read_bytes()).hexdigest() == record(tmp_path)["files"]["sha256"]


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-20]), lambda path: path.write_bytes(b"")]
)
def test_a_done_run_makes_its_lost_or_broken_grid_again(tmp_path, harm):
    draw(tmp_path)
    grid, sums = tmp_path / "grid.png", tmp_path / "SHA256SUMS"
    before = grid.read_bytes(), sums.read_bytes()
    harm(grid)
    sums.unlink()
    model = Toy()
    assert draw(tmp_path, model, resume=True)["drawn"] == 0 and model.calls == 0
    assert (grid.read_bytes(), sums.read_bytes()) == before


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(
        ValueError, match=r"`out` = .*file is a file\. Give a folder, or a name that ends in \.zip or \.npz"
    ):
        draw(tmp_path / "file")


def test_a_folder_with_a_run_is_not_written_to_unasked(tmp_path):
    draw(tmp_path)
    with pytest.raises(ValueError, match=r"holds a run \(done\)\. Complete it with --resume, or choose another folder"):
        draw(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 3}, "batch 2, now 3"),
        ({"seeds": (3, 8)}, "seeds '3,8-9,1041,5', now '3,8'"),
        ({"plan": seeds.plan("seeds-2", steps=3, schedule="edm")}, "nfe 5, now 7; plan_sha256"),
        ({"noise": "two-point"}, "noise 'gaussian', now 'two-point'"),
        ({"identity": Identity("abc", ())}, "another network: no weights, now weights abc"),
        ({"data_range": (0, 1)}, r"data_range \[-1.0, 1.0\], now \[0.0, 1.0\]"),
        ({"dtype": "float64", "subdirs": True}, "dtype 'float32', now 'float64'; subdirs False, now True"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, changes, words):
    draw(tmp_path)
    with pytest.raises(ValueError, match=words):
        draw(tmp_path, resume=True, **changes)


@pytest.mark.parametrize(
    ("out", "name"), [("", "001041.png"), ("", "grid.png"), ("", "cat.png"), ("a.zip", "a.zip.parts/notes.txt")]
)
def test_files_of_no_run_are_not_overwritten(tmp_path, out, name):
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_bytes(b"precious")
    with pytest.raises(ValueError, match=rf"{foreign.name} is there already, and is of no run"):
        draw(tmp_path / out, resume=True)
    assert foreign.read_bytes() == b"precious"


def test_a_file_that_somebody_put_beside_those_of_an_archive_stays(tmp_path):
    notes = tmp_path / "a.zip.parts" / "notes.txt"
    draw(tmp_path / "a.zip", Toy(lambda call, x: notes.write_text("precious") and x))
    assert list(notes.parent.iterdir()) == [notes]


def test_files_that_are_gone_at_the_end_are_missed(tmp_path):
    def take(call, x):
        if call == 3 * PLAN.nfe:
            (tmp_path / "000003.png").unlink()
        return x

    with pytest.raises(
        OSError, match="misses 2 of 5 images at the end of the run: the processes do not see one folder"
    ):
        draw(tmp_path, Toy(take))
    assert draw(tmp_path, resume=True)["drawn"] == 2 and record(tmp_path)["status"] == "done"


def test_files_that_other_machines_wrote_are_waited_for(tmp_path, monkeypatch):
    draw(tmp_path / "whole")
    usual, looked = Folder.missing, []

    def late(folder, units, checked=False):
        if len(units) == 3:  # all of them, at the end
            looked.append(units)
            if len(looked) == 3:
                draw(tmp_path / "out", shard=(2, 2))
        return usual(folder, units, checked)

    monkeypatch.setattr(Folder, "missing", late)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    # the third look, and what it sets off
    assert draw(tmp_path / "out", group=Group(0, 2))["status"] == "done" and len(looked) == 4
    assert images(tmp_path / "out") == images(tmp_path / "whole")


def cut(data, size):
    return data[:size]


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage", [(cut, 0), (cut, 40), (cut, -12), (cut, -1), (flipped, 20), (flipped, 45), (flipped, -14)]
)
@pytest.mark.parametrize("status", ["running", "done"])
def test_damaged_files_are_drawn_again(tmp_path, damage, status):
    draw(tmp_path)
    before, path = images(tmp_path), tmp_path / "000009.png"
    harm, where = damage
    path.write_bytes(harm(path.read_bytes(), where % len(before[path.name])))
    (tmp_path / "run.json").write_text(json.dumps(record(tmp_path) | {"status": status}))
    found = draw(tmp_path, resume=True)
    assert images(tmp_path) == before and found["drawn"] == 2


@pytest.mark.parametrize("text", ["", "[]", '{"status": "done"}', '{"status": "done", "job": 3}', "\x00"])
def test_a_record_that_is_none_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is not the record of a run"):
        draw(tmp_path, resume=True)


def test_threads_are_those_of_the_run_resumed_and_given_back(tmp_path):
    mine, seen = torch.get_num_threads(), []
    other = mine + 1
    model = Toy(lambda call, x: seen.append(torch.get_num_threads()) or x)
    draw(tmp_path, model, threads=other)
    (tmp_path / "000005.png").unlink()
    draw(tmp_path, model, resume=True)
    assert set(seen) == {other} and torch.get_num_threads() == mine
    with pytest.raises(ValueError, match=f"threads {other}, now {other + 1}"):
        draw(tmp_path, resume=True, threads=other + 1)


def test_the_class_that_guidance_takes_for_none_is_part_of_the_run(tmp_path):
    draw(tmp_path, Toy(classes=10, null=9), guidance=2.0)
    with pytest.raises(ValueError, match="null 9, now 8"):
        draw(tmp_path, Toy(classes=10, null=8), guidance=2.0, resume=True)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    draw(tmp_path / "whole")
    out, write, room = tmp_path / "full", Path.write_bytes, [4]

    def write_some(path, data):
        room[0] -= 1
        if room[0] < 0:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_some)
        with pytest.raises(
            OSError, match=r"001041.png cannot be written: No space left on device. .* with --resume makes the rest"
        ):
            draw(out)
    assert sorted(path.name for path in out.iterdir()) == ["000003.png", "000008.png", "000009.png", "run.json"]
    draw(out, resume=True)
    assert images(out) == images(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/out/run.json cannot be written: Not a directory"):
        draw(tmp_path / "file" / "out")


def test_nan_spares_the_units_before_it(tmp_path):
    model = Toy(lambda call, x: x * np.nan if call > PLAN.nfe else x)
    with pytest.raises(FloatingPointError, match="NaN or inf"):
        draw(tmp_path, model)
    assert set(images(tmp_path)) == {"000003.png", "000008.png"}


@pytest.mark.parametrize(
    ("changes", "attributes", "words"),
    [
        ({}, {"shape": (2,)}, r"`shape` is \(2,\), but images are"),
        ({}, {"shape": (4, 8, 8)}, "Give a latent model its `decode`"),
        ({"label": 3}, {}, "has no classes. Leave it out"),
        ({"label": 10}, {"classes": 10}, "has classes 0 to 9"),
        ({"guidance": 2.0}, {}, "no classes"),
        ({"batch": 0}, {}, "`batch` must be at least 1"),
        ({"dtype": "float16"}, {}, "`dtype` must be one of float32, float64, bf16, fp16, but is 'float16'"),
        ({"dtype": "float64", "device": "cuda"}, {}, "on the CPU only"),
        ({"seeds": (1, 2, 1)}, {}, "1 more than once"),
        ({"seeds": (-1,)}, {}, "`seed` = -1"),
    ],
)
def test_what_does_not_fit_is_refused(changes, attributes, words):
    with pytest.raises(ValueError, match=words):
        job(Toy(**attributes), **changes)


@pytest.mark.parametrize("order", list(permutations((1, 2, 3)))[::2])
def test_shards_fill_one_folder_in_any_order_and_the_last_closes_it(tmp_path, order):
    draw(tmp_path / "whole")
    out, left = tmp_path / "shards", 5
    for part in order:
        found = draw(out, shard=(part, 3))
        left -= found["drawn"]
        assert found["drawn"] == (1 if part == 3 else 2) and found.get("missing", 0) == left
        assert record(out)["status"] == ("running" if left else "done")
    assert images(out) == images(tmp_path / "whole") and record(out)["files"] == record(tmp_path / "whole")["files"]
    with pytest.raises(ValueError, match=r"holds a run \(done\)"):
        draw(out, shard=(1, 3))
    with pytest.raises(ValueError, match="`shard` = 4/3"):
        draw(tmp_path / "none", shard=(4, 3))


def test_a_shard_does_not_join_another_run(tmp_path):
    draw(tmp_path, shard=(1, 2))
    with pytest.raises(ValueError, match="batch 2, now 3"):
        draw(tmp_path, shard=(2, 2), batch=3)


def test_a_shard_does_not_take_a_folder_that_another_run_has_taken_meanwhile(tmp_path, monkeypatch):
    usual, others = Folder.read, [(1, 2)]

    def slowly(folder):
        before = usual(folder)
        if others:
            draw(tmp_path, shard=others.pop())
        return before

    monkeypatch.setattr(Folder, "read", slowly)
    with pytest.raises(ValueError, match="batch 2, now 3"):
        draw(tmp_path, shard=(2, 2), batch=3)
    assert record(tmp_path)["job"]["batch"] == 2


def test_shards_take_the_threads_of_the_first(tmp_path):
    seen, other = [], torch.get_num_threads() + 1
    draw(tmp_path, shard=(1, 2), threads=other)
    draw(tmp_path, Toy(lambda call, x: seen.append(torch.get_num_threads()) or x), shard=(2, 2))
    assert set(seen) == {other}


@pytest.mark.parametrize("where", ["claim", "missing", "read"])
def test_a_shard_that_comes_when_the_others_are_closing_leaves_nothing(tmp_path, monkeypatch, where):
    """A scheduler may start a shard again that was done, and the others close the archive just then."""
    out, usual, others = tmp_path / "a.npz", getattr(Folder, where), [(2, 2)]
    draw(out, shard=(1, 2))

    def late(folder, *given, **more):
        found = None if where == "read" else usual(folder, *given, **more)
        if others:
            assert draw(out, shard=others.pop())["status"] == "done"
        return usual(folder, *given, **more) if where == "read" else found

    monkeypatch.setattr(Folder, where, late)
    model = Toy()
    found = draw(out, model, shard=(1, 2))
    assert found["status"] == "done" and model.calls == 0 and list(tmp_path.iterdir()) == [out]
    draw(tmp_path / "folder")
    assert found["files"] == record(tmp_path / "folder")["files"]


def test_a_record_that_is_taken_away_while_it_is_read_is_none(tmp_path, monkeypatch):
    draw(tmp_path)
    usual = Path.read_bytes

    def late(path):
        path.unlink()
        return usual(path)

    monkeypatch.setattr(Path, "read_bytes", late)
    assert Folder(tmp_path, job(), False).read() is None


def test_a_finished_archive_s_run_takes_away_its_own_files_only(tmp_path, monkeypatch):
    parts = tmp_path / "a.zip.parts"
    monkeypatch.setattr(Folder, "remove", lambda folder: None)
    draw(tmp_path / "a.zip")
    assert parts.exists()  # as if it had been killed before it could remove them
    monkeypatch.undo()
    assert draw(tmp_path / "a.zip", resume=True)["status"] == "done" and not parts.exists()
    parts.mkdir()
    (parts / "000003.png").write_text("precious")
    assert (
        draw(tmp_path / "a.zip", resume=True)["status"] == "done" and (parts / "000003.png").read_text() == "precious"
    )


@pytest.mark.parametrize("name", ["a.zip", "a.npz"])
def test_two_that_write_an_archive_at_once_leave_a_whole_one(tmp_path, monkeypatch, name):
    draw(tmp_path / "folder")
    out, paths = tmp_path / name, [tmp_path / "folder" / f"{seed:06d}.png" for seed in (3, 8, 9, 1041, 5)]
    usual, inner = zipfile.ZipFile.writestr, []

    def interrupted(file, *given):
        if not inner:
            inner.append(True)
            packing.pack(out, paths, (3, 8, 9, 1041, 5), {"b": "other"})
        return usual(file, *given)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", interrupted)
    packing.pack(out, paths, (3, 8, 9, 1041, 5), {"a": "one"})
    with zipfile.ZipFile(out) as file:
        assert file.testzip() is None
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # the same bytes, whenever
    assert json.loads(contents(out).get("run.json") or str(np.load(out)["run.json"])) == {"a": "one"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "folder"]


@pytest.mark.parametrize("model", [Toy(), Toy(shape=(3, 4, 4))], ids=["grey", "colour"])
def test_an_archive_holds_the_files_in_the_order_of_the_seeds(tmp_path, model):
    draw(tmp_path / "folder", model)
    names = [name_of(seed, False) for seed in (3, 8, 9, 1041, 5)]
    zipped, array = tmp_path / "a.zip", tmp_path / "a.npz"
    assert draw(zipped, model)["status"] == draw(array, model, subdirs=True)["status"] == "done"
    with zipfile.ZipFile(zipped) as file:
        assert file.namelist() == [*names, "run.json"]
        assert all(file.read(name) == (tmp_path / "folder" / name).read_bytes() for name in names)
        assert json.loads(file.read("run.json"))["files"] == record(tmp_path / "folder")["files"]
    with np.load(array) as file:
        assert file["seeds"].tolist() == [3, 8, 9, 1041, 5] and file["arr_0"].dtype == np.uint8
        for name, image in zip(names, file["arr_0"], strict=True):
            assert image.shape == (*model.shape[1:], model.shape[0])
            np.testing.assert_array_equal(image, read_png(tmp_path / "folder" / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "a.zip", "folder"]


@pytest.mark.parametrize("name", ["a.zip", "a.npz"])
def test_a_stopped_archive_is_completed_and_a_finished_one_left_alone(tmp_path, name):
    def halt(call, x):
        if call == 2 * PLAN.nfe:
            raise KeyboardInterrupt
        return x

    draw(tmp_path / "whole" / name)
    out = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        draw(out, Toy(halt))
    assert not out.exists() and len(images(tmp_path / f"{name}.parts")) == 2
    draw(out, resume=True)
    pixels = [
        {key: value for key, value in contents(path).items() if not key.startswith("run.json")}
        for path in (out, tmp_path / "whole" / name)
    ]
    assert pixels[0] == pixels[1] and [path.name for path in tmp_path.iterdir() if path.name != "whole"] == [name]
    before, model = out.read_bytes(), Toy()
    assert draw(out, model, resume=True)["status"] == "done" and model.calls == 0 and out.read_bytes() == before
    with pytest.raises(ValueError, match=rf"{name} holds a run \(done\). Complete it with --resume"):
        draw(out)
    with pytest.raises(ValueError, match="batch 2, now 3"):
        draw(out, resume=True, batch=3)
    out.write_bytes(b"precious")
    with pytest.raises(ValueError, match="is of no run"):
        draw(out, resume=True)
    assert out.read_bytes() == b"precious"


def contents(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_sigkill_at_random_moments_and_resume_give_the_bytes_of_an_unbroken_run():
    script = Path(__file__).parents[2] / "trials" / "kill.py"
    ended = subprocess.run([sys.executable, script, "--times", "3"], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 kills" in ended.stdout and "41 files: 0 faults" in ended.stdout
