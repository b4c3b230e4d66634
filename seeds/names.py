"""Names of solvers, schedules, grids and predictions: the registry's own, the usual other ones, and what to say of the rest."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from seeds.errors import InputError

T = TypeVar("T")

OTHER = {
    "prediction": {
        "epsilon": "noise", "eps": "noise", "v_prediction": "v", "sample": "data", "x0": "data", "x_start": "data", "flow_prediction": "flow",
    },
    "output": {
        "epsilon": "noise", "eps": "noise", "noise_prediction": "noise", "v_prediction": "v", "sample": "data", "x0": "data", "x_start": "data",
        "denoised": "data", "flow_prediction": "flow", "rectified_flow": "flow", "score_function": "score",
    },
    "solver": {
        "ddpm": "seeds-1", "euler": "rk-1", "heun": "rk-2", "euler_a": "seeds-1", "euler_ancestral": "seeds-1", "lms": "ipndm-v",
        "dpm2": "dpm-solver-2", "dpm_2": "dpm-solver-2", "dpm++_2s": "dpmpp-2s", "dpm++_2s_a": "dpmpp-2s-ancestral", "dpm++_2m": "dpmpp-2m",
        "dpm++_3m": "dpmpp-3m", "dpm++_sde": "dpmpp-sde", "dpm++_2m_sde": "dpmpp-2m-sde", "dpm++_3m_sde": "dpmpp-3m-sde", "uni_pc": "unipc",
        "deis": "deis-tab3", "er_sde": "er-sde-3", "res_2m": "res-2m", "res_multistep": "res-2m", "edm_stochastic": "edm-stochastic",
    },
    "schedule": {"rectified_flow": "flow"},
    "grid": {"logsnr": "uniform_lam", "log_snr": "uniform_lam", "exponential": "uniform_lam"},
}  # fmt: skip
"""For each kind, names that others use for the very thing that the registry has: {their name: ours}."""

IMAGE = "Its numbers depend on the image, so it is no plan."
ADAPTIVE = "It chooses its steps as it goes, so it is no plan. Take dpm-solver-2 or dpm-solver-3."
VELOCITY = "Two are called that: 'v' is alpha eps - sigma data, 'flow' is eps - data. Say which."
EXPLAINED = {
    "output": {"velocity": VELOCITY, "velocity_prediction": VELOCITY},
    "prediction": {
        "velocity": VELOCITY,
        "score": "The score is -eps / sigma: multiply it by -sigma, and say 'noise'.",
    },
    "solver": {
        "dpm_fast": ADAPTIVE, "dpm_adaptive": ADAPTIVE, "evodiff": IMAGE, "era": IMAGE, "era_solver": IMAGE,
        "gddim": "For noise that is the same in every direction it is DDIM: 'ddim', with noise its eta_ddim; with more values DEIS, 'deis-tab1'.",
        "pndm": "Its first steps are of another kind. Take 'ipndm'.",
        "plms": "Its first steps are of another kind. Take 'ipndm'.",
        "dpmpp": "Say which: 'dpmpp-2s', 'dpmpp-2m', 'dpmpp-3m', 'dpmpp-sde', 'dpmpp-2m-sde', 'dpmpp-3m-sde'.",
    },
    "schedule": {
        "ddpm": "Its table of 1,000 levels is seeds.Discrete.linear(), its continuous form 'vp'.",
        "linear": "Stable Diffusion's and DDPM's betas are seeds.Discrete's; x = data + t eps is 'edm', x = (1 - t) data + t eps is 'flow'.",
    },
}  # fmt: skip
"""Names that are refused, with what to take instead."""


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
    return f"{found[said]} " if said in found else ""
