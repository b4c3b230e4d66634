"""Rows of features that several processes made, put together: the result is the same for any number of processes."""

from collections.abc import Iterable

import numpy as np

from seeds.distributed import Group
from seeds.metrics.moments import Moments, UnitMoments

Rows = Iterable[tuple[int, np.ndarray]]
"""(place of the first row in the whole set, features (B, d)), of this process' pieces."""


def merged(rows: Rows, units: int, group: Group) -> UnitMoments:
    """The moments of all processes' rows, on every process: each streams its own, and the exact sums are added."""
    stream: UnitMoments | None = None
    for first, features in rows:
        stream = stream or UnitMoments(features.shape[1], units)
        stream.update(features, first)
    dim = group.most(stream.parts[0].dim if stream else 0)
    stream = stream or UnitMoments(dim, units)
    if group.world > 1:
        digits = group.most(stream.digits)
        for i, part in enumerate(stream.parts):  # one unit at a time, so that none but it is held twice
            stream.parts[i] = Moments.from_state(group.total(part.state(digits)))
    return stream


def collected(rows: Rows, group: Group) -> np.ndarray:
    """On rank 0 the rows of all processes, in the order of the set; elsewhere an empty array."""
    parts = list(group.gathered(dict(rows)).values())
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
