"""DPM-Solver and DPM-Solver++: singlestep, multistep, and their stochastic forms."""

import math
from typing import Annotated, Any

from seeds.errors import InputError
from seeds.integrals import Eta
from seeds.plans import terms
from seeds.predictions import Prediction
from seeds.solvers.levels import Levels
from seeds.solvers.registry import Solver, add, tableau_solver
from seeds.solvers.rivals.points import point
from seeds.solvers.singlestep import singlestep
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders, order_1, order_2, order_3

SOLVER = "Lu et al. 2022, DPM-Solver (arXiv:2206.00927)"
PLUS = "Lu et al. 2022, DPM-Solver++ (arXiv:2211.01095)"
CODE = "k-diffusion and the authors' code, where it comes from; no paper"
HALVED = (
    "diffusers and k-diffusion give the second difference half its exact weight, and so do we; with measure='exact' it "
    "is res-3m"
)
FINAL = "diffusers takes lower orders in the last steps below 15 steps: lower_order_final"
LOGSNR: dict[str, Any] = {"grid": "uniform_lam"}


def with_noise(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *,
    r: Annotated[float, "position of the stage in lam, in (0, 1]"] = 1 / 2,
    brownian: Annotated[str, "what stage and step share: process, its one path; or sigma, as in the published "
                             "code"] = "process",
) -> None:  # fmt: skip
    """DPM-Solver++ 2S with noise. "sigma" gives stage and step the increments of one Brownian motion over sigma, each
    scaled to its variance."""
    if brownian not in ("process", "sigma"):
        raise InputError(f"`brownian` must be 'process' or 'sigma', but is {brownian!r}.")
    first = write.calls
    singlestep(write, levels, prediction, eta, order_2("2a", r), lambda at: order_2("2a", at[0]) if at else order_1())
    for i in range(first, write.calls if brownian == "sigma" else first):
        if not write.rows[i].completes and len(write.rows[i + 1].z) == 2:
            begin, stage, end = (write.level(j).nsr for j in (i, i + 1, i + 2))
            share, ((a, one), (b, other)) = (begin - stage) / (begin - end), write.rows[i + 1].z
            std = math.hypot(one, other)
            write.rows[i + 1] = write.rows[i + 1]._replace(
                z=terms([(a, std * math.sqrt(share)), (b, std * math.sqrt(1 - share))])
            )


add(tableau_solver("dpm-solver-2", order_2, 0.0, note="singlestep, stage at r = 1/2; k-diffusion's dpm_2",
                   source=SOLVER, prediction="noise",
                   forms=("noise",), **LOGSNR))  # fmt: skip
add(tableau_solver("dpm-solver-3", order_3, 0.0, note="singlestep, stages at r = (1/3, 2/3)", source=SOLVER,
                   prediction="noise",
                   forms=("noise",), **LOGSNR))  # fmt: skip
add(
    tableau_solver(
        "dpmpp-2s", order_2, 0.0, note="singlestep, stage at r = 1/2: erk-2", source=PLUS, forms=("data",), **LOGSNR
    )
)
add(Solver("dpmpp-sde", with_noise, Orders(2, 2), noise="eta", eta=1.0, note="singlestep with noise: seeds-2",
           source=CODE,
           forms=("data",),
           differs="k-diffusion's eta is DDIM's, and its noise that of brownian='sigma': not of the process's path, "
                   "and of order 2 all the same"))  # fmt: skip
point(
    "dpmpp-2m",
    {"k": 2, "measure": "lam"},
    ["lower_order_final"],
    note="last 2, midpoint",
    source=PLUS,
    differs=FINAL,
    **LOGSNR,
)
point("dpmpp-3m", {"k": 3, "measure": "half-midpoint"}, ["measure", "lower_order_final"], note="last 3", source=CODE,
      differs=f"{HALVED}. {FINAL}", **LOGSNR)  # fmt: skip
point("dpmpp-2m-sde", {"k": 2, "measure": "lam"}, ["measure", "lower_order_final"], cases=({}, {"measure": "exact"}),
      eta=1.0,
      note="last 2 with noise; measure lam is the midpoint form, exact the Heun form", source=PLUS,
      differs="k-diffusion's eta scales the noise of our eta too, and its drift: one number, the same at 0 and 1 and "
              "between")  # fmt: skip
point(
    "dpmpp-3m-sde",
    {"k": 3, "measure": "half"},
    ["measure"],
    eta=1.0,
    note="last 3 with noise",
    source=CODE,
    differs=HALVED,
)
