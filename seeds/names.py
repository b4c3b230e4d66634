"""Names of solvers, schedules, grids and predictions: the registry's own, the usual other ones, and what to say of the rest."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

OTHER = {
    "prediction": {
        "epsilon": "noise", "eps": "noise", "v_prediction": "v", "sample": "data", "x0": "data", "x_start": "data", "flow_prediction": "flow",
    },
    "output": {
        "epsilon": "noise", "eps": "noise", "noise_prediction": "noise", "v_prediction": "v", "sample": "data", "x0": "data", "x_start": "data",
        "denoised": "data", "flow_prediction": "flow", "rectified_flow": "flow", "score_function": "score",
    },
    "solver": {"ddim": "erk-1", "ddpm": "seeds-1", "euler": "rk-1", "heun": "rk-2"},
    "schedule": {"rectified_flow": "flow"},
    "grid": {"logsnr": "uniform_lam", "log_snr": "uniform_lam", "exponential": "uniform_lam"},
}  # fmt: skip
"""For each kind, names that others use for the very thing that the registry has: {their name: ours}."""

FAMILY = "It comes with the family of rivals, which is not in this version."
VELOCITY = "Two are called that: 'v' is alpha eps - sigma data, 'flow' is eps - data. Say which."
EXPLAINED = {
    "output": {"velocity": VELOCITY, "velocity_prediction": VELOCITY},
    "prediction": {
        "velocity": VELOCITY,
        "score": "The score is -eps / sigma: multiply it by -sigma, and say 'noise'.",
    },
    "solver": dict.fromkeys(
        ("dpm-solver", "dpm++", "dpmpp", "unipc", "deis", "ipndm", "pndm", "sa-solver", "er-sde", "restart", "lcm"), FAMILY
    ),
    "schedule": {
        "ddpm": "Its table of 1,000 levels is seeds.Discrete.linear(), its continuous form 'vp'.",
        "linear": "Stable Diffusion's and DDPM's betas are seeds.Discrete's; x = data + t eps is 'edm', x = (1 - t) data + t eps is 'flow'.",
    },
}
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
    raise ValueError(f"There is no {kind} {name!r}. {hint}Known: {', '.join(registry)}.")


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
    """The sentence for a name that is refused; a name of a family counts with what follows it, as "unipc_3" does."""
    for name, sentence in EXPLAINED.get(kind, {}).items():
        key = name.replace("-", "_")
        if said == key or (sentence is FAMILY and said.startswith(key)):
            return f"{sentence} "
    return ""
