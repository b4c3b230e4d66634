"""What `seeds sample` costs beside the network itself: noise, solver arithmetic, PNG files, the record.

    python benchmarks/throughput.py                       # fashion-unet, 64 images, 40 model calls, 15 rounds
    python benchmarks/throughput.py --seeds 256 --rounds 3

In each round the same work is done twice, in turns which first: the network's forward passes alone, at the plan's
levels and in the same batches, and the whole job on disk. The ratio of the two, median over the rounds, is what the
pipeline costs. A machine that others share gives two runs of one thing 10 % apart, so there is a second figure without
that noise: the time of the job beside the time that the same job spent in the network. One JSON object on stdout.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from seeds import checkpoints
from seeds.planning import plan_for
from seeds.runs import Job, run


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


class Timed:
    """A denoiser that adds up the seconds of its answers."""

    def __init__(self, inner):
        self.inner, self.seconds = inner, 0.0

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def __call__(self, *args, **kwargs):
        begun = time.perf_counter()
        try:
            return self.inner(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - begun


def whole(denoiser, plan, count: int, batch: int, folder: Path) -> tuple[float, float]:
    """Seconds of the job, files and all; and those of them in the network."""
    timed = Timed(denoiser)
    begun = time.perf_counter()
    run(Job(timed, plan, range(count), batch=batch), folder, progress=False)
    return time.perf_counter() - begun, timed.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion-unet")
    parser.add_argument("--solver", default="seeds-3")
    parser.add_argument("--steps", type=int, default=13)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    denoiser = checkpoints.load(given.model)
    plan = plan_for(denoiser, given.solver, steps=given.steps)
    bare(denoiser, plan, given.batch, given.batch)  # warm
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(given.rounds):
            before = bare(denoiser, plan, given.seeds, given.batch) if k % 2 == 0 else None
            job, inside = whole(denoiser, plan, given.seeds, given.batch, Path(folder, str(k)))
            network = before or bare(denoiser, plan, given.seeds, given.batch)
            times.append((network, job, inside))
            print(
                f"round {k + 1}: network {network:.2f} s, seeds sample {job:.2f} s, ratio {job / network:.4f}; in the "
                f"network {inside:.2f} s, ratio {job / inside:.4f}",
                flush=True,
            )
    ratio = statistics.median(job / network for network, job, _ in times)
    own = statistics.median(job / inside for _, job, inside in times)
    rates = [given.seeds / statistics.median(column) for column in zip(*times, strict=True)][:2]
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
                "ratio_to_own_network": round(own, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
