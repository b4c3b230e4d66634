"""Samplers of others in a study: the code of diffusers, k-diffusion and azula where it is installed, and the user's
own.

A line is named PACKAGE:SAMPLER, as `diffusers:UniPCMultistep` or `k-diffusion:dpmpp_2m`, or module:function for a
sampler in k-diffusion's protocol. Each asks the same denoiser, begins at the same noise and, where it draws, draws
ours.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from seeds.denoisers import Changed, ask, facts
from seeds.errors import InputError, TooFewCalls
from seeds.grids import ENDS
from seeds.noise import gaussian
from seeds.planning import plan_for
from seeds.plans import Point
from seeds.schedules import schedule as find_schedule

LEVELS = ("grid", "rho", *ENDS)
"""Options of a plan that say the levels, for samplers that are told them."""
SCHEDULERS = (
    "DDIM DDPM DEISMultistep DPMSolverMultistep DPMSolverSinglestep EulerDiscrete EulerAncestralDiscrete HeunDiscrete "
    "LMSDiscrete SASolver UniPCMultistep"
).split()
"""Of diffusers: those whose levels are on its variance-preserving table."""
LINES = {
    "diffusers": (
        "UniPCMultistep; DPMSolverMultistep use_karras_sigmas=true; DEISMultistep; SASolver; DPMSolverMultistep "
        "algorithm_type=sde-dpmsolver++ use_karras_sigmas=true; EulerAncestralDiscrete; HeunDiscrete; DDIM"
    ),
    "k-diffusion": "dpmpp_2m; dpmpp_2m_sde; dpmpp_3m_sde; dpmpp_2s_ancestral; heun; euler_ancestral",
    "azula": "DDIM; DDPM; zEAB order=3; Heun",
}
"""The lines of each package, with "; " between, if none are chosen."""
Ask = Callable[[Tensor, float], Tensor]
"""(y, nsr) -> D: what a sampler may ask, y being data + nsr eps."""
Normals = Callable[..., Tensor]
"""Standard normals like the state, other ones at each call."""


@dataclass(frozen=True)
class Sampler:
    """A sampler of others with its settings: what a job runs in place of a plan.

    Attributes:
        solver: its name.
        options: its own.
        steps: intervals above level 0, as of a plan.
        levels: nsr, falling, 0 last; of samplers that are told them.
        nfe: model calls that it makes, counted.
        version: of the package; of a module of the user's own, the beginning of its file's SHA-256.
    """

    solver: str
    options: Mapping[str, Any]
    steps: int
    levels: Sequence[float]
    nfe: int
    version: str

    @classmethod
    def of(cls, line: str, steps: int, denoiser: Any, **grid: Any) -> "Sampler":
        """What a line asks for, once it has been run with a model that is free to count its calls.

        Args:
            grid: options of a plan that say the levels, for samplers that are told them.
        Raises: ValueError if there is no such sampler, or it takes no such option.
        """
        name, *pairs = line.split()
        options = {key: _value(text) for key, _, text in (pair.partition("=") for pair in pairs)}
        package = name.partition(":")[0]
        levels: list[float] = []
        if package not in ("diffusers", "azula"):
            own = {key: options.pop(key) for key in LEVELS if key in options}
            plan = plan_for(denoiser, "erk-1", steps=steps, **grid | own)
            levels = [*(point.nsr for point in plan.points()[: steps + 1]), 0.0]
        made = cls(name, options, steps, levels, 0, _version(package) or _hash(package))
        return replace(made, nfe=made._calls(denoiser))

    @classmethod
    def within(cls, calls: int, line: str, denoiser: Any, **grid: Any) -> "Sampler":
        """The one of the most steps that make at most so many calls. Raises: ValueError as `of`; TooFewCalls."""
        two, three = (cls.of(line, steps, denoiser, **grid) for steps in (2, 3))
        each = max(1, three.nfe - two.nfe)  # all steps take as many
        steps = 2 + (calls - two.nfe) // each
        if steps < 1:
            raise TooFewCalls(f"`nfe` = {calls} is too few for {line!r}: one step takes {two.nfe - each} calls here.")
        return cls.of(line, steps, denoiser, **grid)

    @property
    def digest(self) -> str:
        """SHA-256 of all that it is."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps({"sampler": vars(self)}, indent=1, default=dict)

    @classmethod
    def from_json(cls, text: str) -> "Sampler | None":
        """What `to_json` wrote; None if it is of something else, as a plan."""
        held = json.loads(text)
        return cls(**held["sampler"]) if isinstance(held, dict) and "sampler" in held else None

    @property
    def denoises(self) -> bool:
        """Whether the last answer is the result, as far as is known: samplers that are told levels end at 0."""
        return True

    def points(self) -> list[Point]:
        """None that are known beforehand."""
        return []

    def run(
        self, denoiser: Any, seeds: Sequence[int], labels: Tensor | None, draw: Normals | None = None, **like: Any
    ) -> Tensor:
        """(B, *shape) its samples of these seeds.

        Args:
            draw: gives all noise, the initial one too; None is that of the seeds, numbered as it is asked for.
            like: dtype and device of the state.
        """
        shape = tuple(denoiser.shape)
        numbers = iter(range(-1, 1 << 30))

        def drawn(*_: Any, **__: Any) -> Tensor:
            return (gaussian(seeds, next(numbers), shape) if draw is None else draw()).to(**like)

        sampler = _sampler(self.solver)
        with torch.no_grad(), _drawing(drawn):
            return sampler(self, _asking(denoiser, labels), drawn)

    def _calls(self, denoiser: Any) -> int:
        calls = [0]

        def free(inner: Any, x: Tensor, at: Point, labels: Tensor | None) -> Tensor:
            calls[0] += 1
            return torch.zeros_like(x)

        try:
            self.run(Changed(denoiser, free), [0], None, dtype=torch.float32, device="cpu")
        except TypeError as error:
            raise InputError(f"`--line` {self.solver} with {dict(self.options)}: {error}.") from error
        return calls[0]


