"""Quality of a bundled network: Frechet distance, copies, guidance, speed. One JSON object on stdout, pictures under
--out.

What `benchmarks.fashion_unet` and `benchmarks.emoji_unet` share. Classes go round: seed k draws class k mod `classes`.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import seeds
from seeds import checkpoints
from seeds.metrics.frechet import frechet_distance
from seeds.tuning import tuned

BATCH = 250


Gaussian = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Bench:
    """What a network is measured against.

    Attributes:
        model, features: names of the network and of the classifier.
        training, test: images (N, C, H, W) uint8.
        reference, unseen: mean and covariance of the features of both, as the network should draw them.
        exact: name of an exact model of the same images, or "".
    """

    model: str
    features: str
    training: np.ndarray
    test: np.ndarray
    reference: Callable[[], Gaussian]
    unseen: Callable[[], Gaussian]
    exact: str = ""


def draw(denoiser: Any, num: int, solver: str, nfe: int, labels: Tensor | None = None) -> np.ndarray:
    """uint8 (num, C, H, W): seeds 0..num-1 with at most `nfe` model calls each, the final denoise included."""
    labels = torch.arange(num) % denoiser.classes if labels is None else labels
    x = seeds.sample(
        denoiser, denoiser.shape, seed=range(num), batch=BATCH, solver=solver, nfe=nfe, labels=labels, progress=True
    )
    return to_uint8(x)


def to_uint8(x: Tensor) -> np.ndarray:
    return (x * 127.5 + 128).clamp(0, 255).to(torch.uint8).cpu().numpy()


@torch.no_grad()
def judged(images: np.ndarray, features: str) -> tuple[np.ndarray, np.ndarray]:
    """(features, classes) by the classifier of that name."""
    net = checkpoints.load(features)
    out = [net(batch) for batch in torch.from_numpy(images.copy()).split(1000)]
    return torch.cat([rows for rows, _ in out]).numpy(), torch.cat([logits.argmax(1) for _, logits in out]).numpy()


def gaussian(features: np.ndarray) -> Gaussian:
    """Mean and covariance of features (N, d)."""
    return features.astype(np.float64).mean(0), np.cov(features.astype(np.float64), rowvar=False)


def nearest(images: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square pixel distance (0 to 2) to the nearest training image, and which one that is."""
    rows, base = (torch.from_numpy(a.reshape(len(a), -1).astype(np.float32) / 127.5) for a in (images, training))
    squares = base.square().sum(1)
    found = [(squares - 2 * part @ base.T).min(1) for part in rows.split(100)]
    gaps = torch.cat([f.values for f in found]) + rows.square().sum(1)
    return (gaps.clamp_min(0) / rows.shape[1]).sqrt().numpy(), torch.cat([f.indices for f in found]).numpy()


def grid(images: Iterable[np.ndarray], columns: int, path: Path, zoom: int = 2) -> None:
    """Saves (C, H, W) images as one picture, row by row."""
    tiles = np.stack([image[0] if len(image) == 1 else image.transpose(1, 2, 0) for image in images])
    rows, (h, w, *colours) = len(tiles) // columns, tiles.shape[1:]
    picture = (
        tiles[: rows * columns]
        .reshape(rows, columns, h, w, *colours)
        .swapaxes(1, 2)
        .reshape(rows * h, columns * w, *colours)
    )
    Image.fromarray(picture).resize((columns * w * zoom, rows * h * zoom), Image.Resampling.NEAREST).save(path)


