"""The variable u(lam) that a multistep method's polynomials are in, by name (theory section 10). NumPy only.

    lam        half log-SNR
    nsr^p      exp(-p lam), as nsr^0.45; nsr is nsr^1
    t          the time of the schedule
    vp_t       the time of VP with betas 0.1 to 20, whatever the schedule: DEIS'
    index      the number of the level in the run's grid, counted from its start; straight in lam between levels

Any u that rises or falls strictly will do: it decides the error at few model calls, never the order.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from seeds.errors import InputError

Variable = Callable[[np.ndarray], np.ndarray]
NAMES = ("lam", "nsr", "nsr^p", "t", "vp_t", "index")
BETA_D, BETA_MIN = 19.9, 0.1
"""Of VP: alpha^2 = exp(-b), b = BETA_D t^2 / 2 + BETA_MIN t."""


class HasTimes(Protocol):
    """What a schedule says of times."""

    def t_of_lam(self, lam: np.ndarray) -> np.ndarray:
        """The time at which `lam` is reached."""

    def lam(self, t: np.ndarray) -> np.ndarray:
        """Half log-SNR at t."""


def variable(name: str, schedule: HasTimes, lam: np.ndarray) -> Variable | None:
    """u(lam) of that name; None for lam itself.

    Args:
        name: "lam", "nsr", "nsr^0.45" (any power but 0), "t", "vp_t" or "index".
        schedule: whose time "t" is.
        lam: (N + 1,) levels of the run, rising: what "index" counts.
    Raises: ValueError if there is no such variable.
    """
    if name == "lam":
        return None
    if name == "t":
        return schedule.t_of_lam
    if name == "vp_t":
        return _vp_t
    if name == "index":
        return lambda at: np.interp(at, lam, np.arange(len(lam), dtype=np.float64))
    power = power_of(name)
    if power is None:
        raise InputError(
            f"`variable` must be one of {', '.join(NAMES)}, with a number for p, but is {name!r}. As in 'nsr^0.45'."
        )
    return lambda at: np.exp(-power * at)


def inverse(name: str, schedule: HasTimes) -> Variable | None:
    """lam(u) of the variable of that name; None for lam itself, and for "index", which is linear in lam within a
    step."""
    if name in ("lam", "index"):
        return None
    if name == "t":
        return schedule.lam
    if name == "vp_t":
        return _vp_lam
    power = power_of(name)
    assert power is not None, f"`variable` knows {name!r}"
    return lambda u: -np.log(u) / power


def _vp_t(lam: np.ndarray) -> np.ndarray:
    b = np.logaddexp(0.0, -2 * lam)
    return 2 * b / (BETA_MIN + np.sqrt(BETA_MIN**2 + 2 * BETA_D * b))


def _vp_lam(t: np.ndarray) -> np.ndarray:
    b = (BETA_D / 2 * t + BETA_MIN) * t
    return -(b + np.log(-np.expm1(-b))) / 2


def power_of(name: str) -> float | None:
    """p of "nsr^p"; None if the name is no such power."""
    base, _, power = str(name).partition("^")
    try:
        value = 1.0 if name == "nsr" else float(power)
    except ValueError:
        return None
    return value if base == "nsr" and value != 0 and math.isfinite(value) else None
