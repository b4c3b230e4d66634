r"""Is a denoiser what it is taken for? It is tried on clean samples as it is read, and in all other usual readings of
the same network.

Every reading estimates the same data from the same observation y = data + nsr eps, and E[data | y] has the least mean
square error there is. So the right reading of a good network has the least error of all, at every level, and none has
less than it but by chance. A reading is named only when it does better than every linear guess at all levels, and
clearly better than every reading that says something else.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seeds.denoisers import Wrapped, ask, facts, point
from seeds.errors import InputError
from seeds.modules import refuse_training
from seeds.noise import gaussian
from seeds.plans import Point
from seeds.predictions import OUTPUTS
from seeds.predictions import output as output_map
from seeds.schedules import EDM, VP, Cosine, Discrete, Flow, Schedule
from seeds.schedules import schedule as find_schedule

LEVELS_CHECKED = (0.1, 0.3, 1.0, 3.0)
"""nsr at which `check_model` looks, as far as the model was trained there."""
FEWEST = 8
"""Samples, at least."""
NOISES_EACH = 8
"""Noises put on each clean sample, at least: more where a sample has few numbers, so that all have `NUMBERS` of
them."""
NUMBERS = 8192
CLEARLY = 1.1
"""How many times smaller another reading's error must be for the one that was taken to be wrong."""
PRICE = 0.02
"""How much smaller the error of a reading must be for each way in which it differs: with `NUMBERS` numbers, chance
moves errors by less."""
ROUNDING = 0.01
"""How far apart two answers to one question may be, beside their size: a network in 16 bits rounds otherwise in another
batch."""
FINALISTS = 16
"""Readings that are tried on all samples."""
ALIKE = 0.3
"""Two readings say the same if their answers differ by less than this share of the error that both make."""


class Scale(NamedTuple):
    """Another scale of the data: the network knows a data + b."""

    a: float
    b: float
    words: str


Question = tuple[int, int, int, float | None]
"""What reaches the network: the number of the schedule, of its time, of the scale, and the sd of c_in or None."""


class Time(NamedTuple):
    """What a network may take as its time, as code and as a function."""

    code: str
    of: str | Callable[[Point], float]


@dataclass(frozen=True)
class Reading:
    """One way to read a network's answers; `changes` is in how many ways it differs from the way it was taken.

    The network is asked about x = alpha (a data + b) + sigma eps, times c_in of `sd` where that is its input, and
    answers +-F of `output`.
    """

    output: str
    sign: int
    schedule: Schedule
    time: Time
    scale: Scale
    sd: float
    question: Question
    changes: int
    names_schedule: bool

    def __str__(self) -> str:
        sign = " with its sign turned" if self.sign < 0 else ""
        sd = f" of sd = {self.sd:g}" if self.output == "edm_raw" else ""
        on = f" on {type(self.schedule).__name__}" if self.names_schedule else ""
        time = f" with time={self.time.code}" if self.time.code else ""
        return f"output {self.output!r}{sd}{sign}{on}{time}{self.scale.words and f', for data as {self.scale.words}'}"


