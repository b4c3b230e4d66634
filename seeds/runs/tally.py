"""What the pixels of a run say of the range of its data."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from torch import Tensor

from seeds.distributed import Group

BEYOND = 0.05
"""How far outside of its range, in parts of it, a value counts as clipped."""
MOSTLY, FEW = 0.5, 0.01
"""Shares of the pixels: more than half clipped, or more than a hundredth so far out as the range is wide, are no
model's own overshoot."""
LEAST = 1024
"""Of fewer pixels nothing is said."""
PART = 0.55
"""Pixels that leave out more of the range than the rest of this are said to be in a part of it."""


@dataclass
class Tally:
    """What the pixels of a run are.

    Attributes:
        levels: (256,) how many are at each level.
        clipped, far: how many values lay outside of the range by more than `BEYOND` of it, and by more than all of it.
    """

    levels: np.ndarray = field(default_factory=partial(np.zeros, 256, np.int64))
    clipped: int = 0
    far: int = 0

    def add(self, x: Tensor, images: np.ndarray, data_range: tuple[float, float]) -> None:
        """Counts images (B, C, H, W) in `data_range`, and the pixels that were made of them."""
        low, high = data_range
        outside = (x - (low + high) / 2).abs() / (high - low) - 0.5
        self.clipped += int((outside > BEYOND).sum())
        self.far += int((outside > 1).sum())
        self.levels += np.bincount(images.ravel(), minlength=256)

    def total(self, group: Group) -> "Tally":
        """On rank 0 that of all processes, which all must call this; elsewhere one of nothing."""
        tallies = [Tally(), *group.gathered(self)]
        return Tally(*(sum(getattr(tally, name) for tally in tallies) for name in ("levels", "clipped", "far")))

    def warning(self, data_range: tuple[float, float]) -> str:
        """A sentence, if the pixels say that the data may have another range; else ""."""
        count, (low, high) = int(self.levels.sum()), data_range
        if count < LEAST:
            return ""
        way_out = (
            "If the model's data has another range, say so: --data-range LOW,HIGH, or `data_range` of the denoiser."
        )
        if self.clipped > MOSTLY * count or self.far > FEW * count:
            return (
                f"{self.clipped / count:.0%} of the pixels lay outside of the data's range, {low:g} to {high:g}, and "
                f"were clipped. {way_out}"
            )
        shares = np.cumsum(self.levels) / count
        first, last = (int(np.searchsorted(shares, share)) for share in (0.001, 0.999))
        if last - first < PART * 255:
            ends = [low + level / 255 * (high - low) for level in (first, last)]
            return (
                f"The pixels lie in a part of the data's range, {low:g} to {high:g}: nearly all from {ends[0]:.2g} to "
                f"{ends[1]:.2g}. {way_out}"
            )
        return ""
