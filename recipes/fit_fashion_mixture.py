r"""Makes seeds/data/fashion_mixture.safetensors and its card: ten classes of clothes, each a mixture of factor
analysers, fitted by EM.

    python -m recipes.fit_fashion_mixture

Per class, data ~ sum_k w_k N(mu_k, W_k W_k^T + psi_k I). K-means gives the first shares; EM follows, its shares
tempered at first so that components can still move (Ueda and Nakano 1998, "Deterministic annealing EM algorithm"); the
M-step is the closed form of Tipping and Bishop 1999, "Mixtures of probabilistic principal component analyzers": with
the eigenvalues l_j of the weighted covariance, psi is the mean of those left out and the factors have variance l_j -
psi. Of the restarts of a class the likeliest stays.

The maximum-likelihood psi shows as grain, so the model is stored with a small residual (--std) in its place and factor
variances l_j - --std^2: what the factors miss is left out, not drawn as noise. The card says what that costs in
likelihood. Pixels that are black in a whole class would have density without bound under a variance of their own; psi,
one number for all 784 pixels, never falls below --std^2.
"""

import argparse
import hashlib
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load
from torch import Tensor
from tqdm import tqdm

from recipes import fashion
from seeds.exact import GaussianMixture
from seeds.plans import CLEAN
from seeds.storage import pack

PIXELS = 28 * 28
DATA = Path(__file__).parents[1] / "seeds" / "data"
FILES = [f"{split}-{part}-ubyte.gz" for split in ("train", "t10k") for part in ("images-idx3", "labels-idx1")]


class Fit(NamedTuple):
    """K components in eigenvalues, so that the residual can be chosen afterwards."""

    mean: Tensor  # (K, 784)
    axes: Tensor  # (K, r, 784), orthonormal rows
    variance: Tensor  # (K, r), along the axes
    psi: Tensor  # (K,), of the rest
    weights: Tensor  # (K,)

    def law(
        self, std: float | None = None, component_class: Tensor | None = None, shape: tuple[int, ...] = (-1,)
    ) -> GaussianMixture:
        psi = self.psi if std is None else torch.full_like(self.psi, std**2)
        factors = (self.variance - psi[:, None]).clamp_min(0).sqrt()[..., None] * self.axes
        K, r = self.variance.shape
        return GaussianMixture(
            self.mean.reshape(K, *shape),
            psi.sqrt(),
            factors=factors.reshape(K, r, *shape),
            weights=self.weights,
            component_class=component_class,
        )


