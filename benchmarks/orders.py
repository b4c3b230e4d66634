"""Measured orders of convergence, and the largest step, of every solver, variant and prediction, by the laws: exact.

python benchmarks/orders.py            # the two tables of docs/rivals.md: every solver, and points of adams
python benchmarks/orders.py --write    # puts them there
python benchmarks/orders.py --all      # a line for each variant and prediction, with weak orders on nonlinear models

Linear is Gaussian data, nonlinear a mixture for the ODE and a third cumulant for the weak order. A span is over
predictions.
"""

import argparse
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seeds.laws import (
    Subject,
    gaussian_errors,
    largest_step,
    mixture_errors,
    ode_errors,
    quiet_errors,
    skew_errors,
    slope,
    subjects,
)
from seeds.solvers import SOLVERS

PAGE = Path(__file__).parents[1] / "docs" / "rivals.md"
BELOW_03: Any = [(-math.inf, 0.0), (-math.log(0.3), 2.0)]
"""Noise where it repairs a network: eta 2 below nsr 0.3."""
POINTS = [
    {"k": k, "corrector": corrector, "variable": variable}
    for k, corrector in ((2, 0), (2, 2), (2, 3), (3, 0), (3, 2), (3, 3), (3, 4))
    for variable in ("lam", "nsr^0.3", "nsr^0.45")
]
SOLVER_HEAD = (
    "solver", "calls a step", "ODE order", "nonlinear", "linear", "weak order", "nonlinear", "linear",
    "largest step, ODE", "with noise",
)  # fmt: skip
POINT_HEAD = (
    "k", "corrector", "u", "ODE order", "nonlinear", "linear", "weak order", "eta 1: nonlinear", "linear",
    "eta 2 below nsr .3: nonlinear", "linear", "largest step, ODE", "eta 1", "eta 2 below nsr .3",
)  # fmt: skip


class Measured(NamedTuple):
    """Orders of one subject, of the ODE and weak, on nonlinear and on linear models; None where there is none."""

    ode: float
    ode_linear: float
    weak: float | None
    weak_linear: float | None


def orders(it: Subject) -> Measured:
    ode = map(slope, quiet_errors(it.plan))
    if not it.solver.orders(**it.options).weak:
        return Measured(*ode, None, None)
    third = slope(skew_errors(it.plan, **it.noisy)) if it.solver.noise == "eta" else None
    return Measured(*ode, third, slope(gaussian_errors(it.plan, **it.noisy)))


def solver_rows() -> Iterator[list[str]]:
    """Every solver by itself, in the predictions in which the laws ask it."""
    usual = [it for it in subjects() if not it.options]
    for name, solver in SOLVERS.items():
        declared = solver.orders()
        own = Subject(solver, prediction=solver.prediction)
        columns = zip(*(orders(it) for it in usual if it.solver.name == name), strict=True)
        ode, ode_linear, weak, weak_linear = map(span, columns)
        steps = f"{largest_step(own.plan):.2f}", f"{largest_step(own.plan, **own.noisy):.2f}" if solver.noise else "-"
        calls = own.plan(steps=1, schedule="edm", final="none").nfe
        yield [
            f"`{name}`",
            str(calls),
            str(declared.ode),
            ode,
            ode_linear,
            str(declared.weak or "-"),
            weak,
            weak_linear,
            *steps,
        ]


def point_rows() -> Iterator[list[str]]:
    """Points of the family that matter, in the data, without noise, with noise everywhere, and with a table of it."""
    for options in POINTS:
        it, declared = Subject(SOLVERS["adams"], options), SOLVERS["adams"].orders(**options)
        ode, ode_linear = map(slope, quiet_errors(it.plan))
        weak = [slope(errors(it.plan, eta=eta)) for eta in (1.0, BELOW_03) for errors in (skew_errors, gaussian_errors)]
        steps = [largest_step(it.plan, eta=eta) for eta in (0.0, 1.0, BELOW_03)]
        numbers = [f"{value:.2f}" for value in (ode, ode_linear, *weak, *steps)]
        yield [*map(str, options.values()), str(declared.ode), *numbers[:2], str(declared.weak), *numbers[2:]]


def span(values: Iterable[float | None]) -> str:
    """From the least to the largest."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{min(known):.2f} to {max(known):.2f}" if max(known) - min(known) > 0.005 else f"{known[0]:.2f}"


def printed(head: tuple[str, ...], rows: Iterable[list[str]]) -> str:
    """The table, each line shown as it is measured."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    print("\n".join(lines))
    for row in rows:
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def everything() -> None:
    """One line for each variant and prediction."""
    for it in subjects():
        ode = slope(ode_errors(it.plan))
        weak = f"{slope(gaussian_errors(it.plan, **it.noisy)):.2f}" if it.solver.orders(**it.options).weak else "-"
        more = f"  skew {slope(skew_errors(it.plan, **it.noisy)):.2f}" if it.solver.noise == "eta" else ""
        if more and it.prediction == "data" and not it.solver.memory:
            more += f"  mixture {slope(mixture_errors(it.plan, (64, 128), **it.noisy)):.2f}"
        print(f"{it!s:55} ODE {ode:.2f}  weak {weak}{more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every variant and prediction")
    parser.add_argument("--write", action="store_true", help="puts the tables into docs/rivals.md")
    given = parser.parse_args()
    if given.all:
        return everything()
    tables = {"solvers": printed(SOLVER_HEAD, solver_rows()), "adams": printed(POINT_HEAD, point_rows())}
    if given.write:
        text = PAGE.read_text()
        for name, table in tables.items():
            text = re.sub(
                f"(<!-- measured: {name} -->\n).*?(<!-- end -->)",
                lambda found, table=table: found[1] + table + found[2],
                text,
                flags=re.DOTALL,
            )
        PAGE.write_text(text)
    return None


if __name__ == "__main__":
    main()
