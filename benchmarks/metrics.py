"""Frechet distance beside scipy's matrix square root, and memory of a stream of 1,000 and of 50,000 images: JSON on
stdout.

python benchmarks/metrics.py [--dim 2048] [--images 1000 50000]
"""

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.linalg
import torch

from seeds.distributed import Group
from seeds.images import open_images
from seeds.metrics.features import from_callable
from seeds.metrics.frechet import frechet_distance, frechet_estimate
from seeds.metrics.moments import moments_of
from seeds.metrics.together import collected


def timed(function, *arguments):
    start = time.perf_counter()
    value = function(*arguments)
    return value, time.perf_counter() - start


def with_square_root(mu1, sigma1, mu2, sigma2):
    """The formula that most scripts run: scipy's square root of the plain product."""
    return float(
        np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2) - 2 * np.trace(scipy.linalg.sqrtm(sigma1 @ sigma2)).real
    )


def features(rng, count, dim, shift):
    """Correlated rows whose variances fall by e^12, as those of a trained network do."""
    mix = rng.standard_normal((dim, dim)) / np.sqrt(dim)
    return (rng.standard_normal((count, dim)) * np.exp(-6 * np.arange(dim) / dim)) @ mix + shift


def distances(dim):
    rng = np.random.default_rng(0)
    gaussians = []
    for i in range(2):
        rows = features(rng, 5 * dim, dim, 0.01 * i)
        gaussians += [rows.mean(0), np.cov(rows, rowvar=False)]
    _, update = timed(moments_of, [rows])
    ours, seconds = timed(frechet_distance, *gaussians)
    plain, plain_seconds = timed(with_square_root, *gaussians)
    estimate, with_interval = timed(frechet_estimate, rows, *gaussians[:2], 2)
    return {
        "dim": dim,
        "frechet_distance_s": seconds,
        "sqrtm_s": plain_seconds,
        "sqrtm_over_ours": plain_seconds / seconds,
        "value": ours,
        "relative_difference": abs(ours - plain) / plain,
        "estimate_relative_difference": abs(estimate.value - ours) / ours,
        "interval_of_2_units_s": with_interval,
        "moments_rows_per_s": len(rows) / update,
    }


def peak_mib():
    """Largest resident size of this process so far (Linux). getrusage would count the parent's, inherited through
    fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure_images(path, dim, queue):
    """Images of an npz through a projection to a distance with its interval; reports this process's peak memory, before
    the first image and in all."""
    torch.set_num_threads(1)
    project = torch.randn(32 * 32 * 3, dim, generator=torch.Generator().manual_seed(0)) / 3000
    extract, images = from_callable(lambda x: x.flatten(1).float() @ project, "projection", "0" * 64), open_images(path)
    before = peak_mib()
    rows = ((64 * i, extract(batch)) for i, batch in enumerate(images.batches(64)))
    estimate = frechet_estimate(collected(rows, Group(), images.count), np.zeros(dim), np.eye(dim), 2)
    queue.put({"images": estimate.n, "before_mib": before, "peak_mib": peak_mib()})


def memory(counts, dim):
    context, results = multiprocessing.get_context("spawn"), []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npz"
            np.savez(path, arr_0=np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8))
            queue = context.Queue()
            process = context.Process(target=measure_images, args=(path, dim, queue))
            process.start()
            results.append(queue.get())
            process.join()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 50_000])
    arguments = parser.parse_args()
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    results = {
        "frechet": distances(arguments.dim),
        "memory": memory(arguments.images, arguments.dim),
        "machine": machine,
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