def quality(bench: Bench, denoiser: Any, num: int, nfe: int, solvers: list[str], out: Path) -> dict[str, Any]:
    """Frechet distances to the training set, accuracy on the asked class, and a picture, of each solver's images."""
    reference, judgement = bench.reference(), {}
    some = np.random.default_rng(0).permutation(len(bench.test))[:num]
    as_many = gaussian(judged(bench.test[some], bench.features)[0])
    judgement["test set"] = {"images": len(bench.test), "frechet": frechet_distance(*bench.unseen(), *reference)}
    judgement["test set, as many"] = {"images": len(some), "frechet": frechet_distance(*as_many, *reference)}
    makers: dict[str, Callable[[], np.ndarray]] = {s: lambda s=s: draw(denoiser, num, s, nfe) for s in solvers}  # type: ignore[misc]
    asked, columns = torch.arange(num) % denoiser.classes, denoiser.classes
    if bench.exact in checkpoints.bundled():
        mixture = checkpoints.load(bench.exact)
        makers[f"{bench.exact}, exact"] = lambda: to_uint8(
            mixture.sample(range(num), asked).reshape(num, *denoiser.shape)
        )
    for name, make in makers.items():
        begun = time.monotonic()
        images = make()
        seconds = time.monotonic() - begun
        features, classes = judged(images, bench.features)
        hits, far = float((classes == asked.numpy()).mean()), frechet_distance(*gaussian(features), *reference)
        judgement[name] = {"images": num, "frechet": far, "asked_class": hits, "seconds": round(seconds, 1)}
        grid(images[: 10 * columns], columns, out / f"{name.split(',')[0]}.png")
        np.savez_compressed(out / f"{name.split(',')[0]}.npz", images=images)
    return judgement


def copies(images: np.ndarray, training: np.ndarray, test: np.ndarray, out: Path) -> dict[str, Any]:
    """Distances of 1,000 images to their nearest training images, beside those of 1,000 test images; a picture of the
    ten closest pairs."""
    gaps, which = nearest(images[:1000], training)
    test_gaps, _ = nearest(test[:1000], training)
    close = np.argsort(gaps)[:10]
    grid([*images[close], *training[which[close]]], 10, out / "nearest.png", zoom=3)
    ends = (0, 1, 50)
    return {
        "rms distance, percentiles 0, 1, 50": np.percentile(gaps, ends).round(4).tolist(),
        "the same of test images": np.percentile(test_gaps, ends).round(4).tolist(),
    }


def guidance(bench: Bench, denoiser: Any, num: int, solver: str, nfe: int, out: Path) -> dict[str, float]:
    """Share of images that the classifier puts in the asked class, by guidance scale; one picture, a block of two rows
    per scale."""
    shares, shown = {}, []
    for scale in (1.0, 2.0, 4.0):
        images = draw(seeds.guide(denoiser, scale), num, solver, nfe)
        shares[str(scale)] = float((judged(images, bench.features)[1] == np.arange(num) % denoiser.classes).mean())
        shown += list(images[: 2 * denoiser.classes])
    grid(shown, denoiser.classes, out / "guidance.png")
    return shares


def command(read: Callable[[Path], Bench], root: Path, doc: str | None) -> None:
    """A benchmark's command line.

    Args:
        read: what the network is measured against, from the file or folder `--data`, by default `root`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", help="bundled name or safetensors file; by default the network that the benchmark is named after"
    )
    parser.add_argument("--data", type=Path, default=root, help="where the images are; %(default)s unless given")
    parser.add_argument("--out", type=Path, help="folder of the pictures; by default out/ and the network's name")
    parser.add_argument("--num", type=int, default=5000)
    parser.add_argument("--nfe", type=int, default=40)
    parser.add_argument("--solvers", default="seeds-3,erk-3", help="the first one also serves copies and guidance")
    parser.add_argument("--guided", type=int, default=500, help="images per guidance scale")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="what draws; a GPU if there is one"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the network: several times faster, same images to rounding",
    )
    parser.add_argument("--dtype", choices=("bf16", "fp16"), help="of the network's image path; its own unless given")
    args = parser.parse_args()
    bench = read(args.data)
    model, out = args.model or bench.model, args.out or Path("out") / bench.model
    out.mkdir(parents=True, exist_ok=True)
    denoiser = tuned(checkpoints.load(model).to(args.device), dtype=args.dtype, compiled=args.compile)
    solvers = args.solvers.split(",")
    report: dict[str, Any] = {
        "model": model, "nfe": args.nfe, "dtype": args.dtype or "its own", "threads": torch.get_num_threads()
    }  # fmt: skip
    report["quality"] = quality(bench, denoiser, args.num, args.nfe, solvers, out)
    with np.load(out / f"{solvers[0]}.npz") as file:
        report["copies"] = copies(file["images"], bench.training, bench.test, out)
    if args.guided:
        report["guidance"] = guidance(bench, denoiser, args.guided, solvers[0], args.nfe, out)
    print(json.dumps(report, indent=2))
