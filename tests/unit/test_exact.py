"""Laws with known denoisers, held against quadrature, scipy, autograd and each other."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from seeds.exact import Empirical, Gaussian, GaussianMixture
from seeds.plans import CLEAN, Point
from seeds.schedules import EDM, VP

BUNDLED = Path(__file__).parents[2] / "seeds" / "data" / "fashion_mixture.safetensors"
POINTS = [
    Point(0.0, alpha, sigma)
    for alpha, sigma in [(1.0, 0.002), (0.99, 0.1), (0.6, 0.8), (0.3, 2.0), (1.0, 80.0), (1e-9, 1.0)]
]
SHAPE, K, D, RANK = (2, 3), 4, 6, 2


def double(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def laws():
    """One law of each form, on the same data shape, two of them with classes."""
    factors, mean, weights = (
        0.7 * double(K, RANK, *SHAPE, seed=1),
        double(K, *SHAPE, seed=2),
        torch.tensor([1.0, 2.0, 3.0, 4.0]),
    )
    loadings = factors.reshape(K, RANK, D)
    return {
        "round": GaussianMixture(mean, [0.3, 0.1, 0.5, 0.2], weights=weights, component_class=[0, 0, 1, 2]),
        "diagonal": GaussianMixture(mean, double(K, *SHAPE, seed=3).abs() + 0.05, weights=weights),
        "factors": GaussianMixture(
            mean, [0.3, 0.1, 0.2, 0.2], factors=factors, weights=weights, component_class=[0, 1, 1, 2]
        ),
        "full": GaussianMixture(
            mean, covariance=loadings.mT @ loadings + 0.04 * torch.eye(D, dtype=torch.float64), weights=weights
        ),
        "one": Gaussian(double(*SHAPE), 0.4),
    }


def covariances(law):
    """(K, d, d), read off the parts, by a path that the class does not use."""
    parts = law._law
    if hasattr(parts, "psi"):
        loading = parts.s.sqrt()[..., None] * parts.basis.unflatten(0, parts.s.shape)
        return loading.mT @ loading + parts.psi[:, None, None] * torch.eye(D, dtype=torch.float64)
    diagonal = torch.diag_embed(parts.variance)
    return diagonal if parts.rotation is None else parts.rotation @ diagonal @ parts.rotation.mT


each_law = pytest.mark.parametrize("law", laws().values(), ids=laws())
each_point = pytest.mark.parametrize("at", POINTS, ids=lambda at: f"nsr={at.nsr:g}")


@each_point
def test_denoiser_of_a_scalar_mixture_is_the_integral_that_defines_it(at):
    mean, std, weights = np.array([-1.0, 0.3, 2.0]), np.array([0.2, 0.4, 0.05]), np.array([0.2, 0.5, 0.3])
    law = GaussianMixture(mean, std, weights=weights)
    x = at.alpha * np.linspace(-1.5, 2.5, 9) + at.sigma * np.linspace(-1, 1, 9)
    centre, width = (
        (np.clip(x / at.alpha, -1.5, 2.5), 12 * min(at.nsr, 1)) if at.nsr < 0.01 else (np.full(9, 0.25), 5.0)
    )
    # equal steps: spectral accuracy for what is smooth and vanishes at the ends
    data = centre[:, None] + np.linspace(-width, width, 8001)
    log = logsumexp(-0.5 * ((data[..., None] - mean) / std) ** 2 - np.log(std), b=weights, axis=-1)
    log = log - 0.5 * ((x[:, None] - at.alpha * data) / at.sigma) ** 2
    weight = np.exp(log - log.max(-1, keepdims=True))
    truth = (weight * data).sum(-1) / weight.sum(-1)
    assert law(torch.from_numpy(x), at).numpy() == pytest.approx(truth, abs=1e-11)


@each_law
@each_point
def test_denoiser_is_the_score_of_its_own_density(law, at):
    """Tweedie: alpha E[data | x] = x + sigma^2 grad log p(x)."""
    x = (at.alpha * law.sample(range(8), dtype=torch.float64) + at.sigma * double(8, *SHAPE)).requires_grad_()
    (score,) = torch.autograd.grad(law.log_density(x, at).sum(), x)
    gap = at.alpha * law(x, at) - (x + at.sigma**2 * score)
    assert gap.abs().max() <= 1e-13 * max(1.0, at.sigma**2 * score.abs().max().item())


@each_law
@each_point
def test_density_is_scipys(law, at):
    x = (at.alpha * law.sample(range(5), dtype=torch.float64) + at.sigma * double(5, *SHAPE)).detach()
    seen = at.alpha**2 * covariances(law) + at.sigma**2 * torch.eye(D, dtype=torch.float64)
    parts = [
        multivariate_normal(at.alpha * m, c).logpdf(x.flatten(1)) for m, c in zip(law._law.mean, seen, strict=True)
    ]
    assert law.log_density(x, at).numpy() == pytest.approx(
        logsumexp(np.stack(parts, -1), b=law.weights.numpy(), axis=-1), rel=1e-10
    )


@each_point
def test_factors_say_the_same_as_the_whole_covariance(at):
    low = laws()["factors"]
    full = GaussianMixture(low._law.mean.reshape(K, *SHAPE), covariance=covariances(low), weights=low.weights)
    x = at.alpha * low.sample(range(16), dtype=torch.float64) + at.sigma * double(16, *SHAPE)
    assert low(x, at) == pytest.approx(full(x, at), abs=1e-10)
    assert low.log_density(x, at) == pytest.approx(full.log_density(x, at), rel=1e-10)


def test_fewer_directions_than_factors():
    """A factor that is zero or repeats another adds no direction, and no NaN."""
    factors = double(1, 1, *SHAPE).expand(1, 3, *SHAPE) * torch.tensor([1.0, 0.0, 2.0])[:, None, None]
    low = GaussianMixture(torch.zeros(1, *SHAPE), 0.1, factors=factors)
    column = factors[0, 0].flatten()
    full = GaussianMixture(
        torch.zeros(1, *SHAPE),
        covariance=(5 * torch.outer(column, column) + 0.01 * torch.eye(D, dtype=torch.float64))[None],
    )
    x = double(4, *SHAPE)
    assert low(x, POINTS[1]) == pytest.approx(full(x, POINTS[1]), abs=1e-10)
    assert low.log_density(x) == pytest.approx(full.log_density(x), rel=1e-8)


@each_law
def test_without_signal_the_answer_is_the_mean(law):
    x, at = double(5, *SHAPE), Point(1.0, 0.0, 1.0)
    mean = (law.weights @ law._law.mean).reshape(SHAPE)
    assert law(x, at) == pytest.approx(mean.expand(5, *SHAPE), abs=1e-14)
    assert law(x.float(), at).double() == pytest.approx(mean.expand(5, *SHAPE), abs=1e-6)


@each_law
def test_without_noise_the_answer_is_the_state(law):
    x = law.sample(range(5), dtype=torch.float64)
    assert law(x, CLEAN) == pytest.approx(x, abs=1e-12)


@each_law
@pytest.mark.parametrize("nsr", [2e-3, 2e-2, 0.5, 5.0, 100.0, 1e6])
def test_float32_follows_float64(law, nsr):
    at = Point(0.0, 1.0, nsr)
    x = (law.sample(range(64)) + nsr * double(64, *SHAPE)).float()
    assert law(x, at).dtype == torch.float32
    assert law(x, at).double() == pytest.approx(law(x.double(), at), abs=2e-5)


def test_half_precision_states_are_answered_in_kind():
    law, x = laws()["factors"], double(4, *SHAPE).to(torch.bfloat16)
    assert torch.equal(law(x, POINTS[2]), law(x.float(), POINTS[2]).to(torch.bfloat16))


@each_law
def test_a_call_reads_no_value_on_the_host(law):
    """On the meta device there are no values to read, and no float64 parameter may arrive there with a float32
    state."""
    x = torch.empty(4, *SHAPE, device="meta")
    labels = torch.empty(4, dtype=torch.int64, device="meta") if law.classes else None
    assert law(x, POINTS[2], labels).shape == law(x, POINTS[2]).shape == x.shape
    assert {dtype for dtype, device in law._cast if device.type == "meta"} == {torch.float32}


def test_one_gaussian_is_linear():
    x, at = double(9), POINTS[2]
    want = 0.1 + at.alpha * 0.16 / (at.alpha**2 * 0.16 + at.sigma**2) * (x - at.alpha * 0.1)
    assert Gaussian(0.1, 0.4)(x, at) == pytest.approx(want, abs=1e-15)
    assert Gaussian(0.1, covariance=[[0.16]])(x, at) == pytest.approx(want, abs=1e-15)
    image = Gaussian(0.1, 0.4, shape=(3, 3))(x.reshape(1, 3, 3), at)
    assert image.flatten() == pytest.approx(want, abs=1e-15)


@each_point
def test_a_data_set_is_the_softmax_over_its_members(at):
    data, x = double(50, *SHAPE), double(7, *SHAPE, seed=1)
    law = Empirical(data)
    gap = (x[:, None] - at.alpha * data).flatten(2).square().sum(-1)
    share = torch.softmax(-gap / (2 * at.sigma**2), -1)
    assert law(x, at) == pytest.approx(torch.einsum("bn,nij->bij", share, data), abs=1e-12)
    drawn = law.sample(range(20), dtype=torch.float64)
    assert all((data == one).flatten(1).all(1).any() for one in drawn)


def test_labels_keep_the_components_of_their_class():
    law, x, at = laws()["round"], double(3, *SHAPE), POINTS[2]
    mean, std = law._law.mean.reshape(K, *SHAPE), law._law.psi.sqrt()
    first, last = GaussianMixture(mean[:2], std[:2], weights=[1.0, 2.0]), GaussianMixture(mean[3:], std[3:])
    want = torch.cat([first(x[:1], at), last(x[1:2], at), first(x[2:], at)])
    labels = torch.tensor([0, 2, 0])
    assert law(x, at, labels) == pytest.approx(want, abs=1e-13)
    assert law(x, at, torch.nn.functional.one_hot(labels, 3).double()) == pytest.approx(want, abs=1e-13)
    shares = torch.tensor([0.3, 0.3, 0.4])  # of the classes in the weights 1, 2 | 3 | 4
    assert law(x, at, shares.expand(3, 3)) == pytest.approx(law(x, at), abs=1e-7)
    assert law.log_density(x, at, labels)[1] == pytest.approx(last.log_density(x[1:2], at)[0])
    drawn = law.sample(range(300), torch.full((300,), 2), dtype=torch.float64)
    assert (drawn - mean[3]).std() == pytest.approx(std[3].item(), rel=0.05)


@each_law
def test_samples_have_the_moments_of_the_law(law):
    n = 20000
    x = law.sample(range(n), dtype=torch.float64).flatten(1)
    mean = law.weights @ law._law.mean
    spread = law._law.mean - mean
    covariance = torch.einsum("k,kij->ij", law.weights, covariances(law) + spread[:, :, None] * spread[:, None, :])
    scale = covariance.diagonal().sqrt()
    assert ((x.mean(0) - mean) / scale).abs().max() < 4.5 / n**0.5
    assert ((torch.cov(x.T) - covariance) / torch.outer(scale, scale)).abs().max() < 8 / n**0.5


def test_samples_depend_on_their_seed_alone():
    law, before = laws()["factors"], torch.random.get_rng_state()
    whole = law.sample([4, 2**63 + 5, 11])
    assert torch.equal(whole[1:2], law.sample(2**63 + 5)) and not torch.equal(whole[1:2], law.sample(5))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_stored_numbers_define_the_law(dtype):
    law = laws()["factors"]
    stored = law.to_tensors(dtype)
    loaded = GaussianMixture.from_tensors(stored, {"kind": "mixture", "name": "copy"})
    again = GaussianMixture(
        stored["mean"],
        stored["std"],
        factors=stored["factors"],
        weights=law.weights,
        component_class=law.component_class,
    )
    x = double(4, *SHAPE)
    assert (loaded.name, loaded.classes, loaded.shape) == ("copy", 3, SHAPE)
    assert torch.equal(loaded(x, POINTS[1]), again(x, POINTS[1]))
    assert loaded(x, POINTS[1]) == pytest.approx(law(x, POINTS[1]), abs=1e-12 if dtype == torch.float64 else 1e-2)


def test_what_the_front_door_reads():
    law = GaussianMixture([0.0, 1.0], 0.1, component_class=[0, 1], schedule=VP(), name="pair")
    assert (law.schedule, law.shape, law.classes, law.nsr_range, law.round_nsr, law.name) == (
        VP(),
        (),
        2,
        None,
        None,
        "pair",
    )
    assert Gaussian(0.0, 1.0).schedule == EDM() and Gaussian(0.0, 1.0).classes == 0


def one_each(K):
    """A stored mixture of K points, each a class of its own."""
    return GaussianMixture(torch.zeros(K), 1.0, component_class=torch.arange(K)).to_tensors()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GaussianMixture(0.0, 1.0), r"`mean` must have shape \(K"),
        (lambda: GaussianMixture([0.0], float("nan")), "`std` holds a NaN"),
        (lambda: GaussianMixture([0.0], -1.0), "`std` must be >= 0"),
        (lambda: GaussianMixture([0.0]), "Give `std`"),
        (lambda: GaussianMixture([0.0], 1.0, covariance=[[[1.0]]]), "Give `std`"),
        (lambda: GaussianMixture([0.0], covariance=[[1.0]]), r"`covariance` must have shape \(1, 1, 1\)"),
        (lambda: GaussianMixture([0.0], covariance=[[[-1.0]]]), "no negative eigenvalue"),
        (lambda: GaussianMixture([[0.0, 1.0]], [[0.1, 0.1]], factors=[[[1.0, 1.0]]]), "With `factors`, `std`"),
        (lambda: GaussianMixture([0.0], 1.0, factors=[1.0]), r"`factors` must have shape"),
        (lambda: GaussianMixture([0.0, 1.0], 1.0, weights=[1.0, 0.0]), "`weights` must be 2 positive"),
        (lambda: GaussianMixture([0.0, 1.0], 1.0, component_class=[0, 2]), "`component_class` must be 2 integers"),
        (
            lambda: GaussianMixture([0.0, 1.0], 1.0, component_class=[0, -1]),
            "every class from 0 up; got 2 different ones, from -1 to 0",
        ),
        (
            lambda: GaussianMixture([0.0, 1.0], 1.0, component_class=[0, 2**62]),
            f"got 2 different ones, from 0 to {2**62}",
        ),
        (
            lambda: GaussianMixture([0.0, 1.0], 1.0, component_class=[0.0, 1.0]),
            r"must be 2 integers.*; got torch.float32, \(2,\)",
        ),
        (lambda: Gaussian(0.0, 1.0)(torch.zeros(2, 3), CLEAN), r"`x` must have shape \(B,\)"),
        (lambda: Gaussian(0.0, 1.0)(torch.zeros(2), CLEAN, torch.zeros(2).long()), "has no classes"),
        (
            lambda: Empirical([0.0, 1.0], [0, 1])(torch.zeros(2), POINTS[0], torch.zeros(2, 3)),
            r"`labels` must be \(2,\) integers",
        ),
        (lambda: Empirical([0.0, 1.0], [0, 1])(torch.zeros(2), POINTS[0], torch.tensor([0, 2])), "`labels`.*0 to 1"),
        (lambda: Empirical([0.0, 1.0]).log_density(torch.zeros(2)), "no density.*sigma > 0"),
        (lambda: GaussianMixture([[0.0]], [[1.0]]).to_tensors(), "can be stored"),
        (
            lambda: GaussianMixture.from_tensors(one_each(8193), {"kind": "mixture"}),
            "8,193 classes for 8,193 components: the table",
        ),
        (lambda: GaussianMixture.from_tensors({}, {"kind": "network"}), "kind = 'mixture'"),
        (lambda: GaussianMixture.from_tensors({}, {"kind": "mixture"}), "lacks factors, mean, std, weights"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.fixture(scope="module")
def fashion():
    with safe_open(BUNDLED, "pt") as file:
        return GaussianMixture.from_tensors({key: file.get_tensor(key) for key in file.keys()}, file.metadata())


def test_bundled_mixture_is_the_one_on_its_card(fashion):
    card = BUNDLED.with_suffix(".md").read_text()
    assert f"| sha256 | `{hashlib.sha256(BUNDLED.read_bytes()).hexdigest()}` |" in card
    assert f"{BUNDLED.stat().st_size:,} bytes" in card and BUNDLED.stat().st_size < 6e6
    assert (fashion.name, fashion.shape, fashion.classes) == ("fashion-mixture", (1, 28, 28), 10)
    assert int(re.search(r"classes of (\d+) components", card).group(1)) * 10 == len(fashion.weights)


@pytest.mark.parametrize("nsr", [2e-3, 2e-2, 0.1, 0.5, 2.0, 10.0, 80.0, 1e4])
def test_bundled_mixture_in_float32(fashion, nsr):
    """Within a tenth of a grey level (1 / 127.5) of float64, at every noise level."""
    x, at = (fashion.sample(range(32)) + nsr * double(32, 1, 28, 28)).float(), Point(0.0, 1.0, nsr)
    assert fashion(x, at).double() == pytest.approx(fashion(x.double(), at), abs=8e-4)


def test_bundled_mixture_draws_its_classes(fashion):
    """The class of a drawn picture is found again, and pictures lie in [-1, 1] but for a little."""
    labels = torch.arange(10).repeat_interleave(4)
    x = fashion.sample(range(40), labels, dtype=torch.float64)
    found = fashion.component_class[fashion.log_joint(x, CLEAN).argmax(-1)]
    assert torch.equal(found, labels)
    assert (x.abs() <= 1.3).double().mean() > 0.97
