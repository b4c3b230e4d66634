r"""Denoisers: what a solver asks. A denoiser is any callable D(x, at) that estimates the clean data behind x = alpha
data + sigma eps at a Point.

This file makes one from a network, guides it, bounds it, and says in one place what is known of it. No file access.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from seeds import conditions
from seeds.errors import InputError
from seeds.modules import first_tensor, modules, move, moved
from seeds.plans import Point
from seeds.predictions import output as output_map
from seeds.predictions import output_name
from seeds.schedules import Discrete, Schedule
from seeds.schedules import schedule as find_schedule

Rows = slice | list[int]
"""Some of a run's images, by their place in it."""


class Denoiser(Protocol):
    """D(x, at): x (B, *shape) is the state at the level `at`; returns E[data | x], like x.

    A denoiser that takes labels has a third parameter `labels`. What else is read, where it is there, is in `Facts`,
    all in one place. Three methods
    are used where they are there: `parameters()` (they tell the device), `to(device)` (returns the denoiser there), and
    `rows(part, of)` (returns the denoiser for these of the run's images, where it holds something for each).
    Steps end at levels it knows. Other levels are asked for by seeds-4 and erk-4, whose stages cannot move, and under
    `round_nsr=None`.
    """

    def __call__(self, x: Tensor, at: Point) -> Tensor: ...


@dataclass(frozen=True)
class Facts:
    """What is read from a denoiser besides its answers: attributes of the same names, each of which may be missing.

    Attributes:
        schedule: its own; used where the caller names none.
        shape: of one sample, without the batch.
        classes: how many; 0 is none.
        nsr_range: lowest and highest level it was trained on.
        round_nsr: the levels it knows, as a rounding of nsr: float64 array to float64 array; None is all.
        name: for messages and records.
        data_range: (low, high), the range of the data's values. Pixels are 255 (D - low) / (high - low). The state
            stays in the network's own scale.
        decode: (B, *latent) -> (B, C, H, W) images in `data_range`, for a model of latents; called in batches of
            `decode_batch`.
        encode: images in `data_range` -> latents.
        null: the label that means "no label", for guidance; None asks without labels.
        device: where it is: with its parameters, those of the networks behind it, on its own `device`, or on the CPU.
    """

    schedule: Schedule | None = None
    shape: tuple[int, ...] | None = None
    classes: int = 0
    nsr_range: tuple[float, float] | None = None
    round_nsr: Callable[[np.ndarray], np.ndarray] | None = None
    name: str = ""
    data_range: tuple[float, float] = (-1.0, 1.0)
    decode: Callable[[Tensor], Tensor] | None = None
    encode: Callable[[Tensor], Tensor] | None = None
    decode_batch: int = 16
    null: Any = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def facts(denoiser: Any) -> Facts:
    """What is known of a denoiser.

    Raises: ValueError if it is no denoiser (None, text, a network that was not wrapped), or a fact is not what it must
        be.
    """
    _check_denoiser(denoiser)
    known: dict[str, Any] = {
        it.name: getattr(denoiser, it.name, it.default) for it in fields(Facts) if it.name != "device"
    }
    if known["schedule"] is not None:
        known["schedule"] = find_schedule(known["schedule"])
    known["classes"], known["data_range"] = known["classes"] or 0, check_range(known["data_range"])
    _check_batch(known["decode_batch"])
    return Facts(**known, device=device_of(denoiser))


def check_range(given: Any) -> tuple[float, float]:
    """Raises: ValueError if `data_range` is not (low, high), finite, low < high."""
    try:
        low, high = (float(value) for value in given)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"`data_range` must be (low, high), two finite numbers that rise, as (-1, 1) or (0, 1), but is {given!r}."
        )
    return low, high


def _check_batch(given: Any) -> None:
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 1:
        raise InputError(
            f"`decode_batch` must be a whole number, at least 1, but is {given!r}: so many latents are decoded at once."
        )


