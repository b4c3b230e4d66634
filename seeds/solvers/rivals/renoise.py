"""Methods that put noise back after a step: DDIM(eta), ancestral DPM-Solver++ 2S, LCM, TCD, EDM's stochastic sampler, Restart."""

import math
from dataclasses import replace
from typing import Annotated

import numpy as np

from seeds.errors import InputError
from seeds.integrals import Eta, Integrals
from seeds.plans import Point
from seeds.predictions import PREDICTIONS, Prediction
from seeds.solvers.churn import Amount, Churn, Highest, Louder, Lowest
from seeds.solvers.classic import runge_kutta
from seeds.solvers.levels import Levels
from seeds.solvers.registry import Solver, add
from seeds.solvers.singlestep import singlestep
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders, order_1

QUIET = Churn()


def ddim(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *, eta_ddim: Annotated[float, "DDIM's own eta, 0 to 1, in the place of eta; equal to it at 0 and 1 only"] = 0.0,
) -> None:  # fmt: skip
    """DDIM: exponential Euler, with the noise of eta, or of DDIM's own:  eta = -log(1 - eta_ddim^2 (1 - e^{-2h})) / (2h)  on each step."""
    if not 0 <= eta_ddim <= 1:
        raise InputError(f"`eta_ddim` must be a number from 0 (the ODE) to 1 (DDPM), but is {eta_ddim}.")
    if eta_ddim and not eta.is_zero:
        raise InputError(f"`eta` = {eta.value} and `eta_ddim` = {eta_ddim} both say how much noise is put back: give one of them.")
    if eta_ddim and write.calls:  # SNR 0 has been left without noise
        (first,) = write.rows
        write.rows, write.at = [], first.at
        write.leave_snr_zero(levels.points[0], eta, math.sqrt((1 - eta_ddim) * (1 + eta_ddim)))
    lam, h = levels.lam, np.diff(levels.lam)
    if eta_ddim and len(h):
        each = -np.log1p(eta_ddim**2 * np.expm1(-2 * h)) / (2 * h)
        eta = Eta(list(zip((-math.inf, *lam[1:-1].tolist()), each.tolist(), strict=True)))
    singlestep(write, levels, prediction, eta, order_1())


def ancestral(write: Writer, levels: Levels, prediction: Prediction, eta: Eta) -> None:
    """DPM-Solver++ 2S of the ODE past the level, to lam1 + int eta dlam, and noise back to it: in the data, stage in the middle."""
    data = PREDICTIONS["data"]()
    for p0, p1 in levels.steps:
        over = Integrals(data, eta, np.array([p0.lam]), np.array([p1.lam - p0.lam])).panels
        more, i = float(over.sum(over.eta)[0]), write.calls
        (stage,) = levels.stages_at(np.array([(p0.lam + p1.lam + more) / 2]))
        down = Point(p1.t, p1.alpha, p1.sigma * math.exp(-more))  # a level that is passed and never asked about
        for to, call in ((stage, i), (down, i + 1)):
            ratio = to.nsr / p0.nsr
            write.row(to, {i: to.alpha / p0.alpha * ratio}, {call: to.alpha * (1 - ratio)}, completes=to is down)
        if more:
            write.renoise(p1)
        write.at = p1


def lcm(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *, renewed: Annotated[float, "how much of a level's noise is fresh, 0 to 1, as standard deviations: LCM 1, TCD less"] = 1.0,
) -> None:  # fmt: skip
    """To D with sqrt(1 - renewed^2) of the noise that is there, and fresh noise back to the level: LCM, TCD; 0 is DDIM."""
    if not 0 <= renewed <= 1:
        raise InputError(f"`renewed` must be a number from 0 (DDIM) to 1 (LCM), but is {renewed}.")
    for p0, p1 in levels.steps:
        down = Point(p1.t, p1.alpha, p1.sigma * math.sqrt((1 - renewed) * (1 + renewed)))
        write.row(down, {write.calls: down.sigma / p0.sigma}, {write.calls: p1.alpha * (1 - down.nsr / p0.nsr)})
        if renewed:
            write.renoise(p1)
        write.at = p1


def tcd(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *, renewed: Annotated[float, "how much of a level's noise is fresh, 0 to 1, as standard deviations: LCM 1, TCD less"] = 0.3,
) -> None:  # fmt: skip
    """`lcm` with less fresh noise."""
    lcm(write, levels, prediction, eta, renewed=renewed)


