"""`--model benchmarks.fashion_by_class:ByClass`: what the studies under docs/curves call fashion-mixture, and the exact
samples beside it."""

import numpy as np
import torch

from seeds import checkpoints
from seeds.exact import GaussianMixture
from seeds.images import to_uint8


def ByClass():
    return checkpoints.load("fashion-mixture")


def exact(first: int, labels: np.ndarray) -> np.ndarray:
    """uint8 (len(labels), 28, 28): exact samples of these classes, of seeds first, first + 1, ...; each drawn from its
    class' own law."""
    law = ByClass().to_tensors(torch.float64)
    images = np.empty((len(labels), *law["mean"].shape[2:]), np.uint8)
    for k in range(10):
        own = law["component_class"] == k
        model = GaussianMixture(
            law["mean"][own], law["std"][own], factors=law["factors"][own], weights=law["weights"][own]
        )
        mine = np.flatnonzero(labels == k)
        images[mine] = to_uint8(model.sample((first + mine).tolist()))[..., 0]
    return images
