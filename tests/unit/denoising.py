"""What a network leaves of noise."""

import torch

from seeds import Point


def error_of(model, clean, labels, nsr):
    """Root mean square error of the answers for noisy images, against that of the noisy images themselves."""
    noisy = clean + nsr * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (model(noisy, Point(nsr, 1.0, nsr), labels=labels) - clean).square().mean().sqrt() / nsr
