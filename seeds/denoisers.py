r"""Denoisers: what a solver asks. A denoiser is any callable D(x, at) that estimates the clean data behind x = alpha data + sigma eps at a Point.

This file makes one from a network, guides it, bounds it, and checks that it is what it is taken for. No file access.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seeds.noise import gaussian
from seeds.plans import Point
from seeds.predictions import PREDICTIONS
from seeds.predictions import output as output_map
from seeds.schedules import EDM, VP, Cosine, Discrete, Flow, Schedule
from seeds.schedules import schedule as find_schedule


class Denoiser(Protocol):
    """D(x, at): x (B, *shape) is the state at the level `at`; returns E[data | x], like x.

    A denoiser that takes labels has a third parameter `labels`. The front door also reads, where they are there: `schedule` (its own), `shape` (of one
    sample), `classes` (how many), `nsr_range` (lowest and highest level it was trained on) and `round_nsr` (the levels it knows, as a rounding of nsr).
    Steps end at levels it knows. Other levels are asked for by seeds-4 and erk-4, whose stages cannot move, and under `round_nsr=None`.
    """

    def __call__(self, x: Tensor, at: Point) -> Tensor: ...


def ask(denoiser: Any, x: Tensor, at: Point, labels: Tensor | None = None) -> Tensor:
    """The denoiser's answer; labels are passed on only if there are any."""
    return denoiser(x, at) if labels is None else denoiser(x, at, labels=labels)


@dataclass(frozen=True)
class Wrapped:
    """A network as a denoiser, made by `wrap`."""

    network: Callable[..., Tensor]
    output: str
    schedule: Schedule
    time: str | Callable[[Point], float] = "t"
    sd: float = 0.5
    dtype: torch.dtype | None = None
    shape: tuple[int, ...] | None = None
    classes: int = 0
    nsr_range: tuple[float, float] | None = None
    round_nsr: Callable[[np.ndarray], np.ndarray] | None = None
    name: str = ""

    def __call__(self, x: Tensor, at: Point, labels: Tensor | None = None) -> Tensor:
        own = _same_level(self.schedule, at)
        scale, skip, out = output_map(self.output, own, self.sd)
        ratio = own.sigma / at.sigma  # takes x, a state of the plan's schedule, to the network's
        asked = (x * (scale * ratio) if scale * ratio != 1 else x).to(self.dtype or x.dtype)
        time = asked.new_full((len(x),), _time(self.time, self._known(own)), dtype=torch.promote_types(asked.dtype, torch.float32))
        raw = self.network(asked, time) if labels is None else self.network(asked, time, labels)
        if not isinstance(raw, Tensor) or raw.shape != x.shape:
            what = f"a tensor of shape {tuple(raw.shape)}" if isinstance(raw, Tensor) else f"a {type(raw).__name__}"
            raise ValueError(
                f"The network returned {what}, but {self.output!r} has the shape of x, {tuple(x.shape)}. Wrap a function that picks it out, as "
                "`lambda x, t: unet(x, t).sample`, or `lambda x, t: unet(x, t)[:, :3]` for a network that predicts its variance too."
            )
        return (x * (skip * ratio)).add_(raw.to(x.dtype), alpha=out) if skip else raw.to(x.dtype) * out

    def _known(self, at: Point) -> Point:
        """The level that the network knows for `at`; one that it knows up to rounding errors is itself."""
        if self.round_nsr is None or not 0 < at.nsr < math.inf:
            return at
        known = np.asarray(self.round_nsr(at.nsr * (1 + SAME * np.array([-1.0, 0.0, 1.0]))))
        nsr = float(known[np.argmin(np.abs(known - at.nsr))])
        return at if nsr == 0 or math.isclose(nsr, at.nsr, rel_tol=SAME) else _point(self.schedule, float(self.schedule.t_of_nsr(nsr)))

    def parameters(self):
        """The network's parameters, if it has any: they tell the device."""
        return self.network.parameters() if isinstance(self.network, torch.nn.Module) else iter(())


