"""Mean and covariance of rows in R^d, in plain float64: of a stream of any length, or of a part of a set that is
kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from seeds.metrics.checks import BLOCK, MetricError, as_features


@dataclass(frozen=True, eq=False)
class Moments:
    r"""Number n, mean m and scatter S = sum (x - m)(x - m)^T of rows.

    Two sets of n_a and n_b rows, with delta = m_b - m_a, are together

        m = m_a + n_b / n delta,        S = S_a + S_b + n_a n_b / n delta delta^T

    so nothing cancels where the mean is large beside the spread. With n_b and S_b below 0, a part is taken away.
    Source: Chan, Golub and LeVeque 1979 (Stanford STAN-CS-79-773).
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    def plus(self, other: "Moments", times: int = 1) -> "Moments":
        """Those of both sets; with `times` = -1 those of the rest, `other` being some of these rows."""
        n, delta = self.n + times * other.n, other.mean - self.mean
        part, scatter = times * other.n / max(n, 1), times * other.scatter
        scatter += np.outer(delta, delta * (self.n * part))
        return Moments(n, self.mean + part * delta, np.add(scatter, self.scatter, out=scatter))

    def covariance(self) -> np.ndarray:
        """Unbiased covariance (divisor n - 1), shape (d, d), symmetric. Raises: MetricError for fewer than 2 rows."""
        if self.n < 2:
            raise MetricError(f"The stream has seen N = {self.n} images; this needs at least 2.")
        sigma = self.scatter + self.scatter.T
        sigma /= 2 * (self.n - 1)
        return sigma


def moments_of(batches: Iterable) -> Moments:
    """The moments of batches of rows (B, d) of any float dtype; B may be 0. Memory is flat in their number.

    Rows are summed block by block in their order, so the numbers do not depend on how they were cut into batches.

    Raises: MetricError for another width than before, or a value that is not finite.
    """
    return reduce(Moments.plus, map(_summed, _blocks(batches)), _summed(np.empty((0, 1))))


def _blocks(batches: Iterable) -> Iterator[np.ndarray]:
    """The same rows, `BLOCK` at a time, and what is left at the end."""
    waiting, seen = np.empty((0, 0)), 0
    for features in batches:
        rows = as_features(features, least=0, first=seen, dtype=None)
        if seen and rows.shape[1] != waiting.shape[1]:
            raise MetricError(
                f"`features` has d = {rows.shape[1]} columns, but this stream was begun with d = {waiting.shape[1]}."
            )
        seen += len(rows)
        rows = np.concatenate([waiting, rows]) if len(waiting) else rows
        whole = len(rows) - len(rows) % BLOCK
        yield from (rows[at : at + BLOCK] for at in range(0, whole, BLOCK))
        waiting = rows[whole:].copy()
    if len(waiting):
        yield waiting


def _summed(rows: np.ndarray) -> Moments:
    rows = rows.astype(np.float64)
    mean = rows.sum(axis=0) / max(len(rows), 1)
    rows -= mean
    return Moments(len(rows), mean, rows.T @ rows)
