"""What is known of a solver, and where all of them are found. A solver writes a plan; it never sees a state.

What a solver can do is declared here, and nothing is read off a name: the laws that apply to it (seeds.laws), the
options of the command line, the docs' tables and the errors of `seeds.plan` all follow from its `Solver`.
"""

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from seeds.errors import InputError
from seeds.integrals import Eta, EtaLike
from seeds.names import near_names, resolve, some
from seeds.predictions import Prediction
from seeds.solvers.churn import Churn
from seeds.solvers.levels import Levels
from seeds.solvers.singlestep import singlestep
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders, Tableau

Cases = Sequence[Mapping[str, Any]]
HANDED = ("write", "levels", "prediction", "eta")
"""What every builder is given; its other arguments are options of the solver."""


class Option(NamedTuple):
    """An option of a solver, as its builder's signature has it:  r: Annotated[float, "position of the stage, in (0,
    1]"] = 1 / 2."""

    name: str
    type: Any
    default: Any
    help: str
    """One line."""


@dataclass(frozen=True)
class Solver:
    """A builder of plans with what is known about it. It may be given wherever a solver's name may.

    Attributes:
        name: as users say it.
        build: writes the rows: `build(write, levels, prediction=..., eta=..., **options)` (docs/write-a-solver.md). Its
            further arguments are the solver's options, each with type, default and, as `Annotated[type, "..."]`, one
            line of help.
        order: measured orders, or a function of the options that gives them.
        noise: "eta" if it solves the SDE of any eta(lam); "churn" if it makes noise of another kind, which `noisy`
            switches on; None for an ODE method.
        eta: the stochasticity when none is asked for, of a solver with noise="eta".
        interpolates: the prediction matters to it: it integrates p y and the noise exactly, and puts a polynomial in
            the place of F.
        memory: a step may read states and answers of earlier steps. A run that begins at a level in between then has
            less to read than the whole run had there, so that two parts of a run are not the run.
        cases: options under which the laws test it, the default first.
        noisy: options that switch on noise that is not eta's, for the laws.
        twin: name of the same method with noise, or without.
        tableau: the family of tableaus it is compiled from, if it is.
        note: one line for the tables of docs and `seeds info`.
        prediction: what it interpolates when none is asked for.
        forms: the predictions in which the laws ask it; empty: all.
        grid: the grid when none is asked for.
        quiet: options that switch off noise which is there without being asked for, for the laws.
        fixed: arguments of its builder that are given and no options, for the laws and the record.
        source: who published it, of a named rival.
        differs: where the published code, or what is written of it, differs from what is here.
    Raises: ValueError if a noise is declared that does not exist, or an eta without noise="eta".
    """

    name: str
    build: Callable[..., None]
    order: Orders | Callable[..., Orders]
    _: KW_ONLY
    noise: str | None = None
    eta: EtaLike = 0.0
    interpolates: bool = True
    memory: bool = False
    cases: Cases = ({},)
    noisy: Mapping[str, Any] = field(default_factory=dict)
    twin: str = ""
    tableau: Callable[..., Tableau] | None = None
    note: str = ""
    prediction: str = "data"
    forms: Sequence[str] = ()
    grid: str = "karras"
    quiet: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    differs: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name and not any(letter.isspace() for letter in self.name)):
            raise InputError(f"`name` of a solver is a word without spaces, but is {self.name!r}.")
        if self.noise not in ("eta", "churn", None):
            raise InputError(f"Solver {self.name!r}: `noise` is 'eta', 'churn' or None, but is {self.noise!r}.")
        if self.eta and self.noise != "eta":
            raise InputError(
                f"Solver {self.name!r}: `eta` = {self.eta} is the default of a solver with noise='eta', but `noise` is "
                f"{self.noise!r}."
            )

    @cached_property
    def options(self) -> dict[str, Option]:
        """Its options by name; a tableau's steps may have churn before them."""
        return options_of(self.tableau) | options_of(Churn) if self.tableau else options_of(self.build)

    def orders(self, **options: Any) -> Orders:
        """Its measured orders under these options."""
        return self.order(**options) if callable(self.order) else self.order

    def check_options(self, options: Mapping[str, Any], also: Iterable[str] = ()) -> None:
        """Raises: ValueError that names an option the solver does not take, those it does, and which of these or of
        `also` is near."""
        for name, value in options.items():
            if name not in self.options:
                near, of = (
                    near_names(name, [*self.options, *also]),
                    [key for key, it in SOLVERS.items() if name in it.options],
                )
                hint = f" It is of {some(of)}." if of else f" Did you mean `{near[0]}`?" if near else ""
                takes = ", ".join(self.options) or "none"
                raise InputError(
                    f"`{name}` = {repr(value)[:60]} is no option of {self.name} (it takes: {takes}), nor of this "
                    f"grid.{hint}"
                )

    def check_eta(self, eta: Eta, said: str | None = None) -> None:
        """Raises: ValueError if eta makes noise and the solver solves the ODE; `said` is by what words it was asked
        for."""
        if self.noise != "eta" and not eta.is_zero:
            way = "Use seeds-2, or another solver with noise"
            if self.noise == "churn":
                way = "Ask for churn with S_churn=40, as EDM does, or use seeds-2" if "S_churn" in self.options else way
            elif self.twin:
                way = f"Use {self.twin}"
            raise InputError(
                f"{said or f'`eta` = {eta.value}'} makes noise, but {self.name} solves the ODE, eta = 0. {way}."
            )


