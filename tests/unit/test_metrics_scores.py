import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from seeds.metrics import kernel
from seeds.metrics import precision_recall as module
from seeds.metrics.checks import MetricError
from seeds.metrics.estimate import jackknife, over_parts, share, t_quantile, units_of
from seeds.metrics.frechet import frechet_estimate
from seeds.metrics.inception_score import inception_score
from seeds.metrics.kernel import kernel_distance
from seeds.metrics.precision_recall import precision_recall

EDM = np.load(Path(__file__).parents[1] / "data" / "edm" / "fid_is.npz", allow_pickle=False)
RNG = np.random.default_rng(3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 99])
def test_t_quantile(freedom):
    assert t_quantile(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=1e-9)
    assert t_quantile(freedom, 0.5) == pytest.approx(scipy.stats.t.ppf(0.75, freedom), rel=1e-9)


def test_units_are_equal_shares_fixed_by_the_rows_numbers():
    unit = units_of(range(1000), 7)
    assert all(np.ptp(np.bincount(unit[:n], minlength=7)) <= 1 for n in range(1, 1000))
    assert all(
        np.array_equal(units_of(np.arange(first, first + 30), 7), unit[first : first + 30]) for first in (0, 5, 7, 700)
    )
    assert np.array_equal(units_of([993, 4, 70, 4], 7), unit[[993, 4, 70, 4]])
    assert units_of(range(12), 4).tolist() == [2, 1, 0, 3, 0, 2, 1, 3, 0, 3, 1, 2]


@pytest.mark.parametrize("classes", [2, 5, 10, 20, 1000])
def test_units_do_not_follow_classes_that_take_turns(classes):
    count = np.zeros((10, classes))
    np.add.at(count, (units_of(range(20_000), 10), np.arange(20_000) % classes), 1)
    expected = 2_000 / classes
    assert np.sum((count - expected) ** 2 / expected) < scipy.stats.chi2.ppf(1 - 1e-6, 9 * classes)


def test_jackknife_of_a_mean_is_the_standard_error():
    data = RNG.standard_normal(20)
    estimate = jackknife("mean", lambda g: data.mean() if g is None else np.delete(data, g).mean(), 20, 20)
    assert estimate.error == pytest.approx(data.std(ddof=1) / math.sqrt(20))
    assert estimate.high - estimate.value == pytest.approx(scipy.stats.t.ppf(0.975, 19) * estimate.error)


def test_disjoint_seed_ranges():
    estimate = over_parts("fid", [2.0, 2.2, 2.1], 150_000)
    assert estimate.value == pytest.approx(2.1) and estimate.error == pytest.approx(0.1 / math.sqrt(3))
    assert estimate.high == pytest.approx(
        2.1 + 4.302653 * 0.1 / math.sqrt(3), rel=1e-6
    ) and "3 disjoint seed ranges" in str(estimate)
    assert math.isnan(over_parts("fid", [2.0], 50_000).low)
    with pytest.raises(MetricError, match="`values` must be finite"):
        over_parts("fid", [2.0, math.nan], 100)


@pytest.mark.parametrize("hits,n", [(0, 30), (1, 30), (15, 30), (30, 30), (0, 1), (999, 1000)])
def test_the_interval_of_a_share_is_wilson_s(hits, n):
    found, exact = share("precision", hits, n), scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx(
        (exact.low, exact.high), rel=1e-12, abs=1e-15
    ) and found.value == hits / n
    assert 0 <= found.low < found.high <= 1 and found.error == pytest.approx(
        (exact.high - exact.low) / 2 / scipy.stats.norm.ppf(0.975)
    )
    assert (found.low == 0) == (hits == 0) and (found.high == 1) == (hits == n)
    assert math.isnan(found.spread) and "manifold taken as given" in str(found)


@pytest.mark.parametrize("splits", [1, 5, 10])
def test_inception_score_of_the_edm_fixtures(splits):
    estimate = inception_score(EDM["probs"], splits)
    assert (estimate.value, estimate.spread) == pytest.approx(tuple(EDM[f"is_splits{splits}"]), rel=1e-9)
    assert math.isnan(estimate.error) == (splits == 1)


