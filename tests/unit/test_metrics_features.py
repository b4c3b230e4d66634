import hashlib
import inspect
import io
import json
import sys
import types
import zipfile

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from detector import Detector, save
from PIL import Image

import seeds
from seeds import checkpoints
from seeds.cli import main
from seeds.cli.curves import curves
from seeds.cli.metrics import fid, is_, kid, ref
from seeds.cli.sample import sample
from seeds.cli.session import Session
from seeds.distributed import Group
from seeds.metrics.checks import MetricError
from seeds.metrics.features import Extractor, Recipe, from_callable, from_module, from_torchscript
from seeds.metrics.frechet import frechet_distance
from seeds.metrics.inception_score import inception_score
from seeds.metrics.kernel import kernel_distance
from seeds.metrics.references import Statistics, bundled_statistics, check_comparable, load_statistics, save_statistics
from seeds.runs import Job

HASH = "0123456789abcdef" * 4
RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (60, 8, 8, 3), np.uint8)
CLOTHES = np.random.default_rng(6).integers(0, 256, (30, 28, 28), np.uint8)
OURS = ("--features", "fashion-features")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return save(tmp_path_factory.mktemp("detector") / "small-detector.pt")


def features_of(images):
    with torch.no_grad():
        return Detector()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), return_features=True).numpy()


def test_torchscript_detector(detector):
    extractor = from_torchscript(*detector)
    assert extractor.recipe == Recipe("small-detector", detector[1], "none", "rgb")
    assert np.allclose(extractor(IMAGES), features_of(IMAGES), rtol=1e-6) and extractor(IMAGES).dtype == np.float32
    biased = torch.from_numpy(features_of(IMAGES)).softmax(1).numpy()
    assert np.allclose(extractor.probabilities(IMAGES), biased, rtol=1e-5)
    grey = IMAGES[..., :1]
    assert np.array_equal(extractor(grey), extractor(np.repeat(grey, 3, axis=3)))


