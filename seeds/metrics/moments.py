"""Mean and covariance of rows in R^d, in plain float64: of a stream of any length, or of a part of a set that is kept."""

import numpy as np

from seeds.metrics.checks import MetricError, as_features

BLOCK = 1024
"""Rows that are summed at a time."""


class Moments:
    r"""Streaming mean m and scatter S = sum (x - m)(x - m)^T of rows, block by block in their order; the state is flat in N.

    Two sets of n_a and n_b rows, with delta = m_b - m_a, are together

        m = m_a + n_b / n delta,        S = S_a + S_b + n_a n_b / n delta delta^T

    so nothing cancels where the mean is large beside the spread. The numbers do not depend on how the rows were cut into batches; cut into several
    streams that are added, they agree to some 1e-14 of the spread.

    Attributes:
        n, mean, scatter: of what was seen, but for rows that wait for their block to fill until `close`.
    Source: Chan, Golub and LeVeque 1979 (Stanford STAN-CS-79-773).
    """

    def __init__(self, dim: int):
        self.dim, self.n = dim, 0
        self.mean, self.scatter = np.zeros(dim), np.zeros((dim, dim))
        self._waiting = np.empty((0, dim), np.float32)

    def update(self, features) -> None:
        """Adds rows (B, d) of any float dtype; B may be 0.

        Raises: MetricError for another width, or a value that is not finite.
        """
        rows = as_features(features, least=0, first=self.n + len(self._waiting), dtype=None)
        if rows.shape[1] != self.dim:
            raise MetricError(f"`features` has d = {rows.shape[1]} columns, but this stream was begun with d = {self.dim}.")
        rows = np.concatenate([self._waiting, rows])
        whole = len(rows) - len(rows) % BLOCK
        for at in range(0, whole, BLOCK):
            self._block(rows[at : at + BLOCK])
        self._waiting = rows[whole:].copy()

    def close(self) -> "Moments":
        """Sums what still waits; returns itself."""
        if len(self._waiting):
            self._block(self._waiting)
            self._waiting = self._waiting[:0]
        return self

    def without(self, part: "Moments") -> "Moments":
        """The moments of these rows less those of `part`, which must be some of them."""
        rest = Moments(self.dim)
        rest.n = self.close().n - part.close().n
        rest.mean = self.mean - part.n / rest.n * (part.mean - self.mean)
        delta = part.mean - rest.mean
        rest.scatter = self.scatter - part.scatter - np.outer(delta, delta * (rest.n * part.n / self.n))
        return rest

    def covariance(self) -> np.ndarray:
        """Unbiased covariance (divisor n - 1), shape (d, d), symmetric. Raises: MetricError for fewer than 2 rows."""
        if self.close().n < 2:
            raise MetricError(f"The stream has seen N = {self.n} images; this needs at least 2.")
        return (self.scatter + self.scatter.T) / (2 * (self.n - 1))

    def _block(self, rows: np.ndarray) -> None:
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        rows -= mean
        total, delta = self.n + len(rows), mean - self.mean
        self.scatter += rows.T @ rows
        self.scatter += np.outer(delta, delta * (self.n * len(rows) / total))
        self.mean = self.mean + delta * (len(rows) / total)
        self.n = total


def moments_of(rows) -> Moments:
    """The moments of rows (N, d)."""
    found = Moments(rows.shape[1])
    found.update(rows)
    return found.close()
