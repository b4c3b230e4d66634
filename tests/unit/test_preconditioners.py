"""Preconditioners against the reference tables, and the denoiser protocol around a network."""

import json
import math
import struct

import mpmath
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
with np.load(ROOT.parent / "preconditioners.npz") as arrays:
    GOLDEN = {key: arrays[key] for key in arrays.files}


def make(family):
    made = {"VPPrecond": pre.VPNoise, "VEPrecond": pre.VENoise, "iDDPMPrecond": pre.iDDPM, "EDMPrecond": pre.EDMNoise}
    return made[family["class_name"]](**family["init_kwargs"])


ULP = float(np.finfo(np.float32).eps)


def conditioning(made, name, value):
    """How far apart two evaluations of a coefficient may lie whose single operations are right to an ulp: a few ulp of
    its largest term."""
    if name == "c_noise" and isinstance(made, pre.VPNoise):
        # the root that beta_min is taken from: there the digits go
        root = np.abs(value) * made.beta_d / (made.M - 1) + made.beta_min
        return 3 * ULP * (made.M - 1) / made.beta_d * root
    return 3 * ULP * np.abs(value)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f["tag"])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["host", "torch"])
def test_coefficients_are_the_references_to_the_conditioning_of_the_formula(family, kind):
    tag, made = family["tag"], make(family)
    found = made.coefficients(kind(TABLES["sigma"].reshape(57, 1, 1, 1)))
    assert {c.dtype for c in found} == {kind(TABLES["sigma"]).dtype} and {c.shape for c in found} == {(57, 1, 1, 1)}
    for name, value in zip(
        ("skip_plus_out", "c_out", "c_in", "c_noise"), (found.c_skip + found.c_out, *found[1:]), strict=True
    ):
        want = TABLES[f"{tag}__{name}32"].astype(np.float64)
        away = np.abs(np.asarray(value, np.float64).ravel() - want)
        assert (away <= conditioning(made, name, want) + (2 * ULP if name == "skip_plus_out" else 0)).all(), name


class Single:
    """A float32 number in Python's own float64: + - * / and the root are rounded twice, which for 24 bits of 53 is as
    good as once."""

    def __init__(self, value):
        self.value = struct.unpack("f", struct.pack("f", value))[0]

    def __float__(self):
        return self.value

    def _with(operation):
        return lambda self, other: Single(operation(self.value, float(Single(float(other)))))

    __add__ = __radd__ = _with(lambda a, b: a + b)
    __mul__ = __rmul__ = _with(lambda a, b: a * b)
    __sub__, __truediv__, __rtruediv__ = _with(lambda a, b: a - b), _with(lambda a, b: a / b), _with(lambda a, b: b / a)

    def __neg__(self):
        return Single(-self.value)


def root(x):
    return Single(math.sqrt(float(x)))


def log(x):
    return Single(float(mpmath.log(float(x))))


def formulas(made, s):
    """(c_skip, c_out, c_in, c_noise) of SPEC's table, one float32 operation after the other."""
    if isinstance(made, pre.EDMNoise):
        total = s * s + made.sigma_data**2
        return made.sigma_data**2 / total, s * made.sigma_data / root(total), 1 / root(total), log(s) / 4
    if isinstance(made, pre.VENoise):
        return 1, s, 1, log(0.5 * s)
    c_in = 1 / root(s * s + 1)
    if isinstance(made, pre.VPNoise):
        t = (root(2 * made.beta_d * log(s * s + 1) + made.beta_min**2) - made.beta_min) / made.beta_d
        return 1, -s, c_in, (made.M - 1) * t
    distance = [abs(float(s - float(u))) for u in made.u]
    return 1, -s, c_in, made.M - 1 - distance.index(min(distance))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f["tag"])
def test_every_processor_tells_the_network_the_same(family):
    """To the last bit: the numbers kept in tests/data, and the same formulas in arithmetic that has nothing to do with
    NumPy's."""
    made = make(family)
    told = np.array([pre.coefficients_of(made, float(s), torch.float32) for s in TABLES["sigma"]]).T
    np.testing.assert_array_equal(told, GOLDEN[family["tag"]])
    np.testing.assert_array_equal(
        told, np.array([[float(c) for c in formulas(made, Single(s))] for s in TABLES["sigma"]]).T
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f["tag"])
def test_levels(family):
    tag, made = family["tag"], make(family)
    assert (made.sigma_min, made.sigma_max) == pytest.approx(
        (family["sigma_min"], float(family["sigma_max"])), rel=2e-5
    )
    for kind in (np.asarray, torch.from_numpy):
        rounded = np.asarray(made.round_sigma(kind(TABLES["sigma"].astype(np.float64))))
        np.testing.assert_allclose(rounded, TABLES[f"{tag}__round_sigma64"], rtol=2e-5)
    if f"{tag}__t" in TABLES:
        np.testing.assert_array_equal(made.sigma(TABLES[f"{tag}__t"]), GOLDEN[f"{tag}__sigma_of_t"])
        np.testing.assert_allclose(
            made.sigma(torch.from_numpy(TABLES[f"{tag}__t"])), TABLES[f"{tag}__sigma_of_t32"], rtol=1e-5
        )
        np.testing.assert_allclose(
            made.sigma_inv(torch.from_numpy(TABLES["sigma"]).double()), TABLES[f"{tag}__sigma_inv64"], rtol=1e-12
        )
        np.testing.assert_allclose(
            made.sigma_inv(TABLES["sigma"].astype(np.float64)), TABLES[f"{tag}__sigma_inv64"], rtol=1e-12
        )
    if f"{tag}__u" in TABLES:
        np.testing.assert_array_equal(made.u, GOLDEN[f"{tag}__u"])
        np.testing.assert_allclose(made.u, TABLES[f"{tag}__u"], rtol=2e-5)
        np.testing.assert_array_equal(made.index(torch.from_numpy(TABLES["sigma"])), TABLES[f"{tag}__index"])
        np.testing.assert_array_equal(made.index(TABLES["sigma"]), TABLES[f"{tag}__index"])


