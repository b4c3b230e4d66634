"""Fixtures of the laws."""

import pytest
import torch
from laws import solved_flow


@pytest.fixture(scope="session")
def mixture_flow() -> torch.Tensor:
    """Where the probability-flow ODE of the mixture takes each start."""
    return solved_flow()
