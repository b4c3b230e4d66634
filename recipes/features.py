"""Trains the classifiers whose features and probabilities the offline quality numbers use: what the recipes
`train_*_features` share.

Cross-entropy, AdamW, one learning-rate cycle, shifts of one pixel, mirrored where that is as good; the saved weights
are the moving average of the last steps. Every random number is a function of the seed.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from recipes.training import Data
from seeds.networks.classifier import ConvClassifier


@dataclass(frozen=True)
class Features:
    """What a recipe trains: the model's name, the classifier's arguments, the value of the images' ground, and whose
    data it is."""

    name: str
    network: dict[str, Any]
    ground: int
    epochs: int
    source: str
    recipe: str
    dropout: float = 0.0
    weight_decay: float = 0.02


def shifted(images: Tensor, rng: np.random.Generator, ground: int = 0) -> Tensor:
    """uint8 (B, C, H, W), all shifted by the same draw of -1, 0 or 1 pixels each way; the value `ground` comes in."""
    down, right = rng.integers(0, 3, 2)
    return F.pad(images, (1, 1, 1, 1), value=ground)[
        ..., down : down + images.shape[2], right : right + images.shape[3]
    ]


def train(
    subject: Features,
    data: Data,
    *,
    epochs: int,
    batch: int = 128,
    lr: float = 4e-3,
    seed: int = 0,
    compiled: bool = True,
) -> ConvClassifier:
    """The trained classifier, in eval mode, with averaged weights."""
    images, labels, flips = data.on("cpu")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = ConvClassifier(**subject.network, dropout=subject.dropout).to(memory_format=torch.channels_last)
    keep = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=keep, use_buffers=True)
    steps = epochs * (len(images) // batch)
    adam = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=subject.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=steps, pct_start=0.2)

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(net(x)[1].float(), y)

    score = torch.compile(loss_of) if compiled else loss_of
    bar = tqdm(total=steps, unit="step", mininterval=5)
    for epoch in range(epochs):
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
        order = torch.from_numpy(rng.permutation(len(images)))
        for rows in order[: len(order) // batch * batch].split(batch):
            shown = shifted(images[rows], rng, subject.ground)
            if flips is not None:
                mirrored = flips[rows] & torch.from_numpy(rng.random(batch) < 0.5)
                shown = torch.where(mirrored.view(-1, 1, 1, 1), shown.flip(-1), shown)
            adam.zero_grad()
            loss = score(shown, labels[rows])
            loss.backward()
            adam.step()
            cycle.step()
            average.update_parameters(net)
            bar.update()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    bar.close()
    return average.module.eval()


@torch.no_grad()
def accuracy(net: ConvClassifier, data: Data) -> float:
    """Share of the images whose largest logit is their label's."""
    images, labels, _ = data.on("cpu")
    hits = [(net(x)[1].argmax(1) == y).float() for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return float(torch.cat(hits).mean())


def command(subject: Features, read: Callable[[str, Path], Data], root: Path, doc: str | None) -> None:
    """A recipe's command line.

    Args:
        read: the split "train" or "test" of the data in the file or folder `--data`, by default `root`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--data", type=Path, default=root, help="where the images are; %(default)s unless given")
    parser.add_argument("--epochs", type=int, default=subject.epochs)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sets = {split: read(split, args.data) for split in ("test", "train")}
    begun = time.monotonic()
    net = train(subject, sets["train"], epochs=args.epochs, seed=args.seed)
    minutes = (time.monotonic() - begun) / 60
    net.half().float()  # judge what is saved
    scores = {f"{split}_accuracy": round(accuracy(net, data), 4) for split, data in sets.items()}
    print(f"{minutes:.1f} minutes, {scores}")
    about = {
        "source": subject.source,
        "recipe": subject.recipe,
        "epochs": args.epochs,
        "seed": args.seed,
        "minutes": round(minutes, 1),
    } | scores
    metadata = {
        "format": "1",
        "kind": "features",
        "name": subject.name,
        "kwargs": json.dumps(subject.network),
        "about": json.dumps(about),
    }
    state = {name: t.half() if t.is_floating_point() else t for name, t in net.state_dict().items()}
    save_file({name: t.contiguous() for name, t in state.items()}, args.out, metadata)
