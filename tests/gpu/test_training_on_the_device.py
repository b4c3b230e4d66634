"""The recipes' trainer on the device: the same batches, steps that nobody waits for, and a state that any device goes
on from."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from devices import everywhere, on_gpus, unwaited

from recipes import train_fashion_unet, train_fashion_unet_2, training
from recipes.training import Data, Settings, Trainer, batch_at, loss_of, train
from seeds.noise import device as drawing

TINY = {
    "img_resolution": 4, "in_channels": 4, "out_channels": 4, "label_dim": 10, "model_channels": 8,
    "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return Data(rng.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8), rng.integers(0, 10, 30), np.arange(30) < 20)


def trainer_on(device, **changes):
    settings = Settings(**{"images": 80, "batch": 8, "warmup": 16, "cooldown": 40, "seed": 3} | changes)
    return Trainer(replace(train_fashion_unet.SUBJECT, network=TINY), settings, device)


@everywhere
def test_batches_are_the_same_on_every_device(device, data, monkeypatch):
    monkeypatch.setattr(drawing, "ABLE", ())
    want = [batch_at(data, 10, seen, Settings(batch=20)) for seen in (0, 20, 50)]
    monkeypatch.setattr(drawing, "ABLE", ("cpu", "cuda"))
    for seen, (clean, nsr, noise, labels) in zip((0, 20, 50), want, strict=True):
        found = batch_at(data.on(device), 10, seen, Settings(batch=20))
        assert all(it.device.type == device for it in found)
        torch.testing.assert_close(found[1].cpu(), nsr)  # exp is the device's own
        assert all(torch.equal(a.cpu(), b) for a, b in zip((found[0], *found[2:]), (clean, noise, labels), strict=True))


def test_pixels_are_rounded_once():
    """What divides by a number multiplies by its inverse on CUDA, which is another last bit in 111 of 256 values."""
    ramp = Data(np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1), np.zeros(256, np.int64))
    clean = batch_at(ramp, 1, 0, Settings(batch=256))[0].flatten().sort().values.numpy()
    assert clean.tobytes() == ((np.arange(256, dtype=np.float32) - np.float32(127.5)) * np.float32(2 / 255)).tobytes()
    assert clean.tolist() == (-clean[::-1]).tolist() and clean[-1] == 1


def test_a_batch_has_the_law_that_it_should(data):
    clean, nsr, noise, labels = batch_at(data, 10, 0, Settings(batch=3000, label_dropout=0.25))
    assert clean.shape == noise.shape == (3000, 1, 8, 8) and nsr.shape == (3000, 1, 1, 1) and labels.shape == (3000, 10)
    assert abs(nsr.log().mean() + 0.9) < 0.1 and abs(nsr.log().std() - 1.2) < 0.1 and abs(noise.std() - 1) < 0.01
    assert abs(labels.sum(1).mean() - 0.75) < 0.04 and -1 <= clean.min() < clean.max() <= 1
    assert not torch.equal(*(batch_at(data, 10, 0, Settings(seed=seed))[2] for seed in (0, 1)))


@everywhere
def test_nobody_waits_for_a_step(device, data):
    trainer = trainer_on(device)
    loss, there = loss_of(trainer.network, 0.7, torch.bfloat16), data.on(device)
    trainer.step(loss, batch_at(there, 10, 0, trainer.settings))
    batch = batch_at(there, 10, 8, trainer.settings)
    with unwaited(device, numbers=False):
        values = [trainer.step(loss, batch) for _ in range(2)]
    assert all(value.shape == () and value.isfinite() for value in values) and trainer.seen == 24


@everywhere
def test_a_run_goes_on_on_another_device(device, data, tmp_path):
    whole, first, second = trainer_on("cpu"), trainer_on("cpu"), trainer_on(device)
    train(whole, data, tmp_path)
    loss = loss_of(first.network, first.settings.sd, torch.float32)
    for _ in range(5):
        first.step(loss, batch_at(data, 10, first.seen, first.settings))
    first.spent = {"cpu": 7.0}
    first.save(tmp_path / "state.safetensors")
    second.load(tmp_path / "state.safetensors")
    train(second, data, tmp_path)
    assert second.seen == whole.seen == 80 and second.device.type == device and second.seconds > 7
    assert set(second.spent) == {"cpu", training.name_of(torch.device(device))}
    apart = 1e-6 if device == "cpu" else 12 * whole.settings.lr  # Adam makes much of the rounding of a small gradient
    for name, tensor in whole.tensors().items():
        assert (second.tensors()[name].cpu() - tensor).abs().max() <= apart, name
    second.export(tmp_path / "it.safetensors", 0)
    back = trainer_on("cpu")
    back.start_from(tmp_path / "it.safetensors")
    assert back.seen == 80 and set(back.spent) == set(second.spent)


def test_the_run_is_fitted_to_the_time(data, tmp_path, monkeypatch):
    """A step of 8 images a pretended second: known after 18, when 12 of 30 are left, of which 3 % are kept back."""
    now = [0.0]

    def step_of_a_second(*given):
        now[0] += 1
        return batch_at(*given)

    monkeypatch.setattr(training, "batch_at", step_of_a_second)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(training, "EVERY", 6)
    trainer = trainer_on("cpu", images=10**6)
    assert train(trainer, data, tmp_path, fit=0.5) == 8
    assert trainer.seen == trainer.settings.images == (18 + 11) * 8 and trainer.settings.cooldown == 139
    assert [entry["images"] for entry in trainer.history] == [10**6, 232] and trainer.settings.rate(232) == 0


def test_a_run_that_breaks_leaves_the_last_save(data, tmp_path):
    trainer = trainer_on("cpu", images=800)
    trainer.save(tmp_path / "state.safetensors")
    before = (tmp_path / "state.safetensors").read_bytes()
    next(iter(trainer.params.values())).data.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"The loss after 400 images is nan. Go on from the last save"):
        train(trainer, data, tmp_path)
    with pytest.raises(
        FloatingPointError, match=r"weights after 400 images are not finite. .*state.safetensors is as it was"
    ):
        trainer.save(tmp_path / "state.safetensors")
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_the_second_network_is_within_its_size():
    trainer = Trainer(train_fashion_unet_2.SUBJECT, train_fashion_unet_2.SETTINGS)
    assert 10e6 < 2 * sum(p.numel() for p in trainer.params.values()) < 12e6


@on_gpus
def test_a_compiled_bfloat16_step_lowers_the_loss(device, data, tmp_path):
    trainer = trainer_on(device, images=1600, lr=5e-3, cooldown=400)
    train(trainer, data, tmp_path, compiled=True, dtype=torch.bfloat16)
    rows = (tmp_path / "loss.csv").read_text().splitlines()[1:]
    assert float(rows[-1].split(",")[-1]) < float(rows[0].split(",")[-1])
