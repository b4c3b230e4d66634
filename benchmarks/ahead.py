"""What noise costs: wall time of a run of a bundled model with its noise drawn, over that of the same run with its
noise given.

    python benchmarks/ahead.py [--rounds 7]

64 images, SEEDS-1 (a draw for each call: the worst case) and SEEDS-3, 20 model calls. Prints JSON: the median of the
ratios minus 1, in per cent, round by round in turn, and the time of one call of the denoiser.
"""

import argparse
import json
import statistics
import time

import torch

import seeds
from seeds import checkpoints
from seeds.noise import gaussian


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", default="fashion-mixture")
    parser.add_argument("--threads", type=int, help="of the model; the noise has a thread of its own")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    model = checkpoints.load(given.model)
    found = {}
    for solver, steps in (("seeds-1", 20), ("seeds-3", 7)):
        plan = seeds.plan(solver, steps=steps, schedule=model.schedule, final="none")
        store = {j: gaussian(range(64), j, model.shape) for j in range(-1, len(plan.draws))}

        def run(noise, plan=plan):
            start = time.perf_counter()
            seeds.sample(model, model.shape, seed=range(64), plan=plan, labels=torch.arange(64) % 10, noise=noise)
            return time.perf_counter() - start

        pairs = [
            (run("gaussian"), run(lambda j, lam0, lam1, shape, store=store: store[j])) for _ in range(given.rounds + 1)
        ][1:]
        found[solver] = {
            "noise_adds_percent": round(100 * (statistics.median(a / b for a, b in pairs) - 1), 2),
            "ms_per_call": round(1000 * statistics.median(b for _, b in pairs) / plan.nfe, 2),
        }
    print(json.dumps({"model": given.model, "threads": torch.get_num_threads(), **found}, indent=2))


if __name__ == "__main__":
    main()
