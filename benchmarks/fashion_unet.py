"""Quality of the bundled `fashion-unet`: Frechet distance, copies, guidance, speed. One JSON object on stdout, pictures under --out.

    python -m benchmarks.fashion_unet --num 5000 --nfe 40 --out out/fashion-unet

Features and class probabilities are `fashion-features`; the reference is the training set. Classes go round: seed k draws class k mod 10.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import seeds
from recipes import fashion
from seeds import checkpoints
from seeds.metrics.frechet import frechet_distance

BATCH = 250
CALLS = {"seeds-1": 1, "seeds-2": 2, "seeds-3": 3, "erk-1": 1, "erk-2": 2, "erk-3": 3}  # model calls of a step


def draw(denoiser: Any, num: int, solver: str, nfe: int, labels: Tensor | None = None) -> np.ndarray:
    """uint8 (num, 1, 28, 28): seeds 0..num-1 with at most `nfe` model calls each, the final denoise included."""
    labels = torch.arange(num) % 10 if labels is None else labels
    x = seeds.sample(
        denoiser, (1, 28, 28), seed=range(num), batch=BATCH, solver=solver, steps=(nfe - 1) // CALLS[solver], labels=labels, progress=True
    )
    return to_uint8(x)


def to_uint8(x: Tensor) -> np.ndarray:
    return (x * 127.5 + 128).clamp(0, 255).to(torch.uint8).cpu().numpy()


@torch.no_grad()
def judged(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(features, classes) by fashion-features."""
    net = checkpoints.load("fashion-features")
    out = [net(batch) for batch in torch.from_numpy(images.copy()).split(1000)]
    return torch.cat([features for features, _ in out]).numpy(), torch.cat([logits.argmax(1) for _, logits in out]).numpy()


def distance(features: np.ndarray, reference: np.ndarray) -> float:
    gaussians = [(f.astype(np.float64).mean(0), np.cov(f.astype(np.float64), rowvar=False)) for f in (features, reference)]
    return frechet_distance(*gaussians[0], *gaussians[1])


def nearest(images: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square pixel distance (0 to 2) to the nearest training image, and which one that is."""
    rows, base = (torch.from_numpy(a.reshape(len(a), -1).astype(np.float32) / 127.5) for a in (images, training))
    squares = base.square().sum(1)
    found = [(squares - 2 * part @ base.T).min(1) for part in rows.split(100)]
    gaps = torch.cat([f.values for f in found]) + rows.square().sum(1)
    return (gaps.clamp_min(0) / rows.shape[1]).sqrt().numpy(), torch.cat([f.indices for f in found]).numpy()


def grid(images: Iterable[np.ndarray], columns: int, path: Path, zoom: int = 2) -> None:
    """Saves (1, H, W) images as one picture, row by row."""
    tiles = np.stack([image[0] for image in images])
    rows, (h, w) = len(tiles) // columns, tiles.shape[1:]
    picture = tiles[: rows * columns].reshape(rows, columns, h, w).swapaxes(1, 2).reshape(rows * h, columns * w)
    Image.fromarray(picture).resize((columns * w * zoom, rows * h * zoom), Image.Resampling.NEAREST).save(path)


def quality(denoiser: Any, num: int, nfe: int, solvers: list[str], out: Path, training: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Frechet distances to the training set, accuracy on the asked class, and a picture, of each solver's images."""
    reference, judgement = judged(training)[0], {}
    some = np.random.default_rng(0).permutation(len(test))[:num]
    judgement["test set"] = {"images": len(test), "frechet": distance(judged(test)[0], reference)}
    judgement["test set, as many"] = {"images": len(some), "frechet": distance(judged(test[some])[0], reference)}
    makers: dict[str, Callable[[], np.ndarray]] = {s: lambda s=s: draw(denoiser, num, s, nfe) for s in solvers}  # type: ignore[misc]
    if "fashion-mixture" in checkpoints.bundled():
        mixture = checkpoints.load("fashion-mixture")
        makers["fashion-mixture, exact"] = lambda: to_uint8(mixture.sample(range(num), torch.arange(num) % 10).reshape(num, 1, 28, 28))
    for name, make in makers.items():
        begun = time.monotonic()
        images = make()
        seconds = time.monotonic() - begun
        features, classes = judged(images)
        hits = float((classes == np.arange(num) % 10).mean())
        judgement[name] = {"images": num, "frechet": distance(features, reference), "asked_class": hits, "seconds": round(seconds, 1)}
        grid(images[:100], 10, out / f"{name.split(',')[0]}.png")
        np.savez_compressed(out / f"{name.split(',')[0]}.npz", images=images)
    return judgement


def copies(images: np.ndarray, training: np.ndarray, test: np.ndarray, out: Path) -> dict[str, Any]:
    """Distances of 1,000 images to their nearest training images, beside those of 1,000 test images; a picture of the ten closest pairs."""
    gaps, which = nearest(images[:1000], training)
    test_gaps, _ = nearest(test[:1000], training)
    close = np.argsort(gaps)[:10]
    grid([*images[close], *training[which[close]]], 10, out / "nearest.png", zoom=3)
    ends = (0, 1, 50)
    return {
        "rms distance, percentiles 0, 1, 50": np.percentile(gaps, ends).round(4).tolist(),
        "the same of test images": np.percentile(test_gaps, ends).round(4).tolist(),
    }


def guidance(denoiser: Any, num: int, solver: str, nfe: int, out: Path) -> dict[str, float]:
    """Share of images that the classifier puts in the asked class, by guidance scale; one picture, a block of two rows per scale."""
    shares, shown = {}, []
    for scale in (1.0, 2.0, 4.0):
        images = draw(seeds.guide(denoiser, scale), num, solver, nfe)
        shares[str(scale)] = float((judged(images)[1] == np.arange(num) % 10).mean())
        shown += list(images[:20])
    grid(shown, 10, out / "guidance.png")
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion-unet", help="bundled name or safetensors file")
    parser.add_argument("--data", type=Path, default=fashion.ROOT, help="folder of the four IDX files")
    parser.add_argument("--out", type=Path, default=Path("out/fashion-unet"))
    parser.add_argument("--num", type=int, default=5000)
    parser.add_argument("--nfe", type=int, default=40)
    parser.add_argument("--solvers", default="seeds-3,erk-3", help="the first one also serves copies and guidance")
    parser.add_argument("--guided", type=int, default=500, help="images per guidance scale")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="what draws; a GPU if there is one")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network: several times faster, same images to rounding")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    denoiser = checkpoints.load(args.model).to(args.device)
    if args.compile:
        denoiser.model.compile()
    solvers = args.solvers.split(",")
    training, test = (fashion.load(split, args.data)[0] for split in ("train", "t10k"))
    report: dict[str, Any] = {"model": args.model, "nfe": args.nfe, "threads": torch.get_num_threads()}
    report["quality"] = quality(denoiser, args.num, args.nfe, solvers, args.out, training, test)
    with np.load(args.out / f"{solvers[0]}.npz") as file:
        report["copies"] = copies(file["images"], training, test, args.out)
    if args.guided:
        report["guidance"] = guidance(denoiser, args.guided, solvers[0], args.nfe, args.out)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
