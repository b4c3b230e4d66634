r"""The law of each step of a run, given what came before it: for policy gradients on samplers (DDPO, Flow-GRPO,
Flow-CPS).

Row i of a plan makes x_{i+1} = sum x[j] x_j + sum d[j] D_j + sum z[j] z_j. With A the rows' weights of the draws, A A^T
= L L^T tells what of the noise of
row i is new: given the states before it, x_{i+1} is Gaussian with standard deviation L_ii and mean

    sum x[j] x_j + sum d[j] D_j + sum_{k<i} L_ik e_k,        e = L^{-1} (noise of the rows before)

So stages, which share draws, are counted right, and the densities of all rows add up to that of the whole run.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seeds.errors import InputError
from seeds.plans import Plan, Row

SMALL = 1e-12
"""Variance below which, relative to a row's own, nothing new is drawn."""


class StepLaw(NamedTuple):
    """The Gaussian law of a row's state, given those before it: mean like a state, std, and log-density (B,) of the
    state that was made, in nats."""

    mean: Tensor
    std: float
    logprob: Tensor


def step_logprob(plan: Plan, i: int, states: Sequence[Tensor], answers: Sequence[Tensor]) -> StepLaw | None:
    """The law of state i + 1 of a run, given the states and answers up to call i.

        states, answers = zip(*((call.x, call.denoised) for call in seeds.iterate(model, shape, seed=0, plan=plan)))
        law = step_logprob(plan, 3, states, answers)

    Gradients flow through `answers`: hold the states fixed and ask a network again about each of them.

    Args:
        plan: what was run.
        i: the call, from 0.
        states: x_0 .. x_{i+1}, or more: what each call was asked about (the result, after the last).
        answers: D_0 .. D_i, or more.
    Returns: its mean, std and log-density; None where the row draws nothing new: its state is no random variable.
    Raises: ValueError if there are too few states or answers.
    """
    if not 0 <= i < plan.nfe or len(states) < i + 2 or len(answers) < i + 1:
        raise InputError(
            f"`i` = {i} of a plan of {plan.nfe} calls needs {i + 2} states and {i + 1} answers, but there are "
            f"{len(states)} and {len(answers)}."
        )
    factor = _factor(plan.rows, len(plan.draws))
    std = float(factor[i, i])
    if std == 0:
        return None
    means = {k: _without_noise(plan, k, states, answers) for k in _chain(factor, i)}
    fresh: dict[int, Tensor] = {}
    for k in sorted(means):
        means[k] = means[k] + sum(
            (float(factor[k, j]) * e for j, e in fresh.items() if factor[k, j]), torch.zeros_like(means[k])
        )
        if k < i:
            fresh[k] = (states[k + 1] - means[k]) / float(factor[k, k])
    away = ((states[i + 1] - means[i]) / std).flatten(1)
    logprob = -0.5 * away.square().sum(1) - away.shape[1] * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return StepLaw(means[i], std, logprob)


def _without_noise(plan: Plan, i: int, states: Sequence[Tensor], answers: Sequence[Tensor]) -> Tensor:
    row = plan.rows[i]
    parts = [weight * states[j] for j, weight in row.x] + [weight * answers[j] for j, weight in row.d]
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(states[i])


def _chain(factor: np.ndarray, i: int) -> list[int]:
    """The rows whose new noise is needed to know the mean of row i."""
    needed, todo = {i}, [i]
    while todo:
        k = todo.pop()
        more = {int(j) for j in np.flatnonzero(factor[k, :k])} - needed
        needed |= more
        todo += more
    return sorted(needed)


@lru_cache(maxsize=4)
def _factor(plan_rows: tuple[Row, ...], draws: int) -> np.ndarray:
    """(rows, rows) L: lower triangular, with zero columns where a row draws nothing new."""
    rows = len(plan_rows)
    weights = np.zeros((rows, draws))
    for i, row in enumerate(plan_rows):
        for j, weight in row.z:
            weights[i, j] = weight
    factor, basis = np.zeros((rows, rows)), np.zeros((rows, draws))
    for i in range(rows):
        left = weights[i].copy()
        for k in range(i):
            if factor[k, k]:
                factor[i, k] = left @ basis[k]
                left -= factor[i, k] * basis[k]
        size, whole = float(np.linalg.norm(left)), float(np.linalg.norm(weights[i]))
        if size**2 > SMALL * whole**2:
            factor[i, i], basis[i] = size, left / size
        factor[i, :i][np.abs(factor[i, :i]) < 1e-14 * max(whole, 1.0)] = 0.0
    return factor
