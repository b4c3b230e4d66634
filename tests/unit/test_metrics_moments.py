import tracemalloc

import numpy as np
import pytest

from seeds.metrics import moments as module
from seeds.metrics.checks import MetricError
from seeds.metrics.estimate import units_of
from seeds.metrics.moments import Moments, UnitMoments

ROWS = np.random.default_rng(0).standard_normal((1500, 7)) * np.logspace(-2, 3, 7) + np.linspace(-500, 500, 7)


def stream(rows, batch=10**9):
    moments = Moments(rows.shape[1])
    for i in range(0, len(rows), batch):
        moments.update(rows[i : i + batch])
    return moments


def same_bits(a, b):
    return a.n == b.n and np.array_equal(a.mean(), b.mean()) and np.array_equal(a.covariance(), b.covariance())


def test_is_numpy_mean_and_covariance():
    moments, centred, std = stream(ROWS, 64), ROWS - ROWS.mean(0), ROWS.std(0)
    correlation = (moments.covariance() - centred.T @ centred / 1499) / np.outer(std, std)
    assert np.abs(moments.mean() - ROWS.mean(0)).max() < 1e-10
    assert (np.abs(correlation) < 1e-13 + module.STEP * (1 / std[:, None] + 1 / std) / 4).all()
    assert np.array_equal(moments.covariance(), moments.covariance().T)


def test_exact_on_integers():
    rows = np.random.default_rng(1).integers(-(2**27), 2**27, (600, 4))
    whole = [[int(v) for v in row] for row in rows]
    sums = [sum(row[i] for row in whole) for i in range(4)]
    exact = [[(600 * sum(r[i] * r[j] for r in whole) - sums[i] * sums[j]) / (600 * 599) for j in range(4)] for i in range(4)]
    assert np.allclose(stream(rows).covariance(), exact, rtol=1e-15, atol=0)


def test_a_large_mean_costs_no_digits():
    noise = np.round(np.random.default_rng(2).standard_normal((1000, 3)) * 2**20) * 2.0**-30
    assert np.allclose(stream(noise + 2.0**12).covariance(), np.cov(noise, rowvar=False), rtol=1e-12, atol=0)


@pytest.mark.parametrize("sd", [1.0, 1e-3, 1e-5])
@pytest.mark.parametrize("centre", [2.0**-11, 512.0, 512 + 2.0**-11, -1536 - 2.0**-11])
def test_rows_on_both_sides_of_a_number_where_digits_turn_cost_none(centre, sd):
    noise = np.round(np.random.default_rng(4).standard_normal((1000, 3)) * sd * 2**30) * 2.0**-30
    moments = stream(noise + centre)
    assert np.allclose(moments.covariance(), np.cov(noise, rowvar=False), rtol=1e-12, atol=1e-15 * sd**2)
    assert np.allclose(moments.mean() - centre, noise.mean(0), rtol=0, atol=2.0**-53 * abs(centre))


def test_the_most_rows_of_the_largest_digits_do_not_wrap():
    turn, step = np.array([1536, -1536, 3 * 2.0**-11, 2.0**28]), np.array([2.0**-8, -(2.0**-8), 2.0**-28, 2.0**29])
    rows = turn - np.outer([0, 0, 0, 1], step)  # the mean lies beyond the turn: most rows' digits are 2^20 from its own
    moments = stream(rows)
    while moments.n < module._MOST:
        moments = moments.merge(moments)
    assert np.allclose(moments.covariance() * (moments.n - 1) / moments.n, np.outer(step, step) * 3 / 16, rtol=1e-14, atol=0)


@pytest.mark.parametrize("batch", [1, 7, 64, 511, 512, 513, 1500])
def test_batches_change_no_bit(batch):
    assert same_bits(stream(ROWS, batch), stream(ROWS))


@pytest.mark.parametrize("seed", range(5))
def test_order_split_and_grouping_change_no_bit(seed):
    rng = np.random.default_rng(seed)
    rows = ROWS[rng.permutation(1500)].astype(np.float64)
    cuts = np.sort(rng.integers(0, 1501, 6))
    parts = [stream(part, 100) for part in np.split(rows, cuts)]
    a, b, c, *rest = (parts[i] for i in rng.permutation(7))
    assert same_bits(a.merge(b.merge(c), *rest), stream(ROWS))
    assert same_bits(rest[0].merge(*rest[1:], c).merge(a, b), stream(ROWS))