def test_torchscript_refusals(detector, tmp_path):
    path, sha256 = detector
    with pytest.raises(MetricError, match=f"`sha256` of .*small-detector.pt is {sha256}; none was given"):
        from_torchscript(path, None)
    with pytest.raises(MetricError, match=f"is {sha256}; you gave {HASH}"):
        from_torchscript(path, HASH)
    with pytest.raises(MetricError, match=r"absent.pt cannot be read: No such file or directory"):
        from_torchscript(tmp_path / "absent.pt", HASH)
    (tmp_path / "fake.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(MetricError, match=r"is no TorchScript file. Pickled networks are not read"):
        from_torchscript(tmp_path / "fake.pt", hashlib.sha256(b"\x80\x04cos\nsystem\n").hexdigest())


class Plain(torch.nn.Module):
    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return img.to(torch.float32).mean((2, 3))


class WithoutClasses(torch.nn.Module):
    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return img.to(torch.float32).mean((2, 3))


def test_a_network_that_has_not_the_detector_s_calls(tmp_path):
    with pytest.raises(
        MetricError, match=r"a.pt is a TorchScript network without the argument `return_features`.*inception-2015-12-05"
    ):
        from_torchscript(*save(tmp_path / "a.pt", Plain()))
    extractor = from_torchscript(*save(tmp_path / "b.pt", WithoutClasses()))
    assert extractor(IMAGES).shape == (60, 3) and extractor.judge(IMAGES)[1] is None


def test_the_bundled_features_know_one_size():
    extractor = from_module(checkpoints.load("fashion-features"), "fashion-features")
    assert extractor.size == (28, 28) and extractor(np.zeros((2, 28, 28, 1), np.uint8)).shape == (2, 128)
    for call in (extractor, extractor.probabilities, extractor.judge):
        with pytest.raises(
            MetricError,
            match=r"`images` are 32 x 28 pixels, but fashion-features knows 28 x 28 only, and nothing is resized",
        ):
            call(np.zeros((2, 32, 28, 1), np.uint8))
    resized = from_module(checkpoints.load("fashion-features"), "fashion-features", resize="pillow-bilinear-28")
    assert resized(np.zeros((2, 32, 28, 1), np.uint8)).shape == (2, 128)


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout, self.head = torch.nn.Dropout(0.5), torch.nn.Linear(4, 3)

    def forward(self, x):
        assert x.dtype == torch.float32 and x.shape[1:] == (1, 8, 8) and x.min() >= -1 and x.max() <= 1
        features = self.dropout(torch.nn.functional.avg_pool2d(x, 4).flatten(1))
        return features, self.head(features)


def test_module_sees_images_in_minus_one_to_one_and_eval_mode():
    module = Classifier()
    extractor, grey = from_module(module, "tiny"), IMAGES[..., :1]
    expected = (grey[..., 0] / 127.5 - 1).reshape(-1, 2, 4, 2, 4).mean((2, 4)).reshape(-1, 4)
    assert np.allclose(extractor(grey), expected, atol=1e-6)
    assert np.allclose(extractor.probabilities(grey).sum(1), 1, atol=1e-6)
    other = Classifier()
    other.load_state_dict(module.state_dict())
    assert from_module(other, "tiny").recipe == extractor.recipe
    other.head.bias.data[0] += 1e-3
    assert from_module(other, "tiny").recipe != extractor.recipe
    with pytest.raises(MetricError, match=r"`images` have 3 channels; tiny \(channels 'grey'\) takes 1"):
        extractor(IMAGES)


def test_callables_resizing_and_channels():
    seen = []
    flat = from_callable(
        lambda x: seen.append(x) or x.flatten(1).numpy(), "pixels", HASH, resize="pillow-bicubic-5", channels="rgb"
    )
    features = flat(IMAGES[:2, :, :6])
    assert seen[0].shape == (2, 3, 5, 5) and seen[0].dtype == torch.uint8 and features.shape == (2, 75)
    pillow = np.asarray(Image.fromarray(IMAGES[1, :, :6]).resize((5, 5), Image.Resampling.BICUBIC))
    assert np.array_equal(seen[0][1].numpy().transpose(1, 2, 0), pillow)
    two = from_callable(lambda x: x.flatten(1), "pixels", HASH)
    assert two(IMAGES[..., :2]).shape == (60, 128)
    with pytest.raises(MetricError, match="pixels gives no class probabilities"):
        two.probabilities(IMAGES)


@pytest.mark.parametrize(
    "images,match",
    [
        (IMAGES / 255, r"must be a uint8 array \(B, H, W, C\), but is float64 \(60, 8, 8, 3\)"),
        (IMAGES[0], r"but is uint8 \(8, 8, 3\)"),
        (torch.zeros(2, 3, 8, 8), "but is torch.float32"),
        ([1, 2], "but is list"),
    ],
)
def test_images_are_uint8_arrays(images, match):
    with pytest.raises(MetricError, match=match):
        from_callable(lambda x: x.flatten(1), "pixels", HASH)(images)


def test_features_must_be_a_matrix():
    for give, words in (
        (
            lambda rows: rows,
            r"shape \(N, d\), a row for each image, but has shape \(60, 3, 8, 8\). Flatten or pool",
        ),
        (lambda rows: (rows.flatten(1), rows.flatten(1)), r"but has shape \(2, 60, 192\)"),
        (lambda rows: rows[1:].flatten(1), "59 rows for 60 images"),
    ):
        with pytest.raises(MetricError, match=f"What the extractor pixels gave .*{words}"):
            from_callable(give, "pixels", HASH)(IMAGES)


@pytest.mark.parametrize(
    "give,kind",
    [
        (lambda rows: None, "NoneType"),
        (lambda rows: {"features": rows}, "dict"),
        (lambda rows: rows + 1j, "Tensor of torch.complex64"),
        (lambda rows: rows.to_sparse(), "Tensor of torch.sparse_coo"),
        (lambda rows: np.ma.masked_array(rows.numpy(), rows.numpy() > 1), "MaskedArray of float32"),
        (lambda rows: rows.numpy().astype(str), "ndarray of <U32"),
        (lambda rows: rows.numpy().astype(object), "ndarray of object"),
        (lambda rows: "features", "str"),
    ],
)
def test_what_an_extractor_gives_that_is_no_features(give, kind):
    extractor = from_callable(lambda x: give(x.flatten(1).float()), "pixels", HASH)
    with pytest.raises(
        MetricError,
        match=f"What the extractor pixels gave must be an array or a tensor of real numbers, .* but is {kind}",
    ):
        extractor(IMAGES)


def test_an_extractor_s_arrays_are_taken_whatever_their_strides_and_byte_order():
    rows = IMAGES.reshape(60, -1).astype(np.float32)
    for given in (rows[::-1], rows.astype(">f4"), rows.astype("<f8")[:, ::-1][:, ::-1]):
        assert np.array_equal(from_callable(lambda x, given=given: given, "pixels", HASH)(IMAGES), given)


def test_an_extractor_s_gradients_are_left_behind():
    weight = torch.ones(60, 2, requires_grad=True)
    assert np.array_equal(from_callable(lambda x: weight, "pixels", HASH)(IMAGES), np.ones((60, 2), np.float32))


class FeaturesOnly(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)


def test_a_network_must_give_features_and_logits():
    extractor = from_module(FeaturesOnly(), "tiny", HASH)
    for count in (1, 2, 3):
        with pytest.raises(
            MetricError, match=r"The network tiny gave Tensor, not \(features, logits\). Wrap it, or take"
        ):
            extractor(IMAGES[:count, ..., :1])


@pytest.mark.parametrize(
    "change,match",
    [
        ({"name": ""}, "`name` is empty"),
        ({"sha256": HASH.upper()}, "not 64 lower-case hex digits"),
        ({"sha256": "abc"}, "`sha256` is 'abc'"),
        ({"resize": "bicubic"}, "`resize` is 'bicubic'; it is 'none' or 'pillow-FILTER-SIZE'"),
        ({"channels": "bgr"}, "`channels` is 'bgr'; it is one of as-is, grey, rgb"),
    ],
)
def test_recipes_are_explicit(change, match):
    with pytest.raises(MetricError, match=match):
        Recipe(**({"name": "pixels", "sha256": HASH} | change))


def test_statistics_keep_all_that_makes_them_comparable(tmp_path):
    recipe, path = Recipe("pixels", HASH, "pillow-bicubic-5", "rgb"), tmp_path / "ref.npz"
    features = RNG.standard_normal((20, 3)).astype(np.float32)
    save_statistics(
        path, Statistics(features.mean(0), np.cov(features, rowvar=False), 20, recipe, "float32", "train", features)
    )
    back = load_statistics(path)
    assert (back.n, back.recipe, back.dtype, back.source) == (20, recipe, "float32", "train")
    assert np.array_equal(back.features, features) and np.array_equal(back.sigma, np.cov(features, rowvar=False))
    with np.load(path, allow_pickle=False) as file:
        assert {"mu", "sigma", "n", "dtype", "name", "sha256", "resize", "channels"} <= set(file.files)
    check_comparable(recipe, 3, back)
    for field, value in (("name", "other"), ("sha256", HASH[::-1]), ("resize", "none"), ("channels", "as-is")):
        with pytest.raises(
            MetricError, match=f"made by other features .{field} .* there, .* here.*nothing was compared"
        ):
            check_comparable(Recipe(**(vars(recipe) | {field: value})), 3, back)
    with pytest.raises(MetricError, match="gives d = 4 features, the reference has d = 3"):
        check_comparable(recipe, 4, back)


@pytest.mark.parametrize(
    "extra", [{}, {"mu_s": np.zeros(2), "sigma_s": np.eye(2), "arr_0": IMAGES[:2]}], ids=["edm", "adm"]
)
def test_reads_the_files_of_edm_and_adm(tmp_path, extra):
    np.savez(tmp_path / "ref.npz", mu=np.ones(3), sigma=2 * np.eye(3), **extra)
    reference = load_statistics(tmp_path / "ref.npz")
    assert (reference.n, reference.recipe) == (None, None)
    assert np.array_equal(reference.mu, np.ones(3)) and np.array_equal(reference.sigma, 2 * np.eye(3))
    with pytest.warns(UserWarning, match="does not say which features made it.*only d = 3 could be checked"):
        check_comparable(Recipe("pixels", HASH), 3, reference)


def test_statistics_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    statistics = Statistics(np.ones(3), np.eye(3), 9, Recipe("pixels", HASH))
    save_statistics(tmp_path / "ref.npz", statistics)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with pytest.raises(
        MetricError, match=r"cannot be written to .*ref.npz: File exists. What was there before still is\."
    ):
        save_statistics(tmp_path / "ref.npz", statistics, over=False)
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(
        MetricError, match=r"cannot be written to .*ref.npz: No space left on device. What was there before still is\."
    ):
        save_statistics(tmp_path / "ref.npz", statistics)
    with pytest.raises(
        MetricError, match=r"cannot be written to .*new.npz: No space left on device. Nothing was left there\."
    ):
        save_statistics(tmp_path / "new.npz", statistics)
    assert [file.name for file in tmp_path.iterdir()] == ["ref.npz"] and load_statistics(tmp_path / "ref.npz").n == 9
    with pytest.raises(MetricError, match=r"cannot be written to .*No such file or directory"):
        save_statistics(tmp_path / "absent" / "ref.npz", statistics)
    with pytest.raises(MetricError, match="`statistics` has no recipe"):
        save_statistics(tmp_path / "b.npz", Statistics(np.ones(3), np.eye(3)))


@pytest.mark.parametrize("claimed", [(2**40,), (50_000_000,), (-1,)])
def test_a_reference_cannot_promise_more_than_its_bytes(tmp_path, claimed):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": claimed})
    with zipfile.ZipFile(tmp_path / "ref.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("mu.npy", "w") as file:
            file.write(header.getvalue())
            for _ in range(100 if claimed[0] == 50_000_000 else 0):
                file.write(bytes(4_000_000))
        archive.writestr("sigma.npy", npy(np.eye(3)))
    with pytest.raises(MetricError, match=r"its `mu` says that it is float64|mu\.npy would be unpacked from"):
        load_statistics(tmp_path / "ref.npz")


def test_damaged_references_are_named(tmp_path):
    path = tmp_path / "ref.npz"

    def refused(match):
        with pytest.raises(MetricError, match=match):
            load_statistics(path)

    refused("ref.npz does not exist. `seeds ref` makes one")
    np.savez(path, mu=np.ones(30), sigma=np.eye(30))
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:10], b"", b"hello", whole[:500] + b"\xff" * 8 + whole[508:]):
        path.write_bytes(damaged)
        refused("ref.npz cannot be read: .*damaged, or no statistics file; `seeds ref` makes one")
    for other in (b"# README\n", npy(np.ones(3)), b"\x89PNG\r\n\x1a\n" + bytes(40)):
        path.write_bytes(other)
        refused(r"ref.npz cannot be read: File is not a zip file\. It is damaged, or no")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu.npy", "no array")
        archive.writestr("sigma.npy", npy(np.eye(3)))
    refused("ref.npz cannot be read: its `mu` is no array")
    good = {"mu": np.ones(3), "sigma": np.eye(3)}
    for arrays, match in (
        ({"mu": np.ones(3)}, "it holds mu, but no `sigma`"),
        ({"arr_0": IMAGES}, "it holds arr_0, but no `mu`, `sigma`"),
        ({"mu": np.array([{}]), "sigma": np.eye(1)}, "its `mu` holds Python objects, which are not read"),
        ({"mu": np.ones(3), "sigma": np.eye(2)}, r"`mu` and `sigma` must have shapes .* have \(3,\) and \(2, 2\)"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"must have shapes .* have \(0,\)"),
        ({"mu": np.array([np.nan]), "sigma": np.eye(1)}, "`mu` holds a NaN"),
        (good | {"sigma": np.triu(np.ones((3, 3)))}, "`sigma` is not symmetric"),
        (good | {"mu": 1j * np.ones(3)}, "its `mu` is complex128, no real numbers"),
        (good | {"mu": np.array(["a", "b", "c"])}, "its `mu` is <U1, no real numbers"),
        (good | {"n": "many"}, "its `n` is <U4, no real numbers"),
        (good | {"n": np.array([1, 2])}, r"its `n` is \[1 2\], not the number of two or more images"),
        (good | {"n": 2.5}, "its `n` is 2.5, not"),
        (good | {"n": 1}, "its `n` is 1, not"),
        (
            good | {"features": np.ones((5, 2))},
            r"its `features` \(5, 2\) do not belong to its `mu` \(3,\) of None images",
        ),
        (
            good | {"features": np.ones((7, 3)), "n": 5},
            r"its `features` \(7, 3\) do not belong to its `mu` \(3,\) of 5 images",
        ),
        (good | {"features": np.ones(3)}, r"`features` must have shape \(N, d\)"),
        (good | {"features": np.full((4, 3), np.nan)}, "`features` holds a NaN or an infinity, first in row 0"),
        (good | {"features": np.array([["a", "b", "c"]])}, "its `features` is <U1, no real numbers"),
        (good | {"name": "x", "sha256": "zz", "resize": "none", "channels": "rgb"}, "`sha256` is 'zz'"),
        (good | {"source": np.array(["a", "b"])}, r"its `source` is <U1 \(2,\), no text"),
    ):
        np.savez(path, **arrays)
        refused(f"ref.npz cannot be read: .*{match}")


