"""Measured orders of convergence of every solver, variant and prediction, by the laws of seeds.laws: exact, no Monte
Carlo.

python benchmarks/orders.py                  # one line for each solver, with the largest step: the tables of README and
                                             docs/rivals.md
python benchmarks/orders.py --all            # one line for each variant and prediction, with the weak orders on
                                             nonlinear models
"""

import argparse

from seeds.laws import Subject, gaussian_errors, largest_step, mixture_errors, ode_errors, skew_errors, slope, subjects


def orders(it: Subject) -> tuple[float, float | None]:
    """Of the ODE on the mixture, and weak on Gaussian data."""
    weak = slope(gaussian_errors(it.plan, **it.noisy)) if it.solver.orders(**it.options).weak else None
    return slope(ode_errors(it.plan)), weak


def nonlinear(it: Subject) -> str:
    """Weak orders where no linear model can stand for the data."""
    if it.solver.noise != "eta":
        return ""
    skew = slope(skew_errors(it.plan, **it.noisy))
    mixture = (
        ""
        if it.solver.memory or it.prediction != "data"
        else f"  mixture {slope(mixture_errors(it.plan, (64, 128), **it.noisy)):.2f}"
    )
    return f"  skew {skew:.2f}{mixture}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every variant and prediction")
    everything = parser.parse_args().all
    usual: dict[str, list[tuple[float, float | None]]] = {}
    solvers = {}
    for it in subjects():
        if it.options and not everything:
            continue
        ode, weak = orders(it)
        solvers[it.solver.name] = it.solver
        if not it.options:
            usual.setdefault(it.solver.name, []).append((ode, weak))
        if everything:
            print(f"{it!s:55} ODE {ode:.2f}  weak {'-' if weak is None else f'{weak:.2f}'}{nonlinear(it)}", flush=True)
    head = (
        "solver",
        "calls a step",
        "ODE order: declared, measured",
        "weak order: declared, measured",
        "largest step, ODE",
        "with noise",
    )
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for name, pairs in usual.items():
        declared = solvers[name].orders()
        own = Subject(solvers[name], prediction=solvers[name].prediction)
        per_step = own.plan(steps=1, schedule="edm", final="none").nfe
        ode, weak = (span([pair[k] for pair in pairs if pair[k] is not None]) for k in (0, 1))
        steps = (
            f"{largest_step(own.plan):.2f} | "
            f"{f'{largest_step(own.plan, **own.noisy):.2f}' if own.solver.noise else '-'}"
        )
        print(
            f"| `{name}` | {per_step} | {declared.ode}, {ode} | {f'{declared.weak}, {weak}' if declared.weak else '-'} "
            f"| {steps} |",
            flush=True,
        )


def span(values: list) -> str:
    """From the least to the largest."""
    if not values:
        return "-"
    return f"{min(values):.2f} to {max(values):.2f}" if max(values) - min(values) > 0.005 else f"{values[0]:.2f}"


if __name__ == "__main__":
    main()
