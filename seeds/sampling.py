"""The front door: `plan`, `sample`, `iterate`. Glue between the parts, no arithmetic of its own."""

import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from seeds import grids, schedules
from seeds import noise as noises
from seeds.denoisers import Denoiser, ask
from seeds.integrals import Eta, EtaLike
from seeds.names import lookup, resolve
from seeds.plans import Before, Plan, Point
from seeds.predictions import PREDICTIONS
from seeds.schedules import Schedule
from seeds.solvers import Solver, Writer, find_solver
from seeds.solvers.levels import Place, Round, lay_out
from seeds.stepper import Stepper

NoiseLike = str | Callable[[int, float, float, tuple[int, ...]], Tensor]


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
    return replace(write.plan(), before=before)


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
    """One model call: its index, the level, the state asked about, the answer, and the calls made so far (this one included)."""

    i: int
    point: Point
    x: Tensor
    denoised: Tensor
    nfe: int


def iterate(denoiser: Denoiser, shape: Sequence[int], **arguments: Any) -> Iterator[Call]:
    """The run of `sample`, one item per model call; leaving the loop makes no further call. Takes the arguments of `sample`, for one batch.

    The tensors of an item may be kept, but not written to: the run still reads them. The generator returns the result.
    """
    it = _Run(denoiser, shape, **arguments)
    return it.calls(it.seeds, slice(None))


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
        plan: a plan made before, instead of them.
        x: (B, *shape) the state at the start level, instead of noise.
        data: (B, *shape) or (shape) clean data, noised at the start level (image-to-image; see `start`).
        labels: an int, (B,) class indices or (B, K) rows, handed to the denoiser.
        noise: "gaussian", "two-point", or a callable (draw, lam0, lam1, shape) -> Tensor of standard normals, shape with the batch; draw -1 is
            the initial one, -2 - k is for `project` after model call k. A run that begins at `start` numbers its draws and calls as the whole
            run does, so that two parts of a run use the noise of the whole.
        noise_device: where noise of those names is drawn, which changes no bit of it: "auto" is the state's device if that is CUDA, else the CPU,
            ahead of need; "cpu", or that device by name.
        project: called as project(x, point, draw) -> x after each completed step, never on stages; `draw` is a standard normal tensor like x.
            For inpainting return mask * x + (1 - mask) * (point.alpha * known + point.sigma * draw).
        dtype, device: of the state; default float32 and the denoiser's own device.
    Returns: (B, *shape) samples, data in the scale the model was trained on.
    Raises:
        ValueError: an argument is wrong, by name.
        FloatingPointError: the model produced NaN or inf (looked for once, after the loop).
    """
    it = _Run(denoiser, shape, seed=seed, **arguments)
    if batch is not None and not (isinstance(batch, (int, np.integer)) and batch >= 1):
        raise ValueError(f"`batch` must be a whole number, at least 1, but is {batch!r}.")
    size = batch or len(it.seeds)
    parts = [slice(k, min(k + size, len(it.seeds))) for k in range(0, len(it.seeds), size)]
    done = []
    with tqdm(total=len(parts) * it.plan.nfe, disable=not progress, unit="call", desc=it.plan.solver) as bar:
        for part in parts:
            calls = it.calls(it.seeds[part], part, keep=callback is not None)
            while True:
                try:
                    call = next(calls)
                except StopIteration as stop:
                    done.append(stop.value)
                    break
                if callback is not None:
                    callback(call)
                bar.update()
    result = done[0] if len(done) == 1 else torch.cat(done)
    if not torch.isfinite(result).all():
        bad = [str(seed) for seed, one in zip(it.seeds, result, strict=True) if not torch.isfinite(one).all()]
        raise FloatingPointError(
            f"The samples of {len(bad)} of {len(it.seeds)} seeds ({', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''}) are NaN or inf: the denoiser "
            "returned values that are not finite. Look at its answers with `seeds.iterate`, or check it with `seeds.check_model`."
        )
    return result


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
        x: Tensor | None = None,
        data: Tensor | None = None,
        labels: Any = None,
        noise: NoiseLike = "gaussian",
        noise_device: str = "auto",
        project: Callable[[Tensor, Point, Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        **options: Any,
    ):
        self.denoiser, self.shape, self.project, self.dtype = denoiser, _shape(shape), project, dtype
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"`dtype` = {dtype!r} must be a floating point dtype of torch, as torch.float32: it is the state's.")
        self.seeds = noises.seed_list(seed)
        if not self.seeds:
            raise ValueError("`seed` is empty: give an int, or a sequence with one int for each sample.")
        x, data = (None if value is None else torch.as_tensor(value) for value in (x, data))
        self.device = _device(denoiser, device, x if x is not None else data)
        if plan is not None and not isinstance(plan, Plan):
            raise ValueError(f"`plan` must be a Plan, as seeds.plan makes it, but is a {type(plan).__name__}. A solver's name is `solver`.")
        self.plan = plan if plan is not None else plan_for(denoiser, solver or "seeds-3", steps=steps, schedule=schedule, **options)
        asked = {"solver": solver, "steps": steps, "schedule": schedule}
        given = [*(name for name, value in asked.items() if value is not None), *options]
        if plan is not None and given:
            raise ValueError(f"`plan` already fixes the run, but `{given[0]}` is given too. Leave it out, or make another plan.")
        if x is not None and data is not None:
            raise ValueError(
                "`x` (the state at the start level) and `data` (clean data to noise there) exclude each other: give one of them."
            )
        self.x, self.data = self._rows("x", x), self._rows("data", data)
        self.labels = self._labels(labels)
        self.noise = noises.noise(noise)
        self.given_noise = callable(noise)
        self.maker = noises.maker(noise_device, self.device)

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
        return value.to(self.device, self.dtype)

    def _labels(self, labels: Any) -> Tensor | None:
        if labels is None:
            return None
        rows = torch.as_tensor(labels)
        rows = rows.to(torch.float32 if rows.is_floating_point() else torch.int64)
        rows = rows.expand(len(self.seeds)) if rows.ndim == 0 else rows
        if len(rows) != len(self.seeds):
            raise ValueError(f"`labels` has {len(rows)} entries for {len(self.seeds)} seeds: give one for each, or a single int for all.")
        classes = getattr(self.denoiser, "classes", 0)
        if classes and rows.ndim == 1 and not ((rows >= 0) & (rows < classes)).all():
            raise ValueError(f"`labels` must be from 0 to {classes - 1} for this model, but are {rows.tolist()}.")
        return rows.to(self.device)

    @torch.no_grad()  # while it runs, not while the caller holds an item: torch knows generators
    def calls(self, seeds: Sequence[int], part: slice, keep: bool = True):
        """Yields a Call per model call; returns the batch's samples."""
        plan, shape = self.plan, (len(seeds), *self.shape)
        labels = None if self.labels is None else self.labels[part]
        with self._noise(seeds, shape) as draw:
            stepper = Stepper(plan, self._start(part, draw), draw, reuse=not keep)
            while not stepper.done:
                i, x, at = stepper.i, stepper.x, stepper.at
                denoised = ask(self.denoiser, x, at, labels)
                stepper.advance(denoised)
                if self.project is not None and stepper.completed:
                    stepper.replace(self.project(stepper.x, stepper.at, draw(-2 - i)))
                yield Call(i, at, x, denoised, i + 1)
            return stepper.x

    def _noise(self, seeds: Sequence[int], shape: tuple[int, ...]) -> "noises.Ahead":
        """Draws of one batch, made ahead of need; those of a caller's own function, and of a device, are made when needed, in the caller's thread."""
        plan = self.plan

        def own(j: int) -> Tensor:
            if j < -1:  # a projection's own: noise of the forward process, gaussian whatever the solver's is
                return noises.gaussian(seeds, -1 - j + plan.before.calls, shape[1:], noises.INITIAL, device=self.maker)
            if j == -1:
                return self.noise(seeds, -1, shape[1:], device=self.maker)
            stream = noises.CHURN if plan.draws[j].stream == "churn" else noises.PATH
            return self.noise(seeds, j + plan.before.draws, shape[1:], stream, device=self.maker)

        def given(j: int) -> Tensor:
            if j >= 0:
                number, (lam0, lam1, _) = j + plan.before.draws, plan.draws[j]
            else:
                number = j if j == -1 else j - plan.before.calls
                lam0 = lam1 = plan.start.lam if j == -1 else plan.points()[-1 - j].lam
            made = self.noise(number, lam0, lam1, shape)
            if not isinstance(made, Tensor) or made.shape != shape:
                what = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"type {type(made).__name__}"
                raise ValueError(f"`noise` returned {what} for draw {number}, but must return a tensor of the shape it is given, {shape}.")
            return made

        order = [] if self.given_noise or self.maker else self._order()
        return noises.Ahead(given if self.given_noise else own, order, device=self.device, dtype=self.dtype)

    def _order(self) -> list[int]:
        """The draws in the order of need: the initial one, then the plan's; a projection's own each after its step."""
        order = [] if self.x is not None else [-1]
        order += [j for j, _ in self.plan.opening.z]
        for i, row in enumerate(self.plan.rows):
            order += [j for j, _ in row.z if j not in order]
            if self.project is not None and row.completes:
                order.append(-2 - i)
        return order

    def _start(self, part: slice, draw: Callable[[int], Tensor]) -> Tensor:
        if self.x is not None:
            return self.x[part]
        start = self.plan.start
        if self.data is not None:
            return self.data[part].mul(start.alpha).add_(draw(-1), alpha=start.sigma)
        return draw(-1) * start.sigma


