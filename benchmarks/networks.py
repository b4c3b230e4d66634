"""Speed of one forward pass of the published architectures, and how near it is to the machine's own rates.

    python benchmarks/networks.py --threads 2 --rounds 5                    # DDPM++ (CIFAR-10) at batch 8, ADM
                                                                            (ImageNet-64) at batch 1
    python benchmarks/networks.py --networks ddpmpp --variants plain channels-last bf16 compile

Variants of one network run in turn, round after round, so that a busy machine slows all of them alike; medians are
reported. FLOPs are counted by torch (2 per multiply-add) in convolutions and in matrix products, attention included.
The machine's rates are those of the best of several large float32 convolutions (3 x 3, both memory layouts) and matrix
products, repeated for two seconds in each round. The fraction is

    (convolution FLOPs / convolution rate + matrix FLOPs / matrix rate) / time
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seeds.checkpoints import Config, build

DDPMPP = {
    "img_resolution": 32,
    "img_channels": 3,
    "model_type": "SongUNet",
    "channel_mult": [2, 2, 2],
    "augment_dim": 9,
}
ADM = {"img_resolution": 64, "img_channels": 3, "label_dim": 1000, "model_type": "DhariwalUNet"}
NETWORKS = {"ddpmpp": (DDPMPP, 8), "adm": (ADM, 1)}
VARIANTS = ("plain", "channels-last", "bf16", "compile")
CONVOLUTIONS = ((8, 256, 32), (8, 256, 16), (1, 384, 32), (1, 576, 16))  # batch, channels, resolution
MATRICES = (1024, 2048)


def seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def machine_calls() -> dict[str, list[tuple[float, Callable[[], Any]]]]:
    """(FLOPs, call) of the yardsticks."""
    convolutions = []
    for batch, channels, size in CONVOLUTIONS:
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(batch, channels, size, size).to(memory_format=layout)
            w = torch.randn(channels, channels, 3, 3).to(memory_format=layout)
            convolutions.append((2.0 * 9 * batch * channels**2 * size**2, lambda x=x, w=w: F.conv2d(x, w, padding=1)))
    matrices = []
    for n in MATRICES:
        a = torch.randn(n, n)
        matrices.append((2.0 * n**3, lambda a=a: a @ a))
    return {"convolution": convolutions, "matrix": matrices}


def rate(work: float, call: Callable[[], Any], least: float = 2.0) -> float:
    """FLOPs per second of a call, repeated for at least that many seconds."""
    begun, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < least:
        call()
        calls += 1
    return work * calls / spent


def variant_calls(name: str, variants: list[str]) -> tuple[dict[str, float], dict[str, Callable[[], Any]]]:
    """FLOPs by kind, and one call per variant, of a network."""
    kwargs, batch = NETWORKS[name]
    x = torch.randn(batch, 3, kwargs["img_resolution"], kwargs["img_resolution"])
    labels = torch.eye(1000)[:batch] if "label_dim" in kwargs else None
    net = build(Config("EDMPrecond", dict(kwargs))).eval().requires_grad_(False).model
    told = torch.zeros(batch)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # the fused kernel is not counted
        net(x, told, labels)
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    flops = {"convolution": float(sum(n for op, n in counted.items() if "conv" in op))}
    flops["matrix"] = sum(counted.values()) - flops["convolution"]
    calls: dict[str, Callable[[], Any]] = {"plain": lambda: net(x, told, labels)}
    last = (
        build(Config("EDMPrecond", dict(kwargs)))
        .eval()
        .requires_grad_(False)
        .model.to(memory_format=torch.channels_last)
    )
    x_last = x.to(memory_format=torch.channels_last)
    calls["channels-last"] = lambda: last(x_last, told, labels)
    calls["bf16"] = lambda: last(x_last.bfloat16(), told, labels)
    if "compile" in variants:
        compiled = torch.compile(last, fullgraph=True)
        calls["compile"] = lambda: compiled(x_last, told, labels)
    return flops, {variant: calls[variant] for variant in variants}


@torch.inference_mode()
def measure(name: str, variants: list[str], rounds: int) -> dict[str, Any]:
    flops, calls = variant_calls(name, variants)
    yardsticks = {kind: max(group, key=lambda item: rate(*item, least=0.3)) for kind, group in machine_calls().items()}
    first = {variant: seconds(call) for variant, call in calls.items()}
    times: dict[str, list[float]] = {variant: [] for variant in calls}
    rates: dict[str, list[float]] = {kind: [] for kind in yardsticks}
    for _ in range(rounds):
        for kind, yardstick in yardsticks.items():
            rates[kind].append(rate(*yardstick))
        for variant, call in calls.items():
            times[variant].append(seconds(call))
    machine = {kind: statistics.median(values) for kind, values in rates.items()}
    ideal = sum(flops[kind] / machine[kind] for kind in flops)
    batch = NETWORKS[name][1]
    report: dict[str, Any] = {
        "batch": batch,
        "gflop_per_image": {kind: round(work / batch / 1e9, 2) for kind, work in flops.items()},
    }
    report["machine_gflops"] = {kind: round(value / 1e9, 1) for kind, value in machine.items()}
    plain = statistics.median(times[variants[0]])
    for variant in variants:
        median = statistics.median(times[variant])
        report[variant] = {"images_per_s": round(batch / median, 3), "fraction_of_machine": round(ideal / median, 3)}
        report[variant] |= {"speed_over_first": round(plain / median, 2), "first_call_s": round(first[variant], 1)}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    report: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": args.threads,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    for name in args.networks:
        report[name] = measure(name, args.variants, args.rounds)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
