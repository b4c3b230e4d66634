"""The default, `solver="auto"`: from the number of model calls to a method and its grid, and how that grid is laid on a
schedule. NumPy only.

A rule, no solver: what it chooses is a point of one family, exponential Adams methods (seeds.solvers.multistep, the
solver "adams") with polynomials in lam or a power of nsr, noise where it repairs the network, and a grid whose end
depends on the number of calls. Its evidence: docs/family.md and benchmarks/rule.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seeds.errors import InputError
from seeds.grids import end_at, grid
from seeds.integrals import Eta
from seeds.names import lookup
from seeds.plans import Point
from seeds.schedules import Schedule
from seeds.solvers.measures import PUBLISHED
from seeds.variables import power_of

AUTO = "auto"
"""What stands in the place of a solver's name."""
METHOD = "adams"
"""The solver that the rule sets."""
AIMS = ("law", "accuracy")
"""What the samples are for: the law of a learned network's, whose errors noise repairs; or the least error of the
solver, of an exact denoiser, or where one image is followed."""
CALLS = 20
"""Model calls where none are asked for."""
MOST = 4096
"""Levels that a rounding is asked about, and more for longer runs, before it is believed that there are no others."""
GRID = "curve"
"""The grid of `seeds.GRIDS` that the rule shapes."""
REACH = 2.5
"""How many times the rule's last level the last level of a run may be for the rule's finish to be taken."""
UNEVEN = 1.75
"""How many times the mean step the longest step of a run may be for its steps to count as even as the rule's, which a
table of 1,000 levels, 40 calls, rounds to 1.6."""
FRESH = 1.5
"""The most eta h of a step of an uneven run."""
NOISY = 20
"""Calls from which on a run in another prediction than data bears noise."""
POWERS = (0.1, 0.2, 0.3, 0.45, 0.7, 1.0)
"""Of nsr, for the polynomials of an uneven run."""


