"""Names of solvers, schedules, grids and predictions: the registry's own, the usual other ones, and what to say of the
rest."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from seeds.errors import InputError

T = TypeVar("T")

OTHER = {
    "prediction": {
        "epsilon": "noise", "eps": "noise", "v_prediction": "v", "sample": "data", "x0": "data", "x_start": "data",
        "flow_prediction": "flow",
    },
    "output": {
        "epsilon": "noise", "eps": "noise", "noise_prediction": "noise", "v_prediction": "v", "sample": "data",
        "x0": "data", "x_start": "data", "denoised": "data", "flow_prediction": "flow", "rectified_flow": "flow",
        "score_function": "score",
    },
    "solver": {
        "ddpm": "seeds-1", "euler": "rk-1", "heun": "rk-2", "euler_a": "seeds-1", "euler_ancestral": "seeds-1",
        "lms": "ipndm-v", "dpm2": "dpm-solver-2", "dpm_2": "dpm-solver-2", "dpm++_2s": "dpmpp-2s",
        "dpm++_2s_a": "dpmpp-2s-ancestral", "dpm++_2m": "dpmpp-2m", "dpm++_3m": "dpmpp-3m", "dpm++_sde": "dpmpp-sde",
        "dpm++_2m_sde": "dpmpp-2m-sde", "dpm++_3m_sde": "dpmpp-3m-sde", "uni_pc": "unipc", "deis": "deis-tab3",
        "er_sde": "er-sde-3", "res_2m": "res-2m", "res_multistep": "res-2m", "edm_stochastic": "edm-stochastic",
        "dpm2_a": "dpm-2-ancestral", "dpm_2_a": "dpm-2-ancestral", "dpm2_ancestral": "dpm-2-ancestral",
        "dpmpp_2s_a": "dpmpp-2s-ancestral", "uni_pc_bh2": "unipc", "dpmpp_sde_gpu": "dpmpp-sde",
        "dpmpp_2m_sde_gpu": "dpmpp-2m-sde", "dpmpp_3m_sde_gpu": "dpmpp-3m-sde", "er_sde_solver": "er-sde-3",
        "edm_heun": "rk-2", "pfdiff_1": "pfdiff", "euler_discrete": "rk-1", "heun_discrete": "rk-2",
    },
    "schedule": {"rectified_flow": "flow"},
    "grid": {
        "logsnr": "uniform_lam", "log_snr": "uniform_lam", "exponential": "uniform_lam",
        "polyexponential": "uniform_lam", "normal": "linear_t", "uniform": "linear_t", "ddim_uniform": "linear_t",
        "simple": "sgm_uniform", "align_your_steps": "ays",
    },
}  # fmt: skip
"""For each kind, names that others use for the very thing that the registry has: {their name: ours}."""

IMAGE = "Its numbers depend on the image, so it is no plan."
ADAPTIVE = "It chooses its steps as it goes, so it is no plan. Take dpm-solver-2 or dpm-solver-3."
FAST = "Its steps are those of 'dpm-solver-3', but for the last ones, of lower order: take that, with nfe=."
CFG_PP = (
    "CFG++ is another guidance, of which the model's answer must know: no solver. Take the name without it, and "
    "seeds.guide."
)
CFG_PP_NAMES = ("ddim", "euler", "euler_a", "euler_ancestral", "dpmpp_2s_ancestral", "dpmpp_2m", "res_multistep",
                "res_multistep_ancestral",
                "gradient_estimation")  # fmt: skip
WHICH = "Say which: 'dpmpp-2s', 'dpmpp-2m', 'dpmpp-3m', 'dpmpp-sde', 'dpmpp-2m-sde', 'dpmpp-3m-sde'."
VELOCITY = "Two are called that: 'v' is alpha eps - sigma data, 'flow' is eps - data. Say which."
EXPLAINED = {
    "output": {"velocity": VELOCITY, "velocity_prediction": VELOCITY},
    "prediction": {
        "velocity": VELOCITY,
        "score": "The score is -eps / sigma: multiply it by -sigma, and say 'noise'.",
    },
    "solver": {
        "dpm_fast": FAST, "dpm_adaptive": ADAPTIVE, "evodiff": IMAGE, "era": IMAGE, "era_solver": IMAGE,
        "gddim": "For noise that is the same in every direction it is DDIM: 'ddim', with noise its eta_ddim; with more "
                 "values DEIS, 'deis-tab1'.",
        "pndm": "Its first steps are of another kind. Take 'ipndm'.",
        "plms": "Its first steps are of another kind. Take 'ipndm'.",
        "exp_heun_2_x0": "It is 'erk-2' with variant='2b', r=1.",
        "exp_heun_2_x0_sde": "It is 'seeds-2' with variant='2b', r=1.",
        "dpmpp_2m_sde_heun": "It is 'dpmpp-2m-sde' with measure='exact'.",
        "sa_solver_pece": "It is 'sa-solver' with evaluate=True.",
        "res_multistep_ancestral": "It puts noise back after each step; 'res-2m' with eta=1 solves the SDE.",
        "heunpp2": "No paper has it. Take 'rk-2', which is Heun's, or 'erk-3'.",
        "midpoint": "It is 'rk-2' with r=0.5.",
        "ralston": "It is 'rk-2' with r=2/3.",
        "edm": "Heun's method of that paper is 'rk-2', its stochastic sampler 'edm-stochastic'.",
        "dpm_solver_v3": "It measures the linear part of each model, which is not here. Take 'unipc'.",
    }
    | dict.fromkeys(("dpmpp", "dpm_solver++", "dpmsolver++", "dpm++", "dpm_solver_multistep"), WHICH)
    | {f"{name}_cfg_pp": CFG_PP for name in CFG_PP_NAMES}
    | {f"{name}_cfg++": CFG_PP for name in CFG_PP_NAMES},
    "schedule": {
        "ddpm": "Its table of 1,000 levels is seeds.Discrete.linear(), its continuous form 'vp'.",
        "linear": "Stable Diffusion's and DDPM's betas are seeds.Discrete's; x = data + t eps is 'edm', x = (1 - t) "
                  "data + t eps is 'flow'.",
    },
}  # fmt: skip
"""Names that are refused, with what to take instead."""

SPACINGS = ("karras", "exponential", "polyexponential", "ddim_uniform", "sgm_uniform", "uniform", "normal", "simple",
            "beta", "kl_optimal", "align_your_steps", "ays")  # fmt: skip
"""Grids that front ends name behind a sampler, as "DPM++ 2M SDE Karras"."""


def resolve(kind: str, name: str, registry: Mapping[str, object]) -> str:
    """The registry's own name for `name`: itself, or what others call by it ("epsilon" is "noise").

    Args:
        kind: "solver", "schedule", "grid", "prediction", "output", or another word for an error to say.
        name: as the user says it.
        registry: what there is.
    Raises: ValueError with what the name means, the names that are near, or all of them.
    """
    if name in registry:
        return name
    said = str(name).lower().replace("-", "_").replace(" ", "_")
    ours = {key.replace("-", "_"): key for key in registry}
    same = {key.replace("-", "_"): other for key, other in OTHER.get(kind, {}).items() if other in registry}
    if kind in OTHER and (said in same or said in ours):
        return same.get(said) or ours[said]
    hint = _explained(kind, said)
    if not hint:
        near = near_names(said, [*registry, *ours, *same])
        near = list(dict.fromkeys(name if name in registry else ours.get(name) or same[name] for name in near))
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise InputError(f"There is no {kind} {name!r}. {hint}Known: {', '.join(registry)}.")


def lookup(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """registry[resolve(kind, name, registry)]. Raises: ValueError as `resolve` does."""
    return registry[resolve(kind, name, registry)]


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known names that are spelt nearly like this one, the nearest first."""
    return difflib.get_close_matches(name, list(known), n=3)


def some(names: Sequence[str], most: int = 4) -> str:
    """Names for a sentence: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _explained(kind: str, said: str) -> str:
    """The sentence for a name that is refused."""
    found = {name.replace("-", "_"): sentence for name, sentence in EXPLAINED.get(kind, {}).items()}
    if said in found:
        return f"{found[said]} "
    spacing = spacing_of(said) if kind == "solver" else ""
    return (
        f"It names a grid too: seeds.from_name takes both apart, or say grid={spacing!r} yourself. " if spacing else ""
    )


def spacing_of(said: str) -> str:
    """The grid's word at the end of a front end's name, in lower case and with underscores; "" if there is none."""
    return next((word for word in SPACINGS if said.endswith(f"_{word}")), "")
