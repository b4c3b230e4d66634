"""The options of the SEEDS authors' scripts, and of EDM's that theirs grew from, in our words."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from seeds.grids import vp_betas
from seeds.names import lookup
from seeds.schedules import EDM, VE, VP, Rescaled, Schedule

SOLVERS = {"etd-serk": "seeds", "etd-erk": "erk", "rk": "rk"}
PREDICTION = {True: "noise", False: "data"}
NOISE = {"gaussian": "gaussian", "discrete": "two-point"}
DISC = {"vp": "vp", "ve": "ve", "iddpm": "iddpm", "edm": "karras"}
VARIANTS = {2: ("2a", "2b"), 3: ("3a", "3b")}
VP_RANGE = VP(19.1, 0.1)
RANGES = {"vp": (float(VP_RANGE.nsr(1e-3)), float(VP_RANGE.nsr(1.0))), "ve": (0.02, 100.0), "iddpm": (0.002, 81.0), "edm": (0.002, 80.0)}
ONLY = {
    "order": "the number in the name, as seeds-3",
    "noise_pred": "--prediction noise or data",
    "disc": "--grid",
    "scaling": "--schedule, which has its own",
    "c2": "--r",
    "butcher_type": "--variant",
    "noise_type": "--noise",
}
"""Options of this spelling alone, and what says the same in ours."""
SHARED = ("S_churn", "S_min", "S_max")
"""Options of a solver that both spellings have."""


class Line(NamedTuple):
    """One option: what is given there, what it is here, and what to know."""

    theirs: str
    ours: str
    note: str = ""


TABLE = (
    Line("--solver etd-serk --order K", "--solver seeds-K", "K = 1 to 4; 3 if left out"),
    Line("--solver etd-erk --order K", "--solver erk-K", "K = 1 to 4; 3 if left out"),
    Line("--solver rk --order K", "--solver rk-K", 'K = 1, 2 (Heun); 2 if left out; steps in t of the schedule: `variable="t"` in Python'),
    Line("--steps N", "--steps N-1", "levels there, intervals here; 18 if left out"),
    Line("--noise_pred True", "--prediction noise", "no effect on rk"),
    Line("--noise_pred False", "--prediction data", "if left out; no effect on rk"),
    Line("--disc vp", "--grid vp", "0.0105 to 125, the range of VP(beta_d=19.1, beta_min=0.1)"),
    Line("--disc ve", "--grid ve", "0.02 to 100"),
    Line("--disc iddpm", "--grid iddpm", "0.002 to 81"),
    Line("--disc edm", "--grid karras", "0.002 to 80; if left out"),
    Line("--sigma_min X --sigma_max Y", "--nsr-min X --nsr-max Y", "kept inside the levels that the network knows"),
    Line("--rho P", "--rho P", "of --disc edm"),
    Line("--schedule vp --scaling vp", "--schedule vp", "its betas have the range of levels, where a VP schedule can (else 19.9 and 0.1)"),
    Line("--schedule vp --scaling none", 'Rescaled(VP(...), "none") in Python', "likewise"),
    Line("--schedule ve --scaling none", "--schedule ve"),
    Line("--schedule ve --scaling vp", 'Rescaled(VE(), "vp") in Python'),
    Line("--schedule linear --scaling none", "--schedule edm", "if left out"),
    Line("--schedule linear --scaling vp", 'Rescaled(EDM(), "vp") in Python'),
    Line("--c2 X", "--r X", "order 3: --r X,0.6667; no effect on orders 1 and 4"),
    Line("--butcher_type 2a|2b|3a|3b", "--variant 2a|2b|3a|3b", "no effect on rk and on orders 1 and 4"),
    Line("--noise_type gaussian", "--noise gaussian", "if left out"),
    Line("--noise_type discrete", "--noise two-point", "mean 0 and variance 1"),
    Line("--S_churn, --S_min, --S_max", "the same", "of rk; levels as sigma / alpha"),
    Line("--S_noise X", "--s-noise X", "multiplies all noise"),
    Line("--network FILE", "--model FILE", "a .pkl is converted first: `seeds convert`"),
    Line("--outdir, --seeds, --class, --batch, --subdirs", "the same", "`--seeds=1-100` works; every seed has noise of its own"),
)


def translate(options: Mapping[str, Any], nsr_range: tuple[float, float] | None = None) -> dict[str, Any]:
    """The authors' options as arguments of `seeds.plan`, and `noise` where it is given.

    Args:
        options: by their names, values read; sigma_min, sigma_max and S_noise as nsr_min, nsr_max, s_noise.
        nsr_range: levels that the network knows; the range is cut to them.
    Raises: ValueError naming the option and the values it takes.
    """
    family, disc = SOLVERS[options["solver"]], options.get("disc", "edm")
    grid, (low, high) = lookup("--disc", disc, DISC), RANGES.get(disc, (0.0, 0.0))
    known = nsr_range or (0.0, float("inf"))
    low, high = max(options.get("nsr_min", low), known[0]), min(options.get("nsr_max", high), known[1])
    betas = _betas(low, high)
    ours: dict[str, Any] = {"steps": _intervals(options.get("steps", 18)), "grid": grid, "nsr_min": low, "nsr_max": high}
    ours["schedule"] = _schedule(options.get("schedule", "linear"), options.get("scaling", "none"), betas)
    if disc == "vp":
        ours |= {"beta_d": betas[0], "beta_min": betas[1]}
    ours |= {name: options[name] for name in ("final", "s_noise") if name in options}
    if disc == "edm" and "rho" in options:
        ours["rho"] = options["rho"]
    if "noise_type" in options:
        ours["noise"] = lookup("--noise_type", options["noise_type"], NOISE)
    return ours | (_runge_kutta(options) if family == "rk" else _exponential(family, options))


def _exponential(family: str, options: Mapping[str, Any]) -> dict[str, Any]:
    order = _order(options, 3, 4)
    if options.get("S_churn", 0) != 0:
        raise ValueError(f"`--S_churn` = {options['S_churn']:g} belongs to --solver rk; etd-serk has noise of its own. Leave it out.")
    ours: dict[str, Any] = {"solver": f"{family}-{order}", "prediction": PREDICTION[options.get("noise_pred", False)]}
    if order in VARIANTS:
        if "c2" in options:
            ours["r"] = options["c2"] if order == 2 else (options["c2"], 2 / 3)
        if "butcher_type" in options:
            if options["butcher_type"] not in VARIANTS[order]:
                takes = " or ".join(VARIANTS[order])
                raise ValueError(f"`--butcher_type` = {options['butcher_type']!r}, but order {order} has {takes}.")
            ours["variant"] = options["butcher_type"]
    return ours


def _runge_kutta(options: Mapping[str, Any]) -> dict[str, Any]:
    order = _order(options, 2, 2)
    ours: dict[str, Any] = {"solver": f"rk-{order}", "variable": "t"}
    if order == 2 and "c2" in options:
        ours["r"] = options["c2"]
    return ours | {name: options[name] for name in ("S_churn", "S_min", "S_max") if name in options}


def _order(options: Mapping[str, Any], default: int, most: int) -> int:
    order = options.get("order", default)
    if not 1 <= order <= most:
        raise ValueError(f"`--order` = {order}, but --solver {options['solver']} has orders 1 to {most}.")
    return order


def _intervals(levels: int) -> int:
    if levels < 2:
        raise ValueError(f"`--steps` = {levels}, but with the authors' solvers it counts levels, of which there must be at least 2.")
    return levels - 1


def _betas(low: float, high: float) -> tuple[float, float]:
    """Of the VP schedule that has this range of levels; of Song's where none has."""
    betas = vp_betas(low, high)
    return betas if min(betas) > 0 else (19.9, 0.1)


