"""Options that commands share, those of a plan in both spellings, and what they mean to the library."""

import math
import operator
import re
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from seeds.auto import AIMS, CALLS, is_auto, refuse_steps
from seeds.cli import authors
from seeds.errors import InputError
from seeds.grids import GRIDS
from seeds.predictions import PREDICTIONS
from seeds.solvers import SOLVERS, Option

T = TypeVar("T")
STEPS = 20
OF_SOLVERS = tuple(dict.fromkeys(name for solver in SOLVERS.values() for name in solver.options))
"""The options of the registered solvers."""


class Flag:
    """An option, written down once: a decorator of commands; its parameter reads the words of a `--line`.

    Args:
        names: as click.option takes them, with blanks between.
        help, type, settings: as of click.option; a tuple is a choice, and a default is shown.
    """

    def __init__(self, names: str, help: str | None = None, type: Any = None, **settings: Any):
        type = click.Choice(type) if isinstance(type, tuple) else type
        shown = {"show_default": True} if settings.get("default") else {}
        self.names, self.settings = names.split(), {"help": help, "type": type, **shown, **settings}

    @property
    def parameter(self) -> click.Option:
        return click.Option(self.names, **self.settings)

    def __call__(self, command: Callable) -> Callable:
        return click.option(*self.names, **self.settings)(command)


def adding(*flags: Callable) -> Callable:
    """A decorator that adds these options and arguments, in this order."""

    def add(command: Callable) -> Callable:
        for it in reversed(flags):
            command = it(command)
        return command

    return add


class Text(click.ParamType):
    """What is typed, read by a function.

    Args:
        name: for the help.
        read: makes the value. Raises: ValueError for text that is none.
        rule: what is said then behind the text: that it is none, and an example.
    """

    def __init__(self, name: str, read: Callable[[str], Any], rule: str):
        self.name, self.read, self.rule = name, read, rule

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.read(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} {self.rule}.", param, ctx)


class Each(NamedTuple):
    """So many images of each class."""

    images: int


