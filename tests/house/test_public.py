"""What users touch is documented, typed and importable quickly."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import seeds

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


@pytest.mark.parametrize("name", ["plan", "sample", "iterate", "wrap", "guide", "threshold", "check_model"])
def test_front_door_functions_are_annotated(name):
    signature = inspect.signature(getattr(seeds, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(it.annotation is not inspect.Parameter.empty for it in signature.parameters.values())


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
    ranges = [*tables["dependencies"], *(name for extra in ("report", "dev") for name in tables["optional-dependencies"][extra])]
    promised = dict(text.split(">=") for text in ranges if not text.startswith(("ruff", "mypy")))
    lines = (ROOT.parent / "constraints-oldest.txt").read_text().splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert oldest.keys() == promised.keys()
    assert all(oldest[name] == version or oldest[name].startswith(f"{version}.") for name, version in promised.items())
