"""Makes the statistics that networks of drawings are judged by: mean and covariance of the drawings, as the network
should draw them, in the space of their own classifier.

    python -m recipes.references emoji --out seeds/data/emoji.npz
    python -m recipes.references icons --out recipes/data/icons.npz

A network is asked for every class equally often, so the classes weigh alike here, though they hold 200 to 9,069
drawings. A drawing that training mirrors stands half as it is and half mirrored.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipes import emoji, icons, train_icon_features
from recipes.training import Data
from seeds import checkpoints
from seeds.metrics.features import from_module
from seeds.metrics.references import Statistics, save_statistics


class Drawings(NamedTuple):
    """Data by split, their classifier, its name, what of an image it takes, and the file that the data are in."""

    read: Callable[[str], Data]
    features: str | Path
    name: str
    channels: str
    file: str


KNOWN = {
    "emoji": Drawings(emoji.read, "emoji-features", "emoji-features", "rgb", "recipes/data/emoji32.npz"),
    "icons": Drawings(icons.read, train_icon_features.KEPT, "icon-features", "grey", "recipes/data/icons32.npz"),
}


def weighted(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """(images (M, H, W, C) uint8, mirrored copies among them; weights (M,) that add to one, and to as much in every
    class)."""
    images, labels, flips = data
    flips = np.zeros(len(labels), bool) if flips is None else flips
    shown = np.concatenate([images, images[flips, ..., ::-1]]).transpose(0, 2, 3, 1)
    counts = np.bincount(labels)
    weights = np.where(flips, 0.5, 1.0) / counts[labels] / len(counts)
    return shown, np.concatenate([weights, weights[flips]])


def in_turn(data: Data, count: int) -> np.ndarray:
    """uint8 (count, H, W, C): drawings of the classes in turn, of each class every one before any comes again; half of
    those that training mirrors are mirrored."""
    images, labels, flips = data
    classes = labels.max() + 1
    rng, asked = np.random.default_rng(0), np.arange(count) % classes
    chosen = np.empty(count, np.int64)
    for label in range(classes):
        mine = asked == label
        chosen[mine] = np.resize(rng.permutation(np.flatnonzero(labels == label)), mine.sum())
    shown = images[chosen].transpose(0, 2, 3, 1)
    mirrored = (False if flips is None else flips[chosen]) & (rng.random(count) < 0.5)
    return np.where(mirrored[:, None, None, None], shown[:, :, ::-1], shown)


def statistics(drawings: Drawings, split: str = "train") -> Statistics:
    """Of a split of the drawings, in the space of their classifier; `n` counts the drawings."""
    extractor, data = (
        from_module(checkpoints.load(drawings.features), drawings.name, channels=drawings.channels),
        drawings.read(split),
    )
    images, weights = weighted(data)
    features = np.concatenate([extractor(images[at : at + 500]) for at in range(0, len(images), 500)]).astype(
        np.float64
    )
    mu = weights @ features
    spread = features - mu
    covariance = spread.T @ (weights[:, None] * spread)
    return Statistics(mu, covariance, len(data.labels), extractor.recipe, "float32", f"{drawings.file}, {split}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drawings", choices=list(KNOWN))
    parser.add_argument("--out", type=Path, required=True, help="the npz to write")
    args = parser.parse_args()
    save_statistics(args.out, statistics(KNOWN[args.drawings]))


if __name__ == "__main__":
    main()