SAME = 1e-9
"""Levels nearer than this are one level."""


def _point(schedule: Schedule, t: float) -> Point:
    return Point(t, float(schedule.alpha(t)), float(schedule.sigma(t)))


def _same_level(schedule: Schedule, at: Point) -> Point:
    """The Point with the nsr of `at` on the schedule that a network was trained on: `at` itself where it lies there already."""
    own = _point(schedule, float(schedule.t_of_lam(at.lam)))
    return at if all(math.isclose(a, b, rel_tol=SAME, abs_tol=SAME) for a, b in zip(own, at, strict=True)) else own


def _time(time: str | Callable[[Point], float], at: Point) -> float:
    return float(time(at)) if callable(time) else float(getattr(at, time))


def wrap(
    network: Callable[..., Tensor],
    output: str = "data",
    *,
    schedule: str | Schedule,
    time: str | Callable[[Point], float] = "t",
    sd: float = 0.5,
    dtype: torch.dtype | None = None,
    shape: tuple[int, ...] | None = None,
    classes: int = 0,
    nsr_range: tuple[float, float] | None = None,
    round_nsr: Callable[[np.ndarray], np.ndarray] | None = None,
    name: str = "",
) -> Wrapped:
    """Makes a denoiser of a network.

    Args:
        network: called as network(x, time) or network(x, time, labels); x (B, *shape), time (B,) float.
        output: what it was trained to output: "data", "noise", "v" (alpha eps - sigma data), "flow" (eps - data), or "edm_raw" (F of EDM's
            preconditioning for data of standard deviation `sd`; the network is then given c_in x / alpha).
        schedule: what it was trained on, an instance or a name. A plan may run on another: the network is asked at the same nsr, in its own scale
            and time.
        time: what it takes as its time: "t", "lam", "nsr", "sigma", "alpha", or a function of the Point, as `lambda at: 1000 * at.t`.
        dtype: what it computes in (bfloat16, ...); None is the state's own. The state itself keeps its dtype.
        shape, classes, nsr_range, name: what the front door reads, see `Denoiser`.
        round_nsr: rounds (M,) nsr to levels that the network knows. Asked at a level between, the network is given the `time` of the rounded level,
            and its input and output are scaled for the exact one, as iDDPM's preconditioner does. None: all levels or, with a `Discrete` schedule, the
            table's own. A network that takes times between whole steps: `round_nsr=lambda nsr: nsr`.
    Raises: ValueError if `output`, `schedule` or `time` is unknown.
    """
    if output not in PREDICTIONS:
        raise ValueError(f"`output` must be one of {', '.join(PREDICTIONS)}, but is {output!r}. `check_model` helps to find out which.")
    if isinstance(time, str) and time not in ("t", "lam", "nsr", "sigma", "alpha"):
        raise ValueError(f"`time` must be t, lam, nsr, sigma, alpha or a function of the Point, but is {time!r}.")
    path = find_schedule(schedule)
    if round_nsr is None and isinstance(path, Discrete):
        round_nsr = path.round_nsr
    return Wrapped(network, output, path, time, sd, dtype, shape, classes, nsr_range, round_nsr, name)


@dataclass(frozen=True)
class Changed:
    """A denoiser whose answers come from another's, which answers for all else (schedule, shape, ...)."""

    inner: Any
    change: Callable[[Any, Tensor, Point, Tensor | None], Tensor]

    def __call__(self, x: Tensor, at: Point, labels: Tensor | None = None) -> Tensor:
        return self.change(self.inner, x, at, labels)

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)


