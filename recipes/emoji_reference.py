"""Makes the bundled statistics `emoji`: mean and covariance of the training drawings in `emoji-features` space, as
`emoji-unet` should draw them.

    python -m recipes.emoji_reference --out seeds/data/emoji.npz

`emoji-unet` is asked for every class equally often, so the classes weigh alike here, though they hold 200 to 1,921
drawings. A drawing that training mirrors stands half as it is and half mirrored.
"""

import argparse
from pathlib import Path

import numpy as np

from recipes import emoji
from seeds import checkpoints
from seeds.metrics.features import from_module
from seeds.metrics.references import Statistics, save_statistics


def weighted(split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images (M, H, W, 3) uint8, mirrored copies among them; weights (M,) that add to one, and to as much in every
    class)."""
    images, labels, flips = emoji.read(split)
    shown = np.concatenate([images, images[flips, ..., ::-1]]).transpose(0, 2, 3, 1)
    weights = np.where(flips, 0.5, 1.0) / np.bincount(labels)[labels] / len(emoji.CLASSES)
    return shown, np.concatenate([weights, weights[flips]])


def in_turn(split: str, count: int) -> np.ndarray:
    """uint8 (count, H, W, 3): drawings of the classes in turn, of each class every one before any comes again; half of
    those that training mirrors are mirrored."""
    images, labels, flips = emoji.read(split)
    rng, asked = np.random.default_rng(0), np.arange(count) % len(emoji.CLASSES)
    chosen = np.empty(count, np.int64)
    for label in range(len(emoji.CLASSES)):
        mine = asked == label
        chosen[mine] = np.resize(rng.permutation(np.flatnonzero(labels == label)), mine.sum())
    shown = images[chosen].transpose(0, 2, 3, 1)
    mirrored = flips[chosen] & (rng.random(count) < 0.5)
    return np.where(mirrored[:, None, None, None], shown[:, :, ::-1], shown)


def statistics(split: str) -> Statistics:
    """Of the split "train" or "held", in `emoji-features` space; `n` counts the drawings."""
    extractor = from_module(checkpoints.load("emoji-features"), "emoji-features", channels="rgb")
    images, weights = weighted(split)
    features = np.concatenate([extractor(images[at : at + 500]) for at in range(0, len(images), 500)]).astype(
        np.float64
    )
    mu = weights @ features
    spread = features - mu
    n = len(emoji.load(split)[0])
    return Statistics(
        mu, spread.T @ (weights[:, None] * spread), n, extractor.recipe, "float32", f"recipes/data/emoji32.npz, {split}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the npz to write")
    parser.add_argument("--split", default="train", choices=("train", "held"))
    args = parser.parse_args()
    save_statistics(args.out, statistics(args.split))


if __name__ == "__main__":
    main()
