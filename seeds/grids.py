"""Grids: where a sampler stops on its way from noise to data. NumPy only, float64.

A grid is `(schedule, steps, ...) -> t` with shape (steps + 1,): times of the schedule, strictly falling, noisiest
first. `steps` counts the
intervals (EDM's N counts the levels: N = steps + 1).

The noise levels run from `nsr_max` down to `nsr_min` (noise-to-signal ratios, EDM's "sigma"), by default

    karras, uniform_lam, linear_t,  the schedule's own ends, t_max and t_min
    sgm_uniform, beta, atan, curve,
    deis, kl_optimal
    vp                              nsr of VP(beta_d, beta_min) at t = 1 and epsilon_s: 152 to 0.0105
    ve                              100 to 0.02
    ays                             those of its table
    iddpm                           the levels of its table between 81 and 0.002: 80.2 to 0.0064

or where the caller puts them: numbers or, to `grid`, functions of `steps`, as the best ends depend on how many calls
there are.

The first and the last t are the ends themselves, without rounding: `t_max` and `t_min` of the schedule bit for bit
where those are meant. A schedule that starts at SNR 0 (nsr = inf, as Flow does) has its first point there; the others
lie where they would if it had been nsr = `SNR0_AS`, where a denoiser of images scaled to [-1, 1] still answers very
nearly what it answers at SNR 0.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from seeds.errors import InputError
from seeds.names import lookup
from seeds.schedules import VP, Schedule

Times = npt.NDArray[np.float64]
Spacing = Callable[[float, float, Any], Any]  # (noisiest nsr, cleanest nsr, fraction of the way) -> nsr

End = float | Callable[[int], float]
"""`nsr_min` or `nsr_max`: a level, or a function that gives one for a number of steps:  nsr_min=lambda steps:
max(0.002, 0.3 / steps)."""

SNR0_AS = 80.0


def karras(
    schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None, rho: float = 7.0
) -> Times:
    """nsr^(1/rho) falls linearly. Source: Karras et al. 2022 (arXiv:2206.00364), equation 5."""
    if not (rho > 0 and np.isfinite(rho)):
        raise InputError(
            f"`rho` = {rho} must be a finite number above 0. Published samplers use 7; large values approach "
            "`uniform_lam`."
        )
    return _lay(
        schedule,
        steps,
        nsr_min,
        nsr_max,
        lambda a, b, i: (a ** (1 / rho) + i * (b ** (1 / rho) - a ** (1 / rho))) ** rho,
    )


def uniform_lam(schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None) -> Times:
    """lam rises linearly: every step has the same h."""
    return _lay(schedule, steps, nsr_min, nsr_max, _geometric)


def linear_t(schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None) -> Times:
    """The schedule's own t falls linearly; an SNR-0 start needs no care here."""
    t0, t1 = _ends(schedule, nsr_min, nsr_max)
    return _falling(np.linspace(t0, t1, _count(steps) + 1), steps)


def vp(
    schedule: Schedule,
    steps: int,
    *,
    nsr_min: float | None = None,
    nsr_max: float | None = None,
    beta_d: float = 19.9,
    beta_min: float = 0.1,
    epsilon_s: float = 1e-3,
) -> Times:
    """t of VP(beta_d, beta_min) falls linearly, by default from 1 to epsilon_s; each level is then found in `schedule`.

    Source: Song et al. 2021 (arXiv:2011.13456); Karras et al. 2022 (arXiv:2206.00364), Table 1. To fit the betas
    to a range instead, as EDM's ablation does, take them from `vp_betas`.
    """
    own = VP(beta_d, beta_min, t_min=epsilon_s)
    nsr_min = own.nsr(own.t_min) if nsr_min is None else nsr_min
    nsr_max = own.nsr(own.t_max) if nsr_max is None else nsr_max
    return _lay(
        schedule, steps, nsr_min, nsr_max, lambda a, b, i: own.nsr((1 - i) * own.t_of_nsr(a) + i * own.t_of_nsr(b))
    )


