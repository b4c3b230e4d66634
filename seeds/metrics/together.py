"""Rows of features that several processes made, put together."""

from collections.abc import Iterable

import numpy as np

from seeds.distributed import Group
from seeds.metrics.moments import Moments

FeatureRows = Iterable[tuple[int, np.ndarray]]
"""(place of the first row in the whole set, features (B, d)), of this process' pieces."""


def merged(rows: FeatureRows, group: Group) -> Moments:
    """The moments of all processes' rows, on every process, for sets of any size: each streams its own, and the sums are added.

    The numbers of one process and of several agree to some 1e-14 of the spread.
    """
    stream: Moments | None = None
    for _, features in rows:
        stream = stream or Moments(features.shape[1])
        stream.update(features)
    dim = group.most(stream.dim if stream else 0)
    stream = (stream or Moments(dim)).close()
    if group.world == 1:
        return stream
    sums = group.total({"n": np.array(stream.n), "sum": stream.n * stream.mean})
    whole, mean = Moments(dim), sums["sum"] / int(sums["n"])
    away = stream.mean - mean
    whole.n, whole.mean = int(sums["n"]), mean
    whole.scatter = group.total({"scatter": stream.scatter + np.outer(away, stream.n * away)})["scatter"]
    return whole


def collected(rows: FeatureRows, group: Group, count: int | None = None) -> np.ndarray:
    """On rank 0 the rows of all processes (N, d), in the order of the set; elsewhere an empty array.

    Args:
        count: N, where it is known: a process alone then puts the rows into their place as they come, and holds nothing twice.
    """
    if count is None or group.world > 1:
        parts = list(group.gathered(dict(rows)).values())
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    whole: np.ndarray | None = None
    for first, features in rows:
        whole = np.empty((count, features.shape[1]), features.dtype) if whole is None else whole
        whole[first : first + len(features)] = features
    return np.empty((0, 0), np.float32) if whole is None else whole
