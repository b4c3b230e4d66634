"""One thread for each test process: two processes with two threads each would wait for one another on two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are imported, and for the processes that tests start

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are deselected, and counted as such, where there is no GPU."""
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return
    gone = [item for item in items if item.get_closest_marker("gpu")]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]