def plan_for(
    denoiser: Any, solver: str | Solver = "seeds-3", *, steps: int | None = None, schedule: str | Schedule | None = None, **options: Any
) -> Plan:
    """The `plan` that `sample` makes for this denoiser: its own schedule, its range of levels and its rounding, where nothing else is asked for."""
    schedule = schedule if schedule is not None else getattr(denoiser, "schedule", None)
    if schedule is None:
        raise ValueError(
            "`schedule` is missing, and the denoiser has none of its own: pass schedule='vp', 'edm', 'flow', ... or an instance."
        )
    path = schedules.schedule(schedule)
    options = {"round_nsr": getattr(denoiser, "round_nsr", None), **_ends(denoiser, path, options), **options}
    return plan(solver, steps=steps, schedule=path, **options)


def _ends(denoiser: Any, path: Schedule, options: dict[str, Any]) -> dict[str, float]:
    """Where a named grid would begin or end outside the levels a network was trained on, the network's ends."""
    known, name = getattr(denoiser, "nsr_range", None), options.get("grid", "karras")
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


def _device(denoiser: Any, device: torch.device | str | None, given: Tensor | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    return device_of(denoiser) if given is None else given.device


def device_of(denoiser: Any) -> torch.device:
    """Where a denoiser is: with its parameters, on its own `device`, or on the CPU."""
    parameters = getattr(denoiser, "parameters", None)
    first = next(iter(parameters()), None) if callable(parameters) else None
    return first.device if isinstance(first, Tensor) else torch.device(getattr(denoiser, "device", None) or "cpu")
