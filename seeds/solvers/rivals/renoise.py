"""Methods that put noise back after a step: DDIM(eta), ancestral DPM-Solver-2 and DPM-Solver++ 2S, LCM, TCD, EDM's
stochastic sampler, Restart."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, NamedTuple

import numpy as np

from seeds.errors import InputError
from seeds.integrals import Eta, Integrals
from seeds.plans import SAME, Point
from seeds.predictions import PREDICTIONS, Prediction
from seeds.schedules import Discrete
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
    """DDIM: exponential Euler, with the noise of eta, or of DDIM's own:  eta = -log(1 - eta_ddim^2 (1 - e^{-2h})) /
    (2h)  on each step."""
    if not 0 <= eta_ddim <= 1:
        raise InputError(f"`eta_ddim` must be a number from 0 (the ODE) to 1 (DDPM), but is {eta_ddim}.")
    if eta_ddim and not eta.is_zero:
        raise InputError(
            f"`eta` = {eta.value} and `eta_ddim` = {eta_ddim} both say how much noise is put back: give one of them."
        )
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
    """DPM-Solver++ 2S of the ODE past the level, to lam1 + int eta dlam, and noise back to it: in the data, stage in
    the middle."""
    _past_and_back(write, levels, eta, in_noise=False)


def ancestral_in_noise(write: Writer, levels: Levels, prediction: Prediction, eta: Eta) -> None:
    """The same with DPM-Solver-2, in the noise."""
    _past_and_back(write, levels, eta, in_noise=True)


def _past_and_back(write: Writer, levels: Levels, eta: Eta, in_noise: bool) -> None:
    data = PREDICTIONS["data"]()
    for p0, p1 in levels.steps:
        over = Integrals(data, eta, np.array([p0.lam]), np.array([p1.lam - p0.lam])).panels
        more, i = float(over.sum(over.eta)[0]), write.calls
        (stage,) = levels.stages_at(np.array([(p0.lam + p1.lam + more) / 2]))
        down = Point(p1.t, p1.alpha, p1.sigma * math.exp(-more))  # a level that is passed and never asked about
        ratio = stage.nsr / p0.nsr
        write.row(stage, {i: stage.alpha / p0.alpha * ratio}, {i: stage.alpha * (1 - ratio)}, completes=False)
        if in_noise:
            move = p1.alpha * (down.nsr - p0.nsr) / stage.nsr
            write.row(down, {i: p1.alpha / p0.alpha, i + 1: move / stage.alpha}, {i + 1: -move})
        else:
            ratio = down.nsr / p0.nsr
            write.row(down, {i: p1.alpha / p0.alpha * ratio}, {i + 1: p1.alpha * (1 - ratio)})
        if more:
            write.renoise(p1)
        write.at = p1


Renewed = Annotated[float, "how much of a level's noise is fresh, 0 to 1, as standard deviations: LCM 1, TCD less"]


def lcm(write: Writer, levels: Levels, prediction: Prediction, eta: Eta, *, renewed: Renewed = 1.0) -> None:
    """To D with sqrt(1 - renewed^2) of the noise that is there, and fresh noise back to the level: LCM, TCD; 0 is
    DDIM."""
    if not 0 <= renewed <= 1:
        raise InputError(f"`renewed` must be a number from 0 (DDIM) to 1 (LCM), but is {renewed}.")
    _renewing(write, levels, lambda to: renewed)


def tcd(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *,
    gamma: Annotated[float, "the step goes to t (1 - gamma), and noise back to t, in the time of the schedule: 0 DDIM, "
                            "1 LCM"] = 0.3,
    renewed: Annotated[float | None, "in the place of gamma, the same at every level: how much of the noise is "
                                     "fresh"] = None,
) -> None:  # fmt: skip
    """`lcm` with less fresh noise: renewed = sqrt(1 - (nsr(t_s) / nsr(t))^2), t_s = (1 - gamma) t, which of a table is
    the level below."""
    if renewed is not None:
        return lcm(write, levels, prediction, eta, renewed=renewed)
    if not 0 <= gamma <= 1:
        raise InputError(f"`gamma` must be a number from 0 (DDIM) to 1 (LCM), but is {gamma}.")
    table = isinstance(levels.schedule, Discrete)

    def fresh(to: Point) -> float:
        t = (1 - gamma) * to.t
        ratio = float(levels.schedule.nsr(math.floor(t + 1e-3) if table else t)) / to.nsr
        return math.sqrt((1 - ratio) * (1 + ratio)) if ratio < 1 - SAME else 0.0

    return _renewing(write, levels, fresh)


def _renewing(write: Writer, levels: Levels, renewed: Callable[[Point], float]) -> None:
    for p0, p1 in levels.steps:
        part = renewed(p1)
        down = Point(p1.t, p1.alpha, p1.sigma * math.sqrt((1 - part) * (1 + part)))
        write.row(down, {write.calls: down.sigma / p0.sigma}, {write.calls: p1.alpha * (1 - down.nsr / p0.nsr)})
        if part:
            write.renoise(p1)
        write.at = p1


def edm_stochastic(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *, S_churn: Amount = 40.0, S_min: Lowest = 0.05, S_max: Highest = 50.0, S_noise: Louder = 1.003,
) -> None:  # fmt: skip
    """Heun's method with the churn of EDM's ImageNet-64 runs: rk-2 with other defaults."""
    runge_kutta(write, levels, stages=2, churn=Churn(S_churn, S_min, S_max, S_noise))


Some = float | tuple[float, ...]


def restart(
    write: Writer, levels: Levels, prediction: Prediction, eta: Eta,
    *,
    times: Annotated[Some, "how often the run is taken back; a number, or one for each interval"] = 2,
    back_to: Annotated[Some, "the level, as nsr, to which noise takes it back; falling where there are several "
                             "intervals"] = 0.3,
    back_from: Annotated[Some, "the level, as nsr, at or below which that is done"] = 0.06,
    back_steps: Annotated[Some, "steps, on Karras' grid, from there down again"] = 3,
) -> None:  # fmt: skip
    """Heun's method; at the first level at or below `back_from`, noise takes the state up to `back_to` and it is solved
    down again, so many times."""
    here = 0
    for each in _intervals(times, back_to, back_from, back_steps):
        low = next((i for i, at in enumerate(levels.points) if i and at.nsr <= each.low), None)
        if low is None or low < here or not each.times or levels.points[0].nsr < each.high:
            continue
        runge_kutta(write, replace(levels, points=levels.points[here : low + 1]), stages=2, churn=QUIET)
        call, end, here = write.calls - 1, levels.points[low], low
        places = np.linspace(each.high ** (1 / 7), end.nsr ** (1 / 7), each.steps + 1)[:-1] ** 7
        again = replace(levels, points=(*levels.at_lam(-np.log(places)), end))
        for _ in range(each.times):
            write.renoise(again.points[0])
            runge_kutta(write, again, stages=2, churn=QUIET)
        # all of it is one step of the grid
        write.rows[call:-1] = [row._replace(completes=False) for row in write.rows[call:-1]]
    runge_kutta(write, replace(levels, points=levels.points[here:]), stages=2, churn=QUIET)


class Interval(NamedTuple):
    """So often from `low` back to `high`, in so many steps down."""

    times: int
    high: float
    low: float
    steps: int


def _intervals(*parts: Some) -> list[Interval]:
    """The intervals of Restart, noisiest first."""
    rows = [part if isinstance(part, Sequence) else (part,) for part in parts]
    count = max(map(len, rows))
    if {len(row) for row in rows} - {1, count}:
        raise InputError(
            "`times`, `back_to`, `back_from` and `back_steps` are numbers, or one for each interval, but there are "
            f"{[len(row) for row in rows]} of them."
        )
    rows = [row if len(row) == count else row * count for row in rows]
    intervals = [Interval(int(times), high, low, int(steps)) for times, high, low, steps in zip(*rows, strict=True)]
    for it, *numbers in zip(intervals, *rows, strict=True):
        if not (it.times == numbers[0] >= 0 and it.steps == numbers[3] >= 1 and 0 < it.low < it.high < math.inf):
            raise InputError(
                "`times` >= 0, `back_steps` >= 1 and 0 < `back_from` < `back_to` must hold, whole numbers the first "
                f"two, but they are {', '.join(map(str, numbers[::3]))} and {it.low:g}, {it.high:g}."
            )
    if any(b.low >= a.low for a, b in pairwise(intervals)):
        raise InputError(
            f"`back_from` = {[it.low for it in intervals]} must fall from interval to interval: the run meets them on "
            "its way down."
        )
    return intervals


SONG = "Song et al. 2021, DDIM (arXiv:2010.02502)"
add(Solver("ddim", ddim, Orders(1, 1), noise="eta", forms=("data",),
           note="exponential Euler: erk-1, with DDIM's eta as an option",
           source=SONG))  # fmt: skip
add(Solver("dpmpp-2s-ancestral", ancestral, Orders(2, 2), noise="eta", eta=1.0, interpolates=False,
           note="2S past the level, and noise back to it",
           source="k-diffusion; no paper",
           differs="k-diffusion's eta is DDIM's; equal to ours at 0 and 1"))  # fmt: skip
add(Solver("dpm-2-ancestral", ancestral_in_noise, Orders(2, 2), noise="eta", eta=1.0, interpolates=False,
           note="DPM-Solver-2 past the level, and noise back to it", source="k-diffusion; no paper",
           differs="k-diffusion's eta is DDIM's; equal to ours at 0 and 1"))  # fmt: skip
add(Solver("lcm", lcm, Orders(1, None), noise="churn", noisy={"renewed": 1.0}, quiet={"renewed": 0.0},
           interpolates=False, grid="linear_t",
           note="to D, and all noise fresh: for networks trained for it",
           source="Luo et al. 2023, LCM (arXiv:2310.04378)",
           differs="with noise it converges to nothing as steps grow, whoever implements it: no weak "
                   "order"))  # fmt: skip
add(Solver("tcd", tcd, Orders(1, None), noise="churn", noisy={"renewed": 0.5}, quiet={"renewed": 0.0},
           interpolates=False, grid="linear_t",
           note="to D, and part of the noise fresh: for networks trained for it",
           source="Zheng et al. 2024, TCD (arXiv:2402.19159)",
           differs="with noise it converges to nothing as steps grow: no weak order"))  # fmt: skip
add(Solver("edm-stochastic", edm_stochastic, Orders(2, 2), noise="churn",
           noisy={"S_churn": 5.0, "S_noise": 1.0, "S_max": math.inf}, quiet={"S_churn": 0.0},
           interpolates=False, note="rk-2 (Heun) with churn",
           source="Karras et al. 2022 (arXiv:2206.00364), algorithm 2",
           differs="the final step from the last level is a churned Euler step to 0 there and here"))  # fmt: skip
add(Solver("restart", restart, Orders(2, None), noise="churn", noisy={"times": 1, "back_to": 1.0, "back_from": 0.3},
           quiet={"times": 0},
           interpolates=False, note="rk-2 (Heun), taken back by noise and solved again",
           source="Xu et al. 2023, Restart (arXiv:2306.14878)",
           differs="published settings are tuned by data set; the default is one of ours. Its number of own steps is "
                   "fixed: no weak order"))  # fmt: skip
