"""The front door: `plan`, `sample`, `iterate`. Glue between the parts, no arithmetic of its own."""

import inspect
import operator
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from seeds import conditions, grids, schedules, watch
from seeds import noise as noises
from seeds.denoisers import Denoiser, Facts, ask, facts, rows_of
from seeds.integrals import Eta, EtaLike
from seeds.modules import moved, refuse_training
from seeds.names import lookup, resolve
from seeds.plans import Before, Plan, Point, described
from seeds.predictions import PREDICTIONS
from seeds.schedules import Flow, Schedule
from seeds.solvers import Solver, Writer, find_solver
from seeds.solvers.levels import Place, Round, lay_out
from seeds.stepper import GradientError, Stepper
from seeds.watch import Watch

NoiseLike = str | Callable[..., Tensor]

SLIPS = {
    "mask": "Inpainting is `project=`, a function that puts the known region back after each step: docs/models.md has it in two lines.",
    "generator": "Noise comes from `seed=` alone, one number for each image; noise of your own is `noise=`.",
    "guidance": "Guide the denoiser: seeds.sample(seeds.guide(denoiser, 3.0), ..., labels=...).",
    "strength": "Say where to begin: data=..., start=('nsr', 2.0); higher keeps less of the data.",
}
SLIPS |= dict.fromkeys(("guidance_scale", "cfg", "cfg_scale"), SLIPS["guidance"])
"""Arguments of other libraries, and what is said to them here."""


def plan(
    solver: str | Solver,
    *,
    steps: int | None = None,
    schedule: str | Schedule,
    grid: Any = "karras",
    sigmas: Any = None,
    prediction: str = "data",
    eta: EtaLike | None = None,
    final: str = "denoise",
    start: Place = None,
    stop: Place = None,
    s_noise: float = 1.0,
    sd: float | None = None,
    round_nsr: Round | None = None,
    stages: str = "known",
    nsr_min: float | None = None,
    nsr_max: float | None = None,
    **options: Any,
) -> Plan:
    """Everything about a run but the model, as numbers: which levels to visit and how to combine states, answers and draws.

    Args:
        solver: a name of `seeds.SOLVERS`, or a `Solver`.
        steps: N intervals, N + 1 levels. NFE is s N for s calls a step, + 1 with final="denoise"; the step that leaves SNR 0 takes one call.
        schedule: an instance or a name.
        grid: a name of `seeds.GRIDS`, or an array of times t of the schedule, falling; a last t with sigma(t) = 0 means final="denoise".
        sigmas: instead of a grid: an array of nsr, falling, used as it is; a trailing 0 means final="denoise".
        prediction: what is interpolated: "data", "noise", "v", "flow" or "edm_raw" (for data of standard deviation `sd`; None is 0.5).
        eta: stochasticity, see `Eta`; None is the solver's own: 1 for the SDE solvers of the package, 0 for those of the ODE, which take no other.
        final: "denoise" returns D at the last level; "none" returns the state there.
        start, stop: a grid index, or ("nsr", v) or ("lam", v), inserted exactly. With `stop`, final is "none".
        s_noise: multiplies the noise, not the drift. Anything but 1 leaves the exact marginals; EDM's S_noise.
        round_nsr: rounds levels to those a network knows; the weights are formed for the rounded levels. The stages of seeds-4 and erk-4 cannot move: they
            stay between known levels, and the network rounds inside.
        stages: with `round_nsr`, "known" moves stages to known levels too; "free" leaves them where the method puts them, and the network rounds inside.
        nsr_min, nsr_max: ends of a named grid, instead of its own.
        options: of the grid (rho, ...) and of the solver (variant, r, S_churn, ...: `seeds.SOLVERS[name].options`).
    Returns: a Plan.
    Raises: ValueError naming the argument, its value and the rule it broke.
    """
    method, path = find_solver(solver), schedules.schedule(schedule)
    prediction = resolve("prediction", prediction, PREDICTIONS)
    stochastic = Eta(method.eta if eta is None else eta)
    _check(method, stochastic, prediction, sd, s_noise, final)
    if stages not in ("known", "free"):
        raise ValueError(f"`stages` must be 'known' or 'free', but is {stages!r}.")
    shaping, options = _split(grid if sigmas is None else None, method, options)
    shaping |= {name: value for name, value in (("nsr_min", nsr_min), ("nsr_max", nsr_max)) if value is not None}
    options = {name: value for name, value in options.items() if value is not None}
    _check_slips(options)
    method.check_options(options)
    times, clean = _times(path, grid, sigmas, steps, shaping)
    if clean and final != "denoise":
        raise ValueError(
            f'The grid ends at the clean level, which only final="denoise" reaches, but `final` is {final!r}. Leave the last level out.'
        )

    levels = replace(lay_out(path, times, start=start, stop=stop, round_nsr=round_nsr), free_stages=stages == "free")
    before = Before()
    from_snr_0 = round_nsr and _from_snr_0(round_nsr)
    if start is not None and levels.points[0].nsr < lay_out(path, times, round_nsr=from_snr_0).points[0].nsr:
        given = {
            "steps": steps,
            "schedule": path,
            "grid": grid,
            "sigmas": sigmas,
            "prediction": prediction,
            "eta": eta,
            "s_noise": s_noise,
            "sd": sd,
            "round_nsr": from_snr_0,
            "stages": stages,
        }
        earlier = plan(method, **given, stop=start, **shaping, **options)
        before = Before(len(earlier.draws), earlier.nfe)
    form = PREDICTIONS[prediction](*([] if sd is None else [sd]))
    write = Writer(method.name, levels, prediction=form, s_noise=s_noise, final=final == "denoise" and stop is None)
    if levels.points[0].alpha == 0 and len(levels.points) > 1:
        write.leave_snr_zero(levels.points[1], stochastic)
        levels = levels.after_first()
    method.build(write, levels, prediction=form, eta=stochastic, **options)
    if write.final:
        write.denoise()
    about = {
        "solver": method.name,
        "options": options,
        "schedule": described(path),
        "prediction": prediction,
        "sd": sd,
        "eta": "a function of lam" if callable(stochastic.value) else stochastic.value,
        "grid": {"sigmas": sigmas} if sigmas is not None else {"name": grid, **shaping} if isinstance(grid, str) else {"t": grid},
        "steps": steps,
        "start": start,
        "stop": stop,
        "final": "denoise" if write.final else "none",
        "s_noise": s_noise,
        "known levels only": round_nsr is not None,
    }
    return replace(write.plan(), before=before, about={name: value for name, value in about.items() if value is not None})


