"""The front door: `sample` and `iterate`, and the loop behind them. No arithmetic of its own."""

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from seeds import conditions, watch
from seeds.auto import GRID, is_auto
from seeds.denoisers import Denoiser, Rows, answer, rows_of
from seeds.errors import InputError
from seeds.grids import End
from seeds.inputs import Inputs, starts
from seeds.integrals import EtaLike
from seeds.planning import OWN, arguments_of, check_options, method_of, plan_for
from seeds.plans import Plan, Point
from seeds.schedules import Schedule
from seeds.solvers import Solver
from seeds.solvers.levels import Place, Round
from seeds.source import NoiseLike, Source, Unit
from seeds.stepper import Stepper
from seeds.watch import Watch


class Call(NamedTuple):
    """One model call.

    Attributes:
        i: its index; -2 - i is the number of the draw that `project` is given after it.
        point: the level of the state.
        x: (B, *shape) the state that the model was asked about.
        denoised: its answer, D(x, point).
        nfe: calls made so far, this one included.
        seeds: whose samples they are.
        completes: it is the last call of a step, so that `project` follows it; False for a stage inside a step.
    """

    i: int
    point: Point
    x: Tensor
    denoised: Tensor
    nfe: int
    seeds: tuple[int, ...] = ()
    completes: bool = True


class Calls(Iterator[Call]):
    """The calls of one run, each made when it is asked for; made by `iterate`.

    Attributes:
        plan: what is run: `plan.nfe` calls.
    """

    def __init__(self, plan: Plan, calls: Generator[Call, None, Tensor]):
        self.plan, self._calls, self._made, self._result = plan, calls, 0, None

    def __next__(self) -> Call:
        try:
            call = next(self._calls)
        except StopIteration as stop:
            self._result = self._result if stop.value is None else stop.value
            raise
        self._made = call.nfe
        return call

    def close(self) -> None:
        """Ends the run where it stands."""
        self._calls.close()

    @property
    def result(self) -> Tensor:
        """(B, *shape) the samples.

        Raises: ValueError before the last call is made.
        """
        if self._result is None:
            raise InputError(
                f"`result` is there when all {self.plan.nfe} calls are made, but {self._made} are: run the loop to its "
                "end. For the samples alone use seeds.sample; for a part of the run give stop=."
            )
        return self._result


def iterate(
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    seed: int | Sequence[int],
    solver: str | Solver | None = None,
    nfe: int | None = None,
    aim: str | None = None,
    steps: int | None = None,
    schedule: str | Schedule | None = None,
    grid: Any = None,
    sigmas: Any = None,
    prediction: str | None = None,
    eta: EtaLike | None = None,
    fraction: float | None = None,
    final: str | None = None,
    start: Any = None,
    stop: Place = None,
    start_at: str | None = None,
    s_noise: float | None = None,
    sd: float | None = None,
    round_nsr: Round | str | None = OWN,
    stages: str | None = None,
    nsr_min: End | None = None,
    nsr_max: End | None = None,
    plan: Plan | None = None,
    x: Tensor | None = None,
    data: Tensor | None = None,
    part: int | Sequence[int] | None = None,
    labels: Any = None,
    noise: NoiseLike = "gaussian",
    noise_device: str = "auto",
    project: Callable[[Tensor, Point, Tensor], Tensor] | None = None,
    grad: bool | str = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    **options: Any,
) -> Calls:
    """The run of `sample`, one item per model call; leaving the loop makes no further call.

        calls = seeds.iterate(denoiser, (3, 32, 32), seed=range(4), nfe=20)
        for call in calls:
            show(call.denoised)
        images = calls.result

    Args:
        denoiser, shape, seed: as for `sample`; all samples are one batch, and of one plan.
        solver, nfe, aim, steps, schedule, grid, sigmas, prediction, eta, fraction, final: as for `sample`.
        start, stop, start_at, s_noise, sd, round_nsr, stages, nsr_min, nsr_max: as for `sample`.
        plan, x, data, part, labels, noise, noise_device, project, grad, dtype, device: as for `sample`.
        options: of the grid and of the solver, as for `plan`.
    Returns: an iterator over `Call`s, whose `result` is that of `sample` once the last is made. The tensors of a Call
        may be kept, but not written to: the run still reads them.
    Raises: ValueError as `sample` does, and if `start` has a level for each sample.
    """
    run = Run.of(iterate, locals())
    if len(run.groups) > 1:
        raise InputError(
            "`start` has a level for each image, but `iterate` runs one plan: use `sample` with a callback, or one "
            "level at a time."
        )
    return Calls(run.groups[0][0], run.alone())


