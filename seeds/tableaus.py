r"""Exponential Runge-Kutta methods as data: numbers, sources, measured orders. No code that uses them.

A weight is keyed by (k, c'). With H = (1+eta) h it stands, in data mode and constant eta, for  weight * H phi_k(-c' H);
in noise mode, eta = 0, for the published table on x / sigma, weight * h phi_k(c' h);  in every other prediction and for
every eta(lam), for the moment of the same kernel on [lam0, lam0 + c' h], divided by c', for the state y / q in which F
has the same weight everywhere (D = p y + q F). So one table serves all of them, and SEEDS-k and ERK-k are the same
table, with and without noise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from seeds.errors import InputError

Weights = dict[tuple[int, float], float]


class Orders(NamedTuple):
    """Measured orders of convergence, held by seeds.laws: of the ODE limit (eta = 0), and weak (eta = 1; None: not an
    SDE method)."""

    ode: int
    weak: int | None


@dataclass(frozen=True)
class Tableau:
    """A one-step exponential method with s model calls.

    Attributes:
        c: (s,) position of each model call as a fraction of h; c[0] = 0, others in (0, 1].
        a: s rows, one for each later call and the last for the step; row i has a weight table for each of the calls it
            may read.
        orders: measured.
    Raises:
        ValueError: a constant F would not be integrated exactly, or a row reads a call that comes later.
    """

    name: str
    c: tuple[float, ...]
    a: tuple[tuple[Weights, ...], ...]
    orders: Orders

    def __post_init__(self):
        if self.c[0] != 0 or not all(0 < c <= 1 for c in self.c[1:]) or len(self.a) != len(self.c):
            raise InputError(
                f"Tableau {self.name!r}: positions must be 0, then in (0, 1], with a row for each, but c = {self.c}."
            )
        for i, (c, row) in enumerate(zip((*self.c[1:], 1.0), self.a, strict=True)):
            if len(row) > i + 1:
                raise InputError(
                    f"Tableau {self.name!r}, row {i} reads call {len(row) - 1}, but only calls 0..{i} are made by then."
                )
            for key in set().union(*row):
                got, want = sum(weights.get(key, 0.0) for weights in row), c if key == (1, c) else 0.0
                if abs(got - want) > 1e-12:
                    raise InputError(
                        f"Tableau {self.name!r}, row {i}: weights of phi_{key[0]} at c = {key[1]:g} add to {got:g}, "
                        f"not {want:g}: a constant F would not be integrated exactly."
                    )


def interpolate(c: float, nodes: Sequence[float]) -> tuple[Weights, ...]:
    """The row that ends at position c and replaces F by the polynomial through `nodes`: one weight table per node."""
    row = []
    for j, node in enumerate(nodes):
        others = [other for i, other in enumerate(nodes) if i != j]
        powers = np.polynomial.polynomial.polyfromroots(others) / math.prod(node - other for other in others)
        row.append(
            {
                (m + 1, c): float(power) * c ** (m + 1) * math.factorial(m)
                for m, power in enumerate(powers)
                if power != 0
            }
        )
    return tuple(row)


def order_1() -> Tableau:
    """SEEDS-1 and ERK-1: the exponential Euler method; DDIM as an ODE, DDPM's ancestral sampling as an SDE in data
    mode.

    Source: Gonzalez et al. 2023 (arXiv:2305.14267), SEEDS-1.
    """
    return Tableau("1", (0.0,), (interpolate(1.0, (0.0,)),), Orders(1, 1))


def order_2(
    variant: Annotated[str, "of the step: 2a, or 2b, which interpolates"] = "2a",
    r: Annotated[float, "position of the stage, in (0, 1]"] = 1 / 2,
) -> Tableau:
    """SEEDS-2 and ERK-2 with the stage at r.

    2a: the step has weights (1 - 1/(2r), 1/(2r)) on phi_1; 2b: it interpolates through {0, r} (r = 1 is the exponential
        Heun method).
    Source: Gonzalez et al. 2023 (arXiv:2305.14267), SEEDS-2; Hochbruck and Ostermann 2005 (doi:10.1137/040611434),
        (5.3) and (5.4).
    """
    if np.ndim(r) != 0 or isinstance(r, str) or not 0 < r <= 1:
        raise InputError(f"`r` of a two-stage method must be in (0, 1], but is {r}. The paper uses 1/2.")
    steps = {
        "2a": lambda: ({(1, 1.0): 1 - 1 / (2 * r)}, {(1, 1.0): 1 / (2 * r)}),
        "2b": lambda: interpolate(1.0, (0.0, r)),
    }
    return Tableau(variant, (0.0, r), (interpolate(r, (0.0,)), _choose(steps, variant)()), Orders(2, 2))


def order_3(
    variant: Annotated[str, "of the step: 3a, or 3b, which reads both stages"] = "3a",
    r: Annotated[tuple[float, float], "positions of the stages, each in (0, 1]"] = (1 / 3, 2 / 3),
) -> Tableau:
    """SEEDS-3 and ERK-3 with stages at r1 and r2: the second stage interpolates through {0, r1}; the step through {0,
    r2} (3a) or {0, r1, r2} (3b).

    r1 may lie behind r2, and 3a takes r1 = r2 too. ODE order 3 needs r2 = 2/3, other positions have 2; the weak order
    is 2 whatever the positions (the name is the authors').
    Source: Gonzalez et al. 2023 (arXiv:2305.14267), SEEDS-3; Hochbruck and Ostermann 2005, (5.8). Differs from the
        authors' code in data mode: there phi_2 of the second stage is formed at a mixture of r1 h and r2 h, does not
        vanish as h -> 0, and leaves weak order 1.
    """
    r1, r2 = r if np.shape(r) == (2,) else (math.nan, math.nan)
    if not (0 < r1 <= 1 and 0 < r2 <= 1) or (variant == "3b" and r1 == r2):
        apart = ", not equal," if variant == "3b" else ""
        raise InputError(
            f"`r` of a three-stage method must be (r1, r2){apart} each in (0, 1], but is {r}. The paper uses (1/3, "
            "2/3)."
        )
    through_r2 = interpolate(1.0, (0.0, r2))
    steps = {"3a": lambda: (through_r2[0], {}, through_r2[1]), "3b": lambda: interpolate(1.0, (0.0, r1, r2))}
    rows = (interpolate(r1, (0.0,)), interpolate(r2, (0.0, r1)), _choose(steps, variant)())
    return Tableau(variant, (0.0, r1, r2), rows, Orders(3 if abs(r2 - 2 / 3) < 1e-12 else 2, 2))


def order_4() -> Tableau:
    """ERK-4, five stages, and SEEDS-4, the same table with path noise.

    Source: Hochbruck and Ostermann 2005 (doi:10.1137/040611434), (5.19). Differs from the authors' code, which has two
        signs wrong (order 2).
    """
    half, one = 1 / 2, 1.0
    a52: Weights = {(2, half): 1 / 2, (3, one): -1.0, (2, one): 1 / 4, (3, half): -1 / 2}
    a54: Weights = {(2, half): 1 / 4 - 1 / 2, (3, one): 1.0, (2, one): -1 / 4, (3, half): 1 / 2}
    a51: Weights = {(1, half): 1 / 2, (2, half): -2 / 2 + 1 / 4, (3, one): 1.0, (2, one): -1 / 4, (3, half): 1 / 2}
    rows: tuple[tuple[Weights, ...], ...] = (
        ({(1, half): 1 / 2},),
        ({(1, half): 1 / 2, (2, half): -1.0}, {(2, half): 1.0}),
        ({(1, one): 1.0, (2, one): -2.0}, {(2, one): 1.0}, {(2, one): 1.0}),
        (a51, a52, a52, a54),
        (
            {(1, one): 1.0, (2, one): -3.0, (3, one): 4.0},
            {},
            {},
            {(2, one): -1.0, (3, one): 4.0},
            {(2, one): 4.0, (3, one): -8.0},
        ),
    )
    return Tableau("4", (0.0, half, half, one, half), rows, Orders(4, 2))


def _choose(steps: dict[str, Callable[[], tuple[Weights, ...]]], variant: str) -> Callable[[], tuple[Weights, ...]]:
    if variant not in steps:
        raise InputError(f"`variant` must be one of {', '.join(steps)}, but is {variant!r}.")
    return steps[variant]