@dataclass(frozen=True)
class Setting:
    """What the rule chooses.

    Attributes:
        k, corrector, variable: of `adams`.
        eta: a number, or a table [(lam_from, eta), ...], see `seeds.Eta`.
        nsr_max, nsr_min: the first and the last level that the model is asked at.
        finish: of `adams`: the level that the last step extrapolates to; 0 is the final denoise.
        shape: how long the steps in lam are at the start of the grid, in its middle and at its end; (1, 1, 1) are equal
            steps (`grids.curve`).
        start_at: of a run that begins with noise alone, see `seeds.plan`.
    """

    k: int
    corrector: int
    variable: str
    eta: float | tuple[tuple[float, float], ...]
    nsr_max: float
    nsr_min: float
    finish: float = 0.0
    shape: tuple[float, float, float] = (1.0, 1.0, 1.0)
    start_at: str = "mean"

    def options(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The options of `adams`: those said, and of the others the rule's, where they go together with those.

        A corrector reads at most k + 1 values, and the measures of published methods have weights of their own, most of
        them in lam and without one.
        """
        options: dict[str, Any] = {"k": self.k, "corrector": self.corrector, "variable": self.variable}
        options |= {"finish": self.finish} if self.finish else {}
        measure, k = str(own.get("measure", "exact")), own.get("k", self.k)
        if isinstance(k, (int, np.integer)):
            options["corrector"] = min(self.corrector, k + 1)
        if measure in PUBLISHED:
            options |= {"corrector": self.corrector if measure.startswith("bh") else 0, "variable": "lam"}
        return options | dict(own)

    def ending(self, nsr: float) -> "Setting":
        """The setting for a run whose last level is not the rule's, as a host's own, but this one: without the finish
        if it is far above the rule's, as the step from there to the finish overshoots, and a denoise does not."""
        return replace(self, finish=0.0) if nsr > REACH * self.nsr_min else self

    def on(self, nsr: Sequence[float] | np.ndarray) -> "Setting":
        """The setting on levels that may be uneven, a caller's, a host's or a network's few, noisiest first.

        A step after a shorter one extrapolates by more than the change before it, and eta that renews a part of the
        image in a short step renews all of it in a long one: on even steps in t of a table, 20 and 40 calls, variances
        would be 2 to 11 times the data's. So on uneven levels the polynomials are in the least power of nsr, the rule's
        own or above, in which no step goes on by more than the last change, (1 - exp(-p h_2)) / (exp(p h_1) - 1) <= 1,
        or in the greatest of `POWERS`; and eta h is at most `FRESH`.
        """
        nsr = np.asarray(nsr, np.float64)
        lam = -np.log(nsr[(nsr > 0) & np.isfinite(nsr)])
        h = np.diff(lam)
        if not isinstance(self.eta, tuple) or not len(h) or h.min() <= 0 or h.max() <= UNEVEN * h.mean():
            return self
        at = np.unique([*lam[1:-1], *(low for low, _ in self.eta)])
        step = np.maximum(np.searchsorted(lam[:-1], at, side="right") - 1, 0)
        eta = np.minimum(Eta(self.eta)(at), FRESH / h[step])
        jumps = np.diff(eta, prepend=-1.0) != 0
        powers = [p for p in POWERS if p >= (power_of(self.variable) or 0.0)]
        power = next((p for p in powers if (-np.expm1(-p * h[1:]) <= np.expm1(p * h[:-1])).all()), powers[-1])
        table = tuple(zip(at[jumps].tolist(), eta[jumps].tolist(), strict=True))
        return replace(self, variable=f"nsr^{power:g}", eta=table)

    def grid(
        self, schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None
    ) -> np.ndarray:
        """The rule's grid as one of `seeds.GRIDS`, but inside those ends: it begins at nsr_max and ends at nsr_min
        where the rule's own are beyond."""
        return times(self, schedule, steps + 1, (nsr_min or 0.0, math.inf if nsr_max is None else nsr_max))

    @property
    def shaping(self) -> dict[str, float]:
        """Options of the grid."""
        return dict(zip(("first", "middle", "last"), self.shape, strict=True))


def below(nsr: float, eta: float, above: float = 0.0) -> tuple[tuple[float, float], ...]:
    """The table of eta that has one value under this level and another `above` it."""
    return ((-math.inf, above), (-math.log(nsr), eta))


_GROWING = (0.8, 1.0, 1.2)
_LAW = Setting(k=2, corrector=2, variable="nsr^0.3", eta=below(0.3, 4.0), nsr_max=30.0, nsr_min=0.02)
_FEW = replace(_LAW, variable="nsr^0.2", eta=below(0.3, 1.0))
_MANY = replace(_LAW, variable="lam", nsr_max=80.0, nsr_min=0.04, shape=_GROWING)
_ACCURACY = Setting(k=3, corrector=3, variable="nsr^0.3", eta=0.0, nsr_max=30.0, nsr_min=0.04)
RULE: dict[str, tuple[tuple[int, Setting], ...]] = {
    "law": (
        (4, replace(_FEW, variable="nsr^0.1", nsr_max=20.0, nsr_min=0.08, shape=_GROWING)),
        (5, replace(_FEW, nsr_min=0.05, shape=_GROWING)),
        (6, replace(_FEW, nsr_min=0.04)),
        (8, replace(_FEW, eta=below(0.3, 2.0, above=0.25))),
        (10, replace(_LAW, eta=below(0.3, 4.0, above=0.25))),
        (15, replace(_LAW, variable="nsr^0.2", eta=below(0.3, 4.0, above=0.5), nsr_max=45.0, nsr_min=0.025)),
        (20, replace(_MANY, eta=below(0.3, 4.0, above=1.0))),
        (40, replace(_MANY, eta=below(0.3, 8.0, above=1.0))),
    ),
    "accuracy": (
        (4, replace(_ACCURACY, nsr_max=20.0, nsr_min=0.12, finish=0.01, shape=_GROWING)),
        (5, replace(_ACCURACY, nsr_max=20.0, nsr_min=0.1, finish=0.01)),
        (6, replace(_ACCURACY, nsr_max=20.0, nsr_min=0.06, finish=0.008)),
        (10, replace(_ACCURACY, nsr_max=30.0, nsr_min=0.04, finish=0.008)),
        (20, replace(_ACCURACY, nsr_max=40.0, nsr_min=0.02, finish=0.005)),
        (50, replace(_ACCURACY, nsr_max=60.0, nsr_min=0.005, finish=0.002)),
    ),
}
"""For each aim the setting from so many model calls on. Between two rows the ends of the grid lie between theirs,
straight in logarithms."""


def setting(nfe: int, aim: str = "law", prediction: str = "data") -> Setting:
    """The rule: what is best for so many model calls, all counted. Below the first row, that row.

    It was made for data prediction. In another one what a step with noise extrapolates is amplified, at 20 calls to
    millions of times the variance of fine detail: there "law" has the noise of the paper's SDE below nsr 0.3, from
    `NOISY` calls on, and no other.

    Evidence: docs/family.md, benchmarks/rule.py.
    Raises: ValueError if there is no such aim.
    """
    chosen = _between(nfe, aim)
    if prediction == "data" or not chosen.eta:
        return chosen
    eta = below(0.3, 1.0) if nfe >= NOISY else 0.0
    return replace(chosen, variable="nsr^0.3", eta=eta, nsr_max=min(chosen.nsr_max, _LAW.nsr_max), shape=_LAW.shape)


def _between(nfe: int, aim: str) -> Setting:
    """The row of so many calls, or what lies between two."""
    rows = lookup("aim", aim, RULE)
    at = max([i for i, (calls, _) in enumerate(rows) if calls <= nfe], default=0)
    (calls, here), (next_calls, there) = rows[at], rows[min(at + 1, len(rows) - 1)]
    if not calls < nfe < next_calls:
        return here
    part = math.log(nfe / calls) / math.log(next_calls / calls)
    names = [end for end in ("nsr_max", "nsr_min", "finish") if getattr(here, end)]
    ends = {end: getattr(here, end) ** (1 - part) * getattr(there, end) ** part for end in names}
    return replace(here, **ends)


def span(
    rule: Setting,
    path: Schedule,
    nsr_range: tuple[float, float] | None = None,
    *,
    start: float | None = None,
    stop: float | None = None,
    nsr_min: Any = None,
    nsr_max: Any = None,
    steps: int = 1,
) -> tuple[float, float]:
    """(noisiest, cleanest) nsr of the grid: what is said, else the rule's, inside the schedule and `nsr_range`, the
    levels that the network knows.

    Args:
        nsr_min, nsr_max: as they are said: levels, or functions of the number of `steps`.
        start, stop: levels where the run begins and ends, if said. A run that begins low ends lower than the rule has
            it, at a quarter of its start.
    """
    bottom, top = float(path.nsr(path.t_min)), float(path.nsr(path.t_max))
    if nsr_range is not None:
        bottom, top = max(bottom, nsr_range[0]), min(top, nsr_range[1])
    nsr_min, nsr_max = end_at("nsr_min", nsr_min, steps), end_at("nsr_max", nsr_max, steps)
    high = start if start is not None else nsr_max if nsr_max is not None else min(rule.nsr_max, top)
    low = nsr_min if stop is None else stop
    if low is not None:
        return high, low
    return high, min(max(min(rule.nsr_min, high / 4), bottom), high)


def times(
    rule: Setting,
    path: Schedule,
    count: int,
    nsr_range: tuple[float, float] | None = None,
    *,
    nsr_min: float | None = None,
    nsr_max: float | None = None,
) -> np.ndarray:
    """(count,) times of the rule's grid, noisiest first, for hosts that own their list of times; `nsr_range` and
    ends as for `span`.

    Where the schedule begins at SNR 0, so does the grid, unless it is said: a host's first state is noise alone there.
    One call leaves it, to the second level, at the mean of the data.
    """
    high, low = span(rule, path, nsr_range, nsr_min=nsr_min, nsr_max=nsr_max)
    if count == 1 or not low < high:
        t = np.atleast_1d(np.asarray(path.t_of_nsr(high), np.float64))
    else:
        t = grid(GRID, path, count - 1, nsr_max=high, nsr_min=low, **rule.shaping)
    if np.isinf(path.nsr(path.t_max)) and (nsr_range is None or np.isinf(nsr_range[1])) and nsr_max is None:
        t[0] = path.t_max
    return t


def lay(levels: Callable[[int], Sequence[Point]], count: int) -> list[Point]:
    """`count` levels, all different, of a grid that may give fewer or more than it is asked for: cut at a start, or
    rounded to levels that a network knows.

    The grid is asked for more until there are enough; of too many, those go that leave the shortest steps. Fewer, if
    there are no more.

    Args:
        levels: (n) -> the levels of a grid of n, noisiest first, without equal neighbours.
    """
    n = max(count, 2)
    points = list(levels(n))
    while len(points) < count and n < 16 * count + MOST:
        n += max(count - len(points), n // 4)
        points = list(levels(n))
    while len(points) > max(count, 2):
        lam = [point.lam for point in points]
        points.pop(min(range(1, len(points) - 1), key=lambda i: lam[i + 1] - lam[i - 1]))
    return points[:count]


def is_auto(solver: Any) -> bool:
    """The default is meant: by its name, or by None."""
    return solver is None or (isinstance(solver, str) and solver.strip().lower() == AUTO)


def refuse_steps(steps: Any) -> None:
    """Raises: ValueError for `steps` where no solver is named, which count otherwise for each."""
    if steps is not None:
        raise InputError(
            f"`steps` = {steps} means nothing without a solver, as the default counts model calls: give `nfe` = "
            f"{steps} instead, or name a `solver` too, as seeds-3, which makes three calls a step."
        )
