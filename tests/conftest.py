"""One thread for each test process, since two processes with two threads each would wait for one another on two cores; and what this machine can run."""

import importlib.util
import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are imported, and for the processes that tests start

import pytest
import torch

from benchmarks.processes import networks

torch.set_num_threads(1)


def namespaces() -> bool:
    try:
        with networks():
            return True
    except OSError:
        return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu`, `browser` or `netns` are deselected, and counted as such, where there is no GPU; no Chromium, driver or selenium; or where
    network namespaces cannot be made."""
    here = {
        "gpu": lambda: torch.cuda.is_available() or torch.backends.mps.is_available(),
        "browser": lambda: bool(shutil.which("chromium") and shutil.which("chromedriver") and importlib.util.find_spec("selenium")),
        "netns": namespaces,
    }
    gone = []
    for need, there in here.items():
        wanting = [item for item in items if item.get_closest_marker(need)]
        gone += wanting if wanting and not there() else []
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]
