"""Inception score, with splits fixed by the order of the images."""

from itertools import pairwise

import numpy as np

from seeds.metrics.checks import MetricError, as_features, check_splits
from seeds.metrics.estimate import Estimate, over_parts


def inception_score(probabilities, splits: int = 10) -> Estimate:
    r"""Mean over splits of exp(mean_i KL(p_i || mean_i p_i)), with its interval over the splits.

        score = exp( mean_i sum_c p_ic (ln p_ic - ln q_c) ),   q = mean_i p_i,   0 ln 0 = 0

    Split k holds rows k n // splits to (k + 1) n // splits of the data order, whatever the number of processes.
    `spread` of the result is the population standard deviation over the splits, which papers print behind the score;
    `error` is the standard error of the mean.

    Args:
        probabilities: class probabilities, shape (N, classes), rows in the order of the images (or of the seeds), used
            in float64.
        splits: how many splits, at least 1. With 1 there is no interval.
    Raises: MetricError for N < splits, values that are not finite or below 0, or rows that do not sum to 1 within 1e-3.
    Source: Salimans et al. 2016 (arXiv:1606.03498), section 4.
    """
    p = as_features(probabilities, "probabilities", least=1)
    check_splits(splits, len(p))
    off = np.abs(p.sum(axis=1) - 1)
    if p.min() < 0 or off.max() > 1e-3:
        row = int(np.argmax(np.maximum(off, -p.min(axis=1))))
        raise MetricError(
            f"`probabilities` row {row} is no distribution: sum {p[row].sum():.6g}, least {p[row].min():.3g}. Apply a "
            "softmax."
        )
    bounds = [k * len(p) // splits for k in range(splits + 1)]
    return over_parts("inception score", [_score(p[a:b]) for a, b in pairwise(bounds)], len(p), "splits in data order")


def _score(p: np.ndarray) -> float:
    q = np.broadcast_to(p.mean(axis=0), p.shape)
    divergence = np.zeros_like(p)
    np.log(p / np.where(p > 0, q, 1.0), out=divergence, where=p > 0)
    return float(np.exp(np.mean(np.sum(p * divergence, axis=1))))
