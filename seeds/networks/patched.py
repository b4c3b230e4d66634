"""Space-to-depth around a network: the network works on patches of pixels as channels, at a fraction of the resolution
and cost."""

import torch.nn.functional as F
from torch import Tensor, nn


class Patched(nn.Module):
    """Runs `network` on non-overlapping patch x patch blocks of pixels stacked as channels.

    An image (B, C, R, R) enters the network as (B, C patch^2, R / patch, R / patch); the network's output (B, K
    patch^2, ...) leaves as (B, K, R, R). The network is the only child, so its parameters are named `network.*`.
    Arguments of forward are the network's own.
    """

    def __init__(self, network: nn.Module, patch: int = 2):
        super().__init__()
        self.network, self.patch = network, patch

    def forward(
        self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        out = self.network(F.pixel_unshuffle(x, self.patch), noise_labels, class_labels, augment_labels)
        return F.pixel_shuffle(out, self.patch)
