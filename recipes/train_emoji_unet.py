"""Trains `emoji-unet`: a class-conditional DDPM++ on 2 x 2 patches of emoji drawings. `recipes.training` has the
equations.

    python -m recipes.train_emoji_unet --run runs/emoji-unet              # start, or go on where it stopped
    python -m recipes.train_emoji_unet --run runs/emoji-unet --export seeds/data/emoji_unet.safetensors

The tenth of the subjects that `recipes.emoji` holds out is not seen. Half of the drawings are mirrored, symbols and
flags apart. Compiled bfloat16 (`OMP_NUM_THREADS=1`) sees 175 to 195 images a second on a core with units for it, and
290 to 320 in two processes on two (`torchrun --nproc_per_node=2 -m -- recipes.train_emoji_unet ...`).

The bundled network saw 1,850,048 images, 339 times each drawing, in parts (`--images` and `--cooldown` were changed on
resume; its file has the history), in under four hours of one or two cores. How it went: the loss is 0.28 at 73,600
images, 0.19 at 480,000, 0.166 at 1,120,000, and 0.137 where it ends, the rate having fallen to zero over the last
750,000. At 160,000 smileys, people and signs were recognised with guidance, at 486,000 plain.
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
