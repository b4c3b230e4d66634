"""Trains `icon-unet`: a class-conditional DDPM++ on 2 x 2 patches of icons, the size of `fashion-unet`.
`recipes.training` has the equations.

    python -m recipes.train_icon_unet --run runs/icon-unet            # start, or go on where it stopped
    python -m recipes.train_icon_unet --run runs/icon-unet --export recipes/data/icon_unet.safetensors

It is no model to draw with, and not in the package: the default is examined on it, and nothing of a solver is chosen by
it. 500,032 images, 15 times each icon, 41 minutes of two cores; the loss ends at 0.121.
"""

from dataclasses import replace
from pathlib import Path

from recipes import icons, train_fashion_unet
from recipes.training import Data, Settings, command

SUBJECT = replace(
    train_fashion_unet.SUBJECT,
    name="icon-unet",
    network=train_fashion_unet.SUBJECT.network | {"img_resolution": 16, "label_dim": len(icons.CLASSES)},
    source=icons.SOURCE,
    recipe="recipes/train_icon_unet.py",
)
SETTINGS = Settings(images=500_000, warmup=10_000, cooldown=300_000, sd=0.8)


def read(path: Path) -> Data:
    """All icons in the file of `recipes.icons`."""
    return Data(*icons.load(path))


if __name__ == "__main__":
    command(SUBJECT, SETTINGS, read, icons.ROOT, __doc__)
