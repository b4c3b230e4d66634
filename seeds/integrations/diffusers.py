"""Every solver as a scheduler of diffusers, and a pipeline's network as a denoiser. Needs the extra `diffusers`.

    pipe.scheduler = SEEDSScheduler.from_config(pipe.scheduler.config, solver="seeds-3")

The pipeline owns the loop and the network; the scheduler says at which times to ask, and makes the next state of each answer.
"""

import copy
import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from seeds import noise as noises
from seeds.denoisers import Wrapped, bounded, wrap
from seeds.errors import InputError
from seeds.integrations import hosts
from seeds.integrations.calls import HostRun, calls_a_step, check_steps, run_at, run_of
from seeds.integrations.configs import HostSchedule, betas, kind_of, shift, spaced
from seeds.plans import Plan, Point
from seeds.solvers import find_solver
from seeds.solvers.churn import Churn
from seeds.solvers.levels import points_at
from seeds.solvers.registry import options_of
from seeds.stepper import Stepper

STEPS, STAGES = 1, "stages"
"""What `calls_per_step` may be."""


@dataclass
class SEEDSSchedulerOutput(SchedulerOutput):
    """`prev_sample`, the next state, and `pred_original_sample`, the denoised value."""

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class SEEDSScheduler(SchedulerMixin, ConfigMixin):
    r"""Any solver of `seeds.SOLVERS` as a scheduler of diffusers.

    The state is x = alpha data + sigma eps of the schedule that the network was trained on (also where SNR is 0 at the start), kept in float32
    whatever the network computes in. One `step` is one model call; timesteps and sigmas have one entry for each, and `num_inference_steps` is their
    number: a solver of s calls a step takes s of them a step, and what is left over is a step with fewer stages.

    Args:
        solver, solver_options: a name of `seeds.SOLVERS` and its options.
        eta: stochasticity: 0 the ODE, 1 the paper's SDE; None is the solver's own.
        fraction: instead of eta: the part of each step's noise that is fresh, as for `seeds.plan`.
        interpolation: what the solver interpolates, a name of `seeds.PREDICTIONS`; None is its own.
        s_noise: a factor on the noise; 1 is exact.
        start_at: "mean": a run from noise begins at the mean of the data, which the first answer tells; as for `seeds.plan`.
        kind: what the state is: "discrete", "flow" or "edm"; None: told by the other arguments and, in `from_config`, by the class of the other.
        prediction_type: what the network was trained to output: epsilon, v_prediction, sample, flow_prediction.
        num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr: the table of a discrete schedule.
        timestep_spacing: leading, trailing, linspace, karras, exponential, beta, a grid of `seeds.GRIDS`, or auto, the solver's own.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_lu_lambdas: the same in other words.
        use_flow_sigmas, flow_shift, shift, use_dynamic_shifting, time_shift_type, shift_terminal, base_*, max_*: of a flow schedule.
        sigmas_are_final: sigmas passed to `set_timesteps` are used as they are, not shifted.
        sigma_min, sigma_max, sigma_data, sigma_schedule, rho: of an EDM network; the first two also cut the spacings by noise level of a table.
        final_sigmas_type: "zero" returns the last answer, "sigma_min" the state at the cleanest level there is.
        clip_sample, clip_sample_range, thresholding, dynamic_thresholding_ratio, sample_max_value: bounds on the denoised value.
        variance_type: "learned" or "learned_range": the second half of the network's channels is a variance, and is not read.
        calls_per_step: 1, or "stages" for the hosts' layout of multi-stage schedulers (`order` calls a step, order * N - (order - 1) in all).

    A generator, or a list of one for each image, that is passed to `step` fixes the noise. Without, it is a function of `set_seeds([...])`, one
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
        solver: str = "seeds-3",
        solver_options: Mapping[str, Any] | None = None,
        eta: float | None = None,
        fraction: float | None = None,
        interpolation: str | None = None,
        s_noise: float = 1.0,
        start_at: str = "zero",
        kind: str | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
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
    ):
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Reads the configuration; no run is laid out."""
        config = self.config
        self._begin: int | None = None
        self.solver = find_solver(config.solver)
        self._check(config)
        self.host = HostSchedule.of(config)
        if self.host.kind == "discrete":
            self.betas = torch.from_numpy(betas(config)).float()
            self.alphas = 1 - self.betas
            self.alphas_cumprod = torch.tensor(self.host.schedule.alphas_cumprod, dtype=torch.float32)  # type: ignore[attr-defined]
        said = {"eta": config.eta, "fraction": config.fraction, "s_noise": config.s_noise, "prediction": config.interpolation}
        self._options = {**said, **(config.solver_options or {})}
        check_steps(self.solver, self._options)
        if config.calls_per_step == STAGES:
            self.order = calls_a_step(self.solver, self._options)
        self._seeds: list[int] | None = None
        self._copy, self._copies_made = 0, 0
        self.num_inference_steps: int | None = None
        path, count = self.host.schedule, self.host.steps
        self._lay(HostRun(self.solver, path, np.linspace(path.t_max, path.t_min, count), (), {}), None)

    def _check(self, config: Any) -> None:
        if churned := [name for name in config.solver_options or {} if name in options_of(Churn)]:
            raise InputError(
                f"`solver_options` has `{churned[0]}`: churn lifts a state before the network is asked about it, which a pipeline has done by then. "
                "Ask for noise with `eta`, or run the pipeline's network with seeds.sample (see `denoiser`)."
            )
        self.solver.check_options(config.solver_options or {})
        if config.calls_per_step not in (STEPS, STAGES):
            raise InputError(f"`calls_per_step` must be 1 or 'stages', but is {config.calls_per_step!r}.")
        if config.start_at not in ("zero", "mean"):
            raise InputError(f"`start_at` must be 'zero' or 'mean', but is {config.start_at!r}.")
        if config.final_sigmas_type not in ("zero", "sigma_min"):
            raise InputError(f"`final_sigmas_type` must be 'zero' or 'sigma_min', but is {config.final_sigmas_type!r}.")

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From the configuration of another scheduler, whose class says what its states are."""
        given = dict(config or {}) | kwargs
        if given.get("_class_name") != cls.__name__ and not given.get("kind"):
            kwargs["kind"] = kind_of(given)
        if given.get("invert_sigmas"):
            raise InputError("`invert_sigmas`: times that rise from data to noise are Mochi's own; its pipeline needs FlowMatchEuler.")
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
        """One seed for each image, of which its noise is then a function, as in `seeds.sample(x=..., seed=...)`. None: of its first state alone."""
        self._seeds = None if seeds is None else noises.seed_list(seeds)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Lays out a run of `num_inference_steps` model calls, or one whose calls are at the `timesteps`, or at the `sigmas`, that are given.

        With calls_per_step="stages" all three mean the starts of steps. Solvers with stages of their own (seeds-4, erk-4, rk-2) keep of given times those
        that start a step, and put the others where they have them.

        Args:
            sigmas: what the configuration's own scheduler means by them: sigma / alpha for discrete and EDM, t before the shift for flow. A last 0 may
                follow.
            mu: the dynamic shift of a flow schedule; read where the configuration has use_dynamic_shifting.
        Raises: ValueError if none or two of the three are given, or the times do not fall.
        """
        given = [name for name, value in (("timesteps", timesteps), ("sigmas", sigmas)) if value is not None]
        if len(given) == 2 or (not given and num_inference_steps is None):
            raise InputError(f"Give `num_inference_steps`, or one of `timesteps` and `sigmas`; given: {' and '.join(given) or 'nothing'}.")
        t = self._given_times(timesteps, sigmas, mu)
        if t is not None and num_inference_steps not in (None, len(t)):
            raise InputError(
                f"`num_inference_steps` = {num_inference_steps}, but `{given[0]}` has {len(t)} entries. Leave one of them out."
            )
        count = _positive(num_inference_steps) if t is None else len(t)
        self._lay(self._run(count, t, mu), device)
        self._planned(0)  # what is wrong is said now
        self.num_inference_steps = count

    def _given_times(self, timesteps: Any, sigmas: Any, mu: float | None) -> np.ndarray | None:
        if timesteps is not None:
            return self.host.t_of_told(_row("timesteps", timesteps))
        if sigmas is None:
            return None
        row = _row("sigmas", sigmas)
        row = row[:-1] if len(row) > 1 and row[-1] == 0 else row
        if self.host.kind == "flow" and not self.config.sigmas_are_final:
            row = shift(row, self._shifting(), mu)
        return self.host.t_of_sigma(row)

    def _run(self, count: int, t: np.ndarray | None, mu: float | None) -> HostRun:
        """The run of `count` model calls, or of `count` step starts in the hosts' layout of multi-stage schedulers."""
        calls = self.order * count - (self.order - 1)
        if self.host.whole and calls > self.host.steps:
            raise InputError(f"{calls} model calls are more than the {self.host.steps} steps that the network knows: ask for fewer.")
        path, name = self.host.schedule, self._spacing()

        def levels(n: int) -> np.ndarray:
            return t if t is not None and n == len(t) else spaced(self.host, n, name, self._shifting(), mu, self.solver.grid)

        def split(n: int) -> np.ndarray:
            """One call leaves SNR 0, so the first of the multi-stage steps is two."""
            row = levels(n - 1) if n > 2 else levels(n)
            return row if n <= 2 else np.concatenate([row[:1], self.host.known(row[:2].mean(keepdims=True)), row[1:]])

        end = self._end(levels(count)[-1]) if self.config.final_sigmas_type == "sigma_min" else None
        staged = self.order > 1
        if t is not None and not staged:
            return run_at(self.solver, path, t, self._options, end=end)
        first = levels(2)[0] if t is None else t[0]
        snr_0 = staged and count > 1 and bool(path.alpha(first) == 0)
        return run_of(self.solver, path, calls, split if snr_0 else levels, self.host.known, self._options, end=end, rest_first=snr_0)

    def _end(self, last: float) -> float | None:
        """The cleanest level, where a run that returns its last state ends; None if its last call is there."""
        clean = float(self.host.schedule.t_min)
        return clean if clean < last and float(self.host.schedule.sigma(clean)) > 0 else None

    def _spacing(self) -> str:
        said = {
            "use_karras_sigmas": "karras",
            "use_exponential_sigmas": "exponential",
            "use_beta_sigmas": "beta",
            "use_lu_lambdas": "uniform_lam",
        }
        named = next((name for key, name in said.items() if self.config[key]), self.config.timestep_spacing)
        return (self.config.sigma_schedule or "karras") if self.host.kind == "edm" and named == "linspace" else named

    def _shifting(self) -> dict[str, Any]:
        config = dict(self.config)
        return config | {"shift": config["flow_shift"] if config["shift"] is None else config["shift"]}

    def _lay(self, calls: HostRun, device: str | torch.device | None) -> None:
        """Takes the model calls; nothing of an earlier run is left."""
        self._calls, told = calls, self.host.told(calls.t)
        self.timesteps = torch.from_numpy(np.ascontiguousarray(told)).to(torch.int64 if self.host.whole else torch.float32).to(device)
        self.sigmas = torch.from_numpy(np.append(self.host.sigma_of_t(calls.t), 0.0)).to(torch.float32)
        self._begin = None
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
            self._plans[begin] = plan.at_mean() if begin == 0 and self.config.start_at == "mean" else plan
        return self._plans[begin]

    def index_for_timestep(self, timestep: Any, schedule_timesteps: Tensor | None = None) -> int:
        """The place of a timestep; of several the second, as diffusers has it, so that a run that begins in the middle skips none."""
        places = (self.timesteps if schedule_timesteps is None else schedule_timesteps) == timestep
        found = places.nonzero().flatten().tolist()
        if not found:
            raise InputError(f"`timestep` = {timestep} is none of this run's timesteps. Pass an entry of `scheduler.timesteps`.")
        return found[min(1, len(found) - 1)]

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """What the network is given: the state itself, or c_in times it for an EDM network."""
        if self.host.kind != "edm":
            return sample
        sigma = torch.exp(4 * torch.as_tensor(timestep, device=sample.device, dtype=torch.float32))
        return (sample / (sigma.square() + self.host.sd**2).sqrt()).to(sample.dtype)

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
            sample: the state; one that is not what the last step returned (inpainting puts pixels back) takes the place of it.
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
        denoised = self._bounded(hosts.denoised(self.host.output, self._output(model_output, sample), stepper.x, stepper.at, self.host.sd))
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
        keyed = self._keyed(plan, state) if self._generator is None and plan.draws else None

        def scaled(j: int, s: float) -> Tensor:
            return hosts.drawn(state, self._generator, s) if self._generator is not None or keyed is None else keyed(j).mul_(s)

        self._stepper = Stepper(plan, state, lambda j: scaled(j, 1.0), reuse=False, scaled=scaled)

    def _keyed(self, plan: Plan, state: Tensor) -> Any:
        """Noise as a function of the seeds, else of the first states; read once, the only wait for the device."""
        own = noises.part_of(state)
        seeds = own if self._seeds is None else self._seeds
        if len(seeds) != len(state):
            raise InputError(f"set_seeds was given {len(seeds)} seeds, but the state holds {len(state)} images: give one for each.")
        return hosts.keyed(plan, seeds, state, [part ^ self._copy for part in own])

    def _output(self, model_output: Tensor, sample: Tensor) -> Tensor:
        learned = self.config.variance_type in ("learned", "learned_range") and model_output.shape[1] == 2 * sample.shape[1]
        return model_output[:, : sample.shape[1]] if learned else model_output

    def _bounded(self, denoised: Tensor) -> Tensor:
        config = self.config
        if config.thresholding:
            return bounded(denoised, 1.0, config.dynamic_thresholding_ratio, most=config.sample_max_value)
        return bounded(denoised, config.clip_sample_range) if config.clip_sample else denoised

    # Noise put on by the pipeline.

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """alpha data + sigma noise, each image at its timestep."""
        told = torch.as_tensor(timesteps)
        points = points_at(self.host.schedule, self.host.t_of_told(told.detach().cpu().double().numpy().reshape(-1)))
        scales = torch.tensor([[point.alpha, point.sigma] for point in points], dtype=torch.float64).to(original_samples)
        alpha, sigma = scales.T.reshape(2, -1, *[1] * (original_samples.ndim - 1))
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: Tensor, timestep: Any, noise: Tensor) -> Tensor:
        """`add_noise` as flow pipelines call it."""
        return self.add_noise(sample, noise, timestep)

    def __deepcopy__(self, memo: dict) -> "SEEDSScheduler":
        """A scheduler of the same kind whose noise is its own: two copies in one pipeline do not share it."""
        self._copies_made += 1
        other = memo[id(self)] = copy.copy(self)
        shared = ("solver", "host", "_calls", "_plans", "_stepper", "_given", "_generator")
        other.__dict__ = {name: value if name in shared else copy.deepcopy(value, memo) for name, value in self.__dict__.items()}
        other._copy, other._copies_made = zlib.crc32(f"{self._copy} {self._copies_made}".encode()), 0
        other._end_run()
        return other

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)


