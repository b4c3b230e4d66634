"""Trains `emoji-features`: the classifier of Unicode's groups behind the quality numbers of 32 x 32 emoji.
`recipes.features` says how.

    python -m recipes.train_emoji_features --out seeds/data/emoji_features.safetensors

Its test set are the subjects that `recipes.emoji` holds out, which the network `emoji-unet` has not seen either.
"""

from pathlib import Path

from recipes import emoji
from recipes.features import Features, command
from recipes.training import Data

SUBJECT = Features(
    name="emoji-features",
    network={"width": 32, "classes": len(emoji.CLASSES), "channels": 3, "size": emoji.SIZE},
    ground=255,
    epochs=40,
    source=emoji.SOURCE,
    recipe="recipes/train_emoji_features.py",
    dropout=0.3,
    weight_decay=0.05,
)


def read(split: str, path: Path) -> Data:
    """The drawings trained on, or those held out, of the file of `recipes.emoji`."""
    return emoji.read("held" if split == "test" else split, path)


if __name__ == "__main__":
    command(SUBJECT, read, emoji.ROOT, __doc__)