def test_inception_score_takes_zero_ln_zero_as_zero():
    assert inception_score(np.tile(np.eye(4), (3, 1)), 3).value == pytest.approx(4.0, rel=1e-14)
    assert inception_score(np.tile([0.5, 0.5, 0.0], (6, 1)), 2).value == 1.0


@pytest.mark.parametrize(
    "probabilities,splits,match",
    [
        (np.full((5, 2), 0.5), 6, "`splits` is 6, but must lie between 1 and N = 5"),
        (np.full((5, 2), 0.5), 0, "`splits` is 0"),
        ([[0.5, 0.5], [2.0, 3.0]], 1, "row 1 is no distribution: sum 5.* Apply a softmax"),
        ([[0.5, 0.5], [1.5, -0.5]], 1, "row 1 is no distribution: sum 1, least -0.5"),
        ([[0.5, 0.5], [np.nan, 0.5]], 1, "`probabilities` holds a NaN or an infinity, first in row 1"),
        (np.empty((0, 2)), 1, "N = 0 rows"),
    ],
)
def test_inception_score_refusals(probabilities, splits, match):
    with pytest.raises(MetricError, match=match):
        inception_score(probabilities, splits)


def direct_kernel_distance(x, y):
    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(s):
        return sum(k(a, b) for a, b in itertools.permutations(s, 2)) / (len(s) * (len(s) - 1))

    return within(x) + within(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def test_kernel_distance_is_the_direct_formula():
    x, y = RNG.standard_normal((23, 5)), RNG.standard_normal((31, 5)) + 0.3
    estimate = kernel_distance(x, y, units=4)
    assert estimate.value == pytest.approx(direct_kernel_distance(x.tolist(), y.tolist()), rel=1e-12)
    keep_x, keep_y = (units_of(range(n), 4) != 1 for n in (23, 31))
    assert estimate.parts[1] == pytest.approx(direct_kernel_distance(x[keep_x].tolist(), y[keep_y].tolist()), rel=1e-12)


def test_kernel_distance_over_disjoint_subsets():
    x, y = RNG.standard_normal((24, 5)), RNG.standard_normal((32, 5)) + 0.3
    estimate = kernel_distance(x, y, units=4, across=False)
    parts = [direct_kernel_distance(*(rows[units_of(range(len(rows)), 4) == g] for rows in (x, y))) for g in range(4)]
    assert estimate.parts == pytest.approx(parts, rel=1e-12) and estimate.value == pytest.approx(np.mean(parts))
    assert estimate.error == pytest.approx(np.std(parts, ddof=1) / 2) and "4 disjoint subsets" in estimate.method


def test_kernel_matrix_in_blocks_is_the_whole_one(monkeypatch):
    x, y = RNG.standard_normal((130, 2)), RNG.standard_normal((150, 2)) + 1
    whole = kernel_distance(x, y, units=3).parts
    monkeypatch.setattr(kernel, "BLOCK", 11)
    assert kernel_distance(x, y, units=3).parts == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("across", [True, False])
def test_kernel_distance_is_unbiased_and_its_error_is_the_spread(across):
    rng = np.random.default_rng(11)
    estimates = [
        kernel_distance(rng.standard_normal((120, 3)), rng.standard_normal((160, 3)) + 0.5, across=across)
        for _ in range(200)
    ]
    values, errors = np.array([e.value for e in estimates]), np.array([e.error for e in estimates])
    x, y = np.zeros(3), np.full(3, 0.5)
    third = {0: lambda m: 1, 1: lambda m: m, 2: lambda m: np.eye(3) + np.outer(m, m)}
    third[3] = lambda m: (
        np.einsum("i,j,k->ijk", m, m, m)
        + np.einsum("ij,k->ijk", np.eye(3), m)
        + np.einsum("ik,j->ijk", np.eye(3), m)
        + np.einsum("jk,i->ijk", np.eye(3), m)
    )
    exact = sum(math.comb(3, p) * 3.0**-p * np.sum((third[p](x) - third[p](y)) ** 2) for p in range(4))
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(200)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(), rel=0.2)


