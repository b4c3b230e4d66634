"""`seeds bench`: lines at equal calls, told apart by paired seeds; the study behind it is that of test_curves."""

import csv
import json
import math

import numpy as np
import pytest
import study
import torch
import toy
from safetensors.torch import save_file

import seeds
from seeds.cli import main
from seeds.cli.bench import CONVENTIONS as NAMED
from seeds.exact import Gaussian, GaussianMixture
from seeds.metrics.checks import MetricError
from seeds.metrics.estimate import difference, jackknife, over_parts, units_of
from seeds.report.comparison import CONVENTIONS, bench, changes, compared, csv_of, joined, needed, table
from seeds.report.text import to_json
from seeds.runs.exact import is_exact
from seeds.runs.peers import Sampler

RNG = np.random.default_rng(0)


def test_a_paired_difference_is_the_jackknife_of_the_difference():
    rows = RNG.standard_normal((2, 200)) + 3 * RNG.standard_normal(200)  # mostly shared
    unit = units_of(np.arange(200), 10)

    def of(statistic):
        return jackknife("m", lambda left: float(statistic(slice(None) if left is None else unit != left)), 10, 200)

    a, b, apart = (of(lambda kept, k=k: (rows[k] if k < 2 else rows[0] - rows[1])[kept].mean()) for k in range(3))
    found = difference(a, b)
    assert (found.value, found.error, found.low) == pytest.approx((apart.value, apart.error, apart.low), rel=1e-9)
    alone = difference(a, b, paired=False)
    assert alone.error == pytest.approx(math.hypot(a.error, b.error)) and alone.error > 2 * found.error
    assert alone.high - alone.value == pytest.approx((a.high - a.value) * alone.error / a.error)
    ranges = [over_parts("m", values, 30) for values in ((1.0, 2.0, 3.0), (1.0, 2.5, 3.0))]
    assert difference(*ranges).error == pytest.approx(0.5 / 3)
    with pytest.raises(MetricError, match=r"cannot be paired.*Cut both sets alike"):
        difference(a, ranges[0])


def test_calls_needed_are_read_between_points_in_logarithms():
    curve = [(40, 1.0), (10, 4.0), (20, 2.0)]
    assert [needed(curve, level) for level in (4.0, 2.0, 1.0)] == pytest.approx([10, 20, 40])
    assert needed(curve, math.sqrt(8)) == pytest.approx(math.sqrt(200))
    assert needed(curve, 5.0) == -math.inf and math.isnan(needed(curve, 0.9)) and math.isnan(needed([], 1.0))


def test_lines_are_ranked_at_each_number_of_calls():
    record = study.record()
    found = bench(record, against="seeds-3")
    for asked in (6, 12, 24, 48):
        here = [entry for entry in found["entries"] if entry["nfe_asked"] == asked]
        best = min(here, key=lambda entry: entry["value"])
        assert [entry["best"] for entry in here] == [entry is best for entry in here] and best["behind.value"] == 0
        for entry in here:
            assert entry["behind.value"] == pytest.approx(entry["value"] - best["value"])
            assert entry["ties"] == (entry["behind.low"] <= 0) and entry["excess.value"] == pytest.approx(
                entry["value"] - 0.9
            )
    front = sorted((entry["calls"], entry["value"]) for entry in found["entries"] if entry["front"])
    assert (
        front == sorted(front, key=lambda point: -point[1])
        and min(entry["value"] for entry in found["entries"]) == front[-1][1]
    )
    text = table(found)
    assert (
        text.splitlines()[1].startswith("seeds-1")
        and "floor (10,000 test images): 0.9000" in text
        and "calls of seeds-3 for" in text
    )
    rows = list(csv.DictReader(csv_of(found).splitlines()))
    assert [float(row["value"]) for row in rows] == [row["frechet"]["value"] for row in record["rows"]] and any(
        row["needed"] for row in rows
    )
    assert json.loads(to_json(found))["entries"][0]["line"] == "seeds-1"


def test_any_name_of_a_line_reads_back_from_the_table_and_an_interval_that_is_not_there_is_empty():
    record = study.record((('caf\N{LATIN SMALL LETTER E WITH ACUTE} "1", 2', {}, 1),), nfe=(6,))
    record["rows"][0]["frechet"] |= {"low": None, "high": None}
    (read,) = csv.DictReader(csv_of(bench(record)).splitlines())
    assert read["line"] == record["rows"][0]["line"] and read["low"] == read["high"] == ""


@pytest.mark.parametrize("convention, calls", [("calls", 7), ("no-final-denoise", 6), ("steps", 4), ("network", 14)])
def test_calls_are_counted_as_a_convention_says(convention, calls):
    record = study.record(nfe=(6,))
    record["study"]["guidance"] = 2.0
    found = {entry["line"]: entry for entry in bench(record, convention=convention)["entries"]}
    assert found["seeds-2 variant=2b"]["calls"] == calls and found["seeds-2 variant=2b"]["nfe"] == 7
    assert f"convention {convention}: " in table(bench(record, convention=convention))