def _from_snr_0(round_nsr: Round) -> Round:
    """The rounding with SNR 0 as it is: a part of a run may be counted from there, though the network cannot be asked there."""

    def rounded(nsr: np.ndarray) -> np.ndarray:
        known, finite = nsr.copy(), np.isfinite(nsr)
        known[finite] = round_nsr(nsr[finite])
        return known

    return rounded


def _check(method: Solver, eta: Eta, prediction: str, sd: float | None, s_noise: float, final: str) -> None:
    method.check_eta(eta)
    if prediction != "data" and not method.interpolates:
        raise ValueError(
            f"`prediction` = {prediction!r} means nothing to {method.name}, which steps y itself. Leave it out, or use an exponential solver."
        )
    if sd is not None and prediction != "edm_raw":
        raise ValueError(f"`sd` = {sd} is of prediction='edm_raw', but `prediction` is {prediction!r}. Leave it out.")
    if not (s_noise >= 0 and np.isfinite(s_noise)):
        raise ValueError(f"`s_noise` must be a finite number >= 0, but is {s_noise}. 1 is exact.")
    if final not in ("denoise", "none"):
        raise ValueError(f"`final` must be 'denoise' or 'none', but is {final!r}.")


def _parameters(function: Callable) -> dict[str, inspect.Parameter]:
    return {
        name: it for name, it in inspect.signature(function).parameters.items() if it.kind in (it.KEYWORD_ONLY, it.POSITIONAL_OR_KEYWORD)
    }