def absent() -> list[str]:
    """The packages of `LINES` that are not installed."""
    return [name for name in LINES if _version(name) == ""]


def sampling_of_k_diffusion() -> Any:
    """k_diffusion.sampling, without the package around it, which imports what samplers do not need."""
    try:
        return importlib.import_module("k_diffusion.sampling")
    except ImportError:
        spec = importlib.util.find_spec("k_diffusion")
        if spec is None or spec.origin is None:
            raise
    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
    package.__path__, package.utils = [str(Path(spec.origin).parent)], utils  # type: ignore[attr-defined]
    utils.append_dims = lambda x, count: x[(..., *[None] * (count - x.ndim))]  # type: ignore[attr-defined]
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    return importlib.import_module("k_diffusion.sampling")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _hash(module: str) -> str:
    """Of the file of a module of the user's own, instead of a version."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:12] if spec and spec.origin else ""


def _asking(denoiser: Any, labels: Tensor | None) -> Ask:
    """D(y, nsr) of a denoiser; where it was trained on lower levels only, of the state scaled down to its highest."""
    path, (low, high) = find_schedule(denoiser.schedule), facts(denoiser).nsr_range or (0.0, float("inf"))

    def asked(y: Tensor, nsr: float) -> Tensor:
        y, nsr = (y * (high / nsr), high) if nsr > high else (y, max(nsr, low))
        t = float(path.t_of_nsr(nsr))
        at = Point(t, float(path.alpha(t)), float(path.sigma(t)))
        return ask(denoiser, at.alpha * y, at, labels)

    return asked


@contextmanager
def _drawing(draw: Normals) -> Iterator[None]:
    """What others draw by torch is drawn so; what they will mend themselves is not told."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)
        stack.enter_context(mock.patch.object(torch, "randn_like", draw))
        for name, module in list(sys.modules.items()):
            if name.startswith("diffusers.schedulers.") and hasattr(module, "randn_tensor"):
                stack.enter_context(mock.patch.object(module, "randn_tensor", draw))
        yield


def _sampler(name: str) -> Callable[[Sampler, Ask, Normals], Tensor]:
    """How the sampler of that name is run. Raises: ValueError if there is none."""
    package, _, own = name.partition(":")
    try:
        if package == "diffusers":
            if (own := own.removesuffix("Scheduler")) not in SCHEDULERS:
                raise AttributeError(f"it is none of {', '.join(SCHEDULERS)}")
            return partial(_of_diffusers, getattr(importlib.import_module(package), f"{own}Scheduler"))
        if package == "azula":
            own = f"{own.removesuffix('Sampler')}Sampler"
            return partial(_of_azula, getattr(importlib.import_module("azula.sample"), own))
        if package == "k-diffusion":
            return partial(_by_protocol, getattr(sampling_of_k_diffusion(), f"sample_{own}"))
        return partial(_by_protocol, getattr(importlib.import_module(package), own))
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"`--line` {name!r}: {error}. Give PACKAGE:SAMPLER of {', '.join(LINES)}, installed, or module:function."
        ) from error


def _by_protocol(function: Callable[..., Tensor], it: Sampler, asked: Ask, draw: Normals) -> Tensor:
    """A sampler that is called as k-diffusion's: function(model, x, sigmas, ...)."""
    takes, z = inspect.signature(function).parameters, draw()
    more: dict[str, Any] = {"noise_sampler": draw} if "noise_sampler" in takes else {}
    more |= {"disable": True} if "disable" in takes else {}
    sigmas = torch.tensor(it.levels, dtype=z.dtype, device=z.device)
    return function(lambda x, sigma, **_: asked(x, float(sigma[0])), it.levels[0] * z, sigmas, **more, **it.options)


def _of_diffusers(kind: Any, it: Sampler, asked: Ask, draw: Normals) -> Tensor:
    """A scheduler of diffusers, told eps, on its own timesteps unless its options say others."""
    plain = {"clip_sample": False} if "clip_sample" in inspect.signature(kind).parameters else {}
    scheduler = kind(**plain | dict(it.options))
    scheduler.set_timesteps(it.steps + 1)
    sigmas = getattr(scheduler, "sigmas", None)
    bars = scheduler.alphas_cumprod.double()
    x = draw() * float(scheduler.init_noise_sigma)
    for i, t in enumerate(scheduler.timesteps):
        nsr = float(sigmas[i]) if sigmas is not None else float((1 / bars[int(t)] - 1).sqrt())
        # what a network sees has the variance of noise
        y = scheduler.scale_model_input(x, t) * float(np.hypot(1.0, nsr))
        x = scheduler.step((y - asked(y, nsr)) / nsr, t, x).prev_sample
    return x


def _of_azula(kind: Any, it: Sampler, asked: Ask, draw: Normals) -> Tensor:
    """A sampler of azula, on its variance-preserving schedule."""
    import azula.denoise
    import azula.noise

    schedule = azula.noise.VPSchedule()

    class Asking(azula.denoise.Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = schedule

        def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> Any:
            alpha, sigma = (float(value) for value in schedule(t))
            return azula.denoise.DiracPosterior(mean=asked(x_t / alpha, sigma / alpha))

    z = draw()
    sampler = kind(Asking(), steps=it.steps + 1, silent=True, dtype=z.dtype, **it.options)
    return sampler(z * float(schedule(torch.ones(()))[1]))