def deis(
    schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None, power: float = 2.0
) -> Times:
    """t^(1/power) of VP() falls linearly; each level is then found in `schedule`. Power 1 is `vp` between the
    schedule's own ends.

    Source: Zhang and Chen 2023, DEIS (arXiv:2204.13902), "uniform in t to a power": 2 is theirs.
    """
    if not (power > 0 and np.isfinite(power)):
        raise InputError(f"`power` = {power} must be a finite number above 0. DEIS has 2; 1 is evenly spaced in t.")
    own = VP()

    def spacing(a: float, b: float, i: Any) -> Any:
        first, last = (own.t_of_nsr(nsr) ** (1 / power) for nsr in (a, b))
        return own.nsr(((1 - i) * first + i * last) ** power)

    return _lay(schedule, steps, nsr_min, nsr_max, spacing)


def vp_betas(nsr_min: float, nsr_max: float, epsilon_s: float = 1e-3) -> tuple[float, float]:
    """beta_d and beta_min of the VP schedule with nsr_max at t = 1 and nsr_min at t = epsilon_s: two linear
    equations."""
    b0, b1 = np.log1p(nsr_max**2), np.log1p(nsr_min**2)  # b(t) = beta_d t^2 / 2 + beta_min t
    beta_d = 2 * (b0 - b1 / epsilon_s) / (1 - epsilon_s)
    return float(beta_d), float(b0 - beta_d / 2)


def ve(schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None) -> Times:
    """nsr^2 = nsr_max^2 (nsr_min^2 / nsr_max^2)^(i / steps), that is `uniform_lam` on VE's range.

    Source: Song et al. 2021 (arXiv:2011.13456); Karras et al. 2022 (arXiv:2206.00364), Table 1.
    """
    return _lay(
        schedule, steps, 0.02 if nsr_min is None else nsr_min, 100.0 if nsr_max is None else nsr_max, _geometric
    )


def iddpm(
    schedule: Schedule,
    steps: int,
    *,
    nsr_min: float | None = None,
    nsr_max: float | None = None,
    c1: float = 0.001,
    c2: float = 0.008,
    m: int = 1000,
) -> Times:
    """Levels u_j of improved DDPM's table that lie between nsr_max and nsr_min, at (nearly) equal distances in j,
    halves rounded up.

        u_m = 0,   u_{j-1}^2 = (u_j^2 + 1) / max(abar(j-1) / abar(j), c1) - 1,   abar(j) = sin(pi j / (2 m (1 + c2)))^2

    The ends are entries of the table, so they only lie within the range given.
    Source: Nichol and Dhariwal 2021 (arXiv:2102.09672); in this form Karras et al. 2022 (arXiv:2206.00364), Table 1.
    Raises: ValueError if fewer than steps + 1 levels lie in the range.
    """
    steps, u = _count(steps), _iddpm_levels(c1, c2, m)
    nsr_min, nsr_max = 0.002 if nsr_min is None else nsr_min, 81.0 if nsr_max is None else nsr_max
    u = u[(u >= nsr_min) & (u <= nsr_max)]
    if len(u) < steps + 1:
        raise InputError(
            f"`steps` = {steps} needs {steps + 1} levels, but improved DDPM's table (m = {m}) has {len(u)} between "
            f"nsr_max = {nsr_max:g} and nsr_min = {nsr_min:g}. Take fewer steps, or a grid without a table, such as "
            "karras."
        )
    # the nearest whole number, in whole numbers
    places = (2 * (len(u) - 1) * np.arange(steps + 1) + steps) // (2 * steps)
    return _falling(np.asarray(schedule.t_of_nsr(u[places])), steps)


