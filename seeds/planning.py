"""Planning: from what is asked for to a `Plan`. Every argument becomes a number here; nothing is drawn."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from seeds import auto, grids, schedules
from seeds.auto import AUTO, is_auto
from seeds.denoisers import Denoiser, Facts, facts
from seeds.errors import InputError, TooFewCalls
from seeds.integrals import Eta, EtaLike
from seeds.names import lookup, near_names, resolve
from seeds.plans import SAME, Before, Plan, Point, described
from seeds.predictions import PREDICTIONS, Prediction
from seeds.schedules import Flow, Schedule
from seeds.solvers import SOLVERS, Solver, Writer, find_solver
from seeds.solvers.levels import Levels, Place, Round, lay_out, level_nsr

OWN = "own"
"""The rounding that a denoiser says of itself."""
_GUIDE = "Guide the denoiser: seeds.sample(seeds.guide(denoiser, 3.0), ..., labels=...)."
_LENGTH = (
    "Say nfe=, so many calls of the model; or, of a named solver, steps=, so many intervals, each of as many calls as "
    "it has stages."
)
SLIPS = {
    "mask": "Inpainting is `project=`, a function that puts the known region back after each step: docs/models.md has "
    "it in two lines.",
    "generator": "Noise comes from `seed=` alone, one number for each image; noise of your own is `noise=`.",
    "guidance": _GUIDE,
    "guidance_scale": _GUIDE,
    "cfg": _GUIDE,
    "cfg_scale": _GUIDE,
    "num_inference_steps": _LENGTH,
    "num_steps": _LENGTH,
    "strength": "Say where to begin: data=..., start=('nsr', 2.0); higher keeps less of the data.",
    "sigma_min": "Say nsr_min=, the level as sigma / alpha.",
    "sigma_max": "Say nsr_max=, the level as sigma / alpha.",
    "latents": "A state is x=, with start=, where it is; noise of your own is `noise=`.",
    "negative_prompt": "What guidance leads away from is its null label: seeds.guide(denoiser, 3.0, null=...).",
}
"""Arguments of other libraries, and what is said to them here."""


def plan(
    solver: str | Solver = AUTO,
    *,
    nfe: int | None = None,
    aim: str | None = None,
    steps: int | None = None,
    schedule: str | Schedule,
    grid: Any = None,
    sigmas: Any = None,
    prediction: str | None = None,
    eta: EtaLike | None = None,
    fraction: float | None = None,
    final: str = "denoise",
    start: Place = None,
    stop: Place = None,
    start_at: str | None = None,
    s_noise: float = 1.0,
    sd: float | None = None,
    round_nsr: Round | None = None,
    stages: str = "known",
    nsr_min: grids.End | None = None,
    nsr_max: grids.End | None = None,
    **options: Any,
) -> Plan:
    """Everything about a run but the model, as numbers: which levels to visit and how to combine states, answers and
    draws.

    Args:
        solver: "auto", a rule that chooses method, noise and grid by the number of calls (docs/choose-a-solver.md), a
            name of `seeds.SOLVERS`, or a `Solver`. What is said beside "auto" goes before the rule, word by word; the
            options of `adams` and of the grids are its own.
        nfe: model calls, all counted, after `start` too; 20 for "auto" where it is not said. Met exactly by "auto", or,
            where that cannot be, with a warning; of a named solver the most steps that they allow.
        aim: of "auto": "law" (None) for samples of a learned network, "accuracy" for the least error of the solver: an
            exact denoiser, one image.
        steps: of a named solver, instead of nfe: N intervals, N + 1 levels. NFE is s N for s calls a step, + 1 with
            final="denoise"; the step that leaves SNR 0 takes one call.
        schedule: an instance or a name.
        grid: a name of `seeds.GRIDS`, or an array of times t of the schedule, falling; a last t with sigma(t) = 0 means
            final="denoise". None is the rule's, or the solver's own, karras but for some rivals.
        sigmas: instead of a grid: an array of nsr, falling, used as it is; a trailing 0 means final="denoise".
        prediction: what is interpolated: "data", "noise", "v", "flow" or "edm_raw".
            None is the solver's own, data but for some rivals.
        eta: stochasticity, see `Eta`; None is the solver's own: 1 for the SDE solvers of the package, 0 for those of
            the ODE, which take no other.
        fraction: instead of eta: in every step this fraction, from 0 to below 1, of the noise that belongs to its end
            is fresh, whatever the step's length: 1 - exp(-2 eta h) = fraction^2. Source: Flow-CPS, Wang and Yu 2025
            (arXiv:2509.05952).
        final: "denoise" returns D at the last level; "none" returns the state there.
        start, stop: a grid index, or ("nsr", v) or ("lam", v), inserted exactly. With `stop`, final is "none". The rule
            lays its grid between the two, so two parts of a run of "auto" are two runs, not the whole.
        start_at: "mean" begins at the mean of the data, which the first answer tells, where the run begins with noise
            alone (`Plan.at_mean`); with `start` it does nothing, as the state there holds data. "zero" begins as if the
            mean were 0, as methods are published. None is the rule's, and "zero" for named solvers.
        s_noise: multiplies the noise, not the drift. Anything but 1 leaves the exact marginals; EDM's S_noise.
        sd: of prediction="edm_raw": standard deviation of the data; None is 0.5.
        round_nsr: rounds levels to those a network knows; the weights are formed for the rounded levels. The stages of
            seeds-4 and erk-4 cannot move: they stay between known levels, and the network rounds inside.
        stages: with `round_nsr`, "known" moves stages to known levels too; "free" leaves them where the method puts
            them, and the network rounds inside.
        nsr_min, nsr_max: ends of a named grid, instead of its own: levels, or functions of the number of steps, as the
            best ends depend on it.
        options: of the grid (rho, ...) and of the solver (variant, r, S_churn, ...: `seeds.SOLVERS[name].options`).
    Returns: a Plan.
    Raises: ValueError naming the argument, its value and the rule it broke.
    """
    return Request(**locals()).plan()


def plan_for(
    denoiser: Denoiser | None,
    solver: str | Solver = AUTO,
    *,
    nfe: int | None = None,
    aim: str | None = None,
    steps: int | None = None,
    schedule: str | Schedule | None = None,
    grid: Any = None,
    sigmas: Any = None,
    prediction: str | None = None,
    eta: EtaLike | None = None,
    fraction: float | None = None,
    final: str = "denoise",
    start: Place = None,
    stop: Place = None,
    start_at: str | None = None,
    s_noise: float = 1.0,
    sd: float | None = None,
    round_nsr: Round | str | None = OWN,
    stages: str = "known",
    nsr_min: grids.End | None = None,
    nsr_max: grids.End | None = None,
    **options: Any,
) -> Plan:
    """The `plan` that `sample` makes for this denoiser: on its own schedule, inside its range of levels, at levels it
    knows.

        plan = seeds.plan_for(model, nfe=10)
        images = seeds.sample(model, model.shape, seed=range(8), plan=plan)

    Args:
        denoiser: from `seeds.wrap`, `checkpoints.load`, ...; what is read of it is in `Facts`. None knows nothing.
        schedule: None is the denoiser's own.
        round_nsr: "own" is the denoiser's; None asks at every level; or a rounding, as for `plan`.
        nsr_min, nsr_max: as for `plan`. None: of a named grid that would leave the denoiser's range, the end of that.
        solver, nfe, aim, steps, grid, sigmas, prediction, eta, fraction: as for `plan`.
        final, start, stop, start_at, s_noise, sd, stages: as for `plan`.
        options: of the grid and of the solver, as for `plan`.
    Returns: a Plan.
    Raises: ValueError as `plan` does, and where neither the caller nor the denoiser has a schedule.
    """
    return Request.of(**locals()).plan()


def request_for(denoiser: Denoiser | None, *positional: Any, **keywords: Any) -> "Request":
    """What `plan_for` is asked for with these arguments, before it is planned."""
    call = inspect.signature(plan_for).bind(denoiser, *positional, **keywords)
    call.apply_defaults()
    return Request.of(**call.arguments)


def method_of(solver: str | Solver | None) -> Solver:
    """The solver of that name, the Solver given, or, of "auto" or None, the one that the rule sets. Raises: ValueError
    if there is none."""
    return find_solver(auto.METHOD if is_auto(solver) else solver)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a plan: the arguments of `plan`, as they are said. `plan` makes the plan.

    Two more: nsr_range, the levels that the network was trained on, which a named grid does not leave; rule_levels, the
    levels of the run where they are there.
    """

    solver: str | Solver
    nfe: int | None
    aim: str | None
    steps: int | None
    schedule: str | Schedule
    grid: Any
    sigmas: Any
    prediction: str
    eta: EtaLike | None
    fraction: float | None
    final: str
    start: Place
    stop: Place
    start_at: str | None
    s_noise: float
    sd: float | None
    round_nsr: Round | None
    stages: str
    nsr_min: grids.End | None
    nsr_max: grids.End | None
    options: Mapping[str, Any]
    nsr_range: tuple[float, float] | None = None
    rule_levels: Levels | None = None

    @classmethod
    def of(cls, denoiser: Denoiser | None, **arguments: Any) -> "Request":
        """What `plan_for` is asked for, with what is known of the denoiser.

        Raises: ValueError where neither the caller nor the denoiser has a schedule.
        """
        own, schedule = Facts() if denoiser is None else facts(denoiser), arguments["schedule"]
        path = own.schedule if schedule is None else schedules.schedule(schedule)
        if path is None:
            raise InputError(
                "`schedule` is missing, and the denoiser has none of its own: pass schedule='vp', 'edm', 'flow', ... "
                "or an instance."
            )
        rounding = (
            own.round_nsr
            if isinstance(arguments["round_nsr"], str) and arguments["round_nsr"] == OWN
            else arguments["round_nsr"]
        )
        request = cls(**arguments | {"schedule": path, "round_nsr": rounding}, nsr_range=own.nsr_range)
        return request if request.automatic else request.within()

    def __post_init__(self) -> None:
        if self.grid is None:
            grid = "karras" if self.sigmas is not None else auto.GRID if self.automatic else self.method.grid
            object.__setattr__(self, "grid", grid)
        if self.prediction is None:
            object.__setattr__(self, "prediction", self.method.prediction)
        if self.start_at is None and not self.automatic:
            object.__setattr__(self, "start_at", "zero")

    @cached_property
    def automatic(self) -> bool:
        """The rule chooses, of what is not said."""
        return is_auto(self.solver)

    @cached_property
    def method(self) -> Solver:
        return method_of(self.solver)

    @cached_property
    def path(self) -> Schedule:
        return schedules.schedule(self.schedule)

    @cached_property
    def stochastic(self) -> Eta:
        if self.fraction is not None:
            return Eta.of_fraction(self.fraction, self.levels.lam)
        return Eta(self.method.eta if self.eta is None else self.eta)

    @cached_property
    def form(self) -> Prediction:
        """What is interpolated."""
        return lookup("prediction", self.prediction, PREDICTIONS)(*([] if self.sd is None else [self.sd]))

    @cached_property
    def shaping(self) -> dict[str, Any]:
        """The options of the grid that are given; ends that depend on the number of steps are levels once that is
        known."""
        ends = {name: getattr(self, name) for name in grids.ENDS}
        if self.steps is not None:
            ends = {name: grids.end_at(name, end, self.steps) for name, end in ends.items()}
        names = grid_options(self.grid) if self.sigmas is None else ()
        return _given({name: value for name, value in self.options.items() if name in names} | ends)

    @cached_property
    def own(self) -> dict[str, Any]:
        """The options of the solver that are given."""
        return _given({name: value for name, value in self.options.items() if name not in self.shaping})

    @cached_property
    def times(self) -> tuple[np.ndarray, bool]:
        """The grid's times without a clean end, and whether it had one."""
        if self.rule_levels is not None:
            return np.array([point.t for point in self.rule_levels.points]), False
        return _times(self.path, self.grid, self.sigmas, self.steps, self.shaping)

    @cached_property
    def levels(self) -> Levels:
        """The levels of the run."""
        if self.rule_levels is not None:
            return self.rule_levels
        levels = lay_out(self.path, self.times[0], start=self.start, stop=self.stop, round_nsr=self.round_nsr)
        return replace(levels, free_stages=self.stages == "free")

    @property
    def lists_levels(self) -> bool:
        """The caller says each level."""
        return self.sigmas is not None or not isinstance(self.grid, str)

    def within(self) -> "Request":
        """The request with the ends of the levels that a network was trained on, where a named grid would begin or end
        outside them."""
        nsr_range = self.nsr_range
        if nsr_range is None or self.lists_levels:
            return self
        options = {name: value for name, value in self.shaping.items() if not callable(value)}
        first, last = (float(nsr) for nsr in self.path.nsr(grids.grid(self.grid, self.path, 1, **options)))
        low = nsr_range[0] if self.nsr_min is None and nsr_range[0] > last else self.nsr_min
        high = nsr_range[1] if self.nsr_max is None and nsr_range[1] < first else self.nsr_max
        return replace(self, nsr_min=low, nsr_max=high)

    def plan(self) -> Plan:
        """The plan. Raises: ValueError naming the argument, its value and the rule it broke."""
        if self.automatic:
            return _Choice(self).plan()
        if self.aim is not None:
            raise InputError(
                f"`aim` = {self.aim!r} is of the default, solver='auto', but `solver` is {self.method.name!r}. Leave "
                "one of them out."
            )
        if self.nfe is not None:
            return self._of_calls(self.nfe)
        self._check()
        levels = self.levels
        write = Writer(self.method.name, levels, prediction=self.form, s_noise=self.s_noise, final=self.denoises)
        if levels.points[0].alpha == 0 and len(levels.points) > 1:
            write.leave_snr_zero(levels.points[1], self.stochastic)
            levels = levels.after_first()
        self.method.build(write, levels, prediction=self.form, eta=self.stochastic, **self.own)
        if write.final:
            write.denoise()
        draft = replace(write.plan(), before=self._before(), about=self.about)
        return draft.at_mean() if self.start_at == "mean" and self.start is None else draft

    @property
    def chosen(self) -> "Request":
        """The request with all that the rule chooses said, of "auto"; else itself."""
        return _Choice(self).request if self.automatic else self

    def check_calls(self) -> None:
        """Raises: ValueError unless `nfe` may say how long the run is."""
        nfe = self.nfe
        if isinstance(nfe, bool) or not isinstance(nfe, (int, np.integer)) or nfe < 1:
            raise InputError(
                f"`nfe` = {nfe!r} must be a whole number, at least 1: it counts model calls, the final denoise "
                "included."
            )
        if self.steps is not None:
            raise InputError(
                f"`steps` = {self.steps} and `nfe` = {nfe} both say how long the run is: give one of them."
            )
        if self.lists_levels:
            raise InputError(
                f"`nfe` = {nfe} says how many levels a named grid is to have, but the levels are given. Give the "
                "grid by its name, or leave `nfe` out."
            )

    def _of_calls(self, nfe: int) -> Plan:
        """The plan of the most steps that make at most `nfe` calls."""
        self.check_calls()

        def made(steps: int) -> Plan:
            return replace(self, nfe=None, steps=steps).plan()

        one = made(1)
        if one.nfe > nfe:
            raise TooFewCalls(
                f"`nfe` = {nfe} is too few for {self.method.name}: one step takes {one.nfe} calls here, the final "
                "denoise included."
            )
        best, low, stride = one, 1, max(1, (nfe - one.nfe) // max(1, made(3).nfe - made(2).nfe))
        # right at once where all steps cost the same; where `start` or rounding takes some of them, by doubling and
        # halving
        while stride:
            longer = made(low + stride)
            best, low, stride = (longer, low + stride, stride) if longer.nfe <= nfe else (best, low, stride // 2)
        return best

    @property
    def about(self) -> dict[str, Any]:
        """How the plan is made, for people; `Plan.about`."""
        eta, by_name = self.stochastic.value, isinstance(self.grid, str)
        about = {
            "solver": self.method.name,
            "options": self.own,
            "schedule": described(self.path),
            "prediction": self.form.name,
            "sd": self.sd,
            "eta": None if self.fraction is not None else "a function of lam" if callable(eta) else eta,
            "fraction": self.fraction,
            "grid": {"sigmas": self.sigmas}
            if self.sigmas is not None
            else {"name": self.grid, **self.shaping}
            if by_name
            else {"t": self.grid},
            "steps": self.steps,
            "start": self.start,
            "stop": self.stop,
            "start_at": "mean" if self.start_at == "mean" and self.start is None else None,
            "final": "denoise" if self.denoises else "none",
            "s_noise": self.s_noise,
            "known levels only": self.round_nsr is not None,
        }
        return _given(about)

    @property
    def denoises(self) -> bool:
        return self.final == "denoise" and self.stop is None

    def _before(self) -> Before:
        """What the whole run does before `start`."""
        from_snr_0 = None if self.round_nsr is None else _from_snr_0(self.round_nsr)
        whole = replace(self, start=None, stop=None, round_nsr=from_snr_0)
        if self.start is None or self.levels.points[0].nsr >= whole.levels.points[0].nsr:
            return Before()
        earlier = replace(whole, stop=self.start).plan()
        return Before(len(earlier.draws), earlier.nfe)

    def _check(self) -> None:
        if self.fraction is not None and self.eta is not None:
            raise InputError(
                f"`eta` = {self.eta} and `fraction` = {self.fraction} both say how much noise there is: give one of "
                "them."
            )
        self.method.check_eta(self.stochastic, None if self.fraction is None else f"`fraction` = {self.fraction}")
        prediction = resolve("prediction", self.prediction, PREDICTIONS)
        if prediction != "data" and not self.method.interpolates:
            raise InputError(
                f"`prediction` = {prediction!r} means nothing to {self.method.name}, which steps y itself. Leave it "
                "out, or use an exponential solver."
            )
        if self.sd is not None and prediction != "edm_raw":
            raise InputError(
                f"`sd` = {self.sd} is of prediction='edm_raw', but `prediction` is {prediction!r}. Leave it out."
            )
        if not (self.s_noise >= 0 and np.isfinite(self.s_noise)):
            raise InputError(f"`s_noise` must be a finite number >= 0, but is {self.s_noise}. 1 is exact.")
        for name, words in (
            ("final", ("denoise", "none")),
            ("stages", ("known", "free")),
            ("start_at", ("zero", "mean")),
        ):
            if getattr(self, name) not in words:
                raise InputError(f"`{name}` must be {words[0]!r} or {words[1]!r}, but is {getattr(self, name)!r}.")
        check_options(self.own, self.method, self.grid if self.sigmas is None else None, arguments_of(plan))
        if self.times[1] and self.final != "denoise":
            raise InputError(
                f'The grid ends at the clean level, which only final="denoise" reaches, but `final` is {self.final!r}. '
                f"Leave the last level out."
            )


class _Choice:
    """What "auto" makes of a request: one of the solver that the rule sets, on levels laid for the number of calls.

    Attributes:
        wish: the request, as it was made.
        nfe: the model calls that are asked for, or that the levels given make.
        rule: what the rule chooses for so many.
    Raises: ValueError naming the argument, its value and the rule it broke.
    """

    def __init__(self, request: Request):
        self.wish = request
        auto.refuse_steps(request.steps)
        if request.lists_levels and request.nfe is None:
            self.nfe = len(request.times[0]) - (request.final != "denoise")
        else:
            request = replace(request, nfe=auto.CALLS if request.nfe is None else request.nfe)
            request.check_calls()
            self.nfe = int(request.nfe)  # type: ignore[arg-type]
        prediction = resolve("prediction", request.prediction, PREDICTIONS)
        self.rule = auto.setting(self.nfe, "law" if request.aim is None else request.aim, prediction)

    def plan(self) -> Plan:
        """The plan; warns where it makes fewer calls than are asked for."""
        draft, wish = self._made[1], self.wish
        if draft.nfe < self.nfe and not wish.lists_levels:
            warnings.warn(
                f"`nfe` = {self.nfe}, but {draft.nfe} calls are made: there are no more levels here that the network "
                "knows, or a step takes several.",
                stacklevel=6,
            )
        grid = {} if wish.lists_levels else {"grid": {"name": wish.grid, **self._ends(), **self._shape}}
        choice = {"solver": AUTO, "aim": wish.aim or auto.AIMS[0], "nfe": self.nfe, "method": auto.METHOD}
        about = {**choice, **{name: value for name, value in draft.about.items() if name != "solver"}, **grid}
        return replace(draft, solver=AUTO, about=about | _given({"start": wish.start, "stop": wish.stop}))

    @property
    def request(self) -> Request:
        """As the solver is asked."""
        return self._made[0]

    def _method(self, rule: auto.Setting) -> Request:
        """The request of the solver, with what the rule chooses."""
        wish = self.wish
        own = {name: value for name, value in wish.options.items() if name not in wish.shaping}
        return replace(
            wish,
            solver=auto.METHOD,
            aim=None,
            eta=rule.eta if wish.eta is None and wish.fraction is None else wish.eta,
            start_at=rule.start_at if wish.start_at is None else wish.start_at,
            options=rule.options(_given(own)),
        )

    @cached_property
    def _made(self) -> tuple[Request, Plan]:
        wish, rule = self.wish, self.rule.ending(self._last)
        if wish.lists_levels:
            method = self._method(rule.on([point.nsr for point in self._listed]))
            return method, method.plan()
        least = 1 if wish.denoises else 2
        count = self.nfe + least - 1
        while True:
            points = tuple(self._levels(count))
            method = self._method(rule.on([point.nsr for point in points]))
            request = replace(
                method,
                nfe=None,
                nsr_min=None,
                nsr_max=None,
                start=None,
                start_at=method.start_at if wish.start is None else "zero",
                stop=None,
                final="denoise" if wish.denoises else "none",
                rule_levels=Levels(wish.path, points, wish.round_nsr, len(points), wish.stages == "free"),
            )
            draft = request.plan()
            if draft.nfe <= self.nfe or count == least:
                break
            # a step makes two calls at most, and a start-up some more
            count = max(least, count - max(1, (draft.nfe - self.nfe) // 2))
        if draft.nfe > self.nfe:
            raise TooFewCalls(f"`nfe` = {self.nfe} is too few: one step takes {draft.nfe} calls here.")
        return request, draft

    @cached_property
    def _listed(self) -> Sequence[Point]:
        """The levels given, as the network knows them, whatever part of them is run."""
        return lay_out(self.wish.path, self.wish.times[0], round_nsr=self.wish.round_nsr).points

    @property
    def _last(self) -> float:
        """nsr of the last level; 0 of a grid that has ends of its own, none said."""
        return self._listed[-1].nsr if self.wish.lists_levels else self._ends().get("nsr_min", 0.0)

    @property
    def _shape(self) -> dict[str, Any]:
        """Options of the grid: those said, and the rule's, of its own grid."""
        own = {name: value for name, value in self.wish.shaping.items() if name not in grids.ENDS}
        return (self.rule.shaping if self.wish.grid == auto.GRID else {}) | own

    def _levels(self, count: int) -> Sequence[Point]:
        """So many levels, all different, from the start to the stop."""
        wish = self.wish
        ends = self._ends()
        if ends and not ends["nsr_min"] < ends["nsr_max"] * (1 - SAME):
            t = np.atleast_1d(np.asarray(wish.path.t_of_nsr(ends["nsr_max"]), np.float64))
            return lay_out(wish.path, t, round_nsr=wish.round_nsr).points

        def levels(n: int) -> Sequence[Point]:
            t = grids.grid(wish.grid, wish.path, n - 1, **ends, **self._shape)
            return lay_out(wish.path, t, start=wish.start, stop=wish.stop, round_nsr=wish.round_nsr).points

        return auto.lay(levels, count)

    def _ends(self) -> dict[str, float]:
        """Where the grid begins and ends; of a grid that has ends of its own, those that are said."""
        wish = self.wish
        if wish.grid in grids.OWN_ENDS:
            within = wish.within()
            return _given({"nsr_max": within.nsr_max, "nsr_min": within.nsr_min})
        start, stop = (self._level(name) for name in ("start", "stop"))
        ends, steps = {name: getattr(wish, name) for name in grids.ENDS}, max(1, self.nfe - wish.denoises)
        high, low = auto.span(self.rule, wish.path, wish.nsr_range, start=start, stop=stop, steps=steps, **ends)
        if stop is not None and not stop < high:
            raise InputError(
                f"`stop` = {wish.stop} lies at or above nsr = {high:.6g}, where the run begins: no step is left."
            )
        return {"nsr_max": high, "nsr_min": low}

    def _level(self, name: str) -> float | None:
        """nsr of a start or stop."""
        place = getattr(self.wish, name)
        if place is None:
            return None
        if not isinstance(place, tuple):
            raise InputError(
                f"`{name}` = {place!r} is the index of a level, but solver='auto' lays its levels from the start on: "
                "say ('nsr', value) or ('lam', value)."
            )
        return level_nsr(name, place)


def check_options(options: Mapping[str, Any], solver: Solver | None, grid: Any, arguments: Iterable[str]) -> None:
    """Whether keywords that are no argument are options of a solver or of a grid.

    Args:
        options: by name.
        solver, grid: whose they must be; where there is no solver, any solver's and any grid's will do.
        arguments: those of the function that was called, one of which may have been meant.
    Raises: ValueError that says what others' keywords are called here, or which names are near.
    """
    every = {name for each in grids.GRIDS for name in grid_options(each)}
    shaping = grid_options(grid) if solver else every
    takes = solver.options if solver else {name for each in SOLVERS.values() for name in each.options}
    for name, value in options.items():
        if name in SLIPS:
            raise InputError(f"`{name}` is no argument here. {SLIPS[name]}")
        if name in shaping or name in takes:
            continue
        if name in every and isinstance(grid, str):
            of = [key for key in grids.GRIDS if name in grid_options(key)]
            raise InputError(
                f"`{name}` = {repr(value)[:60]} shapes the grid {', '.join(of)}, but `grid` is {grid!r}. Say "
                f"grid={of[0]!r} too."
            )
        if solver:
            solver.check_options({name: value}, also=[*arguments, *every])
        near = near_names(name, [*arguments, *takes, *shaping])
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise InputError(f"`{name}` is no argument here, nor an option of any solver or grid.{hint}")


def arguments_of(function: Callable[..., Any]) -> list[str]:
    """The names that a function may be given by keyword, its further options aside."""
    return [
        name
        for name, it in inspect.signature(function).parameters.items()
        if it.kind in (it.KEYWORD_ONLY, it.POSITIONAL_OR_KEYWORD)
    ]


def grid_options(grid: Any) -> list[str]:
    """The options of a named grid; levels of one's own have none."""
    names = arguments_of(lookup("grid", grid, grids.GRIDS)) if isinstance(grid, str) else []
    return [name for name in names if name not in ("schedule", "steps")]


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _from_snr_0(round_nsr: Round) -> Round:
    """The rounding with SNR 0 as it is: a part of a run may be counted from there, though the network cannot be asked
    there."""

    def rounded(nsr: np.ndarray) -> np.ndarray:
        levels, finite = nsr.copy(), np.isfinite(nsr)
        levels[finite] = round_nsr(nsr[finite])
        return levels

    return rounded


def _times(
    path: Schedule, grid: Any, sigmas: Any, steps: int | None, shaping: dict[str, Any]
) -> tuple[np.ndarray, bool]:
    """The grid's times without a clean end, and whether it had one."""
    if sigmas is not None and not (isinstance(grid, str) and grid == "karras"):
        raise InputError("`grid` and `sigmas` both say where to stop: give one of them.")
    if sigmas is None and isinstance(grid, str):
        return grids.grid(grid, path, steps, **shaping), False
    name, values = ("grid", grid) if sigmas is None else ("sigmas", sigmas)
    levels = _row(name, values)
    grids.check_falling(name, levels)
    clean = bool(levels[-1] == 0 if sigmas is not None else path.sigma(levels[-1]) == 0)
    if sigmas is not None and clean and levels[0] <= 1 and isinstance(path, Flow):
        raise InputError(
            f"`sigmas` run from {levels[0]:g} to 0 on a flow schedule: those are its times t, but `sigmas` are sigma / "
            "alpha = t / (1 - t), so a run would begin half way. Give them as grid=. (If they are sigma / alpha, "
            "leave the last 0 out: the final denoise is made anyway.)"
        )
    levels = levels[:-1] if clean else levels
    if clean and len(levels) == 1:
        if steps not in (None, 0):
            raise InputError(
                f"`steps` = {steps}, but one level and the clean end make no step, only the final denoise. Leave "
                "`steps` out."
            )
        return levels if sigmas is None else np.atleast_1d(path.t_of_nsr(levels)), clean
    if sigmas is not None:
        levels = np.asarray(path.t_of_nsr(levels))
    return grids.grid(levels, path, steps, **shaping), clean


def _row(name: str, values: Any) -> np.ndarray:
    """A list, an array or a tensor as a row of float64 numbers."""
    try:
        row = np.array(np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64))
    except (TypeError, ValueError):
        row = np.zeros(0)
    if row.ndim != 1 or len(row) < 2:
        raise InputError(f"`{name}` must be a row of at least 2 numbers, noisiest first, but is {values!r}.")
    return row
