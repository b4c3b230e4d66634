"""A law: what it says, of whom it may be asked, and how it is broken."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from seeds import planning
from seeds.integrals import Eta
from seeds.laws import mutants, orders
from seeds.laws.exactness import linear_rows, noise_error, path_error, polynomial_error, still_error
from seeds.laws.responses import mixture_denoiser, states, unit_scale
from seeds.plans import CLEAN, Plan
from seeds.predictions import PREDICTIONS, Prediction
from seeds.solvers import SOLVERS, Solver, find_solver

ROUNDING = 1e-12
NEAR = 0.2
"""How far a measured order may be from the declared one."""
TABLE = [(-math.inf, 0.0), (-1.2, 1.7), (0.31, 0.4)]
LEVELS = np.array([7.0, 4.1, 2.5, 1.1, 0.7, 0.3, 0.02])
CLOSE = np.exp(-1e-4 * np.arange(6))
"""Levels so near that first-order noise is exact to 1e-4."""
ALL_SCHEDULES = ("vp", "ve", "edm", "flow", "cosine")


@dataclass(frozen=True)
class Subject:
    """Who is asked: a solver, with options of its own, in one prediction."""

    solver: Solver
    options: Mapping[str, Any] = field(default_factory=dict)
    prediction: str = "data"

    def __str__(self) -> str:
        case = "-".join(f"{name}{_short(value)}" for name, value in self.options.items()) or "default"
        return f"{self.solver.name}-{case}-{self.prediction}"

    @property
    def form(self) -> Prediction:
        """What is interpolated, with its default numbers."""
        return PREDICTIONS[self.prediction]()

    @property
    def noisy(self) -> dict[str, Any]:
        """Arguments that switch its noise on."""
        return {"eta": 1.0} if self.solver.noise == "eta" else dict(self.solver.noisy)

    @property
    def usual(self) -> bool:
        """Its options are the default, as is the prediction."""
        return not self.options and self.prediction == "data"

    def setting(self, name: str) -> Any:
        """The value of an option: its own, the solver's default, or what is fixed; None if there is none."""
        option = self.solver.options.get(name)
        return self.options.get(name, option.default if option else self.solver.fixed.get(name))

    def plan(self, **arguments: Any) -> Plan:
        """`seeds.plan` of this subject, on Karras' grid unless another is given, and without noise unless that is."""
        return planning.plan(
            self.solver,
            prediction=self.prediction,
            **{"eta": 0.0, "grid": "karras", **self.solver.quiet, **self.options, **arguments},
        )

    def etas(self) -> list[Any]:
        """Stochasticities to try: one, and a table with a stretch of none; 0 for a solver of the ODE."""
        rng = np.random.default_rng([len(str(self)), *map(ord, self.prediction)])
        return [float(rng.uniform(0.05, 3)), TABLE] if self.solver.noise == "eta" else [0.0]


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ",".join(map(_short, value)) + ")"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def subjects(solvers: Sequence[str | Solver] | None = None) -> list[Subject]:
    """Every solver under each of its cases, in each prediction that means something to it."""
    return [
        Subject(solver, case, form)
        for solver in map(find_solver, SOLVERS if solvers is None else solvers)
        for case in solver.cases
        for form in (solver.forms or PREDICTIONS if solver.interpolates else ("data",))
    ]


@dataclass(frozen=True)
class Law:
    """A sentence that holds of every solver it applies to.

    Attributes:
        name: a word or two.
        says: the sentence.
        applies: of whom it may be asked.
        faults: how a subject breaks it, in words; nothing if it obeys.
    """

    name: str
    says: str
    applies: Callable[[Subject], bool]
    faults: Callable[[Subject], Iterator[str]]


LAWS: dict[str, Law] = {}


def law(name: str, says: str, applies: Callable[[Subject], bool] = lambda it: True) -> Callable[..., Any]:
    """Makes a law of a generator of faults."""

    def made(faults: Callable[[Subject], Iterator[str]]) -> Callable[[Subject], Iterator[str]]:
        LAWS[name] = Law(name, says, applies, faults)
        return faults

    return made


def check(solver: str | Solver) -> Iterator[tuple[Law, list[str]]]:
    """Each law that applies to the solver, and how the solver breaks it under any of its cases and predictions: nothing
    if it obeys."""
    cases = subjects([solver])
    for each in LAWS.values():
        those = [it for it in cases if each.applies(it)]
        if those:
            yield each, [f"{it}: {fault}" for it in those for fault in each.faults(it)]


