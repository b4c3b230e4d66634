"""A network of your own: say what it outputs, on which schedule and with which time; every solver then runs it.

python examples/own_network.py
"""

import torch

import seeds

table = seeds.Discrete.linear()  # the 1,000 levels of DDPM, as an example


def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Put yours here. This one knows the noise in x at step t exactly, for data that are N(0, 0.5^2)."""
    a2 = torch.tensor(table.alphas_cumprod, dtype=x.dtype)[t.long()][:, None, None, None]
    return x * (1 - a2).sqrt() / (0.25 * a2 + 1 - a2)


denoiser = seeds.wrap(network, output="noise", schedule=table, shape=(1, 8, 8))
images = seeds.sample(denoiser, (1, 8, 8), seed=range(256), nfe=20)
print(f"{len(images)} images, standard deviation {images.std():.3f} (of the data: 0.5)")
