"""Trains `fashion-features`: the classifier behind the quality numbers of 28 x 28 grey images. `recipes.features` says
how.

    python -m recipes.train_fashion_features --out seeds/data/fashion_features.safetensors

bfloat16 and compilation: about three minutes of one core that has bfloat16 matrix units.
"""

from pathlib import Path

from recipes import fashion
from recipes.features import Features, command
from recipes.training import Data

SUBJECT = Features(
    name="fashion-features",
    network={"width": 32, "classes": 10},
    ground=0,
    epochs=8,
    source="Fashion-MNIST (Xiao et al. 2017), MIT licence",
    recipe="recipes/train_fashion_features.py",
)


def read(split: str, root: Path) -> Data:
    """The training or the test set in the folder of the four IDX files."""
    return Data(*fashion.load("t10k" if split == "test" else split, root))


if __name__ == "__main__":
    command(SUBJECT, read, fashion.ROOT, __doc__)