def _some_draws(plan: Plan, size: int = 24) -> torch.Tensor:
    """(draws + 1, size) numbers of the size of draws, the last for the start: the same on every machine but for
    rounding."""
    return 1.4 * torch.sin(torch.arange((len(plan.draws) + 1) * size, dtype=torch.float64) ** 2).reshape(-1, size)


# -- what every plan does ----------------------------------------------------------------------------------------------


@law("lengths", "Every number of steps gives a finite result, one completed step for each, and asks above the clean "
                "end only.",
     lambda it: it.prediction in (it.solver.forms or ("data", "v")))  # fmt: skip
def _lengths(it: Subject) -> Iterator[str]:
    draw = torch.tensor([1.0, -0.5, 2.0])
    for steps, final, grid in (
        *((n, "denoise", "karras") for n in (*range(1, 9), 30)),
        *((n, "none", "uniform_lam") for n in (1, 2, 3, 5, 12)),
    ):
        plan = it.plan(steps=steps, schedule="edm", grid=grid, final=final, **it.noisy)
        last = states(
            plan,
            lambda x, at: mixture_denoiser(x.double(), at).float(),
            torch.tensor([-80.0, 3.0, 120.0]),
            lambda j: draw,
        )[-1]
        if not torch.isfinite(last).all():
            yield f"{steps} steps on {grid}: the result is not finite"
        if plan.steps != steps + (final == "denoise"):
            yield f"{steps} steps on {grid} complete {plan.steps} steps"


@law("final", "The final denoise returns D at the last level itself.")
def _final(it: Subject) -> Iterator[str]:
    plan = it.plan(steps=3, schedule="vp", **it.noisy)
    if plan.end != CLEAN or plan.rows[-1]._replace(at=CLEAN) != (CLEAN, (), ((plan.nfe - 1, 1.0),), (), True):
        yield "the last row is not x = D"


@law("saved", "A plan is saved and read without losing a bit.")
def _saved(it: Subject) -> Iterator[str]:
    for schedule in ("edm", "flow"):
        plan = it.plan(steps=3, schedule=schedule, **it.noisy)
        again = Plan.from_json(plan.to_json())
        if again != plan or again.digest != plan.digest:
            yield f"on {schedule} another plan is read than was saved"


@law(
    "draws",
    "The draws of the path lie end to end, and a state reads those that lie before it alone.",
    lambda it: it.solver.noise is not None,
)
def _draws(it: Subject) -> Iterator[str]:
    plan = it.plan(steps=5, schedule="vp", **it.noisy)
    path = [draw for draw in plan.draws if draw.stream == "path"]
    if not plan.draws:
        yield "no noise is drawn"
    for before, after in pairwise(path):
        if not (before.lam0 < before.lam1 and abs(after.lam0 - before.lam1) < ROUNDING * max(1, abs(before.lam1))):
            yield f"{after} does not follow {before}"
    if path and not (math.isclose(path[0].lam0, plan.start.lam) and math.isclose(path[-1].lam1, plan.rows[-1].at.lam)):
        yield "the path does not reach from the start to the last level"
    for row, to in zip(plan.rows, plan.points()[1:], strict=True):
        # before churn moved it back
        cleanest = max([to.lam, *(plan.draws[j].lam1 for j, _ in row.z if plan.draws[j].stream == "churn")])
        for j, _ in row.z:
            if plan.draws[j].stream == "path" and plan.draws[j].lam1 > cleanest + ROUNDING * max(1, abs(cleanest)):
                yield f"the state at lam = {cleanest:.6g} reads {plan.draws[j]}, of a stretch that lies ahead of it"


@law("schedules", "On the same levels of nsr, every schedule gives one law: in units of alpha the states agree to "
                  "1e-11.",
     lambda it: it.setting("variable") != "t")  # fmt: skip
def _schedules(it: Subject) -> Iterator[str]:
    ends = []
    for schedule in ALL_SCHEDULES:
        plan = it.plan(sigmas=np.geomspace(50.0, 0.01, 8), schedule=schedule, final="none", **it.noisy)
        draws = _some_draws(plan)
        last = states(plan, mixture_denoiser, plan.start.sigma * draws[-1], draws.__getitem__)[-1]
        ends.append(last / plan.end.alpha)
    for name, other in zip(ALL_SCHEDULES[1:], ends[1:], strict=True):
        apart = float((other - ends[0]).abs().max() / ends[0].abs().max())
        if not apart < 1e-11:
            yield f"{name} and {ALL_SCHEDULES[0]} are apart by {apart:.1e}"


