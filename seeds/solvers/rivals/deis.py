"""DEIS: exponential Adams on the noise, with polynomials in time."""

from seeds.solvers.rivals.points import point

SOURCE = "Zhang and Chen 2023, DEIS (arXiv:2204.13902)"
DIFFERS = "diffusers' scheduler of that name has polynomials in log rho: variable='lam'"
for count in (1, 2, 3):
    point(f"deis-tab{count}", {"k": count + 1, "variable": "vp_t"}, ["variable", "lower_order_final"],
          cases=({}, {"variable": "lam"}),
          prediction="noise", noise=None, grid="deis", note=f"last {count + 1}, polynomials in t of VP", source=SOURCE,
          differs=DIFFERS)  # fmt: skip
