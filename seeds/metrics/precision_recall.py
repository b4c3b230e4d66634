"""Precision and recall of a set of images, by nearest-neighbour manifolds."""

from typing import NamedTuple

import numpy as np

from seeds.metrics.checks import BLOCK, MetricError, as_features, check_whole, same_width
from seeds.metrics.estimate import Estimate, share


class PrecisionRecall(NamedTuple):
    """Precision: the share of images that look real. Recall: the share of the reference that the images cover."""

    precision: Estimate
    recall: Estimate


def precision_recall(features, reference, *, k: int = 3) -> PrecisionRecall:
    """Share of each set that lies inside the other's manifold: the union of balls around its points, each reaching to
    its k-th neighbour.

    A point on the edge of a ball is inside, also where rounding says otherwise: squared distances are formed by matrix
    products and count as equal where they differ by less than (d + 16) 2^-52 of the squared lengths, seen from the mean
    of the set. Time is of order N^2 d; memory is flat in N. Both shares depend on N and k: compare equal ones only.

    The interval is Wilson's, of a share of independent rows: the manifold is taken as given, and the chance in its own
    points is not in it. Measured on normals, N = 200 to 1000 and d = 2 to 64: it holds the truth for the given manifold
    in 91 to 99 % of draws; the mean over draws of both sets in 81 to 94 %, and in 40 to 70 % where a share is near 0
    because a few far points decide it.

    Args:
        features, reference: shapes (m, d) and (n, d), used in float64.
        k: which neighbour a ball reaches to, the point itself not counted.
    Raises: MetricError unless 1 <= k < min(m, n); for unequal d, or values that are not finite.
    Source: Kynkaanniemi et al. 2019 (arXiv:1904.06991), equations 1 to 3.
    """
    x, y = as_features(features), as_features(reference, "reference")
    same_width(x.shape[1], y.shape[1])
    check_whole("k", k)
    fewest = min(len(x), len(y))
    if not 1 <= k < fewest:
        raise MetricError(
            f"`k` is {k}, but must be at least 1 and below {fewest}, the rows of the smaller set. Give more images."
        )
    return PrecisionRecall(share("precision", _covered(x, y, k), len(x)), share("recall", _covered(y, x, k), len(y)))


def _covered(points: np.ndarray, centres: np.ndarray, k: int) -> int:
    """How many of `points` lie in a ball around one of `centres` that reaches to its k-th other centre."""
    offset = centres.mean(axis=0)  # it would cost digits of the products
    points, centres = points - offset, centres - offset
    starts = range(0, len(centres), BLOCK)
    radii = np.concatenate([_radii(centres[at : at + BLOCK], centres, at, k) for at in starts])
    blocks = (points[at : at + BLOCK] for at in range(0, len(points), BLOCK))
    return sum(int((_squared(block, centres, -1) <= radii).any(axis=1).sum()) for block in blocks)


def _radii(block: np.ndarray, centres: np.ndarray, start: int, k: int) -> np.ndarray:
    """The squared radii of the balls around a block of the centres, which begins at `start`."""
    squared = _squared(block, centres, +1)
    rows = np.arange(len(block))
    squared[rows, start + rows] = np.inf  # a centre is no neighbour of itself
    return np.partition(squared, k - 1, axis=1)[:, k - 1]


def _squared(a: np.ndarray, b: np.ndarray, side: int) -> np.ndarray:
    """Squared distances between rows, by matrix products: no less than they are (`side` = 1), or no more (-1).

    Rounding moves a sum of d squares or products, with all that is done before and after, by a part of the squared
    lengths that is added or taken away.
    """
    part = 1 + side * (a.shape[1] + 16) * np.finfo(np.float64).eps
    of_a, of_b = (part * np.einsum("ij,ij->i", rows, rows) for rows in (a, b))
    return (-2 * a) @ b.T + of_a[:, None] + of_b
