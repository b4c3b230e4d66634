"""Noise schedules: how much data and how much noise the state `x = alpha * data + sigma * eps` holds at time t. NumPy,
float64.

Every schedule answers, for floats and arrays alike: `alpha(t)`, `sigma(t)`, `lam(t) = log(alpha / sigma)`, `nsr(t) =
sigma / alpha` (EDM's "sigma"), and the inverses `t_of_lam(lam)`, `t_of_nsr(nsr)`. Noise grows with t. `t_min` and
`t_max` are the default ends of sampling.

Each quantity has its own formula, so none inherits another's cancellation; t -> lam -> t returns t to 1e-13. SNR 0
(alpha = 0, lam = -inf, nsr = inf) is a point like any other where a schedule reaches it: Cosine and Flow at t = 1,
Discrete with a last `alphas_cumprod` of 0.
"""

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from seeds.errors import InputError
from seeds.names import lookup

Values = Any  # a float or an array; what comes back has its shape, in float64


class Schedule(ABC):
    """What a schedule answers. One of your own inherits from it and says alpha(t) and sigma(t); the rest follows from
    these:

        class Sigmoid(seeds.Schedule):
            def alpha(self, t):
                return np.sqrt(1 / (1 + np.exp(12 * t - 6)))

            def sigma(self, t):
                return np.sqrt(1 / (1 + np.exp(6 - 12 * t)))

    nsr must rise with t >= 0. `t_min` and `t_max`, the default ends of sampling, are 0.001 and 1 where it has none of
    its own. A start at SNR 0 is
    where alpha(t_max) is 0 exactly: a cosine of pi / 2 is not, sin(pi / 2 (1 - t)) is.

    By default lam = log(alpha) - log(sigma), nsr = sigma / alpha, and `t_of_lam` searches: exact to the last bit of t
    that lam tells apart, in about 60 calls of alpha and sigma with all values at once. A schedule that knows better
    formulas overrides them.
    """

    t_min: float = 1e-3
    t_max: float = 1.0

    @abstractmethod
    def alpha(self, t: Values) -> Any:
        """Scale of the data at time t."""

    @abstractmethod
    def sigma(self, t: Values) -> Any:
        """Standard deviation of the noise at time t."""

    def lam(self, t: Values) -> Any:
        """Half log signal-to-noise ratio, log(alpha / sigma), in nats; falls as t grows."""
        return _log(self.alpha(t)) - _log(self.sigma(t))

    def nsr(self, t: Values) -> Any:
        """Noise-to-signal ratio, sigma / alpha; inf where alpha = 0."""
        return _ratio(self.sigma(t), self.alpha(t))

    def t_of_lam(self, lam: Values) -> Any:
        """The time at which `lam` is reached.

        Raises: ValueError if it is reached nowhere.
        """
        lam = _lam(lam)
        return _search(self, lam.ravel()).reshape(lam.shape)[()]

    def t_of_nsr(self, nsr: Values) -> Any:
        """The time at which the noise-to-signal ratio `nsr` is reached."""
        return self.t_of_lam(-_log(_at_least_0("nsr", nsr)))