@law(
    "dtype",
    "The state keeps its dtype; float32 is within 1e-5 of float64, relative to the largest state, and half precisions "
    "stay finite.",
)
def _dtype(it: Subject) -> Iterator[str]:
    plan = it.plan(steps=8, schedule="edm", **it.noisy)
    draws = _some_draws(plan)
    results = {}
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):

        def denoise(x: torch.Tensor, at: Any, dtype: torch.dtype = dtype) -> torch.Tensor:
            return mixture_denoiser(x.double(), at).to(dtype)

        xs = states(
            plan, denoise, (plan.start.sigma * draws[-1]).to(dtype), [draw.to(dtype) for draw in draws].__getitem__
        )
        if {x.dtype for x in xs} != {dtype} or not all(torch.isfinite(x).all() for x in xs):
            yield f"{dtype}: the state changes its dtype, or is not finite"
        results[dtype] = [x.double() / unit_scale(at) for x, at in zip(xs, plan.points(), strict=True)]
    one, other = (torch.stack(results[dtype]) for dtype in (torch.float32, torch.float64))
    # at large steps some methods grow: that is no rounding
    apart = float((one - other).abs().max()) / max(1.0, float(other.abs().max()))
    if not apart < 1e-5:
        yield f"float32 is apart from float64 by {apart:.1e}"


@law("SNR 0", "The value at SNR 0 is read by the step that leaves it, and by no other.")
def _snr_0(it: Subject) -> Iterator[str]:
    plan = it.plan(steps=6, schedule="flow", **it.noisy)
    for i, row in enumerate(plan.rows[1:], 1):
        if any(j == 0 for j, _ in (*row.x, *row.d)):
            yield f"row {i} reads what was known at SNR 0"


@law(
    "memory", "What reads values of earlier steps says so, and what does not is the same run in two parts, row by row."
)
def _memory(it: Subject) -> Iterator[str]:
    options = {"steps": 6, "schedule": "vp", **it.noisy}
    whole = it.plan(**options)
    if whole.remembers:
        if not it.solver.memory:
            yield "it reads values of earlier steps: declare memory=True"
        return
    for level in range(1, 6):
        rest = it.plan(start=level, **options)
        before, draws = whole.nfe - rest.nfe, len(whole.draws) - len(rest.draws)
        for a, b in zip(rest.rows[:: 1 if not rest.opening.z else len(rest.rows)], whole.rows[before:], strict=False):
            moved_row = (
                a.at,
                *(tuple((j + by, w) for j, w in part) for part, by in ((a.x, before), (a.d, before), (a.z, draws))),
                a.completes,
            )
            if moved_row != tuple(b):
                yield f"begun at level {level}, the run has another row than the whole"


@law(
    "no noise",
    "Without eta nothing is drawn, and the twin without noise is the same method to the bit.",
    lambda it: it.solver.noise == "eta",
)
def _no_noise(it: Subject) -> Iterator[str]:
    sigmas = np.geomspace(50.0, 0.01, 7)
    ode = it.plan(sigmas=sigmas, schedule="vp")
    table = it.plan(sigmas=sigmas, schedule="vp", eta=[(-math.inf, 0.0), (0.5, 0.0)])
    if ode.draws or table.draws:
        yield "noise is drawn at eta = 0"
    if (
        it.solver.twin
        and replace(it, solver=find_solver(it.solver.twin)).plan(sigmas=sigmas, schedule="vp").rows != ode.rows
    ):
        yield f"{it.solver.twin} has other rows"
    for a, b in zip(table.rows, ode.rows, strict=True):
        if not np.allclose(a.d, b.d, rtol=1e-9, atol=ROUNDING):
            yield "eta = 0 as a table has other weights"


# -- exactness ---------------------------------------------------------------------------------------------------------


def exactness(it: Subject, plan: Plan, eta: Any) -> Iterator[tuple[str, float, float]]:
    """The exactness laws that apply, of one plan: (name, error, limit). A plan of a method that does not interpolate
    must have steps of some 1e-4."""
    if it.solver.interpolates:
        yield "constant", polynomial_error(plan, it.form, Eta(eta)), ROUNDING
        yield "path", path_error(plan, it.form, Eta(eta)), ROUNDING
        return
    yield "still", still_error(plan), ROUNDING
    if it.solver.noise:
        yield "noise", noise_error(plan, Eta(eta)), 1e-3


@law("constant and path", "A constant F is integrated exactly, and all noise is that of one Brownian path, stages "
                          "included, for any eta.",
     lambda it: it.solver.interpolates)  # fmt: skip
def _exact(it: Subject) -> Iterator[str]:
    for eta in it.etas():
        plan = it.plan(sigmas=LEVELS, schedule="vp", eta=eta, final="none")
        yield from (
            f"{name}: off by {error:.1e} at eta = {eta}"
            for name, error, limit in exactness(it, plan, eta)
            if not error < limit
        )


