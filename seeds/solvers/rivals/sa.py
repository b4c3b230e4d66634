"""SA-Solver: stochastic Adams with predictor, corrector and a table of how much noise is put back."""

import math

from seeds.solvers.rivals.points import point

TAU = ((-math.inf, 0.0), (0.0, 1.0), (-math.log(0.05), 0.0))
"""tau^2 = 1 from nsr = 1 to 0.05, 0 elsewhere: the published choice for EDM's models. Our eta is the square of its
tau."""

point(
    "sa-solver",
    {"k": 3, "corrector": 3},
    ["k", "corrector", "evaluate", "measure", "lower_order_final"],
    cases=({}, {"k": 2, "corrector": 2, "measure": "bh1"}),
    eta=TAU,
    note="predictor of k values, corrector of so many with the new one; eta is tau squared, a table",
    source="Xue et al. 2023, SA-Solver (arXiv:2309.05019)",
    differs="the published code has (1 + tau^2) h / 2 in the place of its integrals where two values are read: "
    "measure='bh1'",
)
