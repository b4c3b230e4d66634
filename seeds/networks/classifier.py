"""A small convolutional classifier whose last features serve as the space of Frechet distances on small images."""

import itertools

import torch
from torch import Tensor, nn

from seeds.errors import InputError


class ConvClassifier(nn.Module):
    """Five 3 x 3 convolutions (the second and the fourth halve the resolution), each with batch norm and ReLU; mean
    over pixels; linear.

    forward(x) -> (features (B, 4 width) >= 0, logits (B, classes)). x (B, channels, H, W) is uint8, or floating point
    in [-1, 1], where
    the uint8 value n stands for n / 127.5 - 1: that is the whole preprocessing. Evaluated in float32. Use in eval mode.

    Attributes:
        size: (H, W) of the images it is trained on; others pass, and mean nothing.
        channels: of the images: 1, grey, or 3, RGB.
    Raises: ValueError if x is not (B, channels, H, W).
    """

    def __init__(self, width: int = 32, classes: int = 10, dropout: float = 0.0, channels: int = 1, size: int = 28):
        super().__init__()
        self.size, self.channels = (size, size), channels
        widths = [channels, width, 2 * width, 2 * width, 4 * width, 4 * width]
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
        if x.ndim != 4 or x.shape[1] != self.channels:
            kind = "grey" if self.channels == 1 else "colour"
            raise InputError(
                f"`x` has shape {tuple(x.shape)}; the classifier takes {kind} images as (B, {self.channels}, H, W)."
            )
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x.float()
        features = self.body(x).mean(dim=(2, 3))
        return features, self.head(self.drop(features))
