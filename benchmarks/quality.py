"""How many model calls a solver needs for the same distance, on a model whose truth is known: the bundled
fashion-mixture.

    python benchmarks/quality.py --out docs/quality            # 20 minutes on one core; a killed study goes on where it
                                                               was
    python benchmarks/quality.py --out /tmp/q --images 500 --nfe 12 24

For each solver, grid and number of model calls (the final denoise included) it draws the same seeds, every class
equally often, and measures, in pixel space,

    Frechet distance  |m - m0|^2 + tr(C + C0 - 2 (C C0)^(1/2)), m0 and C0 the exact moments of the mixture
    sliced W2         root mean square over 512 directions of the W2 distance to the mixture, held as 20,000 exact
                      samples

The floor of each is what as many exact samples have. The denoiser is exact, so everything above the floor is the
solver's. Writes OUT.json and OUT.png.
"""

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import seeds
from seeds import checkpoints
from seeds.metrics.frechet import frechet_distance
from seeds.report.comparison import needed

SOLVERS = {
    "euler-maruyama": ("euler-maruyama", {}, 1),
    "seeds-1": ("seeds-1", {}, 1),
    "seeds-2 (2a)": ("seeds-2", {"variant": "2a"}, 2),
    "seeds-2 (2b)": ("seeds-2", {"variant": "2b"}, 2),
    "seeds-3": ("seeds-3", {}, 3),
}
GRIDS = ("karras", "uniform_lam")
CALLS = (7, 10, 16, 22, 31, 43, 61, 85, 121)
DIRECTIONS = 512
MANY = 20_000


def moments(model) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and covariance of the mixture."""
    law = model.to_tensors(torch.float64)
    weight, mean, factors = law["weights"], law["mean"].flatten(1), law["factors"].flatten(2)
    first = weight @ mean
    spread = sum(
        w * (f.T @ f + s**2 * torch.eye(len(first)) + torch.outer(m, m))
        for w, f, s, m in zip(weight, factors, law["std"], mean, strict=True)
    )
    return first.numpy(), (spread - torch.outer(first, first)).numpy()


class Yardstick:
    """Distances of a set of images from the mixture."""

    def __init__(self, model):
        self.mean, self.covariance = moments(model)
        rng = np.random.default_rng(0)
        self.directions = rng.standard_normal((len(self.mean), DIRECTIONS))
        self.directions /= np.linalg.norm(self.directions, axis=0)
        self.truth = np.sort(self._project(exact(model, range(10**6, 10**6 + MANY))), axis=0)

    def _project(self, images: torch.Tensor) -> np.ndarray:
        return images.flatten(1).double().numpy() @ self.directions

    def __call__(self, images: torch.Tensor) -> dict[str, float]:
        flat = images.flatten(1).double().numpy()
        frechet = frechet_distance(flat.mean(0), np.cov(flat, rowvar=False), self.mean, self.covariance)
        ranks = (np.arange(len(flat)) + 0.5) / len(flat)
        truth = self.truth[np.minimum((ranks * MANY).astype(int), MANY - 1)]
        sliced = math.sqrt(float(np.mean((np.sort(self._project(images), axis=0) - truth) ** 2)))
        return {"frechet": float(frechet), "sliced_w2": sliced}


def labels(model, count: int) -> torch.Tensor:
    """The classes in turns."""
    return torch.arange(count) % model.classes


def exact(model, seed: range) -> torch.Tensor:
    return torch.cat(
        [
            model.sample(part, labels(model, len(part)))
            for part in (seed[at : at + 1000] for at in range(0, len(seed), 1000))
        ]
    )


def draw(model, name: str, grid: str, calls: int, count: int, batch: int) -> tuple[int, torch.Tensor]:
    """The NFE really made, and the images: seed i is of class i mod 10."""
    solver, options, per_step = SOLVERS[name]
    plan = seeds.plan(solver, steps=max(1, (calls - 1) // per_step), schedule="edm", grid=grid, **options)
    return plan.nfe, seeds.sample(
        model, model.shape, seed=range(count), plan=plan, labels=labels(model, count), batch=batch
    )


def calls_for(curve: list[dict], key: str, level: float) -> float | None:
    """Model calls at which a curve meets a level; its first point's if it begins below, None if it never does."""
    calls = needed([(row["nfe"], row[key]) for row in curve], level)
    return min(row["nfe"] for row in curve) if calls == -math.inf else None if math.isnan(calls) else calls


def speed_up(rows: list[dict], floor: dict) -> list[dict]:
    """For levels of excess over the floor: calls that each solver needs, and those of Euler-Maruyama over its."""
    table = []
    for key in ("frechet", "sliced_w2"):
        for grid in GRIDS:
            for excess in (1.0, 0.5, 0.2, 0.1):
                level = floor[key] * (1 + excess)
                calls = {
                    name: calls_for([r for r in rows if r["solver"] == name and r["grid"] == grid], key, level)
                    for name in SOLVERS
                }
                table.append({"distance": key, "grid": grid, "level": level, "over_floor": excess, "calls": calls})
    return table


def picture(rows: list[dict], floor: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    titles = {"frechet": "Frechet distance", "sliced_w2": "sliced W2"}
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharex=True, sharey="row", layout="constrained")
    for line, key in zip(axes, titles, strict=True):
        for axis, grid in zip(line, GRIDS, strict=True):
            for name in SOLVERS:
                curve = sorted((r["nfe"], r[key]) for r in rows if r["solver"] == name and r["grid"] == grid)
                if not curve:
                    continue
                axis.plot(*zip(*curve, strict=True), marker="o", markersize=3, label=name)
            axis.axhline(floor[key], color="gray", linestyle=":", label="exact samples")
            axis.set(
                xscale="log",
                yscale="log",
                ylim=(0.8 * floor[key], 60 * floor[key]),
                xlabel="model calls (NFE)",
                ylabel=titles[key],
                title=f"{grid} grid",
            )
            axis.grid(alpha=0.3, which="both")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.png are written")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--nfe", type=int, nargs="+", default=CALLS)
    parser.add_argument("--grids", nargs="+", default=GRIDS, choices=GRIDS)
    given = parser.parse_args()
    model = checkpoints.load("fashion-mixture")
    measure = Yardstick(model)
    store = given.out.with_suffix(".json")
    setting = {
        "images": given.images,
        "batch": given.batch,
        "directions": DIRECTIONS,
        "truth": MANY,
        "version": seeds.__version__,
    }
    held = json.loads(store.read_text()) if store.exists() else {}
    rows = held.get("rows", []) if held.get("setting") == setting else []
    floor = held.get("floor") if rows else None
    floor = floor or measure(exact(model, range(2 * 10**6, 2 * 10**6 + given.images)))
    todo = [(name, grid, calls) for calls in given.nfe for grid in given.grids for name in SOLVERS]
    for name, grid, calls in tqdm(todo, unit="run"):
        if any((r["solver"], r["grid"], r["asked"]) == (name, grid, calls) for r in rows):
            continue
        nfe, images = draw(model, name, grid, calls, given.images, given.batch)
        rows.append({"solver": name, "grid": grid, "asked": calls, "nfe": nfe, **measure(images)})
        part = store.with_suffix(".part")
        part.write_text(
            json.dumps({"setting": setting, "floor": floor, "rows": rows, "needed": speed_up(rows, floor)}, indent=1)
            + "\n"
        )
        os.replace(part, store)
    picture(rows, floor, given.out.with_suffix(".png"))
    print(store.read_text())


if __name__ == "__main__":
    main()
