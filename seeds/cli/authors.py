"""The options of the SEEDS authors' scripts, and of EDM's that theirs grew from, in our words; docs/authors-options.md
has them side by side."""

from collections.abc import Mapping
from typing import Any

from seeds.errors import InputError
from seeds.grids import vp_betas
from seeds.names import lookup
from seeds.schedules import EDM, VE, VP, Rescaled, Schedule

SOLVERS = {"etd-serk": "seeds", "etd-erk": "erk", "rk": "rk"}
PREDICTION = {True: "noise", False: "data"}
NOISE = {"gaussian": "gaussian", "discrete": "two-point"}
DISC = {"vp": "vp", "ve": "ve", "iddpm": "iddpm", "edm": "karras"}
VARIANTS = {2: ("2a", "2b"), 3: ("3a", "3b")}
VP_RANGE = VP(19.1, 0.1)
RANGES = {
    "vp": (float(VP_RANGE.nsr(1e-3)), float(VP_RANGE.nsr(1.0))),
    "ve": (0.02, 100.0),
    "iddpm": (0.002, 81.0),
    "edm": (0.002, 80.0),
}
ONLY: dict[str, tuple[type, str]] = {
    "order": (int, "the number in the name, as seeds-3"),
    "noise_pred": (bool, "--prediction noise or data"),
    "disc": (str, "--grid"),
    "scaling": (str, "--schedule, which has its own"),
    "c2": (float, "--r"),
    "butcher_type": (str, "--variant"),
    "noise_type": (str, "--noise"),
}
"""Options of this spelling alone: of what type, and what says the same in ours."""
SHARED = ("S_churn", "S_min", "S_max", "S_noise")
"""Options of a solver that both spellings have."""
TAKEN = ("solver", "steps", "nfe", "schedule", "nsr_min", "nsr_max", "rho", "final", *SHARED, *ONLY)
"""All that `translate` reads."""


def translate(options: Mapping[str, Any], denoiser: Any = None) -> dict[str, Any]:
    """The authors' options as arguments of `seeds.plan`, and `noise` where it is given.

    Args:
        options: by their names, values read; sigma_min and sigma_max as nsr_min, nsr_max.
        denoiser: what is to be asked, if that is known: the range is cut to its `nsr_range`; one with a `round_nsr` is
            asked as iDDPM's networks are there; one with EDM's preconditioning is interpolated in its raw output where
            theirs are.
    Raises: ValueError naming the option and the values it takes.
    """
    family, disc = SOLVERS[options["solver"]], options.get("disc", "edm")
    grid, (low, high) = lookup("--disc", disc, DISC), RANGES.get(disc, (0.0, 0.0))
    known = getattr(denoiser, "nsr_range", None) or (0.0, float("inf"))
    low, high = max(options.get("nsr_min", low), known[0]), min(options.get("nsr_max", high), known[1])
    betas = _betas(low, high)
    ours: dict[str, Any] = {"grid": grid, "nsr_min": low, "nsr_max": high}
    if "steps" in options or "nfe" not in options:
        ours["steps"] = _intervals(options.get("steps", 18))
    ours["schedule"] = _schedule(options.get("schedule", "linear"), options.get("scaling", "none"), betas)
    if disc == "vp":
        ours |= {"beta_d": betas[0], "beta_min": betas[1]}
    if "noise_type" in options:
        ours["noise"] = lookup("--noise_type", options["noise_type"], NOISE)
    same = ["nfe", "final", *(["rho"] if disc == "edm" else []), *(SHARED if options.get("S_churn") else ())]
    ours |= {name: options[name] for name in same if name in options}
    ours |= _runge_kutta(options) if family == "rk" else _exponential(family, options, _raw_std(denoiser))
    if getattr(denoiser, "round_nsr", None) is not None:
        third = family != "rk" and ours["solver"][-1] == "3"
        ours |= {"round_nsr": None} if third and _is_edm(options) else {"stages": "free"}
    return ours


def _raw_std(denoiser: Any) -> float | None:
    """The data's standard deviation in EDM's preconditioning of this network, if it has that."""
    if getattr(denoiser, "output", None) == "edm_raw":
        return denoiser.sd
    return getattr(getattr(denoiser, "preconditioner", None), "sigma_data", None)


def _is_edm(options: Mapping[str, Any]) -> bool:
    """EDM's own process: sigma = t, alpha = 1."""
    return options.get("schedule", "linear") == "linear" and options.get("scaling", "none") == "none"


def _exponential(family: str, options: Mapping[str, Any], raw_std: float | None) -> dict[str, Any]:
    order = _order(options, 4)
    ours: dict[str, Any] = {"solver": f"{family}-{order}", "prediction": PREDICTION[options.get("noise_pred", True)]}
    raw = raw_std is not None and _is_edm(options) and options.get("disc", "edm") == "edm"
    if raw and ours["prediction"] == "noise":
        ours |= {"prediction": "edm_raw"} | ({} if raw_std == 0.5 else {"sd": raw_std})
    if order in VARIANTS:
        if "c2" in options:
            ours["r"] = _c2(options) if order == 2 else (_c2(options), 2 / 3)
        if "butcher_type" in options:
            if options["butcher_type"] not in VARIANTS[order]:
                takes = " or ".join(VARIANTS[order])
                raise InputError(f"`--butcher_type` = {options['butcher_type']!r}, but order {order} has {takes}.")
            ours["variant"] = options["butcher_type"]
    return ours


def _runge_kutta(options: Mapping[str, Any]) -> dict[str, Any]:
    order = _order(options, 2)
    ours: dict[str, Any] = {"solver": f"rk-{order}"} | ({} if _is_edm(options) else {"variable": "t"})  # there t is nsr
    if order == 2 and "c2" in options:
        ours["r"] = _c2(options)
    return ours


def _c2(options: Mapping[str, Any]) -> float:
    if not 0 < options["c2"] <= 1:
        raise InputError(
            f"`--c2` = {options['c2']:g}, but it is the place of a stage inside its step: above 0, at most 1."
        )
    return options["c2"]


def _order(options: Mapping[str, Any], most: int) -> int:
    order = options.get("order", 1)
    if not 1 <= order <= most:
        raise InputError(f"`--order` = {order}, but --solver {options['solver']} has orders 1 to {most}.")
    return order


def _intervals(levels: int) -> int:
    if levels < 2:
        raise InputError(
            f"`--steps` = {levels}, but with the authors' solvers it counts levels, of which there must be at least 2."
        )
    return levels - 1


def _betas(low: float, high: float) -> tuple[float, float]:
    """Of the VP schedule that has this range of levels between t = 1e-3 and 1; of Song's where none has, whose levels
    rise with t all the way."""
    beta_d, beta_min = vp_betas(low, high)
    rises = beta_d > 0 and beta_d / 2 * VP.t_min + beta_min > 0
    return (beta_d, beta_min) if rises else (19.9, 0.1)


def _schedule(name: str, scaling: str, betas: tuple[float, float]) -> Schedule:
    levels: Schedule = lookup("--schedule of the authors", name, {"vp": VP(*betas), "ve": VE(), "linear": EDM()})
    lookup("--scaling", scaling, {"vp": None, "none": None})
    return levels if (scaling == "vp") == (name == "vp") else Rescaled(levels, scaling)
