"""Trains `fashion-unet`: a class-conditional DDPM++ on 2 x 2 patches of Fashion-MNIST. `recipes.training` has the
equations.

python -m recipes.train_fashion_unet --run runs/fashion-unet          # start, or go on where it stopped
python -m recipes.train_fashion_unet --run runs/fashion-unet --export seeds/data/fashion_unet.safetensors
"""

from pathlib import Path

from recipes import fashion
from recipes.training import Data, Settings, Subject, command

SUBJECT = Subject(
    name="fashion-unet",
    network={
        "img_resolution": 14, "in_channels": 4, "out_channels": 4, "label_dim": 10, "model_channels": 40,
        "channel_mult": [1, 2], "num_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
    },
    patch=2,
    nsr_range=(0.005, 40.0),  # p_mean -+ 3.7 p_std
    source="Fashion-MNIST training set (Xiao et al. 2017), MIT licence",
    recipe="recipes/train_fashion_unet.py",
)  # fmt: skip
SETTINGS = Settings()


def read(root: Path) -> Data:
    """The training set in the folder of the four IDX files."""
    return Data(*fashion.load("train", root))


if __name__ == "__main__":
    command(SUBJECT, SETTINGS, read, fashion.ROOT, __doc__)