def sample(
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    seed: int | Sequence[int],
    solver: str | Solver | None = None,
    nfe: int | None = None,
    aim: str | None = None,
    steps: int | None = None,
    schedule: str | Schedule | None = None,
    grid: Any = None,
    sigmas: Any = None,
    prediction: str | None = None,
    eta: EtaLike | None = None,
    fraction: float | None = None,
    final: str | None = None,
    start: Any = None,
    stop: Place = None,
    start_at: str | None = None,
    s_noise: float | None = None,
    sd: float | None = None,
    round_nsr: Round | str | None = OWN,
    stages: str | None = None,
    nsr_min: End | None = None,
    nsr_max: End | None = None,
    plan: Plan | None = None,
    x: Tensor | None = None,
    data: Tensor | None = None,
    part: int | Sequence[int] | None = None,
    labels: Any = None,
    noise: NoiseLike = "gaussian",
    noise_device: str = "auto",
    project: Callable[[Tensor, Point, Tensor], Tensor] | None = None,
    grad: bool | str = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    batch: int | None = None,
    progress: bool = False,
    callback: Callable[[Call], Any] | None = None,
    **options: Any,
) -> Tensor:
    """Draws samples from a diffusion model.

        images = seeds.sample(denoiser, (3, 32, 32), seed=range(64), nfe=20)

    Args:
        denoiser: D(x, at), see `seeds.wrap` for networks.
        shape: of one sample, without the batch.
        seed: an int, or a sequence of B ints from 0 to 2^64 - 1, one per sample: sample k depends on seed[k] alone, in
            any batch, on any machine.
        batch: the most samples asked about at once; None is all.
        progress: a bar on stderr.
        callback: called with a `Call` after each model call.
        solver: "auto" (None), the rule that chooses by `nfe`, a name of `seeds.SOLVERS`, or a `Solver`; as for `plan`.
        schedule, nsr_min, nsr_max, round_nsr: as for `plan_for`: by default the denoiser's own.
        nfe, aim, steps, grid, sigmas, prediction, eta, fraction, final, stop, s_noise, sd, stages: as for `plan`; None
            is its default.
        start_at: as for `plan`; with `x`, `data` or `start` it does nothing, as the state that the run begins with then
            holds data.
        start: as for `plan`, or one for each sample: ("nsr", [0.5, 2.0]), or a list of places. Samples of one level run
            together.
        plan: a plan made before, instead of them.
        x: (B, *shape) the state at the start level, instead of noise. With `start` it is the state of a run that was
            stopped there, and the noise goes on where that run's ended (but a solver that remembers earlier steps
            begins anew); without, and with the rule's own levels, which are laid for this part alone, it draws from a
            part of its own, see `part`.
        data: (B, *shape) or (shape) clean data, noised at the start level (image-to-image; see `start`), from a part of
            its own.
        part: which of a seed's independent parts to draw from: an int from 0 to 2^32 - 1, or one for each sample. None:
            0 where a run begins with noise, or goes on; else a hash of the state given, `noise.part_of`, so that a run
            never meets the noise that made what it is given. Give a number of its own to each pass that returns to a
            level (RePaint, restarts), as part=k.
        labels: an int, (B,) class indices or (B, K) rows, handed to the denoiser; or a dict or tuple of tensors with B
            rows each.
        noise: "gaussian", "two-point", or a callable (draw, lam0, lam1, shape) -> Tensor of standard normals, shape
            with the batch; draw -1 is the initial one, -2 - k is for `project` after model call k. A run that begins at
            `start` numbers its draws and calls as the whole run does, so that two parts of a run use the noise of the
            whole. If it takes `seeds` or `part` by keyword it is given them, one for each image that it draws for; one
            that does not must not return the same for every batch.
        noise_device: where noise of those names is drawn, which changes no bit of it: "auto" is the state's device if
            that is CUDA, else the CPU, ahead of need; "cpu", or that device by name.
        project: called as project(x, point, draw) -> x after each completed step, never on stages; `draw` is a standard
            normal tensor like x. For inpainting return mask * x + (1 - mask) * (point.alpha * known + point.sigma *
            draw).
        grad: True lets gradients flow through the run, to `x`, `data`, labels and the denoiser's parameters;
            "checkpoint" keeps no activations and makes each model call again on the way back. False, the default, runs
            without.
        dtype, device: of the state; default float32 and the denoiser's own device. The networks behind the denoiser are
            moved to a device that is asked for, in place as torch does.
        options: of the grid and of the solver, as for `plan`.
    Returns: (B, *shape) samples, data in the scale the model was trained on.
    Raises:
        ValueError: an argument is wrong, by name; a network is in training mode, or cannot be moved.
        FloatingPointError: the result is NaN or inf; it says whether by the state, an answer or the plan (looked for
            once, after the loop).
    Warns: UserWarning, once, after the loop: the run began from noise where the data should be seen, or states grew a
        thousand times beyond their level.
    """
    run = Run.of(sample, locals())
    if batch is not None and not (isinstance(batch, (int, np.integer)) and batch >= 1):
        raise InputError(f"`batch` must be a whole number, at least 1, but is {batch!r}.")
    units, results, watchers = run.units(batch), [], []
    with tqdm(
        total=sum(unit.plan.nfe for unit in units), disable=not progress, unit="call", desc=units[0].plan.solver
    ) as bar:
        for unit in units:
            watchers.append(run.watcher(unit))
            calls = Calls(unit.plan, run.calls(unit, watchers[-1], keep=callback is not None))
            for call in calls:
                if callback is not None:
                    callback(call)
                bar.update()
            results.append(calls.result)
    sizes = [one.read() for one in watchers]
    watch.refuse_lost(sizes, len(run.inputs.seeds))
    watch.warn(sizes, len(run.inputs.seeds))
    return _in_order(results, units)


