"""What a device does: one table, and JSON, in a few minutes; it stops early with what it has.

    make gpu                                                        # sets up, tests, and runs this on the GPU
    python benchmarks/device.py --minutes 4 --json device.json      # on the GPU, or without one on the CPU

Rows, in this order: noise drawn on the device beside noise drawn ahead on the CPU; what a call costs without its model,
beside diffusers' schedulers where they are installed; the whole of `seeds.sample` beside the bare network; answers a
second (images times model calls) of `fashion-unet`, and of DDPM++ and ADM of published size with random weights, in
float32, bf16 and fp16 at several batches, plain and, on a GPU, compiled. Times are medians; the device is waited for
before and after each. On CUDA float32 is torch's own default: convolutions in TF32, products of matrices not; the first
line and the JSON say so.
"""

import argparse
import copy
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

import seeds
from benchmarks.networks import ADM, DDPMPP
from benchmarks.overhead import SHAPE, ours, theirs
from seeds import checkpoints
from seeds.checkpoints import Config, build
from seeds.noise import Ahead, gaussian
from seeds.planning import plan_for
from seeds.plans import Point
from seeds.tuning import tuned

DTYPES = ("float32", "bf16", "fp16")
BATCHES = {"cpu": {"fashion-unet": (1, 64), "DDPM++": (1,), "ADM": (1,)}}
ON_GPUS = {"fashion-unet": (1, 64, 1024), "DDPM++": (1, 64, 256), "ADM": (1, 16, 64)}
COMPILING = 60.0
"""Seconds that must be left for a network to be compiled; ADM, which takes longer, is not."""


class Row(NamedTuple):
    what: str
    how: str
    value: float | None
    unit: str


class Bench:
    """A device, and the time that is left for it."""

    def __init__(self, device: str, minutes: float):
        self.device, self.end = torch.device(device), time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    @property
    def over(self) -> bool:
        return self.left < 0

    def wait(self) -> None:
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()

    def seconds(self, call: Callable[[], Any], least: float = 0.5) -> float:
        """Median seconds of a call: of five or more in at least `least` seconds, or of as many as time allows, after
        one that warms up."""
        call()
        self.wait()
        times: list[float] = []
        begun = time.monotonic()
        while not times or (not self.over and (time.monotonic() - begun < least or len(times) < 5)):
            start = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def noise(bench: Bench) -> Iterator[Row]:
    """A draw of the state of `benchmarks/overhead.py`."""
    how = "x".join(map(str, SHAPE))
    keys = np.array([(seed, 21) for seed in range(SHAPE[0])], np.uint64)
    from seeds.noise.device import fill

    count = int(np.prod(SHAPE[1:]))
    if bench.device.type in ("cpu", "cuda"):
        yield Row(
            "noise, a draw", f"{how}, on the device", 1e3 * bench.seconds(lambda: fill(keys, count, bench.device)), "ms"
        )
    with Ahead(lambda j: gaussian(range(SHAPE[0]), j, SHAPE[1:]), range(10**6), device=bench.device) as draws:
        at = iter(range(10**6))
        yield Row(
            "noise, a draw",
            f"{how}, ahead on the CPU, the model free",
            1e3 * bench.seconds(lambda: draws(next(at))),
            "ms",
        )


def overhead(bench: Bench) -> Iterator[Row]:
    """A call without its model, its noise given."""
    runs: dict[str, Callable[[], tuple[Callable[[], None], int]]] = {
        name: lambda name=name: ours(name, device=bench.device)  # type: ignore[misc]
        for name in ("seeds-1", "seeds-2", "seeds-3")
    }
    runs["diffusers DPMSolverMultistep sde"] = lambda: theirs(
        "DPMSolverMultistepScheduler", device=bench.device, algorithm_type="sde-dpmsolver++"
    )
    runs["diffusers SASolver"] = lambda: theirs("SASolverScheduler", device=bench.device)
    for name, make in runs.items():
        try:
            run, calls = make()
        except ImportError:
            print("diffusers is not installed: its schedulers are left out", flush=True)
            return
        yield Row("a call without its model", name, 1e3 * bench.seconds(run) / calls, "ms")


