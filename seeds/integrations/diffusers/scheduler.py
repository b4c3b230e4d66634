"""Every solver as a scheduler of diffusers.

The pipeline owns the loop and the network; the scheduler says at which times to ask, and makes the next state of each
answer.
"""

import copy
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin, SchedulerOutput
from torch import Tensor

from seeds import noise as noises
from seeds.auto import AIMS, AUTO, CALLS, is_auto
from seeds.denoisers import bounded
from seeds.errors import InputError
from seeds.integrations import hosts
from seeds.integrations.calls import HostRun, calls_a_step, check_steps
from seeds.integrations.configs import HostSchedule, betas, kind_of
from seeds.integrations.layouts import Layout
from seeds.planning import method_of
from seeds.plans import Plan
from seeds.solvers.churn import Churn
from seeds.solvers.registry import options_of
from seeds.stepper import Stepper

SPACED = ("timestep_spacing", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
"""Where a configuration says its spacing."""
STEPS, STAGES = 1, "stages"
"""What `calls_per_step` may be."""


@dataclass
class SEEDSSchedulerOutput(SchedulerOutput):
    """`prev_sample`, the next state, and `pred_original_sample`, the denoised value."""

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class SEEDSScheduler(SchedulerMixin, ConfigMixin):
    r"""Any solver of `seeds.SOLVERS` as a scheduler of diffusers.

    The state is x = alpha data + sigma eps of the schedule that the network was trained on (also where SNR is 0 at the
    start), kept in float32 whatever the network computes in. One `step` is one model call; timesteps and sigmas have
    one entry for each, and `num_inference_steps` is their number: a solver of s calls a step takes s of them a step,
    and what is left over is a step with fewer stages.

    Args:
        solver, solver_options: "auto", the rule that chooses by the number of model calls, or a name of
            `seeds.SOLVERS`, and its options.
        aim: of auto: "law" (None) or "accuracy", as for `seeds.plan`.
        eta: stochasticity: 0 the ODE, 1 the paper's SDE; None is the rule's, or the solver's own.
        fraction: instead of eta: the part of each step's noise that is fresh, as for `seeds.plan`.
        interpolation: what the solver interpolates, a name of `seeds.PREDICTIONS`; None is its own.
        s_noise: a factor on the noise; 1 is exact.
        start_at: "mean": a run begins at the mean of the data, which the first answer tells, where its first state is
            noise alone: at the first timestep, and not where `add_noise` has been called for it; as for `seeds.plan`.
            "zero": as methods are published. None: of auto "mean", else "zero".
        kind: what the state is: "discrete", "flow" or "edm"; None: told by the other arguments and, in `from_config`,
            by the class of the other.
        prediction_type: what the network was trained to output: epsilon, v_prediction, sample, flow_prediction.
        num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr: the table of a
            discrete schedule.
        timestep_spacing: leading, trailing, linspace, karras, exponential, beta, a grid of `seeds.GRIDS`, or auto, the
            rule's or the solver's own. None: auto of the default, linspace of a named solver.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_lu_lambdas: the same in other words.
        use_flow_sigmas, flow_shift, shift, use_dynamic_shifting, time_shift_type, shift_terminal, base_*, max_*: of a
            flow schedule.
        sigmas_are_final: sigmas passed to `set_timesteps` are used as they are, not shifted.
        sigma_min, sigma_max, sigma_data, sigma_schedule, rho: of an EDM network; the first two also cut the spacings by
            noise level of a table.
        final_sigmas_type: "zero" returns the last answer, "sigma_min" the state at the cleanest level there is.
        clip_sample, clip_sample_range, thresholding, dynamic_thresholding_ratio, sample_max_value: bounds on the
            denoised value.
        variance_type: "learned" or "learned_range": the second half of the network's channels is a variance, and is not
            read.
        calls_per_step: 1, or "stages" for the hosts' layout of multi-stage schedulers (`order` calls a step, order * N
            - (order - 1) in all).

    A generator, or a list of one for each image, that is passed to `step` fixes the noise. Without, it is a function of
    `set_seeds([...])`, one
    seed for each image, or of each image's first state: the same alone and in any batch, on any machine.
    """

    _compatibles = [scheduler.name for scheduler in KarrasDiffusionSchedulers] + ["FlowMatchEulerDiscreteScheduler"]
    order = 1

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        solver: str = AUTO,
        solver_options: Mapping[str, Any] | None = None,
        eta: float | None = None,
        fraction: float | None = None,
        interpolation: str | None = None,
        s_noise: float = 1.0,
        start_at: str | None = None,
        kind: str | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str | None = None,
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        use_lu_lambdas: bool = False,
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        shift: float | None = None,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        shift_terminal: float | None = None,
        base_shift: float = 0.5,
        max_shift: float = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        sigmas_are_final: bool = False,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        sigma_data: float = 0.5,
        sigma_schedule: str | None = None,
        rho: float = 7.0,
        final_sigmas_type: str = "zero",
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        variance_type: str | None = None,
        calls_per_step: int | str = 1,
        aim: str | None = None,
    ):
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Reads the configuration; no run is laid out."""
        config = self.config
        self._begin: int | None = None
        self.solver = method_of(config.solver)
        self._check(config)
        self.host = HostSchedule.of(config)
        if self.host.kind == "discrete":
            self.betas = torch.from_numpy(betas(config)).float()
            self.alphas = 1 - self.betas
            self.alphas_cumprod = torch.tensor(self.host.schedule.alphas_cumprod, dtype=torch.float32)  # type: ignore[attr-defined]
        common = {
            "eta": config.eta,
            "fraction": config.fraction,
            "s_noise": config.s_noise,
            "prediction": config.interpolation,
        }
        options = {**common, **(config.solver_options or {})}
        aim = (config.aim or AIMS[0]) if is_auto(config.solver) else None
        self._layout = Layout(self.host, config, self.solver, options, aim=aim)
        check_steps(self.solver, self._layout.settled(CALLS))
        if config.calls_per_step == STAGES:
            self.order = calls_a_step(self.solver, self._layout.settled(CALLS))
            self._layout = replace(self._layout, order=self.order)
        self._seeds: list[int] | None = None
        self._copy, self._copies_made = 0, 0
        self.num_inference_steps: int | None = None
        path, count = self.host.schedule, self.host.steps
        self._lay(HostRun(self.solver, path, np.linspace(path.t_max, path.t_min, count), (), {}), None)

    def _check(self, config: Any) -> None:
        if churn := [name for name in config.solver_options or {} if name in options_of(Churn)]:
            raise InputError(
                f"`solver_options` has `{churn[0]}`: churn lifts a state before the network is asked about it, which "
                "a pipeline has done by then. Ask for noise with `eta`, or run the pipeline's network with "
                "seeds.sample (see `denoiser`)."
            )
        self.solver.check_options(config.solver_options or {})
        if config.calls_per_step not in (STEPS, STAGES):
            raise InputError(f"`calls_per_step` must be 1 or 'stages', but is {config.calls_per_step!r}.")
        if config.aim is not None and not is_auto(config.solver):
            raise InputError(
                f"`aim` = {config.aim!r} is of the default, solver='auto', but `solver` is {config.solver!r}. Leave "
                "one of them out."
            )
        if config.start_at not in (None, "zero", "mean"):
            raise InputError(f"`start_at` must be 'zero' or 'mean', but is {config.start_at!r}.")
        if config.final_sigmas_type not in ("zero", "sigma_min"):
            raise InputError(f"`final_sigmas_type` must be 'zero' or 'sigma_min', but is {config.final_sigmas_type!r}.")

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From the configuration of another scheduler, whose class says what its states are.

        Its spacing is taken with a named solver where none is said here; with auto, whose rule has a grid, it never is.
        """
        entries = dict(config or {}) | kwargs
        if entries.get("_class_name") != cls.__name__:
            kwargs["kind"] = entries.get("kind") or kind_of(entries)
            if is_auto(kwargs.get("solver", AUTO)) or any(name in kwargs for name in SPACED):
                config = {name: value for name, value in (config or {}).items() if name not in SPACED}
        if entries.get("invert_sigmas"):
            raise InputError(
                "`invert_sigmas`: times that rise from data to noise are Mochi's own; its pipeline needs "
                "FlowMatchEuler."
            )
        return super().from_config(config, return_unused_kwargs, **kwargs)

    # What a pipeline reads before its loop.

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the first state: sigma of the schedule there."""
        return float(self.host.schedule.sigma(self._calls.t[0]))

    @property
    def step_index(self) -> int | None:
        """The model call that is next; None before the first."""
        return self._index

    @property
    def begin_index(self) -> int | None:
        """The call that a run begins at, if a pipeline has said so."""
        return self._begin

    @property
    def plan(self) -> Plan:
        """What a run from `begin_index` does, as numbers: `seeds.sample(..., plan=scheduler.plan)` is the same run.

        Raises: ValueError before `set_timesteps`.
        """
        return self._planned(self._begin or 0)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begins at that entry of `timesteps`: image-to-image, a second model."""
        self._begin = int(begin_index)

    def set_seeds(self, seeds: int | Sequence[int] | None) -> None:
        """One seed for each image, of which its noise is then a function, as in `seeds.sample(x=..., seed=...)`. None:
        of its first state alone."""
        self._seeds = None if seeds is None else noises.seed_list(seeds)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Lays out a run of `num_inference_steps` model calls, or one whose calls are at the `timesteps`, or at the
        `sigmas`, that are given.

        With calls_per_step="stages" all three mean the starts of steps. Solvers with stages of their own (seeds-4,
        erk-4, rk-2) keep of given times those that start a step, and put the others where they have them.

        Args:
            sigmas: what the configuration's own scheduler means by them: sigma / alpha for discrete and EDM, t before
                the shift for flow. A last 0 may follow.
            mu: the dynamic shift of a flow schedule; read where the configuration has use_dynamic_shifting.
        Raises: ValueError if none or two of the three are given, or the times do not fall.
        """
        lists = [name for name, value in (("timesteps", timesteps), ("sigmas", sigmas)) if value is not None]
        if len(lists) == 2 or (not lists and num_inference_steps is None):
            raise InputError(
                "Give `num_inference_steps`, or one of `timesteps` and `sigmas`; given: "
                f"{' and '.join(lists) or 'nothing'}."
            )
        t = self._layout.times_of(_row("timesteps", timesteps), _row("sigmas", sigmas), mu)
        if t is not None and num_inference_steps not in (None, len(t)):
            raise InputError(
                f"`num_inference_steps` = {num_inference_steps}, but `{lists[0]}` has {len(t)} entries. Leave one of "
                "them out."
            )
        count = _positive(num_inference_steps) if t is None else len(t)
        self._lay(self._layout.run(count, t, mu), device)
        self._planned(0)  # what is wrong is said now
        self.num_inference_steps = count

    def _lay(self, calls: HostRun, device: str | torch.device | None) -> None:
        """Takes the model calls; nothing of an earlier run is left."""
        self._calls, timesteps = calls, self.host.told(calls.t)
        self.timesteps = (
            torch.from_numpy(np.ascontiguousarray(timesteps))
            .to(torch.int64 if self.host.whole else torch.float32)
            .to(device)
        )
        self.sigmas = torch.from_numpy(np.append(self.host.sigma_of_t(calls.t), 0.0)).to(torch.float32)
        self._begin, self._holds_data = None, False
        self._end_run()

    def _end_run(self) -> None:
        self._index: int | None = None
        self._stepper: Stepper | None = None
        self._given = hosts.Given()
        self._plans: dict[int, Plan] = {}

    def _planned(self, begin: int) -> Plan:
        if not self._calls.options:
            raise InputError("`set_timesteps` has not been called: no run is laid out.")
        if begin not in self._plans:
            plan = self._calls.plan(begin)
            plan = replace(plan, solver=AUTO) if is_auto(self.config.solver) else plan
            alone = begin == 0 and not self._holds_data
            self._plans[begin] = (
                plan.at_mean() if alone and self._layout.at_mean(self._calls, self.config.start_at) else plan
            )
        return self._plans[begin]

    def index_for_timestep(self, timestep: Any, schedule_timesteps: Tensor | None = None) -> int:
        """The place of a timestep; of several the second, as diffusers has it, so that a run that begins in the middle
        skips none."""
        places = (self.timesteps if schedule_timesteps is None else schedule_timesteps) == timestep
        matches = places.nonzero().flatten().tolist()
        if not matches:
            raise InputError(
                f"`timestep` = {timestep} is none of this run's timesteps. Pass an entry of `scheduler.timesteps`."
            )
        return matches[min(1, len(matches) - 1)]

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """What the network is given: the state itself, or c_in times it for an EDM network."""
        if self.host.kind != "edm":
            return sample
        return hosts.scaled_input(
            sample, torch.as_tensor(timestep, device=sample.device, dtype=torch.float32), self.host.sd
        )

    # The loop.

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> "SEEDSSchedulerOutput | tuple[Tensor, Tensor]":
        """The state at the next timestep, made of the network's output at this one.

        Args:
            model_output: in the terms of `prediction_type`, about `sample`.
            timestep: looked up at the first call of a run only, where the pipeline has not set a begin index.
            sample: the state; one that is not what the last step returned (inpainting puts pixels back) takes the place
                of it.
            generator: fixes the noise of this step wholly.
        Returns: SEEDSSchedulerOutput, or (prev_sample, pred_original_sample).
        Raises: ValueError before `set_timesteps`.
        """
        self._generator = generator
        if self._stepper is None or self._stepper.done:
            self._begin_run(timestep, sample)
        elif not self._given.same(sample):
            self._stepper.replace(hosts.state_of(sample))
        stepper: Stepper = self._stepper  # type: ignore[assignment]
        denoised = self._bounded(
            hosts.denoised(self.host.output, self._output(model_output, sample), stepper.x, stepper.at, self.host.sd)
        )
        stepper.advance(denoised)
        self._index = (self._index or 0) + 1
        self._given = hosts.Given(stepper.x.to(sample.dtype))
        denoised = denoised.to(sample.dtype)
        return SEEDSSchedulerOutput(self._given.x, denoised) if return_dict else (self._given.x, denoised)  # type: ignore[return-value]

    def _begin_run(self, timestep: Any, sample: Tensor) -> None:
        if self.num_inference_steps is None:
            self._planned(0)
        self._index = self.index_for_timestep(timestep) if self._begin is None else self._begin
        plan, state = self._planned(self._index), hosts.state_of(sample)
        own_noise = self._keyed(plan, state) if self._generator is None and plan.draws else None

        def drawn(j: int, s: float = 1.0) -> Tensor:
            return own_noise(j) if own_noise and self._generator is None else hosts.drawn(state, self._generator, s)

        self._stepper = Stepper(plan, state, drawn, reuse=False, scaled=None if own_noise else drawn)

    def _keyed(self, plan: Plan, state: Tensor) -> Any:
        """Noise as a function of the seeds, else of the first states; read once, the only wait for the device."""
        if self._seeds is None:
            return hosts.keyed(plan, noises.seed_of(state), state, self._copy)
        if len(self._seeds) != len(state):
            raise InputError(
                f"set_seeds was given {len(self._seeds)} seeds, but the state holds {len(state)} images: give one for "
                "each."
            )
        return hosts.keyed(plan, self._seeds, state, [part ^ self._copy for part in noises.part_of(state)])

    def _output(self, model_output: Tensor, sample: Tensor) -> Tensor:
        with_variance = (
            self.config.variance_type in ("learned", "learned_range") and model_output.shape[1] == 2 * sample.shape[1]
        )
        return model_output[:, : sample.shape[1]] if with_variance else model_output

    def _bounded(self, denoised: Tensor) -> Tensor:
        config = self.config
        if config.thresholding:
            return bounded(denoised, 1.0, config.dynamic_thresholding_ratio, most=config.sample_max_value)
        return bounded(denoised, config.clip_sample_range) if config.clip_sample else denoised

    # Noise put on by the pipeline.

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """alpha data + sigma noise, each image at its timestep."""
        if self._stepper is None or self._stepper.done:
            self._holds_data, self._plans = True, {}  # the state of the run that follows
        row = _row("timesteps", timesteps)
        return hosts.noised(self.host.schedule, self.host.t_of_told(row), original_samples, noise)

    def scale_noise(self, sample: Tensor, timestep: Any, noise: Tensor) -> Tensor:
        """`add_noise` as flow pipelines call it."""
        return self.add_noise(sample, noise, timestep)

    def __deepcopy__(self, memo: dict) -> "SEEDSScheduler":
        """A scheduler of the same kind whose noise is its own: two copies in one pipeline do not share it."""
        self._copies_made += 1
        other = memo[id(self)] = copy.copy(self)
        common = ("solver", "host", "_calls", "_plans", "_stepper", "_given", "_generator")
        other.__dict__ = {
            name: value if name in common else copy.deepcopy(value, memo) for name, value in self.__dict__.items()
        }
        other._copy, other._copies_made = zlib.crc32(f"{self._copy} {self._copies_made}".encode()), 0
        other._end_run()
        return other

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)


def _positive(count: Any) -> int:
    if isinstance(count, bool) or int(count) != count or count < 1:
        raise InputError(
            f"`num_inference_steps` must be a whole number, at least 1, but is {count!r}: it counts model calls."
        )
    return int(count)


def _row(name: str, values: Any) -> np.ndarray | None:
    if values is None:
        return None
    row = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, np.float64).reshape(-1)
    if not len(row):
        raise InputError(f"`{name}` is empty: a run needs at least one model call.")
    return row
