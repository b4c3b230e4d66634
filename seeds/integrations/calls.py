r"""The model calls of a run in a host that owns the loop: their times are told beforehand, one for each call, and a
plan asks at exactly these.

A host's list of times may be cut at any place (image-to-image, a second model), so a plan is made for any end of it.
Three kinds of solvers:

    one call a step    the times are the levels of the run, whatever they are
    laid               exponential Runge-Kutta methods whose stages may lie anywhere (they have an option `r`): s times
                       are a step and its stages
    own layout         stages where the method puts them (five of seeds-4, Heun's at the end of its step); the levels
                       between steps are the host's

What s calls a step leave over is made up by steps of fewer calls of the same kind of noise, so that every number of
calls is met.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np

from seeds.errors import InputError
from seeds.grids import Times
from seeds.planning import plan
from seeds.plans import CLEAN, SAME, Plan, Point, Row
from seeds.schedules import Schedule
from seeds.solvers import SOLVERS, Solver
from seeds.solvers.levels import points_at
from seeds.solvers.registry import options_of

COMMON = ("eta", "fraction", "s_noise", "prediction")
"""Options of `seeds.plan` that are of a run, not of one solver."""


class Step(NamedTuple):
    """A step of a run: its model calls, and whether they are those that the solver itself makes in such a step."""

    calls: int
    own: bool = True


@dataclass(frozen=True)
class HostRun:
    """A run as its model calls.

    Attributes:
        method, options: the solver, and what `seeds.plan` takes for it: its own options, eta, fraction, s_noise,
            prediction.
        schedule: what t is a time of.
        t: (calls,) the time of each call.
        steps: of all calls but the last, whose answer is the result; with `end` of all of them.
        end: time of the state that is returned; None: the last answer is.
    """

    method: Solver
    schedule: Schedule
    t: Times
    steps: tuple[Step, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    end: float | None = None

    def plan(self, begin: int = 0) -> Plan:
        """The plan whose calls are at t[begin:]. A solver that remembers answers starts anew there.

        Raises: ValueError if `begin` is no call, or the solver would ask at other times.
        """
        if not 0 <= begin < len(self.t):
            raise InputError(
                f"The run has {len(self.t)} model calls, from 0 to {len(self.t) - 1}: it cannot begin at call {begin}."
            )
        at, parts = begin, []
        for own, steps in groupby(self._steps_from(begin), key=lambda step: step.own):
            ends = list(accumulate((step.calls for step in steps), initial=at))
            if own and not laid(self.method, self.options):
                parts.append(self._own(ends))
            else:
                parts += [self._step(first, end, own) for first, end in pairwise(ends)]
            at = ends[-1]
        if not (parts and parts[-1].end == CLEAN) and self.end is None:
            (last,) = points_at(self.schedule, self.t[-1:])
            parts.append(Plan(self.method.name, last, (Row(last, d=((0, 1.0),)),), CLEAN))
        whole = _joined(parts)
        if len(whole.rows) != len(self.t) - begin or not np.array_equal(
            np.round([row.at.t for row in whole.rows], 6), np.round(self.t[begin:], 6)
        ):
            raise InputError(
                f"`solver` = {self.method.name!r} with {dict(self.options)} makes other model calls from call {begin} "
                "on than the host's list of times has, as with stages in its first steps only. Begin at 0, or leave "
                "out the option."
            )
        return whole

    @property
    def starts(self) -> Times:
        """The times at which steps begin, and the last call."""
        at = accumulate((step.calls for step in self.steps), initial=0)
        return self.t[[call for call in at if call < len(self.t)]]

    def _steps_from(self, begin: int) -> list[Step]:
        """The steps from a call on; of the one that it lies in, the calls that are left."""
        steps, at = [], 0
        for step in self.steps:
            at += step.calls
            if at - begin >= step.calls:
                steps.append(step)
            elif at > begin:
                steps.append(Step(at - begin, own=False))
        return steps

    def _times(self, first: int, end: int) -> Times:
        """The times of the calls first .. end - 1, and where they lead."""
        return np.append(self.t, [] if self.end is None else self.end)[first : end + 1]

    def _own(self, ends: Sequence[int]) -> Plan:
        """Steps of the solver itself, between these calls; with the final denoise if they lead to it."""
        final = "denoise" if self.end is None and ends[-1] == len(self.t) - 1 else "none"
        t = self._times(0, len(self.t))[list(ends)]
        return _planned(self.method, self.schedule, t, self.options, final)

    def _step(self, first: int, end: int, own: bool) -> Plan:
        """One step with its calls at t[first:end]: by the solver, or by one of its kind with as many."""
        t = self._times(first, end)
        start, *inside, stop = points_at(self.schedule, t)
        if start.alpha == 0:  # one call leaves SNR 0, whatever the solver
            return _planned(self.method, self.schedule, t, self.options)
        method = self.method if own else like(self.method, len(inside) + 1)
        options = self.options if own else shared(self.method, method, self.options) if method else {}
        h = stop.lam - start.lam
        r = [(point.lam - start.lam) / h if h else 0.0 for point in inside]
        falls = all(a < b for a, b in pairwise([0.0, *r])) and max(r, default=0.0) <= 1
        if method is None or not falls or stop.nsr >= start.nsr * (1 - SAME):
            return self._waiting(start, inside, stop)
        return _planned(method, self.schedule, t[[0, -1]], {**options, **_laid_at(r)})

    def _waiting(self, start: Point, inside: Sequence[Point], stop: Point) -> Plan:
        """A step of one call's numbers that makes the other calls too, on the line from the state to its answer, and
        does not read what they say."""
        one = like(self.method, 1)
        assert one is not None  # the package has one of every kind
        if stop.nsr >= start.nsr * (1 - SAME):  # the state is where the step ends already
            whole = Plan(one.name, start, (Row(start, x=((0, 1.0),)),), stop)
        else:
            whole = _planned(one, self.schedule, np.array([start.t, stop.t]), shared(self.method, one, self.options))
        rows, at = [], [start, *inside]
        for here, to in pairwise(at):
            ratio = to.sigma / start.sigma
            rows.append(Row(here, ((0, ratio),), ((0, to.alpha - ratio * start.alpha),), completes=False))
        return Plan(one.name, start, (*rows, whole.rows[0]._replace(at=at[-1])), stop, whole.draws)


def _planned(method: Solver, schedule: Schedule, t: Times, options: Mapping[str, Any], final: str = "none") -> Plan:
    return plan(method, schedule=schedule, grid=[float(time) for time in t], final=final, **options)


def _joined(parts: Sequence[Plan]) -> Plan:
    """The plans one after the other, joined in pairs of equal length, so that the time is linear in the steps but for a
    logarithm."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return _joined(parts[:middle]).then(_joined(parts[middle:]))


