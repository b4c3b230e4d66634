"""Trains `fashion-unet-2`: `fashion-unet` with 3.5 times the weights and attention at both levels, for a GPU.
`recipes.training` has the equations.

    python -m recipes.train_fashion_unet_2 --run runs/fashion-unet-2 --fit 8 --export
    seeds/data/fashion_unet_2.safetensors

is all: it finds the GPU, compiles, measures its speed, sets the length of the run to what 8 minutes of that card allow,
the last 60 % of it cooling down, prints the images/s, and exports the average. `--data` is the folder of the four IDX
files, where Debian's package is not installed. Stopped early, it goes on where it stopped with the same line. On an
H100 some 15,000 images/s are expected, 7 million images in all, 110 times the
training set: not measured, since no GPU was at hand when this was written.

Then, also on the card:

    python -m benchmarks.fashion_unet --model seeds/data/fashion_unet_2.safetensors --num 5000 --guided 500 --solvers
    seeds-3

whose distance at 40 calls is to be under 0.12 (`fashion-unet`: 0.298; test images: 0.022), and whose numbers go into
the card beside the file:

    # fashion-unet-2

    A class-conditional diffusion model of Fashion-MNIST, as `fashion-unet`, with more weights and longer training.

    - **File**: `fashion_unet_2.safetensors`, float16, BYTES bytes, SHA-256 `HASH`.
    - **Network**: DDPM++ (`seeds.networks.SongUNet`) on 2 x 2 patches: 14 x 14 with 64 channels, 7 x 7 with 128, three
      blocks a level, attention at both; 5.3 M parameters. EDM preconditioning with sd = 0.7, nsr from 0.005 to 40.
    - **Data**: Fashion-MNIST training set, 60,000 images (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747; MIT
      licence), no augmentation.
    - **Made by**: the command above; settings and the seconds on each device are in the file (`about`).
    - **Seen**: N images, in MINUTES minutes of a CARD, at RATE images/s, bfloat16, compiled. Loss over the last 64,000
      images: LOSS.
    - **Quality**, squared Frechet distance to the training set in `fashion-features` space, 5,000 images, SEEDS-3, 40
      calls: DISTANCE (`fashion-unet`: 0.298; test images: 0.022). Asked class: SHARE. Distance of 1,000 images to the
          nearest training image: ....
    - **Licence**: Apache-2.0, as the package; the data's licence is MIT.
"""

from dataclasses import replace

from recipes import fashion, train_fashion_unet
from recipes.training import Settings, command

SUBJECT = replace(
    train_fashion_unet.SUBJECT,
    name="fashion-unet-2",
    network=train_fashion_unet.SUBJECT.network | {"model_channels": 64, "num_blocks": 3, "attn_resolutions": [14, 7]},
    recipe="recipes/train_fashion_unet_2.py",
)
SETTINGS = Settings(
    images=7_000_000, batch=512, lr=2e-3, warmup=100_000, cooldown=4_000_000, ema=(100_000, 400_000)
)  # the lengths as `--fit` would find them


if __name__ == "__main__":
    command(SUBJECT, SETTINGS, train_fashion_unet.read, fashion.ROOT, __doc__)