@dataclass(frozen=True)
class VP(Schedule):
    r"""Variance preserving: alpha^2 + sigma^2 = 1, t >= 0; with beta_min < 0, as fits to a range of levels have it,
    only where b(t) >= 0.

        alpha(t) = exp(-b(t) / 2),   nsr(t) = sqrt(exp(b(t)) - 1),   b(t) = beta_d t^2 / 2 + beta_min t

    Default ends: t from 1 down to epsilon_s = 1e-3, as in EDM's samplers; VP networks are trained down to `t_min=1e-5`.
    Source: Song et al. 2021 (arXiv:2011.13456); in this form Karras et al. 2022 (arXiv:2206.00364), Table 1.
    """

    beta_d: float = 19.9
    beta_min: float = 0.1
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _check_ends(self)
        if not (np.isfinite(self.beta_d) and self.beta_d >= 0):
            raise InputError(f"`beta_d` = {self.beta_d} must be finite and at least 0: it is the slope of beta(t).")
        if not (np.isfinite(self.beta_min) and (self.beta_min > 0 or self.beta_d / 2 * self.t_min + self.beta_min > 0)):
            raise InputError(
                f"`beta_min` = {self.beta_min} must be finite and above 0, or so little below that b(t) > 0 from t_min "
                f"= {self.t_min} on: it is beta(0)."
            )

    def _b(self, t: Values) -> Any:
        t = _time(self, t)
        b = (self.beta_d / 2 * t + self.beta_min) * t
        if np.any(b < 0):
            raise InputError(
                f"VP with beta_min = {self.beta_min:g} has no level at t = {t[b < 0].flat[0]:g}: b(t) must be at least "
                "0."
            )
        return b

    def alpha(self, t: Values) -> Any:
        return np.exp(-self._b(t) / 2)

    def sigma(self, t: Values) -> Any:
        return np.sqrt(-np.expm1(-self._b(t)))  # 1 - alpha^2 would cancel near t = 0

    def lam(self, t: Values) -> Any:
        b = self._b(t)
        return -(b + _log(-np.expm1(-b))) / 2  # log(nsr), without overflow at large b

    def nsr(self, t: Values) -> Any:
        return np.sqrt(np.expm1(self._b(t)))

    def t_of_lam(self, lam: Values) -> Any:
        return self._t_of_b(np.logaddexp(0.0, -2 * _finite_noise(self, lam)))

    def t_of_nsr(self, nsr: Values) -> Any:
        return self._t_of_b(np.log1p(np.square(_finite_nsr(self, nsr))))

    def _t_of_b(self, b: Any) -> Any:
        root = np.sqrt(self.beta_min**2 + 2 * self.beta_d * b)
        if self.beta_min <= 0:
            return (root - self.beta_min) / self.beta_d
        return 2 * b / (self.beta_min + root)  # the same, which keeps its digits near 0


@dataclass(frozen=True)
class VE(Schedule):
    """Variance exploding: alpha = 1, sigma(t) = sqrt(t), t >= 0.

    Default ends: nsr from 100 down to 0.02, that is t from 1e4 down to 4e-4.
    Source: Song et al. 2021 (arXiv:2011.13456); in this form Karras et al. 2022 (arXiv:2206.00364), Table 1.
    """

    t_min: float = 0.02**2
    t_max: float = 100.0**2

    def __post_init__(self) -> None:
        _check_ends(self)

    def alpha(self, t: Values) -> Any:
        return np.ones_like(_time(self, t))[()]

    def sigma(self, t: Values) -> Any:
        return np.sqrt(_time(self, t))

    def lam(self, t: Values) -> Any:
        return -_log(_time(self, t)) / 2

    def nsr(self, t: Values) -> Any:
        return self.sigma(t)

    def t_of_lam(self, lam: Values) -> Any:
        return np.exp(-2 * _finite_noise(self, lam))

    def t_of_nsr(self, nsr: Values) -> Any:
        return np.square(_finite_nsr(self, nsr))


@dataclass(frozen=True)
class EDM(Schedule):
    """alpha = 1, sigma(t) = t >= 0: time is the noise level.

    Default ends: t from 80 down to 0.002.
    Source: Karras et al. 2022 (arXiv:2206.00364), Table 1.
    """

    t_min: float = 0.002
    t_max: float = 80.0

    def __post_init__(self) -> None:
        _check_ends(self)

    def alpha(self, t: Values) -> Any:
        return np.ones_like(_time(self, t))[()]

    def sigma(self, t: Values) -> Any:
        return _time(self, t)[()]

    def lam(self, t: Values) -> Any:
        return -_log(_time(self, t))

    def nsr(self, t: Values) -> Any:
        return self.sigma(t)

    def t_of_lam(self, lam: Values) -> Any:
        return np.exp(-_finite_noise(self, lam))

    def t_of_nsr(self, nsr: Values) -> Any:
        return _finite_nsr(self, nsr)[()]