def pipeline(bench: Bench) -> Iterator[Row]:
    """`seeds.sample` beside the same calls of the bare network."""
    batch = 16 if bench.device.type == "cpu" else 256
    model = checkpoints.load("fashion-unet").to(bench.device)
    plan = plan_for(model, "seeds-3", steps=3 if bench.device.type == "cpu" else 13)
    x, labels = torch.randn(batch, *model.shape).to(bench.device), torch.arange(batch, device=bench.device) % 10

    def bare() -> None:
        for row in plan.rows:
            model(x, row.at, labels=labels)

    def whole() -> None:
        seeds.sample(model, model.shape, seed=range(batch), plan=plan, labels=labels)

    with torch.no_grad():
        network, all_of_it = bench.seconds(bare, 2), bench.seconds(whole, 2)
    how = f"fashion-unet, seeds-3, {plan.nfe} calls, batch {batch}"
    yield Row("seeds.sample", how, batch / all_of_it, "images/s")
    yield Row("seeds.sample over the bare network", how, all_of_it / network, "times")


def models(bench: Bench) -> Iterator[Row]:
    makers = {
        "fashion-unet": lambda: checkpoints.load("fashion-unet"),
        "DDPM++": lambda: build(Config("EDMPrecond", dict(DDPMPP))).eval().requires_grad_(False),
        "ADM": lambda: build(Config("EDMPrecond", dict(ADM))).eval().requires_grad_(False),
    }
    ways = [
        (dtype, compiled)
        for compiled in (False, True)
        for dtype in DTYPES
        if not compiled or bench.device.type != "cpu"
    ]
    for compiled in (False, True):
        for name, make in makers.items():
            built = None  # once for all dtypes, unless it is compiled: a large network's weights take seconds
            for dtype in [dtype for dtype, way in ways if way == compiled]:
                if bench.over or (compiled and (name == "ADM" or bench.left < COMPILING)):
                    return
                torch.compiler.reset()  # else it gives up after a few networks of one class
                built = make().to(bench.device) if built is None or compiled else built
                model = tuned(copy.copy(built), dtype=None if dtype == "float32" else dtype, compiled=compiled)
                for batch in BATCHES.get(bench.device.type, {name: ON_GPUS[name]})[name]:
                    yield from answers(bench, name, model, batch, f"{dtype}{', compiled' * compiled}")
                    if bench.over:
                        return


def answers(bench: Bench, name: str, model: Any, batch: int, how: str) -> Iterator[Row]:
    x = torch.randn(batch, *model.shape).to(bench.device)
    labels = torch.arange(batch, device=bench.device) % model.classes if model.classes else None
    try:
        with torch.no_grad():
            seconds = bench.seconds(lambda: model(x, Point(1.0, 1.0, 1.0), labels=labels))
        yield Row(name, f"batch {batch}, {how}", batch / seconds, "answers/s")
    except torch.OutOfMemoryError:
        yield Row(name, f"batch {batch}, {how}: more than the device's memory", None, "answers/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    parser.add_argument("--device", default=best, help="cpu, cuda, mps; a GPU if there is one")
    parser.add_argument("--minutes", type=float, default=4.0, help="after which no other row is begun")
    parser.add_argument("--json", help="file to write the table to, after each row")
    given = parser.parse_args()
    bench = Bench(given.device, given.minutes)
    name = (
        torch.cuda.get_device_name()
        if bench.device.type == "cuda"
        else f"{given.device}, {torch.get_num_threads()} threads"
    )
    if bench.device.type == "cuda":
        tf32 = {"convolutions": torch.backends.cudnn.allow_tf32, "matrices": torch.backends.cuda.matmul.allow_tf32}
        name += "".join(f", {what} in TF32" for what, so in tf32.items() if so)
    report: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "seeds": seeds.__version__,
        "whole": False,
        "rows": [],
        "faults": [],
    }
    print(f"{name}, torch {torch.__version__}\n", flush=True)
    for section in (noise, overhead, pipeline, models):
        try:
            for row in () if bench.over else section(bench):
                report["rows"].append(row._asdict())
                print(
                    f"{row.what:36} {row.how:58} {'-' if row.value is None else f'{row.value:12.4g}'} {row.unit}",
                    flush=True,
                )
                save(report, given.json)
                if bench.over:
                    break
        except Exception:  # the rest is measured all the same: devices are not always at hand
            report["faults"].append(f"{section.__name__}: {traceback.format_exc()}")
            print(report["faults"][-1], flush=True)
    report["whole"] = not bench.over and not report["faults"]
    save(report, given.json)
    print(
        "" if report["whole"] or not bench.over else f"\nstopped after {given.minutes:g} minutes, with what there is",
        flush=True,
    )
    raise SystemExit(1 if report["faults"] else 0)


def save(report: dict[str, Any], path: str | None) -> None:
    if path:
        with open(path, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