def test_merge_leaves_its_arguments_and_empty_streams_are_neutral():
    a, b = stream(ROWS[:700]), stream(ROWS[700:])
    merged, before = a.merge(b), a.covariance()
    b.update(ROWS[:5])
    assert np.array_equal(a.covariance(), before) and merged.n == 1500 and b.n == 805
    assert same_bits(Moments(7).merge(a, Moments(7)), a)


def test_without_undoes_merge():
    a, b = stream(ROWS[:700]), stream(ROWS[700:])
    assert same_bits(a.merge(b).without(b), a)
    with pytest.raises(MetricError, match="would have -100 rows"):
        a.without(b)


def test_float32_and_float64_rows_agree_where_the_values_do():
    rows = ROWS.astype(np.float32)
    assert same_bits(stream(rows), stream(rows.astype(np.float64)))


def test_state_goes_through_a_file(tmp_path):
    moments = stream(ROWS, 100)
    np.savez(tmp_path / "state.npz", **moments.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        back = Moments.from_state(file)
    assert same_bits(back, moments) and same_bits(back.merge(stream(ROWS)), moments.merge(moments))
    assert Moments.from_state(Moments(3).state()).n == 0
    small = stream(ROWS / 2**25)
    assert small.digits == 1 and same_bits(Moments.from_state(small.state(3)), small)
    broken = moments.state() | {"sums": np.zeros((1, 7), np.int64)}
    with pytest.raises(MetricError, match="`state` does not hold int64 moments"):
        Moments.from_state(broken)


def test_units_are_rows_by_number_whatever_the_ranks_and_batches():
    whole, ranks = UnitMoments(7, 4), [UnitMoments(7, 4) for _ in range(3)]
    whole.update(ROWS)
    for work, first in enumerate(range(0, 1500, 77)):
        ranks[work % 3].update(ROWS[first : first + 77], first=first)
    merged = ranks[2].merge(ranks[0], ranks[1])
    assert all(same_bits(a, b) for a, b in zip(merged.parts, whole.parts, strict=True)) and same_bits(merged.total(), stream(ROWS))
    assert same_bits(merged.parts[1], stream(ROWS[units_of(range(1500), 4) == 1]))
    with pytest.raises(MetricError, match="NaN or an infinity, first in row 901"):
        whole.update(np.where(np.arange(2)[:, None] == 1, np.nan, ROWS[:2]), first=900)
    with pytest.raises(MetricError, match="`units` differ"):
        whole.merge(UnitMoments(7, 5))


def test_memory_does_not_grow_with_the_stream():
    def peak(count):
        rng, moments = np.random.default_rng(0), Moments(48)
        tracemalloc.start()
        for _ in range(count // 50):
            moments.update(rng.standard_normal((50, 48), np.float32))
        moments.covariance()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(50_000) < 1.05 * peak(1_000)


def test_constant_features_have_no_covariance():
    assert not stream(np.full((10, 3), 0.7)).covariance().any()


@pytest.mark.parametrize(
    "act,match",
    [
        (lambda m: m.update(np.zeros((2, 4))), "d = 4 columns, but this stream was begun with d = 3"),
        (lambda m: m.update(np.zeros(3)), r"shape \(N, d\).* has shape \(3,\)"),
        (lambda m: m.update([[1.0, 2.0, 3.0], [0.0, np.nan, 0.0]]), "NaN or an infinity, first in row 1"),
        (lambda m: (m.update(np.ones((4, 3))), m.update([[np.inf, 1.0, 1.0]])), "first in row 4"),
        (lambda m: m.update(np.full((1, 3), 3e8)), "above the limit of 2.68435e\\+08. Scale"),
        (lambda m: m.mean(), "N = 0 images; this needs at least 1"),
        (lambda m: (m.update(np.ones((1, 3))), m.covariance()), "N = 1 images; this needs at least 2"),
        (lambda m: (m.update(1e-8 * np.eye(3)), m.covariance()), "below 1e-6 digits are lost. Scale them up"),
        (lambda m: m.merge(Moments(4)), "d = 4 and d = 3 cannot be merged"),
    ],
)
def test_refusals(act, match):
    with pytest.raises(MetricError, match=match):
        act(Moments(3))


def test_too_many_rows_are_refused_before_integers_wrap(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 10)
    moments = stream(np.ones((10, 2)))
    with pytest.raises(MetricError, match="11 rows; a stream takes at most 10"):
        moments.update(np.ones((1, 2)))
    with pytest.raises(MetricError, match="would have 20 rows"):
        moments.merge(moments)
