"""DPM-Solver and DPM-Solver++: singlestep, multistep, and their stochastic forms."""

from typing import Any

from seeds.solvers.registry import add, tableau_solver
from seeds.solvers.rivals.points import point
from seeds.tableaus import order_2, order_3

SOLVER = "Lu et al. 2022, DPM-Solver (arXiv:2206.00927)"
PLUS = "Lu et al. 2022, DPM-Solver++ (arXiv:2211.01095)"
CODE = "k-diffusion and the authors' code, where it comes from; no paper"
HALVED = "diffusers and k-diffusion give the second difference half its exact weight, and so do we; with measure='exact' it is res-3m"
FINAL = "diffusers takes lower orders in the last steps below 15 steps: lower_order_final"
LOGSNR: dict[str, Any] = {"grid": "uniform_lam"}

add(tableau_solver("dpm-solver-2", order_2, 0.0, note="singlestep, stage at r = 1/2; k-diffusion's dpm_2", source=SOLVER, prediction="noise",
                   forms=("noise",), **LOGSNR))  # fmt: skip
add(tableau_solver("dpm-solver-3", order_3, 0.0, note="singlestep, stages at r = (1/3, 2/3)", source=SOLVER, prediction="noise",
                   forms=("noise",), **LOGSNR))  # fmt: skip
add(tableau_solver("dpmpp-2s", order_2, 0.0, note="singlestep, stage at r = 1/2: erk-2", source=PLUS, forms=("data",), **LOGSNR))
add(tableau_solver("dpmpp-sde", order_2, 1.0, note="singlestep with noise: seeds-2", source=CODE, forms=("data",),
                   differs="k-diffusion gives stage and step the increments of one Brownian motion over sigma, scaled; here both are values of the one "
                           "path of the process"))  # fmt: skip
point("dpmpp-2m", {"k": 2, "measure": "lam"}, ["lower_order_final"], note="last 2, midpoint", source=PLUS, differs=FINAL, **LOGSNR)
point("dpmpp-3m", {"k": 3, "measure": "half-midpoint"}, ["measure", "lower_order_final"], note="last 3", source=CODE,
      differs=f"{HALVED}. {FINAL}", **LOGSNR)  # fmt: skip
point("dpmpp-2m-sde", {"k": 2, "measure": "lam"}, ["measure", "lower_order_final"], cases=({}, {"measure": "exact"}), eta=1.0,
      note="last 2 with noise; measure lam is the midpoint form, exact the Heun form", source=PLUS,
      differs="k-diffusion's eta scales the noise of our eta too, and its drift: one number, the same at 0 and 1 and between")  # fmt: skip
point("dpmpp-3m-sde", {"k": 3, "measure": "half"}, ["measure"], eta=1.0, note="last 3 with noise", source=CODE, differs=HALVED)
