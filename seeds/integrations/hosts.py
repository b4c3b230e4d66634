r"""What every host program needs: a plan from its noise levels, noise for a stretch of path, and a loop whose state is
float32 at least.

A host owns the network, the levels and the generator; the arithmetic is the Stepper's. What is between is translated
here and nowhere else:

    levels -> plan                 `plan_at`: a host's sigmas are nsr = sigma / alpha, or with `flow` t of straight
                                   paths, where sigma(t) = t
    stretch of path -> noise       `sampled`: a host's noise_sampler(sigma, sigma_next); `keyed`: functions of seeds
                                   alone, as everywhere in seeds
    data -> state, output -> data  `noised`, `scaled_input`, `denoised`
    state -> the host's dtype      `steps`: the model is asked in its own dtype, the state keeps float32
"""

import math
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seeds import noise as noises
from seeds import source
from seeds.errors import InputError
from seeds.planning import plan
from seeds.plans import Plan, Point
from seeds.predictions import output as affine
from seeds.schedules import Schedule
from seeds.solvers.levels import points_at
from seeds.stepper import Noise, Stepper

NoiseSampler = Callable[[Any, Any], Tensor]
"""A host's noise: (sigma, sigma_next) -> standard normal values like the state."""


def plan_at(solver: Any, sigmas: Sequence[float], *, flow: bool = False, **options: Any) -> Plan:
    """The plan that visits a host's own levels: all of them, and no others but the solver's stages.

    Args:
        solver: a name or a Solver.
        sigmas: N + 1 levels, noisiest first: nsr where the state is data + sigma eps (EDM, VE, and VP in k-diffusion's
            scale); with `flow` t, where it is (1 - t) data + t eps. A last 0 is the clean end, reached by the final
            denoise; equal neighbours count once.
        options: of `seeds.plan`. The start is at zero unless they say otherwise, also of the default: a host's state
            may hold data.
    Raises: ValueError if the levels rise, or no step is left.
    """
    levels = [level for i, level in enumerate(sigmas) if i == 0 or level != sigmas[i - 1]]
    for i, (level, below) in enumerate(pairwise(levels)):
        if not below < level:
            raise InputError(
                f"`sigmas` must fall, but sigmas[{i}] = {level:g} is followed by {below:g}. Levels that go back up "
                "are several runs: call the sampler once for each falling part, and add the noise between."
            )
    if len(levels) < 2:
        raise InputError(
            f"`sigmas` holds {len(levels)} different levels, but a step needs two: [sigma, 0] is the shortest run."
        )
    where: dict[str, Any] = {"schedule": "flow", "grid": levels} if flow else {"schedule": "edm", "sigmas": levels}
    return plan(solver, final="denoise" if levels[-1] == 0 else "none", **where, **{"start_at": "zero"} | options)


def sampled(plan: Plan, sampler: NoiseSampler, like: Tensor, *, flow: bool = False) -> Noise:
    """The plan's draws from a host's noise sampler, which is told the two levels of each stretch of path, as tensors on
    the state's device."""
    levels = [[_sigma(lam, flow) for lam in (draw.lam0, draw.lam1)] for draw in plan.draws]
    ends = torch.tensor(levels, dtype=torch.float32).reshape(-1, 2).to(like.device)  # all at once, before the loop
    return lambda j: sampler(ends[j, 0], ends[j, 1]).to(like)


def _sigma(lam: float, flow: bool) -> float:
    """A host's sigma at half log-SNR lam: nsr, or t of straight paths."""
    return 1 / (1 + math.exp(lam)) if flow else math.inf if lam == -math.inf else math.exp(-lam)


def keyed(plan: Plan, seeds: Sequence[int], like: Tensor, part: int | Sequence[int] = 0) -> Noise:
    """The plan's draws as functions of (seed, draw, part): image b has the noise of seeds[b] in any batch, on any
    machine."""
    maker = noises.maker("auto", like.device)
    draw = source.keyed(plan, range(len(plan.draws)), seeds, part, like.shape[1:], maker)
    return lambda j: draw(j).to(like)