def _schedule(name: str, scaling: str, betas: tuple[float, float]) -> Schedule:
    levels: Schedule = lookup("--schedule of the authors", name, {"vp": VP(*betas), "ve": VE(), "linear": EDM()})
    lookup("--scaling", scaling, {"vp": None, "none": None})
    return levels if (scaling == "vp") == (name == "vp") else Rescaled(levels, scaling)


def page() -> str:
    """docs/authors-options.md."""
    head = """# The authors' options

Scripts written for the SEEDS authors' code, and for EDM's, keep working: with `--solver etd-serk`, `etd-erk` or `rk` the options of
`seeds sample` are read as theirs, and by `seeds plan` those that decide a plan. This table says what each becomes. The two spellings do not mix;
`--final`, `--guidance`, `--device`, `--dtype`, `--threads`, `--shard` and `--resume` belong to both.

| theirs | ours | to know |
|---|---|---|
"""
    lines = "".join(f"| {_code(line.theirs)} | {_code(line.ours)} | {line.note} |\n" for line in TABLE)
    tail = """
Two things differ on purpose. Their code leaves out the last interval, so its images keep noise of the lowest level; here one more call
denoises them (`--final none` leaves it out too). And their coefficients are wrong in places: these are the methods of the paper, not
the numbers of that code.
"""
    return head + lines + tail


def _code(text: str) -> str:
    return text if text == "the same" else "`{}`".format(text.replace("|", "\\|"))