def _split(grid: Any, method: Solver, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the grid, and those of the solver."""
    known = _parameters(lookup("grid", grid, grids.GRIDS)) if isinstance(grid, str) else {}
    shaping = {name: value for name, value in options.items() if name in known and name not in ("schedule", "steps")}
    return shaping, {name: value for name, value in options.items() if name not in shaping}


def _check_slips(options: dict[str, Any]) -> None:
    for name in options:
        if name in SLIPS:
            raise ValueError(f"`{name}` is no argument here. {SLIPS[name]}")


def _times(path: Schedule, grid: Any, sigmas: Any, steps: int | None, shaping: dict[str, Any]) -> tuple[np.ndarray, bool]:
    """The grid's times without a clean end, and whether it had one."""
    if sigmas is not None and not (isinstance(grid, str) and grid == "karras"):
        raise ValueError("`grid` and `sigmas` both say where to stop: give one of them.")
    if sigmas is None and isinstance(grid, str):
        return grids.grid(grid, path, steps, **shaping), False
    name, given = ("grid", grid) if sigmas is None else ("sigmas", sigmas)
    levels = _row(name, given)
    grids.check_falling(name, levels)
    clean = bool(levels[-1] == 0 if sigmas is not None else path.sigma(levels[-1]) == 0)
    if sigmas is not None and clean and levels[0] <= 1 and isinstance(path, Flow):
        raise ValueError(
            f"`sigmas` run from {levels[0]:g} to 0 on a flow schedule: those are its times t, but `sigmas` are sigma / alpha = t / (1 - t), so a run "
            "would begin half way. Give them as grid=. (If they are sigma / alpha, leave the last 0 out: the final denoise is made anyway.)"
        )
    levels = levels[:-1] if clean else levels
    if clean and len(levels) == 1:
        if steps not in (None, 0):
            raise ValueError(f"`steps` = {steps}, but one level and the clean end make no step, only the final denoise. Leave `steps` out.")
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
        raise ValueError(f"`{name}` must be a row of at least 2 numbers, noisiest first, but is {values!r}.")
    return row


class Call(NamedTuple):
    """One model call: its index, the level, the state asked about, the answer, the calls made so far (this one included), and whose images they are."""

    i: int
    point: Point
    x: Tensor
    denoised: Tensor
    nfe: int
    seeds: tuple[int, ...] = ()


def iterate(denoiser: Denoiser, shape: Sequence[int], **arguments: Any) -> Iterator[Call]:
    """The run of `sample`, one item per model call; leaving the loop makes no further call. Takes the arguments of `sample`, for one batch.

    The tensors of an item may be kept, but not written to: the run still reads them. The generator returns the result.
    """
    it = _Run(denoiser, shape, **arguments)
    if len(it.groups) > 1:
        raise ValueError(
            "`start` has a level for each image, but `iterate` runs one plan: use `sample` with a callback, or one level at a time."
        )
    return it.alone()


def sample(
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    seed: int | Sequence[int],
    batch: int | None = None,
    progress: bool = False,
    callback: Callable[[Call], Any] | None = None,
    **arguments: Any,
) -> Tensor:
    """Draws samples from a diffusion model.

        images = seeds.sample(denoiser, (3, 32, 32), seed=range(64), solver="seeds-3", steps=20)

    Args:
        denoiser: D(x, at), see `seeds.wrap` for networks.
        shape: of one sample, without the batch.
        seed: an int, or a sequence of B ints from 0 to 2^64 - 1, one per sample: sample k depends on seed[k] alone, in any batch, on any machine.
        batch: the most samples asked about at once; None is all.
        progress: a bar on stderr.
        callback: called with a `Call` after each model call.
        solver, steps, schedule, ...: as for `plan` (solver "seeds-3"; schedule, round_nsr and ends default to the denoiser's own).
        start: as for `plan`, or one for each sample: ("nsr", [0.5, 2.0]), or a list of places. Samples of one level run together.
        plan: a plan made before, instead of them.
        x: (B, *shape) the state at the start level, instead of noise. With `start` it is the state of a run that was stopped there, and the noise goes
            on where that run's ended (but a solver that remembers earlier steps begins anew); without, it draws from a part of its own, see `part`.
        data: (B, *shape) or (shape) clean data, noised at the start level (image-to-image; see `start`), from a part of its own.
        part: which of a seed's independent parts to draw from: an int from 0 to 2^32 - 1, or one for each sample. None: 0 where a run begins with
            noise, or goes on; else a hash of the state given, `noise.part_of`, so that a run never meets the noise that made what it is given.
            Give a number of its own to each pass that returns to a level (RePaint, restarts), as part=k.
        labels: an int, (B,) class indices or (B, K) rows, handed to the denoiser; or a dict or tuple of tensors with B rows each.
        noise: "gaussian", "two-point", or a callable (draw, lam0, lam1, shape) -> Tensor of standard normals, shape with the batch; draw -1 is
            the initial one, -2 - k is for `project` after model call k. A run that begins at `start` numbers its draws and calls as the whole
            run does, so that two parts of a run use the noise of the whole. If it takes `seeds` or `part` by keyword it is given them, one for
            each image that it draws for; one that does not must not return the same for every batch.
        noise_device: where noise of those names is drawn, which changes no bit of it: "auto" is the state's device if that is CUDA, else the CPU,
            ahead of need; "cpu", or that device by name.
        project: called as project(x, point, draw) -> x after each completed step, never on stages; `draw` is a standard normal tensor like x.
            For inpainting return mask * x + (1 - mask) * (point.alpha * known + point.sigma * draw).
        grad: True lets gradients flow through the run, to `x`, `data`, labels and the denoiser's parameters; "checkpoint" keeps no activations and
            makes each model call again on the way back. False, the default, runs without.
        dtype, device: of the state; default float32 and the denoiser's own device. The networks behind the denoiser are moved to a device that is
            asked for, in place as torch does.
    Returns: (B, *shape) samples, data in the scale the model was trained on.
    Raises:
        ValueError: an argument is wrong, by name; a network is in training mode, or cannot be moved.
        FloatingPointError: the result is NaN or inf; it says whether by the state, an answer or the plan (looked for once, after the loop).
    Warns: UserWarning, once, after the loop: the run began from noise where the data should be seen, or states grew a thousand times beyond their level.
    """
    it = _Run(denoiser, shape, seed=seed, **arguments)
    if batch is not None and not (isinstance(batch, (int, np.integer)) and batch >= 1):
        raise ValueError(f"`batch` must be a whole number, at least 1, but is {batch!r}.")
    units, done, watched = it.units(batch), [], []
    with tqdm(total=sum(unit.plan.nfe for unit in units), disable=not progress, unit="call", desc=units[0].plan.solver) as bar:
        for unit in units:
            watched.append(it.watcher(unit))
            calls = it.calls(unit, watched[-1], keep=callback is not None)
            while True:
                try:
                    call = next(calls)
                except StopIteration as stop:
                    done.append(stop.value)
                    break
                if callback is not None:
                    callback(call)
                bar.update()
    sizes = [one.read() for one in watched]
    watch.refuse_lost(sizes, len(it.seeds))
    watch.warn(sizes, len(it.seeds))
    return _in_order(done, units)


class _Unit(NamedTuple):
    """Samples that run together: their plan, which of the run's rows they are, and their seeds and parts."""

    plan: Plan
    rows: slice | list[int]
    seeds: list[int]
    parts: list[int]


def _in_order(done: list[Tensor], units: list[_Unit]) -> Tensor:
    """The results of all units, in the order of the seeds."""
    result = done[0] if len(done) == 1 else torch.cat(done)
    order = [row for unit in units if isinstance(unit.rows, list) for row in unit.rows]
    return result[torch.as_tensor(order).argsort().to(result.device)] if order else result


class _Run:
    """The checked arguments of one run, and its loop over one batch."""

    def __init__(
        self,
        denoiser: Denoiser,
        shape: Sequence[int],
        *,
        seed: int | Sequence[int],
        solver: str | Solver | None = None,
        steps: int | None = None,
        plan: Plan | None = None,
        schedule: str | Schedule | None = None,
        start: Any = None,
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
    ):
        self.facts, self.shape, self.project, self.dtype, self.grad = facts(denoiser), _shape(shape), project, dtype, grad
        refuse_training(denoiser)
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"`dtype` = {dtype!r} must be a floating point dtype of torch, as torch.float32: it is the state's.")
        if grad not in (False, True, "checkpoint"):
            raise ValueError(f"`grad` must be False, True or 'checkpoint', but is {grad!r}.")
        self.seeds = noises.seed_list(seed)
        if not self.seeds:
            raise ValueError("`seed` is empty: give an int, or a sequence with one int for each sample.")
        _check_slips(options)
        x, data = (None if value is None else torch.as_tensor(value) for value in (x, data))
        self.device = _device(self.facts.device, device, x if x is not None else data)
        self.denoiser = denoiser if device is None else moved(denoiser, self.device)
        named = {"solver": solver, "steps": steps, "schedule": schedule, "start": start}
        self.groups = _groups(denoiser, plan, len(self.seeds), named, options)
        self._take_state(x, data)
        if data is not None and start is None:
            _check_seen(data, self.groups[0][0].start, plan is not None or _own_levels(options))
        goes_on = self.given == "x" and (start is not None or self.groups[0][0].before.calls > 0)
        self.parts = self._parts(part, None if goes_on else data if x is None else x)
        if goes_on:
            _warn_of_parts(self.groups, sure=part is not None or options.get("stop") is None)
        self.labels = self._labels(labels)
        self._check_gradients()
        self.noise = noises.noise(noise)
        self.given_noise = callable(noise)
        self.told, self.asked = _keywords(noise) if callable(noise) else set(), dict[int, Tensor]()
        self.maker = noises.maker(noise_device, self.device)

    def _take_state(self, x: Tensor | None, data: Tensor | None) -> None:
        if x is not None and data is not None:
            raise ValueError(
                "`x` (the state at the start level) and `data` (clean data to noise there) exclude each other: give one of them."
            )
        self.given = "x" if x is not None else "data" if data is not None else ""
        self.x, self.data = self._rows("x", x), self._rows("data", data)

    def _rows(self, name: str, value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        if not value.is_floating_point():
            raise ValueError(
                f"`{name}` is {value.dtype}: give floating point numbers in the scale of the model's data, as images / 127.5 - 1."
            )
        if value.shape == self.shape and name == "data":
            value = value.expand(len(self.seeds), *self.shape)
        if value.shape != (len(self.seeds), *self.shape):
            raise ValueError(
                f"`{name}` has shape {tuple(value.shape)}, but {len(self.seeds)} seeds of shape {self.shape} need {(len(self.seeds), *self.shape)}."
            )
        taken = value.to(self.device, self.dtype)
        if not torch.isfinite(taken).all():
            bad = [seed for seed, row in zip(self.seeds, taken, strict=True) if not torch.isfinite(row).all()]
            what = "NaN or inf" if not torch.isfinite(value).all() else f"values beyond {self.dtype}, {torch.finfo(self.dtype).max:.3g},"
            raise ValueError(f"`{name}` holds {what} for {len(bad)} of {len(self.seeds)} seeds ({watch.some(bad)}), before any model call.")
        return taken

    def _parts(self, part: int | Sequence[int] | None, state: Tensor | None) -> list[int]:
        """The part of each seed: the caller's, else 0, or where a run begins anew from a given state a hash of that."""
        if part is not None:
            return noises.part_list(part, len(self.seeds))
        if state is None:
            return [0] * len(self.seeds)
        return noises.part_of(state[None]) * len(self.seeds) if state.shape == self.shape else noises.part_of(state)

    def _labels(self, labels: Any) -> Any:
        if labels is None:
            return None
        if conditions.nested(labels):
            return conditions.prepared(labels, len(self.seeds), self.device)
        rows = torch.as_tensor(labels)
        rows = rows.to(torch.float32 if rows.is_floating_point() else torch.int64)
        rows = rows.expand(len(self.seeds)) if rows.ndim == 0 else rows
        if len(rows) != len(self.seeds):
            raise ValueError(f"`labels` has {len(rows)} entries for {len(self.seeds)} seeds: give one for each, or a single int for all.")
        classes = self.facts.classes
        if classes and rows.ndim == 1 and not ((rows >= 0) & (rows < classes)).all():
            raise ValueError(f"`labels` must be from 0 to {classes - 1} for this model, but are {rows.tolist()}.")
        return rows.to(self.device)

    def _check_gradients(self) -> None:
        for name, value in (("x", self.x), ("data", self.data), ("labels", self.labels)):
            if not self.grad and torch.is_grad_enabled() and conditions.need_gradients(value):
                raise GradientError(
                    f"`{name}` asks for a gradient, but a run keeps none: pass grad=True, or grad='checkpoint' for less memory, or detach `{name}`."
                )

    def units(self, batch: int | None) -> list[_Unit]:
        """The samples cut into those that run together: of one plan, and at most `batch` of them."""
        units = []
        for plan, rows in self.groups:
            every = rows if isinstance(rows, list) else range(len(self.seeds))
            for k in range(0, len(every), batch or len(every)):
                some = every[k : k + (batch or len(every))]
                seeds, parts = [self.seeds[row] for row in some], [self.parts[row] for row in some]
                units.append(_Unit(plan, some if isinstance(some, list) else slice(some.start, some.stop), seeds, parts))
        return units

    def watcher(self, unit: _Unit) -> Watch:
        return Watch(
            unit.plan, unit.seeds, self.dtype, data_range=self.facts.data_range, given=self.given, projected=self.project is not None
        )

    def alone(self) -> Generator[Call, None, Tensor]:
        """The calls of all samples as one batch; returns the samples."""
        (unit,) = self.units(None)
        watched = self.watcher(unit)
        result = yield from self.calls(unit, watched)
        watch.warn([watched.read()], len(self.seeds))
        return result

    def calls(self, unit: _Unit, watched: Watch, keep: bool = True) -> Generator[Call, None, Tensor]:
        """Yields a Call per model call; returns the unit's samples. Gradients are off while it runs, not while the caller holds an item."""
        return (self._loop if self.grad else torch.no_grad()(self._loop))(unit, watched, keep)  # torch knows generators

    def _loop(self, unit: _Unit, watched: Watch, keep: bool) -> Generator[Call, None, Tensor]:
        denoiser = rows_of(self.denoiser, unit.rows, len(self.seeds))
        labels, seeds = conditions.rows(self.labels, unit.rows), tuple(unit.seeds)
        with self._noise(unit) as draw:
            stepper = Stepper(unit.plan, self._start(unit, draw), draw, reuse=not keep, grad=bool(self.grad))
            while not stepper.done:
                i, x, at = stepper.i, stepper.x, stepper.at
                denoised = self._ask(denoiser, x, at, labels)
                stepper.advance(denoised)
                watched.call(x, denoised)
                if self.project is not None and stepper.completed:
                    stepper.replace(self.project(stepper.x, stepper.at, draw(-2 - i)))
                yield Call(i, at, x, denoised, i + 1, seeds)
            watched.end(stepper.x)
            return stepper.x

    def _ask(self, denoiser: Any, x: Tensor, at: Point, labels: Any) -> Tensor:
        if self.grad == "checkpoint":
            return checkpoint(ask, denoiser, x, at, labels, use_reentrant=False)
        return ask(denoiser, x, at, labels)

    def _noise(self, unit: _Unit) -> "noises.Ahead":
        """Draws of one batch, made ahead of need; those of a caller's own function, and of a device, are made when needed, in the caller's thread."""
        plan, _, seeds, parts = unit

        def own(j: int) -> Tensor:
            if j < -1:  # a projection's own: noise of the forward process, gaussian whatever the solver's is
                return noises.gaussian(seeds, -1 - j + plan.before.calls, self.shape, noises.INITIAL, parts, device=self.maker)
            if j == -1:
                return self.noise(seeds, -1, self.shape, part=parts, device=self.maker)
            stream = noises.CHURN if plan.draws[j].stream == "churn" else noises.PATH
            return self.noise(seeds, j + plan.before.draws, self.shape, stream, parts, device=self.maker)

        order = [] if self.given_noise or self.maker else self._order(plan)
        make = partial(self._given, unit) if self.given_noise else own
        return noises.Ahead(make, order, device=self.device, dtype=self.dtype)

    def _given(self, unit: _Unit, j: int) -> Tensor:
        """Draw j of the caller's own function."""
        plan, shape = unit.plan, (len(unit.seeds), *self.shape)
        if j >= 0:
            number, (lam0, lam1, _) = j + plan.before.draws, plan.draws[j]
        else:
            number = j if j == -1 else j - plan.before.calls
            lam0 = lam1 = plan.start.lam if j == -1 else plan.points()[-1 - j].lam
        told = {"seeds": tuple(unit.seeds), "part": tuple(unit.parts)}
        made = self.noise(number, lam0, lam1, shape, **{name: told[name] for name in self.told})
        if not isinstance(made, Tensor) or made.shape != shape:
            what = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"type {type(made).__name__}"
            raise ValueError(f"`noise` returned {what} for draw {number}, but must return a tensor of the shape it is given, {shape}.")
        if "seeds" not in self.told:
            self._check_other(unit, number, made)
        return made

    def _check_other(self, unit: _Unit, number: int, made: Tensor) -> None:
        """The first draw of each batch is not that of an earlier one, where the function is not told for whom it draws."""
        earlier = self.asked.get(number)
        if unit.seeds[0] == self.seeds[0] or earlier is None:
            self.asked.setdefault(number, made.detach().clone() if len(unit.seeds) < len(self.seeds) else made[:0])
        elif len(earlier) and torch.equal(earlier[: len(made)].to(made), made[: len(earlier)]):
            raise ValueError(
                f"`noise` returned the same draw {number} for two batches: images of other seeds would be alike. Let it take the seeds that it draws "
                "for, as noise(draw, lam0, lam1, shape, seeds), or leave `batch` out."
            )

    def _order(self, plan: Plan) -> list[int]:
        """The draws in the order of need: the initial one, then the plan's; a projection's own each after its step."""
        order = [] if self.x is not None else [-1]
        order += [j for j, _ in plan.opening.z]
        for i, row in enumerate(plan.rows):
            order += [j for j, _ in row.z if j not in order]
            if self.project is not None and row.completes:
                order.append(-2 - i)
        return order

    def _start(self, unit: _Unit, draw: Callable[[int], Tensor]) -> Tensor:
        if self.x is not None:
            return self.x[unit.rows]
        start = unit.plan.start
        if self.data is not None:
            return self.data[unit.rows].mul(start.alpha).add_(draw(-1), alpha=start.sigma)
        return draw(-1) * start.sigma


def _groups(
    denoiser: Any, plan: Plan | None, count: int, named: dict[str, Any], options: dict[str, Any]
) -> list[tuple[Plan, slice | list[int]]]:
    """The plans of a run, and whose samples they are: one of all, unless each has a start of its own."""
    if plan is None:
        rest = {name: value for name, value in named.items() if name not in ("solver", "start")} | options
        places = _places(named["start"], count)
        return [(plan_for(denoiser, named["solver"] or "seeds-3", start=place, **rest), rows) for place, rows in places]
    if not isinstance(plan, Plan):
        raise ValueError(f"`plan` must be a Plan, as seeds.plan makes it, but is a {type(plan).__name__}. A solver's name is `solver`.")
    given = [*(name for name, value in named.items() if value is not None), *options]
    if given:
        raise ValueError(f"`plan` already fixes the run, but `{given[0]}` is given too. Leave it out, or make another plan.")
    return [(plan, slice(None))]


def _places(start: Any, count: int) -> list[tuple[Any, slice | list[int]]]:
    """The different starts, and the rows of the samples that begin there."""
    each = _each_place(start)
    if each is None:
        return [(start, slice(None))]
    if len(each) != count:
        raise ValueError(f"`start` has {len(each)} places for {count} seeds: give one for each, or one for all.")
    groups: dict[Any, list[int]] = {}
    for row, place in enumerate(each):
        groups.setdefault(place, []).append(row)
    return list(groups.items()) if len(groups) > 1 else [(each[0], slice(None))]


def _each_place(start: Any) -> list[Any] | None:
    """A place for each sample, from ("nsr", values) or a list of places; None if there is one for all."""

    def several(values: Any) -> bool:
        return isinstance(values, (list, tuple)) or getattr(values, "ndim", 0) == 1

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return (value[0], plain(value[1]))
        return value.item() if isinstance(value, (Tensor, np.generic, np.ndarray)) and value.ndim == 0 else value

    if isinstance(start, tuple) and len(start) == 2 and isinstance(start[0], str):
        return [(start[0], plain(value)) for value in start[1]] if several(start[1]) else None
    return [plain(place) for place in start] if several(start) else None


def _own_levels(options: dict[str, Any]) -> bool:
    """The caller says where the run begins, by other words than `start`."""
    return not isinstance(options.get("grid", ""), str) or any(options.get(name) is not None for name in ("sigmas", "nsr_max"))


def _check_seen(data: Tensor, at: Point, own_levels: bool) -> None:
    share = watch.seen(data, at)
    if not own_levels or share < watch.DROWNED:
        raise ValueError(
            f"`data` is given, but not where the run begins, which is at nsr = {at.nsr:.4g}: of the data, {share:.2g} times the noise there, nothing "
            "would be left. Say start=('nsr', 2.0); higher keeps less of the data."
        )


def _warn_of_parts(groups: list[tuple[Plan, slice | list[int]]], sure: bool) -> None:
    """What cannot be known of a state that a run goes on with."""
    if any(plan.remembers for plan, _ in groups):
        warnings.warn(
            f"{groups[0][0].solver} reads answers of earlier steps, which a state alone does not hold: it begins anew at `start`, and the two parts are "
            "not the whole run. Stop and go on with Stepper.save and Stepper.load, which keep them.",
            stacklevel=4,
        )
    if not sure:
        warnings.warn(
            "`x`, `start` and `stop` together go on with the noise of the whole run: right for the next part of a run that was stopped at `start`, "
            "wrong for another pass from a state that was noised again (RePaint, restarts), which would meet the noise of the pass before. Say "
            "which: part=0 goes on, part=1, 2, ... are other passes.",
            stacklevel=4,
        )


def _keywords(noise: Callable[..., Any]) -> set[str]:
    """Which of `seeds` and `part` a noise function takes."""
    try:
        parameters = inspect.signature(noise).parameters.values()
    except (TypeError, ValueError):  # a builtin may not say
        return set()
    return {name for name in ("seeds", "part") if any(it.kind == it.VAR_KEYWORD or it.name == name for it in parameters)}


def plan_for(
    denoiser: Any, solver: str | Solver = "seeds-3", *, steps: int | None = None, schedule: str | Schedule | None = None, **options: Any
) -> Plan:
    """The `plan` that `sample` makes for this denoiser: its own schedule, its range of levels and its rounding, where nothing else is asked for."""
    known = Facts() if denoiser is None else facts(denoiser)
    schedule = schedule if schedule is not None else known.schedule
    if schedule is None:
        raise ValueError(
            "`schedule` is missing, and the denoiser has none of its own: pass schedule='vp', 'edm', 'flow', ... or an instance."
        )
    path = schedules.schedule(schedule)
    options = {"round_nsr": known.round_nsr, **_ends(known.nsr_range, path, options), **options}
    return plan(solver, steps=steps, schedule=path, **options)


def _ends(known: tuple[float, float] | None, path: Schedule, options: dict[str, Any]) -> dict[str, float]:
    """Where a named grid would begin or end outside the levels a network was trained on, the network's ends."""
    name = options.get("grid", "karras")
    if known is None or not isinstance(name, str) or options.get("sigmas") is not None:
        return {}
    shaping = _parameters(lookup("grid", name, grids.GRIDS))
    asked = {option: options[option] for option in shaping if options.get(option) is not None}
    first, last = (float(nsr) for nsr in path.nsr(grids.grid(name, path, 1, **asked)))
    return ({"nsr_min": known[0]} if known[0] > last else {}) | ({"nsr_max": known[1]} if known[1] < first else {})


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        sizes = (-1,)
    if any(n < 0 for n in sizes):
        raise ValueError(f"`shape` must be the sizes of one sample, without the batch, as (3, 32, 32), but is {shape!r}.")
    return sizes


def _device(own: torch.device, device: torch.device | str | None, given: Tensor | None) -> torch.device:
    if device is None:
        found = own if given is None else given.device
    else:
        try:
            found = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"`device` = {device!r} is no device of torch's, as 'cpu', 'cuda' or 'mps': {str(error).splitlines()[0]}"
            ) from error
    if found.type == "meta":
        raise ValueError(
            "`device` is 'meta', which holds shapes without numbers: nothing can be drawn there. Load the model on 'cpu', 'cuda' or 'mps'."
        )
    return found
