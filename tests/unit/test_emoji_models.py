"""The recipes of emoji-unet and emoji-features, and their data."""

import importlib

import numpy as np
import pytest
import torch
from denoising import error_of

from recipes import emoji, packages
from recipes.references import weighted
from recipes.training import Data, Settings, Trainer, batch_at
from seeds import checkpoints
from seeds.checkpoints.files import data_folder
from seeds.metrics.references import bundled_statistics, load_statistics


@pytest.fixture(scope="module")
def splits():
    return {split: emoji.load(split) for split in ("train", "held")}


def test_every_group_is_trained_on_and_held_out(splits):
    for images, labels in splits.values():
        assert images.shape == (len(labels), 3, 32, 32) and images.dtype == np.uint8
        assert (np.bincount(labels, minlength=9) >= 30).all()
    shown = {split: set(map(bytes, images)) for split, (images, _) in splits.items()}
    assert len(shown["train"]) == len(splits["train"][0]) and not shown["train"] & shown["held"]


def test_all_drawings_of_a_subject_are_on_one_side():
    names = ("man cook", "woman cook", "cook", "people holding hands", "women holding hands")
    assert [emoji.subject_of(name) for name in names] == ["cook"] * 3 + ["holdinghands"] * 2
    assert 0.08 < np.mean([emoji.held_out(str(it)) for it in range(2000)]) < 0.13


def test_a_changed_data_file_is_refused(tmp_path):
    with np.load(emoji.ROOT) as file:
        data = {name: file[name][:9] for name in file}
    np.savez(tmp_path / "it.npz", **data)
    with pytest.raises(ValueError, match="does not hold the images"):
        emoji.load("train", tmp_path / "it.npz")


def test_icons_are_found_by_code_by_name_and_by_a_flags_letters():
    named = {"redapple": (0x1F34E,)}
    icons = {"prefix": "noto", "icons": {"apple": {}, "red-apple": {}}, "aliases": {"fruit": {"parent": "apple"}}}
    assert emoji.icons_by_code(icons, {"1f34e-fe0f": "fruit"}, named) == {(0x1F34E,): "apple"}
    assert emoji.icons_by_code(icons, {}, named) == {(0x1F34E,): "red-apple"}
    assert emoji.icons_by_code({"prefix": "flag", "icons": {"de-4x3": {}, "de-1x1": {}}}, {}, {}) == {
        (0x1F1E9, 0x1F1EA): "de-4x3"
    }


def test_a_wide_icon_is_framed_in_the_middle():
    icons = {"icons": {"flag": {"body": "<g/>", "width": 32, "height": 24}}}
    assert 'x="0" y="8" width="64" height="48" viewBox="0 0 32 24"' in packages.framed(icons, "flag")


def test_half_of_what_may_be_mirrored_is():
    rng = np.random.default_rng(0)
    plain = Data(rng.integers(0, 256, (400, 3, 4, 4), dtype=np.uint8), np.zeros(400, np.int64))
    settings = Settings(batch=400)
    before = batch_at(plain, 9, 0, settings)
    after = batch_at(plain._replace(flips=np.arange(400) < 200), 9, 0, settings)
    same, mirrored = ((after[0] == it).flatten(1).all(1) for it in (before[0], before[0].flip(3)))
    assert (same ^ mirrored).all() and 60 < mirrored.sum() < 140
    assert all(torch.equal(a, b) for a, b in zip(before[1:], after[1:], strict=True))


def test_the_classifier_tells_drawings_of_subjects_that_it_has_not_seen(splits):
    images, labels = splits["held"]
    model = checkpoints.load("emoji-features")
    assert (model.size, model.channels) == ((32, 32), 3)
    features, logits = model(torch.from_numpy(images[::3]))
    assert features.shape == (234, 128)
    # 0.694 of all 702; chance is 0.11, always "people" 0.38
    assert (logits.argmax(1).numpy() == labels[::3]).mean() >= 0.6
    with pytest.raises(ValueError, match=r"takes colour images as \(B, 3, H, W\)"):
        model(torch.zeros(2, 1, 32, 32))


def test_the_bundled_statistics_weigh_classes_alike_and_count_mirrored_drawings_once():
    images, weights = weighted(emoji.read("held"))
    stored = load_statistics(bundled_statistics()["emoji"])
    assert (stored.n, stored.recipe.name, stored.recipe.channels) == (5457, "emoji-features", "rgb")
    assert len(images) == 702 + (702 - 53 - 58) and weights.sum() == pytest.approx(1)
    _, labels, flips = emoji.read("held")
    np.testing.assert_allclose(np.bincount(np.concatenate([labels, labels[flips]]), weights), 1 / 9)


@pytest.mark.parametrize("name", ["train_emoji_unet", "train_emoji_unet_2"])
def test_the_network_draws_colour_in_nine_classes_and_stays_under_12_mb(name):
    recipe = importlib.import_module(f"recipes.{name}")
    with torch.device("meta"):
        denoiser = checkpoints.build(Trainer(recipe.SUBJECT, recipe.SETTINGS, "meta").config())
    assert (denoiser.shape, denoiser.classes) == ((3, 32, 32), 9)
    held = sum(p.numel() for p in denoiser.parameters())
    others = sum(data_folder().joinpath(it).stat().st_size for it in ("emoji_features.safetensors", "emoji.npz"))
    assert 2 * held + others < 12e6


@pytest.fixture(scope="module")
def held():
    """A third of the drawings of subjects that emoji-unet has not seen: images in [-1, 1], labels."""
    images, labels = emoji.load("held")
    return torch.from_numpy(images[::3]).float() / 127.5 - 1, torch.from_numpy(labels[::3])


@pytest.mark.parametrize(("nsr", "most"), [(0.05, 0.5), (0.2, 0.33), (0.7, 0.22), (3.0, 0.11), (20.0, 0.028)])
def test_the_bundled_network_removes_noise_from_drawings_it_has_not_seen(held, nsr, most):
    assert error_of(checkpoints.load("emoji-unet"), *held, nsr) < most


def test_labels_tell_the_bundled_network_something(held):
    clean, labels = held
    model = checkpoints.load("emoji-unet")
    errors = [error_of(model, clean, it, 10.0) ** 2 for it in (labels, None, (labels + 4) % 9)]
    assert errors[0] < 0.95 * errors[1] < 0.95 * 0.95 * errors[2]
