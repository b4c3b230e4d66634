"""What a sampler costs beside the model."""

import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch

from seeds.denoisers import Changed
from seeds.runs.job import DTYPES, Job

ROUNDS, PASSES = 5, 20
KEPT = 16
"""Answers made before, which take turns: no sampler reads one again that is older."""


def overhead(job: Job) -> dict[str, float]:
    """Of the first unit of a job, from a model that is free and noise that is given: the least time of some rounds, a
    call.

    Returns: `ms`, and `passes`: the same in times of `x.add_(1)` over the unit's state, a ratio that other machines
        have too.
    """
    unit = job.units[0]
    state = torch.zeros(len(unit), *job.denoiser.shape, dtype=DTYPES[job.dtype], device=job.device)
    answers = cycle([torch.zeros_like(state) for _ in range(KEPT)])
    free = Changed(job.denoiser, lambda inner, x, at, labels: next(answers)[: len(x)])
    given = torch.ones_like(state).to("cpu", torch.float32)

    def passes() -> None:
        for _ in range(PASSES):
            state.add_(1)

    run, one = (_least(call, job.device) for call in (lambda: job.samples(unit, free, lambda *_, **__: given), passes))
    return {"ms": 1000 * run / job.plan.nfe, "passes": run / job.plan.nfe / (one / PASSES)}


def _least(call: Callable[[], Any], device: str) -> float:
    """Seconds of the fastest of some rounds, after one that warms up."""

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    def timed() -> float:
        wait()
        begun = time.perf_counter()
        call()
        wait()
        return time.perf_counter() - begun

    call()
    return min(timed() for _ in range(ROUNDS))
