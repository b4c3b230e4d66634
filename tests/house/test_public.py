"""What users touch is documented, typed and importable quickly."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import seeds
from seeds.planning import Request

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings there

ROOT = Path(seeds.__file__).parent


@pytest.mark.parametrize("name", seeds.__all__)
def test_public_names_have_docstrings(name):
    thing = getattr(seeds, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing), f"seeds.{name} has no docstring"


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_modules_say_what_they_are(file):
    tree = ast.parse(file.read_text())
    if tree.body:
        assert ast.get_docstring(tree), f"{file} has no docstring"


FUNCTIONS = [name for name in seeds.__all__ if inspect.isfunction(getattr(seeds, name))]


def faults_of(function):
    """What `help()`, an editor and mypy would not learn of a function's arguments."""
    signature, said = inspect.signature(function), documented(inspect.getdoc(function) or "")
    found = [] if signature.return_annotation is not inspect.Signature.empty else ["what it returns is not annotated"]
    for name, it in signature.parameters.items():
        if it.annotation is inspect.Parameter.empty:
            found.append(f"{name} is not annotated")
        if it.kind == it.VAR_POSITIONAL or (it.kind == it.VAR_KEYWORD and name != "options"):
            found.append(f"{it} takes anything: only a grid's and a solver's own **options may be open")
        if name not in said:
            found.append(f"{name} is not in Args")
    return found + [f"{name} is in Args, but no argument" for name in said if name not in signature.parameters]


def documented(text):
    """The names before a colon in the section Args of a docstring:  `name: ...` or `name, other: ...`, deeper lines
    going on."""
    section = re.search(r"^Args:\n((?: +.*\n?|\n)*)", text, re.M)
    lines = re.findall(r"^ {4}(\w[\w, ]*):", section[1], re.M) if section else []
    return [name.strip() for line in lines for name in line.split(",")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_say_what_they_take(name):
    assert faults_of(getattr(seeds, name)) == []


def test_a_function_that_does_not_say_what_it_takes_is_found():
    def bad(denoiser, *shape: int, steps: int = 3, seed: int = 0, **arguments: Any):
        """Draws.

        Args:
            denoiser, steps: what they are, at length: here
                shape: a line that goes on
            stpes: a slip
        """

    assert faults_of(bad) == [
        "what it returns is not annotated",
        "denoiser is not annotated",
        "*shape: int takes anything: only a grid's and a solver's own **options may be open",
        "shape is not in Args",
        "seed is not in Args",
        "**arguments: Any takes anything: only a grid's and a solver's own **options may be open",
        "arguments is not in Args",
        "stpes is in Args, but no argument",
    ]
    assert {"plan", "plan_for", "sample", "iterate", "wrap", "guide", "threshold", "check_model", "from_name"} == set(
        FUNCTIONS
    )


def test_what_makes_a_plan_is_said_alike_everywhere():
    """One argument, one name, in `plan`, in a `Request`, and wherever it is passed on."""
    taken = {
        name: set(inspect.signature(getattr(seeds, name)).parameters)
        for name in ("plan", "plan_for", "sample", "iterate")
    }
    assert (
        taken["plan"]
        == {field.name for field in dataclasses.fields(Request)} - {"nsr_range", "rule_levels"}
        == taken["plan_for"] - {"denoiser"}
    )
    assert taken["plan"] <= taken["iterate"] == taken["sample"] - {"batch", "progress", "callback"}
    ours, own = (inspect.signature(function).parameters for function in (seeds.plan, seeds.plan_for))
    differ = {name for name in ours if ours[name].default != own[name].default}
    assert differ == {"schedule", "round_nsr"}


@pytest.mark.parametrize("file", [file for file in ROOT.rglob("*.py") if "__all__ = [" in file.read_text()],
                         ids=lambda file: str(file.relative_to(ROOT)))  # fmt: skip
def test_what_a_module_says_it_gives_is_there(file):
    module = importlib.import_module(".".join(("seeds", *file.relative_to(ROOT).with_suffix("").parts)))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_importing_needs_no_networks_metrics_or_command_line():
    assert loaded_by("seeds", "torch", "numpy", "seeds.sampling") == []
    heavy = ("seeds.networks", "seeds.metrics", "seeds.checkpoints", "seeds.cli", "click", "PIL", "scipy", "matplotlib")
    assert loaded_by("seeds.public", *heavy) == []


def loaded_by(module, *names):
    code = f"import sys, {module}; print(*(m for m in sys.modules if m.startswith({names})))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_submodules_are_there_and_other_names_are_not():
    code = "import seeds; print(callable(seeds.plan), seeds.schedules.__name__, 'EDM' in dir(seeds)); seeds.nothing"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "True seeds.schedules True\n"
    assert ended.stderr.endswith("AttributeError: module 'seeds' has no attribute 'nothing'\n")


@pytest.mark.parametrize("module", ["runs", "sampling", "cli.sample", "metrics.features"])
def test_a_submodule_may_be_imported_first(module):
    assert loaded_by(f"seeds.{module}", f"seeds.{module}")


def test_there_are_about_25_public_names():
    assert 20 <= len(seeds.__all__) <= 32
    assert all(hasattr(seeds, name) for name in seeds.__all__)


def test_the_oldest_versions_that_are_tested_are_those_that_are_promised():
    tables = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    ranges = [
        *tables["dependencies"],
        *(name for extra in ("report", "dev") for name in tables["optional-dependencies"][extra]),
    ]
    promised = dict(text.split(">=") for text in ranges if not text.startswith(("ruff", "mypy")))
    lines = (ROOT.parent / "constraints-oldest.txt").read_text().splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert oldest.keys() - promised.keys() == {"pyparsing"}, "what an old version needs that is not ours"
    assert all(oldest[name] == version or oldest[name].startswith(f"{version}.") for name, version in promised.items())