def feature_recipe():
    return from_module(checkpoints.load("fashion-features"), "fashion-features").recipe


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def run(command, *arguments):
    # click 8.1 would put both into one
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    words = [command.name, *map(str, arguments)]
    return CliRunner(**apart).invoke(click.Command("line", callback=lambda: sys.exit(main(words))))


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a line of the command line in an empty folder that holds images.npz, asks for one sentence about it, and
    gives it."""
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "images.npz", arr_0=CLOTHES)

    def run_line(line, *more):
        code = main([*line.split(), *map(str, more)])
        told = capsys.readouterr()
        assert code and not told.out and told.err.startswith("Error: ") and told.err.count("\n") == 1, told
        return told.err

    return run_line


def test_commands(tmp_path, detector):
    path, sha256 = detector
    extract = ("--features", path, "--sha256", sha256, "--batch", 7)
    np.savez(tmp_path / "train.npz", arr_0=IMAGES)
    images = tmp_path / "images.zip"
    with zipfile.ZipFile(images, "w") as archive:
        for i, image in enumerate(IMAGES[:40] // 2):
            with archive.open(f"{i:06d}.png", "w") as file:
                Image.fromarray(image).save(file, "PNG")
    features, reference = features_of(IMAGES[:40] // 2), features_of(IMAGES)

    made = run(ref, "--images", tmp_path / "train.npz", *extract, "--keep-features", "--out", tmp_path / "ref.npz")
    assert made.exit_code == 0 and "60 images, d = 5, small-detector (sha256" in made.output
    assert load_statistics(tmp_path / "ref.npz").source == "train.npz"

    result = json.loads(run(fid, images, "--ref", tmp_path / "ref.npz", *extract, "--units", 5, "--json").output)
    gaussians = []
    for rows in (features.astype(np.float64), reference.astype(np.float64)):
        gaussians += [rows.mean(0), np.cov(rows, rowvar=False)]
    assert result["value"] == pytest.approx(frechet_distance(*gaussians), rel=1e-5)
    assert (
        result["n"] == 40
        and len(result["parts"]) == 5
        and result["features"]["sha256"] == sha256
        and result["reference_n"] == 60
    )

    text = run(kid, images, "--ref", tmp_path / "ref.npz", *extract, "--num", 30).output
    assert float(text.split()[2]) == pytest.approx(kernel_distance(features[:30], reference).value, rel=1e-4)
    assert text.startswith("kernel distance") and text.endswith("(30 images; 95 %, jackknife over 10 units)\n")
    subsets = json.loads(run(kid, images, "--ref", tmp_path / "ref.npz", *extract, "--subsets", "--json").output)
    assert subsets["value"] == pytest.approx(kernel_distance(features, reference, across=False).value, rel=1e-4)

    one = json.loads(run(is_, images, *extract, "--splits", 1, "--json").output)
    probabilities = from_torchscript(path, sha256).probabilities(IMAGES[:40] // 2)
    assert one["value"] == pytest.approx(inception_score(probabilities, 1).value, rel=1e-5) and one["low"] is None


def test_bundled_classifier_by_name(tmp_path, monkeypatch):
    class CheckpointError(ValueError):
        pass

    def info(name):
        if name == "absent":
            raise CheckpointError("no bundled model of that name")
        return {"name": name, "kind": "features" if name == "tiny" else "mixture"}

    checkpoints = types.ModuleType("seeds.checkpoints")
    module = Classifier()
    checkpoints.__dict__.update(CheckpointError=CheckpointError, info=info, load=lambda name: module)
    monkeypatch.setitem(sys.modules, "seeds.checkpoints", checkpoints)
    np.savez(tmp_path / "images.npz", arr_0=IMAGES[..., 0])
    made = run(ref, "--images", tmp_path / "images.npz", "--features", "tiny", "--out", tmp_path / "ref.npz")
    assert made.exit_code == 0 and load_statistics(tmp_path / "ref.npz").recipe == from_module(module, "tiny").recipe
    for name, match in (
        ("absent", "`--features` absent: no bundled model"),
        ("mix", "of kind 'mixture', no feature network"),
    ):
        assert match in run(is_, tmp_path / "images.npz", "--features", name).stderr


def test_command_errors_and_warnings_are_one_line(tmp_path, detector):
    path, sha256 = detector
    extract = ("--features", path, "--sha256", sha256)
    np.savez(tmp_path / "images.npz", arr_0=IMAGES)
    np.savez(tmp_path / "edm.npz", mu=np.zeros(5), sigma=np.eye(5))
    told = run(fid, tmp_path / "images.npz", "--ref", tmp_path / "edm.npz", *extract)
    assert told.exit_code == 0 and told.stderr.startswith("Warning: The reference does not say which features made it")
    for arguments, match in (
        ((fid, tmp_path / "none", "--ref", tmp_path / "edm.npz", *extract), "none does not exist"),
        ((fid, tmp_path / "images.npz", "--ref", tmp_path / "none.npz", *extract), "none.npz does not exist"),
        ((fid, tmp_path / "images.npz", "--ref", tmp_path / "edm.npz", "--features", path), "none was given"),
        (
            (fid, tmp_path / "images.npz", "--ref", tmp_path / "edm.npz", *extract, "--num", 9),
            "N = 9 is too small for 10 units",
        ),
        ((kid, tmp_path / "images.npz", "--ref", tmp_path / "edm.npz", *extract), "seeds ref --keep-features"),
        ((is_, tmp_path / "images.npz", *extract, "--num", 3), "`splits` is 10"),
        ((ref, "--images", tmp_path / "images.npz", *extract, "--out", path / "ref.npz"), "cannot be written"),
    ):
        failed = run(*arguments)
        *warned, error = failed.stderr.splitlines()
        assert failed.exit_code == 1 and error.startswith("Error: ") and match in error and not failed.stdout
        assert all(line.startswith("Warning: ") for line in warned)
    assert run(fid, tmp_path / "images.npz", "--ref", tmp_path / "edm.npz", *extract, "--units", 1).exit_code == 2


@pytest.mark.parametrize("name", ["folder", "all.zip", "all.npz"])
def test_a_live_sampler_is_measured_as_its_files_are_and_seeds_choose_among_them(tmp_path, detector, name):
    path, sha256 = detector
    np.savez(tmp_path / "train.npz", arr_0=IMAGES[:, :4, :4])
    extract = ("--features", path, "--sha256", sha256, "--batch", 6)
    assert (
        run(
            ref, "--images", tmp_path / "train.npz", *extract, "--keep-features", "--out", tmp_path / "ref.npz"
        ).exit_code
        == 0
    )
    sampler = ("--model", "toy:colour", "--solver", "seeds-2", "--steps", 3)
    drawn = run(sample, *sampler, "--batch", 6, "--seeds", "3-26", "--out", tmp_path / name)
    assert drawn.exit_code == 0, drawn.output
    for command, more in (
        (fid, ("--ref", tmp_path / "ref.npz", "--units", 3)),
        (kid, ("--ref", tmp_path / "ref.npz", "--units", 3)),
        (is_, ("--splits", 2)),
    ):
        for chosen in ("3-26", "9-20"):
            live = json.loads(run(command, *sampler, "--seeds", chosen, *extract, *more, "--json").output)
            stored = json.loads(run(command, tmp_path / name, "--seeds", chosen, *extract, *more, "--json").output)
            assert (
                live["value"] == stored["value"]
                and live["parts"] == stored["parts"]
                and live["n"] == (24 if chosen == "3-26" else 12)
            )
            assert live["job"]["seeds"] == chosen and stored["images"].endswith(name)
        whole = json.loads(run(command, tmp_path / name, *extract, *more, "--json").output)
        assert whole["n"] == 24  # grid.png is none of them
    some = ("--seeds", "9-20", "--num", 8, *extract, "--splits", 2, "--json")
    live, stored = (json.loads(run(is_, *source, *some).output) for source in (sampler, (tmp_path / name,)))
    assert live["job"]["seeds"] == "9-16" and live["n"] == stored["n"] == 8 and live["parts"] == stored["parts"]
    for source in (sampler, (tmp_path / name,)):
        assert "`num` = 13 images" in run(is_, *source, "--seeds", "9-20", "--num", 13, *extract).stderr
    missing = run(is_, tmp_path / name, "--seeds", "20-30", *extract)
    assert missing.exit_code == 1 and "holds no image of 4 of 11 `seeds`; the first is 27" in missing.stderr


def test_the_source_of_images_must_be_plain(tmp_path, detector):
    np.savez(tmp_path / "images.npz", arr_0=IMAGES)
    extract = ("--features", detector[0], "--sha256", detector[1])
    for arguments, words in (
        ((), "Give either IMAGES"),
        ((tmp_path / "images.npz", "--model", "toy:colour"), "Give either IMAGES"),
        ((tmp_path / "images.npz", "--solver", "seeds-3"), "`--solver` is for images that a model draws"),
        ((tmp_path / "images.npz", "--class", 3), "`--class` is for images that a model draws"),
        ((tmp_path / "images.npz", "--nsr-min", 0.1), "`--nsr-min` is for images that a model draws"),
        ((tmp_path / "images.npz", "--S_noise", 1), "`--S_noise` is for images that a model draws"),
        (("--model", "toy:colour"), "Say which images the model is to draw"),
    ):
        failed = run(is_, *arguments, *extract)
        assert failed.exit_code == 2 and words in failed.stderr
    assert (
        "does not say which image is of which seed"
        in run(is_, tmp_path / "images.npz", "--seeds", "1-3", *extract).stderr
    )


def test_an_empty_list_of_seeds_is_refused_not_left_out(refused):
    for line in ("fid --ref fashion-mnist", "is"):
        assert "`seeds` = '' is no list of seeds" in refused(f"{line} images.npz --seeds", "", *OURS)


def test_ref_writes_over_nothing(refused, tmp_path):
    before = (tmp_path / "images.npz").read_bytes()
    line = "ref --images images.npz --out images.npz"
    assert "`--out` images.npz is there already, and is not written over. Choose another" in refused(line, *OURS)
    assert (tmp_path / "images.npz").read_bytes() == before
    again = Session(group=Group(again=True))  # started anew by an elastic agent, after the file was written
    words = ["--images", "images.npz", *OURS, "--out", "ref.npz"]
    assert [CliRunner().invoke(ref, words, obj=obj).exit_code for obj in (None, None, again)] == [0, 1, 0]


def test_ref_makes_its_folder_and_looks_for_its_place_before_the_work(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "__call__", lambda extractor, images: pytest.fail("an image was looked at"))
    assert "`--out` images.npz/ref.npz cannot be written: " in refused(
        "ref --images images.npz --out images.npz/ref.npz", *OURS
    )
    assert "N = 1 image of images.npz is too few: a covariance needs at least 2" in refused(
        "ref --images images.npz --num 1 --out ref.npz", *OURS
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main(["ref", "--images", "images.npz", *OURS, "--out", "new/folder/ref.npz"]) == 0
    assert load_statistics(tmp_path / "new/folder/ref.npz").n == 30 and not list(tmp_path.glob("ref*"))


def test_what_is_wrong_is_found_before_an_image_is_drawn_or_looked_at(refused, tmp_path, monkeypatch):
    def never(*_):
        pytest.fail("an image was drawn or looked at")

    monkeypatch.setattr(Job, "images", never)
    monkeypatch.setattr(Extractor, "_run", never)
    few = Statistics(np.zeros(128), np.eye(128), 10, feature_recipe(), features=np.zeros((10, 128), np.float32))
    save_statistics(tmp_path / "few.npz", few)
    np.savez(
        tmp_path / "other.npz", mu=np.zeros(128), sigma=np.eye(128), **(vars(feature_recipe()) | {"name": "other"})
    )
    drawn = "--model fashion-mixture --num 30"
    for source in ("images.npz", drawn):
        for line, words in (
            ("fid --ref fashion-mnist --units 10 --num 15", "N = 15 is too small for 10 units of at least 2 rows"),
            ("is --splits 31", "`splits` is 31, but must lie between 1 and N = 30"),
            ("kid --ref few.npz --units 10", "The reference has N = 10 rows, which is too small for 10 units"),
            ("kid --ref few.npz --units 5 --num 9", "N = 9 is too small for 5 units"),
            ("fid --ref other.npz", "The reference was made by other features (name other there"),
        ):
            assert words in refused(line.replace(" ", f" {source} ", 1), *OURS)
    assert "knows 28 x 28 only" in refused("is --model toy:plain --num 30", *OURS)


@pytest.mark.parametrize("device", ["cuda:99", "xyz"])
@pytest.mark.parametrize(
    "line", ["fid images.npz --ref fashion-mnist", "is images.npz", "ref --images images.npz --out ref.npz"]
)
def test_a_device_that_is_not_there(refused, line, device):
    assert f"`device` = '{device}' is not available here. Available: cpu" in refused(line, *OURS, "--device", device)


def test_json_says_what_the_numbers_came_from(tmp_path):
    np.savez(tmp_path / "images.npz", arr_0=CLOTHES, seeds=np.arange(30))
    words = (tmp_path / "images.npz", *OURS, "--batch", 7, "--json")
    said = json.loads(run(fid, *words, "--ref", "fashion-mnist", "--num", 20, "--units", 4).stdout)
    sha256 = hashlib.sha256(bundled_statistics()["fashion-mnist"].read_bytes()).hexdigest()
    assert (said["reference"], said["reference_sha256"], said["reference_n"]) == ("fashion-mnist", sha256, 60_000)
    assert (said["num"], said["seeds"], said["batch"], said["units"]) == (20, None, 7, 4) and said[
        "version"
    ] == seeds.__version__
    chosen = json.loads(run(is_, *words, "--seeds", "3-9,12", "--splits", 2).stdout)
    assert (chosen["num"], chosen["seeds"], chosen["batch"], chosen["splits"]) == (None, "3-9,12", 7, 2)


def test_images_at_an_empty_path_are_refused_not_those_of_the_current_folder(refused):
    for words in (("is", ""), ("ref", "--out", "ref.npz", "--images", "")):
        assert "it is empty; give a name" in refused(words[0], *words[1:], *OURS)


def test_a_detector_is_told_by_its_content_not_its_name(refused, tmp_path, detector):
    path, sha256 = detector
    (tmp_path / "detector").write_bytes(path.read_bytes())
    assert f"`sha256` of detector is {sha256}; none was given" in refused("is images.npz --features detector")
    assert run(is_, "images.npz", "--features", "detector", "--sha256", sha256).exit_code == 0
    told = refused("is images.npz --sha256 abc", *OURS)
    assert (
        "`--sha256` belongs to a TorchScript file, but `--features` fashion-features is none, nor is there such a file."
        in told
    )
    (tmp_path / "words").write_text("words")
    assert "`--features` words is none. Give the detector's path" in refused(
        "is images.npz --features words --sha256 abc"
    )


@pytest.mark.parametrize(
    ("shape", "found"), [((32, 32, 3), "have 3 channels"), ((32, 32, 1), "are 32 x 32 pixels"), ((28, 28, 3), "have 3")]
)
@pytest.mark.parametrize("line", ["fid other.npz", "is other.npz", "ref --images other.npz --out ref.npz"])
def test_without_features_it_is_said_which_there_are(refused, tmp_path, monkeypatch, line, shape, found):
    monkeypatch.setattr(Extractor, "_run", lambda *_: pytest.fail("an image was looked at"))
    np.savez(tmp_path / "other.npz", arr_0=np.zeros((30, *shape), np.uint8))
    told = refused(line)
    ours = (
        "fashion-features (bundled, for grey images of 28 x 28), emoji-features (for colour of 32 x 32), pixels (of "
        "any images), or the path"
    )
    assert found in told and f"`--features` may be {ours}" in told
    for given in ("", "inception"):
        assert "`--features` may be fashion-features" in refused(line, "--features", given)


def test_the_defaults_of_fid_are_those_of_curves(tmp_path):
    np.savez(tmp_path / "images.npz", arr_0=CLOTHES)
    bare = run(fid, tmp_path / "images.npz").output
    assert (
        bare == run(fid, tmp_path / "images.npz", "--ref", "fashion-mnist", *OURS).output
        and "squared Frechet distance" in bare
    )
    asked = curves.make_context("curves", []).params
    assert (asked["features"], asked["reference"]) == ("fashion-features", "fashion-mnist")


@pytest.mark.parametrize("line", ["fid images.npz", "kid images.npz", "curves --out study"])
def test_a_folder_as_reference_is_told_how_to_become_one(refused, tmp_path, line):
    (tmp_path / "train").mkdir()
    assert (
        "`--ref` train is a folder; a reference is a file of statistics. Make one of the images in it: seeds ref "
        "--images train" in refused(f"{line} --ref train")
    )


def test_a_zip_of_images_given_as_reference_is_told_by_a_few_of_its_names(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for i in range(1000):
            archive.writestr(f"{i:06d}.png", b"")
    told = refused("fid images.npz --ref images.zip", *OURS)
    assert "it holds 000000.png, 000001.png, 000002.png, 000003.png and 996 more, but no `mu`, `sigma`" in told
