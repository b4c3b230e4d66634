"""Quality of `emoji-unet`, against emoji drawings in `emoji-features` space. `benchmarks.unets` says what is measured.

    python -m benchmarks.emoji_unet --model FILE --num 2000 --solvers seeds-3

The reference weighs the classes alike, as they are drawn; so does the test set, the drawings of subjects not trained
on.
"""

from pathlib import Path

from benchmarks.unets import Bench, Gaussian, command
from recipes import emoji
from recipes.references import KNOWN, statistics


def read(path: Path) -> Bench:
    """Against the drawings trained on and those held out, in the file of `recipes.emoji`."""
    training, test = (emoji.load(split, path)[0] for split in ("train", "held"))
    return Bench("emoji-unet", "emoji-features", training, test, lambda: _of("train"), lambda: _of("held"))


def _of(split: str) -> Gaussian:
    found = statistics(KNOWN["emoji"], split)
    return found.mu, found.sigma


if __name__ == "__main__":
    command(read, emoji.ROOT, __doc__)
