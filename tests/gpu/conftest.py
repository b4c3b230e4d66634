"""The fixtures of this folder; what a device's own libraries warn of fails no test."""

import pytest
from devices import pretended

__all__ = ["pretended"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.filterwarnings("default"))
