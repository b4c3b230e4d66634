"""Laws of few dimensions whose truth is known, and small networks trained on samples of them: where a network errs, and
what that does to a sampler."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import seeds
from seeds.exact import GaussianMixture
from seeds.metrics.frechet import frechet_distance
from seeds.plans import CLEAN, Point

SD = 0.5


def law(dim: int, components: int = 12, seed: int = 0) -> GaussianMixture:
    """A mixture in R^dim: weights from 1 to 3, standard deviations from 0.02 to 0.3, data of about +-1."""
    rng = np.random.default_rng([seed, dim])
    weights = 1 + 2 * rng.random(components)
    mean = 0.6 * rng.standard_normal((components, dim)) + 0.3 * rng.standard_normal(dim)
    frames = np.linalg.qr(rng.standard_normal((components, dim, dim)))[0]
    std = np.exp(np.linspace(math.log(0.02), math.log(0.3), dim))
    covariance = np.einsum("kij,j,klj->kil", frames, std**2, frames)
    return GaussianMixture(mean, covariance=covariance, weights=weights, name=f"mixture in {dim} dimensions")


class Network(nn.Module):
    """F(c_in y, log nsr): three layers; `seeds.wrap`'s output "edm_raw"."""

    def __init__(self, dim: int, width: int = 192):
        super().__init__()
        self.register_buffer("frequencies", torch.linspace(0.3, 3.0, 12))
        layers: list[nn.Module] = []
        for wide in (dim + 24, width, width):
            layers += [nn.Linear(wide, width), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, dim))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angle = time.to(x)[:, None].expand(len(x), 1) * self.frequencies
        return self.layers(torch.cat([x, angle.cos(), angle.sin()], 1))


def learned(
    truth: GaussianMixture, kept: Path, *, samples: int = 20_000, steps: int = 6_000, batch: int = 512, seed: int = 0
) -> Any:
    """A denoiser trained on so many samples of the law, as EDM trains: a minute of one core, its weights kept there."""
    network = Network(math.prod(truth.shape))
    if kept.exists():
        network.load_state_dict(torch.load(kept, weights_only=True))
    else:
        network = train(network, truth, samples, steps, batch, seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), kept)
    network.eval().requires_grad_(False)
    return seeds.wrap(
        network, "edm_raw", schedule="edm", time=lambda at: -at.lam, sd=SD, shape=truth.shape, name="small network"
    )


def train(network: nn.Module, truth: GaussianMixture, samples: int, steps: int, batch: int, seed: int) -> nn.Module:
    """The moving average of its weights."""
    data = truth.sample(range(10**7, 10**7 + samples))
    torch.manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        y = data[torch.randint(len(data), (batch,))]
        nsr = torch.exp(1.6 * torch.randn(batch, 1) - 1.6)
        total = (nsr**2 + SD**2).sqrt()
        noisy = y + nsr * torch.randn_like(y)
        target = (y - SD**2 / total**2 * noisy) * total / (nsr * SD)
        loss = (network(noisy / total, nsr.log()[:, 0]) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        fall.step()
        average.update_parameters(network)
    return average.module


class Distances:
    """Distances of samples from the law, each 0 for the law itself."""

    def __init__(self, truth: GaussianMixture, many: int = 20_000):
        self.truth = truth
        self.samples = truth.sample(range(2 * 10**7, 2 * 10**7 + many)).double()
        directions = torch.randn(
            self.samples.shape[1], 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        self.directions = nn.functional.normalize(directions, dim=0)
        self.sorted = (self.samples @ self.directions).sort(0).values
        self.density = float(truth.log_density(self.samples).mean())
        self.covariance = self.samples.T.cov()

    def __call__(self, x: Tensor) -> dict[str, float]:
        x = x.double()
        ranks = ((torch.arange(len(x)) + 0.5) / len(x) * len(self.sorted)).long()
        sliced = ((x @ self.directions).sort(0).values - self.sorted[ranks]).square().mean().sqrt()
        joint = self.truth.log_joint(x, CLEAN)
        share = torch.bincount(joint.argmax(1), minlength=joint.shape[1]) / len(x)
        modes = (share - self.truth.weights).abs().sum() / 2
        mean = self.samples.mean(0).numpy()
        frechet = frechet_distance(x.mean(0).numpy(), x.T.cov().numpy(), mean, self.covariance.numpy())
        return {
            "sliced W2": float(sliced),
            "Frechet": frechet,
            "mode weights": float(modes),
            "log-density": float(joint.logsumexp(1).mean()) - self.density,
        }


def errors(network: Any, truth: GaussianMixture, nsr: list[float], count: int = 4000) -> list[float]:
    """Root mean square of D_network - D_truth in each coordinate, over nsr, at the law's own states."""
    data = truth.sample(range(3 * 10**7, 3 * 10**7 + count))
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for level in nsr:
        at = Point(level, 1.0, level)
        x = data + level * noise
        found.append(float((network(x, at) - truth(x, at)).square().mean().sqrt()) / level)
    return found
