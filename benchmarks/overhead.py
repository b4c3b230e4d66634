"""What a solver costs beside the network: passes over the state per model call, beside diffusers' schedulers in the
same run.

    python benchmarks/overhead.py [--rounds 7]

The model is free (it returns a tensor made before), the noise is given, the state is 64 x 3 x 64 x 64 float32, one
thread, warm. The unit is `x.add_(1)` on that state: a pass reads and writes it once. Ratios of one run are quoted,
since machines are noisy. Prints JSON.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable

import torch

import seeds
from seeds.stepper import Stepper

SHAPE = (64, 3, 64, 64)
STEPS = 10


def ours(solver: str, device: torch.device | str = "cpu", **options) -> tuple[Callable[[], None], int]:
    """One whole run of a solver with its number of model calls."""
    plan = seeds.plan(solver, steps=STEPS, schedule="vp", final="none", **options)
    x, noise = torch.randn(SHAPE).to(device), torch.randn(SHAPE).to(device)
    answers = [
        torch.randn(SHAPE).to(device) for _ in range(plan.nfe // STEPS)
    ]  # one per stage: an answer still needed must not be written over

    def run() -> None:
        stepper = Stepper(plan, x, lambda j: noise)
        while not stepper.done:
            stepper.advance(answers[stepper.i % len(answers)])

    return run, plan.nfe


def theirs(name: str, device: torch.device | str = "cpu", **options) -> tuple[Callable[[], None], int]:
    """One whole run of a scheduler of diffusers, with its noise given."""
    import diffusers

    scheduler = getattr(diffusers, name)(num_train_timesteps=1000, prediction_type="sample", **options)
    x, answer, noise = (torch.randn(SHAPE).to(device) for _ in range(3))
    module = __import__(scheduler.__module__, fromlist=["randn_tensor"])
    module.randn_tensor = lambda *args, **kwargs: noise  # given noise, as for ours

    def run() -> None:
        scheduler.set_timesteps(STEPS)
        state = x
        for t in scheduler.timesteps:
            state = scheduler.step(answer, t, state).prev_sample

    return run, STEPS


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the median of their ratios is printed")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    runs = {f"seeds-{k}": ours(f"seeds-{k}") for k in (1, 2, 3, 4)}
    runs["seeds-3, v prediction"] = ours("seeds-3", prediction="v")
    runs["erk-3"], runs["rk-2"] = ours("erk-3"), ours("rk-2")
    try:
        runs["diffusers DPMSolverMultistep sde-dpmsolver++"] = theirs(
            "DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++"
        )
        runs["diffusers SASolver"] = theirs("SASolverScheduler")
    except ImportError:
        print("diffusers is not installed: pip install diffusers", flush=True)

    state = torch.randn(SHAPE)

    def unit() -> None:
        for _ in range(20):
            state.add_(1)

    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        one_pass = min(seconds(unit) for _ in range(3)) / 20
        for name, (run, nfe) in runs.items():
            passes = seconds(run) / nfe / one_pass
            if turn:  # the first round warms up
                found[name].append(passes)
    memory = {f"seeds-{k}": seeds.plan(f"seeds-{k}", steps=STEPS, schedule="vp").memory for k in (1, 2, 3, 4)}
    print(
        json.dumps(
            {
                "passes_per_call": {name: round(statistics.median(v), 1) for name, v in found.items()},
                "tensors_at_peak": memory,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
