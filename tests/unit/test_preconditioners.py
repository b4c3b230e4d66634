"""Preconditioners against the reference tables, and the denoiser protocol around a network."""

import json
import math

import numpy as np
import pytest
import torch
from edm_data import ROOT

from seeds import preconditioners as pre
from seeds import schedules
from seeds.plans import Point
from seeds.preconditioners import Preconditioned

with np.load(ROOT / "precond_tables.npz") as arrays:
    TABLES = {key: arrays[key] for key in arrays.files}
FAMILIES = json.loads(str(TABLES.pop("meta_json")))


def make(family):
    return getattr(pre, family["class_name"].removesuffix("Precond"))(**family["init_kwargs"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f["tag"])
@pytest.mark.parametrize("shape", [(57,), (57, 1, 1, 1)], ids=str)
def test_coefficients(family, shape):
    tag, found = family["tag"], make(family).coefficients(torch.from_numpy(TABLES["sigma"]).reshape(shape))
    assert {c.dtype for c in found} == {torch.float32} and {c.shape for c in found} == {shape}
    for name, value in (
        ("c_in", found.c_in),
        ("c_out", found.c_out),
        ("skip_plus_out", found.c_skip + found.c_out),
        ("c_noise", found.c_noise),
    ):
        np.testing.assert_array_equal(value.flatten(), TABLES[f"{tag}__{name}32"], err_msg=name)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f["tag"])