def drawn(like: Tensor, generator: torch.Generator | Sequence[torch.Generator] | None, s: float = 1.0) -> Tensor:
    """s times a standard normal tensor like the state, new, from a host's generator, or one for each image; made where
    the generator is."""
    if isinstance(generator, Sequence):
        if len(generator) not in (1, len(like)):
            raise InputError(
                f"`generator` is a list of {len(generator)}, but the state holds {len(like)} images: give one for each."
            )
        parts = [like] if len(generator) == 1 else like.split(1)
        return torch.cat([drawn(part, one, s) for part, one in zip(parts, generator, strict=True)])
    device = like.device if generator is None else generator.device
    return torch.empty(like.shape, dtype=like.dtype, device=device).normal_(0.0, s, generator=generator).to(like.device)


def noised(schedule: Schedule, t: Sequence[float], data: Tensor, noise: Tensor) -> Tensor:
    """alpha data + sigma noise: each image at its time of the schedule, or all at one."""
    levels = [[point.alpha, point.sigma] for point in points_at(schedule, np.asarray(t, np.float64))]
    alpha, sigma = torch.tensor(levels, dtype=torch.float64).to(data).T.reshape(2, -1, *[1] * (data.ndim - 1))
    return alpha * data + sigma * noise


def scaled_input(x: Tensor, timestep: Tensor, sd: float) -> Tensor:
    """c_in x = x / sqrt(sigma^2 + sd^2), what an EDM network is given where it is told log(sigma) / 4; nothing waits
    for the device."""
    return (x / (torch.exp(4 * timestep).square() + sd**2).sqrt()).to(x.dtype)


def denoised(output: str, raw: Tensor, state: Tensor, at: Point, sd: float = 0.5) -> Tensor:
    """The denoised value that a host's network says about `state`, in the state's dtype.

    Args:
        output: what the network was trained to output, a name of `seeds.predictions.output`; with a minus before it, of
            the other sign.
        raw: its output, of any floating dtype.
    """
    _, skip, out = affine(output.lstrip("-"), at, sd)
    out = -out if output.startswith("-") else out
    raw = raw.to(state.dtype)
    return (state * skip).add_(raw, alpha=out) if skip else raw * out


class Given:
    """The state that a host was given last: whether what it passes next is that, unchanged."""

    def __init__(self, x: Tensor | None = None):
        self.x, self.written = x, _writes(x)

    def same(self, x: Tensor) -> bool:
        return x is self.x and _writes(x) == self.written


def _writes(x: Tensor | None) -> int:
    """How often torch has seen the tensor written to; in inference mode it does not look."""
    return 0 if x is None or x.is_inference() else x._version


class Asked(NamedTuple):
    """One model call of a host's loop: the step it belongs to, counted from 0, whether it opens that step, the level,
    the state and the answer."""

    step: int
    opens: bool
    sigma: float
    x: Tensor
    denoised: Tensor


def state_of(x: Tensor) -> Tensor:
    """A host's latents as a state: float32 where they are narrower."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def steps(
    plan: Plan, x: Tensor, noise: Noise, ask: Callable[[Tensor, float], Tensor], *, keep: bool = False
) -> Generator[Asked, None, Tensor]:
    """Runs a plan in a host's loop, a model call at a time; the generator returns the result in the dtype of x.

    Args:
        x: (B, ...) the state at the first level, of any floating dtype.
        ask: (x, sigma) -> denoised, in the dtype of x.
        keep: the states of the items may be kept by whoever is given them, or written to: the step is made of what they
            are then. So is it with the answers.
    """
    stepper, step, opens = Stepper(plan, state_of(x), noise, reuse=not keep), 0, True
    while not stepper.done:
        sigma, state = stepper.at.sigma, stepper.x.to(x.dtype)
        denoised = ask(state, sigma)
        given = Given(state)
        yield Asked(step, opens, sigma, state, denoised)
        if not given.same(state):
            stepper.replace(state_of(state))
        stepper.advance(denoised.to(stepper.x.dtype))
        step, opens = step + stepper.completed, stepper.completed
    return stepper.x.to(x.dtype)