def line(*points):
    return np.array(points, dtype=float)[:, None]


def test_precision_and_recall_of_known_sets():
    reference = line(*range(10), *range(100, 110))
    images = line(*np.arange(0.25, 10), 5.5, 5.6, 9.9, 9.95, 60, 60.25, 98.5, 98.75, 120, 120.5)
    result = precision_recall(images, reference, k=1)
    assert result.precision.value == 14 / 20  # all below 10: within 1 of a reference point
    assert result.recall.value == 10 / 20  # 0 ... 9; the balls around 98.75 and 120 reach 0.25 and 0.5
    assert precision_recall(images, reference, k=2).precision.value == 16 / 20  # the ball around 100 reaches 2
    fewer = precision_recall(images[:12], reference, k=1)
    assert (fewer.precision.n, fewer.recall.n) == (12, 20)


def test_precision_and_recall_of_copies_subsets_and_strangers():
    reference = RNG.standard_normal((60, 65))
    copies = precision_recall(reference, reference)
    assert copies.precision.value == copies.recall.value == 1.0
    twins = np.repeat(reference, 2, axis=0)
    assert precision_recall(twins, twins[::-1], k=1).precision.value == 1.0  # balls of radius 0
    two_modes = np.concatenate([reference, reference + 100])
    one_mode = precision_recall(twins[RNG.permutation(120)], two_modes)
    assert one_mode.precision.value == 1.0 and one_mode.recall.value == 0.5
    stranger = precision_recall(reference + 1000, reference)
    assert stranger.precision.value == stranger.recall.value == 0.0


def shares_by_differences(x, y, k):
    """Precision and recall of all differences; of integers exact, so that equal distances are equal."""

    def inside(points, centres):
        radii = np.sort(((centres[:, None] - centres) ** 2).sum(2), axis=1)[:, k]  # column 0 is the point itself
        return (((points[:, None] - centres) ** 2).sum(2) <= radii).any(axis=1).mean()

    return inside(x, y), inside(y, x)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("offset", [0, 2**28])
@pytest.mark.parametrize("rows", [13, 1024])
def test_points_on_the_edge_of_a_ball_are_inside_in_any_order_of_columns_and_blocks(monkeypatch, k, offset, rows):
    monkeypatch.setattr(module, "BLOCK", rows)
    rng = np.random.default_rng(0)
    for x, y in (rng.integers(0, 2, (2, 100, 12)), rng.poisson(3, (2, 150, 3))):
        exact = shares_by_differences(x, y, k)
        for columns in (slice(None), slice(None, None, -1)):
            found = precision_recall(x[:, columns] + offset, y[:, columns] + offset, k=k)
            assert (found.precision.value, found.recall.value) == exact


def test_the_interval_of_a_precision_holds_the_truth_of_the_given_manifold():
    rng = np.random.default_rng(5)
    reference = rng.standard_normal((100, 4))
    truth = module._covered(rng.standard_normal((20_000, 4)), reference, 3) / 20_000
    found = [precision_recall(rng.standard_normal((80, 4)), reference).precision for _ in range(200)]
    assert 0.9 < np.mean([estimate.low <= truth <= estimate.high for estimate in found]) < 0.99
    assert np.sqrt(np.mean([estimate.error**2 for estimate in found])) == pytest.approx(
        np.std([e.value for e in found]), rel=0.15
    )


@pytest.mark.parametrize("metric", [kernel_distance, precision_recall])
def test_pairs_of_sets_are_checked(metric):
    good = RNG.standard_normal((40, 4))
    with pytest.raises(
        MetricError, match="`features` has d = 3 and `reference` d = 4: they come from different extractors"
    ):
        metric(good[:, :3], good)
    with pytest.raises(MetricError, match="`reference` holds a NaN or an infinity, first in row 2"):
        metric(good, np.where(np.arange(40)[:, None] == 2, np.nan, good))
    with pytest.raises(MetricError, match="`features` has N = 1 rows; this needs at least 2"):
        metric(good[:1], good)