@dataclass(frozen=True)
class Cosine(Schedule):
    """alpha(t) = cos(pi t / 2), sigma(t) = sin(pi t / 2), t in [0, 1]; SNR 0 at t = 1. Variance preserving.

    Default ends: t from 0.999 down to 0.001 (nsr from 637 down to 0.00157), as near to both ends as VP's epsilon_s; a
    network that can be asked at SNR 0 may start at `t_max=1.0`. The improved-DDPM table, with its offset and clipping,
    is `Discrete.cosine()`.
    Source: Salimans and Ho 2022 (arXiv:2202.00512).
    """

    t_min: float = 1e-3
    t_max: float = 0.999

    def __post_init__(self) -> None:
        _check_ends(self, top=1.0)

    def alpha(self, t: Values) -> Any:
        return np.sin(np.pi / 2 * (1 - _time(self, t, top=1.0)))  # a sine keeps its digits near t = 1, and is 0 there

    def sigma(self, t: Values) -> Any:
        return np.sin(np.pi / 2 * _time(self, t, top=1.0))

    def lam(self, t: Values) -> Any:
        return _log(self.alpha(t)) - _log(self.sigma(t))

    def nsr(self, t: Values) -> Any:
        return _ratio(self.sigma(t), self.alpha(t))

    def t_of_lam(self, lam: Values) -> Any:
        lam = _lam(lam)
        t = np.arctan(np.exp(-np.abs(lam))) / (np.pi / 2)
        return np.where(lam >= 0, t, 1 - t)[()]


@dataclass(frozen=True)
class Flow(Schedule):
    """Straight paths (rectified flow, flow matching): alpha(t) = 1 - t, sigma(t) = t, t in [0, 1]; SNR 0 at t = 1.

    Default ends: t from 1 (SNR 0 exactly, where such networks are trained to start) down to 0.001.
    Source: Liu et al. 2022 (arXiv:2209.03003); Lipman et al. 2022 (arXiv:2210.02747), whose time runs the other way.
    """

    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _check_ends(self, top=1.0)

    def alpha(self, t: Values) -> Any:
        return 1 - _time(self, t, top=1.0)

    def sigma(self, t: Values) -> Any:
        return _time(self, t, top=1.0)[()]

    def lam(self, t: Values) -> Any:
        t = _time(self, t, top=1.0)
        with np.errstate(divide="ignore"):
            return np.log1p(-t) - np.log(t)

    def nsr(self, t: Values) -> Any:
        t = _time(self, t, top=1.0)
        return _ratio(t, 1 - t)

    def t_of_lam(self, lam: Values) -> Any:
        lam = _lam(lam)
        e = np.exp(-np.abs(lam))
        return np.where(lam > 0, e, 1.0) / (1 + e)


