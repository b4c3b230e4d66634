"""The noise levels of a run: a grid, cut at its start and stop, and rounded to what a network knows."""

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from seeds.errors import InputError
from seeds.plans import SAME, Point
from seeds.schedules import Schedule

Round = Callable[[np.ndarray], np.ndarray]
Place = int | tuple[str, float] | None
"""A grid index, or a level ("nsr", v) or ("lam", v)."""


@dataclass(frozen=True)
class Levels:
    """The noise levels of a run, noisiest first, none of them clean.

    Attributes:
        schedule: alpha, sigma, lam of t and back.
        points: (N + 1) levels; the first may be SNR 0 (alpha = 0).
        round_nsr: the levels a network can really be asked, as a rounding of nsr; None if it can be asked anywhere.
        total: levels of the whole grid, before `start` and `stop` cut it (EDM's num_steps: what S_churn is shared
            among).
        free_stages: stages inside a step stay where the method puts them, and the network rounds inside; only ends of
            steps are known levels.
    """

    schedule: Schedule
    points: tuple[Point, ...]
    round_nsr: Round | None = None
    total: int = 0
    free_stages: bool = False

    @property
    def steps(self) -> Iterator[tuple[Point, Point]]:
        """Neighbouring levels (noisier, cleaner)."""
        return zip(self.points[:-1], self.points[1:], strict=True)

    @property
    def lam(self) -> np.ndarray:
        """(N + 1,) half log-SNR of the levels."""
        return np.array([point.lam for point in self.points])

    def after_first(self) -> "Levels":
        """The levels without the first, once the step that leaves it is written."""
        return replace(self, points=self.points[1:])

    def at_lam(self, lam: np.ndarray) -> list[Point]:
        """Points of the schedule at (M,) values of lam, rounded to levels that the network knows."""
        if self.round_nsr is None:
            return points_at(self.schedule, np.atleast_1d(self.schedule.t_of_lam(lam)))
        return points_at(self.schedule, np.atleast_1d(self.schedule.t_of_nsr(_rounded(self.round_nsr, np.exp(-lam)))))

    def stages_at(self, lam: np.ndarray) -> list[Point]:
        """The same for stages inside a step, which `free_stages` leaves where they are."""
        return (replace(self, round_nsr=None) if self.free_stages else self).at_lam(lam)


def points_at(schedule: Schedule, t: np.ndarray) -> list[Point]:
    """The schedule's Points at (M,) times."""
    values = (t, schedule.alpha(t), schedule.sigma(t))  # an alpha of 1 may be one number
    columns = (np.broadcast_to(np.asarray(column, dtype=np.float64), t.shape).tolist() for column in values)
    return [Point(*values) for values in zip(*columns, strict=True)]


def lay_out(
    schedule: Schedule, t: np.ndarray, *, start: Place = None, stop: Place = None, round_nsr: Round | None = None
) -> Levels:
    """The levels of a run from a grid without a clean end.

    Args:
        t: (N + 1,) times of the schedule, falling, used bit for bit.
        start, stop: where to begin and to end: an index of `t`, or a level, which is inserted exactly. None: the grid's
            own ends.
        round_nsr: rounds noise levels to those the network knows; equal neighbours are merged and a level rounded to 0,
            the clean end, is left out.
    Raises: ValueError if start or stop is not in the grid, start is not noisier than stop, or the run begins at SNR 0
        and `round_nsr` knows no such level.
    """
    points = points_at(schedule, t)
    first, last = (_index("start", start, len(t)), _index("stop", stop, len(t)))
    part = points[first : None if last is None else last + 1]
    if isinstance(start, tuple):
        part = _insert(schedule, part, "start", start, lambda point, level: point.nsr < level.nsr, at_front=True)
    if isinstance(stop, tuple):
        part = _insert(schedule, part, "stop", stop, lambda point, level: point.nsr > level.nsr, at_front=False)
    if stop is not None and (len(part) < 2 or not part[-1].nsr < part[0].nsr):
        raise InputError(
            f"`start` = {start} lies behind `stop` = {stop}: no step is left of the grid's {len(t)} levels. Noise "
            "falls from start to stop."
        )
    if round_nsr is not None:
        part = _merge(schedule, part, round_nsr)
    return Levels(schedule, tuple(part), round_nsr, len(t))


