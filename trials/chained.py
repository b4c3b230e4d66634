"""Runs that begin with the result of another, under the same seeds: is their noise independent? On data N(0, 1), where
the variance is known.

python trials/chained.py                 # the table: seeds-1, -2, -3, eta 0.5 and 1
python trials/chained.py --seeds 512     # quicker; the variance of 64 n values is known to 18 % / sqrt(n)

Measured is the variance of what `seeds.sample` returns; right is what the same plans give with independent noise,
exact, from their linear responses.
"""

import argparse
import math
from collections.abc import Iterator

import numpy as np
import torch

import seeds
from seeds import noise
from seeds.exact import Gaussian
from seeds.stepper import run

SHAPE = (64,)
MODEL = Gaussian(0.0, 1.0, shape=SHAPE, schedule=seeds.EDM())
HIGH, LOW = 2.0, 0.1
Found = tuple[str, int, float, float]  # what was run, how many rounds, the variance measured, the right one


def variance(plan: seeds.Plan, start: float) -> float:
    """Variance of a plan's result on data N(0, 1), from a state of variance `start` and independent draws: exact, no
    Monte Carlo."""
    unit = torch.eye(1 + len(plan.draws), dtype=torch.float64)
    response = run(plan, lambda x, at: at.alpha / (at.alpha**2 + at.sigma**2) * x, unit[0], lambda j: unit[1 + j])
    return float(response[0] ** 2 * start + response[1:].square().sum())


def parts(seed: range, **how) -> Iterator[Found]:
    """Two parts of a run, each with levels of its own."""
    high, low = np.geomspace(80, 1, 6), np.geomspace(1, 0.01, 16)
    middle = seeds.sample(MODEL, SHAPE, seed=seed, sigmas=high, final="none", **how)
    found = seeds.sample(MODEL, SHAPE, seed=seed, x=middle, sigmas=low, final="none", **how)
    first, second = (seeds.plan(schedule="edm", sigmas=sigmas, final="none", **how) for sigmas in (high, low))
    yield "two parts", 1, found.var().item(), variance(second, variance(first, 80.0**2))


def image_to_image(seed: range, rounds: int = 5, level: float = 0.7, **how) -> Iterator[Found]:
    """An image is made, and made again from itself, round after round."""
    how = {"steps": 20, "grid": "uniform_lam", **how}
    whole, again = (seeds.plan(schedule="edm", start=start, **how) for start in (None, ("nsr", level)))
    x, right = seeds.sample(MODEL, SHAPE, seed=seed, **how), variance(whole, 80.0**2)
    for k in range(1, rounds + 1):
        x = seeds.sample(MODEL, SHAPE, seed=seed, data=x, start=("nsr", level), **how)
        right = variance(again, right + level**2)
        yield "image to image", k, x.var().item(), right


def repaint(seed: range, passes: int = 10, **how) -> Iterator[Found]:
    """Down from nsr 2 to 0.1, up again with fresh noise, and down: each pass a part of its own."""
    how = {"steps": 24, "grid": "uniform_lam", "start": ("nsr", HIGH), "stop": ("nsr", LOW), **how}
    down, lift = seeds.plan(schedule="edm", **how), math.sqrt(HIGH**2 - LOW**2)
    x = noise.gaussian(seed, -1, SHAPE, part=1) * math.sqrt(1 + HIGH**2)
    x, right = seeds.sample(MODEL, SHAPE, seed=seed, x=x, part=1, **how), variance(down, 1 + HIGH**2)
    for k in range(2, passes + 1):
        x = x + lift * noise.gaussian(seed, -1, SHAPE, part=k)
        x, right = seeds.sample(MODEL, SHAPE, seed=seed, x=x, part=k, **how), variance(down, right + lift**2)
        yield "passes, part=k", k, x.var().item(), right


def one_plan(seed: range, passes: int = 10, **how) -> Iterator[Found]:
    """The same jumps inside one plan, from noise to data."""
    how = {"steps": 24, "grid": "uniform_lam", "schedule": "edm", **how}
    high, low = ("nsr", HIGH), ("nsr", LOW)
    plan = seeds.plan(stop=low, **how)
    for k in range(2, passes + 1):
        plan = plan.then(seeds.plan(start=high, stop=low, **how))
        whole = plan.then(seeds.plan(start=low, **how))
        if k in (2, passes):
            yield (
                "passes, one plan",
                k,
                seeds.sample(MODEL, SHAPE, seed=seed, plan=whole).var().item(),
                variance(whole, 80.0**2),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2048)
    seed, worst = range(parser.parse_args().seeds), 0.0
    print("| solver | eta | run | rounds | variance | right | off by |\n|---|---|---|---|---|---|---|")
    for solver in ("seeds-1", "seeds-2", "seeds-3"):
        for eta in (0.5, 1.0):
            for make in (parts, image_to_image, repaint, one_plan):
                for what, rounds, measured, right in make(seed, solver=solver, eta=eta):
                    worst = max(worst, abs(measured / right - 1))
                    print(
                        f"| {solver} | {eta} | {what} | {rounds} | {measured:.4f} | {right:.4f} | "
                        f"{measured / right - 1:+.2%} |",
                        flush=True,
                    )
    print(f"\nFurthest from right: {worst:.2%}.")


if __name__ == "__main__":
    main()
