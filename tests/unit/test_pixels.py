"""What is seen is what is stored and measured: ranges of data, decoders, labels, in files, archives, distances and
studies."""

import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import own
import pytest
import torch
from detector import save
from test_cli import call  # noqa: F401, a fixture
from test_distributed import finish, torchrun
from test_runs import PLAN as SHORT
from test_runs import draw, record
from toy import Toy

import seeds
from seeds.cli import main
from seeds.distributed import Group
from seeds.images import read_png, to_uint8
from seeds.noise import uniform_labels
from seeds.runs import Job, Pixels, Tally

PLAN = seeds.plan("seeds-2", steps=4, schedule="edm")


@pytest.mark.parametrize("data_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-0.5, 0.5)])
def test_levels_of_any_range_are_pixels_and_back(data_range):
    low, high = data_range
    levels = torch.linspace(low, high, 256, dtype=torch.float64)
    assert to_uint8(levels.view(1, 1, 16, 16), data_range).ravel().tolist() == list(range(256))
    beyond = torch.tensor([low - 1, high + 1]).view(1, 1, 1, 2)
    assert to_uint8(beyond, data_range).ravel().tolist() == [0, 255]


@pytest.mark.parametrize("given", [(1.0, 0.0), (0.0,), "ab", (0.0, float("inf")), (0.0, float("nan")), 3])
def test_what_is_no_range_is_named(given):
    with pytest.raises(ValueError, match=r"`data_range` must be .low, high., two finite numbers that rise"):
        Pixels(data_range=given)


def warning(x, data_range=(-1.0, 1.0)):
    tally = Tally()
    tally.add(x, to_uint8(x, data_range), data_range)
    return tally.total(Group()).warning(data_range)


NOISE = torch.from_numpy(np.random.default_rng(0).normal(0, 0.5, (8, 3, 16, 16)))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (NOISE, ""),
        (NOISE.clip(-1.04, 1.04) * 1.0, ""),
        (NOISE.sign() * 1.04, ""),  # black and white, with a network's overshoot
        ((NOISE + 1).clip(0, 2) / 2, "lie in a part of the data's range, -1 to 1: nearly all from "),
        (NOISE / 4, "lie in a part"),
        (NOISE * 0 + 0.25, "lie in a part"),
        ((NOISE + 1) * 127.5, "of the pixels lay outside of the data's range, -1 to 1, and were clipped"),
        (NOISE * 10, "and were clipped"),
        (torch.where(NOISE > 0.5, 200.0, 0.0), "were clipped"),  # most of MNIST is black in 0 ... 255
        (NOISE[:1, :, :8, :8] / 4, ""),  # too few to tell
    ],
)  # fmt: skip
def test_pixels_that_speak_of_another_range_are_told_of(x, words):
    said = warning(x)
    assert words in said and bool(words) == bool(said)
    assert not said or said.endswith("say so: --data-range LOW,HIGH, or `data_range` of the denoiser.")


def test_a_run_in_another_range_than_its_data_s_says_so_once_at_its_end(call):  # noqa: F811
    words = ("sample", "--solver", "erk-1", "--steps", "3", "--seeds", "0-31", "--batch", "8")
    code, _, err = call(*words, "--model", "own:unsaid", "--out", "a")
    assert (
        code == 0
        and err.count("\n") == 1
        and err.startswith("Warning: The pixels lie in a part of the data's range, -1 to 1: nearly all")
    )
    assert json.loads(Path("a/run.json").read_text())["warning"] in err
    assert call(*words, "--model", "own:unsaid", "--out", "b", "--data-range", "0,1")[::2] == (0, "")
    assert call(*words, "--model", "own:unit_range", "--out", "c")[::2] == (0, "")
    one, two = (np.stack([read_png(path) for path in sorted(Path(out).glob("0*.png"))]) for out in "bc")
    assert np.array_equal(one, two) and one.min() < 20 and one.max() > 235
    for given in ("1,0", "1", "a,b", "0,1,2"):
        assert "Invalid value for '--data-range'" in call(*words, "--model", "own:unsaid", "--data-range", given)[2]


def test_latents_are_decoded_in_batches_of_the_decoders_own_and_seen_as_decoded(tmp_path):
    model = own.latent()
    draw(tmp_path / "a", model, batch=5, plan=PLAN)
    assert model.decoder.sizes == [4, 1]
    x = own.latent().decode(
        seeds.sample(model, (4, 8, 8), seed=(3, 8, 9, 1041, 5), plan=PLAN, labels=uniform_labels((3, 8, 9, 1041, 5), 4))
    )
    wanted = to_uint8(x, (0.0, 1.0))
    for seed, image in zip((3, 8, 9, 1041, 5), wanted, strict=True):
        assert np.abs(read_png(tmp_path / "a" / f"{seed:06d}.png").astype(int) - image).max() <= 1
    found = record(tmp_path / "a")["job"]
    assert found["data_range"] == [0.0, 1.0] and found["decode_batch"] == 4
    with pytest.raises(ValueError, match="decode_batch 4, now 2"):
        draw(tmp_path / "a", model, batch=5, plan=PLAN, resume=True, decode_batch=2)