def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """The arguments of a builder, or of a family of tableaus, that are options of the solver."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # annotations that cannot be read say nothing, and break nothing
        hints = {}
    options = {}
    for name, it in inspect.signature(function).parameters.items():
        if name in HANDED or it.kind in (it.VAR_POSITIONAL, it.VAR_KEYWORD):
            continue
        hint, *words = (
            typing.get_args(hints[name])
            if typing.get_origin(hints.get(name)) is typing.Annotated
            else (hints.get(name, Any),)
        )
        default = None if it.default is it.empty else it.default
        options[name] = Option(name, hint, default, next((word for word in words if isinstance(word, str)), ""))
    return options


SOLVERS: dict[str, Solver] = {}
"""All solvers by name, in the order of the tables."""


def add(solver: Solver) -> Solver:
    """Registers a solver under its name, and returns it.

    Raises: ValueError if there is one of that name.
    """
    if solver.name in SOLVERS:
        raise InputError(
            f"There is a solver {solver.name!r} already. Give this one another name, or pass the Solver itself where a "
            "name would do."
        )
    SOLVERS[solver.name] = solver
    return solver


def find_solver(which: str | Solver) -> Solver:
    """The solver of that name, or the Solver given.

    Raises: ValueError that lists the near names.
    """
    if isinstance(which, Solver):
        return which
    name = resolve("solver", which, {"auto": None, **SOLVERS})
    if name == "auto":
        raise InputError(
            "`solver` = 'auto' is a rule that chooses a solver and its grid by the number of model calls: "
            "seeds.sample and seeds.plan take it. Here a solver is needed, as 'seeds-3', or 'adams', which the rule "
            "sets."
        )
    return SOLVERS[name]


def tableau_solver(
    name: str,
    family: Callable[..., Tableau],
    eta: float,
    cases: Cases = ({},),
    at: Callable[..., Tableau] | None = None,
    note: str = "",
    twin: str = "",
    **more: Any,
) -> Solver:
    """A solver from a family of tableaus: with any eta, or, if `eta` is 0, of the ODE alone.

    Args:
        family: `family(**options)` gives the table. Its arguments are the options, beside those of EDM's churn.
        more: further attributes of the Solver.
        at: `at(positions, **options)` gives the table for moved stages, where a network knows some levels only; it is
            handed every option.
    """

    def build(write: Writer, levels: Levels, prediction: Prediction, eta: Eta, **options: Any) -> None:
        own = _own(options)
        call = inspect.signature(family).bind(**own)
        call.apply_defaults()
        table_at = None if at is None else lambda positions: at(positions, **call.arguments)
        churn = Churn(**{name: value for name, value in options.items() if name not in own})
        singlestep(write, levels, prediction, eta, family(**own), table_at, churn)

    def order(**options: Any) -> Orders:
        orders = family(**_own(options)).orders
        return orders if eta else orders._replace(weak=None)

    def _own(options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in options_of(Churn)}

    noise = "eta" if eta else None
    return Solver(name, build, order, noise=noise, eta=eta, cases=cases, twin=twin, tableau=family, note=note, **more)
