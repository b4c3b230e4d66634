"""Quality against model calls on the bundled models: the studies under docs/curves.

    python -m benchmarks.curves STUDY --out docs/curves/STUDY          # of the network: --dtype bf16 --compile too
    seeds bench show docs/curves/family-mixture docs/curves/auto-mixture      # two as one

| study | images a point | calls | hours of a core |
|---|---|---|---|
| mixture: SEEDS, their limits, EDM's | 10,000 | 5 to 300 | 3 |
| family-mixture: every rival, by its own settings | 10,000 | 5 to 50 | 2 |
| family-mixture-100: some of them | 10,000 | 100 | 1/4 |
| more-mixture: three rivals that family-mixture has not | 10,000 | 5 to 50 | 1/10 |
| mean-mixture: ten rivals with the default's start and grid | 10,000 | 6, 10, 20 | 1/4 |
| ends-mixture: where ODE solvers end, and from the mean | 10,000 | 20, 80 | 1/10 |
| auto-mixture: the default | 10,000 | 5 to 50 | 1/4 |
| unet: SEEDS, their limits, EDM's | 2,000 | 5 to 80 | 2 |
| family-unet: the ten best, SEEDS and Euler-Maruyama | 2,000 | 5 to 80 | 1 1/2 |
| auto-unet: the default | 2,000 | 5 to 80 | 1/4 |
| best-unet: the default and the two best | 5,000 | 6, 10, 20 | 1/4 |
| seeds-unet: SEEDS-3 where the default's few calls are compared with it | 5,000 | 30, 80 | 1/5 |
| emoji: the default, SEEDS-3 and seven rivals on emoji-unet | 2,000 | 5 to 40 | 3/4 |
| best-emoji: the default and the three best at 40 | 5,000 | 10, 20, 40 | 3/4 |
| icons: as emoji, on icon-unet, on which nothing is chosen | 2,000 | 5 to 40 | 1/2 |

Each makes its baselines under --work and calls `seeds curves --resume`: a killed study goes on where it was, and
torchrun shares it among processes (torchrun --nproc_per_node=2 -m benchmarks.curves ...).

`mixture` measures the solver alone: the reference is 60,000 exact samples of the model, its denoiser is exact, and what
10,000 other exact samples have is the floor. The classes of all of them are those of a row's seeds, so that their
shares are no part of the distance. `unet` measures
what a user sees: the reference is Fashion-MNIST's training set. `emoji` and `icons` do so with drawings, whose classes
weigh alike. The default's rule is chosen on fashion-unet and emoji-unet; icon-unet examines it.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fashion_by_class import exact
from recipes.training import Data
from seeds.cli import main as seeds_command
from seeds.noise import uniform_labels
from seeds.storage import replacing

CHURN = "rk-2 S_churn=40 S_min=0.05 S_max=50 s_noise=1.003"  # EDM's for ImageNet-64
LINES = {
    "mixture": (
        "seeds-1",
        "seeds-2",
        "seeds-2 variant=2b",
        "seeds-3",
        "erk-1",
        "erk-2",
        "erk-3",
        "erk-4",
        "rk-2",
        CHURN,
        "euler-maruyama",
    ),
    "unet": ("seeds-1", "seeds-3", "erk-3", "rk-2", CHURN, "euler-maruyama"),
    "family-mixture": (
        *("seeds-1", "seeds-2 variant=2b", "seeds-3", "erk-3", "rk-2", "euler-maruyama"),
        *("er-sde-1", "er-sde-2", "er-sde-3", "sa-solver", "sa-solver k=2 corrector=2", "edm-stochastic", "restart"),
        *(
            "dpmpp-2m",
            "dpmpp-2m grid=karras",
            "dpmpp-2m lower_order_final=true",
            "dpmpp-3m",
            "dpmpp-2s",
            "dpmpp-2s-ancestral",
        ),
        *("dpmpp-sde", "dpmpp-2m-sde", "dpmpp-2m-sde measure=exact", "dpmpp-3m-sde", "dpm-solver-2", "dpm-solver-3"),
        *(
            "deis-tab1",
            "deis-tab2",
            "deis-tab3",
            "ipndm k=2",
            "ipndm k=3",
            "ipndm",
            "ipndm-v",
            "gradient-estimation",
            "pfdiff",
            "ddim",
        ),
        *("res-2m", "res-3m", "unipc", "unipc k=2", "unipc lower_order_final=true", "tcd"),
    ),
    "family-mixture-100": (
        "seeds-3",
        "er-sde-3",
        "sa-solver",
        "dpmpp-2m-sde",
        "unipc",
        "ipndm",
        "edm-stochastic",
        "euler-maruyama",
    ),
    "more-mixture": ("dpm-2-ancestral", "unipc measure=bh1", "lcm"),
    # ten rivals with what the default has: equal steps in lam, the start at the mean, an end for few calls
    "mean-mixture": tuple(
        f"{solver} grid=uniform_lam start_at=mean nsr_max=30 nsr_min={end}"
        for end in (0.03, 0.01)
        for solver in (
            *("seeds-3", "erk-3", "er-sde-3", "sa-solver", "dpmpp-2m", "dpmpp-2m-sde", "dpmpp-3m-sde"),
            *("unipc", "deis-tab3", "ipndm"),
        )
    ),
    "ends-mixture": ("erk-3", "erk-3 start_at=mean", "rk-2", "rk-2 start_at=mean"),
    "auto-mixture": ("auto", "auto aim=accuracy"),
    "auto-unet": ("auto", "auto aim=accuracy"),
    "best-unet": ("auto", "dpmpp-2m-sde", "seeds-3"),
    "best-emoji": ("auto", "dpmpp-2m-sde", "dpmpp-3m-sde", "edm-stochastic"),
    "seeds-unet": ("seeds-3",),
    **dict.fromkeys(
        ("emoji", "icons"),
        (
            *("auto", "seeds-3", "dpmpp-2m-sde", "dpmpp-2m", "er-sde-3", "deis-tab3", "unipc"),
            *("dpmpp-3m-sde", "edm-stochastic"),
        ),
    ),
    "family-unet": (
        *(
            "seeds-3",
            "er-sde-3",
            "sa-solver",
            "dpmpp-2m-sde",
            "dpmpp-3m-sde",
            "unipc",
            "ipndm",
            "dpmpp-2m",
            "deis-tab3",
            "edm-stochastic",
        ),
        *("seeds-3 grid=uniform_lam", "euler-maruyama"),
    ),
}
NFE = {
    "mixture": "5,10,20,40,80,160,300",
    "unet": "5,10,20,40,80",
    "family-mixture": "5,6,8,10,15,20,30,50",
    "family-mixture-100": "100",
    "more-mixture": "5,6,8,10,15,20,30,50",
    "family-unet": "5,6,8,10,20,40,80",
    "mean-mixture": "6,10,20",
    "ends-mixture": "20,80",
    "auto-mixture": "5,6,8,10,15,20,30,50",
    "auto-unet": "5,6,8,10,20,40,80",
    "best-unet": "6,10,20",
    "best-emoji": "10,20,40",
    "seeds-unet": "30,80",
    "emoji": "5,6,8,10,20,40",
    "icons": "5,6,8,10,20,40",
}
KEPT = Path("docs/curves/mixture/ref.npz")
IMAGES = dict.fromkeys(NFE, 10_000) | dict.fromkeys(("unet", "family-unet", "auto-unet", "emoji", "icons"), 2_000)
IMAGES |= dict.fromkeys(("best-unet", "best-emoji", "seeds-unet"), 5_000)


def mixture(work: Path) -> list[str]:
    """Arguments of the study of the mixture, whose reference and floor are made first."""
    # a row's own: other shares of the classes are a distance too
    labels = uniform_labels(range(IMAGES["mixture"]), 10).numpy()
    for name, first, times in (("truth", 10**6, 6), ("exact", 2 * 10**6, 1)):
        if not (work / f"{name}.npz").exists():
            keep(work / f"{name}.npz", exact(first, np.tile(labels, times)))
    if KEPT.exists():  # of the committed study, which goes on with no other
        shutil.copyfile(KEPT, work / "ref.npz")
    elif not (work / "ref.npz").exists():
        seeds_command(
            [
                "ref",
                "--images",
                str(work / "truth.npz"),
                "--features",
                "fashion-features",
                "--out",
                str(work / "ref.npz"),
            ]
        )
    own = ["--model", "fashion-mixture", "--ref", str(work / "ref.npz"), "--batch", "500"]
    return [*own, "--title", "fashion-mixture", "--baseline", f"10,000 exact samples={work / 'exact.npz'}"]


def keep(path: Path, images: np.ndarray) -> None:
    """Writes images that a study reads."""
    with replacing(path, shared=True) as part, part.open("wb") as file:
        np.savez(file, arr_0=images)


def unet(work: Path, count: int) -> list[str]:
    """Arguments of a study of the network; `count` test images are its baseline."""
    from recipes import fashion

    some, images = np.random.default_rng(0).permutation(10_000)[:count], work / f"test-{count}.npz"
    keep(images, fashion.load("t10k")[0][some, 0])
    return ["--model", "fashion-unet", "--batch", "100", "--baseline", f"{count:,} test images={images}"]


def emoji(work: Path, count: int) -> list[str]:
    """Arguments of the study of emoji-unet; as many drawings of subjects it has not seen, and as many of those it was
    trained on, are its baselines."""
    from recipes import emoji

    own = ["--model", "emoji-unet", "--features", "emoji-features", "--ref", "emoji", "--batch", "100"]
    splits = {"held": "drawings held out", "train": "training drawings"}
    return [*own, "--class", "0,1,2,3,4,5,6,7,8", *drawn(work, "emoji", count, emoji.read, splits)]


def icons(work: Path, count: int) -> list[str]:
    """Arguments of the study of icon-unet; as many icons that its judge has not seen, and as many of those it has, are
    its baselines."""
    from recipes import icons

    # as a record of everybody's has them
    network, judge, known = (os.path.relpath(it) for it in (icons.NETWORK, icons.JUDGE, icons.STATISTICS))
    own = ["--model", network, "--features", judge, "--ref", known, "--batch", "100"]
    own += ["--title", "icon-unet", "--class", "0,1,2,3,4,5,6"]
    splits = {"test": "icons, a tenth", "train": "icons"}
    return [*own, *drawn(work, "icons", count, icons.read, splits)]


def drawn(work: Path, name: str, count: int, read: Callable[[str], Data], splits: dict[str, str]) -> list[str]:
    """Baselines of a network of drawings: `count` of each split, whose names in words are given, classes in turn."""
    from recipes.references import in_turn

    words = []
    for split, title in splits.items():
        images = work / f"{name}-{split}-{count}.npz"
        keep(images, in_turn(read(split), count).squeeze())
        words += ["--baseline", f"{count:,} {title}={images}"]
    return words


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=list(LINES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("out/curves"), help="for reference statistics and baselines")
    parser.add_argument("--images", type=int)
    parser.add_argument("--nfe")
    arguments, more = parser.parse_known_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    work, study = arguments.work, arguments.study
    network = {"emoji": emoji, "best-emoji": emoji, "icons": icons}.get(study, unet)
    own = mixture(work) if "mixture" in study else network(work, IMAGES[study])
    lines = [word for line in LINES[study] for word in ("--line", line)]
    size = ["--seeds", f"0-{(arguments.images or IMAGES[study]) - 1}", "--nfe", arguments.nfe or NFE[study]]
    return seeds_command(["curves", "--out", str(arguments.out), *own, *lines, *size, "--resume", *more])


if __name__ == "__main__":
    sys.exit(main())
