import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from seeds.metrics.checks import MetricError
from seeds.metrics.estimate import units_of
from seeds.metrics.frechet import RankWarning, frechet_distance, frechet_estimate

EDM = np.load(Path(__file__).parents[1] / "data" / "edm" / "fid_is.npz", allow_pickle=False)


def random_psd(rng, dim, rank):
    root = rng.standard_normal((dim, rank))
    return root @ root.T / rank


def quietly(*gaussians):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)
        return frechet_distance(*gaussians)


@pytest.mark.parametrize(
    "dim,rank,map_rank", [(2, 2, 2), (12, 12, 12), (64, 64, 64), (12, 5, 12), (64, 20, 64), (64, 50, 30), (64, 1, 1)]
)
def test_gaussians_joined_by_a_known_optimal_map(dim, rank, map_rank):
    """S2 = T S1 T with T symmetric and semi-definite: T is the optimal map, so tr (S1 S2)^(1/2) = tr(T S1); S1 and S2
    do not commute."""
    rng = np.random.default_rng(dim + rank)
    s1, t, mu1, mu2 = random_psd(rng, dim, rank), random_psd(rng, dim, map_rank), *rng.standard_normal((2, dim))
    s2 = t @ s1 @ t
    exact = np.sum((mu1 - mu2) ** 2) + np.trace(s1) + np.trace(s2) - 2 * np.trace(t @ s1)
    if dim > 1 and rank > 1:
        assert np.abs(s1 @ s2 - s2 @ s1).max() > 1e-4
    assert quietly(mu1, s1, mu2, s2) == pytest.approx(exact, rel=1e-10, abs=1e-10)
    assert quietly(mu2, s2, mu1, s1) == pytest.approx(exact, rel=1e-10, abs=1e-10)