@pytest.mark.parametrize("model", ["latent", "unit_range"])
def test_image_to_image_keeps_what_little_noise_leaves(call, model):  # noqa: F811
    drawn = ("sample", "--model", f"own:{model}", "--batch", "4", "--solver", "erk-1", "--steps", "4")
    assert call(*drawn, "--seeds", "0-5", "--out", "first.npz")[0] == 0
    again = (*drawn, "--seeds", "10-15", "--data", "first.npz")
    for start, out in (("0.01", "near"), ("3", "far")):
        assert call(*again, "--start", start, "--out", f"{out}.npz")[0] == 0
    first, near, far = (np.load(f"{name}.npz")["arr_0"].astype(float) for name in ("first", "near", "far"))
    assert np.abs(near - first).mean() < 4
    assert model != "latent" or np.abs(far - first).mean() > 8
    assert (
        "holds another run"
        in call(*drawn, "--seeds", "10-15", "--data", "near.npz", "--start", "0.01", "--out", "near.npz", "--resume")[2]
    )
    for words, sentence in (
        (
            ("--start", "1", "--data", "first.npz", "--seeds", "0-9"),
            "`data` = first.npz holds 6 images, but there are 10 seeds",
        ),
        (("--start", "1"), "`data` and `start` belong together"),
        (("--data", "first.npz"), "`data` and `start` belong together"),
        (("--start", "1", "--data", "none.npz"), "none.npz does not exist"),
        (("--start", "1", "--data", "small.npz", "--seeds", "0-5"), "Give images of the model's own size"),
    ):
        np.savez("small.npz", arr_0=np.zeros((6, 4, 4, first.shape[-1]), np.uint8))
        code, _, err = call(*drawn, *words, "--out", "refused")
        assert code and sentence in err, err
    if model == "latent":
        with pytest.raises(ValueError, match="has no `encode`, the function from images to latents"):
            Pixels(decode=lambda z: z).samples(np.zeros((1, 4, 4, 3), np.uint8), (4, 2, 2), torch.float32, "cpu")


def test_a_decoder_may_be_an_argument_and_must_make_images():
    job = Job(own.latents_only(), PLAN, (1, 2), decode=lambda z: z[:, :3].clamp(0, 1))
    assert job.image_shape == (8, 8, 3) and job.images((1, 2)).shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match=r"`shape` is \(4, 8, 8\), but images are .* Give a latent model its `decode`"):
        Job(own.latents_only(), PLAN, (1, 2))
    with pytest.raises(
        ValueError, match=r"`decode` made a tensor of shape \(1, 4, 8, 8\) of latents \(1, 4, 8, 8\), but images are"
    ):
        _ = Job(own.wrong_decoder(), PLAN, (1, 2)).image_shape
    with pytest.raises(ValueError, match="`decode_batch` must be a whole number"):
        Job(own.latent(), PLAN, (1, 2), decode_batch=0)


def test_what_a_decoder_of_16_bits_makes_is_scaled_in_32():
    levels = torch.arange(256).view(1, 1, 16, 16).repeat(1, 3, 1, 1) / 127.5 - 1
    exact = Pixels(decode=lambda z: z).images(levels)
    halved = Pixels(decode=lambda z: z.half()).images(levels)
    assert (exact == halved).all() and len(np.unique(exact)) == 256


def test_labels_are_in_the_record_and_in_the_archive(tmp_path):
    wanted = uniform_labels((3, 8, 9, 1041, 5), 10).tolist()
    draw(tmp_path / "a", Toy(classes=10))
    draw(tmp_path / "a.npz", Toy(classes=10))
    draw(tmp_path / "none.npz")
    text = (tmp_path / "a" / "run.json").read_text()
    assert json.loads(text)["labels"] == wanted and f'"labels": {wanted}' in text
    with (
        np.load(tmp_path / "a.npz", allow_pickle=False) as held,
        np.load(tmp_path / "none.npz", allow_pickle=False) as none,
    ):
        arrays = {name: held[name] for name in held.files}
        assert all(isinstance(array, np.ndarray) for array in arrays.values()), "every member reads as an array"
        assert arrays["arr_1"].tolist() == wanted and arrays["arr_1"].dtype == np.int64 and "arr_1" not in none.files
        assert json.loads(str(arrays["run.json"]))["labels"] == wanted and arrays["seeds"].tolist() == [
            3,
            8,
            9,
            1041,
            5,
        ]


