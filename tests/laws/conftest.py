"""Fixtures of the laws."""

import numpy as np
import pytest
import torch
from laws import STARTS, mixture_denoiser
from scipy.integrate import solve_ivp

from seeds.plan import Point


@pytest.fixture(scope="session")
def mixture_flow() -> torch.Tensor:
    """Where the probability-flow ODE of the mixture takes each start, from nsr e^2 to e^-2, in units of the state's scale: scipy to 1e-13."""

    def slope(log_nsr, y):
        nsr = float(np.exp(log_nsr))
        return y - mixture_denoiser(torch.from_numpy(y), Point(nsr, 1.0, nsr)).numpy()

    start = STARTS.numpy() * np.hypot(1, np.exp(2))
    solved = solve_ivp(slope, (2.0, -2.0), start, method="DOP853", rtol=1e-13, atol=1e-14)
    return torch.from_numpy(solved.y[:, -1] / np.hypot(1, np.exp(-2)))
