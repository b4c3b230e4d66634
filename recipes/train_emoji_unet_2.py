"""Trains `emoji-unet` with twice the weights and attention at both levels, for a GPU. `recipes.training` has the
equations.

    python -m recipes.train_emoji_unet_2 --run runs/emoji-unet-2 --fit 4 --export seeds/data/emoji_unet.safetensors

The data are in the repository. 5.3 M parameters, 10.6 MB. There are 5,457 drawings to learn from, so long training
copies them: on a fast card 3 million images, 550 times each drawing, are thought to be enough. `python -m
benchmarks.emoji_unet --model FILE --num 2000 --solvers seeds-3` tells copies (the distance to the nearest training
drawing, beside that of held-out ones). Not measured: no GPU was at hand.
"""

from dataclasses import replace

from recipes import emoji, train_emoji_unet
from recipes.training import command

SUBJECT = replace(
    train_emoji_unet.SUBJECT,
    network=train_emoji_unet.SUBJECT.network
    | {"model_channels": 64, "channel_mult": [1, 2], "num_blocks": 3, "attn_resolutions": [16, 8]},
    recipe="recipes/train_emoji_unet_2.py",
)
SETTINGS = replace(
    train_emoji_unet.SETTINGS,
    images=3_000_000,
    batch=512,
    lr=2e-3,
    warmup=100_000,
    cooldown=1_800_000,
    ema=(50_000, 200_000),
)


if __name__ == "__main__":
    command(SUBJECT, SETTINGS, train_emoji_unet.read, emoji.ROOT, __doc__)
