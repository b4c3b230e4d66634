r"""What a solver writes and the stepper runs: a plan.

Everything a sampler does is linear in its states, denoised values and draws, except the model itself. A `Plan` holds
that linear part as float64 numbers: one `Row` for each model call. With x_i the state that row i asks the model about
and D_i the answer, row i makes

    x_{i+1} = sum_j x[j] x_j + sum_j d[j] D_j + sum_j z[j] z_j,        j <= i for x and d

and the opening makes x_0 from the state at the start level. A plan knows no solver and no torch; NFE is
`len(plan.rows)`.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from seeds.errors import InputError

FORMAT = 2
"""Of a plan's JSON; one that a later version wrote is refused. 2 adds `start_at`, and is written only where that is not
"zero"."""
Terms = tuple[tuple[int, float], ...]
"""A sparse linear combination: (index, coefficient) pairs, indices rising."""


class Point(NamedTuple):
    """A level of the forward process: x = alpha * data + sigma * eps at time t of the schedule."""

    t: float
    alpha: float
    sigma: float

    @property
    def lam(self) -> float:
        """Half log signal-to-noise ratio, log(alpha / sigma): -inf at SNR 0, inf at the clean end."""
        if self.alpha == 0:
            return -math.inf
        return math.inf if self.sigma == 0 else math.log(self.alpha) - math.log(self.sigma)

    @property
    def nsr(self) -> float:
        """Noise-to-signal ratio sigma / alpha (EDM's and k-diffusion's "sigma"): inf at SNR 0."""
        return math.inf if self.alpha == 0 else self.sigma / self.alpha


CLEAN = Point(0.0, 1.0, 0.0)
"""The clean end: where the row that returns D ends."""


class Draw(NamedTuple):
    """One standard normal draw and the stretch of Brownian path behind it, from noisier (lam0) to cleaner (lam1).

    `stream` is "path" for the noise of the SDE and "churn" for noise that moves the state back from lam1 to lam0.
    """

    lam0: float
    lam1: float
    stream: str = "path"


class Row(NamedTuple):
    """One model call and the state made after it."""

    at: Point
    """Where the model is asked."""
    x: Terms = ()
    """Weights of the states that were asked about."""
    d: Terms = ()
    """Weights of the denoised values."""
    z: Terms = ()
    """Weights of the draws."""
    completes: bool = True
    """The state made is the end of a step, not a stage inside one."""


class Opening(NamedTuple):
    """How the first state comes from the one at the start level: x_0 = scale * x_start + sum_j z[j] z_j (churn before
    the first call)."""

    scale: float = 1.0
    z: Terms = ()


class Before(NamedTuple):
    """What the part of the run before the start has used up: so many draws and model calls. A run cut at a level goes
    on with fresh noise."""

    draws: int = 0
    calls: int = 0


def terms(weights: Iterable[tuple[int, float]]) -> Terms:
    """Collects (index, coefficient) pairs: equal indices are added, zeros dropped, indices sorted."""
    total: dict[int, float] = {}
    for j, weight in weights:
        total[j] = total.get(j, 0.0) + weight
    return tuple((j, total[j]) for j in sorted(total) if total[j] != 0.0)


class Reads(NamedTuple):
    """What the loop reads to make a state: the terms of a `Row`, or fewer that make the same (`fewer_reads`)."""

    m: Terms = ()
    """Weight of the newest state as it was made; `x` weighs what the model was asked about, should another take its
    place."""
    x: Terms = ()
    d: Terms = ()
    z: Terms = ()


SAME = 1e-12
"""Levels whose nsr differ by less than this fraction are one level."""


@dataclass(frozen=True)
class Plan:
    """A sampling run as numbers: a frozen value that any number of threads may share.

    Raises:
        ValueError: a row reads a state, an answer or a draw that does not exist when it runs, or holds a number that is
            not finite.
    """

    solver: str
    start: Point
    """The level of the state given to the plan."""
    rows: tuple[Row, ...]
    end: Point
    """The level of the state returned."""
    draws: tuple[Draw, ...] = ()
    opening: Opening = field(default_factory=Opening)
    before: Before = field(default_factory=Before)
    about: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """How the plan was made: solver, options, schedule, prediction, eta, grid. For people; no number of the run depends
    on it."""
    start_at: str = "zero"
    """"mean": rows read x_0 + alpha_0 D_0 for the first state x_0, which must then be noise alone (`at_mean`); "zero":
    x_0 as it is."""

    def __post_init__(self):
        object.__setattr__(self, "about", _plain(dict(self.about)))
        if not self.rows:
            raise InputError(
                "A plan needs at least one row, but `rows` is empty: a run without a model call draws nothing from the "
                "model."
            )
        self._check("The opening", (("z", self.opening.z, len(self.draws) - 1),))
        if not math.isfinite(self.opening.scale):
            raise InputError(f"The opening scales the start state by {self.opening.scale}, which is not finite.")
        for i, row in enumerate(self.rows):
            if not (0 < row.at.sigma < math.inf and 0 <= row.at.alpha < math.inf):
                raise InputError(
                    f"Row {i} asks the model at alpha = {row.at.alpha}, sigma = {row.at.sigma}; a model can only be "
                    "asked where alpha >= 0 and sigma > 0."
                )
            self._check(
                f"Row {i} (t = {row.at.t:g})", (("x", row.x, i), ("d", row.d, i), ("z", row.z, len(self.draws) - 1))
            )

    @staticmethod
    def _check(where: str, parts: Iterable[tuple[str, Terms, int]]) -> None:
        for part, pairs, last in parts:
            for j, value in pairs:
                if not 0 <= j <= last:
                    have = f"only {part}[0..{last}] exist" if last >= 0 else f"no {part} exists"
                    raise InputError(f"{where} reads {part}[{j}], but {have} when it runs.")
                if not math.isfinite(value):
                    raise InputError(f"{where} has {part}[{j}] = {value}, which is not finite.")

    @property
    def nfe(self) -> int:
        """Calls of the denoiser, the final denoise included."""
        return len(self.rows)

    @property
    def steps(self) -> int:
        """Completed steps, the final denoise included."""
        return sum(row.completes for row in self.rows)

    def readers(self) -> dict[tuple[str, int], list[int]]:
        """For each ("x" | "d" | "z", index) the rows that read it, in order; the opening counts as row -1."""
        return readers_of(self.opening, self.rows)

    @property
    def reads(self) -> tuple[Reads, ...]:
        """The rows as the loop runs them: `fewer_reads`, made once."""
        if "_reads" not in self.__dict__:
            object.__setattr__(self, "_reads", fewer_reads(self.rows))
        return self.__dict__["_reads"]

    def step_starts(self) -> list[int]:
        """For each row the state that its step starts from."""
        starts, start = [], 0
        for i, row in enumerate(self.rows):
            starts.append(start)
            start = i + 1 if row.completes else start
        return starts

    @property
    def denoises(self) -> bool:
        """The last answer is the result: a final denoise."""
        last = self.rows[-1]
        return not last.x and not last.z and tuple(last.d) == ((len(self.rows) - 1, 1.0),)

    @property
    def remembers(self) -> bool:
        """Some step reads a state or an answer of an earlier one: cut in two, such a run is not the same run."""
        return any(
            j < start for row, start in zip(self.rows, self.step_starts(), strict=True) for j, _ in (*row.x, *row.d)
        )

    @property
    def memory(self) -> int:
        """State-sized tensors alive at the peak of a run: states, answers and draws that a row still reads, and the
        state being made."""
        readers = readers_of(self.opening, self.reads)
        most = 0
        for i in range(len(self.rows)):
            alive = {("x", i), ("d", i)} | {
                key for key, rows in readers.items() if (rows[0] if key[0] == "z" else key[1]) <= i <= rows[-1]
            }
            most = max(most, len(alive) + 1)
        return most

    def points(self) -> list[Point]:
        """The level of each state: of the one row 0 asks about, and so on; the last is `end`."""
        return [*(row.at for row in self.rows), self.end]

    def then(self, other: "Plan") -> "Plan":
        """This plan and then the other, as one, from where this one ends: RePaint's jumps, restarts, another solver for
        the low levels.

        Where `other` starts at a noisier level, the state is moved up to it with fresh noise, x -> (alpha1 / alpha0) x
        + alpha1 sqrt(nsr1^2 - nsr0^2) z. The draws of the two are numbered one after the other, so no noise is used
        twice.

        Raises: ValueError if `other` starts at a cleaner level than this one ends at, or at SNR 0.
        """
        here, to = self.end, other.start
        if other.start_at == "mean":
            raise InputError(
                "The second plan starts at the mean, but its first state is what this one ends with, no noise alone. "
                "Plan it without start_at."
            )
        if not (here.nsr <= to.nsr * (1 + SAME) and to.nsr < math.inf):
            raise InputError(
                f"The first plan ends at nsr = {here.nsr:.6g}, but the second starts at nsr = {to.nsr:.6g}: it must "
                "start there, or at a noisier, finite level. Plan it with start=('nsr', ...)."
            )
        scale, lift, draws = to.alpha / here.alpha, [], self.draws
        if to.nsr > here.nsr * (1 + SAME):
            lift = [(len(draws), to.alpha * math.sqrt(to.nsr**2 - here.nsr**2))]
            draws = (*draws, Draw(to.lam, here.lam, "churn"))
        factor, (*rows, last) = other.opening.scale, self.rows
        x, d, z = (_times(factor * scale, pairs) for pairs in (last.x, last.d, last.z))
        rows.append(
            Row(last.at, x, d, (*z, *_times(factor, lift), *_moved(other.opening.z, len(draws))), last.completes)
        )
        for row in other.rows:
            x, d, z = _moved(row.x, self.nfe), _moved(row.d, self.nfe), _moved(row.z, len(draws))
            rows.append(Row(row.at, x, d, z, row.completes))
        solver = self.solver if self.solver == other.solver else f"{self.solver}, {other.solver}"
        about = {"parts": [self.about, other.about]}
        draws = (*draws, *other.draws)
        return Plan(solver, self.start, tuple(rows), other.end, draws, self.opening, self.before, about, self.start_at)

    def at_mean(self) -> "Plan":
        r"""The plan that starts at the mean of the data: wherever this one reads its first state x_0, it reads x_0 +
        alpha_0 D_0.

        A run begins at sigma_0 z, as if the data had mean 0, where it should begin at alpha_0 E[data] + sigma_0 z. At
        high noise the first answer D_0 is E[data], nearly, so the offset is mended by numbers alone: d[0] += alpha_0
        x[0] in every row. On data N(m, s^2) the error of the mean falls from m to k m, k = s^2 / (s^2 + nsr_0^2), and
        that of the variance turns from -s^2 to +s^2: nsr_0 must be large beside the largest principal standard
        deviation. A plan that begins at SNR 0 is right as it is. Only for runs that begin with noise alone: a state
        that holds data would get the mean twice.

        Raises: ValueError for the second part of a run.
        """
        if self.before != Before():
            raise InputError(
                "This plan goes on with a run that was begun before, so its first state holds data already: it cannot "
                "start at the mean."
            )
        alpha = self.rows[0].at.alpha
        if alpha == 0 or self.start_at == "mean":
            return self
        rows = [
            row._replace(d=terms([*row.d, *((0, alpha * weight) for j, weight in row.x if j == 0)]))
            for row in self.rows
        ]
        return replace(self, rows=tuple(rows), start_at="mean")

    def on(self, schedule: Any) -> "Plan":
        """The same run on another schedule: the same nsr at every call, the same y = x / alpha, so x is scaled by
        alpha's ratio.

        Args:
            schedule: has t_of_nsr, alpha and sigma, as seeds.VP(). A start at SNR 0 stays there, where the other
                schedule reaches it.
        Raises: ValueError if `schedule` is none, or does not reach a level of the plan.
        """
        if not hasattr(schedule, "t_of_nsr") or isinstance(schedule, type):
            raise InputError(f"`schedule` = {schedule!r} is no schedule: pass an instance, as seeds.VP().")
        states = [self._moved_to(schedule, at) for at in self.points()]
        start, first = self._moved_to(schedule, self.start)
        scale = [ratio for _, ratio in states]

        def row(i: int, old: Row) -> Row:
            to = scale[i + 1]
            x = tuple((j, value * to / scale[j]) for j, value in old.x)
            return Row(states[i][0], x, _times(to, old.d), _times(to, old.z), old.completes)

        rows = tuple(row(i, old) for i, old in enumerate(self.rows))
        opening = Opening(self.opening.scale * scale[0] / first, _times(scale[0], self.opening.z))
        about = {**self.about, "schedule": described(schedule)}
        return replace(self, start=start, rows=rows, end=states[-1][0], opening=opening, about=about)

    @staticmethod
    def _moved_to(schedule: Any, at: Point) -> tuple[Point, float]:
        """The level on the schedule, and what the state is multiplied by."""
        if at.sigma == 0:
            return at, 1.0
        t = float(schedule.t_of_nsr(at.nsr))
        to = Point(t, float(schedule.alpha(t)), float(schedule.sigma(t)))
        return to, to.sigma / at.sigma  # which is alpha's ratio, and at SNR 0 all that there is

    @property
    def digest(self) -> str:
        """SHA-256 of the plan without `about`: equal digests mean equal numbers."""
        return hashlib.sha256(json.dumps(self._numbers(), allow_nan=False).encode()).hexdigest()

    def table(self) -> str:
        """The plan as text: one line per model call with its level and its coefficients."""

        def show(pairs: Terms) -> str:
            return " ".join(f"{j}:{value:+.6g}" for j, value in pairs) or "-"

        lines = [("call", "t", "lam", "nsr", "x", "d", "z", "")]
        for i, row in enumerate(self.rows):
            at = (f"{row.at.t:.6g}", f"{row.at.lam:.4f}", f"{row.at.nsr:.6g}")
            lines.append((str(i), *at, show(row.x), show(row.d), show(row.z), "step" if row.completes else "stage"))
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        text = "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )
        start = (
            f"start  t = {self.start.t:g}, lam = {self.start.lam:.4f}; x0 = {self.opening.scale:.6g} x_start + z "
            f"{show(self.opening.z)}"
        )
        return (
            f"{self.solver}: {self.nfe} model calls, {len(self.draws)} draws, ends at t = "
            f"{self.end.t:g}\n{start}\n{text}"
        )

    def _numbers(self) -> dict[str, Any]:
        return {
            "solver": self.solver,
            "start": self.start,
            "opening": self.opening,
            "rows": [row._asdict() for row in self.rows],
            "end": self.end,
            "before": self.before,
            "draws": [(_finite(draw.lam0), _finite(draw.lam1), draw.stream) for draw in self.draws],
            **({} if self.start_at == "zero" else {"start_at": self.start_at}),
        }

    def to_json(self) -> str:
        """The whole plan as strict JSON; `from_json` gives back an equal plan, bit for bit (infinite lam as the strings
        "inf", "-inf")."""
        version = 1 if self.start_at == "zero" else FORMAT
        return json.dumps({"format": version, "about": self.about, **self._numbers()}, allow_nan=False)

    def save(self, path: str | os.PathLike) -> None:
        """Writes `to_json` to a file, whole or not at all."""
        part = Path(path).with_name(Path(path).name + ".part")
        try:
            part.write_text(self.to_json() + "\n")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Plan":
        """The plan that `save` wrote.

        Raises: ValueError if the file holds no plan, or one of a later version; OSError if it cannot be read.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote.

        Raises: ValueError if the text is not a plan.
        """
        try:
            it = _is(dict, json.loads(text, parse_constant=_no_number))
            version, about = _is(int, it.pop("format", FORMAT)), _is(dict, it.pop("about", {}))
            if not 1 <= version <= FORMAT:
                raise InputError(
                    f"it has format {version}, but this version reads formats 1 to {FORMAT}. Bring seeds up to date."
                )
            start_at = _is(str, it.pop("start_at", "zero"))
            if start_at not in ("zero", "mean"):
                raise InputError(f"`start_at` = {start_at!r} should be 'zero' or 'mean'.")
            _keys(it, "the plan", _PLAN)
            parts: dict[str, Any] = {
                "solver": _is(str, it["solver"]),
                "start": _point(it["start"]),
                "opening": Opening(_number(it["opening"][0]), _pairs(it["opening"][1])),
                "rows": tuple(_row(_keys(row, f"row {i}", Row._fields)) for i, row in enumerate(it["rows"])),
                "end": _point(it["end"]),
                "draws": tuple(Draw(_lam(lam0), _lam(lam1), _is(str, stream)) for lam0, lam1, stream in it["draws"]),
                "before": _before(*it["before"]),
                "about": about,
                "start_at": start_at,
            }
        except (KeyError, TypeError, IndexError, ValueError, AttributeError, RecursionError) as error:
            what = str(error) if type(error) in (InputError, ValueError) else repr(error)
            raise InputError(f"`text` is not a plan written by Plan.to_json: {what}") from error
        return cls(**parts)


def readers_of(opening: Opening, rows: Iterable[Row | Reads]) -> dict[tuple[str, int], list[int]]:
    """`Plan.readers`; the newest state as it was made counts as the state."""
    readers: dict[tuple[str, int], list[int]] = {("z", j): [-1] for j, _ in opening.z}
    for i, row in enumerate(rows):
        states = (*row.m, *row.x) if isinstance(row, Reads) else row.x
        for part, pairs in (("x", states), ("d", row.d), ("z", row.z)):
            for j, _ in pairs:
                readers.setdefault((part, j), []).append(i)
    return readers


_Weights = dict[tuple[str, int], float]
CANCELS = 1e-13
"""What is left of two weights, as a fraction of them, that cancel but for rounding."""
GROWTH = 2.0
"""How much larger the weights of a row that reads less may be, in sum."""


def fewer_reads(rows: Sequence[Row]) -> tuple[Reads, ...]:
    r"""The same states from fewer terms: a stage is the sum that row i - 1 made, and any multiple of the difference may
    be added to row i,

        x_{i+1} = r m_i + sum_j (w_j - r v_j) q_j,        q_j: the x, D and z that the rows read,

    with w the weights of row i, v those of row i - 1, and m_i the stage as it was made. With the noise of one path r =
    w_j / v_j is one number for the state at the start of the step and for all earlier draws, so none of them is read
    again. Of the r that cancel a term the one that leaves the least to read is taken: fewest terms, a draw that is read
    again counted twice, as it must be kept. None where that is no gain, or the weights grow, whose sum bounds the
    rounding. The end of a step is no stage: a projection may put another state there.
    """
    reads: list[Reads] = []
    stage: _Weights = {}
    for i, row in enumerate(rows):
        weights = {(part, j): w for part, pairs in (("x", row.x), ("d", row.d), ("z", row.z)) for j, w in pairs}
        best, least, most = Reads((), row.x, row.d, row.z), _cost(weights, stage), GROWTH * _size(weights)
        for r in dict.fromkeys(weights[key] / v for key, v in stage.items() if v and key in weights):
            form = _combined(weights, -r, stage)
            cost = _cost({**form, ("x", i): r}, stage)
            if cost < least and abs(r) + _size(form) <= most:
                parts = [tuple((j, form[key, j]) for key, j in sorted(form) if key == part) for part in "xdz"]
                best, least = Reads(((i, r),), *parts), cost
        reads.append(best)
        stage = {} if row.completes else weights
    return tuple(reads)


def _combined(a: _Weights, factor: float, b: _Weights) -> _Weights:
    """a + factor b, without what cancels."""
    pairs = {key: (a.get(key, 0.0), factor * b.get(key, 0.0)) for key in a | b}
    return {key: v + w for key, (v, w) in pairs.items() if not abs(v + w) <= CANCELS * max(abs(v), abs(w))}


def _size(weights: _Weights) -> float:
    return sum(abs(weight) for weight in weights.values())


def _cost(weights: _Weights, stage: _Weights) -> int:
    return len(weights) + sum(part == "z" and (part, j) in stage for part, j in weights)


def _times(factor: float, pairs: Iterable[tuple[int, float]]) -> Terms:
    return tuple((j, factor * value) for j, value in pairs)


def _moved(pairs: Terms, by: int) -> Terms:
    return tuple((j + by, value) for j, value in pairs)


def _finite(lam: float) -> float | str:
    return lam if math.isfinite(lam) else str(lam)


def described(it: Any) -> Any:
    """A schedule, or another value of named numbers, in words for `about`: its name and the numbers that fit on a
    line."""
    if not is_dataclass(it):
        return {"name": type(it).__name__} if type(it).__repr__ is object.__repr__ else repr(it)
    numbers = {
        part.name: getattr(it, part.name)
        for part in fields(it)
        if isinstance(getattr(it, part.name), (int, float, str))
    }
    return {"name": type(it).__name__, **numbers}


def _plain(it: Any) -> Any:
    """As JSON has it: lists, strings, and no number that is not finite."""
    if isinstance(it, Mapping):
        return {str(key): _plain(value) for key, value in it.items()}
    if hasattr(it, "tolist"):  # of NumPy, or a tensor
        it = it.tolist()
    if isinstance(it, (list, tuple)):
        return [_plain(value) for value in it]
    if isinstance(it, float):
        return _finite(it)
    return it if it is None or isinstance(it, (bool, int, str)) else repr(it)


_PLAN = ("solver", "start", "opening", "rows", "end", "before", "draws")


def _no_number(word: str) -> float:
    raise InputError(f"it holds {word}, which is no number.")


def _keys(it: Any, where: str, names: Iterable[str]) -> dict[str, Any]:
    """The record, once it is found to have these keys and no others."""
    unknown, missing = sorted(set(_is(dict, it)) - set(names)), sorted(set(names) - set(it))
    if unknown or missing:
        have = f"an unknown key {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
        raise InputError(f"{where} has {have}; its keys are {', '.join(names)}.")
    return it


def _is(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise InputError(f"{value!r} should be {'a whole number' if kind is int else f'a {kind.__name__}'}.")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InputError(f"{value!r} should be a finite number.")
    return float(value)


def _lam(value: Any) -> float:
    return float(value) if value in ("inf", "-inf") else _number(value)


def _row(row: dict[str, Any]) -> Row:
    return Row(_point(row["at"]), _pairs(row["x"]), _pairs(row["d"]), _pairs(row["z"]), _is(bool, row["completes"]))


def _before(draws: Any, calls: Any) -> Before:
    if min(_is(int, draws), _is(int, calls)) < 0:
        raise InputError(f"`before` = {draws, calls} should count from 0.")
    return Before(draws, calls)


def _point(values: Iterable[Any]) -> Point:
    return Point(*(_number(value) for value in values))


def _pairs(values: Iterable[tuple[Any, Any]]) -> Terms:
    return tuple((_is(int, j), _number(value)) for j, value in values)
