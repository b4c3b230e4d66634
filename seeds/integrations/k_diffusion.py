"""Every solver in k-diffusion's protocol, for its scripts and for what was built on it. k-diffusion itself is not
needed.

    from seeds.integrations.k_diffusion import sample_seeds_3
    x = sample_seeds_3(model, x, sigmas, extra_args={"cond": c}, eta=1.0)

`model(x, sigma, **extra_args)` returns the denoised value; x is data + sigma eps at sigmas[0]; `sigmas` falls and ends
at 0 (the last call's answer is
the result) or above it. A sampler is named after its solver: `sample_seeds_3`, `sample_erk_2`, one for each there is,
your own included; `sample_auto` is the default of the package, which chooses method and noise for as many calls as the
sigmas make.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import trange

from seeds import noise as noises
from seeds.auto import AUTO
from seeds.errors import InputError
from seeds.integrations import hosts
from seeds.plans import Plan
from seeds.solvers import SOLVERS, Solver
from seeds.stepper import Noise


@torch.no_grad()
def sample(
    solver: str | Solver,
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    disable: bool | None = None,
    eta: float | None = None,
    s_noise: float = 1.0,
    noise_sampler: hosts.NoiseSampler | None = None,
    *,
    flow: bool = False,
    **options: Any,
) -> Tensor:
    """Draws from a k-diffusion model with any solver of `seeds.SOLVERS`, or "auto".

    Args:
        model: called as model(x, sigma, **extra_args), sigma (B,): the denoised value.
        x: (B, ...) the state at sigmas[0]. Narrower dtypes than float32 are the model's alone: the state is kept in
            float32.
        sigmas: (N + 1,) levels; read once, before the loop: the only wait for the device, but that noise of a seed
            reads x there too.
        callback: called once a step, at its first model call, with a dict of x, i, sigma, sigma_hat, denoised. It may
            keep them; what it writes into x or denoised goes into the step, as in k-diffusion.
        eta, s_noise: stochasticity, and a factor on the noise (1 is exact). None is the solver's own eta.
        noise_sampler: (sigma, sigma_next) -> standard normal values like x. None: noise of extra_args["seed"], an int
            (image b has seed + b) or a list of one for each image, in a part of its own that the state given fixes, so
            that samplers in a row never repeat noise; without a seed, torch's global generator, as k-diffusion has it.
            The seed is handed on to a model that has a parameter of that name.
        flow: sigmas are t of straight paths, x = (1 - t) data + t eps, and t = 1 is a start like any other.
        options: of the solver; prediction, what it interpolates; start_at="mean" where x is noise alone, see
            `seeds.plan`.
    Returns: (B, ...) the state at sigmas[-1].
    Source: the protocol of k-diffusion (Crowson 2022).
    """
    extra = dict(extra_args or {})
    plan = hosts.plan_at(solver, sigmas.tolist(), flow=flow, eta=eta, s_noise=s_noise, **options)
    ones = x.new_ones([len(x)])
    noise = _noise(plan, x, noise_sampler, extra.get("seed"), flow)
    if not _takes_seed(model):
        extra.pop("seed", None)
    calls = hosts.steps(
        plan, x, noise, lambda state, sigma: model(state, sigma * ones, **extra), keep=callback is not None
    )
    with trange(plan.steps, disable=disable) as bar:
        while True:
            try:
                call = next(calls)
            except StopIteration as stop:
                return stop.value
            if callback is not None and call.opens:
                sigma = call.sigma * ones[0]
                callback({"x": call.x, "i": call.step, "sigma": sigma, "sigma_hat": sigma, "denoised": call.denoised})
            bar.update(call.step - bar.n)


def sample_auto(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    disable: bool | None = None,
    eta: float | None = None,
    s_noise: float = 1.0,
    noise_sampler: hosts.NoiseSampler | None = None,
    *,
    flow: bool = False,
    aim: str | None = None,
    start_at: str = "zero",
    **options: Any,
) -> Tensor:
    """The default in k-diffusion's protocol: for the host's sigmas the method and the noise that the rule has for so
    many calls.

    Args:
        eta: None is the rule's, a table: most of it at low levels.
        aim: "law" (None) or "accuracy", as for `seeds.plan`.
        start_at: "mean" begins at the mean of the data, for text-to-image: x must then be noise alone.
        options: of `adams`, instead of the rule's; and prediction.
        model, x, sigmas, extra_args, callback, disable, s_noise, noise_sampler, flow: as for `sample`.
    Returns: (B, ...) the state at sigmas[-1].
    """
    options |= {"aim": aim, "start_at": start_at, "flow": flow}
    return sample(AUTO, model, x, sigmas, extra_args, callback, disable, eta, s_noise, noise_sampler, **options)


def _noise(plan: Plan, x: Tensor, sampler: hosts.NoiseSampler | None, seed: Any, flow: bool) -> Noise:
    like = hosts.state_of(x)
    if sampler is None and seed is not None:
        return hosts.keyed(plan, seeds_of(seed, len(x)), like, noises.part_of(x))
    return hosts.sampled(plan, sampler or (lambda sigma, sigma_next: torch.empty_like(like).normal_()), like, flow=flow)


def _takes_seed(model: Callable[..., Tensor]) -> bool:
    """ComfyUI's models take a seed; a network behind a wrapper of k-diffusion's does not."""
    function = model.forward if isinstance(model, torch.nn.Module) else model
    try:
        return "seed" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin may not say
        return False


def seeds_of(seed: Any, count: int) -> list[int]:
    """One seed for each of `count` images: of an int, itself and those that follow.

    Raises: ValueError if there are not as many as images.
    """
    seeds = noises.seed_list(seed)
    if len(seeds) == 1 < count:
        return [(seeds[0] + b) % (1 << 64) for b in range(count)]
    if len(seeds) != count:
        raise InputError(
            f"`seed` in extra_args has {len(seeds)} numbers for {count} images: give one for each, or a single int."
        )
    return seeds


def sampler(solver: Solver) -> Callable[..., Tensor]:
    """The solver as a k-diffusion sampler: its signature has eta, s_noise and noise_sampler where the solver makes
    noise, and its own options."""
    stochastic = (
        ("eta", "s_noise", "noise_sampler")
        if solver.noise == "eta"
        else ("s_noise", "noise_sampler")
        if solver.noise
        else ()
    )
    names = ("model", "x", "sigmas", "extra_args", "callback", "disable", *stochastic, "flow")
    every = inspect.signature(sample).parameters
    own = [
        inspect.Parameter(it.name, inspect.Parameter.KEYWORD_ONLY, default=it.default, annotation=it.type)
        for it in solver.options.values()
    ]
    if solver.interpolates:
        own.append(
            inspect.Parameter("prediction", inspect.Parameter.KEYWORD_ONLY, default=solver.prediction, annotation=str)
        )
    signature = inspect.Signature([*(every[name] for name in names), *own], return_annotation=Tensor)
    if "eta" in names:
        parameters = [p.replace(default=solver.eta) if p.name == "eta" else p for p in signature.parameters.values()]
        signature = signature.replace(parameters=parameters)

    def sample_solver(*positional: Any, **keywords: Any) -> Tensor:
        return sample(solver, **signature.bind(*positional, **keywords).arguments)

    sample_solver.__name__ = sample_solver.__qualname__ = _name(solver)
    sample_solver.__doc__ = (
        f"{solver.name} ({solver.note or 'see seeds.SOLVERS'}) in k-diffusion's protocol; see `sample`."
    )
    sample_solver.__signature__ = signature  # type: ignore[attr-defined]
    return sample_solver


def __getattr__(name: str) -> Callable[..., Tensor]:
    """`sample_NAME` for each solver there is, those of the caller's own included."""
    samplers = {_name(solver): solver for solver in SOLVERS.values()}
    if name in samplers:
        return sampler(samplers[name])
    raise AttributeError(f"module {__name__!r} has no sampler {name!r}. It has sample_auto, {', '.join(samplers)}.")


def __dir__() -> list[str]:
    return sorted([*globals(), *map(_name, SOLVERS.values())])


def _name(solver: Solver) -> str:
    return "sample_" + solver.name.replace("-", "_")