def _in_order(results: list[Tensor], units: list[Unit]) -> Tensor:
    """The results of all units, in the order of the seeds."""
    result = results[0] if len(results) == 1 else torch.cat(results)
    order = [row for unit in units if isinstance(unit.rows, list) for row in unit.rows]
    return result[torch.as_tensor(order).argsort().to(result.device)] if order else result


UNSAID = {"round_nsr": OWN}
"""The defaults of these that are not None: of `round_nsr`, None asks at every level."""
PLANNED = [name for name in arguments_of(plan_for) if name != "denoiser"]
"""The arguments of `sample` that make its plan."""


class Run:
    """The loop of one run, batch by batch.

    Args:
        inputs: what it is given.
        groups: its plans, and whose samples they are.
        parts: of each seed's noise.
        source: where its draws come from.
        project: as for `sample`.
    """

    def __init__(
        self,
        inputs: Inputs,
        groups: list[tuple[Plan, Rows]],
        parts: list[int],
        source: Source,
        project: Callable[[Tensor, Point, Tensor], Tensor] | None,
    ):
        self.inputs, self.groups, self.parts, self.source, self.project = inputs, groups, parts, source, project

    @classmethod
    def of(cls, function: Callable[..., Any], args: Mapping[str, Any]) -> "Run":
        """The run that the arguments of `sample` or `iterate` ask for.

        Raises: ValueError as `sample` does.
        """
        method = None if args["plan"] is not None else method_of(args["solver"])
        own = GRID if is_auto(args["solver"]) and args["sigmas"] is None else "karras"
        check_options(args["options"], method, own if args["grid"] is None else args["grid"], arguments_of(function))
        inputs = Inputs(**{name: args[name] for name in arguments_of(Inputs)})
        settings = {name: args[name] for name in PLANNED if args[name] is not UNSAID.get(name)} | args["options"]
        if inputs.given and args["plan"] is None:
            settings["start_at"] = "zero"
        groups = _groups(args["denoiser"], args["plan"], len(inputs.seeds), settings, args["start"])
        first = groups[0][0]
        if inputs.given and first.start_at == "mean":
            raise InputError(
                f"`plan` starts at the mean, for runs that begin with noise alone, but `{inputs.given}` is given, "
                "which holds data already. Plan without start_at."
            )
        if inputs.data is not None and args["start"] is None:
            _check_seen(inputs.data, first.start, args["plan"] is not None or _own_levels(settings))
        if inputs.x is not None and args["plan"] is None and args["start"] is None and args["nsr_max"] is None:
            _check_placed(args, first.start)
        goes_on = inputs.x is not None and (args["start"] is not None or first.before.calls > 0)
        if goes_on and args["plan"] is None and _laid_anew(args):
            goes_on = _warn_of_rule(args["part"])
        parts = inputs.parts(args["part"], goes_on)
        if goes_on:
            _warn_of_parts(groups, sure=args["part"] is not None or args["stop"] is None)
        source = Source(
            args["noise"],
            args["noise_device"],
            shape=inputs.shape,
            seeds=inputs.seeds,
            dtype=inputs.dtype,
            device=inputs.device,
            from_noise=inputs.x is None,
            projects=args["project"] is not None,
        )
        return cls(inputs, groups, parts, source, args["project"])

    def units(self, batch: int | None) -> list[Unit]:
        """The samples cut into those that run together: of one plan, and at most `batch` of them."""
        units = []
        for plan, rows in self.groups:
            every = rows if isinstance(rows, list) else range(len(self.inputs.seeds))
            for k in range(0, len(every), batch or len(every)):
                some = every[k : k + (batch or len(every))]
                seeds, parts = [self.inputs.seeds[row] for row in some], [self.parts[row] for row in some]
                units.append(Unit(plan, some if isinstance(some, list) else slice(some.start, some.stop), seeds, parts))
        return units

    def watcher(self, unit: Unit) -> Watch:
        return Watch(
            unit.plan,
            unit.seeds,
            self.inputs.dtype,
            data_range=self.inputs.facts.data_range,
            given=self.inputs.given,
            projected=self.project is not None,
        )

    def alone(self) -> Generator[Call, None, Tensor]:
        """The calls of all samples as one batch; returns the samples."""
        (unit,) = self.units(None)
        watcher = self.watcher(unit)
        result = yield from self.calls(unit, watcher)
        watch.warn([watcher.read()], len(self.inputs.seeds))
        return result

    def calls(self, unit: Unit, watcher: Watch, keep: bool = True) -> Generator[Call, None, Tensor]:
        """Yields a Call per model call; returns the unit's samples. Gradients are off while it runs, not while the
        caller holds an item."""
        # torch knows generators
        return (self._loop if self.inputs.grad else torch.no_grad()(self._loop))(unit, watcher, keep)

    def _loop(self, unit: Unit, watcher: Watch, keep: bool) -> Generator[Call, None, Tensor]:
        denoiser = rows_of(self.inputs.denoiser, unit.rows, len(self.inputs.seeds))
        labels, seeds = conditions.rows(self.inputs.labels, unit.rows), tuple(unit.seeds)
        with self.source.draws(unit) as draw:
            stepper = Stepper(
                unit.plan,
                self.inputs.state(unit.plan.start, unit.rows, draw),
                draw,
                reuse=not keep,
                grad=bool(self.inputs.grad),
            )
            while not stepper.done:
                i, x, at = stepper.i, stepper.x, stepper.at
                denoised, replacement = self._ask(denoiser, x, at, labels)
                if replacement is not None:
                    stepper.replace(replacement)
                stepper.advance(denoised)
                completes = stepper.completed
                watcher.call(x, denoised)
                if self.project is not None and completes:
                    stepper.replace(self.project(stepper.x, stepper.at, draw(-2 - i)))
                yield Call(i, at, x, denoised, i + 1, seeds, completes)
            watcher.end(stepper.x)
            return stepper.x

    def _ask(self, denoiser: Any, x: Tensor, at: Point, labels: Any) -> tuple[Tensor, Tensor | None]:
        try:
            if self.inputs.grad == "checkpoint":
                return checkpoint(answer, denoiser, x, at, labels, use_reentrant=False)
            return answer(denoiser, x, at, labels)
        except RuntimeError as error:
            self.inputs.explain(error)
            raise


