"""Metrics by several processes: value, interval and parts are those of one, to the bit."""

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from detector import save
from test_distributed import HERE, finish, torchrun

from seeds.distributed import Group
from seeds.metrics.together import merged


@pytest.mark.parametrize("processes", [1, 2])
def test_merging_holds_one_unit_more_than_the_stream(processes):
    dim, units = 300, 10
    rows = np.random.default_rng(0).standard_normal((60, 64, dim), np.float32)
    tracemalloc.start()
    merged(((64 * i, batch) for i, batch in enumerate(rows)), units, Group(world=processes))
    peak = tracemalloc.get_traced_memory()[1] / (units * 3 * dim**2 * 8)
    tracemalloc.stop()
    assert peak < 1.8


def test_two_processes_measure_what_one_does(tmp_path):
    path, sha256 = save(tmp_path / "small.pt")
    pixels = np.random.default_rng(7).integers(0, 256, (2, 23, 4, 4, 3), np.uint8)
    for name, images in zip(("train", "images"), pixels, strict=True):
        np.savez(tmp_path / f"{name}.npz", arr_0=images)
    extract = ("--features", path, "--sha256", sha256, "--batch", 3)  # eight pieces: four for each of two
    drawn, units = ("--model", "toy:colour", "--seeds", "0-22"), ("--units", 5)

    def commands(out):
        reference = ("--ref", out / "ref.npz")
        return [
            ("ref", "--images", tmp_path / "train.npz", *extract, "--keep-features", "--out", out / "ref.npz"),
            ("fid", tmp_path / "images.npz", *reference, *extract, *units, "--json"),
            ("fid", *drawn, "--solver", "seeds-2", "--steps", 2, *reference, *extract, *units, "--json"),
            ("is", tmp_path / "images.npz", *extract, "--splits", 3, "--json"),
            ("kid", tmp_path / "images.npz", *reference, *extract, *units, "--json"),
            ("curves", *drawn, "--out", out / "study", *reference, *extract, *units, "--splits", 3, "--line", "seeds-2", "--nfe", "3,5",
             "--baseline", f"images={tmp_path / 'images.npz'}"),
        ]  # fmt: skip

    said = {}
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        words = json.dumps([[str(word) for word in command] for command in commands(out)])
        if name == "one":
            made = subprocess.run([sys.executable, "measuring.py", words], cwd=HERE, check=True, capture_output=True, text=True).stdout
        else:
            made = finish(torchrun("measuring.py", words))
        said[name] = made.replace(str(out), "OUT")
    assert said["one"] == said["two"] and said["one"].count('"parts"') == 4
    with np.load(tmp_path / "one" / "ref.npz") as one, np.load(tmp_path / "two" / "ref.npz") as two:
        assert {key: value.tolist() for key, value in one.items()} == {key: value.tolist() for key, value in two.items()}
    records = [json.loads((tmp_path / name / "study" / "curves.json").read_text()) for name in ("one", "two")]
    assert records[0]["baselines"] == records[1]["baselines"]
    for one, two in zip(*(record["rows"] for record in records), strict=True):
        assert all(one[key] == two[key] for key in ("frechet", "inception_score")) and one["status"] == "done"
    for row in ("000", "001"):
        pictures = [(tmp_path / name / "study" / "rows" / f"{row}.png").read_bytes() for name in ("one", "two")]
        assert pictures[0] == pictures[1]
