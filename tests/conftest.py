"""One thread for each test process, since two processes with two threads each would wait for one another on two cores;
and what this machine can run."""

import importlib.util
import os
import shutil

# before torch and NumPy are imported, and for the processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from trials.processes import networks

torch.set_num_threads(1)


def namespaces() -> bool:
    try:
        with networks():
            return True
    except OSError:
        return False


def gpu(kind: str) -> bool:
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


NEEDS = {
    "gpu": (gpu, "no CUDA or MPS device"),
    "browser": (
        lambda: bool(
            shutil.which("chromium") and shutil.which("chromedriver") and importlib.util.find_spec("selenium")
        ),
        "no Chromium, or no chromedriver or selenium",
    ),
    "netns": (namespaces, "no right to make network namespaces, or no iproute2"),
}
"""What a marked test needs: whether it is here, asked with the mark's arguments, and what to say where it is not."""
LEFT_OUT = pytest.StashKey[dict[str, int]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu`, `browser` or `netns` are left out where what they need is missing; the end of the run says
    how many."""
    marked = [(item, need, mark.args) for item in items for need in NEEDS if (mark := item.get_closest_marker(need))]
    here = {asked: NEEDS[asked[0]][0](*asked[1]) for asked in {(need, args) for _, need, args in marked}}
    gone: dict[str, list[pytest.Item]] = {}
    for item, need, args in marked:
        if not here[need, args]:
            gone.setdefault(need, []).append(item)
    config.stash[LEFT_OUT] = {need: len(held) for need, held in gone.items()}
    if gone:
        away = list(dict.fromkeys(item for held in gone.values() for item in held))
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells its controller."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """The controller collects nothing; all workers collect the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left out") or node.config.stash.get(
        LEFT_OUT, {}
    )


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    told = [
        f"{count} {need} test{'s' * (count > 1)} ({NEEDS[need][1]})"
        for need, count in config.stash.get(LEFT_OUT, {}).items()
    ]
    if told:
        terminalreporter.write_line(f"left out: {', '.join(told)}")