def _positive(count: Any) -> int:
    if isinstance(count, bool) or int(count) != count or count < 1:
        raise InputError(f"`num_inference_steps` must be a whole number, at least 1, but is {count!r}: it counts model calls.")
    return int(count)


def _row(name: str, values: Any) -> np.ndarray:
    row = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, np.float64).reshape(-1)
    if not len(row):
        raise InputError(f"`{name}` is empty: a run needs at least one model call.")
    return row


class Network(torch.nn.Module):
    """A network of diffusers, called as network(x, time, labels): see `denoiser`."""

    def __init__(self, module: torch.nn.Module, sign: float = 1.0, call: Callable[..., Tensor] | None = None):
        super().__init__()
        self.module, self.sign, self.call = module, sign, call
        self.training = module.training

    def forward(self, x: Tensor, time: Tensor, labels: Any = None) -> Tensor:
        if self.call is not None:
            return self.call(self.module, x, time, labels)
        named = {} if labels is None else labels if isinstance(labels, Mapping) else {_named(labels): labels}
        told = {name: value.to(x.dtype) if _embeds(value) else value for name, value in named.items()}
        out = self.module(x, time, **told, return_dict=False)[0]
        out = out[:, : x.shape[1]]  # what follows is a variance, of networks that have learned one
        return out if self.sign == 1 else -out