@torch.no_grad()
def check_model(
    denoiser: Any, data: Tensor, *, schedule: str | Schedule | None = None, labels: Tensor | None = None, seed: int = 0
) -> dict[str, float]:
    """Finds out whether a denoiser is what it is taken for, from a few clean samples.

    They are noised at four levels. `excess` is the mean square error over that of the best linear guess, c + k (y - c),
    of data with one mean and
    one variance: a right denoiser has at most 1, but for chance. The same network is then read in all usual other ways:
    as another output, with its sign turned, on other schedules, with other times (mirrored, 1000 t, log(nsr) / 4, ...),
    for data of another scale ([0, 1], divided by its standard deviation, ...). A reading is named only if it fits at
    all levels and is clearly better than every other that says something else. Readings that are nearly the same (error
    within 10 %) are not told apart.

    Args:
        denoiser: from `wrap`, or any callable (then its schedule and time are not varied). A network that looks its
            time up in a table on a GPU is best checked on the CPU: other readings ask for times that are in no table.
        data: (B, *shape) clean samples, 8 or more, in the scale the model was trained on.
        schedule: default the denoiser's own.
        labels: of the samples, one for each.
        seed: of the noise.
    Returns: {"excess": ..., "excess at nsr 0.1": ..., ...}.
    Raises: ValueError if another reading fits clearly better, and which; if the denoiser does worse than a linear guess
        and none fits; if it is in training mode, or answers the same question differently.
    """
    known = facts(denoiser)
    own = known.schedule if schedule is None else find_schedule(schedule)
    if own is None:
        raise InputError(
            "`schedule` is missing, and the denoiser has none of its own: pass schedule='vp', 'edm', 'flow', ... or an "
            "instance."
        )
    if len(data) < FEWEST or not data.is_floating_point() or not bool(torch.isfinite(data).all()):
        raise InputError(
            f"`data` holds {len(data)} samples of {data.dtype}: give {FEWEST} or more clean ones, finite, as floating "
            "point numbers in the scale that the model was trained on."
        )
    refuse_training(denoiser)
    trial = _Trial(denoiser, own, data, labels, seed, _levels(known.nsr_range))
    taken = trial.readings[0]
    failed = trial.failure()
    if failed is None:
        trial.refuse_random()
    found = trial.errors()
    excess = found[taken] / trial.linear if taken in found else np.full(len(trial.levels), math.inf)
    others = [reading for reading in found if reading != taken]
    if trial.fits(found.get(taken)) and not any(
        trial.fits(found[other]) and _better(found[other], found[taken]) for other in others
    ):
        return {
            "excess": _overall(excess),
            **{f"excess at nsr {nsr:g}": float(it) for nsr, it in zip(trial.levels, excess, strict=True)},
        }
    raise InputError(
        f"As {taken}, {_what_is_wrong(failed, excess, trial.levels)} {_verdict(trial, found, taken)}"
    ) from failed


def _levels(known: tuple[float, float] | None) -> tuple[float, ...]:
    """`LEVELS_CHECKED` where the model was trained; four levels of its own range if fewer than two are."""
    if known is None:
        return LEVELS_CHECKED
    inside = tuple(nsr for nsr in LEVELS_CHECKED if known[0] <= nsr <= known[1])
    return (
        inside if len(inside) > 1 else tuple(float(nsr) for nsr in np.geomspace(max(known[0], 1e-3), known[1], 6)[1:-1])
    )


def _overall(row: np.ndarray) -> float:
    """Geometric mean."""
    return math.exp(float(np.mean(np.log(np.maximum(row, 1e-30))))) if np.isfinite(row).all() else math.inf