@functools.lru_cache(maxsize=8)
def _iddpm_levels(c1: float, c2: float, m: int) -> Times:
    if not (m >= 2 and 0 < c1 < 1 and c2 > 0):
        raise InputError(f"`m` = {m}, `c1` = {c1}, `c2` = {c2}, but m >= 2, 0 < c1 < 1 and c2 > 0 must hold.")
    abar = np.sin(np.pi / 2 * np.arange(m + 1) / m / (1 + c2)) ** 2
    u = np.zeros(m + 1)
    for j in range(m, 0, -1):
        u[j - 1] = np.sqrt((u[j] ** 2 + 1) / max(abar[j - 1] / abar[j], c1) - 1)
    u.setflags(write=False)
    return u[:-1]  # u_m = 0 is clean data, no level to start a step from


def sgm_uniform(schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None) -> Times:
    """t falls linearly and stops one step above its end: as `linear_t` with one step more, without its last level. The
    final denoise takes that step.

    Source: the spacing of Stability AI's generative-models, known by this name in ComfyUI.
    """
    return linear_t(schedule, _count(steps) + 1, nsr_min=nsr_min, nsr_max=nsr_max)[:-1]


def beta(
    schedule: Schedule,
    steps: int,
    *,
    nsr_min: float | None = None,
    nsr_max: float | None = None,
    alpha: float = 0.6,
    beta: float = 0.6,
) -> Times:
    """t at quantiles of a Beta(alpha, beta) law between its ends: close together at both. Source: Lee et al. 2024
    (arXiv:2407.12173).

    The quantiles are those of a table of 2^14 intervals in the angle x with t = sin(x)^2, where the density has no pole
    for 0.5 and above.
    """
    if not (alpha > 0 and beta > 0):
        raise InputError(f"`alpha` = {alpha} and `beta` = {beta} must be above 0. The paper has 0.6 and 0.6.")
    t0, t1 = _ends(schedule, nsr_min, nsr_max)
    angle = np.linspace(0, np.pi / 2, (1 << 14) + 1)
    middle = (angle[:-1] + angle[1:]) / 2
    law = np.concatenate([[0.0], np.cumsum(np.sin(middle) ** (2 * alpha - 1) * np.cos(middle) ** (2 * beta - 1))])
    place = np.sin(np.interp(np.linspace(1, 0, _count(steps) + 1), law / law[-1], angle)) ** 2
    return _falling(np.concatenate([[t0], t1 + place[1:-1] * (t0 - t1), [t1]]), steps)


def atan(
    schedule: Schedule,
    steps: int,
    *,
    nsr_min: float | None = None,
    nsr_max: float | None = None,
    centre: float = 2.0,
    width: float = 2.0,
) -> Times:
    """Levels close together around nsr = `centre`: atan((lam + log centre) / width) rises linearly, `width` in nats."""
    if not (centre > 0 and width > 0):
        raise InputError(f"`centre` = {centre} and `width` = {width} must be above 0: a noise level, and nats of lam.")

    def spacing(a: float, b: float, i: Any) -> Any:
        first, last = (np.arctan(-np.log(nsr / centre) / width) for nsr in (a, b))
        return centre * np.exp(-width * np.tan(first + i * (last - first)))

    return _lay(schedule, steps, nsr_min, nsr_max, spacing)


def curve(
    schedule: Schedule,
    steps: int,
    *,
    nsr_min: float | None = None,
    nsr_max: float | None = None,
    first: float = 1.0,
    middle: float = 1.0,
    last: float = 1.0,
) -> Times:
    """Steps h in lam whose lengths go as `first` to `middle` to `last`, in straight lines: 1, 1, 1 is `uniform_lam`;
    tuned grids are near 0.6, 1, 2."""
    if not min(first, middle, last) > 0:
        raise InputError(
            f"`first`, `middle` and `last` = {first}, {middle}, {last} are lengths of steps beside each other, so they "
            "must be above 0."
        )
    place = (np.arange(_count(steps)) + 0.5) / steps
    ends = np.cumsum(np.interp(place, [0.0, 0.5, 1.0], [first, middle, last]))[:-1]
    total = float(np.interp(place, [0.0, 0.5, 1.0], [first, middle, last]).sum())
    return _lay(schedule, steps, nsr_min, nsr_max, lambda a, b, _: _geometric(a, b, ends / total))


