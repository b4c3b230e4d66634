"""ER-SDE-Solver: Taylor's polynomial in nsr by backward differences, and a little noise at high levels."""

import math

from seeds.solvers.rivals.points import point


def eta(lam: float) -> float:
    """1 + eta = d log phi / d log nsr of its noise scale phi = nsr (exp(nsr^0.3) + 10): 0.3 nsr^0.3 E / (E + 10), E =
    exp(nsr^0.3)."""
    power = math.exp(-0.3 * lam)
    return 0.3 * power / (1 + 10 * math.exp(-power))


for order in (1, 2, 3):
    point(f"er-sde-{order}", {"k": order, "variable": "nsr", "measure": "taylor"}, eta=eta,
          note=f"last {order}, Taylor in nsr, little noise",
          source="Cui et al. 2023, ER-SDE-Solver (arXiv:2309.06169)",
          differs="integrals of 1 / phi are exact here, sums of 200 terms in the published code. er-sde-3 leaves a "
                  "term out and has order 2")  # fmt: skip
