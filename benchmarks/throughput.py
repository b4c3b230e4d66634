"""What `seeds sample` costs beside the network itself: noise, solver arithmetic, PNG files, the record.

    python benchmarks/throughput.py                       # fashion-unet, 256 images, 40 model calls, 5 rounds
    python benchmarks/throughput.py --seeds 64 --rounds 3

In each round the same work is done twice, one after the other in turn: the network's forward passes alone, at the plan's levels and in the same
batches, and the whole job on disk. The ratio of the two, median over the rounds, is what the pipeline costs. One JSON object on stdout.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from seeds import checkpoints
from seeds.runs import Job, run
from seeds.sampling import plan_for


@torch.no_grad()
def bare(denoiser, plan, count: int, batch: int) -> float:
    """Seconds of the forward passes alone."""
    begun = time.perf_counter()
    for at in range(0, count, batch):
        x = torch.randn(min(batch, count - at), *denoiser.shape, generator=torch.Generator().manual_seed(at))
        labels = torch.arange(len(x)) % max(denoiser.classes, 1)
        for row in plan.rows:
            denoiser(x * row.at.sigma, row.at, labels)
    return time.perf_counter() - begun


def whole(job: Job, folder: Path, threads: int | None) -> float:
    """Seconds of the job, files and all."""
    begun = time.perf_counter()
    run(job, folder, progress=False, threads=threads)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion-unet")
    parser.add_argument("--solver", default="seeds-3")
    parser.add_argument("--steps", type=int, default=13)
    parser.add_argument("--seeds", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    denoiser = checkpoints.load(given.model)
    plan = plan_for(denoiser, given.solver, steps=given.steps)
    job = Job(denoiser, plan, range(given.seeds), batch=given.batch)
    bare(denoiser, plan, given.batch, given.batch)  # warm
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(given.rounds):
            first, second = (bare(denoiser, plan, given.seeds, given.batch), whole(job, Path(folder, str(k)), given.threads))
            times.append((first, second))
            print(f"round {k + 1}: network {first:.2f} s, seeds sample {second:.2f} s, ratio {second / first:.4f}", flush=True)
    ratio = statistics.median(second / first for first, second in times)
    rates = [given.seeds / statistics.median(column) for column in zip(*times, strict=True)]
    print(
        json.dumps(
            {
                "model": given.model,
                "solver": plan.solver,
                "nfe": plan.nfe,
                "images": given.seeds,
                "batch": given.batch,
                "threads": given.threads,
                "network_images_per_s": round(rates[0], 2),
                "sample_images_per_s": round(rates[1], 2),
                "ratio": round(ratio, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
