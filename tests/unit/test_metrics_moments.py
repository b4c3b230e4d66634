"""Means and covariances in plain float64: all digits, whatever the batches and the split."""

import tracemalloc

import numpy as np
import pytest

from seeds.metrics.checks import MetricError
from seeds.metrics.moments import BLOCK, moments_of

ROWS = np.random.default_rng(0).standard_normal((2500, 7)) * np.logspace(-2, 3, 7) + np.linspace(-500, 500, 7)


def stream(rows, batch):
    return moments_of(rows[at : at + batch] for at in range(0, len(rows), batch))


def assert_same(a, b, rtol=1e-11):
    """To some digits of the standard deviations."""
    std = np.sqrt(np.diag(b.covariance()))
    assert a.n == b.n
    np.testing.assert_allclose(a.mean / std, b.mean / std, rtol=0, atol=rtol * (1 + np.abs(b.mean / std)).max())
    np.testing.assert_allclose(
        a.covariance() / np.outer(std, std), b.covariance() / np.outer(std, std), rtol=0, atol=rtol
    )


def test_is_numpys_mean_and_covariance():
    moments, std = moments_of([ROWS]), ROWS.std(0)
    np.testing.assert_allclose(moments.mean, ROWS.mean(0), rtol=1e-13)
    want = np.cov(ROWS, rowvar=False) / np.outer(std, std)
    # means of 50,000 deviations
    np.testing.assert_allclose(moments.covariance() / np.outer(std, std), want, rtol=0, atol=1e-11)
    assert np.array_equal(moments.covariance(), moments.covariance().T)


def test_a_mean_far_beyond_the_spread_costs_no_digits():
    noise = np.round(np.random.default_rng(2).standard_normal((3000, 3)) * 2**20) * 2.0**-30
    np.testing.assert_allclose(
        moments_of([noise + 2.0**12]).covariance(), np.cov(noise, rowvar=False), rtol=1e-9, atol=1e-16
    )


@pytest.mark.parametrize("batch", [1, 7, BLOCK, 1500])
def test_batches_do_not_matter(batch):
    assert np.array_equal(stream(ROWS[:1100], batch).scatter, moments_of([ROWS[:1100]]).scatter)


def test_what_is_taken_away_is_gone():
    unit = np.arange(len(ROWS)) % 5 == 2
    assert_same(moments_of([ROWS]).plus(moments_of([ROWS[unit]]), -1), moments_of([ROWS[~unit]]))


def test_memory_is_flat_in_the_number_of_rows():
    rows = np.random.default_rng(0).standard_normal((64, 300), np.float32)
    tracemalloc.start()
    moments_of(rows for _ in range(200)).covariance()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 8 * (300**2 + BLOCK * 300)


def test_refusals():
    five = np.zeros((5, 2))
    for rows in ([], [five[:0]], [five[:1]]):
        with pytest.raises(MetricError, match=f"N = {sum(map(len, rows))} images; this needs at least 2"):
            moments_of(rows).covariance()
    with pytest.raises(MetricError, match="has d = 3 columns, but this stream was begun with d = 2"):
        moments_of([five, np.zeros((1, 3))])
    with pytest.raises(MetricError, match="first in row 6"):
        moments_of([five, np.array([[0.0, 0.0], [np.nan, 0.0]])])
