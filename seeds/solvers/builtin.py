"""The solvers of the package, a line each; their numbers are in seeds.tableaus, seeds.solvers.classic and
seeds.solvers.multistep."""

from collections.abc import Sequence

from seeds.solvers.classic import euler, euler_maruyama, two_stages
from seeds.solvers.multistep import adams, adams_orders
from seeds.solvers.registry import Cases, Solver, add, tableau_solver
from seeds.tableaus import Orders, Tableau, order_1, order_2, order_3, order_4


def _moved_2(positions: Sequence[float], variant: str, r: float) -> Tableau:
    return order_2(variant, positions[0]) if positions else order_1()


def _moved_3(positions: Sequence[float], variant: str, r: tuple[float, float]) -> Tableau:
    if len(positions) == 2:
        return order_3(variant, (positions[0], positions[1]))
    return order_2("2b", positions[0]) if positions else order_1()


CASES_2: Cases = (
    {},
    {"variant": "2b"},
    {"variant": "2a", "r": 0.8},
    {"variant": "2b", "r": 1.0},
    {"variant": "2b", "r": 0.3},
)
CASES_3: Cases = (
    {},
    {"variant": "3b"},
    {"variant": "3a", "r": (0.25, 0.8)},
    {"variant": "3b", "r": (0.5, 1.0)},
    {"variant": "3b", "r": (0.4, 2 / 3)},
    {"variant": "3a", "r": (0.8, 2 / 3)},
)
CASES_RK_1: Cases = ({}, {"variable": "t"})
CASES_RK_2: Cases = ({}, {"r": 1 / 2}, {"r": 2 / 3}, {"variable": "t"}, {"variable": "t", "r": 1 / 2})
CASES_ADAMS: Cases = (
    {},
    {"k": 1, "corrector": 2},
    {"k": 3, "corrector": 3, "variable": "nsr^0.45"},
    {"k": 3, "corrector": 4, "variable": "index"},
    {"k": 3, "corrector": 4, "variable": "nsr", "startup": "singlestep"},
    {"k": 2, "variable": "t", "lower_order_final": True},
)
CHURN = {"S_churn": 5.0}
TWO, THREE, FOUR = (
    "stage at r = 1/2; variants 2a, 2b",
    "stages at r = (1/3, 2/3); variants 3a, 3b",
    "five stages (Hochbruck and Ostermann 2005)",
)
HEUN = "Heun (EDM), midpoint r = 1/2, Ralston r = 2/3; with EDM's churn"

add(tableau_solver("seeds-1", order_1, 1.0, note="exponential Euler: DDPM ancestral in data mode", twin="erk-1"))
add(tableau_solver("seeds-2", order_2, 1.0, CASES_2, _moved_2, TWO, "erk-2"))
add(tableau_solver("seeds-3", order_3, 1.0, CASES_3, _moved_3, THREE, "erk-3"))
add(tableau_solver("seeds-4", order_4, 1.0, note=FOUR, twin="erk-4"))
add(tableau_solver("erk-1", order_1, 0.0, note="exponential Euler: DDIM", twin="seeds-1"))
add(tableau_solver("erk-2", order_2, 0.0, CASES_2, _moved_2, TWO, "seeds-2"))
add(tableau_solver("erk-3", order_3, 0.0, CASES_3, _moved_3, THREE, "seeds-3"))
add(tableau_solver("erk-4", order_4, 0.0, note=FOUR, twin="seeds-4"))
add(
    Solver(
        "rk-1",
        euler,
        Orders(1, 1),
        noise="churn",
        noisy=CHURN,
        interpolates=False,
        cases=CASES_RK_1,
        note="Euler in nsr, with EDM's churn",
    )
)
add(
    Solver(
        "rk-2", two_stages, Orders(2, 2), noise="churn", noisy=CHURN, interpolates=False, cases=CASES_RK_2, note=HEUN
    )
)
add(
    Solver(
        "euler-maruyama",
        euler_maruyama,
        Orders(1, 1),
        noise="eta",
        eta=1.0,
        interpolates=False,
        note="the textbook SDE method, in nsr",
    )
)
add(
    Solver(
        "adams",
        adams,
        adams_orders,
        noise="eta",
        memory=True,
        cases=CASES_ADAMS,
        note="exponential Adams of the last k values, with a corrector; the ODE unless eta is given",
    )
)
