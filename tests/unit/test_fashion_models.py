"""The bundled fashion-unet and fashion-features, and the recipes that made them."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from denoising import error_of
from safetensors import safe_open

from seeds import checkpoints
from seeds.networks.classifier import ConvClassifier

SAMPLE = Path(__file__).parents[1] / "data" / "fashion_test_200.npz"  # 20 test images of each class
TINY = {
    "img_resolution": 4, "in_channels": 4, "out_channels": 4, "label_dim": 10, "model_channels": 8,
    "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def sample():
    with np.load(SAMPLE) as file:
        return torch.from_numpy(file["images"]), torch.from_numpy(file["labels"].astype(np.int64))


@pytest.mark.parametrize(
    ("name", "most"),
    [("fashion-unet", 10e6), ("emoji-unet", 12e6), ("fashion-features", 1e6), ("emoji-features", 1e6)],
)
def test_a_bundled_file_is_small_and_says_where_it_comes_from(name, most):
    path = checkpoints.bundled()[name]
    assert path.stat().st_size <= most
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert "MIT" in about["source"]
    assert (Path(__file__).parents[2] / about["recipe"]).is_file()
    card = path.with_suffix(".md").read_text()
    assert f"{path.stat().st_size:,} bytes" in card and hashlib.sha256(path.read_bytes()).hexdigest() in card


def test_the_classifier_knows_the_test_images(sample):
    features, logits = checkpoints.load("fashion-features")(sample[0])
    assert features.shape == (200, 128)
    # 0.92 is asked on all 10,000: 2 standard deviations of 200 are 0.04
    assert (logits.argmax(1) == sample[1]).float().mean() >= 0.9


def test_the_classifier_takes_bytes_and_floats_alike(sample):
    model = checkpoints.load("fashion-features")
    torch.testing.assert_close(model(sample[0][:8]), model(sample[0][:8].float() / 127.5 - 1))
    with pytest.raises(ValueError, match=r"\(8, 3, 28, 28\)"):
        model(torch.zeros(8, 3, 28, 28))


@pytest.mark.parametrize(("nsr", "most"), [(0.05, 0.8), (0.2, 0.5), (0.7, 0.27), (3.0, 0.13), (20.0, 0.03)])
def test_the_denoiser_removes_noise(sample, nsr, most):
    assert error_of(checkpoints.load("fashion-unet"), sample[0].float() / 127.5 - 1, sample[1], nsr) < most


def test_labels_tell_the_denoiser_something(sample):
    """At high noise the class mean is better than the mean, and the wrong class's is worse than both."""
    clean = sample[0].float() / 127.5 - 1
    model = checkpoints.load("fashion-unet")
    errors = [error_of(model, clean, it, 10.0) ** 2 for it in (sample[1], None, (sample[1] + 5) % 10)]
    assert errors[0] < 0.9 * errors[1] < 0.9 * errors[2]


@pytest.fixture
def trainer_of():
    from dataclasses import replace

    from recipes import train_fashion_unet, training

    def make(network=TINY, **changes):
        settings = training.Settings(**{"images": 80, "batch": 8, "warmup": 16, "cooldown": 40, "seed": 3} | changes)
        return training.Trainer(replace(train_fashion_unet.SUBJECT, network=network), settings)

    return make


@pytest.fixture
def made_up():
    from recipes.training import Data

    rng = np.random.default_rng(0)
    return Data(rng.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8), rng.integers(0, 10, 30))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_resumed_training_is_the_unbroken_one(trainer_of, made_up, tmp_path, one_thread):
    from recipes.training import loss_of, train

    whole, first, second = (trainer_of() for _ in range(3))
    train(whole, made_up, tmp_path)
    loss = loss_of(first.network, first.settings.sd, torch.float32)
    half(first, loss, made_up)
    first.save(tmp_path / "half.safetensors")
    second.load(tmp_path / "half.safetensors")
    train(second, made_up, tmp_path)
    assert whole.seen == second.seen == 80
    assert len(whole.history) == len(second.history) == 1
    mine, theirs = whole.tensors(), second.tensors()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not any(torch.equal(mine[name], first.tensors()[name]) for name in mine if name.startswith("raw"))


def half(trainer, loss, made_up):
    from recipes.training import batch_at

    for _ in range(5):
        trainer.step(loss, batch_at(made_up, 10, trainer.seen, trainer.settings))


def test_an_epoch_shows_every_image_once(made_up):
    from recipes.training import Settings, batch_at

    seen = [batch_at(made_up, 10, at, Settings(batch=10))[0] for at in (30, 40, 50)]  # the second epoch
    shown = ((torch.cat(seen) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert sorted(map(bytes, shown)) == sorted(map(bytes, made_up.images))


def test_training_goes_on_from_an_exported_file(trainer_of, tmp_path):
    old, new = trainer_of(seed=1), trainer_of(seed=1, lr=1e-4)
    old.seen = 40
    with torch.no_grad():
        for tensor in old.ema[0].values():
            tensor.normal_(generator=torch.Generator().manual_seed(1))
    old.export(tmp_path / "it.safetensors", 0)
    new.start_from(tmp_path / "it.safetensors")
    assert new.seen == 40
    assert [entry["lr"] for entry in new.history] == [1.5e-3, 1e-4]
    for name, tensor in old.ema[0].items():
        assert torch.equal(new.params[name], tensor.half().float())
    with pytest.raises(ValueError, match="holds the network"):
        trainer_of(TINY | {"model_channels": 12}).start_from(tmp_path / "it.safetensors")


def test_the_loss_falls_and_its_curve_is_kept(trainer_of, made_up, tmp_path):
    from recipes.training import train

    train(trainer_of(images=800, lr=5e-3, cooldown=400), made_up, tmp_path)
    rows = list(csv.DictReader((tmp_path / "loss.csv").read_text().splitlines()))
    assert [int(row["images"]) for row in rows] == [400, 800]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_the_classifier_recipe_trains():
    from recipes.features import accuracy, train
    from recipes.train_fashion_features import SUBJECT
    from recipes.training import Data

    dark = torch.arange(64) % 2
    images = 100 * dark[:, None, None, None] + torch.randint(
        0, 100, (64, 1, 28, 28), generator=torch.Generator().manual_seed(0)
    )
    data = Data(images.byte().numpy(), dark.numpy())
    net = train(SUBJECT, data, epochs=1, batch=8, compiled=False)
    assert isinstance(net, ConvClassifier)
    assert 0 <= accuracy(net, data) <= 1
