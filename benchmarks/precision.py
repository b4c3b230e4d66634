"""What 16 bits cost in numbers: `fashion-unet` in bf16 and fp16 beside float32.

    python -m benchmarks.precision --num 2000 --steps 6         # 19 calls of SEEDS-3; on the GPU if there is one

Of D: the largest and the root mean square difference at each level, for 64 noised images of a run, beside data in [-1,
1]. Of images: the squared Frechet distance to the training set's bundled statistics, in the space of
`fashion-features`, and the distance from the float32 images of the same seeds, in levels of 255. Prints JSON after each
dtype.
"""

import argparse
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

import seeds
from seeds import checkpoints
from seeds.metrics.frechet import frechet_distance
from seeds.metrics.references import bundled_statistics, load_statistics
from seeds.noise import gaussian
from seeds.planning import plan_for
from seeds.plans import Point
from seeds.tuning import HALVES, tuned

LEVELS = (0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 40.0)


def differences(half: Any, full: Any, clean: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """nsr: [largest, root mean square] difference of D."""
    found = {}
    for nsr in LEVELS:
        x = clean + nsr * gaussian(range(len(clean)), 7, clean.shape[1:]).to(clean.device)
        gap = half(x, Point(nsr, 1.0, nsr), labels=labels) - full(x, Point(nsr, 1.0, nsr), labels=labels)
        found[f"{nsr:g}"] = [
            float(f"{value:.3g}") for value in (gap.abs().max().item(), gap.square().mean().sqrt().item())
        ]
    return found


@torch.no_grad()
def distance(images: Tensor) -> float:
    """To the training set, squared."""
    net, statistics = checkpoints.load("fashion-features"), load_statistics(bundled_statistics()["fashion-mnist"])
    features = torch.cat([net(part)[0] for part in images.split(500)]).double().numpy()
    return frechet_distance(features.mean(0), np.cov(features, rowvar=False), statistics.mu, statistics.sigma)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtypes", nargs="+", choices=tuple(HALVES), default=list(HALVES))
    given = parser.parse_args()
    full = checkpoints.load("fashion-unet").to(given.device)
    labels = (torch.arange(given.num) % 10).to(given.device)
    plan = plan_for(full, "seeds-3", steps=given.steps)

    def draw(model: Any) -> Tensor:
        x = seeds.sample(model, model.shape, seed=range(given.num), batch=250, plan=plan, labels=labels, progress=True)
        return (x * 127.5 + 128).clamp(0, 255).to(torch.uint8).cpu()

    images = draw(full)
    report: dict[str, Any] = {
        "device": given.device,
        "images": given.num,
        "nfe": plan.nfe,
        "float32": {"frechet": distance(images)},
    }
    clean = (images[:64].float() / 127.5 - 1).to(given.device)
    for dtype in given.dtypes:
        half = tuned(checkpoints.load("fashion-unet").to(given.device), dtype=dtype)
        report[dtype] = {"D": differences(half, full, clean, labels[: len(clean)])}
        print(json.dumps(report), flush=True)
        other = draw(half)
        gap = (other.int() - images.int()).abs().float()
        report[dtype] |= {"frechet": distance(other), "mean_gap": gap.mean().item(), "largest_gap": gap.max().item()}
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
