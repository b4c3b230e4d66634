"""The architecture is a test: an import goes strictly down a floor, or stays inside its own folder; host-side files
know no torch."""

import ast
from pathlib import Path

import pytest

import seeds

ROOT = Path(seeds.__file__).parent
FLOOR = {
    "errors": -2, "names": -1,
    "integrals": 0, "schedules": 0, "tableaus": 0, "plans": 0, "variables": 0, "noise": 0, "storage": 0,
    "distributed": 0, "networks": 0, "modules": 0, "grids": 1, "predictions": 1, "stepper": 1, "conditions": 1,
    "watch": 1, "densities": 1, "joint": 4, "images": 1, "solvers": 2, "preconditioners": 2, "metrics": 2,
    "denoisers": 3, "exact": 3, "auto": 3, "planning": 4, "inputs": 4, "source": 4, "checking": 4, "checkpoints": 4,
    "tuning": 4, "sampling": 5, "laws": 5, "runs": 6, "integrations": 6, "report": 6, "public": 6, "__init__": 7,
    "cli": 8, "__main__": 9,
}  # fmt: skip
HOST = {
    "integrals",
    "variables",
    "schedules",
    "names",
    "errors",
    "tableaus",
    "plans",
    "grids",
    "predictions",
    "solvers",
    "auto",
}
RANDOM = {"randn_like", "rand_like", "randn", "rand", "randint"}
FILES = sorted(ROOT.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(file: Path) -> list[tuple[int, str]]:
    """(line, module) of every import, `from seeds import x` counted as seeds.x."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            names = [f"seeds.{alias.name}" for alias in node.names] if node.module == "seeds" else [node.module]
            found += [(node.lineno, name) for name in names]
    return found


def floor_faults(file: Path, here: str) -> list[str]:
    """Imports of a file in the room `here` that go up, or sideways, or bring torch to the host's side."""
    if here not in FLOOR:
        return [f"{file.name} has no floor: give it one here and in the design"]
    found = []
    for line, name in imports(file):
        top, _, rest = name.partition(".")
        if top == "seeds":
            other = rest.partition(".")[0]
            other = other if other in FLOOR else "__init__"  # a public name of seeds itself
            if other != here and FLOOR[other] >= FLOOR[here]:
                found.append(
                    f"{file.name}:{line}: {here} (floor {FLOOR[here]}) may not import {other} (floor {FLOOR[other]})"
                )
        if top == "torch" and here in HOST:
            found.append(f"{file.name}:{line}: {here} is host-side: NumPy only")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down(file):
    assert floor_faults(file, room(file)) == []


def weights_only(call):
    """It says weights_only=True, as a constant."""
    return any(
        it.arg == "weights_only" and isinstance(it.value, ast.Constant) and it.value.value is True
        for it in call.keywords
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_unsafe_and_no_global_randomness(file):
    text = file.read_text()
    tree = ast.parse(text)
    safe = [
        call.func
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.load" and weights_only(call)
    ]
    assert not safe or file.name == "foreign.py", (
        f"{file}: state dicts of others are read in seeds/checkpoints/foreign.py alone"
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            call = f"{node.value.id}.{node.attr}"
            assert node in safe or call not in {
                "torch.load",
                "pickle.load",
                "pickle.loads",
                "torch.manual_seed",
                "random.seed",
            }, f"{file}:{node.lineno}: {call}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RANDOM:
            keywords = {keyword.arg for keyword in node.keywords}
            assert "generator" in keywords, (
                f"{file}:{node.lineno}: {node.func.attr} without a generator reads the global state"
            )
    assert "np.random.seed" not in text


def foreign_raises(text):
    """Lines that raise Python's own ValueError with a sentence: the command line would take it for a fault of somebody
    else's code."""
    raised = ((node.lineno, node.exc) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Raise))
    return [line for line, error in raised if isinstance(error, ast.Call) and ast.unparse(error.func) == "ValueError"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_refused_is_refused_by_an_error_of_ours(file):
    assert not foreign_raises(file.read_text()), f"{file}: raise seeds.errors.InputError, which is a ValueError"


def test_an_error_that_is_not_ours_is_found():
    assert foreign_raises("def f():\n    raise ValueError('no')\n    raise InputError('no')\n    raise") == [2]


@pytest.mark.parametrize(("here", "text", "faults"), [
    ("plans", "from seeds import sampling\nimport torch.nn as nn\n",
     ["bad.py:1: plans (floor 0) may not import sampling (floor 5)", "bad.py:2: plans is host-side: NumPy only"]),
    ("grids", "def f():\n    from seeds.predictions import PREDICTIONS\n",
        ["bad.py:2: grids (floor 1) may not import predictions (floor 1)"]),
    ("solvers", "import seeds\nfrom seeds import VP\n",
     [f"bad.py:{line}: solvers (floor 2) may not import __init__ (floor 7)" for line in (1, 2)]),
    ("solvers", "from seeds.solvers.levels import Levels\nfrom seeds.plans import Plan\nimport numpy, math\n", []),
    ("networks", "import torch\nimport seeds.modules\n",
        ["bad.py:2: networks (floor 0) may not import modules (floor 0)"]),
    ("attic", "", ["bad.py has no floor: give it one here and in the design"]),
])  # fmt: skip
def test_a_bad_file_is_found(tmp_path, here, text, faults):
    bad = tmp_path / "bad.py"
    bad.write_text(text)
    assert floor_faults(bad, here) == faults


PROGRAMS = ROOT.parent
TESTED = {"benchmarks.device"}
"""A program that has tests of its own (tests/gpu): what it does where a part of it fails."""


def crossing(file: Path) -> list[str]:
    """What a test takes from a benchmark, or a benchmark or a trial from a test."""
    other = "benchmarks" if file.relative_to(PROGRAMS).parts[0] == "tests" else "tests"
    tree = ast.parse(file.read_text())
    names = [
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    return [name for name in names if name.partition(".")[0] == other and name not in TESTED]


def test_tests_and_benchmarks_take_nothing_from_each_other():
    """Benchmarks measure, trials say right or wrong at length, and tests run those briefly."""
    files = [file for room in ("tests", "benchmarks", "trials") for file in sorted((PROGRAMS / room).rglob("*.py"))]
    assert len(files) > 100 and {file.name: crossing(file) for file in files if crossing(file)} == {}


def test_the_floor_test_looks_at_files_and_rooms_that_there_are():
    assert len(FILES) > 12 and {"plans", "stepper", "sampling"} <= {room(file) for file in FILES}
    assert set(FLOOR) == {room(file) for file in FILES}
