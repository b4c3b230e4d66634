"""Rows of features that several processes made, in the order of the set, on the one process that sums them."""

from collections.abc import Iterable, Iterator

import numpy as np

from seeds.distributed import Group

FeatureRows = Iterable[tuple[int, np.ndarray]]
"""(place of the first row in the whole set, features (B, d)), of this process' pieces."""


def in_order(rows: FeatureRows, pieces: int, group: Group) -> Iterator[np.ndarray]:
    """On rank 0 the features of all pieces, one by one, for sets of any size; elsewhere nothing. All processes must go
    through it.

    Args:
        pieces: of all processes; piece k is of process k % world.
    """
    own = iter(rows)
    for number in range(group.rank, group.rank + pieces, group.world):
        yield from (piece[1] for piece in group.gathered(next(own) if number < pieces else None) if piece)
    next(own, None)  # whose end is awaited by all


def collected(rows: FeatureRows, group: Group, count: int | None = None) -> np.ndarray:
    """On rank 0 the rows of all processes (N, d), in the order of the set; elsewhere an empty array.

    Args:
        count: N, where it is known: a process alone then puts the rows into their place as they come, and holds nothing
            twice.
    """
    if count is None or group.world > 1:
        parts = sorted((piece for own in group.gathered(list(rows)) for piece in own), key=lambda piece: piece[0])
        return np.concatenate([features for _, features in parts]) if parts else np.empty((0, 0), np.float32)
    whole: np.ndarray | None = None
    for first, features in rows:
        whole = np.empty((count, features.shape[1]), features.dtype) if whole is None else whole
        whole[first : first + len(features)] = features
    return np.empty((0, 0), np.float32) if whole is None else whole