def guide(denoiser: Any, scale: float | Callable[[Point], float], *, null: Any = None) -> Changed:
    """Classifier-free guidance, in every stage:  D = D_null + scale (D_labels - D_null).

    Scale 0 ignores the labels, 1 is the plain model, more sharpens. Two network evaluations for a call (one where the scale is 0 or 1); NFE counts calls
    of the guided denoiser.

    Args:
        scale: a number, or a function of the Point: `lambda at: 3.0 if 0.2 < at.nsr < 5 else 1.0` guides in an interval only.
        null: the label that means "no label": a class index or a (K,) row; None asks the denoiser without labels.
    Source: Ho and Salimans 2022 (arXiv:2207.12598); in an interval Kynkaanniemi et al. 2024 (arXiv:2404.07724).
    """
    if not callable(scale) and not math.isfinite(scale):
        raise ValueError(f"`scale` must be a finite number, but is {scale}. 1 is the plain model; 1.5 to 4 are usual.")

    def guided(inner: Any, x: Tensor, at: Point, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ValueError("Guidance needs `labels`: pass labels= to sample, or use the unguided denoiser.")
        weight = float(scale(at)) if callable(scale) else float(scale)
        if weight == 1:
            return ask(inner, x, at, labels)
        free = ask(inner, x, at, None if null is None else torch.as_tensor(null, device=labels.device).to(labels.dtype).expand_as(labels))
        return free if weight == 0 else torch.lerp(free, ask(inner, x, at, labels), weight)

    return Changed(denoiser, guided)


def threshold(denoiser: Any, limit: float = 1.0, *, quantile: float | None = None) -> Changed:
    """Keeps D inside the range of the data.

    Static (quantile None): D is clipped to [-limit, limit]. Dynamic: with s the `quantile` of |D| in each sample, where s > limit D is clipped to
    [-s, s] and scaled by limit / s.

    Source: Saharia et al. 2022 (arXiv:2205.11487), section 2.3.
    """
    if not (limit > 0 and math.isfinite(limit)) or not (quantile is None or 0 < quantile <= 1):
        raise ValueError(f"`limit` must be positive and `quantile` in (0, 1], but are {limit} and {quantile}. Imagen uses 1 and 0.995.")

    def bounded(inner: Any, x: Tensor, at: Point, labels: Tensor | None) -> Tensor:
        denoised = ask(inner, x, at, labels)
        if quantile is None:
            return denoised.clamp(-limit, limit)
        s = torch.quantile(denoised.abs().flatten(1).float(), quantile, dim=1).clamp_min(limit).to(denoised.dtype)
        s = s.view(-1, *[1] * (denoised.ndim - 1))
        return denoised.clamp(-s, s) * (limit / s)

    return Changed(denoiser, bounded)


LEVELS_CHECKED = (0.1, 0.3, 1.0, 3.0)
"""nsr at which `check_model` looks: there a denoiser's mean square error is below min(nsr^2, data variance)."""
NOISES_EACH = 8
"""Noises put on each clean sample, so that few samples tell the readings apart."""
CLEARLY = 1.1
"""How many times smaller another reading's error must be to be named: the right reading has the smallest error of all, at every level."""


@torch.no_grad()
def check_model(
    denoiser: Any, data: Tensor, *, schedule: str | Schedule | None = None, labels: Tensor | None = None, seed: int = 0
) -> dict[str, float]:
    """Finds out whether a denoiser is what it is taken for, from a few clean samples.

    They are noised at four levels. A right denoiser leaves a mean square error below that of the simplest guesses (the state itself, or the mean
    of the data), so `excess`, their ratio, is at most about 1. The same network is then read as if it had been trained to output something else, and
    on other schedules: E[data | x] has the least error there is, so a reading with clearly less error is named. Schedules that are nearly the same
    (error within 10 %) are not told apart.

    Args:
        denoiser: from `wrap`, or any callable (then only its output type is tried).
        data: (B, *shape) clean samples, 8 or more, in the scale the model was trained on.
        schedule: default the denoiser's own.
    Returns: {"excess": ..., "excess at nsr 0.1": ..., ...}.
    Raises: ValueError with the guess, if another reading fits clearly better, or the denoiser does worse than the simplest guesses.
    """
    own = getattr(denoiser, "schedule", None) if schedule is None else find_schedule(schedule)
    if own is None:
        raise ValueError(
            "`schedule` is missing, and the denoiser has none of its own: pass schedule='vp', 'edm', 'flow', ... or an instance."
        )
    if len(data) < 2:
        raise ValueError(f"`data` holds {len(data)} samples: give 8 or more clean ones.")
    data = torch.cat([data] * NOISES_EACH)
    labels = None if labels is None else torch.cat([labels] * NOISES_EACH)
    eps = gaussian(range(seed, seed + len(data)), -1, data.shape[1:]).to(data)
    try:
        excess, failed = _excess(denoiser, own, data, eps, labels), None
    except Exception as error:  # a network may refuse times or inputs that are not its own, in any way
        excess, failed = np.full(len(LEVELS_CHECKED), math.inf), error
    overall = _overall(excess)
    readings = {name: _try(other, path, data, eps, labels) for name, other, path in _readings(denoiser, own)}
    best = min(readings, key=lambda name: readings[name])
    better = readings[best] * CLEARLY < overall and readings[best] <= 1.5
    if overall <= 1.5 and excess.max() <= 3 and not better:
        return {"excess": overall, **{f"excess at nsr {nsr:g}": float(value) for nsr, value in zip(LEVELS_CHECKED, excess, strict=True)}}
    taken = f"output {getattr(denoiser, 'output', 'data')!r} on {type(own).__name__}"
    if better:
        guess = f"Read as {best} its excess is {readings[best]:.2f}: that is most likely what it is."
    else:
        guess = "No other output or schedule fits either: look at the scale of the data, the `time` it takes, and its weights."
    found = f"the denoiser's error is {overall:.3g} times that of the simplest guess (a right one: at most 1)"
    if failed is not None:
        found = f"the denoiser fails with {type(failed).__name__}: {str(failed).partition(chr(10))[0]}"
    raise ValueError(f"As {taken}, {found.rstrip('.')}. {guess}") from failed


def _overall(excess: np.ndarray) -> float:
    return math.exp(float(np.mean(np.log(np.maximum(excess, 1e-12))))) if np.isfinite(excess).all() else math.inf


def _try(denoiser: Any, path: Schedule, data: Tensor, eps: Tensor, labels: Tensor | None) -> float:
    try:
        return _overall(_excess(denoiser, path, data, eps, labels))
    except Exception:  # a network may refuse times of a schedule that is not its own, in any way: then it is not that one
        return math.inf


def _excess(denoiser: Any, path: Schedule, data: Tensor, eps: Tensor, labels: Tensor | None) -> np.ndarray:
    """(levels,) mean square error of D over that of the best of two simplest guesses."""
    found = []
    variance = float((data - data.mean(0)).square().mean())
    for nsr in LEVELS_CHECKED:
        at = _point(path, float(path.t_of_lam(-math.log(nsr))))
        error = float((ask(denoiser, at.alpha * data + at.sigma * eps, at, labels) - data).square().mean())
        found.append(error / min(nsr**2, variance))
    return np.array(found)


def _readings(denoiser: Any, own: Schedule):
    """Other things a denoiser might be: (name, denoiser, schedule)."""
    if isinstance(denoiser, Wrapped):
        paths: list[Schedule] = [own, *(path for path in (VP(), EDM(), Cosine(), Flow(), Discrete.linear()) if type(path) is not type(own))]
        for path in paths:
            for name in PREDICTIONS:
                if (name, path) != (denoiser.output, own):
                    on = f"{name!r} on {type(path).__name__}"
                    round_nsr = denoiser.round_nsr if path == denoiser.schedule else path.round_nsr if isinstance(path, Discrete) else None
                    yield f"output {on}", replace(denoiser, output=name, schedule=path, round_nsr=round_nsr), path
    else:
        for name in PREDICTIONS:
            if name not in ("data", "edm_raw"):
                yield f"output {name!r}", Changed(denoiser, _as(name)), own


def _as(name: str):
    def reading(inner: Any, x: Tensor, at: Point, labels: Tensor | None) -> Tensor:
        _, skip, out = output_map(name, at)
        return x * skip + ask(inner, x, at, labels) * out

    return reading
