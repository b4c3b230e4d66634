"""Clothes on order: class-conditional images from the bundled network with classifier-free guidance, one row for each
class.

python examples/fashion_unet.py --classes 1,5,7,8 --each 8 --guidance 2 --nfe 20 --out clothes.png
"""

import argparse
from pathlib import Path

import seeds
from seeds import checkpoints
from seeds.images import grid, png, to_uint8

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "--classes",
    default="0,1,2,3,4,5,6,7,8,9",
    help="0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, ...",
)
parser.add_argument("--each", type=int, default=8, help="images of each class")
parser.add_argument(
    "--guidance", type=float, default=2.0, help="1 is none; more sharpens, and costs a second network call"
)
parser.add_argument("--nfe", type=int, default=20, help="network calls for each image; guidance doubles them")
parser.add_argument("--device", default="cpu")
parser.add_argument("--out", default="clothes.png")
args = parser.parse_args()

network = checkpoints.load("fashion-unet").to(args.device)
labels = [int(label) for label in args.classes.split(",") for _ in range(args.each)]
images = seeds.sample(
    seeds.guide(network, args.guidance),
    network.shape,
    seed=range(len(labels)),
    labels=labels,
    nfe=args.nfe,
    progress=True,
)
Path(args.out).write_bytes(png(grid(to_uint8(images), columns=args.each)))
print(f"{len(images)} images in {args.out}")
