"""Nodes for ComfyUI: a sampler for every solver, and our grids as sigmas. Nothing is registered globally, and no name
of its own is touched.

    SEEDS sampler   -> SAMPLER, for SamplerCustom and SamplerCustomAdvanced; the default chooses method and noise for
                    the sigmas that it is given
    SEEDS sigmas    -> SIGMAS; the default is the grid that goes with it

What the model's sigma means is read from its `model_sampling`: of flow models (CONST) it is t, x = (1 - t) latent + t
noise, and t = 1 is a start like any other; of all others sigma / alpha, zero-terminal SNR included. The loop is that of
`seeds.integrations.k_diffusion`: previews and interruption go through ComfyUI's callback, inpaint masks through its
model wrapper, and samplers in a row (split sigmas) draw fresh noise. Noise is keyed by the seed: the same on every
machine, image b of a batch has seed + b.

ComfyUI is imported where a node runs, and nowhere else. The folder comfyui/ of the repository is what a user copies
into custom_nodes.
"""

import json
from typing import Any

import torch
from torch import Tensor

from seeds import grids
from seeds.auto import AIMS, AUTO, is_auto, setting, times
from seeds.errors import InputError
from seeds.integrations import k_diffusion
from seeds.planning import method_of
from seeds.schedules import EDM, Flow, Schedule
from seeds.solvers import SOLVERS

CATEGORY = "sampling/custom_sampling"


def sample(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Any = None,
    disable: Any = None,
    **options: Any,
) -> Tensor:
    """The function that a KSAMPLER calls: `k_diffusion.sample`, told what the model's sigma means."""
    solver = options.pop("solver")
    return k_diffusion.sample(solver, model, x, sigmas, extra_args, callback, disable, flow=is_flow(model), **options)


def is_flow(model: Any) -> bool:
    """The model's sigma is t of straight paths: its `model_sampling`, found through what wraps it, is of the kind
    CONST."""
    while model is not None and not hasattr(model, "model_sampling"):
        model = getattr(model, "inner_model", None)
    return any(kind.__name__ == "CONST" for kind in type(getattr(model, "model_sampling", None)).__mro__)


class SeedsSampler:
    """A SAMPLER of any solver of seeds."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("SAMPLER",), "make", f"{CATEGORY}/samplers"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        number = {"max": 100.0, "step": 0.01, "round": False}
        return {
            "required": {
                "solver": ([AUTO, *SOLVERS], {"default": AUTO}),
                "eta": (
                    "FLOAT",
                    {
                        "default": -1.0,
                        "min": -1.0,
                        "tooltip": "Below 0: the solver's own. 0: the ODE; 1: the paper's SDE. Methods of the ODE make "
                        "no noise whatever it is.",
                        **number,
                    },
                ),
                "s_noise": (
                    "FLOAT",
                    {"default": 1.0, "min": 0.0, "tooltip": "A factor on the noise; 1 is exact.", **number},
                ),
            },
            "optional": {
                "options": (
                    "STRING",
                    {"default": "", "tooltip": 'More options of the solver, as JSON: {"variant": "2b", "r": 0.5}'},
                ),
                "aim": (list(AIMS), {"tooltip": "Of auto: a learned network's law, or the least error of the solver."}),
                "start_at": (
                    ["zero", "mean"],
                    {
                        "tooltip": "mean: begin at the mean of the data. Only from an empty latent, and for the first "
                        "of several samplers."
                    },
                ),
            },
        }

    def make(
        self, solver: str, eta: float, s_noise: float, options: str = "", aim: str = AIMS[0], start_at: str = "zero"
    ) -> tuple[Any]:
        """Raises: ValueError if an option is none of the solver's, before anything is drawn."""
        from comfy.samplers import KSAMPLER

        more, method = _options(options), method_of(solver)
        method.check_options(more)
        more |= {"aim": aim} if is_auto(solver) else {}
        more |= {"eta": None if eta < 0 or method.noise != "eta" else eta, "s_noise": s_noise, "start_at": start_at}
        return (KSAMPLER(sample, extra_options={"solver": solver, **more}),)


def _options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise InputError(
            f'`options` = {text!r} is no JSON ({error.msg}): write it as {{"variant": "2b", "r": 0.5}}.'
        ) from None
    if not isinstance(options, dict):
        raise InputError(f'`options` = {text!r} must be names with values, as {{"variant": "2b", "r": 0.5}}.')
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


class SeedsSigmas:
    """SIGMAS of a grid of seeds, between the ends of the model; as many model calls as steps for solvers of one call a
    step."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("SIGMAS",), "make", f"{CATEGORY}/schedulers"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        end = {"default": 0.0, "min": 0.0, "max": 10000.0, "step": 0.001, "round": False}
        return {
            "required": {
                "model": ("MODEL",),
                "grid": ([AUTO, *grids.GRIDS], {"default": AUTO}),
                "steps": ("INT", {"default": 20, "min": 1, "max": 10000}),
                "denoise": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            },
            "optional": {
                "sigma_max": ("FLOAT", {**end, "tooltip": "Where to begin; 0: the model's own."}),
                "sigma_min": (
                    "FLOAT",
                    {**end, "tooltip": "The last level that the model is asked at; 0: the model's own."},
                ),
                "aim": (list(AIMS), {"tooltip": "Of auto, as for its sampler."}),
            },
        }

    def make(
        self,
        model: Any,
        grid: str,
        steps: int,
        denoise: float,
        sigma_max: float = 0.0,
        sigma_min: float = 0.0,
        aim: str = AIMS[0],
    ) -> tuple[Tensor]:
        """With denoise d below 1, the last `steps` intervals of a grid of steps / d, as ComfyUI's own schedulers have
        it."""
        if denoise <= 0:
            return (torch.zeros(0),)
        model_sampling = model.get_model_object("model_sampling")
        flow = any(kind.__name__ == "CONST" for kind in type(model_sampling).__mro__)
        high, low = sigma_max or float(model_sampling.sigma_max), sigma_min or float(model_sampling.sigma_min)
        count = max(steps, int(steps / denoise))
        if grid == AUTO:
            levels = _ruled(count, aim, high, low, flow, sigma_max, sigma_min)
        else:
            levels = _levels(grid, count, high, low, flow)
        levels = levels[-steps:]
        return (torch.tensor([*levels, 0.0], dtype=torch.float32),)


def _levels(grid: str, count: int, high: float, low: float, flow: bool) -> list[float]:
    """`count` levels in a host's sigmas."""
    if count == 1:
        return [high]
    path: Schedule = Flow(t_min=low, t_max=high) if flow else EDM(low, high)
    t = grids.grid(grid, path, count - 1, nsr_min=float(path.nsr(low)), nsr_max=float(path.nsr(high)))
    return t.tolist()


def _ruled(count: int, aim: str, top: float, bottom: float, flow: bool, first: float, last: float) -> list[float]:
    """The same of the default's grid for so many calls: inside the model's sigmas, from `first` and to `last` where
    those are not 0."""
    path: Schedule = Flow(t_min=bottom, t_max=top) if flow else EDM(bottom, top)
    high, low = (float(path.nsr(end)) if end else None for end in (first, last))
    return times(setting(count, aim), path, count, nsr_max=high, nsr_min=low).tolist()


NODE_CLASS_MAPPINGS = {"SeedsSampler": SeedsSampler, "SeedsSigmas": SeedsSigmas}
NODE_DISPLAY_NAME_MAPPINGS = {"SeedsSampler": "SEEDS sampler", "SeedsSigmas": "SEEDS sigmas"}
