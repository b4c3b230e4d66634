"""Is a denoiser what it is taken for?"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds.denoisers import Changed, Wrapped, _point, ask
from seeds.noise import gaussian
from seeds.plans import Point
from seeds.predictions import PREDICTIONS
from seeds.predictions import output as output_map
from seeds.schedules import EDM, VP, Cosine, Discrete, Flow, Schedule
from seeds.schedules import schedule as find_schedule

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
        labels: of the samples, one for each.
        seed: of the noise.
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