def _groups(
    denoiser: Any, plan: Plan | None, count: int, settings: dict[str, Any], start: Any
) -> list[tuple[Plan, Rows]]:
    """The plans of a run, and whose samples they are: one of all, unless each has a start of its own."""
    if plan is None:
        return [(plan_for(denoiser, **settings | {"start": place}), rows) for place, rows in starts(start, count)]
    if not isinstance(plan, Plan):
        raise InputError(
            f"`plan` must be a Plan, as seeds.plan makes it, but is a {type(plan).__name__}. A solver's name is "
            "`solver`."
        )
    if settings:
        raise InputError(
            f"`plan` already fixes the run, but `{next(iter(settings))}` is given too. Leave it out, or make another "
            "plan."
        )
    return [(plan, slice(None))]


def _laid_anew(args: Mapping[str, Any]) -> bool:
    """The rule lays levels for this part alone, not those that a whole run would have there."""
    return (
        is_auto(args["solver"]) and args["sigmas"] is None and (args["grid"] is None or isinstance(args["grid"], str))
    )


def _check_placed(args: Mapping[str, Any], at: Point) -> None:
    """Raises: ValueError for a state whose level nobody has said, where the rule begins at one of its own."""
    if _laid_anew(args):
        raise InputError(
            "`x` is a state, but at which level? solver='auto' begins where it is best for `nfe` calls, here at nsr = "
            f"{at.nsr:.4g}. Say where x is: nsr_max=80.0 if it is noise alone of that level, or start=('nsr', 2.0)."
        )