def _laid_at(r: Sequence[float]) -> dict[str, Any]:
    """The option that puts stages at these fractions of a step in lam."""
    return {} if not r else {"r": r[0] if len(r) == 1 else tuple(r)}


def laid(method: Solver, options: Mapping[str, Any]) -> bool:
    """The solver's stages may lie anywhere inside a step, and do so one after the other."""
    if method.tableau is None or "r" not in method.options:
        return False
    own = {name: value for name, value in options.items() if name in options_of(method.tableau)}
    return all(a < b for a, b in pairwise(method.tableau(**own).c))


def calls_a_step(method: Solver, options: Mapping[str, Any] | None = None) -> int:
    """Model calls of one step."""
    return plan(method, schedule="edm", sigmas=[2.0, 1.0], final="none", **(options or {})).nfe


def check_steps(method: Solver, options: Mapping[str, Any]) -> None:
    """Raises: ValueError if the solver does not go down a host's levels one after the other, from the state that it is
    given."""
    sigmas = np.geomspace(10.0, 0.01, 9)
    trial = plan(method, schedule="edm", sigmas=sigmas, final="none", **options)
    starts = sorted(set(trial.step_starts()))
    sizes = {trial.step_starts().count(start) for start in starts}
    if (
        trial.opening.z
        or len(starts) != 8
        or (len(sizes) > 1 and not method.memory)
        or not np.allclose([trial.rows[i].at.nsr for i in starts], sigmas[:-1])
    ):
        raise InputError(
            f"`solver` = {method.name!r} does not fit into the loop of a host: it lifts states before the network is "
            "asked about them (churn), goes back up, or skips levels, and a pipeline's times fall, one for each call. "
            "Take noise by `eta`, or run the network with seeds.sample."
        )


def like(method: Solver, calls: int) -> Solver | None:
    """A solver of the same kind of noise that makes a step of so many calls, laid anywhere; None if there is none. The
    first of the registry is taken."""
    for solver in sorted(SOLVERS.values(), key=lambda it: it.tableau is None):
        if (
            solver.noise == method.noise
            and not solver.memory
            and (calls == 1 or laid(solver, {}))
            and calls_a_step(solver) == calls
        ):
            return solver
    return None