@law(
    "linear",
    "Rows of a table that interpolate integrate an F linear in lam exactly.",
    lambda it: it.solver.tableau is not None,
)
def _linear(it: Subject) -> Iterator[str]:
    for eta in it.etas():
        plan = it.plan(sigmas=LEVELS, schedule="vp", eta=eta, final="none")
        error = polynomial_error(plan, it.form, Eta(eta), 1, linear_rows(it.solver, it.options))
        if not error < ROUNDING:
            yield f"off by {error:.1e} at eta = {eta}"


@law(
    "still and noise",
    "Where D = y, y stays; the noise of a short step is the process's.",
    lambda it: not it.solver.interpolates,
)
def _still(it: Subject) -> Iterator[str]:
    # where x is y, so that a method may step either
    plan = it.plan(sigmas=CLOSE, schedule="ve", final="none", **it.noisy)
    eta = it.noisy.get("eta", 0.0)
    yield from (f"{name}: off by {error:.1e}" for name, error, limit in exactness(it, plan, eta) if not error < limit)


@law("mutants", "Every coefficient, 1 % off, breaks a law of exactness.")
def _mutants(it: Subject) -> Iterator[str]:
    levels = (LEVELS[:: 1 if it.solver.memory else 3]) if it.solver.interpolates else CLOSE[:4]
    eta = it.noisy.get("eta", 0.0)
    plan = it.plan(sigmas=levels, schedule="vp" if it.solver.interpolates else "ve", final="none", **it.noisy)
    places = list(mutants.places(plan))
    if not places:
        yield "there is no coefficient to look at"
    for place in places:
        if all(error < limit for _, error, limit in exactness(it, mutants.off(plan, place), eta)):
            yield f"{place} may be 1 % off"


# -- orders ------------------------------------------------------------------------------------------------------------


@law(
    "ODE order",
    "Its order as an ODE is the one declared, on a mixture and on Gaussian data; of a method with memory the first "
    "steps' too.",
)
def _ode_order(it: Subject) -> Iterator[str]:
    order = it.solver.orders(**it.options).ode
    nonlinear, linear = map(orders.slope, orders.quiet_errors(it.plan))
    if not nonlinear > order - NEAR:
        yield f"{nonlinear:.2f} on the mixture, declared {order}"
    # a good method begun by a worse may show the better order for long: its first steps do not
    if nonlinear > order + NEAR:
        later = orders.slope(orders.startup_errors(it.plan)) if it.solver.memory else nonlinear
        if later > order + NEAR:
            yield f"{nonlinear:.2f} on the mixture, and {later:.2f} after the first steps, declared {order}"
    if not linear > order - NEAR:
        yield f"{linear:.2f} on Gaussian data, declared {order}"


def _weak(it: Subject) -> bool:
    return it.solver.noise is not None and bool(it.solver.orders(**it.options).weak)


@law("weak order", "Its weak order is the one declared, on Gaussian data, exactly.", _weak)
def _weak_order(it: Subject) -> Iterator[str]:
    order = it.solver.orders(**it.options).weak or 0
    slope = orders.slope(orders.gaussian_errors(it.plan, **it.noisy))
    # churn keeps the marginals exactly, so its error is the ODE method's, which may be better than its order on a
    # linear model
    above = math.inf if it.solver.noise == "churn" else NEAR + 0.2 * it.solver.memory
    if not order - NEAR < slope < order + above:
        yield f"{slope:.2f}, declared {order}"


@law("weak order, skew", "Its weak order is the one declared for a third cumulant too, where no linear model can stand "
                         "for the data.",
     lambda it: _weak(it) and it.solver.noise == "eta")  # fmt: skip
def _skew_order(it: Subject) -> Iterator[str]:
    order = it.solver.orders(**it.options).weak or 0
    slope = orders.slope(orders.skew_errors(it.plan, **it.noisy))
    if not slope > order - 0.25:
        yield f"{slope:.2f}, declared {order}"


@law("weak order, mixture", "Its weak order is the one declared on a mixture, a nonlinear model, by Gauss-Hermite "
                            "sums.",
     lambda it: _weak(it) and it.solver.noise == "eta" and not it.solver.memory
     and it.prediction == it.solver.prediction)  # fmt: skip
def _mixture_order(it: Subject) -> Iterator[str]:
    order = it.solver.orders(**it.options).weak or 0
    if it.plan(steps=4, schedule="vp", **it.noisy).remembers:  # the law of memory says so
        return
    slope = orders.slope(orders.mixture_errors(it.plan, **it.noisy))
    if not order - 0.35 < slope < order + 0.25:  # of order 2 and rising, for some
        yield f"{slope:.2f}, declared {order}"
