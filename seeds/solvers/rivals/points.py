"""How a published method is named: as a point of the family of `adams`, which is some of its arguments."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seeds.integrals import Eta
from seeds.predictions import Prediction
from seeds.solvers.levels import Levels
from seeds.solvers.multistep import adams, adams_orders
from seeds.solvers.registry import HANDED, Cases, Solver, add
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders


def point(
    name: str,
    values: Mapping[str, Any],
    options: Sequence[str] = (),
    *,
    cases: Cases = ({},),
    also: Callable[..., Mapping[str, Any]] = dict,
    prediction: str = "data",
    **more: Any,
) -> Solver:
    """Registers `adams` with these arguments under a name of its own.

    Args:
        values: the arguments of `adams` that make the method.
        options: those of them that remain options of the solver, with `values` as their defaults.
        also: further arguments of `adams`, from these.
        cases, prediction, more: as for Solver; the laws ask it in its own prediction.
    """

    def arguments(own: Mapping[str, Any]) -> dict[str, Any]:
        every = dict(values) | dict(own)
        return every | dict(also(**every))

    def build(write: Writer, levels: Levels, prediction: Prediction, eta: Eta, **own: Any) -> None:
        adams(write, levels, prediction, eta, **arguments(own))

    signature = inspect.signature(adams)
    parameters = [
        it.replace(default=values.get(key, it.default))
        for key, it in signature.parameters.items()
        if key in HANDED or key in options
    ]
    build.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    build.__annotations__ = adams.__annotations__
    constants = {key: value for key, value in values.items() if key not in options}
    settings: dict[str, Any] = {
        "memory": values.get("k") != 1,
        "noise": "eta",
        "forms": (prediction,),
        "fixed": constants,
    }
    settings |= more

    def order(**own: Any) -> Orders:
        orders = adams_orders(**arguments(own))
        return orders if settings["noise"] else orders._replace(weak=None)

    return add(Solver(name, build, order, cases=cases, prediction=prediction, **settings))
