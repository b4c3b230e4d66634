"""Models for the tests of this folder."""

import torch

from seeds.checkpoints import Config, build
from seeds.exact import GaussianMixture
from seeds.preconditioners import Preconditioned

SHAPE = (3, 8, 8)
SMALL = {
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": 4,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
}


def mixture() -> GaussianMixture:
    """Four classes of rank 3 and a floor: without labels near enough that no answer changes fast."""
    draw = torch.Generator().manual_seed(0)
    mean = 0.1 * torch.randn(4, *SHAPE, generator=draw, dtype=torch.float64)
    factors = 0.1 * torch.randn(4, 3, *SHAPE, generator=draw, dtype=torch.float64)
    return GaussianMixture(mean, 0.5, factors=factors, component_class=torch.arange(4))


def network(kind: str = "SongUNet", dtype: torch.dtype | None = None, **options) -> Preconditioned:
    """A small network with random weights, none of them 0, in EDM's preconditioning; computed in `dtype`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = build(Config("EDMPrecond", {**SMALL, "model_type": kind, **options})).eval().requires_grad_(False)
        for weight in denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    denoiser.dtype = dtype
    return denoiser