def edm_stochastic(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *, S_churn: Amount = 40.0, S_min: Lowest = 0.05, S_max: Highest = 50.0, S_noise: Louder = 1.003,
) -> None:  # fmt: skip
    """Heun's method with the churn of EDM's ImageNet-64 runs: rk-2 with other defaults."""
    runge_kutta(write, levels, stages=2, churn=Churn(S_churn, S_min, S_max, S_noise))


def restart(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *,
    times: Annotated[int, "how often the run is taken back"] = 2,
    back_to: Annotated[float, "the level, as nsr, to which noise takes it back"] = 0.3,
    back_from: Annotated[float, "the level, as nsr, at or below which that is done"] = 0.06,
    back_steps: Annotated[int, "steps, on Karras' grid, from there down again"] = 3,
) -> None:  # fmt: skip
    """Heun's method; at the first level at or below `back_from`, noise takes the state up to `back_to` and it is solved down again, so many times."""
    if not (times >= 0 and back_steps >= 1 and 0 < back_from < back_to < math.inf):
        raise InputError(
            f"`times` >= 0, `back_steps` >= 1 and 0 < `back_from` < `back_to` must hold, but they are {times}, {back_steps}, {back_from}, {back_to}."
        )
    low = next((i for i, at in enumerate(levels.points) if i and at.nsr <= back_from), None)
    if low is None or not times or levels.points[0].nsr < back_to:
        return runge_kutta(write, levels, stages=2, churn=QUIET)
    runge_kutta(write, replace(levels, points=levels.points[: low + 1]), stages=2, churn=QUIET)
    arrived, end = write.calls - 1, levels.points[low]
    places = np.linspace(back_to ** (1 / 7), end.nsr ** (1 / 7), back_steps + 1)[:-1] ** 7
    again = replace(levels, points=(*levels.at_lam(-np.log(places)), end))
    for _ in range(times):
        write.renoise(again.points[0])
        runge_kutta(write, again, stages=2, churn=QUIET)
    write.rows[arrived:-1] = [row._replace(completes=False) for row in write.rows[arrived:-1]]  # all of it is one step of the grid
    return runge_kutta(write, replace(levels, points=levels.points[low:]), stages=2, churn=QUIET)


SONG = "Song et al. 2021, DDIM (arXiv:2010.02502)"
add(Solver("ddim", ddim, Orders(1, 1), noise="eta", forms=("data",), note="exponential Euler: erk-1, with DDIM's eta as an option",
           source=SONG))  # fmt: skip
add(Solver("dpmpp-2s-ancestral", ancestral, Orders(2, 2), noise="eta", eta=1.0, interpolates=False, note="2S past the level, and noise back to it",
           source="k-diffusion; no paper", differs="k-diffusion's eta is DDIM's; equal to ours at 0 and 1"))  # fmt: skip
add(Solver("lcm", lcm, Orders(1, None), noise="churn", noisy={"renewed": 1.0}, quiet={"renewed": 0.0}, interpolates=False, grid="linear_t",
           note="to D, and all noise fresh: for networks trained for it", source="Luo et al. 2023, LCM (arXiv:2310.04378)",
           differs="with noise it converges to nothing as steps grow, whoever implements it: no weak order"))  # fmt: skip
add(Solver("tcd", tcd, Orders(1, None), noise="churn", noisy={"renewed": 0.5}, quiet={"renewed": 0.0}, interpolates=False, grid="linear_t",
           note="to D, and part of the noise fresh: for networks trained for it", source="Zheng et al. 2024, TCD (arXiv:2402.19159)",
           differs="its gamma goes to the level nsr_s of t_s = (1 - gamma) t first: renewed = sqrt(1 - (nsr_s / nsr)^2), one number here"))  # fmt: skip
add(Solver("edm-stochastic", edm_stochastic, Orders(2, 2), noise="churn", noisy={"S_churn": 5.0, "S_noise": 1.0, "S_max": math.inf}, quiet={"S_churn": 0.0},
           interpolates=False, ends=(80.0, 0.002), note="rk-2 (Heun) with churn", source="Karras et al. 2022 (arXiv:2206.00364), algorithm 2",
           differs="the final step from the last level is a churned Euler step to 0 there and here"))  # fmt: skip
add(Solver("restart", restart, Orders(2, None), noise="churn", noisy={"times": 1, "back_to": 1.0, "back_from": 0.3}, quiet={"times": 0},
           interpolates=False, ends=(80.0, 0.002), note="rk-2 (Heun), taken back by noise and solved again",
           source="Xu et al. 2023, Restart (arXiv:2306.14878)",
           differs="one interval; published settings have up to five, and are tuned by data set. Its number of steps is fixed: no weak order"))  # fmt: skip
