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

from recipes import emoji, icons
from recipes.training import Data
from seeds import checkpoints
from seeds.metrics.features import from_module
from seeds.metrics.references import Statistics, save_statistics


class Drawings(NamedTuple):
    """Data by split, the file that they are in, and their classifier: a bundled name, or a file."""

    read: Callable[[str], Data]
    file: Path
    judge: str | Path


KNOWN = {
    "emoji": Drawings(emoji.read, emoji.ROOT, "emoji-features"),
    "icons": Drawings(icons.read, icons.ROOT, icons.JUDGE),
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
    data = drawings.read(split)
    judge, name = checkpoints.load(drawings.judge), checkpoints.info(drawings.judge)["name"]
    extractor = from_module(judge, name, channels="rgb" if judge.channels == 3 else "grey")
    images, weights = weighted(data)
    features = np.concatenate([extractor(images[at : at + 500]) for at in range(0, len(images), 500)]).astype(
        np.float64
    )
    mu = weights @ features
    spread = features - mu
    covariance = spread.T @ (weights[:, None] * spread)
    source = f"recipes/data/{drawings.file.name}, {split}"
    return Statistics(mu, covariance, len(data.labels), extractor.recipe, "float32", source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drawings", choices=list(KNOWN))
    parser.add_argument("--out", type=Path, required=True, help="the npz to write")
    args = parser.parse_args()
    save_statistics(args.out, statistics(KNOWN[args.drawings]))


if __name__ == "__main__":
    main()
