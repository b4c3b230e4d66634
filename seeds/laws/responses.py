"""A plan run on chosen vectors: on Gaussian data everything is linear, so what every state holds of the start and of
each draw can be read off.

The real Stepper runs the plan: the laws test the numbers and the loop together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seeds.plans import Plan, Point
from seeds.stepper import Stepper

Denoise = Callable[[Tensor, Point], Tensor]


def states(plan: Plan, denoise: Denoise, x: Tensor, draw: Callable[[int], Tensor]) -> list[Tensor]:
    """Every state of a run: the one first asked about, then the one made after each call."""
    stepper = Stepper(plan, x, draw, reuse=False)
    xs = [stepper.x]
    while not stepper.done:
        stepper.advance(denoise(stepper.x, stepper.at))
        xs.append(stepper.x)
    return xs


def responses(plan: Plan, denoise: Denoise, start: float = 1.0) -> list[Tensor]:
    """(1 + draws,) for each state, if D is linear in x: its response to the start state (of size `start`) and to each
    draw.

    One batch of unit vectors: entry 0 starts at `start` with all draws 0, entry 1 + j has draw j equal to 1. The sum of
    squares is the variance.
    """
    unit = torch.eye(1 + len(plan.draws), dtype=torch.float64)
    return states(plan, denoise, start * unit[0], lambda j: unit[1 + j])


@dataclass(frozen=True)
class Gaussians:
    """Data N(0, s^2), for several s at once; and the same with a third cumulant of 1, to first order in it (slightly
    skew)."""

    stds: np.ndarray

    def variance(self, at: Point) -> np.ndarray:
        """(S,) of x."""
        return at.alpha**2 * self.stds**2 + at.sigma**2

    def gain(self, at: Point) -> np.ndarray:
        """(S,) of D = gain x."""
        return at.alpha * self.stds**2 / self.variance(at)

    def bend(self, at: Point) -> np.ndarray:
        """(S,) what the third cumulant adds to D:  bend (x^2 / variance - 1),  bend = nsr^2 / (2 (s^2 + nsr^2)^2), by
        Tweedie's formula."""
        return at.nsr**2 / (2 * (self.stds**2 + at.nsr**2) ** 2)

    def responses(self, plan: Plan, *, from_noise: bool = False) -> list[Tensor]:
        """(S, 1 + draws) for each state, from the exact marginal at the start, or from noise alone."""
        unit = torch.eye(1 + len(plan.draws), dtype=torch.float64)
        size = np.full(len(self.stds), plan.start.sigma) if from_noise else np.sqrt(self.variance(plan.start))
        start = torch.from_numpy(size)[:, None] * unit[0]

        def denoise(x: Tensor, at: Point) -> Tensor:
            return torch.from_numpy(self.gain(at))[:, None] * x

        return states(plan, denoise, start, lambda j: unit[1 + j].expand(len(self.stds), -1))

    def share(self, plan: Plan) -> np.ndarray:
        """(S,) the variance of the result over that of the data, of a run that begins with noise alone."""
        return self.responses(plan, from_noise=True)[-1].square().sum(1).numpy() / self.stds**2


MIXTURE = (np.array([-0.9, 0.1, 0.6]), np.array([0.25, 0.4, 0.15]), np.array([0.3, 0.5, 0.2]))
"""Mean, standard deviation and weight of a one-dimensional mixture: the nonlinear model of the laws."""


PARTS = tuple(zip(*(part.tolist() for part in MIXTURE), strict=True))


def mixture_denoiser(x: Tensor, at: Point) -> Tensor:
    """E[data given x] of the mixture, written out here: an oracle that shares no code with seeds.exact."""
    rows = []  # of each part: its mean, that in x, log of its weight over its size, -1 / (2 variance), gain
    for mean, std, weight in PARTS:
        variance = at.alpha**2 * std**2 + at.sigma**2
        log_size = math.log(weight) - math.log(variance) / 2
        rows.append((mean, at.alpha * mean, log_size, -1 / (2 * variance), at.alpha * std**2 / variance))
    means, in_x, log_sizes, steepness, gains = torch.tensor(rows, dtype=x.dtype, device=x.device).unbind(1)
    away = x.unsqueeze(-1) - in_x
    shares = torch.softmax(torch.addcmul(log_sizes, away * away, steepness), -1)
    return (shares * torch.addcmul(means, away, gains)).sum(-1)


def sensitivities(plan: Plan, model: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """(S,) how the last state answers to the start state, and (calls, S) to something added to each answer: the plan
    backwards."""
    gain = [model.gain(row.at) for row in plan.rows]
    of_x, of_d = np.zeros((2, plan.nfe + 1, len(model.stds)))
    of_x[-1] = 1.0
    for i in reversed(range(plan.nfe)):
        total = of_x[i + 1] + (gain[i + 1] * of_d[i + 1] if i + 1 < plan.nfe else 0.0)
        for j, weight in plan.rows[i].x:
            of_x[j] += weight * total
        for j, weight in plan.rows[i].d:
            of_d[j] += weight * total
    return plan.opening.scale * (of_x[0] + gain[0] * of_d[0]), of_d[:-1]


def unit_scale(at: Point) -> float:
    """The size of x for data of size 1."""
    return math.hypot(at.alpha, at.sigma)