TIMES = {
    "t",
    "time",
    "times",
    "timestep",
    "timesteps",
    "sigma",
    "sigmas",
    "noise_level",
    "noise_levels",
    "noise_labels",
    "c_noise",
    "lam",
    "temb",
}
"""What networks call the second thing that they are given; a denoiser is given a Point there."""


def _check_denoiser(denoiser: Any) -> None:
    wrapping = (
        "seeds.wrap(network, output='noise', schedule='vp', time='t') makes a denoiser of a network: say what it "
        "outputs, on which schedule"
    )
    if isinstance(denoiser, type) or not callable(denoiser):
        what = (
            f"the class {denoiser.__name__}, which is to be called first"
            if isinstance(denoiser, type)
            else repr(denoiser)
        )
        raise InputError(
            f"`denoiser` must be a callable D(x, at) that returns the clean data, but is {what[:200]}. {wrapping}."
        )
    if isinstance(denoiser, nn.Module) and not hasattr(denoiser, "schedule"):
        taken = [it for it in inspect.signature(denoiser.forward).parameters.values() if it.kind != it.KEYWORD_ONLY]
        takes_two = len(taken) > 1 or any(it.kind == it.VAR_POSITIONAL for it in taken)
        if not takes_two or (len(taken) > 1 and taken[1].name in TIMES):
            raise InputError(
                f"`denoiser` is a bare network, {type(denoiser).__name__}({', '.join(it.name for it in taken)}), but a "
                f"denoiser is called as D(x, at), where `at` is a Point, and returns the clean data. {wrapping}."
            )


def device_of(denoiser: Any) -> torch.device:
    """Where a denoiser is: with its parameters, on its own `device`, with the networks behind it, or on the CPU."""
    parameters = getattr(denoiser, "parameters", None)
    first = next(iter(parameters()), None) if callable(parameters) else None
    if isinstance(first, Tensor):
        return first.device
    if getattr(denoiser, "device", None) is not None:
        return torch.device(denoiser.device)
    behind = first_tensor(modules(denoiser))
    return torch.device("cpu") if behind is None else behind.device


def ask(denoiser: Any, x: Tensor, at: Point, labels: Any = None) -> Tensor:
    """The denoiser's answer; labels are passed on only if there are any."""
    return denoiser(x, at) if labels is None else denoiser(x, at, labels=labels)


def rows_of(denoiser: Any, part: Rows, of: int) -> Any:
    """The denoiser for some of a run's `of` images: itself, unless it holds something for each."""
    return denoiser.rows(part, of) if callable(getattr(denoiser, "rows", None)) else denoiser


