"""The recipes of icon-unet and icon-features, on which the default is examined, and their data."""

import hashlib

import numpy as np
import pytest
import torch
from denoising import error_of

from recipes import icons, references, train_icon_unet
from recipes.training import Settings, Trainer
from seeds import checkpoints
from seeds.metrics.references import load_statistics


@pytest.fixture(scope="module")
def unseen():
    return icons.read("test")


def test_every_set_is_in_both_splits_and_no_icon_in_two(unseen):
    train, test = icons.read("train"), unseen
    assert len(train.labels) + len(test.labels) == len(icons.load()[1]) == 32_282
    for data in (train, test):
        assert data.images.shape == (len(data.labels), 1, 32, 32) and data.images.dtype == np.uint8
        assert (np.bincount(data.labels, minlength=7) >= 150).all()
    assert not set(map(bytes, train.images)) & set(map(bytes, test.images))


def test_a_changed_data_file_is_refused(tmp_path):
    with np.load(icons.ROOT) as file:
        data = {name: file[name][:9] for name in file}
    np.savez(tmp_path / "it.npz", **data)
    with pytest.raises(ValueError, match="does not hold the images"):
        icons.load(tmp_path / "it.npz")


def test_the_network_was_trained_with_the_recipe():
    model = checkpoints.load(icons.NETWORK)
    assert model.config == Trainer(train_icon_unet.SUBJECT, train_icon_unet.SETTINGS, "meta").config()
    assert (model.shape, model.classes) == ((1, 32, 32), len(icons.CLASSES))
    assert train_icon_unet.SETTINGS == Settings(images=500_000, warmup=10_000, cooldown=300_000, sd=0.8)
    card = icons.ROOT.with_suffix(".md").read_text()
    for path in (icons.NETWORK, icons.JUDGE):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card


@pytest.mark.parametrize(("nsr", "most"), [(0.05, 0.4), (0.2, 0.27), (0.7, 0.21), (3.0, 0.17), (20.0, 0.04)])
def test_the_network_removes_noise(unseen, nsr, most):
    clean = torch.from_numpy(unseen.images[::12]).float() / 127.5 - 1
    assert error_of(checkpoints.load(icons.NETWORK), clean, torch.from_numpy(unseen.labels[::12]), nsr) < most


def test_the_classifier_tells_the_sets_of_icons_that_it_has_not_seen(unseen):
    _, logits = checkpoints.load(icons.JUDGE)(torch.from_numpy(unseen.images[::8]))
    assert (logits.argmax(1).numpy() == unseen.labels[::8]).mean() >= 0.6  # chance is 0.14, always "ph" 0.28


def test_the_statistics_are_those_of_the_icons_in_the_classifiers_space(unseen):
    stored = load_statistics(icons.STATISTICS)
    assert (stored.n, stored.recipe.name, stored.recipe.channels) == (29_037, "icon-features", "grey")
    images, weights = references.weighted(unseen)
    np.testing.assert_allclose(np.bincount(unseen.labels, weights), 1 / 7)
    features = checkpoints.load(icons.JUDGE)(torch.from_numpy(images).permute(0, 3, 1, 2))[0].numpy()
    apart = weights @ features - stored.mu
    assert np.abs(apart / np.sqrt(np.diag(stored.sigma))).max() < 0.2


def test_icons_come_with_their_classes_in_turn(unseen):
    shown = references.in_turn(unseen, 70)[..., 0]
    where = {bytes(image): label for image, label in zip(unseen.images, unseen.labels, strict=True)}
    assert [where[bytes(image)] for image in shown] == list(range(7)) * 10
