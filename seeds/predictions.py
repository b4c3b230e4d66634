r"""Predictions: what a solver interpolates, and what a network was trained to output. Two separate choices, all affine
in each other.

With y = x / alpha and nsr = sigma / alpha, a quantity F stands for the denoised value as  D = p(nsr) y + q(nsr) F.  The
solver solves the linear part p y exactly and interpolates F. NumPy only: host-side float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seeds.errors import InputError
from seeds.names import resolve
from seeds.plans import Point

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Prediction:
    """A quantity F with D = p y + q F, as functions of nsr."""

    name: str
    p: Curve
    p1: Curve
    """1 - p, without the cancellation."""
    q: Curve


def data() -> Prediction:
    """F = D: the paper's data prediction (DP)."""
    return Prediction("data", np.zeros_like, np.ones_like, np.ones_like)


def noise() -> Prediction:
    """F = eps = (y - D) / nsr: the paper's noise prediction (NP)."""
    return Prediction("noise", np.ones_like, np.zeros_like, lambda nsr: -nsr)


def v() -> Prediction:
    """F = (eps - nsr data) / sqrt(1 + nsr^2)."""
    return Prediction(
        "v",
        lambda nsr: 1 / (1 + nsr**2),
        lambda nsr: nsr**2 / (1 + nsr**2),
        lambda nsr: -nsr / np.sqrt(1 + nsr**2),
    )


def flow() -> Prediction:
    """F = eps - data."""
    return Prediction("flow", lambda nsr: 1 / (1 + nsr), lambda nsr: nsr / (1 + nsr), lambda nsr: -nsr / (1 + nsr))


def edm_raw(sd: float = 0.5) -> Prediction:
    """F of EDM's preconditioned network for data of standard deviation sd (Karras et al. 2022, arXiv:2206.00364, Table
    1)."""
    if not (math.isfinite(sd) and sd > 0):
        raise InputError(
            f"`sd`, the standard deviation of the data, must be positive and finite, but is {sd}. EDM's networks use "
            "0.5."
        )
    return Prediction(
        "edm_raw",
        lambda nsr: sd**2 / (nsr**2 + sd**2),
        lambda nsr: nsr**2 / (nsr**2 + sd**2),
        lambda nsr: nsr * sd / np.sqrt(nsr**2 + sd**2),
    )


PREDICTIONS: dict[str, Callable[..., Prediction]] = {
    "data": data,
    "noise": noise,
    "v": v,
    "flow": flow,
    "edm_raw": edm_raw,
}

OUTPUTS = (*PREDICTIONS, "score")
"""What a network may have been trained to output: what a solver can interpolate, and the score, grad log p(x)."""


def output_name(name: str) -> str:
    """The name in `OUTPUTS` of an output that may have another elsewhere ("epsilon", "x0", "v_prediction").

    Raises: ValueError if there is no such output, or if the word has two meanings ("velocity").
    """
    try:
        return resolve("output", name, dict.fromkeys(OUTPUTS))
    except ValueError as error:
        raise InputError(f"`output` = {name!r}: {error} `check_model` helps to find out which.") from None


class Affine(NamedTuple):
    """How a network's output F becomes a denoised value: the network is given `scale` x, and D = skip x + out F."""

    scale: float
    skip: float
    out: float


def output(name: str, at: Point, sd: float = 0.5) -> Affine:
    """The affine map of a network trained to output `name`, at one level.

    As an output, `v` is alpha eps - sigma data with the schedule's own alpha and sigma (as the interpolated quantity it
    is `v()` above), and the score is that of the schedule's own x, E[-eps / sigma | x].

    Raises: ValueError if `name` is unknown, or is "noise" or "score" at SNR 0, where eps says nothing about the data.
    """
    _, alpha, sigma = at
    if name == "data":
        return Affine(1.0, 0.0, 1.0)
    if name in ("noise", "score"):
        if alpha == 0:
            raise InputError(
                f"A network with output {name!r} cannot say D at SNR 0 (alpha = 0): there x is noise whatever the "
                "data. Start at a level with alpha > 0, as start=('nsr', 100), or use a network with output 'v', "
                "'flow' or 'data'."
            )
        return Affine(1.0, 1 / alpha, (-sigma if name == "noise" else sigma * sigma) / alpha)
    if name == "v":
        norm = alpha**2 + sigma**2
        return Affine(1.0, alpha / norm, -sigma / norm)
    if name == "flow":
        return Affine(1.0, 1 / (alpha + sigma), -sigma / (alpha + sigma))
    if name == "edm_raw":
        norm = math.hypot(sigma, sd * alpha)
        return Affine(1 / norm, sd**2 * alpha / norm**2, sigma * sd / norm)
    raise InputError(f"`output` must be one of {', '.join(OUTPUTS)}, but is {name!r}.")
