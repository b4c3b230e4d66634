"""Trains `emoji-unet`: a class-conditional DDPM++ on 2 x 2 patches of emoji drawings. `recipes.training` has the
equations.

    python -m recipes.train_emoji_unet --run runs/emoji-unet              # start, or go on where it stopped
    python -m recipes.train_emoji_unet --run runs/emoji-unet --export seeds/data/emoji_unet.safetensors

The tenth of the subjects that `recipes.emoji` holds out is not seen. Half of the drawings are mirrored, symbols and
flags apart. Compiled bfloat16 on one thread (`OMP_NUM_THREADS=1`): 100 to 140 images for each second of processor time
that it gets.

How far it came: 160,000 images, 29 times each drawing, are not enough for a bundled network. The loss fell from 0.72
(9,600 images) to 0.28 (73,600) and, with the learning rate falling over the last 83,000, to 0.22. Ground, outlines
and the palettes of the classes are right; with guidance 2.5 smileys, people and signs are recognised; the rest is
coloured blobs, and flags are smeared. The error on held-out drawings is that on training drawings at every noise
level (at nsr 1, 0.203 and 0.205), so more training is what it lacks: 1.5 to 2 million images on a processor, or
`recipes.train_emoji_unet_2` on a GPU. Gone on with to 486,016 images at the full rate, the loss is 0.19; with
guidance 2.5 smileys, people and signs are plain, animals and food still blobs.
"""

from pathlib import Path

from recipes import emoji
from recipes.training import Data, Settings, Subject, command

SUBJECT = Subject(
    name="emoji-unet",
    network={
        "img_resolution": 16, "in_channels": 12, "out_channels": 12, "label_dim": 9, "model_channels": 40,
        "channel_mult": [1, 2, 2], "num_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
    },
    patch=2,
    nsr_range=(0.005, 60.0),
    source=emoji.SOURCE,
    recipe="recipes/train_emoji_unet.py",
)  # fmt: skip
SETTINGS = Settings(images=1_000_000, warmup=10_000, cooldown=400_000, p_mean=-0.8, p_std=1.3, sd=0.6)


def read(path: Path) -> Data:
    """The training set in the file of `recipes.emoji`."""
    return emoji.read("train", path)


if __name__ == "__main__":
    command(SUBJECT, SETTINGS, read, emoji.ROOT, __doc__)