def read_split(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images (n, 784) in [-1, 1] and their classes (n,)."""
    images, labels = fashion.load(split, folder)
    return torch.from_numpy(images.reshape(-1, PIXELS) / np.float32(127.5) - 1), torch.from_numpy(labels)


def kmeans(data: Tensor, K: int, rng: np.random.Generator, least: int) -> Tensor:
    """Shares (n, K) of 0 and 1 from Lloyd's rounds, 20 or more; a cluster of under `least` images gives its centre to
    half of the largest."""
    centres = data[rng.choice(len(data), K, replace=False)]
    for i in range(200):
        share = torch.nn.functional.one_hot(torch.cdist(data, centres).argmin(1), K).to(data)
        size = share.sum(0)
        if i >= 20 and bool((size >= least).all()):
            return share
        centres = share.T @ data / size.clamp_min(1)[:, None]
        for k in torch.nonzero(size < least).flatten().tolist():
            centres[k] = torch.lerp(centres[size.argmax()], data[int(rng.integers(len(data)))], 0.1)
    raise ValueError(
        f"200 rounds of k-means leave a cluster of under {least} images. Ask for fewer --components or another --seed."
    )


def maximise(data: Tensor, share: Tensor, rank: int, floor: float) -> Fit:
    """M-step: the likeliest components, given the share (n, K) that each takes of each image."""
    parts = [component(data, column, rank) for column in share.T]
    mean, axes, variance, rest = (torch.stack(part) for part in zip(*parts, strict=True))
    return Fit(mean, axes, variance, rest.clamp_min(floor), share.mean(0))


def component(data: Tensor, share: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, leading axes, variances along them and mean variance of the rest, of images weighed by `share`."""
    used = share > 1e-6
    data, share = data[used], share[used] / share[used].sum()
    if len(data) <= rank:
        raise ValueError(
            f"A component holds {len(data)} images, too few for {rank} factors. Ask for fewer --components or another "
            "--seed."
        )
    mean = share @ data
    rows = share.sqrt()[:, None] * (data - mean)
    total = rows.square().sum()
    values, vectors = torch.linalg.eigh((rows.T @ rows).double())
    variance, axes = values[-rank:].flip(0).to(data), vectors[:, -rank:].flip(1).T.to(data)
    return mean, axes, variance, (total - variance.sum()) / (data.shape[1] - rank)


def em(data: Tensor, share: Tensor, rank: int, floor: float, anneal: int, rounds: int) -> tuple[Fit, float]:
    """EM from first shares; returns the fit and its mean log-likelihood in nats. Stops when a round gains under 0.05
    nats."""
    before = -math.inf
    for i in range(rounds):
        fit = maximise(data, share, rank, floor)
        joint, heat = fit.law().log_joint(data, CLEAN), min(1.0, 10 ** (2 * i / anneal - 2))
        now = joint.logsumexp(1).double().mean().item()
        if i > anneal and now - before < 0.05:
            break
        before, share = now, torch.softmax(heat * joint, 1)
    return fit, now


def fit_class(data: Tensor, seed: list[int], args: argparse.Namespace, bar: tqdm) -> Fit:
    """The likeliest of the restarts, components with the most weight first."""
    fits = []
    for restart in range(args.restarts):
        share = kmeans(data, args.components, np.random.default_rng([*seed, restart]), least=3 * args.rank)
        fits.append(em(data, share, args.rank, args.std**2, args.anneal, args.rounds))
        bar.update()
    best = max(fits, key=lambda pair: pair[1])[0]
    return Fit(*(part[best.weights.argsort(descending=True)] for part in best))


def merge(fits: list[Fit], sizes: Tensor) -> tuple[Fit, Tensor]:
    """All classes as one fit, weighed by their sizes, and the class of each component."""
    share = sizes / sizes.sum()
    weights = torch.cat([fit.weights * part for fit, part in zip(fits, share, strict=True)])
    joined = Fit(*(torch.cat(parts) for parts in zip(*fits, strict=True)))
    return joined._replace(weights=weights), torch.arange(len(fits)).repeat_interleave(len(fits[0].weights))


def full_gaussian(data: Tensor, floor: float) -> GaussianMixture:
    """One Gaussian with the data's whole covariance, `floor` added to each pixel's variance."""
    covariance = torch.cov(data.double().T) + floor * torch.eye(PIXELS, dtype=torch.float64)
    return GaussianMixture(data.double().mean(0)[None], covariance=covariance[None])


def nats(law: GaussianMixture, images: Tensor, labels: Tensor | None = None) -> float:
    """Mean log density of the images in float64."""
    parts = zip(
        images.double().split(500), labels.split(500) if labels is not None else [None] * len(images), strict=False
    )
    return torch.cat([law.log_density(x.reshape(-1, *law.shape), labels=y) for x, y in parts]).mean().item()


def table(rows: list[tuple[str, float]]) -> str:
    """Nats and bits per pixel: -log2 of density times the width of a grey level, 1 / 127.5."""
    bits = [math.log2(127.5) - value / PIXELS / math.log(2) for _, value in rows]
    lines = [f"| {name} | {value:,.1f} | {bit:.3f} |" for (name, value), bit in zip(rows, bits, strict=True)]
    return "\n".join(["| law | nats per image | bits per pixel |", "|---|---:|---:|", *lines])


def compare(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    fits: list[Fit],
    args: argparse.Namespace,
    law: GaussianMixture,
) -> str:
    """The table of log-likelihoods of the test images."""
    (data, classes), (images, labels), one = train, test, torch.ones(len(train[0]), 1)
    sizes = classes.bincount()
    likeliest, owner = merge(fits, sizes)
    free = likeliest.law(component_class=owner)
    single = maximise(data, one, args.rank, args.std**2)
    apart = [maximise(data[classes == k], one[: sizes[k]], args.rank, args.std**2) for k in range(len(sizes))]
    joined, each = merge(apart, sizes)
    rank, std = f"{args.rank} factors", f"residual std {args.std:g}"
    quantum = 1 / 127.5 / math.sqrt(12)
    return table(
        [
            (f"**this model** ({std})", nats(law, images)),
            (f"this model, class given ({std})", nats(law, images, labels)),
            ("this mixture, residuals of greatest likelihood", nats(free, images)),
            ("this mixture, the same, class given", nats(free, images, labels)),
            (
                f"one Gaussian per class, {rank}, residuals of greatest likelihood, class given",
                nats(joined.law(component_class=each), images, labels),
            ),
            (f"one Gaussian, {rank}, residual of greatest likelihood", nats(single.law(), images)),
            (f"one Gaussian, {rank}, {std}", nats(single.law(args.std), images)),
            (
                f"one Gaussian, full covariance, {quantum:.4f}^2 added (rounding of a grey level)",
                nats(full_gaussian(data, quantum**2), images),
            ),
        ]
    )


CARD = """# fashion-mixture

A class-conditional mixture of low-rank Gaussians (factor analysers) fitted to the 60,000 training images of Fashion-MNIST, 28 x 28, one
channel, scaled to [-1, 1]. Denoiser, density and samples are exact (`seeds.exact.GaussianMixture`), so what goes wrong when sampling it is
the solver's doing alone. {classes} classes of {components} components with {rank} factors each: x = mu + W z + {std:g} eps.

| | |
|---|---|
| Data | Fashion-MNIST, copyright 2017 Zalando SE, MIT licence; Debian package `dataset-fashion-mnist` |
| Licence of this file | MIT, as the data |
| Recipe | `{command}` |
| Size | {size:,} bytes: means and factors in fp16, the rest in float64 and int64 |
| sha256 | `{digest}` |

The numbers in the file define the model: they are widened before use, and everything is exact for them. A rerun of the recipe
gave the same law but not the same bytes: log-likelihoods within 0.1 nats, each covariance within 0.05 %.

## Log-likelihood of the 10,000 test images

{table}

Printed by the recipe. Bits per pixel count the density times the width of a grey level, without dequantisation. The residual of greatest
likelihood (std {low:.2f} to {high:.2f}, one number for each component) shows as grain; std {std:g} is {grey:.1f} grey levels and does not show. What
the {rank} factors cannot say is then left out of the pictures, and the fine texture of real images has next to no density: that is the fall of the
rows in {std:g}. A full covariance does well because border pixels hardly vary and it may use that; its samples have no outlines.

The size was chosen by eye among models of one file size, from 4 components with 90 factors to 40 with 8. Likelihood prefers few components with
many factors; their samples have more texture and more ghosts of other outlines. Many components draw clean outlines, with less variety in each.

## Classes

{names}.

## Limits

Prints, logos and fine texture are beyond {rank} factors, and rare shapes (sandals above all) come out soft at the edges. Samples leave [-1, 1] a
little; clip them for display only. A picture and a benchmark, not a model of clothes.

## Data files

{sources}
"""  # noqa: E501


def grid(law: GaussianMixture, path: Path, columns: int = 10) -> None:
    """Exact samples as a picture, one class a row."""
    labels = torch.arange(law.classes).repeat_interleave(columns)
    pixels = (law.sample(range(len(labels)), labels) * 127.5 + 128).clamp(0, 255).byte()
    rows = pixels.reshape(law.classes, columns, 28, 28).transpose(1, 2).reshape(law.classes * 28, columns * 28)
    Image.fromarray(rows.numpy()).resize((columns * 84, law.classes * 84), Image.Resampling.NEAREST).save(path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=fashion.ROOT, help="folder of the four IDX files (.gz)")
    parser.add_argument(
        "--out", type=Path, default=DATA, help="folder for fashion_mixture.safetensors and fashion_mixture.md"
    )
    parser.add_argument("--grid", type=Path, help="also write a picture of exact samples here (PNG)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--components", type=int, default=20, help="per class")
    parser.add_argument("--rank", type=int, default=17, help="factors of a component")
    parser.add_argument(
        "--std", type=float, default=0.02, help="residual standard deviation of the stored model, and its floor in EM"
    )
    parser.add_argument("--restarts", type=int, default=3, help="per class")
    parser.add_argument("--anneal", type=int, default=12, help="rounds of EM with tempered shares")
    parser.add_argument("--rounds", type=int, default=60, help="of EM, at most")
    args = parser.parse_args()
    missing = [name for name in FILES if not (args.data / name).is_file()]
    if missing:
        parser.error(
            f"{args.data} lacks {', '.join(missing)}. On Debian and Ubuntu: apt install dataset-fashion-mnist; else "
            "pass --data."
        )
    return args


def command(args: argparse.Namespace) -> str:
    names = ("seed", "components", "rank", "std", "restarts", "anneal", "rounds")
    return " ".join(["python -m recipes.fit_fashion_mixture", *(f"--{name} {getattr(args, name)}" for name in names)])


def describe(args: argparse.Namespace) -> dict[str, str]:
    """The file's metadata."""
    made = {"recipe": "recipes/fit_fashion_mixture.py", "command": command(args)}
    about = {"source": "Fashion-MNIST (Xiao et al. 2017), MIT licence", **made}
    return {"format": "1", "kind": "mixture", "name": "fashion-mixture", "about": json.dumps(about)}


def file_of(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The safetensors file; its header has spaces, as that of the bundled one."""
    return b"".join(pack(tensors, metadata, separators=(", ", ": ")))


def main() -> None:
    args = arguments()
    train, test = read_split(args.data, "train"), read_split(args.data, "t10k")
    sizes = train[1].bincount()
    with tqdm(total=len(sizes) * args.restarts, unit="fit") as bar:
        fits = [fit_class(train[0][train[1] == k], [args.seed, k], args, bar) for k in range(len(sizes))]
    fit, owner = merge(fits, sizes)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "fashion_mixture.safetensors"
    metadata = describe(args)
    path.write_bytes(stored := file_of(fit.law(args.std, owner, (1, 28, 28)).to_tensors(), metadata))
    law = GaussianMixture.from_tensors(load(stored), metadata)
    rows = compare(train, test, fits, args, law)
    psi = fit.psi.sqrt()
    card = CARD.format(
        classes=len(sizes), components=args.components, rank=args.rank, std=args.std, command=command(args),
        size=path.stat().st_size, digest=sha256(path), table=rows, low=psi.min(), high=psi.max(), grey=args.std * 127.5,
        names=", ".join(f"{k} {name}" for k, name in enumerate(fashion.CLASSES)),
        sources="\n".join(f"- `{name}` sha256 `{sha256(args.data / name)}`" for name in FILES),
    )  # fmt: skip
    path.with_suffix(".md").write_text(card)
    if args.grid:
        grid(law, args.grid)
    print(rows)


if __name__ == "__main__":
    main()
