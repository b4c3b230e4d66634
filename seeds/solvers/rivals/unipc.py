"""UniPC: a predictor of order k and a corrector of order k + 1 that keeps the answer it has."""

from seeds.solvers.rivals.points import point

point("unipc", {"k": 3, "measure": "bh2"}, ["k", "measure", "lower_order_final"],
      cases=({}, {"k": 2, "measure": "bh1"}),
      also=lambda k, **_: {"corrector": k + 1}, grid="uniform_lam", note="last k and a corrector; measure bh1 or bh2",
      source="Zhao et al. 2023, UniPC (arXiv:2302.04867)",
      differs="B(h) matters where two values are read, and nowhere else: with three and more it cancels. Official runs "
              "end with lower orders: lower_order_final")  # fmt: skip