@dataclass(frozen=True)
class Wrapped:
    """A network as a denoiser, made by `wrap`; its fields are those of `wrap` and of `Facts`."""

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
    data_range: tuple[float, float] = (-1.0, 1.0)
    decode: Callable[[Tensor], Tensor] | None = None
    encode: Callable[[Tensor], Tensor] | None = None
    decode_batch: int = 16
    null: Any = None

    def __call__(self, x: Tensor, at: Point, labels: Any = None) -> Tensor:
        own = _same_level(self.schedule, at)
        scale, skip, out = output_map(self.output, own, self.sd)
        ratio = own.sigma / at.sigma  # takes x, a state of the plan's schedule, to the network's
        asked = (x * (scale * ratio) if scale * ratio != 1 else x).to(self.dtype or x.dtype)
        time = asked.new_full(
            (len(x),), _time(self.time, self._known(own)), dtype=torch.promote_types(asked.dtype, torch.float32)
        )
        raw = self.network(asked, time) if labels is None else self.network(asked, time, labels)
        if not isinstance(raw, Tensor) or raw.shape != x.shape:
            what = f"a tensor of shape {tuple(raw.shape)}" if isinstance(raw, Tensor) else f"a {type(raw).__name__}"
            raise InputError(
                f"The network returned {what}, but {self.output!r} has the shape of x, {tuple(x.shape)}. Wrap a "
                "function that picks it out, as `lambda x, t: unet(x, t).sample`, or `lambda x, t: unet(x, t)[:, :3]` "
                "for a network that predicts its variance too."
            )
        return (x * (skip * ratio)).add_(raw.to(x.dtype), alpha=out) if skip else raw.to(x.dtype) * out

    def _known(self, at: Point) -> Point:
        """The level that the network knows for `at`; one that it knows up to rounding errors is itself."""
        if self.round_nsr is None or not 0 < at.nsr < math.inf:
            return at
        known = np.asarray(self.round_nsr(at.nsr * (1 + NEAR * np.array([-1.0, 0.0, 1.0]))))
        nsr = float(known[np.argmin(np.abs(known - at.nsr))])
        return (
            at
            if nsr == 0 or math.isclose(nsr, at.nsr, rel_tol=NEAR)
            else point(self.schedule, float(self.schedule.t_of_nsr(nsr)))
        )

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the networks behind it, if there are any: they tell the device."""
        return (parameter for module in modules(self.network) for parameter in module.parameters())

    def to(self, device: torch.device | str) -> "Wrapped":
        """The denoiser on that device: the networks behind `network`, `decode` and `encode` are moved, in place as
        torch does."""
        move((self.decode, self.encode), device)
        return replace(self, network=moved(self.network, device))


NEAR = 1e-9
"""Levels nearer than this are one level to a network, whose table or formula was rounded elsewhere; plans tell them
apart to `plans.SAME`."""


def point(schedule: Schedule, t: float) -> Point:
    """The schedule's level at time t."""
    return Point(t, float(schedule.alpha(t)), float(schedule.sigma(t)))


def _same_level(schedule: Schedule, at: Point) -> Point:
    """The Point with the nsr of `at` on the schedule that a network was trained on: `at` itself where it lies there
    already."""
    own = point(schedule, float(schedule.t_of_lam(at.lam)))
    return at if all(math.isclose(a, b, rel_tol=NEAR, abs_tol=NEAR) for a, b in zip(own, at, strict=True)) else own


def _time(time: str | Callable[[Point], float], at: Point) -> float:
    if not callable(time):
        return float(getattr(at, time))
    try:
        return float(time(at))
    except TypeError as error:
        raise InputError(
            f"`time` fails with TypeError: {str(error).partition(chr(10))[0]} The Point holds Python floats and `time` "
            "returns one: use functions of `math`, as `lambda at: math.log(at.sigma) / 4`, and not of torch."
        ) from error


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
    data_range: tuple[float, float] = (-1.0, 1.0),
    decode: Callable[[Tensor], Tensor] | None = None,
    encode: Callable[[Tensor], Tensor] | None = None,
    decode_batch: int = 16,
    null: Any = None,
) -> Wrapped:
    """Makes a denoiser of a network.

    Args:
        network: called as network(x, time) or network(x, time, labels); x (B, *shape), time (B,) float.
        output: what it was trained to output: "data", "noise", "v" (alpha eps - sigma data), "flow" (eps - data),
            "score" (-eps / sigma, sigma of the network's own schedule), or "edm_raw" (F of EDM's preconditioning for
            data of standard deviation `sd`; the network is then given c_in x / alpha). Names from elsewhere are
            understood: "epsilon", "x0", "sample", "v_prediction".
        schedule: what it was trained on, an instance or a name. A plan may run on another: the network is asked at the
            same nsr, in its own scale and time.
        time: what it takes as its time: "t", "lam", "nsr", "sigma", "alpha", or a function of the Point, as `lambda at:
            1000 * at.t`. The Point holds Python floats, so functions of `math` work in it, and those of torch do not.
        sd: standard deviation of the data, of "edm_raw".
        dtype: what it computes in (bfloat16, ...); None is the state's own. The state itself keeps its dtype.
        shape, classes, nsr_range, name, data_range, decode, encode, decode_batch, null: what else is known of it, see
            `Facts`.
        round_nsr: rounds (M,) nsr to levels that the network knows. Asked at a level between, the network is given the
            `time` of the rounded level, and its input and output are scaled for the exact one, as iDDPM's
            preconditioner does. None: all levels or, with a `Discrete` schedule, the table's own. A network that takes
            times between whole steps: `round_nsr=lambda nsr: nsr`.
    Raises: ValueError if `output`, `schedule` or `time` is unknown, or `data_range` or `decode_batch` is none.
    """
    output = output_name(output)
    if isinstance(time, str) and time not in ("t", "lam", "nsr", "sigma", "alpha"):
        raise InputError(f"`time` must be t, lam, nsr, sigma, alpha or a function of the Point, but is {time!r}.")
    path = find_schedule(schedule)
    if round_nsr is None and isinstance(path, Discrete):
        round_nsr = path.round_nsr
    if not callable(network):
        raise InputError(f"`network` must be callable as network(x, time), but is {str(network)[:200]!r}.")
    seen = {
        "data_range": check_range(data_range),
        "decode": decode,
        "encode": encode,
        "decode_batch": decode_batch,
        "null": null,
    }
    _check_batch(decode_batch)
    return Wrapped(network, output, path, time, sd, dtype, shape, classes, nsr_range, round_nsr, name, **seen)