@pytest.mark.parametrize("options, denoises", [({}, True), ({"final": "none"}, False), ({"finish": 0.001}, False)])
def test_a_plan_says_whether_it_ends_in_a_final_denoise(options, denoises):
    assert seeds.plan("adams", steps=3, schedule="edm", **options).denoises is denoises
    record = study.record(nfe=(6,))
    record["rows"][0]["denoises"] = denoises
    assert bench(record, convention="no-final-denoise")["entries"][0]["calls"] == record["rows"][0]["nfe"] - denoises


def test_the_command_line_names_all_conventions():
    assert tuple(CONVENTIONS) == NAMED


def test_what_a_study_has_not_is_refused_by_name():
    for asked, words in (
        ({"floor": "no"}, "10,000 test images"),
        ({"against": "erk-9"}, "seeds-1, seeds-2"),
        ({"convention": "x"}, "steps"),
    ):
        with pytest.raises(ValueError, match=f"`{next(iter(asked))}`.*{words}"):
            bench(study.record(), **asked)


def test_two_studies_are_compared_in_pairs_where_they_drew_the_same_seeds():
    one, two = study.record(), study.record()
    del two["rows"][3:]
    for row in two["rows"]:
        held = row["frechet"]
        row["frechet"] = held | {"value": 0.9 * held["value"], "parts": [0.9 * part for part in held["parts"]]}
    rows = compared(one, two)
    assert [(row["line"], row["nfe_asked"], row["paired"]) for row in rows] == [
        (row["line"], 6, True) for row in one["rows"][:3]
    ]
    assert all(row["tells"] and row["change.value"] < 0 for row in rows) and changes(rows).count("< better") == 3
    for row in two["rows"]:
        row["seeds"] = "500-999"
    apart = compared(one, two)
    assert not any(row["paired"] for row in apart) and all(
        b["change.high"] > a["change.high"] for a, b in zip(rows, apart, strict=True)
    )
    two["study"]["features"] = {"name": "others"}
    with pytest.raises(ValueError, match="different features"):
        compared(one, two)


def test_studies_of_one_yardstick_are_one():
    both, one, two = study.record(), study.record(), study.record()
    one["rows"], two["rows"] = (
        # each line is in both, at other calls
        [row for row in both["rows"] if ((row["solver"] == "seeds-3") != (row["nfe_asked"] == 6)) == last]
        for last in (False, True)
    )
    two["bench"] = {"overhead": {"seeds-3": {"ms": 1.0, "passes": 2.0}}}
    both["bench"] = two["bench"]
    found = bench(joined([one, two, both]))
    assert sorted(found["entries"], key=str) == sorted(bench(both)["entries"], key=str)
    assert found["overhead"]["seeds-3"]["ms"] == 1
    two["study"]["reference"] = {"name": "toy test set", "sha256": "another"}
    with pytest.raises(ValueError, match="have different reference"):
        joined([one, two])
    for number, record in enumerate((one, two)):  # made of the same exact samples, by other machines
        record["study"]["reference"] = {"name": f"{number}/exact/{12 * 'a'}.ref.npz", "sha256": f"{number}"}
    assert len(joined([one, two])["rows"]) == len(both["rows"])


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """A mixture in a file: 1 x 4 x 4, two classes."""
    law = GaussianMixture(0.4 * RNG.standard_normal((4, 1, 4, 4)), 0.2, component_class=[0, 0, 1, 1], name="small")
    path = tmp_path_factory.mktemp("mixture") / "small.safetensors"
    save_file(law.to_tensors(torch.float32), path, metadata={"kind": "mixture", "name": "small"})
    return path


SMALL = ("--seeds", "0-59", "--units", "5", "--nfe", "3,7", "--batch", "30")


