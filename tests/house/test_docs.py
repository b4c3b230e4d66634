"""The documentation is tested: its code runs and prints what it says, its commands exist, its links lead somewhere, its
tables are the code's."""

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from torch.distributed.run import get_args_parser

import seeds
from seeds.cli import commands

ROOT = Path(__file__).parents[2]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.exists()]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")  # pictures too
NAMES = (
    "index", "notation", "choose-a-solver", "write-a-solver", "plan", "models", "hosts", "measure", "curves",
    "many-processes", "reproducibility", "numbers", "differences",
)  # fmt: skip


class Block(NamedTuple):
    """A fenced block: its language, the line it starts on, its text."""

    language: str
    line: int
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(found[1], page.count("\n", 0, found.start()) + 1, found[2]) for found in FENCE.finditer(page)]


def lines_of(language: str) -> Iterator[tuple[Path, int, str]]:
    """(page, line number, line) of the blocks of that language; a line that ends in a backslash goes on."""
    for page in PAGES:
        for block in blocks(page.read_text()):
            if block.language == language:
                joined = block.text.replace("\\\n", " ")
                yield from ((page, block.line, line) for line in joined.splitlines() if line.strip())


def outside_code(page: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page))


def anchors(page: str) -> set[str]:
    """The anchors that a code host makes of headings."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def run_blocks(path: Path) -> dict:
    """Runs the Python blocks of a page in one namespace; a text block right after one is what it prints."""
    namespace: dict = {"__name__": path.stem}
    page = blocks(path.read_text())
    for block, following in zip(page, [*page[1:], None], strict=True):
        if block.language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * block.line + block.text, str(path), "exec"), namespace)
        if following is not None and following.language == "text":
            assert printed.getvalue().split("\n") == following.text.split("\n"), (
                f"{path.name}:{following.line}: not what is printed"
            )
    return namespace


@pytest.fixture
def solvers_as_before():
    """Solvers that a page registers are gone after it."""
    before = dict(seeds.SOLVERS)
    yield before
    seeds.SOLVERS.clear()
    seeds.SOLVERS.update(before)


WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page.read_text()))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_blocks_run_and_print_what_follows_them(page, tmp_path, monkeypatch, solvers_as_before):
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


def test_all_pages_are_there_and_on_the_map():
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or f"({page.name})" in index, f"{page.name} is not on the map of docs/index.md"
    assert {page.stem for page in PAGES} >= set(NAMES) and len(WITH_PYTHON) >= 7


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(outside_code(page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(path.read_text()), (
            f"{page.name} links to {target}, but {path.name} has no such heading"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_a_kind_that_is_tested(page):
    kinds = {block.language for block in blocks(page.read_text())}
    assert kinds <= {"python", "text", "sh"}, f"{page.name} has blocks of {kinds}"


def behind_torchrun(words: list[str]) -> list[str]:
    """The command that torchrun would start. Raises: AssertionError if it would not understand the words, SystemExit if
    it would say so itself."""
    found = get_args_parser().parse_args(words)
    assert found.module, "torchrun needs -m seeds"
    return [found.training_script, *found.training_script_args]


def parse(command: str) -> None:
    """Raises if the command line would not be understood; runs nothing. A variable of the shell stands for 1."""
    words = shlex.split(re.sub(r"\$[A-Z_]\w*", "1", command), comments=True)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    if words[:3] == ["python", "-m", "seeds"]:
        words = ["seeds", *words[3:]]
    if words[:1] == ["torchrun"]:
        words = behind_torchrun(words[1:])
    match words:
        case []:
            pass
        case ["seeds", name, *arguments]:
            context = click.Context(commands, info_name="seeds")
            found = commands.get_command(context, name)
            assert found is not None, f"there is no command seeds {name}"
            found.make_context(name, arguments, parent=context)
        case ["python", file, *_]:
            assert (ROOT / file).exists(), f"there is no {file}"
        case ["make", *targets]:
            known = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(targets) <= set(known), f"make has no {targets}"
        case ["pytest", *arguments]:
            assert all((ROOT / word.partition("::")[0]).exists() for word in arguments if word.startswith("tests"))
        case ["pip", "install", *_] | ["git", "clone", *_] | ["cd", _] | ["python3", "-m", "venv", _]:
            pass
        case _:
            raise AssertionError("no test knows this command")


def test_shell_lines_are_understood():
    found = list(lines_of("sh"))
    assert sum(line.startswith("seeds ") for _, _, line in found) >= 5
    for page, number, line in found:
        try:
            parse(line)
        except (click.ClickException, AssertionError, SystemExit) as error:
            raise AssertionError(f"{page.name}, block at line {number}: {line!r}: {error}") from error


@pytest.mark.parametrize(
    "wrong",
    [
        "seeds smaple", "seeds sample --setps 5", "seeds plan --steps five", "python benchmarks/none.py", "rm -r x",
        "torchrun --nproc_per_node=2 -m seeds "
        "smaple", "torchrun --nproc_per_node=2 -m seeds fid --num 5 out", "torchrun --prcs=2 -m seeds info",
    ],
)  # fmt: skip
def test_a_wrong_line_is_caught(wrong):
    with pytest.raises((click.ClickException, AssertionError, SystemExit)):
        parse(wrong)


def test_tables_are_those_of_the_code():
    tables = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    found = set()
    for page in PAGES:
        text = page.read_text()
        assert tables["renewed"](text) == text, f"{page.name}: a table is out of date. Run python -m docs.make_tables."
        found |= {match[2] for match in tables["MARKED"].finditer(text)}
    assert found == set(tables["TABLES"])


def test_every_solver_grid_schedule_and_prediction_is_in_the_tables():
    pages = "".join(page.read_text() for page in PAGES)
    for registry in (seeds.SOLVERS, seeds.GRIDS, seeds.SCHEDULES, seeds.PREDICTIONS):
        assert all(f"| `{name}`" in pages for name in registry)


def test_the_laws_take_up_the_solver_of_the_page(tmp_path):
    """The command of docs/write-a-solver.md, on its first block and one law."""
    first = next(
        block for block in blocks((ROOT / "docs" / "write-a-solver.md").read_text()) if block.language == "python"
    )
    (tmp_path / "my_solvers.py").write_text(first.text)
    command = [sys.executable, "-m", "pytest", "tests/laws/test_laws.py", "-p", "my_solvers", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run(
        [*command, "-k", "weak_order-krogstad-default-data"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_site_sets_equations_and_leaves_the_rest_as_text():
    hook = runpy.run_path(str(ROOT / "docs" / "equations.py"))
    set_as = {
        "w_j       = int Phi(lam1, lam) q L_j dlam      L_j: flat": [
            "w_j = int Phi(lambda_1, lambda) q L_j d lambda", 'L_j: "flat"',
        ],
        "c = sum_g (abar(j) / x^-1),   exp(b(t) / 2) c_skip y_ij\n        + a / (n m)": [
            "c = sum_(g) (bar alpha(j) // x^(-1)),", 'exp(b(t) // 2) c_"skip" y_(i j) + a / (n m)',
        ],
    }  # fmt: skip
    for text, formulas in set_as.items():
        (line,) = hook["equations"](text)
        assert [hook["asciimath"](part) for part in line] == formulas
    for text in (
        "plan = seeds.plan_for(model, nfe=10)", "x = run(plan, denoise, noise)", "i = write.calls", "x = y  # z",
        "start  t = 80, lam = -4.3820; x0 = 1 x_start + z -", "nsr^p      exp(-p lam)", 'scaling "none":  alpha = 1',
        "auto  0.05 ±0.033 =   0.04", "lam        half log-SNR", "u = lam, exact      exponential Adams", "x = y\nread",
    ):  # fmt: skip
        assert hook["equations"](text) is None, text