def _numbers(text: str) -> Any:
    numbers = tuple(float(part) for part in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers


def _table(text: str) -> Any:
    text = text.replace("\N{MINUS SIGN}", "-")
    if ":" not in text:
        return float(text)
    return [(float(lam), float(eta)) for lam, eta in (part.split(":") for part in text.split(","))]


def _grid(text: str) -> Any:
    return _numbers(text) if text[:1].isdigit() or text[:1] == "." else text


def _classes(text: str) -> Any:
    if text.isdecimal():
        return int(text)
    if each := re.fullmatch(r"each:([1-9]\d*)", text):
        return Each(int(each[1]))
    from seeds.runs import parse_seeds

    return tuple(parse_seeds(text))


def _pair(text: str, between: str, kind: Callable[[str], Any], holds: Callable[[Any, Any], bool]) -> tuple[Any, Any]:
    one, other = (kind(part) for part in text.split(between))
    return checked((one, other), lambda pair: holds(*pair))


def checked(value: T, holds: Callable[[T], bool]) -> T:
    """The value, if that `holds` of it. Raises: ValueError."""
    if not holds(value):
        raise ValueError
    return value


NUMBERS = Text("numbers", _numbers, "is no number, nor numbers with commas between, such as 0.25,0.8")
FINITE = Text("float", lambda text: checked(float(text), math.isfinite), "is no finite number")
TABLE = Text("table", _table, "is no number, nor a table of lam_from:value such as -inf:0,1.2:1")
GRID = Text("grid", _grid, NUMBERS.rule)
RANGE = Text("range", lambda text: _pair(text, ",", float, operator.lt), "is no range LOW,HIGH, such as 0,1")
CLASSES = Text("classes", _classes, "is no class, nor several such as 0,1,2 or 0-4, nor each:100, 100 images of each")
SHARD = Text(
    "shard",
    lambda text: _pair(text, "/", int, lambda i, n: 1 <= i <= n),
    "is no part I/N with 1 <= I <= N, such as 1/4",
)


class FilePath(click.Path):
    """The path of a file or folder. An empty one, as an unset variable of the shell gives, would be the current folder,
    and is refused."""

    def __init__(self, **settings: Any):
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; give a name.", param, ctx)
        return super().convert(value, param, ctx)


def typed(names: Container[str]) -> list[str]:
    """The options of these parameters that the user gave to the command that runs, as they are typed."""
    context = click.get_current_context()
    return [
        option.opts[0]
        for option in context.command.params
        if option.name in names and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    ]


def _solver_options() -> list[Flag]:
    """One option for each of the registered solvers': its type, its default and its line of help are those of the
    builder's signature."""
    found = []
    for name in OF_SOLVERS:
        takers = [(key, it.options[name]) for key, it in SOLVERS.items() if name in it.options]
        found.append(Flag(f"{_flag(name)} {name}", _help(takers), _type(takers)))
    return found


def _flag(name: str) -> str:
    """As typed: --lower-order-final; EDM's --S_churn stays as EDM spells it."""
    return f"--{name}" if name[:1].isupper() else f"--{name.replace('_', '-')}"


def _type(pairs: list[tuple[str, Option]]) -> Any:
    """Of an option that may be a number for one solver and several for another."""
    kinds = {option.type for _, option in pairs}
    (kind,) = kinds if len(kinds) == 1 else (None,)
    return kind if kind in (bool, int, float, str) else NUMBERS


def _help(pairs: list[tuple[str, Option]]) -> str:
    """What the option is to each solver, those that say the same together."""
    solvers: dict[tuple[str, str], list[str]] = {}
    for name, option in pairs:
        solvers.setdefault((option.help, _text(option.default)), []).append(name)
    said = (f"{', '.join(names)}: {words}  [default: {default}]" for (words, default), names in solvers.items())
    return f"{'; '.join(said)}."


def _text(default: Any) -> str:
    return ",".join(f"{number:.4g}" for number in default) if isinstance(default, tuple) else f"{default}"


def _hidden(*names: str) -> list[Flag]:
    """The options of the authors' spelling by these names; docs/authors-options.md lists them."""
    return [Flag(f"--{name}", type=authors.ONLY[name][0], hidden=True) for name in names]


_PLAN = (
    Flag(
        "--solver",
        f"auto, which chooses method and grid by --nfe; one of {', '.join(SOLVERS)}; or the authors' etd-serk, "
        "etd-erk, rk.  [default: auto]",
    ),
    Flag(
        "--nfe",
        f"Model calls, all counted; of a named solver the most steps that they allow.  [default: {CALLS}, of auto]",
        int,
    ),
    Flag("--aim", "Of auto: a learned network's law, or the least error of the solver.  [default: law]", AIMS),
    Flag("--steps", f"Of a named solver, instead of --nfe: intervals of the grid.  [default: {STEPS}]", int),
    Flag("--schedule", "vp, ve, edm, cosine or flow.  [default: the model's own; edm without a model]"),
    Flag(
        "--grid",
        f"One of {', '.join(GRIDS)}; or times t of the schedule, falling.  [default: auto's, or karras, or the "
        "solver's own]",
        GRID,
    ),
    Flag("--sigmas", "Noise levels sigma/alpha, falling, instead of a grid; a last 0 denoises.", NUMBERS),
    Flag("--nsr-min --sigma_min nsr_min", "Lowest level of a named grid.", float),
    Flag("--nsr-max --sigma_max nsr_max", "Highest level of a named grid.", float),
    Flag("--rho", "Of the karras grid.  [default: 7]", float),
    Flag("--prediction", f"What is interpolated: {', '.join(PREDICTIONS)}.  [default: data, or the solver's own]"),
    Flag("--eta", "Noise: a number >= 0, or a table as -inf:0,1.2:1.  [default: auto's, or the solver's own]", TABLE),
    Flag("--fraction", "Instead of --eta: the fresh part of the noise after each step, from 0 to below 1.", float),
    Flag("--final", "What the last level ends in.  [default: denoise]", ("denoise", "none")),
    Flag("--stages", "Of networks that know some levels: moved to those.  [default: known]", ("known", "free")),
    Flag(
        "--start-at",
        "mean: begin at the data's mean, as the first answer tells it.  [default: mean of auto, else zero]",
        ("zero", "mean"),
    ),
    Flag("--s-noise s_noise", "Multiplies all noise; anything but 1 is not exact.", float),
    *_solver_options(),
    *_hidden("order", "noise_pred", "disc", "scaling", "c2", "butcher_type"),
)
_NOISE = (Flag("--noise", "gaussian or two-point.  [default: gaussian]"), *_hidden("noise_type"))
PLAN, NOISE = ({it.parameter.name or "": it for it in flags} for flags in (_PLAN, _NOISE))
"""The options that make a plan, and those that say the noise, by name, in both spellings."""
plan_options = adding(*PLAN.values())
POSITIVE = click.IntRange(1)
JSON = Flag("--json as_json", "Print JSON.", is_flag=True)


def arguments(options: dict[str, Any], denoiser: Any = None) -> dict[str, Any]:
    """The options given, in either spelling, as arguments of `seeds.plan`, and `noise`.

    Args:
        denoiser: what is to be asked, if that is known.
    Raises: ValueError if the two spellings are mixed.
    """
    values = {name: value for name, value in options.items() if value is not None}
    if values.get("solver") in authors.SOLVERS:
        mixed = [name for name in values if name not in authors.TAKEN]
        if mixed:
            name = mixed[0].replace("_", "-")
            raise InputError(
                f"`--{name}` is of another spelling than `--solver {values['solver']}`, which is the authors'. Say it "
                "all in one of them: docs/authors-options.md has both side by side."
            )
        return authors.translate(values, denoiser)
    mixed = [name for name in authors.ONLY if name in values]
    if mixed:
        raise InputError(
            f"`--{mixed[0]}` is of the authors' spelling, which needs --solver {' or '.join(authors.SOLVERS)}. With "
            f"{values.get('solver', 'auto')} give {authors.ONLY[mixed[0]][1]} instead."
        )
    if is_auto(values.get("solver")):
        refuse_steps(values.get("steps"))
    elif isinstance(values.get("grid", ""), str) and "sigmas" not in values and "nfe" not in values:
        values.setdefault("steps", STEPS)
    return values