@dataclass(frozen=True, repr=False)
class Discrete(Schedule):
    """A trained table: alpha(i)^2 = alphas_cumprod[i], sigma(i)^2 = 1 - alphas_cumprod[i], i = 0 .. T-1. Time is the
    index, t in [0, T-1].

    Exact at whole t. Between two indices lam is linear in t. An interval that ends in SNR 0 (a last entry of 0: zero
    terminal SNR) has no such line; there alpha / sigma is linear in t instead. Both rules are invertible, and keep
    alpha^2 + sigma^2 = 1.
    Networks trained at whole steps only know those: pass `round_nsr` to the planner. Asked between, `seeds.wrap` gives
    them the nearest whole step.

    Default ends: the whole table.
    Args: alphas_cumprod: T >= 2 numbers, falling strictly, below 1, at least 0, as in DDPM (`alpha_bar`).
    Raises: ValueError if the table is not such, or if t or lam lies outside it.
    """

    alphas_cumprod: tuple[float, ...]
    _table_lam: npt.NDArray[np.float64] = field(init=False, compare=False)

    def __init__(self, alphas_cumprod: npt.ArrayLike) -> None:
        table = np.asarray(alphas_cumprod, np.float64)
        _check_table(table)
        object.__setattr__(self, "alphas_cumprod", tuple(table.tolist()))
        object.__setattr__(self, "_table_lam", (_log(table) - np.log1p(-table)) / 2)

    @classmethod
    def from_betas(cls, betas: npt.ArrayLike) -> "Discrete":
        """From the variances that each forward step adds: alphas_cumprod = cumprod(1 - betas)."""
        return cls(np.cumprod(1 - np.asarray(betas, np.float64)))

    @classmethod
    def linear(cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "Discrete":
        """DDPM's table: betas rise linearly (Ho et al. 2020, arXiv:2006.11239)."""
        return cls.from_betas(np.linspace(beta_start, beta_end, steps))

    @classmethod
    def cosine(cls, steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> "Discrete":
        """Improved DDPM's: cos((i / T + offset) / (1 + offset) pi / 2)^2, betas clipped (Nichol and Dhariwal 2021,
        arXiv:2102.09672)."""
        f = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
        return cls.from_betas(np.minimum(1 - f[1:] / f[:-1], max_beta))

    def __repr__(self) -> str:
        return (
            f"Discrete({len(self.alphas_cumprod)} levels, alphas_cumprod {self.alphas_cumprod[0]:g} .. "
            f"{self.alphas_cumprod[-1]:g})"
        )

    @property
    def t_min(self) -> float:  # type: ignore[override]
        return 0.0

    @property
    def t_max(self) -> float:  # type: ignore[override]
        return len(self.alphas_cumprod) - 1.0

    def alpha(self, t: Values) -> Any:
        return np.sqrt(self._share(t, sign=1))

    def sigma(self, t: Values) -> Any:
        return np.sqrt(self._share(t, sign=-1))

    def _share(self, t: Values, sign: int) -> Any:
        """alpha^2 (sign 1) or sigma^2 (sign -1): the table's own number at whole t, a logistic function of 2 lam
        between."""
        t = _time(self, t, top=self.t_max)
        table = np.asarray(self.alphas_cumprod)[np.floor(t).astype(np.intp)]
        between = np.exp(-np.logaddexp(0.0, -2 * sign * self.lam(t)))
        return np.where(t == np.floor(t), table if sign == 1 else 1 - table, between)[()]

    def lam(self, t: Values) -> Any:
        t = _time(self, t, top=self.t_max)
        i = np.minimum(np.floor(t).astype(np.intp), len(self._table_lam) - 2)
        part, lam0, lam1 = t - i, self._table_lam[i], self._table_lam[i + 1]
        with np.errstate(divide="ignore", invalid="ignore"):  # the branch not taken
            inside = lam0 + part * (lam1 - lam0)
            return np.where(np.isfinite(lam1), np.where(part == 1, lam1, inside), lam0 + np.log1p(-part))[()]

    def nsr(self, t: Values) -> Any:
        return np.exp(-self.lam(t))

    def t_of_lam(self, lam: Values) -> Any:
        lam = _lam(lam)
        first, last = self._table_lam[0], self._table_lam[-1]
        slack = 1e-12 * (1 + abs(first))
        if np.any(lam > first + slack) or np.any(lam < last - slack):
            raise InputError(
                f"This table has lam from {last:.6g} to {first:.6g} (nsr {np.exp(-first):.6g} to {np.exp(-last):.6g}), "
                f"but lam = {np.min(lam):.6g} .. {np.max(lam):.6g} was asked for. Keep `nsr_min` and `nsr_max` inside "
                "the table, and churn off above it (S_max), or pass round_nsr=schedule.round_nsr."
            )
        lam = np.clip(lam, last, first)
        i = np.clip(np.searchsorted(-self._table_lam, -lam, side="right") - 1, 0, len(self._table_lam) - 2)
        lam0, lam1 = self._table_lam[i], self._table_lam[i + 1]
        fall = lam0 - lam
        with np.errstate(invalid="ignore"):  # inf - inf in the branch not taken
            t = i + np.where(np.isfinite(lam1), fall / (lam0 - lam1), -np.expm1(-fall))
        # a level of the table is its whole step, without rounding
        return np.where(np.abs(t - np.rint(t)) < 1e-10, np.rint(t), t)[()]

    def indices(self, t: Values) -> Any:
        """The nearest whole step of each t, as int64; what a network trained on this table takes as its time."""
        return np.rint(_time(self, t, top=self.t_max)).astype(np.int64)

    def round_nsr(self, nsr: Values) -> Any:
        """The nearest level of the table, in t (that is in lam), for each noise-to-signal ratio; beyond the ends, the
        end."""
        lam = np.clip(-_log(_at_least_0("nsr", nsr)), self._table_lam[-1], self._table_lam[0])
        return np.exp(-self._table_lam)[self.indices(self.t_of_lam(lam))]


@dataclass(frozen=True)
class Rescaled(Schedule):
    """The noise levels of another schedule, nsr(t), with another scale of the data:

        scaling "none":  alpha = 1, sigma = nsr          scaling "vp":  alpha = 1 / sqrt(1 + nsr^2), sigma = alpha nsr

    Exponential solvers give the same samples on both; a method that steps in t of the schedule does not.
    Default ends: those of `base`.
    Source: the choice of sigma(t) and s(t) in Karras et al. 2022 (arXiv:2206.00364), Table 1.
    """

    base: Schedule
    scaling: str

    def __post_init__(self) -> None:
        if self.scaling not in ("vp", "none"):
            raise InputError(f"`scaling` = {self.scaling!r} must be 'vp' or 'none'.")

    @property
    def t_min(self) -> float:  # type: ignore[override]
        return self.base.t_min

    @property
    def t_max(self) -> float:  # type: ignore[override]
        return self.base.t_max

    def alpha(self, t: Values) -> Any:
        nsr = self.nsr(t)
        return np.ones_like(nsr)[()] if self.scaling == "none" else 1 / np.hypot(1.0, nsr)

    def sigma(self, t: Values) -> Any:
        nsr = self.nsr(t)
        return _finite_nsr(self, nsr)[()] if self.scaling == "none" else 1 / np.hypot(1.0, _ratio(1.0, nsr))

    def lam(self, t: Values) -> Any:
        return self.base.lam(t)

    def nsr(self, t: Values) -> Any:
        return self.base.nsr(t)

    def t_of_lam(self, lam: Values) -> Any:
        return self.base.t_of_lam(lam)

    def t_of_nsr(self, nsr: Values) -> Any:
        return self.base.t_of_nsr(nsr)


SCHEDULES: dict[str, type[Schedule]] = {
    "vp": VP,
    "ve": VE,
    "edm": EDM,
    "cosine": Cosine,
    "flow": Flow,
    "discrete": Discrete,
}


def schedule(which: Any) -> Schedule:
    """The schedule of that name with its default numbers, or `which` itself if it is a schedule already."""
    if isinstance(which, str):
        cls = lookup("schedule", which, SCHEDULES)
        if cls is Discrete:
            raise InputError(
                "schedule 'discrete' needs a table: pass Discrete(alphas_cumprod), Discrete.linear() or "
                "Discrete.cosine()."
            )
        return cls()
    if isinstance(which, (list, tuple)) or getattr(which, "ndim", 0) > 0:
        raise TypeError(
            f"`schedule` is a row of {len(which)} numbers: a table goes in as seeds.Discrete(alphas_cumprod), or "
            f"Discrete.from_betas(betas); levels  to visit are `grid` or `sigmas`. Names: {', '.join(SCHEDULES)}."
        )
    missing = [
        name
        for name in ("alpha", "sigma", "lam", "nsr", "t_of_lam", "t_of_nsr", "t_min", "t_max")
        if not hasattr(which, name)
    ]
    if missing or isinstance(which, type):
        why = "is a class: call it" if isinstance(which, type) else f"has no {', '.join(missing)}"
        way = (
            "Let it inherit from seeds.Schedule, which makes the rest of alpha(t) and sigma(t)."
            if hasattr(which, "alpha")
            else ""
        )
        way = way or f"Pass an instance such as VP(), or a name: {', '.join(SCHEDULES)}."
        raise TypeError(f"`schedule` = {which!r} {why}. {way}")
    if type(which).__module__ != __name__:
        _check_own(which)
    return which


def _check_own(path: Schedule) -> None:
    """Whether a schedule of the user's own is one, at its two ends."""
    name, t = type(path).__name__, np.array([path.t_min, path.t_max], np.float64)
    if not (0 <= t[0] < t[1] and np.isfinite(t[1])):
        raise InputError(
            f"{name}: `t_min` = {path.t_min}, `t_max` = {path.t_max}, but 0 <= t_min < t_max must hold, both finite."
        )
    try:
        with np.errstate(all="ignore"):
            alpha, sigma = (
                np.broadcast_to(np.asarray(values, np.float64), t.shape) for values in (path.alpha(t), path.sigma(t))
            )
    except Exception as error:  # a user's formulas may fail in any way
        raise InputError(
            f"{name}: alpha(t) and sigma(t) are asked with a row of times, NumPy's float64, but fail with "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]} Write them with functions of numpy, as "
            "np.cos, and not of math or torch."
        ) from error
    if not (np.isfinite(alpha) & np.isfinite(sigma) & (alpha >= 0) & (sigma > 0)).all() or not alpha[0] > 0:
        raise InputError(
            f"{name}: alpha is {alpha[0]:g} and {alpha[1]:g}, sigma {sigma[0]:g} and {sigma[1]:g} at t_min = {t[0]:g} "
            f"and t_max = {t[1]:g}: both must be finite, sigma above 0, and alpha too, but at t_max, where it may be "
            "0. Set `t_min` and `t_max` to the ends that are meant."
        )
    if not sigma[0] * alpha[1] < sigma[1] * alpha[0]:
        raise InputError(
            f"{name}: nsr = sigma / alpha is {sigma[0] / alpha[0]:g} at t_min = {t[0]:g} and {sigma[1] / alpha[1]:g} "
            f"at t_max = {t[1]:g}, but must rise: noise grows with t here. If your time runs from noise to data, take "
            "1 - t."
        )
    if 0 < alpha[1] < 1e-15 * sigma[1]:
        raise InputError(
            f"{name}: alpha at t_max = {t[1]:g} is {alpha[1]:.1g}, which is 0 but for rounding. Let it be 0 exactly, "
            "as np.sin(np.pi / 2 * (1 - t)) is where np.cos(np.pi / 2 * t) is not, or end a little earlier, with "
            "t_max = 0.999."
        )


