"""Time of a scheduler's step beside diffusers' own, with a model that costs nothing, on a 4 x 4 x 128 x 128 latent
(SDXL's, four images).

    python -m benchmarks.hosts_overhead [--rounds 7] [--json overhead.json]

On one thread of a CPU, all in one run, in turns: the median of what a step takes of the processor, so that what else
runs on the machine counts little; the first step, which lays the run, and the last, which draws nothing, are left out.
Ratios are to the fastest of diffusers' of the same kind. Stochastic ones draw from one generator of the host's; "keyed"
is our noise, each image's own. The draw alone, which none can do without, is timed too: "own" is the ratio of what the
stochastic ones do beside it. Waits: values that a step takes from the device to Python, in the first and after it.
Needs diffusers; DPMSolverSDE needs torchsde and is left out without.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seeds.integrations.diffusers import SEEDSScheduler

SHAPE, CALLS = (4, 4, 128, 128), 21
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
WAITING = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)


class Waits(TorchDispatchMode):
    """Counts what would wait for a device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in WAITING
        return func(*args, **(kwargs or {}))


def theirs() -> dict[tuple[str, str], Callable[[], Any]]:
    found: dict[tuple[str, str], Callable[[], Any]] = {
        ("stochastic", "DPMSolverMultistep sde-dpmsolver++"): lambda: diffusers.DPMSolverMultistepScheduler(
            **SD, algorithm_type="sde-dpmsolver++"
        ),
        ("stochastic", "SASolver"): lambda: diffusers.SASolverScheduler(**SD),
        ("stochastic", "EulerAncestral"): lambda: diffusers.EulerAncestralDiscreteScheduler(**SD),
        ("deterministic", "UniPC"): lambda: diffusers.UniPCMultistepScheduler(**SD),
        ("deterministic", "DPMSolverMultistep"): lambda: diffusers.DPMSolverMultistepScheduler(**SD),
        ("deterministic", "EulerDiscrete"): lambda: diffusers.EulerDiscreteScheduler(**SD),
    }
    if not hasattr(diffusers.DPMSolverSDEScheduler, "_backends"):
        found["stochastic", "DPMSolverSDE (BrownianTree)"] = lambda: diffusers.DPMSolverSDEScheduler(**SD)
    return found


def ours() -> dict[tuple[str, str], Callable[[], Any]]:
    solvers = {"seeds-1": None, "seeds-2": None, "seeds-3": None, "erk-1": 0.0, "erk-2": 0.0, "adams": 0.0}
    made = {(("deterministic" if eta == 0 else "stochastic"), f"ours: {name}"): name for name, eta in solvers.items()}
    found: dict[tuple[str, str], Callable[[], Any]] = {
        key: (lambda name=name: SEEDSScheduler(**SD, solver=name)) for key, name in made.items()
    }
    found["stochastic", "ours: adams, eta 1"] = lambda: SEEDSScheduler(**SD, solver="adams", eta=1.0)
    for name in ("seeds-1", "seeds-2", "seeds-3"):
        found["keyed", f"ours: {name}"] = lambda name=name: SEEDSScheduler(**SD, solver=name)
    return found


def step_of(scheduler: Any, kind: str) -> dict[str, Any]:
    takes = "generator" in scheduler.step.__code__.co_varnames and kind == "stochastic"
    return {"generator": torch.Generator().manual_seed(0)} if takes else {}


@torch.no_grad()
def one(make: Callable[[], Any], kind: str) -> list[float]:
    """Seconds of the processor that each step of a run takes but the first and the last."""
    scheduler, seconds = make(), []
    scheduler.set_timesteps(CALLS)
    x, answer = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)), 0.1 * torch.ones(SHAPE)
    extra = step_of(scheduler, kind)
    for t in scheduler.timesteps:
        begun = time.thread_time()
        scheduler.scale_model_input(x, t)
        x = scheduler.step(answer, t, x, **extra, return_dict=False)[0]
        seconds.append(time.thread_time() - begun)
    return seconds[1:-1]


def drawn() -> float:
    """Seconds of one draw of a generator of the host's."""
    generator, begun = torch.Generator().manual_seed(0), time.thread_time()
    torch.randn(SHAPE, generator=generator)
    return time.thread_time() - begun


@torch.no_grad()
def waits(make: Callable[[], Any], kind: str) -> tuple[int, int]:
    """Waits of the first step, and of all that follow."""
    scheduler = make()
    scheduler.set_timesteps(CALLS)
    x, counts, extra = torch.zeros(SHAPE), [], step_of(scheduler, kind)
    for t in scheduler.timesteps:
        with Waits() as counted:
            x = scheduler.step(0 * scheduler.scale_model_input(x, t), t, x, **extra, return_dict=False)[0]
        counts.append(counted.count)
    return counts[0], sum(counts[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = theirs() | ours()
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    draws: list[float] = []
    for _ in range(arguments.rounds):
        for (kind, name), make in runs.items():
            taken[kind, name] += one(make, kind)
            draws.append(drawn())
    times, draw = {key: statistics.median(seconds) for key, seconds in taken.items()}, statistics.median(draws)
    print(f"one draw of the generator: {1e3 * draw:.2f} ms")
    rows = []
    for (kind, name), seconds in sorted(times.items(), key=lambda it: (it[0][0], it[1])):
        best = min(times[key] for key in theirs() if key[0] == kind.replace("keyed", "stochastic"))
        first, later = waits(runs[kind, name], kind)
        own = (seconds - draw) / (best - draw) if kind == "stochastic" else seconds / best
        said = {"kind": kind, "name": name, "ms": 1e3 * seconds, "ratio": seconds / best, "own": own}
        rows.append({**said, "waits first": first, "waits later": later})
        print(
            f"{kind:14}{name:38}{1e3 * seconds:8.2f} ms{seconds / best:8.2f} of the host's best{own:8.2f} own   waits "
            f"{first} + {later}"
        )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"diffusers": diffusers.__version__, "torch": torch.__version__, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