def _warn_of_rule(part: Any) -> bool:
    """A state and a start are given to the rule: whatever part of a run it is, it does not go on where another ended.

    Raises: ValueError if it is asked for the noise of the whole run.
    """
    if part is not None and 0 in np.ravel(part):
        raise InputError(
            f"`part` = {part} goes on with the noise of a whole run, but solver='auto' lays levels of its own from "
            "`start` on, so there is none. Leave it out, give another number, or name the solver, its grid and steps "
            "for both parts."
        )
    if part is None:
        warnings.warn(
            "solver='auto' makes `nfe` calls of its own from `start` on: two such parts are two runs, not the whole "
            "one, and this one draws fresh noise. For parts of one run stop and go on with Stepper.save and "
            "Stepper.load, or name the solver, its grid and steps for both; say part=1, or another number, where this "
            "is a run of its own.",
            stacklevel=4,
        )
    return False


def _own_levels(options: Mapping[str, Any]) -> bool:
    """The caller says where the run begins, by other words than `start`."""
    return not isinstance(options.get("grid", ""), str) or any(
        options.get(name) is not None for name in ("sigmas", "nsr_max")
    )


def _check_seen(data: Tensor, at: Point, own_levels: bool) -> None:
    share = watch.seen(data, at)
    if not own_levels or share < watch.DROWNED:
        raise InputError(
            f"`data` is given, but not where the run begins, which is at nsr = {at.nsr:.4g}: of the data, {share:.2g} "
            "times the noise there, nothing would be left. Say start=('nsr', 2.0); higher keeps less of the data."
        )


def _warn_of_parts(groups: list[tuple[Plan, Rows]], sure: bool) -> None:
    """What cannot be known of a state that a run goes on with."""
    if any(plan.remembers for plan, _ in groups):
        warnings.warn(
            f"{groups[0][0].solver} reads answers of earlier steps, which a state alone does not hold: it begins anew "
            "at `start`, and the two parts are not the whole run. Stop and go on with Stepper.save and Stepper.load, "
            "which keep them.",
            stacklevel=4,
        )
    if not sure:
        warnings.warn(
            "`x`, `start` and `stop` together go on with the noise of the whole run: right for the next part of a run "
            "that was stopped at `start`, wrong for another pass from a state that was noised again (RePaint, "
            "restarts), which would meet the noise of the pass before. Say which: part=0 goes on, part=1, 2, ... are "
            "other passes.",
            stacklevel=4,
        )
