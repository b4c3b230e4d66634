"""Kernel distance (KID): the unbiased squared maximum mean discrepancy under a cubic kernel."""

import numpy as np

from seeds.metrics.checks import BLOCK, UNITS, as_features, check_units, same_width
from seeds.metrics.estimate import Estimate, jackknife, over_parts, units_of


def kernel_distance(features, reference, *, units: int = 10, across: bool = True) -> Estimate:
    r"""Unbiased squared maximum mean discrepancy under k(x, y) = (x . y / d + 1)^3, with its standard error. It may be
    negative.

        sum_{i != j} k(x_i, x_j) / (m (m - 1)) + sum_{i != j} k(y_i, y_j) / (n (n - 1)) - 2 sum_ij k(x_i, y_j) / (m n)

    `units_of` cuts each set into units by the places of its rows; nothing is drawn at random.

    Args:
        features, reference: shapes (m, d) and (n, d), used in float64.
        units: how many units, at least 2; of all pairs at most 10.
        across: True takes all pairs, and the error is the jackknife over units, each left out of both sets, about 1.45
            times too large where both sets have one law. False takes only the pairs within a unit: the mean over
            disjoint subsets, as the KID is often computed, at 1 / units of the cost and with a larger error; the
            subsets share no image, so the standard error is the plain one.
    Returns: an Estimate, n = m. Both sets count as samples.
    Raises: MetricError for fewer than 2 rows a unit (4 rows in all), unequal d, or values that are not finite.
    Source: Binkowski et al. 2018 (arXiv:1801.01401), section 4.
    """
    x, y = as_features(features), as_features(reference, "reference")
    same_width(x.shape[1], y.shape[1])
    most = UNITS if across else max(len(x), len(y))
    check_units(units, len(x), most=most)
    check_units(units, len(y), "reference", most)
    xs, ys = ([rows[units_of(range(len(rows)), units) == g] for g in range(units)] for rows in (x, y))
    xx, yy, xy = _sums(xs, xs, across), _sums(ys, ys, across), _sums(xs, ys, across)
    m, n = np.array([len(part) for part in xs]), np.array([len(part) for part in ys])

    def distance(taken: np.ndarray) -> float:
        i = np.ix_(taken, taken)
        a, b = m[taken].sum(), n[taken].sum()
        return float(xx[i].sum() / (a * (a - 1)) + yy[i].sum() / (b * (b - 1)) - 2 * xy[i].sum() / (a * b))

    every = np.arange(units)
    if across:
        return jackknife(
            "kernel distance", lambda g: distance(every if g is None else np.delete(every, g)), units, len(x)
        )
    return over_parts("kernel distance", [distance(every[g : g + 1]) for g in every], len(x), "disjoint subsets")


def _sums(a: list[np.ndarray], b: list[np.ndarray], across: bool) -> np.ndarray:
    """(units, units) sums of kernel values between units; a row paired with itself is left out; 0 off the diagonal
    unless `across`."""
    total = np.zeros((len(a), len(b)))
    for g, h in np.ndindex(total.shape):
        if across or g == h:
            total[g, h] = total[h, g] if a is b and h < g else _kernel_sum(a[g], b[h])
    return total


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    total = sum(float(((a[i : i + BLOCK] @ b.T / a.shape[1] + 1) ** 3).sum()) for i in range(0, len(a), BLOCK))
    return total - (float(((np.einsum("ij,ij->i", a, a) / a.shape[1] + 1) ** 3).sum()) if a is b else 0.0)
