"""Measured orders of convergence of every solver, variant and prediction, by the laws of tests/laws: exact, no Monte Carlo.

python benchmarks/orders.py                  # one line for each solver: the table of README
python benchmarks/orders.py --all            # one line for each variant and prediction
"""

import argparse
import sys
from pathlib import Path

import seeds
from seeds.solvers import SOLVERS

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "laws"))
from laws import WITH_PREDICTIONS, gaussian_errors, ode_errors, slope, solved_flow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every variant and prediction")
    everything = parser.parse_args().all
    reference, found = solved_flow(), {}
    for name, case, form in WITH_PREDICTIONS:
        solver = SOLVERS[name]
        ode = slope(ode_errors(seeds.plan, name, reference, prediction=form, eta=0.0, **case))
        weak = slope(gaussian_errors(seeds.plan, name, prediction=form, **case, **solver.noisy)) if solver.orders(**case).weak else None
        found.setdefault(name, []).append((ode, weak))
        if everything:
            print(f"{name:15} {form:8} {case or 'default'!s:40} ODE {ode:.2f}  weak {'-' if weak is None else f'{weak:.2f}'}", flush=True)
    print("| solver | calls a step | ODE order: declared, measured | weak order: declared, measured |\n|---|---|---|---|")
    for name, pairs in found.items():
        default = SOLVERS[name].orders()
        per_step = seeds.plan(name, steps=1, schedule="edm", final="none").nfe
        kept = [pair for pair, (_, case, _) in zip(pairs, (it for it in WITH_PREDICTIONS if it[0] == name), strict=True) if not case]
        spans = [
            f"{min(v):.2f} to {max(v):.2f}" if max(v) - min(v) > 0.005 else f"{v[0]:.2f}"
            for v in zip(*kept, strict=True)
            if v[0] is not None
        ]
        print(f"| `{name}` | {per_step} | {default.ode}, {spans[0]} | {f'{default.weak}, {spans[1]}' if default.weak else '-'} |")


if __name__ == "__main__":
    main()
