"""Time of a scheduler's step beside diffusers' own, with a model that costs nothing, on a 4 x 4 x 128 x 128 latent (SDXL's, four images).

    python benchmarks/hosts_overhead.py [--rounds 7] [--json overhead.json]

All in one run, in turns, best of the rounds: ms for each model call, and the ratio to the fastest of diffusers' of the same kind. Stochastic ones draw from
one generator of the host's; "keyed" is our noise, each image's own. The draw alone, which none can do without, is timed too, and "own" is the ratio of
what is left of the stochastic ones without it. Waits: values that a step takes from the device to Python, in the first and after it.
Needs diffusers; DPMSolverSDE needs torchsde and is left out without.
"""

import argparse
import json
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
def one(make: Callable[[], Any], kind: str) -> float:
    """Seconds for each call of a run, its layout left out."""
    scheduler = make()
    scheduler.set_timesteps(CALLS)
    x, answer = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)), 0.1 * torch.ones(SHAPE)
    extra = step_of(scheduler, kind)
    begun = time.perf_counter()
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)
        x = scheduler.step(answer, t, x, **extra, return_dict=False)[0]
    return (time.perf_counter() - begun) / len(scheduler.timesteps)


def drawn() -> float:
    """Seconds of one draw of a generator of the host's."""
    generator, begun = torch.Generator().manual_seed(0), time.perf_counter()
    torch.randn(SHAPE, generator=generator)
    return time.perf_counter() - begun


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
    runs = theirs() | ours()
    times: dict[tuple[str, str], float] = {}
    for _ in range(arguments.rounds):
        for (kind, name), make in runs.items():
            times[kind, name] = min(times.get((kind, name), 1e9), one(make, kind))
    draw = min(drawn() for _ in range(20 * arguments.rounds))
    print(f"one draw of the generator: {1e3 * draw:.2f} ms")
    rows = []
    for (kind, name), seconds in sorted(times.items(), key=lambda it: (it[0][0], it[1])):
        best = min(times[key] for key in theirs() if key[0] == kind.replace("keyed", "stochastic"))
        first, later = waits(runs[kind, name], kind)
        own = (seconds - draw) / (best - draw) if kind == "stochastic" else seconds / best
        rows.append(
            {
                "kind": kind,
                "name": name,
                "ms": 1e3 * seconds,
                "ratio": seconds / best,
                "own": own,
                "waits first": first,
                "waits later": later,
            }
        )
        print(f"{kind:14}{name:38}{1e3 * seconds:8.2f} ms{seconds / best:8.2f} of the host's best{own:8.2f} own   waits {first} + {later}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"diffusers": diffusers.__version__, "torch": torch.__version__, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
