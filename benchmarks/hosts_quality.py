"""A small UNet2DModel of diffusers, trained on Fashion-MNIST, drawn from in the host's own loop: distances of our scheduler and of diffusers' own.

    python benchmarks/hosts_quality.py --train 600 --num 2000 [--weights out/fashion-host] [--json quality.json]

The recipe is this file: --train seconds on the training images (32 x 32, padded), epsilon prediction on the table of DDPM, Adam, an average of the weights.
Distances are squared Frechet distances in fashion-features between --num images and the test images; the generator's seed is the same for every row.
The data set is Debian's dataset-fashion-mnist, or --data, a folder with its IDX files.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from recipes.fashion import ROOT, load
from seeds import checkpoints
from seeds.integrations.diffusers import SEEDSScheduler
from seeds.metrics.features import from_module
from seeds.metrics.frechet import frechet_distance

BATCH, SHAPE = 128, (1, 32, 32)
MULTISTEP = diffusers.DPMSolverMultistepScheduler
ROWS: dict[str, Any] = {
    "ours: seeds-3, own grid": lambda: SEEDSScheduler(solver="seeds-3", timestep_spacing="auto"),
    "ours: adams, eta 0": lambda: SEEDSScheduler(solver="adams", timestep_spacing="uniform_lam"),
    "ours: adams, eta 1": lambda: SEEDSScheduler(solver="adams", eta=1.0, timestep_spacing="uniform_lam"),
    "DPM++ 2M": lambda: MULTISTEP(),
    "DPM++ 2M Karras": lambda: MULTISTEP(use_karras_sigmas=True),
    "DPM++ 2M SDE": lambda: MULTISTEP(algorithm_type="sde-dpmsolver++"),
    "DPM++ 2M SDE Karras": lambda: MULTISTEP(algorithm_type="sde-dpmsolver++", use_karras_sigmas=True),
    "UniPC": lambda: diffusers.UniPCMultistepScheduler(),
    "SASolver": lambda: diffusers.SASolverScheduler(),
    "EulerAncestral": lambda: diffusers.EulerAncestralDiscreteScheduler(),
    "DDIM": lambda: diffusers.DDIMScheduler(clip_sample=False),
}


def padded(pixels: np.ndarray) -> torch.Tensor:
    """(N, 1, 32, 32) in [-1, 1], from (N, 1, 28, 28) bytes."""
    return torch.nn.functional.pad(torch.from_numpy(pixels.copy()).float() / 127.5 - 1, (2, 2, 2, 2), value=-1.0)


def network() -> diffusers.UNet2DModel:
    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    }
    return diffusers.UNet2DModel(
        sample_size=32, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 64), norm_num_groups=8, **blocks
    )


def train(data: torch.Tensor, seconds: float, device: str) -> diffusers.UNet2DModel:
    """Epsilon prediction, uniform steps; the weights are averaged over about the last tenth."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net, table = network().to(device), diffusers.DDPMScheduler()
    optimizer, average, begun, k = torch.optim.Adam(net.parameters(), 5e-4), None, time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        clean = data[torch.randint(len(data), (BATCH,), generator=generator)].to(device)
        noise, t = torch.randn(clean.shape, generator=generator).to(device), torch.randint(1000, (BATCH,), generator=generator).to(device)
        loss = (net(table.add_noise(clean, noise, t), t).sample - noise).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        k += 1
        kept = min(0.999, k / (k + 10))
        with torch.no_grad():
            average = average or [weight.clone() for weight in net.parameters()]
            torch._foreach_lerp_(average, list(net.parameters()), 1 - kept)
    with torch.no_grad():
        for weight, mean in zip(net.parameters(), average or [], strict=True):
            weight.copy_(mean)
    print(f"trained {k} steps of {BATCH} in {seconds:g} s; the last loss is {loss.item():.4f}")
    return net.eval()


@torch.no_grad()
def drawn(net: Any, make: Any, calls: int, num: int, device: str) -> torch.Tensor:
    """Images in the host's own loop."""
    scheduler, generator, made = make(), torch.Generator().manual_seed(1), []
    for first in range(0, num, BATCH):
        scheduler.set_timesteps(calls, device=device)
        x = torch.randn(min(BATCH, num - first), *SHAPE, generator=generator).to(device) * scheduler.init_noise_sigma
        extra = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames else {}
        for t in scheduler.timesteps:
            answer = net(scheduler.scale_model_input(x, t), t).sample
            x = scheduler.step(answer, t, x, **extra, return_dict=False)[0]
        made.append(x.cpu())
    return torch.cat(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT)
    parser.add_argument("--train", type=float, default=600.0, help="seconds")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.backends.cudnn.deterministic = True
    if arguments.weights and (arguments.weights / "config.json").exists():
        net = diffusers.UNet2DModel.from_pretrained(arguments.weights).to(arguments.device).eval()
    else:
        net = train(padded(load("train", arguments.data)[0]), arguments.train, arguments.device)
        if arguments.weights:
            net.save_pretrained(arguments.weights)
    extract = from_module(checkpoints.load("fashion-features"), "fashion-features", channels="grey")
    truth = extract(load("t10k", arguments.data)[0].transpose(0, 2, 3, 1))
    mean, covariance = truth.mean(0), np.cov(truth, rowvar=False)
    rows = []
    for name, make in ROWS.items():
        for calls in arguments.calls:
            made = drawn(net, make, calls, arguments.num, arguments.device)[:, :, 2:-2, 2:-2]
            pixels = ((made + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
            found = extract(pixels)
            distance = frechet_distance(found.mean(0), np.cov(found, rowvar=False), mean, covariance)
            rows.append({"name": name, "calls": calls, "distance": float(distance)})
        print(f"{name:24}" + "".join(f"{row['distance']:10.4f}" for row in rows[-len(arguments.calls) :]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"diffusers": diffusers.__version__, "num": arguments.num, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
