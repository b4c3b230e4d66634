"""EDM's churn: noise that lifts the state before a step, whatever the step is."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from seeds.errors import InputError
from seeds.plans import SAME, Point
from seeds.solvers.levels import Levels
from seeds.solvers.writer import Writer

Amount = Annotated[float, "EDM's churn: noise put back before a step"]
Lowest = Annotated[float, "lowest level, as nsr, that is churned"]
Highest = Annotated[float, "highest level, as nsr, that is churned"]
Louder = Annotated[float, "multiplies the churn's noise"]


@dataclass(frozen=True)
class Churn:
    """Before a step from a level with S_min <= nsr <= S_max, noise lifts the state to nsr (1 + gamma), gamma =
    min(S_churn/n, sqrt(2) - 1).

    n counts the levels of the whole grid (EDM's num_steps). The final denoise is a step like others. The noise that is
    added is `S_noise` times what
    the higher level has more: anything but 1 leaves the exact marginals.
    Source: Karras et al. 2022 (arXiv:2206.00364), Algorithm 2.
    Raises: ValueError if a number is negative, or S_noise is not finite.
    """

    S_churn: Amount = 0.0
    S_min: Lowest = 0.0
    S_max: Highest = math.inf
    S_noise: Louder = 1.0

    def __post_init__(self) -> None:
        if not (self.S_churn >= 0 and self.S_min >= 0 and self.S_max >= 0):
            raise InputError(
                f"`S_churn`, `S_min` and `S_max` must be at least 0, but are {self.S_churn}, {self.S_min}, "
                f"{self.S_max}."
            )
        if not 0 <= self.S_noise < math.inf:
            raise InputError(f"`S_noise` must be a finite number >= 0, but is {self.S_noise}. 1 is exact.")

    def lifted(self, levels: Levels, at: Point) -> Point:
        """Where a step from `at` begins: the level that churn lifts it to, or `at` itself."""
        gamma = min(self.S_churn / levels.total, math.sqrt(2) - 1)
        if gamma > 0 and self.S_min <= at.nsr <= self.S_max:
            (to,) = levels.at_lam(np.array([-math.log(at.nsr * (1 + gamma))]))
            if to.nsr > at.nsr * (1 + SAME):  # a network may know no level above
                return to
        return at

    def before(self, write: Writer, levels: Levels) -> None:
        """Lifts the newest state, if its level is churned. The model is then asked at the lifted point."""
        to = self.lifted(levels, write.at)
        if to != write.at:
            write.renoise(to, self.S_noise)
