"""RES: exact exponential Adams of the last 2 or 3 values of the data."""

from seeds.solvers.rivals.points import point

for count in (2, 3):
    point(f"res-{count}m", {"k": count}, ["lower_order_final"], note=f"last {count}, exact weights",
          source="Zhang et al. 2023, RES (arXiv:2308.02157)",
          differs="called res_multistep elsewhere. With eta it is an SDE method; elsewhere noise is put back after "
                  "each step")  # fmt: skip