def _index(name: str, place: Place, count: int) -> int | None:
    if place is None or isinstance(place, tuple):
        if isinstance(place, tuple) and (len(place) != 2 or place[0] not in ("nsr", "lam")):
            raise InputError(f"`{name}` as a level is ('nsr', value) or ('lam', value), but is {place!r}.")
        return None
    try:
        place = operator.index(place)
    except TypeError:
        raise InputError(
            f"`{name}` is a grid index, or a level ('nsr', value) or ('lam', value), but is {place!r}."
        ) from None
    if not 0 <= place < count:
        raise InputError(
            f"`{name}` = {place} is not in the grid: its levels have the indices 0 (noisiest) to {count - 1}."
        )
    return place


def _insert(
    schedule: Schedule,
    points: list[Point],
    name: str,
    place: tuple[str, float],
    keeps: Callable[[Point, Point], bool],
    at_front: bool,
) -> list[Point]:
    lam = _lam(name, place)
    (level,) = points_at(schedule, np.atleast_1d(schedule.t_of_lam(np.array([lam]))))
    same = [point for point in points if math.isclose(point.nsr, level.nsr, rel_tol=SAME)]
    level = same[0] if same else level
    rest = [point for point in points if point not in same and keeps(point, level)]
    return [level, *rest] if at_front else [*rest, level]


def level_nsr(name: str, place: tuple[str, float]) -> float:
    """nsr of a level ("nsr", v) or ("lam", v), the argument `name`. Raises: ValueError if it is none."""
    _index(name, place, 0)
    lam = _lam(name, place)
    return float(place[1]) if place[0] == "nsr" else math.exp(-lam)


def _lam(name: str, place: tuple[str, float]) -> float:
    kind, value = place[0], _number(name, place)
    lam = -math.log(value) if kind == "nsr" and value > 0 else float(value)
    if (kind == "nsr" and not value > 0) or not math.isfinite(lam):
        raise InputError(f"`{name}` = {place!r} is not a noise level: nsr must be positive and finite, lam finite.")
    return lam


def _number(name: str, place: tuple[str, float]) -> float:
    try:
        return float(place[1])
    except (TypeError, ValueError):
        raise InputError(f"`{name}` = {place!r} is not a noise level: its value must be a number.") from None


def _rounded(round_nsr: Round, nsr: np.ndarray) -> np.ndarray:
    """round_nsr(nsr), once it is found to be a rounding: (M,) levels from (M,) levels, at least 0, in the same
    order."""
    levels = np.asarray(round_nsr(np.asarray(nsr, dtype=np.float64)), dtype=np.float64)
    if levels.shape != nsr.shape or not (levels >= 0).all():
        raise InputError(
            f"`round_nsr` made {levels.ravel()[:5].tolist()} of levels {nsr[:5].tolist()}: it must return as many, "
            "each a number that is at least 0."
        )
    ordered_levels = levels[np.argsort(nsr, kind="stable")]
    if (ordered_levels[1:] < ordered_levels[:-1]).any():
        raise InputError(
            f"`round_nsr` made {levels[:5].tolist()} of levels {nsr[:5].tolist()}: a rounding must not change their "
            "order."
        )
    return levels


def _merge(schedule: Schedule, points: list[Point], round_nsr: Round) -> list[Point]:
    nsr = np.array([point.nsr for point in points])
    with np.errstate(invalid="ignore"):  # a table's logarithms at SNR 0
        network_nsr = _rounded(round_nsr, nsr)
    if network_nsr[0] < nsr[0] == math.inf:
        raise InputError(
            f"The run begins at SNR 0 (nsr = inf), but the network knows levels up to nsr = {network_nsr[0]:.6g} only "
            f"(`round_nsr`). Begin there, with nsr_max={network_nsr[0]:.6g} or start=('nsr', {network_nsr[0]:.6g}), or "
            "pass round_nsr=None for a network that can be asked at SNR 0."
        )
    others = points_at(schedule, np.asarray(schedule.t_of_nsr(np.where(network_nsr > 0, network_nsr, 1.0))))
    levels: list[Point] = []
    for point, new, old_nsr, new_nsr in zip(points, others, nsr, network_nsr, strict=True):
        if new_nsr > 0 and not (levels and math.isclose(new_nsr, levels[-1].nsr, rel_tol=SAME)):
            levels.append(point if new_nsr == old_nsr else new)
    if not levels:
        raise InputError(
            "`round_nsr` sends every level of the grid to 0, the clean end: the network knows no level as low as "
            "these. Raise `nsr_max`."
        )
    return levels
