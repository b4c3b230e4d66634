"""Trains `fashion-features`: the classifier whose features and probabilities the offline quality numbers use.

    python -m recipes.train_fashion_features --out seeds/data/fashion_features.safetensors

Cross-entropy, AdamW, one learning-rate cycle, shifts of one pixel; the saved weights are the moving average of the last steps. Every random
number is a function of the seed. bfloat16 and compilation: about three minutes of one core that has bfloat16 matrix units.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from recipes import fashion
from seeds.networks.classifier import ConvClassifier

NETWORK = {"width": 32, "classes": 10}


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """uint8 (B, 1, H, W), all shifted by the same draw of -1, 0 or 1 pixels each way (black comes in)."""
    down, right = rng.integers(0, 3, 2)
    return F.pad(images, (1, 1, 1, 1))[..., down : down + images.shape[2], right : right + images.shape[3]]


def train(
    images: Tensor, labels: Tensor, *, epochs: int, batch: int = 128, lr: float = 4e-3, seed: int = 0, compiled: bool = True
) -> ConvClassifier:
    """The trained classifier, in eval mode, with averaged weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = ConvClassifier(**NETWORK).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True)
    steps = epochs * (len(images) // batch)
    adam = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.02)
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
            adam.zero_grad()
            loss = score(shifted(images[rows], rng), labels[rows])
            loss.backward()
            adam.step()
            cycle.step()
            average.update_parameters(net)
            bar.update()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    bar.close()
    return average.module.eval()


@torch.no_grad()
def accuracy(net: ConvClassifier, images: Tensor, labels: Tensor) -> float:
    """Share of the images whose largest logit is their label's."""
    return float(np.mean([(net(x)[1].argmax(1) == y).float().mean() for x, y in zip(images.split(1000), labels.split(1000), strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--data", type=Path, default=fashion.ROOT, help="folder of the four IDX files")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train_set, test_set = ([torch.from_numpy(a.copy()) for a in fashion.load(split, args.data)] for split in ("train", "t10k"))
    begun = time.monotonic()
    net = train(*train_set, epochs=args.epochs, seed=args.seed)
    minutes = (time.monotonic() - begun) / 60
    net.half().float()  # judge what is saved
    scores = {"test_accuracy": round(accuracy(net, *test_set), 4), "train_accuracy": round(accuracy(net, *train_set), 4)}
    print(f"{minutes:.1f} minutes, {scores}")
    about = dict(
        source="Fashion-MNIST (Xiao et al. 2017), MIT licence", recipe="recipes/train_fashion_features.py", epochs=args.epochs, seed=args.seed,
        minutes=round(minutes, 1), **scores,
    )  # fmt: skip
    metadata = {"format": "1", "kind": "features", "name": "fashion-features", "kwargs": json.dumps(NETWORK), "about": json.dumps(about)}
    state = {name: t.half() if t.is_floating_point() else t for name, t in net.state_dict().items()}
    save_file({name: t.contiguous() for name, t in state.items()}, args.out, metadata)


if __name__ == "__main__":
    main()
