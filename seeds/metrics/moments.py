"""Mean and covariance of a stream of features, exactly mergeable: integers add without rounding, so no order and no split can matter."""

import numpy as np

from seeds.metrics.checks import MetricError, as_features, check_units
from seeds.metrics.estimate import units_of

STEP = 2.0**-30  # features are rounded to multiples of this; all that follows is exact
_BITS = 20
_BASE = 2.0**_BITS  # digits lie in [-2^19, 2^19]: a float64 product of up to 2^15 rows of them is exact
_LIMIT = 2.0**28  # largest feature: three digits
_MOST = 2**21  # most rows: the int64 sums of `covariance`, below 2^42 a row, cannot wrap
_ROWS = 512  # rows gathered before a product is formed


class Moments:
    r"""Streaming mean and covariance of rows in R^d: bit for bit the same for every batch size, order, split and process count.

    Each feature x is rounded to the integer q = round(x / STEP), written in balanced digits q = sum_i BASE^i D_i. The state is

        s_i = sum over rows of D_i        and        G_ij = sum over rows of D_i D_j^T,   i <= j,

    kept as int64. Float64 products of digits are exact whatever the order in which BLAS adds them, and merging is integer addition.
    Rounding moves a feature by at most 2^-31, less than float32 does above 2^-7. Features below 2^9 need two digits, three matrices of
    d^2 int64; the state is flat in N.

    `merge` and `without` return new Moments; `state` and `from_state` carry one through files and process groups.
    """

    def __init__(self, dim: int):
        self.dim = dim
        self._n = 0
        self._sums: dict[int, np.ndarray] = {}
        self._grams: dict[tuple[int, int], np.ndarray] = {}
        self._waiting: list[np.ndarray] = []

    @property
    def n(self) -> int:
        """How many rows were seen."""
        return self._n + sum(map(len, self._waiting))

    def update(self, features) -> None:
        """Add rows `features` (B, d), any float dtype; B may be 0.

        Raises: MetricError for another width, a value that is not finite or above 2^28, or more than 2^21 rows in all.
        """
        rows = as_features(features, least=0, first=self.n)
        if rows.shape[1] != self.dim:
            raise MetricError(f"`features` has d = {rows.shape[1]} columns, but this stream was begun with d = {self.dim}.")
        if rows.size and np.abs(rows).max() > _LIMIT:
            raise MetricError(f"`features` reaches {np.abs(rows).max():g}, above the limit of {_LIMIT:g}. Scale the features down.")
        if self.n + len(rows) > _MOST:
            raise MetricError(f"`features` would make {self.n + len(rows)} rows; a stream takes at most {_MOST}.")
        self._waiting.append(rows.copy())
        if sum(map(len, self._waiting)) >= _ROWS:
            self._absorb()

    def merge(self, *others: "Moments") -> "Moments":
        """The moments of all rows together, exactly, in any order and grouping. Raises: MetricError if the dimensions differ."""
        return self._combined(others, 1)

    def without(self, part: "Moments") -> "Moments":
        """The moments of these rows less those of `part`, exactly; `part` must have been merged in. Raises: as `merge`."""
        return self._combined((part,), -1)

    def mean(self) -> np.ndarray:
        """Mean, shape (d,). Raises: MetricError without rows."""
        self._need(1)
        return (STEP * (self._whole(self._sums) / self._n)).astype(np.float64)

    def covariance(self) -> np.ndarray:
        """Unbiased covariance (divisor n - 1), shape (d, d), symmetric.

        The scatter about the integer c nearest the mean is again a number in base 2^20, whose digits of i + j = k are int64 sums:

            sum over rows of (q - c) (q - c)^T = sum_k BASE^k sum_{i + j = k} sum over rows of (D_i - c_i) (D_j - c_j)^T

        Carried over to the end, each digit is small beside the one above, so nothing cancels: not where the mean is large beside the spread,
        nor where the rows lie on both sides of a number at which a digit turns, such as 512.

        Raises: MetricError for fewer than 2 rows, or for features that vary by less than 1e-6, where the rounding would show.
        """
        self._need(2)
        n, c = self._n, {i: np.zeros(self.dim, np.int64) for i in self._sums}
        c |= {i: digit.astype(np.int64) for i, digit in enumerate(_digits(self.mean()))}
        off = (self._whole(self._sums) - n * self._whole(c)).astype(np.float64)
        scatter, carry, k = np.outer(off, -off / n), np.zeros((self.dim, self.dim), np.int64), 0
        while k < 2 * len(c) - 1 or carry.any():
            for i, j in ((i, j) for i, j in self._grams if i + j == k):
                exact = self._about(c, i, j)
                carry += exact if i == j else exact + exact.T
            digit, carry = _carried(carry)
            scatter += _BASE**k * digit
            k += 1
        sigma = scatter * (STEP**2 / (n - 1))
        if 0 < np.trace(sigma) < self.dim * (1024 * STEP) ** 2:
            raise MetricError(
                f"The features vary by {np.sqrt(np.trace(sigma) / self.dim):.1g} only; below 1e-6 digits are lost. Scale them up."
            )
        return sigma

    @property
    def digits(self) -> int:
        """How many digits k the features needed so far."""
        self._absorb()
        return len(self._sums)

    def state(self, digits: int | None = None) -> dict[str, np.ndarray]:
        """The whole state as named arrays (n; sums (k, d); grams (k (k + 1) / 2, d, d), pairs i <= j row by row), for `from_state`.

        States of equal `digits` have equal shapes, and the state of the merged streams is their sum.
        """
        digits = max(self.digits, digits or 0)
        zero, none = np.zeros((self.dim, self.dim), np.int64), np.zeros(self.dim, np.int64)
        pairs = [self._grams.get((i, j), zero) for i in range(digits) for j in range(i, digits)]
        return {
            "n": np.array(self._n, np.int64),
            "sums": np.array([self._sums.get(i, none) for i in range(digits)], np.int64).reshape(digits, self.dim),
            "grams": np.array(pairs, np.int64).reshape(len(pairs), self.dim, self.dim),
        }

    @classmethod
    def from_state(cls, state) -> "Moments":
        """The Moments that `state` (a mapping, or an open npz) describes. Raises: MetricError if the arrays do not belong together."""
        n, sums, grams = (np.asarray(state[key]) for key in ("n", "sums", "grams"))
        digits = len(sums)
        wanted = (digits * (digits + 1) // 2, *sums.shape[1:], *sums.shape[1:])
        if n.shape != () or sums.ndim != 2 or grams.shape != wanted or {a.dtype for a in (n, sums, grams)} != {np.dtype(np.int64)}:
            raise MetricError(f"`state` does not hold int64 moments: n {n.shape}, sums {sums.shape}, grams {grams.shape}.")
        new, pairs = cls(sums.shape[1]), [(i, j) for i in range(digits) for j in range(i, digits)]
        new._n, new._sums = int(n), {i: sums[i].copy() for i in range(digits)}
        new._grams = {pair: gram.copy() for pair, gram in zip(pairs, grams, strict=True)}
        return new

    def _absorb(self) -> None:
        rows = np.concatenate([np.empty((0, self.dim)), *self._waiting])
        self._waiting = []
        for block in np.split(rows, range(_ROWS, len(rows), _ROWS)):
            digits = _digits(block)
            sums = {i: digit.sum(axis=0).astype(np.int64) for i, digit in enumerate(digits)}
            grams = {(i, j): (digits[i].T @ digits[j]).astype(np.int64) for i in range(len(digits)) for j in range(i, len(digits))}
            self._n += len(block)
            _add(self._sums, sums, 1)
            _add(self._grams, grams, 1)

    def _combined(self, others: "tuple[Moments, ...]", sign: int) -> "Moments":
        new = Moments(self.dim)
        for moments, factor in ((self, 1), *((other, sign) for other in others)):
            if moments.dim != self.dim:
                raise MetricError(f"Moments of d = {moments.dim} and d = {self.dim} cannot be merged: they come from different extractors.")
            moments._absorb()
            new._n += factor * moments._n
            _add(new._sums, moments._sums, factor)
            _add(new._grams, moments._grams, factor)
        if not 0 <= new._n <= _MOST:
            raise MetricError(f"The result would have {new._n} rows; a stream takes 0 to {_MOST}.")
        return new

    def _whole(self, digits: dict[int, np.ndarray]) -> np.ndarray:
        """sum_i BASE^i digits_i, shape (d,), as Python's integers, which no size rounds."""
        return sum((digit.astype(object) << _BITS * i for i, digit in digits.items()), np.zeros(self.dim, object))

    def _about(self, c: dict[int, np.ndarray], i: int, j: int) -> np.ndarray:
        """Sum over rows of (D_i - c_i) (D_j - c_j)^T."""
        exact = self._grams[i, j] - np.outer(c[i], self._sums[j])
        exact -= np.outer(self._sums[i] - self._n * c[i], c[j])
        return exact

    def _need(self, least: int) -> None:
        self._absorb()
        if self._n < least:
            raise MetricError(f"The stream has seen N = {self._n} images; this needs at least {least}.")


class UnitMoments:
    """Moments of the same stream in `units` disjoint units, for the jackknife: `units_of` says which row belongs to which.

    The units depend on the rows' numbers alone, never on batches or processes. Memory: `units` times that of Moments, 0.1 GB at d = 2048.
    """

    def __init__(self, dim: int, units: int = 10):
        check_units(units, units, 1)
        self.parts = [Moments(dim) for _ in range(units)]

    @property
    def n(self) -> int:
        """How many rows were seen."""
        return sum(part.n for part in self.parts)

    def update(self, features, first: int | None = None) -> None:
        """Add rows (B, d) whose numbers in the data order are first, first + 1, ... (default: those after the rows seen so far)."""
        start = self.n if first is None else first
        rows = as_features(features, least=0, first=start)
        unit = units_of(np.arange(start, start + len(rows)), len(self.parts))
        for number, part in enumerate(self.parts):
            part.update(rows[unit == number])

    def merge(self, *others: "UnitMoments") -> "UnitMoments":
        """All rows together, unit by unit, exactly. Raises: MetricError if dimensions or numbers of units differ."""
        if any(len(other.parts) != len(self.parts) for other in others):
            raise MetricError(f"`units` differ: {[len(stream.parts) for stream in (self, *others)]}. Merge streams of one number.")
        new = UnitMoments(self.parts[0].dim, len(self.parts))
        new.parts = [part.merge(*(other.parts[i] for other in others)) for i, part in enumerate(self.parts)]
        return new

    def total(self) -> Moments:
        """The moments of all rows."""
        return self.parts[0].merge(*self.parts[1:])

    @property
    def digits(self) -> int:
        """How many digits the features needed so far, in any unit."""
        return max(part.digits for part in self.parts)


def _digits(rows: np.ndarray) -> list[np.ndarray]:
    """Balanced base-2^20 digits of round(rows / STEP), lowest first: exact float64 integers of magnitude at most 2^19."""
    rest, digits = np.rint(rows / STEP), []
    while rest.any():
        carry = np.rint(rest / _BASE)
        digits.append(rest - _BASE * carry)
        rest = carry
    return digits


def _carried(whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(digit, carry) of integers: whole = digit + BASE carry, -2^19 <= digit < 2^19."""
    carry = whole + (1 << _BITS - 1)
    carry >>= _BITS
    return whole - (carry << _BITS), carry


def _add(into: dict, more: dict, sign: int) -> None:
    for key, value in more.items():
        into[key] = into[key] + sign * value if key in into else sign * value
