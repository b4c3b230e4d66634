"""A small UNet2DModel trained on Fashion-MNIST, drawn from in diffusers' loop: our scheduler beside its own.

    python -m benchmarks.hosts_quality --weights out/fashion-host --train 128000    (once; some 10 minutes of one core)
    python -m benchmarks.hosts_quality --weights out/fashion-host --num 2000 [--rows UniPC DDIM] [--json quality.json]
    [--show out/images]

The recipe is this file: --train training images, 2 x 2 pixels as 4 channels of 14 x 14, epsilon prediction on the table
of DDPM, Adam with a cosine, an average of the weights. Distances are squared Frechet distances in fashion-features
between --num images and the test images; "floor" is that of as many training images. The generator's seed is the same
for every row, but the noise is not. The data set is Debian's dataset-fashion-mnist, or --data, a folder with its IDX
files. Rows that --json holds already are kept.
"""

import argparse
import copy
import inspect
import json
import math
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from recipes.fashion import ROOT, load
from seeds import checkpoints
from seeds.images.pixels import grid, png
from seeds.integrations.diffusers import SEEDSScheduler
from seeds.metrics.features import from_module
from seeds.metrics.frechet import frechet_distance

BATCH, DRAWN, RATE, SHAPE = 64, 250, 1.5e-3, (4, 14, 14)
MULTISTEP = diffusers.DPMSolverMultistepScheduler
ROWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ours": (SEEDSScheduler, {}),
    "ours, even steps": (SEEDSScheduler, {"timestep_spacing": "linspace"}),
    "ours, accuracy": (SEEDSScheduler, {"aim": "accuracy"}),
    "ours, seeds-3": (SEEDSScheduler, {"solver": "seeds-3", "timestep_spacing": "auto"}),
    "DPM++ 2M": (MULTISTEP, {}),
    "DPM++ 2M Karras": (MULTISTEP, {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": (MULTISTEP, {"algorithm_type": "sde-dpmsolver++"}),
    "DPM++ 2M SDE Karras": (MULTISTEP, {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    "UniPC": (diffusers.UniPCMultistepScheduler, {}),
    "SASolver": (diffusers.SASolverScheduler, {}),
    "EulerAncestral": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "DDIM": (diffusers.DDIMScheduler, {}),
}
"""What a user types: the class, and what is said beside the configuration of the network."""


def patched(pixels: np.ndarray) -> torch.Tensor:
    """(N, 4, 14, 14) in [-1, 1], from (N, 1, 28, 28) bytes: the 2 x 2 pixels of a patch are its channels."""
    return torch.nn.functional.pixel_unshuffle(torch.from_numpy(pixels.copy()).float() / 127.5 - 1, 2)


def pixels(made: torch.Tensor) -> np.ndarray:
    """(N, 28, 28, 1) bytes of what was drawn."""
    images = torch.nn.functional.pixel_shuffle(made, 2)
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def network() -> diffusers.UNet2DModel:
    """0.7 million weights."""
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    sizes = {"layers_per_block": 1, "block_out_channels": (32, 64), "norm_num_groups": 8, "attention_head_dim": 32}
    return diffusers.UNet2DModel(sample_size=14, in_channels=4, out_channels=4, **sizes, **blocks)


def train(net: diffusers.UNet2DModel, table: Any, data: torch.Tensor, images: int, weights: Path) -> None:
    """Noise or v, as the table says, at uniform steps; the rate rises over 200 updates and falls to zero; written every
    500."""
    generator = torch.Generator().manual_seed(0)
    updates, velocity, device = images // BATCH, table.config.prediction_type == "v_prediction", net.device
    table.save_pretrained(weights)
    optimizer, average, seen = torch.optim.Adam(net.parameters(), RATE), copy.deepcopy(net), 0.0
    for k in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (k + 1) / 200) * 0.5 * (1 + math.cos(math.pi * k / updates))
        clean = data[torch.randint(len(data), (BATCH,), generator=generator)].to(device)
        noise, t = (
            torch.randn(clean.shape, generator=generator).to(device),
            torch.randint(1000, (BATCH,), generator=generator).to(device),
        )
        target = table.get_velocity(clean, noise, t) if velocity else noise
        loss = (net(table.add_noise(clean, noise, t), t).sample - target).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - min(0.999, k / (k + 10)))
        seen += loss.item() / 500
        if (k + 1) % 500 == 0 or k + 1 == updates:
            average.save_pretrained(weights)
            print(
                f"{(k + 1) * BATCH} images: loss {seen:.4f}, {time.process_time():.0f} s of the processor", flush=True
            )
            seen = 0.0


@torch.no_grad()
def drawn(net: Any, row: str, config: Any, calls: int, num: int, device: str, seed: int) -> torch.Tensor:
    """Images in the host's own loop."""
    made_by, said = ROWS[row]
    scheduler, generator, made = made_by.from_config(config, **said), torch.Generator().manual_seed(seed), []
    for first in range(0, num, DRAWN):
        scheduler.set_timesteps(calls, device=device)
        x = torch.randn(min(DRAWN, num - first), *SHAPE, generator=generator).to(device) * scheduler.init_noise_sigma
        extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for t in scheduler.timesteps:
            answer = net(scheduler.scale_model_input(x, t), t).sample
            x = scheduler.step(answer, t, x, **extra, return_dict=False)[0]
        made.append(x.cpu())
    return torch.cat(made)


class Distance:
    """Squared Frechet distance in fashion-features to the test images."""

    def __init__(self, data: Path):
        self.extract = from_module(checkpoints.load("fashion-features"), "fashion-features", channels="grey")
        self.truth = self.moments(load("t10k", data)[0].transpose(0, 2, 3, 1))

    def moments(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = self.extract(images)
        return found.mean(0), np.cov(found, rowvar=False)

    def __call__(self, images: np.ndarray) -> float:
        return float(frechet_distance(*self.moments(images), *self.truth))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--train", type=int, help="training images; then nothing is drawn")
    parser.add_argument("--from", dest="go_on", type=Path, metavar="WEIGHTS", help="go on from these")
    parser.add_argument(
        "--output", choices=["epsilon", "v_prediction"], default="v_prediction", help="what it learns to say"
    )
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=1, help="of the generator")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path, help="a folder for the first 64 images of each row")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    torch.backends.cudnn.deterministic = True
    begun = asked.go_on or (None if asked.train else asked.weights)
    torch.manual_seed(0)
    net = (diffusers.UNet2DModel.from_pretrained(begun) if begun else network()).to(asked.device)
    if asked.train:
        table = diffusers.DDPMScheduler(prediction_type=asked.output, clip_sample=False, timestep_spacing="linspace")
        return train(net.train(), table, patched(load("train", asked.data)[0]), asked.train, asked.weights)
    table, net = diffusers.DDPMScheduler.from_pretrained(asked.weights), net.eval()
    distance = Distance(asked.data)
    floor = distance(load("train", asked.data)[0][: asked.num].transpose(0, 2, 3, 1))
    print(f"{'floor':28}{floor:10.4f}", flush=True)
    found = json.loads(asked.json.read_text())["distances"] if asked.json and asked.json.exists() else {}
    for name in asked.rows:
        row = found.setdefault(name, {})
        for calls in asked.calls:
            if str(calls) not in row:
                images = pixels(drawn(net, name, table.config, calls, asked.num, asked.device, asked.seed))
                row[str(calls)] = distance(images)
                if asked.show:
                    asked.show.mkdir(parents=True, exist_ok=True)
                    (asked.show / f"{name} {calls}.png").write_bytes(png(grid(images[:64])))
        print(f"{name:28}" + "".join(f"{row[str(calls)]:10.4f}" for calls in asked.calls), flush=True)
        if asked.json:
            told = {"diffusers": diffusers.__version__, "num": asked.num, "floor": floor, "distances": found}
            asked.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