def test_an_archive_of_before_is_still_read(tmp_path):
    done = draw(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        members = {name: file.read(name) for name in file.namelist() if name != "run.json.npy"}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for name, data in {**members, "run.json": json.dumps(done)}.items():
            file.writestr(name, data)
    assert draw(tmp_path / "a.npz", resume=True)["drawn"] == 0


SMALL = ("sample", "--model", "toy:colour", "--solver", "erk-1", "--steps", "1", "--batch", "4")


@pytest.mark.parametrize(
    ("classes", "seed_text", "wanted"),
    [
        ("3", "0-2", [3, 3, 3]),
        ("0,1,2", "5-9", [0, 1, 2, 0, 1]),
        ("2-4", "9,1", [2, 3]),
        ("each:1", None, list(range(10))),
        ("each:2", None, [*range(10), *range(10)]),
        ("each:1", "20-29", list(range(10))),
    ],
)
def test_classes_take_turns(call, classes, seed_text, wanted):  # noqa: F811
    assert call(*SMALL, "--class", classes, *(("--seeds", seed_text) if seed_text else ()))[0] == 0
    made = json.loads(Path("out/run.json").read_text())
    assert made["labels"] == wanted and max(Counter(wanted).values()) - min(Counter(wanted).values()) <= 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--class each:1 --seeds 0-8",
            "`class` = each:1 of 10 classes are 10 images, but there are 9 seeds. Leave --seeds out, or give 10",
        ),
        ("--class 3,10", "`class` = 10, but this model has classes 0 to 9"),
        ("--class each:0", "is no class, nor several such as 0,1,2 or 0-4, nor each:100"),
        ("--class 1,1", "is no class"),
        ("--class cat", "is no class"),
        ("--class each:3 --model toy:plain", "this model has no classes. Leave it out"),
    ],
)
def test_classes_that_are_none_are_named(call, words, sentence):  # noqa: F811
    code, _, err = call(*SMALL, *words.split())
    assert code == 2 and sentence in err and not Path("out").exists()


def test_the_class_of_a_seed_does_not_depend_on_the_unit_that_draws_it(tmp_path):
    for name, batch in (("a", 5), ("b", 2)):
        model = Toy(classes=10)
        draw(tmp_path / name, model, batch=batch, label=(1, 7, 4))
        assert torch.cat(model.labels[:: SHORT.nfe]).tolist() == [1, 7, 4, 1, 7]


@pytest.fixture
def measuring(tmp_path):
    """Options: the small detector, and references made by it for images of the two models."""
    path, sha256 = save(tmp_path / "small.pt")
    features = ("--features", path, "--sha256", sha256)
    rng = np.random.default_rng(3)
    for name, shape in (("latent", (16, 16, 3)), ("unit_range", (8, 8, 1))):
        np.savez(tmp_path / f"{name}.train.npz", arr_0=rng.integers(0, 256, (60, *shape), np.uint8))
        words = ("ref", "--images", tmp_path / f"{name}.train.npz", *features, "--out", tmp_path / f"{name}.npz")
        assert main([str(word) for word in words]) == 0
    return features


@pytest.mark.parametrize("model", ["latent", "unit_range"])
def test_what_is_measured_is_what_is_seen(call, measuring, tmp_path, model):  # noqa: F811
    drawn = ("--model", f"own:{model}", "--seeds", "0-19", "--batch", "8")
    plan, shared = (
        ("--solver", "erk-1", "--steps", "2"),
        (*measuring, "--ref", tmp_path / f"{model}.npz", "--units", "4"),
    )
    assert call("sample", *drawn, *plan, "--out", "folder")[0] == 0
    assert call("sample", *drawn, *plan, "--out", "all.npz")[0] == 0
    live, folder, packed = (
        json.loads(call("fid", *source, "--batch", "8", *shared, "--json")[1])
        for source in ((*drawn, *plan), ("folder",), ("all.npz",))
    )
    assert live["value"] == folder["value"] == packed["value"] and live["parts"] == packed["parts"]
    assert live["metric"] == "squared Frechet distance" and live["job"]["data_range"] == [0.0, 1.0]
    study = ("curves", *drawn, "--line", "erk-1", "--nfe", "3", *shared, "--splits", "2", "--out", "study")
    assert call(*study)[0] == 0
    made = json.loads(Path("study/curves.json").read_text())
    assert (
        made["rows"][0]["frechet"]["value"] == live["value"]
        and made["networks"][f"own:{model}"] == live["job"]["network"]
    )
    picture = read_png(Path("study/rows/000.png"))
    assert np.array_equal(
        picture, np.concatenate([read_png(Path(f"folder/{seed:06d}.png")) for seed in range(10)], axis=1)
    )
    assert call("curves", "--out", "study", "--row", "0")[2] == "The same numbers.\n"
    score = [
        call("is", *source, "--batch", "8", *measuring, "--splits", "2")[1] for source in ((*drawn, *plan), ("folder",))
    ]
    assert score[0] == score[1] and score[0]


def test_two_processes_draw_latents_as_one_does(tmp_path):
    words = ("sample", "--seeds", "0-9", "--batch", "2", "--solver", "erk-1", "--steps", "2", "--threads", "1")
    models = ("latent", "unit_range")
    commands = [[*words, "--model", f"own:{model}", "--out", str(tmp_path / model)] for model in models]
    finish(torchrun("measuring.py", json.dumps(commands)))
    plan = seeds.plan("erk-1", steps=2, schedule="edm")
    for model in models:
        draw(tmp_path / "alone" / model, getattr(own, model)(), seeds=range(10), batch=2, plan=plan, threads=1)
        assert record(tmp_path / model)["files"] == record(tmp_path / "alone" / model)["files"]