def _search(path: Schedule, lam: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(M,) the t >= 0 with path.lam(t) = lam, of a lam that falls: halves the numbers between two bounds until these
    are neighbours, and takes the better.

    Numbers at least 0 are ordered as their bits are, read as integers, so that 63 halvings are enough near 0 and
    anywhere else.
    """

    def noisier(t: Any) -> Any:
        there = _lam_at(path, t)
        return np.where(np.isnan(there), t > path.t_max, there <= lam)  # where a schedule has ended, all is noisier

    top = np.full(lam.shape, float(path.t_max))
    while not (found := noisier(top) | ~np.isfinite(lam) | (top > BEYOND * path.t_max)).all():
        top = np.where(found, top, 2 * top)
    low, high = np.zeros(lam.shape, np.int64), top.view(np.int64)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        past = noisier(middle.view(np.float64))
        low, high = np.where(past, low, middle), np.where(past, middle, high)
    near, far = low.view(np.float64), high.view(np.float64)
    above, below = _lam_at(path, near), _lam_at(path, far)
    first, last = _lam_at(path, np.array([0.0, path.t_max]))
    slack = SLACK * (1 + np.abs(lam))
    with np.errstate(invalid="ignore"):  # inf - inf, at the ends
        t = np.where(np.abs(below - lam) < np.abs(above - lam), far, near)
        reached = (above >= lam - slack) & (below <= lam + slack)  # NaN is neither
    t = np.where(np.isfinite(lam), t, np.where(lam > 0, 0.0, path.t_max))
    reached = np.where(np.isfinite(lam), reached, np.where(lam > 0, first == lam, last == lam))
    if not reached.all():
        missed = lam[~reached].flat[0]
        raise InputError(
            f"{type(path).__name__} does not reach lam = {missed:g} (nsr = {np.exp(-missed):g}): its lam is {last:g} "
            f"at t_max = {path.t_max:g} and {first:g} at t = 0. Choose levels between, or let t_max be where it ends."
        )
    return t


BEYOND = 2.0**64
"""How many times t_max a time may be."""
SLACK = 1e-9
"""How far a lam may lie beyond an end of the schedule, beside 1 + |lam|: its own rounding errors are no more."""


def _lam_at(path: Schedule, t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """lam of each time; NaN where there is none, or beyond t_max the schedule refuses to say."""
    lam, inside = np.full(t.shape, np.nan), t <= path.t_max
    with np.errstate(all="ignore"):
        lam[inside] = path.lam(t[inside])
        for place in np.flatnonzero(~inside):
            with suppress(ValueError, ArithmeticError):
                lam[place] = path.lam(t[place])
    return lam


def _check_ends(of: Schedule, top: float = np.inf) -> None:
    if not (0 < of.t_min < of.t_max <= top and np.isfinite(of.t_max)):
        limit = "" if np.isinf(top) else f" <= {top:g}"
        raise InputError(
            f"{type(of).__name__}: `t_min` = {of.t_min}, `t_max` = {of.t_max}, but 0 < t_min < t_max{limit} must hold."
        )


def _check_table(table: npt.NDArray[np.float64]) -> None:
    if table.ndim != 1 or len(table) < 2:
        raise InputError(f"`alphas_cumprod` has shape {table.shape}, but must be a row of at least 2 numbers.")
    wrong = ~((table >= 0) & (table < 1))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"`alphas_cumprod`[{i}] = {table[i]:g}, but every entry must be at least 0 and below 1. Leave out a clean "
            "level of 1: no network was trained there."
        )
    flat = np.diff(table) >= 0
    if flat.any():
        i = int(np.argmax(flat))
        raise InputError(
            f"`alphas_cumprod` must fall strictly, cleanest first, but [{i}] = {table[i]:g} is followed by [{i + 1}] = "
            f"{table[i + 1]:g}. If these are betas, use Discrete.from_betas(betas); if the table runs from noise to "
            "data, pass it reversed."
        )


def _time(of: Schedule, t: Values, top: float = np.inf) -> Any:
    t = np.asarray(t, np.float64)
    inside = (t >= 0) & (t <= top)
    if not inside.all():
        limit = "t >= 0" if np.isinf(top) else f"0 <= t <= {top:g}"
        raise InputError(f"{type(of).__name__} is defined for {limit}, but t = {t[~inside].flat[0]:g} was asked for.")
    return t


def _lam(lam: Values) -> Any:
    lam = np.asarray(lam, np.float64)
    if np.isnan(lam).any():
        raise InputError("`lam` is NaN.")
    return lam


def _finite_noise(of: Schedule, lam: Values) -> Any:
    lam = _lam(lam)
    if np.isneginf(lam).any():
        raise InputError(
            f"{type(of).__name__} does not reach SNR 0 (lam = -inf) at any finite t. Start at a finite noise level."
        )
    return lam


def _finite_nsr(of: Schedule, nsr: Values) -> Any:
    nsr = _at_least_0("nsr", nsr)
    if np.isinf(nsr).any():
        raise InputError(
            f"{type(of).__name__} does not reach SNR 0 (nsr = inf) at any finite t. Start at a finite noise level."
        )
    return nsr


def _at_least_0(name: str, value: Values) -> Any:
    value = np.asarray(value, np.float64)
    if not (value >= 0).all():
        raise InputError(f"`{name}` = {value[~(value >= 0)].flat[0]:g} must be a number that is at least 0.")
    return value


def _log(x: Any) -> Any:
    with np.errstate(divide="ignore"):  # log 0 = -inf is meant
        return np.log(x)


def _ratio(a: Any, b: Any) -> Any:
    with np.errstate(divide="ignore"):  # nsr = inf at SNR 0 is meant
        return np.divide(a, b)
