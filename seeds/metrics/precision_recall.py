"""Precision and recall of a set of images, by nearest-neighbour manifolds."""

from typing import NamedTuple

import numpy as np

from seeds.metrics.checks import MetricError, as_features, check_units, same_width
from seeds.metrics.estimate import Estimate, jackknife, units_of

_ROWS = 1024  # rows of a distance matrix held at once


class PrecisionRecall(NamedTuple):
    """Precision: the share of images that look real. Recall: the share of the reference that the images cover."""

    precision: Estimate
    recall: Estimate


def precision_recall(features, reference, *, k: int = 3, units: int = 10) -> PrecisionRecall:
    """Share of each set that lies inside the other's manifold: the union of balls around its points, each reaching to its k-th neighbour.

    The interval is the jackknife over units; `units_of` cuts each set by the places of its rows, and a unit is left out of both. Time is
    (units + 1) times that of one evaluation, of order N^2 d; memory is flat in N. Both shares depend on N and k: compare equal ones only.

    Args:
        features, reference: shapes (m, d) and (n, d), used in float64.
        k: which neighbour a ball reaches to, the point itself not counted.
    Raises: MetricError for k < 1, sets that keep k rows or fewer without a unit, unequal d, or values that are not finite.
    Source: Kynkaanniemi et al. 2019 (arXiv:1904.06991), equations 1 to 3.
    """
    x, y = as_features(features), as_features(reference, "reference")
    same_width(x, y)
    check_units(units, min(len(x), len(y)), 1)
    smallest = min(len(x) - -(-len(x) // units), len(y) - -(-len(y) // units))
    if not 1 <= k < smallest:
        raise MetricError(f"`k` is {k}, but must be at least 1 and below {smallest}, the rows left without a unit. Give more images.")
    centre = y.mean(axis=0)

    def both(left_out: int | None) -> tuple[float, float]:
        a, b = ((rows - centre)[units_of(range(len(rows)), units) != (-1 if left_out is None else left_out)] for rows in (x, y))
        return _covered(a, b, k), _covered(b, a, k)

    values = {g: both(g) for g in (None, *range(units))}
    return PrecisionRecall(
        jackknife("precision", lambda g: values[g][0], units, len(x)),
        jackknife("recall", lambda g: values[g][1], units, len(x)),
    )


def _covered(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    """Share of `points` that lie in a ball around one of `centres` that reaches to its k-th other centre."""
    radii = np.concatenate([_radii(centres, i, k) for i in range(0, len(centres), _ROWS)])
    hits = sum(int((_squared(points[i : i + _ROWS], centres) <= radii).any(axis=1).sum()) for i in range(0, len(points), _ROWS))
    return hits / len(points)


def _radii(centres: np.ndarray, start: int, k: int) -> np.ndarray:
    distances = _squared(centres[start : start + _ROWS], centres)
    rows = np.arange(len(distances))
    distances[rows, start + rows] = np.inf
    return np.partition(distances, k - 1, axis=1)[:, k - 1]


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (len(a), len(b)); those within rounding of zero are zero, so that copies are found."""
    lengths = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    squared = lengths - 2 * (a @ b.T)
    return np.where(squared > 1e-13 * lengths, squared, 0.0)
