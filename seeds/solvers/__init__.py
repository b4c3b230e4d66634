"""The solvers: a registry (registry.py), the built-in entries (builtin.py), and the builders that write plans for them
(docs/write-a-solver.md)."""

from seeds.solvers import builtin as builtin
from seeds.solvers import rivals as rivals
from seeds.solvers.levels import Levels
from seeds.solvers.registry import SOLVERS, Option, Solver, add, find_solver, tableau_solver
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders

__all__ = ["SOLVERS", "Levels", "Option", "Orders", "Solver", "Writer", "add", "find_solver", "tableau_solver"]
