"""The recipes of icon-unet and icon-features, on which the default is examined, and their data."""

import hashlib

import numpy as np
import pytest
import torch

from recipes import icons, references, train_icon_features, train_icon_unet
from recipes.training import Settings, Trainer
from seeds import Point, checkpoints
from seeds.metrics.references import load_statistics


@pytest.fixture(scope="module")
def test_split():
    return icons.read("test")


def test_every_set_is_in_both_splits_and_no_icon_in_two(test_split):
    train, test = icons.read("train"), test_split
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
    model = checkpoints.load(train_icon_unet.KEPT)
    assert model.config == Trainer(train_icon_unet.SUBJECT, train_icon_unet.SETTINGS, "meta").config()
    assert (model.shape, model.classes) == ((1, 32, 32), len(icons.CLASSES))
    assert train_icon_unet.SETTINGS == Settings(images=500_000, warmup=10_000, cooldown=300_000, sd=0.8)
    card = icons.ROOT.with_suffix(".md").read_text()
    for path in (train_icon_unet.KEPT, train_icon_features.KEPT):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card


@pytest.mark.parametrize(("nsr", "most"), [(0.05, 0.4), (0.2, 0.27), (0.7, 0.21), (3.0, 0.17), (20.0, 0.04)])
def test_the_network_removes_noise(test_split, nsr, most):
    """Root mean square error against that of the noisy image itself, with labels."""
    clean = torch.from_numpy(test_split.images[::12]).float() / 127.5 - 1
    labels = torch.from_numpy(test_split.labels[::12])
    noisy = clean + nsr * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    error = checkpoints.load(train_icon_unet.KEPT)(noisy, Point(nsr, 1.0, nsr), labels=labels) - clean
    assert error.square().mean().sqrt() < most * nsr


def test_the_classifier_tells_the_sets_of_icons_that_it_has_not_seen(test_split):
    _, logits = checkpoints.load(train_icon_features.KEPT)(torch.from_numpy(test_split.images[::8]))
    assert (logits.argmax(1).numpy() == test_split.labels[::8]).mean() >= 0.6  # chance is 0.14, always "ph" 0.28


def test_the_statistics_are_those_of_the_icons_in_the_classifiers_space(test_split):
    stored = load_statistics(icons.ROOT.with_name("icons.npz"))
    assert (stored.n, stored.recipe.name, stored.recipe.channels) == (29_037, "icon-features", "grey")
    images, weights = references.weighted(test_split)
    np.testing.assert_allclose(np.bincount(test_split.labels, weights), 1 / 7)
    features = checkpoints.load(train_icon_features.KEPT)(torch.from_numpy(images).permute(0, 3, 1, 2))[0].numpy()
    apart = weights @ features - stored.mu
    assert np.abs(apart / np.sqrt(np.diag(stored.sigma))).max() < 0.2


def test_icons_come_with_their_classes_in_turn(test_split):
    shown = references.in_turn(test_split, 70)[..., 0]
    where = {bytes(image): label for image, label in zip(test_split.images, test_split.labels, strict=True)}
    assert [where[bytes(image)] for image in shown] == list(range(7)) * 10
