"""Fits the bundled `fashion-mixture`: per class of Fashion-MNIST a mixture of factor analysers, by EM."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seeds.exact import GaussianMixture

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of bytes as an array."""
    raw = gzip.decompress(path.read_bytes())
    ndim = raw[3]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(np.frombuffer(raw, ">i4", ndim, 4))


def read_split(folder: Path, split: str) -> tuple[Tensor, np.ndarray]:
    pixels = read_idx(folder / f"{split}-images-idx3-ubyte.gz").reshape(-1, 784)
    return torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1), read_idx(folder / f"{split}-labels-idx1-ubyte.gz")


def kmeans(data: Tensor, K: int, rng: np.random.Generator, rounds: int = 20) -> Tensor:
    """One-hot shares (n, K): k-means++ seeding, then Lloyd's rounds."""
    centres = data[rng.choice(len(data), K, replace=False)]
    for _ in range(0):
        gap = torch.cdist(data, centres).amin(1).square().double().numpy()
        centres = torch.cat([centres, data[[int(rng.choice(len(data), p=gap / gap.sum()))]]])
    for _ in range(rounds):
        share = torch.nn.functional.one_hot(torch.cdist(data, centres).argmin(1), K).float()
        size = share.sum(0)[:, None]
        centres = torch.where(size > 0, share.T @ data / size.clamp_min(1), centres)
    return share


def component(data: Tensor, share: Tensor, rank: int):
    """M-step of one component: mean, psi, factors (rank, d) of the weighted maximum likelihood (Tipping and Bishop 1999)."""
    keep = share >= min(1e-6, float(share.topk(2).values[-1]))
    data, share = data[keep], share[keep] / share.sum()
    mean = share @ data
    rows = share.sqrt()[:, None] * (data - mean)
    r = min(rank, len(rows) - 1)
    if len(rows) < data.shape[1]:
        value, vector = torch.linalg.eigh((rows @ rows.T).double())
        axes = (rows.T @ vector[:, -r:].float()) / value[-r:].float().clamp_min(1e-12).sqrt()
    else:
        value, vector = (t.float() for t in torch.linalg.eigh((rows.T @ rows).double()))
        axes = vector[:, -r:]
    top = value[-r:].clamp_min(0).float()
    if r < rank:
        axes = torch.cat([axes, torch.zeros(data.shape[1], rank - r)], 1)
        top = torch.cat([top, torch.zeros(rank - r)])
    psi = (rows.square().sum() - top.sum()) / (data.shape[1] - rank)
    return mean, psi, axes.T, top


def fit(data, K, rank, rng, iters=30, anneal=0, verbose=False, floor=1e-5):
    share = kmeans(data, K, rng)
    hist = []
    for it in range(iters):
        beta = 1.0 if it >= anneal else 10 ** (-2 + 2 * it / anneal)
        parts = [component(data, share[:, k], rank) for k in range(K)]
        mean, psi, axes, top = (torch.stack(p) for p in zip(*parts))
        psi = psi.clamp_min(floor)
        factors = (top - psi[:, None]).clamp_min(0).sqrt()[..., None] * axes
        w = share.sum(0) / len(data)
        m = GaussianMixture(mean, psi.sqrt(), factors=factors, weights=w.clamp_min(1e-9))
        from collections import namedtuple

        flat, law, prior = m._prepare(data, None, 1.0)
        g = prior + law.log_likelihood(flat, law.project(flat, 1.0), 1.0, 0.0)
        ll = g.logsumexp(1).double().mean().item()
        hist.append(ll)
        share = torch.softmax(beta * g, 1)
        if verbose:
            print(it, beta, ll, psi.sqrt().min().item(), psi.sqrt().max().item(), w.min().item(), flush=True)
        if it > anneal + 2 and ll - hist[-2] < 0.05:
            break
    return mean, psi, axes, top, w, hist