def test_partly_overlapping_subspaces_lose_no_digits():
    """Projectors on 40 dimensions that share 20: 40 + 40 - 2 * 20, and no square root of rounding noise on the 24 empty
    ones."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0]
    first, second = basis[:, :40], basis[:, 20:60]
    assert quietly(np.zeros(64), first @ first.T, np.zeros(64), second @ second.T) == pytest.approx(40.0, abs=1e-10)


def test_the_threads_of_numpy_do_not_matter():
    """Only torch's threads, which a run records, reach the last digits: a study made under torchrun, with one of
    numpy's, is repeated without."""
    code = """
import sys, numpy as np, torch
from seeds.metrics.frechet import frechet_distance
torch.set_num_threads(1)
rng = np.random.default_rng(0)
for dim in (64, 200, 300):
    shapes = 2 * [((1000, dim), (dim, dim))]
    x, y = (torch.tensor(rng.standard_normal(rows)) @ torch.tensor(rng.standard_normal(mix)) for rows, mix in shapes)
    print(frechet_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()).hex())
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads in "12"
    ]
    assert said[0] == said[1]
    assert len(said[0].split()) == 3


def test_small_eigenvalues_keep_their_digits():
    scales = np.array([1.0, 1e-4, 1e-8, 1e-12])
    assert frechet_distance(np.zeros(4), np.diag(scales), np.zeros(4), np.diag(4 * scales)) == pytest.approx(
        scales.sum(), rel=1e-12
    )


def test_point_masses_and_equal_gaussians():
    zero, one = np.zeros((3, 3)), np.eye(3)
    assert quietly([1.0, 2.0, 2.0], zero, [0.0, 0.0, 0.0], zero) == 9.0
    assert quietly([0.0, 0.0, 0.0], zero, [0.0, 0.0, 0.0], one) == pytest.approx(3.0, abs=1e-14)
    for seed in range(20):  # rounding falls to both sides of 0
        s = random_psd(np.random.default_rng(seed), 40, 60)
        assert 0 <= frechet_distance(np.ones(40), s, np.ones(40), s) < 1e-12


def test_a_covariance_is_symmetric_to_float32_and_its_two_halves_count_alike():
    mu, sigma = np.zeros(8), random_psd(np.random.default_rng(2), 8, 30)
    rounded = sigma + np.triu(np.full((8, 8), 1e-6), 1)
    assert frechet_distance(mu, rounded, mu, np.eye(8)) == frechet_distance(mu, rounded.T, mu, np.eye(8))
    with pytest.raises(MetricError, match=r"`sigma2` is not symmetric: it differs from its transpose by 0\.001"):
        frechet_distance(mu, np.eye(8), mu, sigma + np.triu(np.full((8, 8), 1e-3), 1))


@pytest.mark.parametrize("dim", [8, 96])
def test_agrees_with_the_plain_matrix_square_root(dim):
    rng = np.random.default_rng(dim)
    (mu1, s1), (mu2, s2) = ((rng.standard_normal(dim), random_psd(rng, dim, 4 * dim)) for _ in range(2))
    plain = np.sum((mu1 - mu2) ** 2) + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    assert frechet_distance(mu1, s1, mu2, s2) == pytest.approx(plain, rel=1e-10)


def test_edm_fixtures():
    reference = EDM["mu_ref"], EDM["sigma_ref"]
    assert frechet_distance(EDM["mu"], EDM["sigma"], *reference) == pytest.approx(float(EDM["fid"]), rel=1e-9)
    assert frechet_distance(*reference, *reference) == pytest.approx(float(EDM["fid_self"]), abs=1e-9)
    with pytest.warns(RankWarning, match="sigma1 has rank 7 in 12 dimensions"):
        assert frechet_distance(EDM["mu_small"], EDM["sigma_small"], *reference) == pytest.approx(
            float(EDM["fid_small"]), rel=1e-4
        )


def test_stream_gives_the_fixture_with_an_interval_around_it():
    estimate = frechet_estimate(EDM["features"], EDM["mu_ref"], EDM["sigma_ref"])
    assert estimate.value == pytest.approx(float(EDM["fid"]), rel=1e-8)
    assert estimate.low < estimate.value < estimate.high and estimate.n == 200 and len(estimate.parts) == 10
    kept = EDM["features"][units_of(range(200), 10) != 3].astype(np.float64)
    without = frechet_distance(kept.mean(0), np.cov(kept, rowvar=False), EDM["mu_ref"], EDM["sigma_ref"])
    assert estimate.parts[3] == pytest.approx(without, rel=1e-8)
    assert "jackknife over 10 units" in str(estimate)


def test_jackknife_error_is_the_spread_of_repeated_draws():
    rng = np.random.default_rng(7)
    mu, sigma, values, errors = np.full(3, 0.4), 2 * np.eye(3), [], []
    for _ in range(150):
        estimate = frechet_estimate(rng.standard_normal((400, 3)), mu, sigma)
        values.append(estimate.value)
        errors.append(estimate.error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values, ddof=1), rel=0.2)


def test_classes_that_take_turns_do_not_widen_the_interval():
    rng, labels = np.random.default_rng(8), np.arange(4000) % 10
    errors = []
    for order in (labels, rng.permutation(labels)):
        rows = rng.standard_normal((4000, 3)) + 4 * np.stack([order == k for k in range(3)], axis=1)
        errors.append(frechet_estimate(rows, np.zeros(3), np.eye(3)).error)
    assert errors[0] < 3 * errors[1]


def test_fewer_images_than_dimensions_is_finite_and_warned_of_once():
    with pytest.warns(RankWarning, match="covariance of 8 images has rank 7 in 12 dimensions") as caught:
        estimate = frechet_estimate(EDM["features"][:8], EDM["mu_ref"], EDM["sigma_ref"], units=2)
    assert len(caught) == 1 and estimate.value == pytest.approx(float(EDM["fid_small"]), rel=1e-4)


@pytest.mark.parametrize(
    "change,match",
    [
        ({"mu1": np.zeros(3)}, r"`mu1` and `sigma1` must have shapes .* have \(3,\) and \(2, 2\)"),
        ({"mu1": np.zeros(3), "sigma1": np.eye(3)}, "d = 3 and `mu2` d = 2: they come from different extractors"),
        ({"mu2": np.array([0.0, np.nan])}, "`mu2` holds a NaN"),
        ({"sigma1": np.full((2, 2), np.inf)}, "`sigma1` holds a NaN or an infinity"),
        ({"sigma1": np.array([[1.0, 0.5], [0.0, 1.0]])}, "`sigma1` is not symmetric"),
        ({"sigma2": np.diag([1.0, -0.1])}, "`sigma2` has the eigenvalue -0.1"),
    ],
)
def test_what_is_no_pair_of_gaussians_is_refused(change, match):
    arguments = {"mu1": np.zeros(2), "sigma1": np.eye(2), "mu2": np.zeros(2), "sigma2": np.eye(2)} | change
    with pytest.raises(MetricError, match=match):
        frechet_distance(**arguments)


def test_refusals():
    rows = np.random.default_rng(0).standard_normal((10, 2))
    with pytest.raises(MetricError, match="N = 9 is too small for 5 units"):
        frechet_estimate(rows[:9], np.zeros(2), np.eye(2), units=5)
    with pytest.raises(MetricError, match="d = 2 and the reference d = 3"):
        frechet_estimate(rows, np.zeros(3), np.eye(3), units=5)