@pytest.mark.parametrize("family", [f for f in FAMILIES if f["tag"].startswith("iddpm")], ids=lambda f: f["tag"])
def test_iddpm_levels_follow_their_recursion(family):
    """In arithmetic that has nothing to do with NumPy's."""
    made = make(family)
    sines = [
        Single(float(mpmath.sin(float(0.5 * math.pi * Single(j) / made.M / (made.C_2 + 1))))) for j in range(made.M + 1)
    ]
    abar, u = [sine * sine for sine in sines], Single(0)
    for j in range(made.M, 0, -1):
        u = root((u * u + 1) / max(float(abar[j - 1] / abar[j]), float(Single(made.C_1))) - 1)
        assert float(u) == made.u[j - 1].item(), j


def test_vp_keeps_the_float32_rounding_that_networks_saw():
    assert pre.VPNoise().sigma_min == 2**-10
    told = pre.VPNoise().coefficients(torch.tensor(0.002)).c_noise
    exact = pre.VPNoise().coefficients(torch.tensor(0.002, dtype=torch.float64)).c_noise
    assert told.item() / exact.item() - 1 == pytest.approx(0.013, abs=0.001)


def test_iddpm_levels_for_a_grid_leave_out_zero():
    made = pre.iDDPM()
    assert (
        made.round_sigma(torch.tensor(0.002)).item() == 0
        and made.coefficients(torch.tensor(0.002)).c_noise.item() == -1
    )
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
        return (
            out
            if class_labels is None
            else out + class_labels.argmax(1).reshape(-1, 1, 1, 1) * class_labels.sum(1).reshape(-1, 1, 1, 1)
        )


def wrapped(preconditioner=None, **options):
    return Preconditioned(Told(), preconditioner or pre.EDMNoise(), (2, 4, 4), **options)


X = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "preconditioner", [pre.VPNoise(), pre.VENoise(), pre.iDDPM(), pre.EDMNoise(sigma_data=0.7)], ids=repr
)
@pytest.mark.parametrize(
    "schedule", [schedules.EDM(), schedules.VP(), schedules.Flow()], ids=lambda s: type(s).__name__
)
def test_any_schedule_asks_the_network_the_same_question(preconditioner, schedule):
    denoiser = wrapped(preconditioner)
    nsr = 1.7
    t = float(schedule.t_of_nsr(nsr))
    at = Point(t, float(schedule.alpha(t)), float(schedule.sigma(t)))
    torch.testing.assert_close(denoiser(at.alpha * X, at), denoiser.denoise(X, nsr), rtol=2e-5, atol=2e-5)


def test_sigma_per_image_is_that_image_alone():
    denoiser, sigma = wrapped(pre.VPNoise()), torch.tensor([0.01, 1.0, 30.0])
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
    torch.testing.assert_close(
        exact, skip * X.double() + 1 / n * (0.5 / n * X.double() + math.log(2) / 4), rtol=1e-14, atol=1e-14
    )


def test_labels_as_indices_rows_and_none():
    denoiser, at = wrapped(classes=5), Point(1.0, 1.0, 1.0)
    indices = torch.tensor([4, 0, 2])
    by_index = denoiser(X, at, indices)
    assert torch.equal(by_index, denoiser(X, at, torch.nn.functional.one_hot(indices, 5)))
    assert torch.equal(by_index[:1], denoiser(X[:1], at, torch.tensor([4]))) and not torch.equal(
        by_index, denoiser(X, at)
    )
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
    vp, edm, iddpm = (
        wrapped(pre.VPNoise(), name="x"),
        wrapped(),
        wrapped(pre.iDDPM(), schedule=schedules.VP(), classes=3),
    )
    assert (
        vp.nsr_range == (2**-10, pytest.approx(152.16698))
        and vp.shape == (2, 4, 4)
        and vp.classes == 0
        and vp.name == "x"
    )
    assert edm.nsr_range is None and edm.round_nsr is None and edm.schedule == schedules.EDM()
    assert (
        iddpm.round_nsr(np.array([[1.0]])).shape == (1, 1) and iddpm.schedule == schedules.VP() and iddpm.classes == 3
    )
    assert wrapped(pre.EDMNoise(sigma_min=0.004, sigma_max=60)).nsr_range == (0.004, 60.0)
    assert list(iddpm.state_dict()) == ["u", "model.gain"] and list(edm.state_dict()) == ["model.gain"]


@pytest.mark.parametrize("at", [Point(1.0, 0.0, 1.0), Point(0.0, 1.0, 0.0)], ids=["no signal", "no noise"])
def test_ends_are_refused(at):
    with pytest.raises(
        ValueError, match=r"above 0 and below infinity, nsr_range = \(0.02, 100.0\)\. Start at a point with alpha > 0"
    ):
        wrapped(pre.VENoise())(X, at)


def test_wrong_image_shape():
    with pytest.raises(ValueError, match=r"`x` has shape \(3, 2, 4, 5\); this network takes \(batch, 2, 4, 4\)"):
        wrapped()(torch.zeros(3, 2, 4, 5), Point(1.0, 1.0, 1.0))


def test_training_reaches_the_network_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    denoiser = wrapped()
    denoiser.denoise(X, torch.tensor([0.1, 1.0, 10.0])).square().mean().backward()
    assert denoiser.model.gain.grad.item() != 0 and torch.equal(before, torch.random.get_rng_state())
