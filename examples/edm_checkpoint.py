"""Samples from an EDM-family checkpoint in the setting of the SEEDS paper: SEEDS-3, data prediction, Karras grid,
sigma(t) = t.

seeds convert baseline-cifar10-32x32-uncond-vp.pkl cifar10-vp.safetensors        # once; a https address works too
python examples/edm_checkpoint.py cifar10-vp.safetensors --steps 30 --count 16 --out images.png
"""

import argparse
from pathlib import Path

import seeds
from seeds import checkpoints
from seeds.images import grid, png, to_uint8

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("--steps", type=int, default=30, help="3 network calls each, and one at the end")
parser.add_argument("--count", type=int, default=16)
parser.add_argument("--device", default="cpu")
parser.add_argument("--out", default="images.png")
args = parser.parse_args()

denoiser = checkpoints.load(args.model).to(args.device)
images = seeds.sample(
    denoiser,
    denoiser.shape,
    seed=range(args.count),
    labels=[i % denoiser.classes for i in range(args.count)] if denoiser.classes else None,
    solver="seeds-3",
    prediction="data",
    steps=args.steps,
    schedule=seeds.EDM(),  # alpha = 1, sigma = t: also for networks trained on VP, as in the paper
    grid="karras",
    rho=7,
    nsr_min=max(0.002, denoiser.nsr_range[0] if denoiser.nsr_range else 0),
    nsr_max=80,
    progress=True,
)
Path(args.out).write_bytes(png(grid(to_uint8(images), columns=args.count)))
print(f"{len(images)} images in {args.out}")
