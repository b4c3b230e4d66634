"""The solvers by name. A solver writes a plan; it never sees a state. One added to SOLVERS is tested by tests/laws without another line.

A builder is called as `build(write, levels, prediction=..., eta=..., **options)` and writes its rows (docs/write-a-solver.md). The step that leaves
SNR 0 and the final denoise are written for it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seeds.integrals import Eta
from seeds.names import lookup
from seeds.predictions import Prediction
from seeds.solvers.classic import euler_maruyama, runge_kutta
from seeds.solvers.levels import Levels
from seeds.solvers.singlestep import singlestep
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders, Tableau, order_1, order_2, order_3, order_4

Cases = Sequence[Mapping[str, Any]]

__all__ = ["SOLVERS", "Levels", "Orders", "Solver", "Writer", "add", "find_solver", "tableau_solver"]


@dataclass(frozen=True)
class Solver:
    """A builder of plans with what is known about it.

    Attributes:
        name: as users say it.
        build: writes the rows.
        orders: measured orders for given options, as `orders(variant="2b", r=0.7)`.
        eta: the stochasticity when none is asked for; 0 marks an ODE method, which takes no other.
        options: names of the options it takes.
        cases: options under which the laws test it, the default first.
        interpolates: the prediction matters to it.
        note: one line for the tables of docs and `seeds info`.
    """

    name: str
    build: Callable[..., None]
    orders: Callable[..., Orders]
    eta: float
    options: tuple[str, ...] = ()
    cases: Cases = ({},)
    interpolates: bool = True
    churn: Mapping[str, Any] | None = None
    """Options that switch on noise of another kind than eta, for the law of weak order."""
    tableau: Callable[..., Tableau] | None = None
    """The family of tableaus it is compiled from, if it is."""
    note: str = ""


SOLVERS: dict[str, Solver] = {}


def add(solver: Solver) -> None:
    """Registers a solver under its name."""
    SOLVERS[solver.name] = solver


def find_solver(name: str) -> Solver:
    """The solver of that name.

    Raises: ValueError that lists the near names.
    """
    return lookup("solver", name, SOLVERS)


def tableau_solver(
    name: str,
    family: Callable[..., Tableau],
    eta: float,
    cases: Cases = ({},),
    at: Callable[..., Tableau] | None = None,
    note: str = "",
) -> Solver:
    """A solver from a family of tableaus: `family(**options)` gives the table, `at(positions, **options)` the one for moved stages."""

    def build(write: Writer, levels: Levels, prediction: Prediction, eta: Eta, **options: Any) -> None:
        moved = None if at is None else lambda positions: at(positions, **options)
        singlestep(write, levels, prediction, eta, family(**options), moved)

    def orders(**options: Any) -> Orders:
        measured = family(**options).orders
        return measured if eta else measured._replace(weak=None)

    return Solver(name, build, orders, eta, tuple(inspect.signature(family).parameters), cases, tableau=family, note=note)


def _moved_2(positions: Sequence[float], variant: str = "2a", r: float = 1 / 2) -> Tableau:
    return order_2(variant, positions[0]) if positions else order_1()


def _moved_3(positions: Sequence[float], variant: str = "3a", r: tuple[float, float] = (1 / 3, 2 / 3)) -> Tableau:
    if len(positions) == 2:
        return order_3(variant, (positions[0], positions[1]))
    return order_2("2b", positions[0]) if positions else order_1()


_CASES_2: Cases = ({}, {"variant": "2b"}, {"variant": "2a", "r": 0.8}, {"variant": "2b", "r": 1.0}, {"variant": "2b", "r": 0.3})
_CASES_3: Cases = (
    {},
    {"variant": "3b"},
    {"variant": "3a", "r": (0.25, 0.8)},
    {"variant": "3b", "r": (0.5, 1.0)},
    {"variant": "3b", "r": (0.4, 2 / 3)},
)

for _prefix, _eta in (("seeds", 1.0), ("erk", 0.0)):
    add(tableau_solver(f"{_prefix}-1", order_1, _eta, note="exponential Euler: " + ("DDPM ancestral in data mode" if _eta else "DDIM")))
    add(tableau_solver(f"{_prefix}-2", order_2, _eta, _CASES_2, _moved_2, note="stage at r = 1/2; variants 2a, 2b"))
    add(tableau_solver(f"{_prefix}-3", order_3, _eta, _CASES_3, _moved_3, note="stages at r = (1/3, 2/3); variants 3a, 3b"))
    add(tableau_solver(f"{_prefix}-4", order_4, _eta, note="five stages (Hochbruck and Ostermann 2005)"))


def _runge_kutta(stages: int) -> Callable[..., None]:
    def build(write: Writer, levels: Levels, prediction: Prediction, eta: Eta, **options: Any) -> None:
        runge_kutta(write, levels, stages=stages, **options)

    return build


def _euler_maruyama(write: Writer, levels: Levels, prediction: Prediction, eta: Eta) -> None:
    euler_maruyama(write, levels, eta)


_RK = ("S_churn", "S_min", "S_max", "variable")
_RK_1: dict[str, Any] = {"cases": ({}, {"variable": "t"}), "note": "Euler in nsr, with EDM's churn"}
_RK_2: dict[str, Any] = {
    "cases": ({}, {"r": 1 / 2}, {"r": 2 / 3}, {"variable": "t"}, {"variable": "t", "r": 1 / 2}),
    "note": "Heun (EDM), midpoint r = 1/2, Ralston r = 2/3; with EDM's churn",
}
for _name, _stages, _options, _rest in (("rk-1", 1, _RK, _RK_1), ("rk-2", 2, ("r", *_RK), _RK_2)):
    _orders = Orders(_stages, _stages)
    add(
        Solver(_name, _runge_kutta(_stages), lambda _o=_orders, **_: _o, 0.0, _options, interpolates=False, churn={"S_churn": 5.0}, **_rest)
    )
add(Solver("euler-maruyama", _euler_maruyama, lambda **_: Orders(1, 1), 1.0, interpolates=False, note="the textbook SDE method, in nsr"))
