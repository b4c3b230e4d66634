"""A small convolutional classifier whose last features serve as the space of Frechet distances on 28 x 28 grey images."""

import itertools

import torch
from torch import Tensor, nn


class ConvClassifier(nn.Module):
    """Five 3 x 3 convolutions (the second and the fourth halve the resolution), each with batch norm and ReLU; mean over pixels; linear.

    forward(x) -> (features (B, 4 width) >= 0, logits (B, classes)). x (B, 1, H, W) is uint8, or floating point in [-1, 1], where the
    uint8 value n stands for n / 127.5 - 1: that is the whole preprocessing. Evaluated in float32. Use in eval mode.

    Attributes:
        size: (H, W) of the images it is trained on; others pass, and mean nothing.
    Raises: ValueError if x is not (B, 1, H, W).
    """

    size = (28, 28)

    def __init__(self, width: int = 32, classes: int = 10, dropout: float = 0.0):
        super().__init__()
        widths = [1, width, 2 * width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(itertools.pairwise(widths)):
            layers += [
                nn.Conv2d(before, after, 3, stride=2 if index in (1, 3) else 1, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim != 4 or x.shape[1] != 1:
            raise ValueError(f"`x` has shape {tuple(x.shape)}; the classifier takes grey images as (B, 1, H, W).")
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x.float()
        features = self.body(x).mean(dim=(2, 3))
        return features, self.head(self.drop(features))