def _better(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether errors are clearly smaller than others: by `CLEARLY` in all, and larger at no level but by chance."""
    return _overall(one) * CLEARLY < _overall(other) and bool((one <= 1.03 * other).all())


def _what_is_wrong(failed: Exception | None, excess: np.ndarray, levels: Sequence[float]) -> str:
    if failed is not None:
        return f"the denoiser fails with {type(failed).__name__}: {str(failed).partition(chr(10))[0].rstrip('.')}."
    each = ", ".join(f"{it:.3g} at nsr {nsr:g}" for it, nsr in zip(excess, levels, strict=True))
    return (
        f"the denoiser's error is {_overall(excess):.3g} times that of the best linear guess (a right one: at most 1 "
        f"at every level; here {each})."
    )


def _verdict(trial: "_Trial", found: dict[Reading, np.ndarray], taken: Reading) -> str:
    """What the network most likely is, or what was tried and what to look at."""
    look = "Look at the scale of the data, the `time` it takes, the schedule's numbers, and its weights."
    others = sorted((reading for reading in found if reading != taken), key=lambda it: _score(it, found[it]))
    fitting = [reading for reading in others if trial.fits(found[reading])]
    if not fitting:
        nearest = (
            f"The nearest is {others[0]}, excess {_overall(found[others[0]] / trial.linear):.2f}. " if others else ""
        )
        tried = f"{len(trial.readings)} tried: {len(OUTPUTS)} outputs with either sign, {trial.tried}"
        return f"No other reading fits at all levels ({tried}). {nearest}{look}"
    name, *rivals = fitting
    near = [it for it in rivals if not _told_apart(name, it, found)]
    same = [it for it in near if trial.alike(name, it)]
    if len(same) < len(near):
        told = " or ".join(str(it) for it in [name, *(it for it in near if it not in same)][:4])
        return (
            f"Several readings fit, none clearly better than the others, so none is named: {told}. Give more samples. "
            f"{look}"
        )
    fewest = min(it.changes for it in (name, *same))
    name, *rest = sorted(
        (it for it in (name, *same) if it.changes == fewest),
        key=lambda it: (it.question[0], it.sign < 0, _score(it, found[it])),
    )
    also = [str(it) for it in rest[:2]]
    more = f" (or, which is nearly the same here, {' or '.join(also)})" if also else ""
    return (
        f"Read as {name} its excess is {_overall(found[name] / trial.linear):.2f}: that is most likely what it "
        f"is{more}."
    )


def _score(reading: Reading, errors: np.ndarray) -> float:
    """The log of the error, and `PRICE` for each way in which the reading differs from the one that was taken: of two,
    the simpler is likelier."""
    return math.log(_overall(errors)) + PRICE * reading.changes


def _told_apart(one: Reading, other: Reading, found: dict[Reading, np.ndarray]) -> bool:
    """Whether a reading is better than another beyond chance, and worse by more than that at no level."""
    return _score(one, found[one]) + PRICE / 2 < _score(other, found[other]) and bool(
        (found[one] <= CLEARLY * found[other]).all()
    )


class _Trial:
    """All readings of one denoiser, asked about the same observations.

    A question is what reaches the network (schedule, time, scale of the data, c_in or not); the readings of an answer,
    as outputs with either sign, cost no further call. Most questions are settled by a few samples at the first level.
    """

    def __init__(self, denoiser: Any, own: Schedule, data: Tensor, labels: Any, seed: int, levels: Sequence[float]):
        each = max(NOISES_EACH, -(-NUMBERS // data.numel()))
        self.denoiser, self.levels, self.data = denoiser, tuple(levels), torch.cat([data] * each)
        self.labels = None if labels is None else torch.cat([torch.as_tensor(labels, device=data.device)] * each)
        self.eps = gaussian(range(seed, seed + len(self.data)), -1, data.shape[1:]).to(data)
        self.variance = float((data - data.mean()).square().mean())
        self.linear = np.array([nsr**2 * self.variance / (nsr**2 + self.variance) for nsr in self.levels])
        self.few = min(len(self.data), max(16, -(-2048 // max(1, data[0].numel()))))
        self.paths = _paths(denoiser, own)
        self.times = [_times(denoiser, path, own, self.levels) for path in self.paths]
        self.scales = _scales(data)
        self.sds = _sds(denoiser, math.sqrt(self.variance))
        self.readings = list(self._readings())
        paths = ", ".join(type(path).__name__ for path in self.paths)
        times = ", ".join(dict.fromkeys(time.code for times in self.times for time in times if time.code))
        self.tried = (
            f"on {paths}"
            + (f", with the times {times}" if times else "")
            + f", for the data as {', '.join(it.words for it in self.scales[1:])}"
        )

    def _readings(self) -> Iterator[Reading]:
        """The reading that the denoiser was taken for first."""
        wrapped = isinstance(self.denoiser, Wrapped)
        output = self.denoiser.output if wrapped else "data"
        for question in self._questions():
            i, j, k, sd = question
            for name in OUTPUTS if sd is None else ("edm_raw",):
                if (name == "edm_raw") != (sd is not None):
                    continue
                for sign in (1, -1):
                    changes = sum((i > 0, j > 0, k > 0, name != output, sign < 0, sd not in (None, self.sds[0])))
                    reading = Reading(
                        name,
                        sign,
                        self.paths[i],
                        self.times[i][j],
                        self.scales[k],
                        sd or self.sds[0],
                        question,
                        changes,
                        wrapped,
                    )
                    if changes == 0:
                        first = reading
                    else:
                        self.__dict__.setdefault("_rest", []).append(reading)
        yield first
        yield from self.__dict__.pop("_rest")

    def _questions(self) -> Iterator[Question]:
        """Other schedules with all times; other scales with the own time and the mirrored one, and with the own sd."""
        for sd in (None, *self.sds):
            for i, times in enumerate(self.times):
                yield from ((i, j, 0, sd) for j in range(len(times)))
        for sd in (None, self.sds[0]):
            yield from ((0, j, k, sd) for k in range(1, len(self.scales)) for j in range(min(2, len(self.times[0]))))

    def _state(self, question: Question, level: int, count: int) -> tuple[Tensor, Point]:
        i, _, k, _ = question
        path, (a, b, _) = self.paths[i], self.scales[k]
        at = point(path, float(path.t_of_lam(-math.log(a * self.levels[level]))))
        return at.alpha * (a * self.data[:count] + b) + at.sigma * self.eps[:count], at

    def _answer(self, question: Question, level: int, count: int) -> tuple[Tensor, Tensor, Point]:
        """What the network makes of the state: its answer as it comes, the state, the level."""
        i, j, _, sd = question
        x, at = self._state(question, level, count)
        given = x if sd is None else x * output_map("edm_raw", at, sd).scale
        labels = None if self.labels is None else self.labels[:count]
        if not isinstance(self.denoiser, Wrapped):
            return ask(self.denoiser, given, at, labels), x, at
        path = self.paths[i]
        rounding = self.denoiser.round_nsr if i == 0 else path.round_nsr if isinstance(path, Discrete) else None
        network = replace(self.denoiser, output="data", schedule=path, time=self.times[i][j].of, round_nsr=rounding)
        return ask(network, given, at, labels), x, at

    def _estimate(self, reading: Reading, answer: Tensor, x: Tensor, at: Point) -> Tensor:
        """The data in the caller's scale, as the reading has it."""
        _, skip, out = output_map(reading.output, at, reading.sd)
        return ((x * skip + answer * (out * reading.sign)) - reading.scale.b) / reading.scale.a

    def failure(self) -> Exception | None:
        """What the denoiser raises as it is taken, if it does."""
        try:
            for level in range(len(self.levels)):
                self._answer(self.readings[0].question, level, 2)
        except Exception as error:  # a network may refuse times or inputs that are not its own, in any way
            return error
        return None

    def refuse_random(self) -> None:
        """Raises: ValueError if the denoiser answers the same question differently."""
        question, level = self.readings[0].question, len(self.levels) // 2
        refuse_random(*(self._answer(question, level, count)[0] for count in (self.few, max(1, self.few // 2))))

    def errors(self) -> dict[Reading, np.ndarray]:
        """(levels,) mean square errors of the readings that are worth a look: of the one that was taken, and of those
        that come near the least."""
        alive, found = self.readings, dict[Reading, list[float]]()
        for level in sorted(
            range(len(self.levels)), key=lambda level: abs(math.log(self.levels[level]))
        ):  # where readings differ most, first
            found = {
                reading: [*found.get(reading, []), error] for reading, error in self._errors(alive, level, self.few)
            }
            least = min((row[-1] for row in found.values()), default=math.inf)
            alive = [reading for reading, row in found.items() if row[-1] <= 2 * least or reading.changes == 0]
            found = {reading: found[reading] for reading in alive}
        order = sorted(alive, key=lambda reading: _overall(np.array(found[reading])))
        finalists = [*order[:FINALISTS], *(reading for reading in order[FINALISTS:] if reading.changes == 0)]
        full = [dict(self._errors(finalists, level, len(self.data))) for level in range(len(self.levels))]
        return {
            reading: np.array([errors[reading] for errors in full])
            for reading in finalists
            if all(reading in errors for errors in full)
        }

    def _errors(self, readings: Sequence[Reading], level: int, count: int) -> Iterator[tuple[Reading, float]]:
        """Each reading with its error; those of a question that the network refuses are left out."""
        by_question: dict[Question, list[Reading]] = {}
        for reading in readings:
            by_question.setdefault(reading.question, []).append(reading)
        for question, asked in by_question.items():
            try:
                answer, x, at = self._answer(question, level, count)
            except Exception:  # a network may refuse times that are not its own, in any way: then it is not that one
                continue
            rows = torch.stack(
                [it.flatten().cpu().double() for it in (x, answer, self.data[:count], torch.ones_like(x))]
            )
            gram = (rows @ rows.T / rows.shape[1]).numpy()
            for reading in asked:  # its estimate less the data is linear in the rows
                _, skip, out = output_map(reading.output, at, reading.sd)
                a, b, _ = reading.scale
                weights = np.array([skip / a, out * reading.sign / a, -1.0, -b / a])
                error = float(weights @ gram @ weights)
                if math.isfinite(error):
                    yield reading, max(error, 1e-6 * self.linear[level])

    def fits(self, errors: np.ndarray | None) -> bool:
        """Better than every linear guess, at all levels, but for chance."""
        return errors is not None and bool(
            (errors <= (CLEARLY + 3 * math.sqrt(2 / self.data.numel())) * self.linear).all()
        )

    def alike(self, one: Reading, other: Reading) -> bool:
        """Whether two readings say the same: their answers differ by less than a share of their errors."""
        for level in range(len(self.levels)):
            a, b = (
                self._estimate(reading, *self._answer(reading.question, level, self.few)) for reading in (one, other)
            )
            if (
                float((a - b).square().mean())
                > ALIKE**2 * float((a - self.data[: self.few]).square().mean()) + 1e-12 * self.variance
            ):
                return False
        return True


def refuse_random(answer: Tensor, again: Tensor) -> None:
    """Raises: ValueError if the first rows of an answer differ from an answer about these rows alone by more than
    rounding."""
    apart = float((answer[: len(again)] - again).square().mean().sqrt())
    size = float(again.square().mean().sqrt())
    if apart > ROUNDING * size:
        raise InputError(
            f"The denoiser answers the same question differently: by {apart:.3g}, where its answers are of size "
            f"{size:.3g}. It is random, or an image's answer depends on the others in its batch. Look for noise that "
            "it draws, dropout that ignores `network.eval()`, and batch norm without statistics."
        )


def _paths(denoiser: Any, own: Schedule) -> list[Schedule]:
    usual: list[Schedule] = [VP(), EDM(), Cosine(), Flow(), Discrete.linear()]
    return [own, *(path for path in usual if type(path) is not type(own))] if isinstance(denoiser, Wrapped) else [own]


def _times(denoiser: Any, path: Schedule, own: Schedule, levels: Sequence[float]) -> list[Time]:
    """What the network may take as its time on a schedule, the way it was taken first, then that mirrored, then the
    usual ones that differ from these."""
    if not isinstance(denoiser, Wrapped):
        return [Time("", "t")]
    top = (
        0.0
        if isinstance(path, EDM) or path.t_max > 1e4
        else path.t_max
        if isinstance(path, Discrete) or path.t_max > 1
        else 1.0
    )
    taken = denoiser.time
    code = f"{taken!r}" if isinstance(taken, str) else "your own"

    def mirrored(of: str | Callable[[Point], float]) -> Callable[[Point], float]:
        def time(at: Point) -> float:
            there = point(path, top - at.t)
            return float(of(there) if callable(of) else getattr(there, of))

        return time

    found = [Time("" if path == own else code, taken)]
    if top:
        words = f"lambda at: {top:g} - at.t" if taken == "t" else f"{code}, of {top:g} - t"
        found.append(Time(words, mirrored(taken)))
    for name in ("t", "nsr", "lam", "sigma"):
        found.append(Time(repr(name), name))
    found += [
        Time("lambda at: 1000 * at.t", lambda at: 1000 * at.t),
        Time("lambda at: at.t / 1000", lambda at: at.t / 1000),
        Time("lambda at: math.log(at.nsr) / 4", lambda at: math.log(at.nsr) / 4),
        Time("lambda at: math.log(at.nsr)", lambda at: math.log(at.nsr)),
        Time("lambda at: math.log(at.nsr / 2)", lambda at: math.log(at.nsr / 2)),
    ]
    if top:
        found.append(Time(f"lambda at: {top:g} - at.t", lambda at: top - at.t))
        found.append(Time(f"lambda at: 1000 * ({top:g} - at.t)", lambda at: 1000 * (top - at.t)))
    return _distinct(found, path, levels)


def _distinct(times: Sequence[Time], path: Schedule, levels: Sequence[float]) -> list[Time]:
    """Those that say another number than an earlier one at some level."""
    kept, seen = [], list[np.ndarray]()
    for k, time in enumerate(times):
        try:
            points = [point(path, float(path.t_of_nsr(nsr))) for nsr in levels]
            row = np.array([float(time.of(at) if callable(time.of) else getattr(at, time.of)) for at in points])
        except (
            Exception
        ):  # a caller's function that cannot say its time here; the one that was taken is told of when it is asked
            row = np.full(len(levels), math.nan)
        new = np.isfinite(row).all() and not any(np.allclose(row, other, rtol=1e-6, atol=1e-9) for other in seen)
        if k == 0 or new:
            kept.append(time)
            seen.append(row)
    return kept


def _scales(data: Tensor) -> list[Scale]:
    """Other scales that the network may have been trained on; as the data are first."""
    mean, std = float(data.mean()), float(data.std())
    found = [
        Scale(1.0, 0.0, ""),
        Scale(0.5, 0.5, "(x + 1) / 2, in [0, 1]"),
        Scale(2.0, -1.0, "2 x - 1, in [-1, 1]"),
        Scale(1 / std, 0.0, f"x / {std:.3g}, of standard deviation 1"),
        Scale(1 / std, -mean / std, f"(x - {mean:.3g}) / {std:.3g}, of mean 0 and standard deviation 1"),
        Scale(127.5, 127.5, "127.5 (x + 1), in [0, 255]"),
        Scale(1 / 127.5, -1.0, "x / 127.5 - 1, in [-1, 1]"),
        Scale(1 / 255, 0.0, "x / 255, in [0, 1]"),
        Scale(255.0, 0.0, "255 x, in [0, 255]"),
    ]
    kept: list[Scale] = []
    for scale in found:
        if not any(abs(scale.a / it.a - 1) < 0.02 and abs(scale.b - it.b) < 0.02 * abs(scale.a) * std for it in kept):
            kept.append(scale)
    return kept


def _sds(denoiser: Any, std: float) -> list[float]:
    """Standard deviations that raw F may be for, the one that was taken first; that of the data is there in case that
    it is none of the usual."""
    kept: list[float] = []
    for sd in (denoiser.sd if isinstance(denoiser, Wrapped) else 0.5, 0.5, 1.0, float(f"{std:.2g}")):
        if not any(abs(sd / it - 1) < 0.03 for it in kept):
            kept.append(sd)
    return kept