def test_too_few_rows_for_the_units():
    good = RNG.standard_normal((20, 4))
    for across in (True, False):  # a unit of one row has no pair
        with pytest.raises(
            MetricError,
            match=r"^The reference has N = 19 rows, which is too small for 10 units of at least 2 rows. Give a larger",
        ):
            kernel_distance(good, good[:19], across=across)
        with pytest.raises(
            MetricError, match=r"^N = 19 is too small for 10 units of at least 2 rows. Give more images or fewer units"
        ):
            kernel_distance(good[:19], good, across=across)
        assert math.isfinite(kernel_distance(good, good, across=across).error)
    with pytest.raises(MetricError, match="`units` is 1; an interval needs at least 2"):
        kernel_distance(good, good, units=1)


def test_a_jackknife_has_ten_units_at_most():
    rows = RNG.standard_normal((24, 3))
    for metric in (
        lambda: kernel_distance(rows, rows, units=11),
        lambda: frechet_estimate(rows, np.zeros(3), np.eye(3), 11),
    ):
        with pytest.raises(MetricError, match="`units` is 11, but at most 10"):
            metric()
    assert len(kernel_distance(rows, rows, units=12, across=False).parts) == 12  # disjoint subsets, each taken once


def test_too_few_neighbours():
    few, many = RNG.standard_normal((30, 2)), RNG.standard_normal((40, 2))
    for k, sets in ((0, (many, many)), (30, (few, many)), (30, (many, few))):
        with pytest.raises(MetricError, match=f"`k` is {k}, but must be at least 1 and below"):
            precision_recall(*sets, k=k)
    assert precision_recall(few, many, k=29).recall.value > 0.9


def test_numbers_of_things_are_whole():
    rows = RNG.standard_normal((30, 3))
    for call, words in (
        (lambda: kernel_distance(rows, rows, units=2.0), "`units` is 2.0"),
        (lambda: frechet_estimate(rows, np.zeros(3), np.eye(3), 2.0), "`units` is 2.0"),
        (lambda: precision_recall(rows, rows, k=3.0), "`k` is 3.0"),
        (lambda: inception_score(np.full((4, 2), 0.5), splits=2.0), "`splits` is 2.0"),
    ):
        with pytest.raises(MetricError, match=f"{words}, but must be a whole number"):
            call()
    assert kernel_distance(rows, rows, units=np.int64(5)) == kernel_distance(rows, rows, units=5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_are_taken_as_arrays_are_whatever_their_dtype_and_gradient(dtype):
    tensor = torch.from_numpy(RNG.standard_normal((30, 3))).to(dtype).requires_grad_()
    array = tensor.detach().double().numpy()
    assert kernel_distance(tensor, tensor, units=3) == kernel_distance(array, array, units=3)
    assert precision_recall(tensor, tensor) == precision_recall(array, array)
    gaussian = np.zeros(3), np.eye(3)
    assert frechet_estimate(tensor, *gaussian, 3).value == pytest.approx(
        frechet_estimate(array, *gaussian, 3).value, rel=1e-12
    )


def test_features_are_real_numbers():
    rows = RNG.standard_normal((30, 3))
    for wrong, words in (
        (rows + 1j, "ndarray of complex128"),
        (torch.from_numpy(rows + 1j), "Tensor of torch.complex128"),
        (torch.from_numpy(rows).to(torch.float8_e5m2), "Tensor of torch.float8_e5m2"),
        (torch.from_numpy(rows).to_sparse(), "Tensor of torch.sparse_coo"),
        (np.ma.masked_array(rows, rows > 1), "MaskedArray of float64"),
        ([[1, 2], [3]], "list"),
        ({"features": rows}, "dict"),
    ):
        with pytest.raises(
            MetricError,
            match=f"`reference` must be an array or a tensor of real numbers, none of them masked, but is {words}",
        ):
            kernel_distance(rows, wrong)