AYS_TABLES = {
    "sd1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""nsr of ten steps, optimised for Stable Diffusion 1.5, SDXL and Stable Video Diffusion. Source: Sabour et al. 2024
(arXiv:2404.14507), as published."""


def ays(
    schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None, table: str = "sdxl"
) -> Times:
    """Align Your Steps: the published levels of a model (sd1, sdxl, svd), for other numbers of steps interpolated in
    log nsr, as its authors do it.

    Source: Sabour et al. 2024 (arXiv:2404.14507).
    """
    levels = np.log(lookup("AYS table", table, AYS_TABLES))
    nsr = np.exp(np.interp(np.linspace(0, len(levels) - 1, _count(steps) + 1), np.arange(len(levels)), levels))
    low, high = (end if end is not None else default for end, default in ((nsr_min, nsr[-1]), (nsr_max, nsr[0])))
    return _lay(schedule, steps, low, high, lambda a, b, _: np.clip(nsr[1:-1], np.nextafter(b, a), np.nextafter(a, b)))


def kl_optimal(
    schedule: Schedule, steps: int, *, nsr_min: float | None = None, nsr_max: float | None = None, std: float = 1.0
) -> Times:
    """atan(nsr / std) falls linearly: best for data N(0, std^2) by a bound on the divergence. Source: Sabour et al.
    2024 (arXiv:2404.14507)."""
    if not (std > 0 and np.isfinite(std)):
        raise InputError(f"`std` = {std} must be a finite number above 0: the standard deviation of the data.")
    return _lay(
        schedule,
        steps,
        nsr_min,
        nsr_max,
        lambda a, b, i: std * np.tan((1 - i) * np.arctan(a / std) + i * np.arctan(b / std)),
    )


def custom(schedule: Schedule, t: npt.ArrayLike) -> Times:
    """The caller's own times, bit for bit, once they are found to be a grid of this schedule."""
    t = np.array(t, np.float64)
    check_falling("t", t)
    if not schedule.nsr(t)[-1] > 0:  # a time the schedule is not defined for is named by the schedule
        raise InputError(
            f"`t` ends at t = {t[-1]:g}, where there is no noise and lam is infinite. End at the last positive level: "
            "the final "
            'call of the denoiser, final="denoise", goes from there to clean data.'
        )
    return t


def check_falling(name: str, values: npt.NDArray[np.float64]) -> None:
    """Raises ValueError unless `values` is a row of at least two finite numbers that falls strictly."""
    if values.ndim != 1 or len(values) < 2:
        raise InputError(
            f"`{name}` has shape {values.shape}, but must be a row of at least 2 numbers: N steps have N + 1 levels."
        )
    if not np.isfinite(values).all():
        i = int(np.argmin(np.isfinite(values)))
        raise InputError(f"`{name}`[{i}] = {values[i]} is not finite.")
    rise = np.diff(values) >= 0
    if rise.any():
        i = int(np.argmax(rise))
        raise InputError(
            f"`{name}` must fall strictly, noisiest first, but {name}[{i}] = {values[i]:g} is followed by "
            f"{name}[{i + 1}] = {values[i + 1]:g}. If the grid was built from clean to noisy, pass {name}[::-1]."
        )


GRIDS: dict[str, Callable[..., Times]] = {
    "karras": karras,
    "uniform_lam": uniform_lam,
    "linear_t": linear_t,
    "vp": vp,
    "ve": ve,
    "iddpm": iddpm,
    "sgm_uniform": sgm_uniform,
    "beta": beta,
    "atan": atan,
    "curve": curve,
    "ays": ays,
    "deis": deis,
    "kl_optimal": kl_optimal,
}

OWN_ENDS = ("vp", "ve", "iddpm", "ays")
"""Grids that begin and end where they say, not where the schedule does."""


def grid(which: "str | npt.ArrayLike", schedule: Schedule, steps: int | None = None, **options: Any) -> Times:
    """The grid of that name, or, given an array, `custom`; `steps` may then be left out, and must agree with the array
    if given.

    Of a named grid `nsr_min` and `nsr_max` may be functions of `steps`.
    """
    if isinstance(which, str):
        build = lookup("grid", which, GRIDS)
        if steps is None:
            raise InputError(f"`steps` is missing: grid {which!r} must know how many intervals to make.")
        return build(
            schedule,
            steps,
            **(options | {name: end_at(name, options[name], steps) for name in ENDS if name in options}),
        )
    if options:
        raise InputError(
            f"{', '.join(f'`{name}`' for name in options)} shape a named grid, but `grid` is an array, which is used "
            "as it is."
        )
    t = custom(schedule, which)
    if steps is not None and steps != len(t) - 1:
        raise InputError(
            f"`steps` = {steps}, but the grid given has {len(t)} levels, that is {len(t) - 1} steps. Leave `steps` out."
        )
    return t


ENDS = ("nsr_min", "nsr_max")


def end_at(name: str, end: End | None, steps: int) -> float | None:
    """The end of a grid of so many steps: a number as it is, or what the function says of them; None is the grid's own.

    Raises: ValueError if the function gives no number.
    """
    if not callable(end):
        return end
    level = end(_count(steps))
    if level is not None and (isinstance(level, bool) or not isinstance(level, (int, float, np.floating, np.integer))):
        raise InputError(
            f"`{name}` is a function of the number of steps, but for {steps} steps it gives {level!r}: it should give "
            "a level, as nsr."
        )
    return None if level is None else float(level)


def _geometric(first: float, last: float, part: Any) -> Any:
    return first * np.exp(part * np.log(last / first))


def _lay(schedule: Schedule, steps: int, nsr_min: float | None, nsr_max: float | None, spacing: Spacing) -> Times:
    """Both ends exactly, and between them the levels that `spacing` gives."""
    (t0, t1), steps = _ends(schedule, nsr_min, nsr_max), _count(steps)
    first, last = float(schedule.nsr(t0)), float(schedule.nsr(t1))
    if np.isinf(first):
        first = SNR0_AS
        if last >= first:
            raise InputError(
                f"`nsr_min` = {last:g} must be below {SNR0_AS:g} where the grid starts at SNR 0. Give a finite "
                "`nsr_max`."
            )
    inner = schedule.t_of_nsr(spacing(first, last, np.arange(1, steps) / steps))
    return _falling(np.concatenate([[t0], inner, [t1]]), steps)


def _ends(schedule: Schedule, nsr_min: float | None, nsr_max: float | None) -> tuple[float, float]:
    """(t of nsr_max, t of nsr_min); the schedule's own t_max and t_min where those are meant."""
    t0, t1 = _end(schedule, nsr_max, schedule.t_max), _end(schedule, nsr_min, schedule.t_min)
    if not 0 < schedule.nsr(t1) < schedule.nsr(t0):
        raise InputError(
            f"`nsr_min` = {schedule.nsr(t1):g} must be above 0 and below `nsr_max` = {schedule.nsr(t0):g}."
        )
    return t0, t1


def _end(schedule: Schedule, nsr: float | None, t: float) -> float:
    return t if nsr is None or nsr == schedule.nsr(t) else float(schedule.t_of_nsr(nsr))


def _count(steps: int) -> int:
    try:
        n = operator.index(steps)
    except TypeError:
        n = 0
    if n < 1 or isinstance(steps, bool):
        raise InputError(
            f"`steps` = {steps!r} must be a whole number, at least 1: it counts the intervals from noise to data."
        )
    return n


def _falling(t: Times, steps: int) -> Times:
    """float64 tells only so many times apart."""
    if not (np.diff(t) < 0).all():
        raise InputError(
            f"`steps` = {steps} is more than float64 can tell apart between t = {t[0]:g} and t = {t[-1]:g}. Take fewer "
            "steps."
        )
    return t