def shared(method: Solver, other: Solver, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that mean the same to another solver: those of the run, and those that both declare with one
    default."""
    same = {
        name
        for name, it in method.options.items()
        if name in other.options and other.options[name].default == it.default
    }
    own = {name: value for name, value in options.items() if name in same or name in COMMON}
    if not other.interpolates:
        own.pop("prediction", None)
    elif own.get("prediction") is None:
        own["prediction"] = method.prediction
    if other.noise == "eta" and own.get("eta") is None and own.get("fraction") is None:
        own["eta"] = method.eta
    return own


def steps_of(
    method: Solver, calls: int, snr_0: bool, options: Mapping[str, Any], *, rest_first: bool = False
) -> tuple[Step, ...]:
    """The steps of a run of `calls`, the last of which is none: full ones, and what is left over in steps of fewer
    calls.

    Args:
        snr_0: the first call leaves SNR 0, alone.
        rest_first: what is left over comes first, right after SNR 0, as in the hosts' layout of multi-stage schedulers.
    """
    first, count = [Step(1)] * (snr_0 and calls > 1), calls - 1 - int(snr_0 and calls > 1)
    full = [Step(n) for n in _full(method, count, options)]
    rest, missing = [], count - sum(step.calls for step in full)
    while missing > 0:
        size = next(n for n in range(missing, 0, -1) if n == 1 or like(method, n))
        rest.append(Step(size, own=False))
        missing -= size
    return tuple([*first, *rest, *full] if rest_first else [*first, *full, *rest])


def _full(method: Solver, count: int, options: Mapping[str, Any]) -> list[int]:
    """The calls of each of the solver's own steps, as many as there is room for."""
    if count < 1:
        return []
    each = calls_a_step(method, options)
    if not method.memory:
        return [each] * (count // each)
    lam = np.linspace(4.0, -4.0, count + 1)  # its first steps may be others than those that follow
    starts = plan(method, schedule="edm", sigmas=np.exp(lam), final="none", **options).step_starts()
    begins = [*dict.fromkeys(starts), len(starts)]
    sizes = [b - a for a, b in pairwise(begins)]
    return [n for n, total in zip(sizes, accumulate(sizes), strict=True) if total <= count]


def run_of(
    method: Solver,
    schedule: Schedule,
    calls: int,
    levels: Callable[[int], Times],
    to_network: Callable[[Times], Times],
    options: Mapping[str, Any],
    *,
    end: float | None = None,
    rest_first: bool = False,
) -> HostRun:
    """A run of so many model calls.

    Args:
        levels: (count,) -> the times of the levels of a run, noisiest first.
        to_network: times moved to those that the network knows, none of them twice; for solvers whose stages may be
            moved.
    """
    snr_0 = bool(schedule.alpha(levels(2)[0]) == 0)
    steps = steps_of(method, calls, snr_0, options, rest_first=rest_first)
    t = np.asarray(levels(len(steps) + 1), np.float64)
    times = _asked(method, schedule, t, steps, options)
    return HostRun(
        method,
        schedule,
        to_network(times) if laid(method, options) else times,
        _closed(steps, method, options, end),
        options,
        end,
    )


def run_at(
    method: Solver, schedule: Schedule, t: Times, options: Mapping[str, Any], *, end: float | None = None
) -> HostRun:
    """A run with a model call at each of these times; of a solver with stages of its own, those that begin a step, and
    its stages between them."""
    steps = steps_of(method, len(t), bool(schedule.alpha(t[0]) == 0), options)
    if not laid(method, options) and any(step.calls > 1 for step in steps):
        starts = t[list(accumulate((step.calls for step in steps), initial=0))]
        t = _asked(method, schedule, starts, steps, options)
    return HostRun(method, schedule, np.asarray(t, np.float64), _closed(steps, method, options, end), options, end)


def _closed(steps: tuple[Step, ...], method: Solver, options: Mapping[str, Any], end: float | None) -> tuple[Step, ...]:
    """The steps, and one from the last call to where a run ends that does not return its answer."""
    if end is None:
        return steps
    return (*steps, Step(1, own=calls_a_step(method, options) == 1 and all(step.calls == 1 for step in steps)))


def _asked(method: Solver, schedule: Schedule, t: Times, steps: Sequence[Step], options: Mapping[str, Any]) -> Times:
    """The times of the calls of the steps between the levels t, where the solver itself has its stages, and the last
    level."""
    times, at = [], 0
    for step, alike in groupby(steps):
        ends = range(at, at + len(list(alike)) + 1)
        at = ends[-1]
        if step.calls == 1:
            times.append(t[ends[0] : at])
            continue
        solver = method if step.own else like(method, step.calls)
        assert solver is not None  # steps_of has asked
        own = options if step.own else shared(method, solver, options)
        # without memory, one plan has the stages of all
        runs = [(ends[0], at)] if solver.tableau is not None else pairwise(ends)
        for first, last in runs:
            times.append(np.array([row.at.t for row in _planned(solver, schedule, t[first : last + 1], own).rows]))
    return np.concatenate([*times, t[-1:]])
