"""Times the denoiser of the bundled mixture on 64 images: python benchmarks/mixture.py [--threads 2]. Prints JSON,
milliseconds."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from seeds import checkpoints
from seeds.exact import GaussianMixture
from seeds.plans import Point


def load() -> GaussianMixture:
    return checkpoints.load("fashion-mixture")


def times(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median and best of warm calls."""
    taken = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return {"median": round(statistics.median(taken[3:]), 2), "best": round(min(taken[3:]), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    law, at = load(), Point(0.5, 1.0, 0.5)
    x = law.sample(range(args.batch))
    labels = torch.arange(args.batch) % law.classes
    result = {
        "torch": torch.__version__,
        "threads": args.threads,
        "batch": args.batch,
        "unconditional_ms": times(lambda: law(x, at), args.repeats),
        "conditional_ms": times(lambda: law(x, at, labels), args.repeats),
        "load_ms": times(load, 3),
        "sample_ms": times(lambda: law.sample(range(args.batch)), 5),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