@dataclass(frozen=True, eq=False)
class Derived:
    """A denoiser made from another, `inner`, which answers for all else (schedule, shape, ...). Plain data: it is
    pickled if `inner` can be."""

    inner: Any

    def __call__(self, x: Tensor, at: Point, labels: Any = None) -> Tensor:
        return ask(self.inner, x, at, labels)

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def to(self, device: torch.device | str) -> "Derived":
        """The denoiser on that device, see `Wrapped.to`."""
        return replace(self, inner=moved(self.inner, device))

    def rows(self, part: Rows, of: int) -> "Derived":
        """The denoiser for these of the run's `of` images."""
        return replace(self, inner=rows_of(self.inner, part, of))

    @property
    def device(self) -> torch.device:
        return device_of(self.inner)


@dataclass(frozen=True, eq=False)
class Changed(Derived):
    """A denoiser whose answers a function makes of another's: change(inner, x, at, labels)."""

    change: Callable[[Any, Tensor, Point, Any], Tensor]

    def __call__(self, x: Tensor, at: Point, labels: Any = None) -> Tensor:
        return self.change(self.inner, x, at, labels)


@dataclass(frozen=True, eq=False)
class Stated(Derived):
    """A denoiser of which its user knows better: `known` goes before what `inner` says of itself."""

    known: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name == "known":
            raise AttributeError(name)
        known = self.__dict__.get("known", {})
        return known[name] if name in known else super().__getattr__(name)


def state(denoiser: Any, **known: Any) -> Stated:
    """The denoiser with facts of the user's own, as `state(denoiser, data_range=(0, 1), null=10)`.

    Raises: ValueError if a name is none of `Facts`, or a fact is not what it must be.
    """
    names = [it.name for it in fields(Facts) if it.name != "device"]
    if unknown := [name for name in known if name not in names]:
        raise InputError(f"`{unknown[0]}` is nothing that is known of a denoiser: these are {', '.join(names)}.")
    stated = Stated(denoiser, known)
    facts(stated)
    return stated