@pytest.fixture(scope="module")
def measured(mixture, tmp_path_factory):
    out = tmp_path_factory.mktemp("measured") / "bench"
    lines = (
        "--line",
        "seeds-1",
        "--line",
        "dpmpp-2m grid=karras",
        "--line",
        "diffusers:DDIM timestep_spacing=trailing",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seeds.cli.bench.EXACT", 300)
        assert main(["bench", "--model", str(mixture), "--out", str(out), *lines, *SMALL]) == 0
        before = (out / "curves.json").read_bytes()
        assert main(["bench", "--model", str(mixture), "--out", str(out), *lines, *SMALL]) == 2  # it is there already
        assert main(["bench", "--model", str(mixture), "--out", str(out), *lines, *SMALL, "--resume"]) == 0
        assert (out / "curves.json").read_bytes() == before
    return out, json.loads(before)


def test_a_mixture_in_a_file_is_compared_with_its_own_samples(measured, capsys):
    out, record = measured
    assert record["study"]["features"]["name"] == "pixels" and record["study"]["reference"]["n"] == 300
    assert [row["frechet"]["value"] for row in record["rows"]] == [
        entry["value"] for entry in record["bench"]["entries"]
    ]
    assert record["baselines"][0]["name"] == record["bench"]["floor"]["name"] == "60 exact samples"
    assert all(held["ms"] > 0 and held["passes"] > 0 for held in record["bench"]["overhead"].values())
    assert {"bench.csv", "bench.png", "index.html", "exact"} <= {path.name for path in out.iterdir()}
    assert [row["nfe"] for row in record["rows"]] == [3, 7] * 3 and record["rows"][5]["solver"] == "diffusers:DDIM"
    for row in ("0", "5"):
        assert main(["curves", "--out", str(out), "--row", row]) == 0
    capsys.readouterr()
    assert main(["bench", "show", str(out), "--convention", "steps", "--against", "seeds-1"]) == 0
    assert "calls of seeds-1 for" in capsys.readouterr().out
    assert main(["bench", "show", str(out / "curves.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == record["bench"]["entries"]
    assert main(["bench", "compare", str(out), str(out)]) == 0
    assert "better" not in (said := capsys.readouterr().out) and "paired" in said and "Other settings" not in said


def test_a_model_is_exact_that_draws_by_seed_and_labels():
    assert is_exact(Gaussian(0.3, 0.5, shape=(1, 4, 4)))
    assert not is_exact(toy.colour()) and not is_exact(
        toy.Toy(sample=lambda batch_size: torch.zeros(batch_size, 1, 6, 5))
    )


def test_samplers_of_others_ask_the_same_model_from_the_same_noise_in_any_batch():
    """In k-diffusion's protocol, by our own sampler, whose plan draws the same."""
    law = GaussianMixture(0.4 * RNG.standard_normal((4, 1, 4, 4)), 0.2)
    like = {"dtype": torch.float32, "device": "cpu"}
    peer = Sampler.of("seeds.integrations.k_diffusion:sample_seeds_2 eta=0.5 grid=uniform_lam", 4, law)
    made = peer.run(law, range(6), None, **like)
    ours = seeds.sample(law, law.shape, seed=range(6), solver="seeds-2", steps=4, eta=0.5, grid="uniform_lam")
    assert peer.nfe == 9 and torch.allclose(made, ours, atol=1e-4)
    assert torch.equal(peer.run(law, [4, 5], None, **like), made[4:]) or torch.allclose(
        peer.run(law, [4, 5], None, **like), made[4:], atol=1e-5
    )
    line = "seeds.integrations.k_diffusion:sample_seeds_2 eta=0.5 grid=uniform_lam"
    assert Sampler.within(10, line, law) == peer
    with pytest.raises(ValueError, match=r"`nfe` = 2 is too few for 'seeds\..*': one step takes 3 calls here"):
        Sampler.within(2, line, law)
    assert (
        Sampler.from_json(peer.to_json()) == peer
        and Sampler.from_json(seeds.plan("erk-1", steps=2, schedule="vp").to_json()) is None
    )


def test_a_scheduler_of_diffusers_draws_from_the_law():
    law = Gaussian(0.3, 0.5, shape=(1, 8, 8))
    for line, calls in (
        ("diffusers:UniPCMultistep", 21),
        ("diffusers:HeunDiscreteScheduler", 41),
        ("diffusers:DDIM eta=0.0", None),
    ):
        if calls is None:
            with pytest.raises(ValueError, match=r"`--line` diffusers:DDIM with .*eta"):
                Sampler.of(line, 20, law)
            continue
        peer = Sampler.of(line, 20, law)
        x = peer.run(law, range(64), None, dtype=torch.float32, device="cpu")
        assert (
            peer.nfe == calls
            and peer.version
            and (x.mean().item(), x.std().item()) == pytest.approx((0.3, 0.5), abs=0.03)
        )
    for line in ("diffusers:Nothing", "nowhere:sample", "math:nothing"):
        with pytest.raises(ValueError, match=r"Give PACKAGE:SAMPLER of diffusers, k-diffusion, azula"):
            Sampler.of(line, 3, law)


def test_what_cannot_be_compared_is_refused_before_anything_is_written(mixture, tmp_path, capsys):
    for words, said in (
        (("--model", "toy:colour"), "toy:colour is no exact model"),
        (("--model", str(mixture), "--guidance", "2"), "Give a reference with --ref"),
        (
            ("--model", str(mixture), "--line", "seeds-1", "--against", "erk-1"),
            "`against` = 'erk-1' is not in the study, which has seeds-1",
        ),
        (("--nfe", "5", "show", "here"), "--nfe stands before it"),
        (("show", "nowhere"), "nowhere does not exist"),
    ):
        assert main(["bench", *(("--out", str(tmp_path / "out")) if words[0] == "--model" else ()), *words]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_of_all_solvers_those_that_the_calls_are_too_few_for_are_named(mixture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("seeds.cli.bench.EXACT", 300)
    monkeypatch.setattr("seeds.cli.bench.SOLVERS", ["erk-1", "erk-4"])
    monkeypatch.setattr("seeds.runs.peers.LINES", {"no-such-package": "DDIM"})
    assert (
        main(
            [
                "bench",
                "--model",
                str(mixture),
                "--out",
                str(tmp_path / "out"),
                "--solvers",
                "all",
                "--peers",
                *SMALL,
                "--nfe",
                "3",
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert (
        out.splitlines()[1].startswith("auto")
        and "Left out: erk-4: " in err
        and "not installed: no-such-package." in err
        and "erk-1" in out
        and "erk-4" not in out
    )