def _embeds(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _named(labels: Tensor) -> str:
    return "encoder_hidden_states" if labels.is_floating_point() else "class_labels"


def denoiser(
    model: Any,
    scheduler: Any = None,
    *,
    call: Callable[..., Tensor] | None = None,
    dtype: torch.dtype | None = None,
    shape: Sequence[int] | None = None,
    null: Any = None,
    **facts: Any,
) -> Wrapped:
    """The network of a pipeline as a denoiser, for `seeds.sample`, `seeds curves` and `seeds fid`.

        known = denoiser(pipe, null=negative_prompt_embeds)
        latents = seeds.sample(seeds.guide(known, 7.5), known.shape, seed=range(4), labels=prompt_embeds.repeat(4, 1, 1), steps=13)
        images = known.decode(latents)

    Args:
        model: a pipeline, of which the unet or the transformer is taken, with its scheduler's configuration and its VAE; or a network.
        scheduler: a scheduler, or its configuration, of what the network was trained on. None: the pipeline's.
        call: (module, x, time, labels) -> output, for a network that is called otherwise than module(x, time, ...), as Flux' with packed latents. None:
            labels are class_labels if they are whole numbers, encoder_hidden_states if not, and a dict of them goes by its own names.
        dtype: what the network computes in; None: its own.
        shape: of one state; None: channels and size of the network's configuration.
        null: what means no prompt, for `seeds.guide`: the embeddings of the negative one.
        facts: what else `seeds.wrap` takes: nsr_range, name, decode_batch, ...
    Returns: a denoiser with `decode` and `encode`, images in [-1, 1], where the model has a VAE.
    Raises: ValueError if there is no network or no scheduler to be found.
    """
    module = next(
        (part for part in (getattr(model, "unet", None), getattr(model, "transformer", None), model) if isinstance(part, torch.nn.Module)),
        None,
    )
    scheduler = getattr(model, "scheduler", None) if scheduler is None else scheduler
    if module is None or scheduler is None:
        missing = (
            "network: pass a pipeline with a unet or a transformer, or a module" if module is None else "scheduler: pass one as `scheduler`"
        )
        raise InputError(f"`model` is a {type(model).__name__} that has no {missing}.")
    host = SEEDSScheduler.from_config(getattr(scheduler, "config", scheduler)).host
    config, vae = getattr(module, "config", {}), getattr(model, "vae", None)
    if shape is None and isinstance(config.get("sample_size"), int):
        shape = (config["in_channels"], config["sample_size"], config["sample_size"])
    known = {"decode": functools.partial(_decoded, vae), "encode": functools.partial(_encoded, vae)} if vae is not None else {}
    return wrap(
        Network(module, -1.0 if host.output.startswith("-") else 1.0, call),
        host.output.lstrip("-"),
        schedule=host.schedule,
        time=functools.partial(_told, host),
        sd=host.sd,
        dtype=dtype or getattr(module, "dtype", None),
        shape=None if shape is None else tuple(shape),
        null=null,
        **{**known, **facts},
    )


def _told(host: HostSchedule, at: Point) -> float:
    return float(host.told(np.asarray(at.t)))


def _decoded(vae: Any, latents: Tensor) -> Tensor:
    latents = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0].to(latents.dtype)


def _encoded(vae: Any, images: Tensor) -> Tensor:
    latents = vae.encode(images.to(vae.dtype)).latent_dist.mode().to(images.dtype)
    return (latents - (getattr(vae.config, "shift_factor", None) or 0.0)) * vae.config.scaling_factor