@dataclass(frozen=True, eq=False)
class Guided(Derived):
    """Classifier-free guidance, made by `guide`."""

    scale: float | Tensor | Callable[[Point], float]
    none: Any = None
    plus: bool = False

    def __call__(self, x: Tensor, at: Point, labels: Any = None) -> Tensor:
        return self.answers(x, at, labels)[0]

    def answers(self, x: Tensor, at: Point, labels: Any = None) -> tuple[Tensor, Tensor | None]:
        """The guided answer, and that without labels where it was asked for."""
        if labels is None:
            raise InputError("Guidance needs `labels`: pass labels= to sample, or use the unguided denoiser.")
        weight = self._weight(x, at)
        if not isinstance(weight, Tensor) and weight == 1 and not self.plus:
            return ask(self.inner, x, at, labels), None
        free = ask(self.inner, x, at, None if self.none is None else _like_each(self.none, labels))
        if not isinstance(weight, Tensor) and weight == 0:
            return free, free
        return torch.lerp(free, ask(self.inner, x, at, labels), weight), free

    def _weight(self, x: Tensor, at: Point) -> float | Tensor:
        """One number, or one for each image, ready to multiply them."""
        if not isinstance(self.scale, Tensor):
            return float(self.scale(at)) if callable(self.scale) else self.scale
        if len(self.scale) != len(x):
            raise InputError(f"`scale` has {len(self.scale)} entries for {len(x)} images: give guide one for each.")
        return conditions.sent(self.scale.to(x.dtype), x.device).view(
            -1, *[1] * (x.ndim - 1)
        )  # rounded first: some devices hold no float64

    def rows(self, part: Rows, of: int) -> "Guided":
        inner = rows_of(self.inner, part, of)
        if not isinstance(self.scale, Tensor):
            return replace(self, inner=inner)
        if len(self.scale) != of:
            raise InputError(f"`scale` has {len(self.scale)} entries for {of} images: give guide one for each.")
        return replace(self, inner=inner, scale=self.scale[part])


def _like_each(null: Any, labels: Any) -> Any:
    """The label that means none, once for each image, in the form of `labels`: a tensor, or a dict or tuple of such."""
    if isinstance(labels, Mapping):
        if missing := [key for key in labels if isinstance(null, Mapping) and key not in null]:
            raise InputError(
                f"`null` has no {missing[0]!r}, which `labels` has: give a label that means none for each part."
            )
        return {
            key: _like_each(null[key] if isinstance(null, Mapping) else null, value) for key, value in labels.items()
        }
    if isinstance(labels, (tuple, list)):
        nulls = null if isinstance(null, (tuple, list)) and len(null) == len(labels) else [null] * len(labels)
        return tuple(_like_each(one, value) for one, value in zip(nulls, labels, strict=True))
    if isinstance(null, (int, float)):
        return torch.full_like(labels, null)
    return conditions.sent(torch.as_tensor(null), labels.device).to(labels.dtype).expand_as(labels)


def answer(denoiser: Any, x: Tensor, at: Point, labels: Any = None) -> tuple[Tensor, Tensor | None]:
    """The denoiser's answer, and the state that the run goes on from where that is another: x + alpha (D - D_null)
    under `guide(..., plus=True)`.

    Raises: ValueError if such a guided denoiser is inside another that changes its answers.
    """
    if isinstance(denoiser, Guided) and denoiser.plus:
        denoised, free = denoiser.answers(x, at, labels)
        return denoised, None if free is None or at.alpha == 0 else torch.add(x, denoised - free, alpha=at.alpha)
    inner = denoiser
    while isinstance(inner, Derived):
        inner = inner.inner
        if isinstance(inner, Guided) and inner.plus:
            raise InputError(
                "guide(..., plus=True) moves the state, which a denoiser around it cannot: put it outermost, as "
                "guide(threshold(model), ...)."
            )
    return ask(denoiser, x, at, labels), None


