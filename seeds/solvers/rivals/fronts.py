"""The names that front ends show: "DPM++ 2M SDE Karras" is a solver and a grid."""

from typing import Any

from seeds.grids import GRIDS
from seeds.names import resolve, spacing_of
from seeds.solvers.registry import SOLVERS

SAMPLERS: dict[str, dict[str, Any]] = {
    "dpm++ 2m sde heun": {"solver": "dpmpp-2m-sde", "measure": "exact"},
    "exp heun 2 x0": {"solver": "erk-2", "variant": "2b", "r": 1.0},
    "exp heun 2 x0 sde": {"solver": "seeds-2", "variant": "2b", "r": 1.0},
    "sa solver pece": {"solver": "sa-solver", "evaluate": True},
    "auto": {"solver": "auto"},
    "uni pc bh2": {"solver": "unipc", "measure": "bh2"},
}  # fmt: skip
"""Samplers that are a solver with options, or the default."""


def from_name(name: str) -> dict[str, Any]:
    """The arguments of `sample` and `plan` for a sampler as front ends call it.

        seeds.from_name("DPM++ 2M SDE Karras")      # {"solver": "dpmpp-2m-sde", "grid": "karras"}
        seeds.sample(model, model.shape, seed=1, steps=20, **seeds.from_name("UniPC"))

    Args:
        name: a sampler, and a grid behind it or none, which leaves that to the solver. Case, hyphens and underscores do
            not matter.
    Returns: solver, options of the solver, and the grid if there is one.
    Raises: ValueError if there is no such sampler, or no such grid.
    """
    text = " ".join(str(name).lower().replace("_", " ").replace("-", " ").split()).replace("dpmpp", "dpm++")
    spacing = spacing_of(text.replace(" ", "_"))
    sampler = text.removesuffix(spacing.replace("_", " ")).strip().removesuffix(" gpu")
    settings = dict(SAMPLERS.get(sampler, {})) or {"solver": resolve("solver", _ours(sampler), SOLVERS)}
    if spacing:
        settings["grid"] = resolve("grid", spacing, GRIDS)
    return settings


def _ours(sampler: str) -> str:
    """The name in the spelling of the registry, if it is there."""
    spelt = sampler.replace("dpm++", "dpmpp").replace(" ", "-")
    return spelt if spelt in SOLVERS else sampler
