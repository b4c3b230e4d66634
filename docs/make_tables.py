"""Writes the tables of docs/ that come from the code, or from docs/data, between their markers.

    python -m docs.make_tables

The tests hold the pages to what this makes.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import seeds
from benchmarks.rule import report
from seeds import auto
from seeds.solvers import Solver

HERE = Path(__file__).parent
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: str, rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table; `head` has its titles, with | between."""
    titles = head.split("|")
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(cell.strip() for cell in line) + " |\n" for line in lines)


def solvers() -> str:
    """One line for each solver, as SOLVERS has it, but for the rivals."""
    head = "name|calls per step|options|ODE order|weak order|note"
    return table(head, (_solver(solver) for solver in seeds.SOLVERS.values() if not solver.source))


def rivals() -> str:
    """One line for each solver that others published."""
    head = "name|calls per step|options|ODE order|weak order|eta|grid|note|source"
    return table(head, (_rival(solver) for solver in seeds.SOLVERS.values() if solver.source))


def _rival(solver: Solver) -> tuple[str, ...]:
    name, calls, _, ode, weak, note = _solver(solver)
    options = (
        ", ".join(f"`{name}`" for name in solver.options if not name.startswith("S_") or solver.noise == "churn") or "-"
    )
    eta = (
        "-"
        if solver.noise != "eta"
        else "a function"
        if callable(solver.eta)
        else "a table"
        if solver.eta and np.ndim(solver.eta)
        else f"{solver.eta:g}"
    )
    said = f"{note}; interpolates {solver.prediction}" if solver.interpolates and solver.prediction != "data" else note
    return name, calls, options, ode, weak, eta, solver.grid, said, solver.source


def differences() -> str:
    """What differs from the published code, of each rival that has such a thing."""
    return table("name|what differs", ((f"`{it.name}`", it.differs) for it in seeds.SOLVERS.values() if it.differs))


def _solver(solver: Solver) -> tuple[str, ...]:
    calls = seeds.plan(solver.name, steps=2, schedule="edm", final="none", **solver.quiet).nfe // 2
    options = ", ".join(f"`{name}`" for name in solver.options) or "-"
    if solver.noise == "eta":
        options = "`eta`" if options == "-" else f"`eta`, {options}"
    return f"`{solver.name}`", str(calls), options, _order(solver, "ode"), _order(solver, "weak"), solver.note


def _order(solver: Solver, kind: str) -> str:
    """The order of the default, and of each tested case that has another."""
    orders = {_case(case): getattr(solver.orders(**case), kind) for case in solver.cases}
    usual = getattr(solver.orders(), kind)
    others = "".join(f"; {order} at {case}" for case, order in orders.items() if order != usual)
    return ("-" if usual is None else str(usual)) + others


def _case(case: Any) -> str:
    return ", ".join(f"`{name} = {_value(value)}`" for name, value in case.items() if name != "variant")


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_value, value)) + ")"
    return str(Fraction(value).limit_denominator(10)) if isinstance(value, float) else str(value)


def schedules() -> str:
    """The default ends of each schedule."""
    return table("name|class|t, noisy end to clean end|nsr, noisy end to clean end", _schedules())


def _schedules() -> Iterator[tuple[str, ...]]:
    for name, kind in seeds.SCHEDULES.items():
        own = seeds.Discrete.linear() if kind is seeds.Discrete else kind()
        example = " (DDPM's table: `Discrete.linear()`)" if kind is seeds.Discrete else ""
        t, nsr = (own.t_max, own.t_min), (own.nsr(own.t_max), own.nsr(own.t_min))
        yield f"`{name}`", f"`{kind.__name__}`{example}", "{:g} to {:g}".format(*t), "{:.4g} to {:.4g}".format(*nsr)


def grids() -> str:
    """The ends of each grid on two schedules, by nsr."""
    return table("grid|on EDM, 10 steps|on VP, 10 steps", _grids())


def _grids() -> Iterator[tuple[str, ...]]:
    for name, build in seeds.GRIDS.items():
        ends = [schedule.nsr(build(schedule, 10)) for schedule in (seeds.EDM(), seeds.VP())]
        yield f"`{name}`", *(f"{nsr[0]:.5g}, {nsr[1]:.4g} ... {nsr[-2]:.4g}, {nsr[-1]:.4g}" for nsr in ends)


def rule() -> str:
    """The rule of the default, a line for each of its rows."""
    return table("aim|from calls|first level|last call at|then|u|k|corrector|steps|eta", _rule())


def _rule() -> Iterator[tuple[str, ...]]:
    for aim, rows in auto.RULE.items():
        for calls, it in rows:
            end = f"a step to {it.finish:g}" if it.finish else "denoise"
            steps = "equal" if it.shape == (1, 1, 1) else ", ".join(f"{part:g}" for part in it.shape)
            levels = f"{it.nsr_max:g}", f"{it.nsr_min:g}"
            yield aim, str(calls), *levels, end, it.variable, str(it.k), str(it.corrector), steps, _eta(it.eta)


def _eta(eta: Any) -> str:
    """A number, or a table of one value below a level and another above."""
    if not np.ndim(eta):
        return f"{eta:g}"
    (_, above), (lam, below) = eta
    return f"{below:g} below nsr {np.exp(-lam):g}" + (f", {above:g} above" if above else "")


def measured(model: str) -> list[dict[str, Any]]:
    """What `benchmarks.rule` has of a model: a row for each number of calls and change of the rule."""
    return json.loads((HERE / "data" / f"rule-{model}.json").read_text())["rows"]


def evidence(model: str) -> str:
    """Every change of the rule, on one model."""
    return report(sorted(measured(model), key=lambda row: row["nfe"]))


def dimensions() -> str:
    """Changes of the rule in few dimensions, by sliced W2."""
    return table(
        "model|calls|the rule|no noise|eta 1, eta 4 below 0.3|u = lam|start at zero|the best single change",
        _dimensions(),
    )


def _dimensions() -> Iterator[tuple[str, ...]]:
    models = {
        "plane": "two dimensions, exact",
        "plane-learned": "two dimensions, network",
        "small": "32 dimensions, exact",
        "small-learned": "32 dimensions, network",
    }
    for model, title in models.items():
        rows = measured(model)
        for nfe in (4, 6, 10, 20):
            found = {row["change"]: row["sliced W2"] for row in rows if row["nfe"] == nfe}
            best = min(found, key=found.__getitem__)

            def of(change: str, found: dict[str, float] = found) -> str:
                return f"{found.get(change, found['the rule']):.3f}"

            noise = ", ".join(of(f"eta {eta} below 0.3") for eta in (1, 4))
            others = of("polynomials in lam"), of("start at zero"), f"{best}: {found[best]:.3f}"
            yield title, str(nfe), of("the rule"), of("no noise"), noise, *others


TABLES: dict[str, Callable[[], str]] = {
    "solvers": solvers,
    "rivals": rivals,
    "differences": differences,
    "schedules": schedules,
    "grids": grids,
    "rule": rule,
    "evidence_mixture": functools.partial(evidence, "mixture"),
    "evidence_unet": functools.partial(evidence, "unet"),
    "evidence_emoji": functools.partial(evidence, "emoji"),
    "dimensions": dimensions,
}


def renewed(page: str) -> str:
    """The text of a page with its tables made anew."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], page)


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.md")):
        path.write_text(renewed(path.read_text()))