def test_coefficients_of_one_level_are_those_of_many(family):
    """A scalar takes another path through the processor than a row of vectors; `Preconditioned` asks about scalars."""
    made = make(family)
    told = [made.coefficients(sigma).c_noise for sigma in torch.from_numpy(TABLES["sigma"])]
    np.testing.assert_array_equal(told, TABLES[f"{family['tag']}__c_noise32"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f["tag"])
def test_levels(family):
    tag, made = family["tag"], make(family)
    assert (made.sigma_min, made.sigma_max) == (family["sigma_min"], float(family["sigma_max"]))
    rounded = made.round_sigma(torch.from_numpy(TABLES["sigma"]).double())
    np.testing.assert_array_equal(rounded, TABLES[f"{tag}__round_sigma64"])
    if f"{tag}__t" in TABLES:
        np.testing.assert_array_equal(made.sigma(torch.from_numpy(TABLES[f"{tag}__t"])), TABLES[f"{tag}__sigma_of_t32"])
        np.testing.assert_array_equal(made.sigma_inv(torch.from_numpy(TABLES["sigma"])), TABLES[f"{tag}__sigma_inv32"])
        np.testing.assert_allclose(made.sigma_inv(torch.from_numpy(TABLES["sigma"]).double()), TABLES[f"{tag}__sigma_inv64"], rtol=1e-12)
    if f"{tag}__u" in TABLES:
        np.testing.assert_array_equal(made.u, TABLES[f"{tag}__u"])
        np.testing.assert_array_equal(made.index(torch.from_numpy(TABLES["sigma"])), TABLES[f"{tag}__index"])


def test_vp_keeps_the_float32_rounding_that_networks_saw():
    assert pre.VP().sigma_min == 2**-10
    told = pre.VP().coefficients(torch.tensor(0.002)).c_noise
    exact = pre.VP().coefficients(torch.tensor(0.002, dtype=torch.float64)).c_noise
    assert told.item() / exact.item() - 1 == pytest.approx(0.013, abs=0.001)


def test_iddpm_levels_for_a_grid_leave_out_zero():
    made = pre.iDDPM()
    assert made.round_sigma(torch.tensor(0.002)).item() == 0 and made.coefficients(torch.tensor(0.002)).c_noise.item() == -1
    assert made.round_nsr(np.array([0.002, 80.0])).tolist() == [made.sigma_min, pytest.approx(80.2037, rel=1e-5)]
    with pytest.raises(ValueError, match=r"`u` has shape \(3,\); a table for M = 1000 has M \+ 1 = 1001 levels"):
        pre.iDDPM(u=torch.zeros(3))


class Told(torch.nn.Module):
    """A network that answers its input plus what it was told, with a parameter to train."""

    def __init__(self, extra=0):
        super().__init__()
        self.gain, self.extra, self.calls = torch.nn.Parameter(torch.tensor(0.5)), extra, []

    def forward(self, x, noise_labels, class_labels=None, augment_labels=None):
        self.calls.append((x.dtype, noise_labels, class_labels, augment_labels))
        out = self.gain.to(x.dtype) * x + noise_labels.reshape(-1, 1, 1, 1).to(x.dtype)
        return out if class_labels is None else out + class_labels.argmax(1).reshape(-1, 1, 1, 1) * class_labels.sum(1).reshape(-1, 1, 1, 1)


def wrapped(preconditioner=None, **options):
    return Preconditioned(Told(), preconditioner or pre.EDM(), (2, 4, 4), **options)


X = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("preconditioner", [pre.VP(), pre.VE(), pre.iDDPM(), pre.EDM(sigma_data=0.7)], ids=repr)
@pytest.mark.parametrize("schedule", [schedules.EDM(), schedules.VP(), schedules.Flow()], ids=lambda s: type(s).__name__)
def test_any_schedule_asks_the_network_the_same_question(preconditioner, schedule):
    denoiser = wrapped(preconditioner)
    nsr = 1.7
    t = float(schedule.t_of_nsr(nsr))
    at = Point(t, float(schedule.alpha(t)), float(schedule.sigma(t)))
    torch.testing.assert_close(denoiser(at.alpha * X, at), denoiser.denoise(X, nsr), rtol=2e-5, atol=2e-5)


def test_sigma_per_image_is_that_image_alone():
    denoiser, sigma = wrapped(pre.VP()), torch.tensor([0.01, 1.0, 30.0])
    together = denoiser.denoise(X, sigma)
    for i in range(3):
        torch.testing.assert_close(together[i], denoiser.denoise(X[i : i + 1], sigma[i])[0])
        torch.testing.assert_close(together[i], denoiser(X[i : i + 1], Point(0.0, 1.0, sigma[i].item()))[0])


def test_dtypes_out_here_and_inside():
    at = Point(2.0, 1.0, 2.0)
    for dtype, inside in (
        (None, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16),
        (torch.float64, torch.float64),
    ):
        denoiser = wrapped(dtype=dtype, use_fp16=True)  # use_fp16 alone acts on CUDA only
        assert denoiser(X, at).dtype == torch.float32 and denoiser(X.double(), at).dtype == torch.float64
        image, told, _, _ = denoiser.model.calls[0]
        assert image == inside and told.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    exact = wrapped(dtype=torch.float64)(X.double(), at)
    skip, n = 0.25 / 4.25, math.sqrt(4.25)
    torch.testing.assert_close(exact, skip * X.double() + 1 / n * (0.5 / n * X.double() + math.log(2) / 4), rtol=1e-14, atol=1e-14)


def test_labels_as_indices_rows_and_none():
    denoiser, at = wrapped(classes=5), Point(1.0, 1.0, 1.0)
    indices = torch.tensor([4, 0, 2])
    by_index = denoiser(X, at, indices)
    assert torch.equal(by_index, denoiser(X, at, torch.nn.functional.one_hot(indices, 5)))
    assert torch.equal(by_index[:1], denoiser(X[:1], at, torch.tensor([4]))) and not torch.equal(by_index, denoiser(X, at))
    assert torch.equal(denoiser(X, at, torch.tensor([-1, -1, -1])), denoiser(X, at)), "-1 is no class"
    denoiser(X, at, indices, torch.ones(3, 9))
    assert torch.equal(denoiser.model.calls[-1][3], torch.ones(3, 9))
    for labels, message in (
        (torch.tensor([0, 1, 5]), "`labels` holds 0 to 5; class indices are 0 to 4, and -1 for no class"),
        (torch.tensor([0, 1]), "give 3 class indices, or rows"),
        (torch.tensor([0.0, 1.0, 2.0]), "dtype torch.float32; give 3 class indices"),
        (torch.zeros(3, 4), r"`labels` has shape \(3, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            denoiser(X, at, labels)
    with pytest.raises(ValueError, match="this model has no classes"):
        wrapped()(X, at, indices)


def test_what_the_front_door_reads():
    vp, edm, iddpm = wrapped(pre.VP(), name="x"), wrapped(), wrapped(pre.iDDPM(), schedule=schedules.VP(), classes=3)
    assert vp.nsr_range == (2**-10, pytest.approx(152.16698)) and vp.shape == (2, 4, 4) and vp.classes == 0 and vp.name == "x"
    assert edm.nsr_range is None and edm.round_nsr is None and edm.schedule == schedules.EDM()
    assert iddpm.round_nsr(np.array([[1.0]])).shape == (1, 1) and iddpm.schedule == schedules.VP() and iddpm.classes == 3
    assert wrapped(pre.EDM(sigma_min=0.004, sigma_max=60)).nsr_range == (0.004, 60.0)
    assert list(iddpm.state_dict()) == ["u", "model.gain"] and list(edm.state_dict()) == ["model.gain"]


@pytest.mark.parametrize("at", [Point(1.0, 0.0, 1.0), Point(0.0, 1.0, 0.0)], ids=["no signal", "no noise"])
def test_ends_are_refused(at):
    with pytest.raises(ValueError, match=r"above 0 and below infinity, nsr_range = \(0.02, 100.0\)\. Start at a point with alpha > 0"):
        wrapped(pre.VE())(X, at)


def test_wrong_image_shape():
    with pytest.raises(ValueError, match=r"`x` has shape \(3, 2, 4, 5\); this network takes \(batch, 2, 4, 4\)"):
        wrapped()(torch.zeros(3, 2, 4, 5), Point(1.0, 1.0, 1.0))


def test_training_reaches_the_network_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    denoiser = wrapped()
    denoiser.denoise(X, torch.tensor([0.1, 1.0, 10.0])).square().mean().backward()
    assert denoiser.model.gain.grad.item() != 0 and torch.equal(before, torch.random.get_rng_state())