def guide(
    denoiser: Any, scale: float | Tensor | Callable[[Point], float], *, null: Any = None, plus: bool = False
) -> Guided:
    """Classifier-free guidance, in every stage:  D = D_null + scale (D_labels - D_null).

    Scale 0 ignores the labels, 1 is the plain model, more sharpens. Two network evaluations for a call (one where the
    scale is 0 or 1); NFE counts calls of the guided denoiser.

    Args:
        denoiser: the one to guide; it takes labels.
        scale: a number, (B,) numbers, one for each image of the run, or a function of the Point, which guides in an
            interval only: `lambda at: 3.0 if 0.2 < at.nsr < 5 else 1.0`.
        null: the label that means "no label": a class index or a (K,) row, or a dict or tuple of such where the labels
            are. None is the denoiser's own `null` or, where it has none, asks without labels.
        plus: CFG++: the noise that a step keeps is the unguided one's, docs/hosts.md derives it. Scales are from 0 (no
            labels) to 1, and there is no plain model among them. Of runs by `sample` and `iterate`.
    Raises: ValueError if a scale is not finite.
    Source: Ho and Salimans 2022 (arXiv:2207.12598); in an interval Kynkaanniemi et al. 2024 (arXiv:2404.07724).
    """
    _check_denoiser(denoiser)
    if not callable(scale):
        try:
            numbers = torch.as_tensor(scale, dtype=torch.float64, device="cpu")
        except (TypeError, ValueError, RuntimeError):
            numbers = torch.tensor(math.nan)
        if numbers.ndim > 1 or not bool(torch.isfinite(numbers).all()):
            raise InputError(
                f"`scale` must be a finite number, but is {scale}. 1 is the plain model; 1.5 to 4 are usual. (B,) "
                "numbers are one for each image."
            )
        scale = numbers if numbers.ndim else float(scale)
    return Guided(denoiser, scale, getattr(denoiser, "null", None) if null is None else null, plus)


@dataclass(frozen=True, eq=False)
class Bounded(Derived):
    """D kept inside [centre - limit, centre + limit], made by `threshold`."""

    limit: float
    centre: float = 0.0
    quantile: float | None = None

    def __call__(self, x: Tensor, at: Point, labels: Any = None) -> Tensor:
        return bounded(ask(self.inner, x, at, labels), self.limit, self.quantile, centre=self.centre)


def bounded(
    denoised: Tensor, limit: float, quantile: float | None = None, *, centre: float = 0.0, most: float = math.inf
) -> Tensor:
    """The values kept inside [centre - limit, centre + limit], as `threshold` says; where `most` is finite, s is at
    most that."""
    if quantile is None:
        return denoised.clamp(centre - limit, centre + limit)
    away = denoised - centre if centre else denoised
    s = torch.quantile(away.abs().flatten(1).float(), quantile, dim=1).clamp(limit, most).to(denoised.dtype)
    s = s.view(-1, *[1] * (denoised.ndim - 1))
    inside = away.clamp(-s, s) * (limit / s)
    return inside + centre if centre else inside


def threshold(denoiser: Any, limit: float | None = None, *, quantile: float | None = None) -> Bounded:
    """Keeps D inside the range of the data.

    Static (quantile None): D is clipped to [c - limit, c + limit], c the middle of the denoiser's `data_range`.
        Dynamic: with s the `quantile` of
    |D - c| in each sample, where s > limit D - c is clipped to [-s, s] and scaled by limit / s.

    Args:
        denoiser: the one to bound.
        limit: None is half the width of `data_range`, 1 by default. Of a model of latents (one with `decode`), whose
            range nobody knows, c is 0 and None is 1.
        quantile: in (0, 1], of the dynamic one; None is the static one.
    Source: Saharia et al. 2022 (arXiv:2205.11487), section 2.3.
    """
    _check_denoiser(denoiser)
    latent = getattr(denoiser, "decode", None) is not None
    low, high = (-1.0, 1.0) if latent else check_range(getattr(denoiser, "data_range", (-1.0, 1.0)))
    limit = (high - low) / 2 if limit is None else limit
    if not (limit > 0 and math.isfinite(limit)) or not (quantile is None or 0 < quantile <= 1):
        raise InputError(
            f"`limit` must be positive and `quantile` in (0, 1], but are {limit} and {quantile}. Imagen uses 1 and "
            "0.995."
        )
    return Bounded(denoiser, float(limit), (low + high) / 2, quantile)
