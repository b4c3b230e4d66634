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
    given: Mapping[str, Any],
    options: Sequence[str] = (),
    *,
    cases: Cases = ({},),
    also: Callable[..., Mapping[str, Any]] = dict,
    prediction: str = "data",
    **more: Any,
) -> Solver:
    """Registers `adams` with these arguments under a name of its own.

    Args:
        given: the arguments of `adams` that make the method.
        options: those of them that remain options of the solver, with `given` as their defaults.
        also: further arguments of `adams`, from those chosen.
        cases, prediction, more: as for Solver; the laws ask it in its own prediction.
    """

    def arguments(own: Mapping[str, Any]) -> dict[str, Any]:
        chosen = dict(given) | dict(own)
        return chosen | dict(also(**chosen))

    def build(write: Writer, levels: Levels, prediction: Prediction, eta: Eta, **own: Any) -> None:
        adams(write, levels, prediction, eta, **arguments(own))

    signature = inspect.signature(adams)
    kept = [
        it.replace(default=given.get(key, it.default))
        for key, it in signature.parameters.items()
        if key in HANDED or key in options
    ]
    build.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    build.__annotations__ = adams.__annotations__
    fixed = {key: value for key, value in given.items() if key not in options}
    settings: dict[str, Any] = {"memory": given.get("k") != 1, "noise": "eta", "forms": (prediction,), "fixed": fixed}
    settings |= more

    def order(**own: Any) -> Orders:
        measured = adams_orders(**arguments(own))
        return measured if settings["noise"] else measured._replace(weak=None)

    return add(Solver(name, build, order, cases=cases, prediction=prediction, **settings))
