"""One thread for each test process, since two processes with two threads each would wait for one another on two cores; and what this machine can run."""

import importlib.util
import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are imported, and for the processes that tests start

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu` or `browser` are deselected, and counted as such, where there is no GPU, or no Chromium, driver or selenium."""
    here = {
        "gpu": torch.cuda.is_available() or torch.backends.mps.is_available(),
        "browser": bool(shutil.which("chromium") and shutil.which("chromedriver") and importlib.util.find_spec("selenium")),
    }
    gone = [item for item in items if any(item.get_closest_marker(need) and not there for need, there in here.items())]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]
