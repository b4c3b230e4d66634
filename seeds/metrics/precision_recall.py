"""Precision and recall of a set of images, by nearest-neighbour manifolds."""

from typing import NamedTuple

import numpy as np

from seeds.metrics.checks import MetricError, as_features, check_whole, same_width
from seeds.metrics.estimate import Estimate, share

_ROWS = 1024  # rows of a distance matrix held at once
_TIE = 1e-12  # of the squared lengths: distances that differ by less are equal, for rounding could not tell them apart


class PrecisionRecall(NamedTuple):
    """Precision: the share of images that look real. Recall: the share of the reference that the images cover."""

    precision: Estimate
    recall: Estimate


def precision_recall(features, reference, *, k: int = 3) -> PrecisionRecall:
    """Share of each set that lies inside the other's manifold: the union of balls around its points, each reaching to its k-th neighbour.

    A point on the edge of a ball is inside, also where rounding says otherwise. Time is of order N^2 d; memory is flat in N. Both shares
    depend on N and k: compare equal ones only.

    The interval is Wilson's, of a share of independent rows: the manifold is taken as given, and the chance in its own points is not in it.
    Measured on normals, N = 200 to 1000 and d = 2 to 64: it holds the truth for the given manifold in 91 to 99 % of draws; the mean over
    draws of both sets in 81 to 94 %, and in 40 to 70 % where a share is near 0 because a few far points decide it.

    Args:
        features, reference: shapes (m, d) and (n, d), used in float64.
        k: which neighbour a ball reaches to, the point itself not counted.
    Raises: MetricError unless 1 <= k < min(m, n); for unequal d, or values that are not finite.
    Source: Kynkaanniemi et al. 2019 (arXiv:1904.06991), equations 1 to 3.
    """
    x, y = as_features(features), as_features(reference, "reference")
    same_width(x, y)
    check_whole("k", k)
    fewest = min(len(x), len(y))
    if not 1 <= k < fewest:
        raise MetricError(f"`k` is {k}, but must be at least 1 and below {fewest}, the rows of the smaller set. Give more images.")
    centre = y.mean(axis=0)  # a large common offset would cost digits of the distances
    x, y = x - centre, y - centre
    return PrecisionRecall(share("precision", _covered(x, y, k), len(x)), share("recall", _covered(y, x, k), len(y)))


def _covered(points: np.ndarray, centres: np.ndarray, k: int) -> int:
    """How many of `points` lie in a ball around one of `centres` that reaches to its k-th other centre."""
    radii = np.concatenate([_radii(centres, i, k) for i in range(0, len(centres), _ROWS)])
    return sum(int((_squared(points[i : i + _ROWS], centres, _TIE) <= radii).any(axis=1).sum()) for i in range(0, len(points), _ROWS))


def _radii(centres: np.ndarray, start: int, k: int) -> np.ndarray:
    """Squared radii of the balls around centres[start : start + _ROWS]."""
    distances = _squared(centres[start : start + _ROWS], centres)
    rows = np.arange(len(distances))
    distances[rows, start + rows] = np.inf
    return np.partition(distances, k - 1, axis=1)[:, k - 1]


def _squared(a: np.ndarray, b: np.ndarray, less: float = 0.0) -> np.ndarray:
    """Squared distances (len(a), len(b)), each less by `less` of the two squared lengths."""
    lengths = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    return (1 - less) * lengths - 2 * (a @ b.T)
