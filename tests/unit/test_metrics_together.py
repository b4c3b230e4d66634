"""Metrics by several processes: value, interval and parts are those of one, but for the rounding of sums."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from detector import save
from test_distributed import HERE, finish, torchrun

NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def numbers(record):
    """Every number in a JSON value, in order."""
    if isinstance(record, dict | list):
        return [
            number for value in (record.values() if isinstance(record, dict) else record) for number in numbers(value)
        ]
    return [record] if isinstance(record, float) else []


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
            ("curves", *drawn, "--out", out / "study", *reference, *extract, *units, "--splits", 3, "--line", "seeds-2",
             "--nfe", "3,5",
             "--baseline", f"images={tmp_path / 'images.npz'}"),
        ]  # fmt: skip

    said = {}
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        words = json.dumps([[str(word) for word in command] for command in commands(out)])
        if name == "one":
            made = subprocess.run(
                [sys.executable, "measuring.py", words], cwd=HERE, check=True, capture_output=True, text=True
            ).stdout
        else:
            made = finish(torchrun("measuring.py", words))
        # a file whose last digits differ
        said[name] = re.sub('"reference_sha256": "[0-9a-f]+"', "", made.replace(str(out), "OUT"))
    assert said["one"].count('"parts"') == 4 and NUMBER.sub("#", said["one"]) == NUMBER.sub("#", said["two"])
    for one, two in zip(NUMBER.findall(said["one"]), NUMBER.findall(said["two"]), strict=True):
        assert float(one) == pytest.approx(float(two), rel=1e-9, abs=1e-12)
    with np.load(tmp_path / "one" / "ref.npz") as one, np.load(tmp_path / "two" / "ref.npz") as two:
        for key in one.files:
            if key in ("mu", "sigma"):
                np.testing.assert_allclose(one[key], two[key], rtol=1e-12, atol=1e-12 * np.abs(one[key]).max())
            else:
                assert one[key].tolist() == two[key].tolist()
    records = [json.loads((tmp_path / name / "study" / "curves.json").read_text()) for name in ("one", "two")]
    kept = [
        [record["baselines"], *([row["frechet"], row["inception_score"]] for row in record["rows"])]
        for record in records
    ]
    assert numbers(kept[0]) == pytest.approx(numbers(kept[1]), rel=1e-9, abs=1e-12)
    assert {row["status"] for record in records for row in record["rows"]} == {"done"}
    for row in ("000", "001"):
        pictures = [(tmp_path / name / "study" / "rows" / f"{row}.png").read_bytes() for name in ("one", "two")]
        assert pictures[0] == pictures[1]
