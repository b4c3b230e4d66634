"""What the start at the mean is worth under guidance, where the mean that is told is the extrapolated one.

    python -m benchmarks.guided mixture --images 2000
    python -m benchmarks.guided unet --images 500

The guided model has no samples of its own. In place of them stand runs of many calls, of other seeds, from noise so
high (nsr 2000 for the exact mixture) that where they begin hardly counts. The rule of aim "accuracy" at few calls, from
the mean and from zero, is measured against them: squared Frechet distance in `fashion-features` space, difference to
the start at the mean in pairs of seeds with its jackknife error. Prints a table.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import seeds
from benchmarks.rule import Features, difference, plan
from seeds import auto, checkpoints
from seeds.images import to_uint8
from seeds.plans import Plan
from seeds.tuning import tuned

FIRST = 10**6  # seeds of the runs that stand for samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("mixture", "unet"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--calls", type=int, default=100, help="of the runs that stand for samples")
    parser.add_argument("--nfe", type=int, nargs="+", default=[6, 10])
    parser.add_argument("--scale", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    args = parser.parse_args()
    learned = args.model == "unet"
    model = checkpoints.load(f"fashion-{args.model}")
    model = tuned(model, dtype="bf16", compiled=True) if learned else model
    labels = torch.arange(args.images) % 10
    features = Features()
    top = 80.0 if learned else 2000.0
    many = seeds.plan(
        "adams", nfe=args.calls, schedule="edm", k=3, nsr_max=top, nsr_min=0.002, grid="uniform_lam", eta=0.0
    )
    print(f"| scale | calls | from the mean | from zero | difference |\n|{'---|' * 5}")
    for scale in args.scale:
        guided = model if scale == 1 else seeds.guide(model, scale)

        def draw(plan: Plan, first: int, guided: seeds.Denoiser = guided) -> Tensor:
            numbers = range(first, first + args.images)
            return seeds.sample(
                guided, model.shape, seed=numbers, plan=plan, labels=labels, batch=100 if learned else 500
            )

        rows = features.rows(to_uint8(draw(many, FIRST)))
        features.reference = rows.mean(0), np.cov(rows, rowvar=False)
        for nfe in args.nfe:
            setting = auto.setting(nfe, "accuracy")
            mean, zero = (
                features(to_uint8(draw(plan(replace(setting, start_at=start), nfe), 0))) for start in ("mean", "zero")
            )
            apart = "{:+.4f} +- {:.4f}".format(*difference(zero, mean))
            distances = " | ".join(f"{row['Frechet, features']:.4f}" for row in (mean, zero))
            print(f"| {scale:g} | {nfe} | {distances} | {apart} |", flush=True)


if __name__ == "__main__":
    main()
