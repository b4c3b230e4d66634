"""The evidence of the default's rule: what each of its choices is worth, changed alone, in several distances.

    python -m benchmarks.rule mixture --out docs/data/rule-mixture.json --nfe 4 5 6 10 20 --images 2000
    python -m benchmarks.rule unet --out docs/data/rule-unet.json --nfe 4 5 6 10 20 --images 1000
    python -m benchmarks.rule emoji --out docs/data/rule-emoji.json --nfe 5 10 20 --images 1000
    python -m benchmarks.rule small-learned --out docs/data/rule-small-learned.json --images 6000

`mixture` is exact (aim "accuracy"), `unet` and `emoji` learned (aim "law"), `small` a law in 32 dimensions, `plane` one
in two, `small-learned` and `plane-learned` networks trained on their samples: 1 to 20 minutes of one core each. Every
run has the same seeds. `difference` is that of the squared Frechet distance in features to the rule's, with its
jackknife error over pairs of units; all distances but it are of all images. A killed run goes on where it was. Prints a
table.
"""

import argparse
import functools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import seeds
from benchmarks import small
from benchmarks.fashion_by_class import exact
from benchmarks.quality import moments
from seeds import auto, checkpoints
from seeds.auto import Setting, below
from seeds.images import to_uint8
from seeds.metrics.frechet import frechet_distance
from seeds.metrics.references import bundled_statistics, load_statistics
from seeds.plans import CLEAN, Plan
from seeds.storage import replacing
from seeds.tuning import tuned

UNITS = 10
KEPT = "out/small-{}.pt"
NEAR = 48
"""Principal directions of the pixels in which the Frechet distance is taken; in the others, standard deviations."""
Measure = Callable[[Tensor], dict[str, Any]]


def plan(chosen: Setting, nfe: int) -> Plan:
    """The plan of a setting of the rule."""
    ends = {"nsr_max": chosen.nsr_max, "nsr_min": chosen.nsr_min, **chosen.shaping}
    kept = {"eta": chosen.eta or None, "start_at": chosen.start_at, **chosen.options({})}
    return seeds.plan(auto.METHOD, nfe=nfe, schedule="edm", grid=auto.GRID, **ends, **kept)


def changes(chosen: Setting) -> dict[str, Setting]:
    """The rule's setting, and each single change away from it."""
    found = {
        "the rule": chosen,
        "start at zero": replace(chosen, start_at="zero"),
        "first level doubled": replace(chosen, nsr_max=2 * chosen.nsr_max),
        "first level halved": replace(chosen, nsr_max=chosen.nsr_max / 2),
        "last call at twice the level": replace(chosen, nsr_min=2 * chosen.nsr_min),
        "last call at half the level": replace(chosen, nsr_min=chosen.nsr_min / 2),
        "steps growing, 0.6 to 1.5": replace(chosen, shape=(0.6, 1.0, 1.5)),
        **(
            {"steps 0.8 to 1.2": replace(chosen, shape=(0.8, 1.0, 1.2))}
            if chosen.shape == (1, 1, 1)
            else {"equal steps": replace(chosen, shape=(1.0, 1.0, 1.0))}
        ),
        **{
            f"polynomials in {u}": replace(chosen, variable=u)
            for u in ("lam", "nsr^0.1", "nsr^0.2", "nsr^0.3", "nsr^0.45")
            if u != chosen.variable
        },
        "no corrector": replace(chosen, corrector=0),
    }
    other = 2 if chosen.k == 3 else 3
    found[f"{other} values, in nsr^0.3"] = replace(chosen, k=other, corrector=other, variable="nsr^0.3")
    if chosen.finish:
        found["denoise at the last call"] = replace(chosen, finish=0.0)
        found["denoise at a third of its level"] = replace(chosen, finish=0.0, nsr_min=chosen.nsr_min / 3)
    else:
        found["finish at 0.008"] = replace(chosen, finish=0.008)
    return found | {name: replace(chosen, eta=eta) for name, eta in noises(chosen).items() if eta != chosen.eta}


def noises(chosen: Setting) -> dict[str, float | tuple[tuple[float, float], ...]]:
    """Other eta: none, of other tables, and other values below nsr 0.3, or above, beside the setting's own."""
    above, low = [eta for _, eta in chosen.eta] if isinstance(chosen.eta, tuple) else (0.0, 0.0)
    found = {"no noise": 0.0, "eta 2 below 1": below(1.0, 2.0)}
    found |= {} if above == 1 else {"eta 1 at all levels": 1.0}  # that is eta 1 below 0.3, then
    found |= {f"eta {eta} below 0.3": below(0.3, float(eta), above) for eta in (1, 2, 4)}
    if above:
        found |= {"no noise above 0.3": below(0.3, low), "twice the noise above 0.3": below(0.3, low, 2 * above)}
    return found


class Pixels:
    """Distances of images from a law in pixels: of their near moments, of their fine ones, and over directions."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray, samples: np.ndarray):
        values, axes = np.linalg.eigh(covariance)
        self.mean, self.axes, self.values = mean, axes[:, ::-1], values[::-1]
        directions = np.random.default_rng(0).standard_normal((len(mean), 256))
        self.directions = directions / np.linalg.norm(directions, axis=0)
        self.sorted = np.sort(samples @ self.directions, axis=0)

    def __call__(self, flat: np.ndarray) -> dict[str, float]:
        p = (flat - self.mean) @ self.axes
        near = frechet_distance(
            p[:, :NEAR].mean(0), np.cov(p[:, :NEAR], rowvar=False), np.zeros(NEAR), np.diag(self.values[:NEAR])
        )
        fine = np.square(p[:, NEAR:].std(0) - np.sqrt(np.maximum(self.values[NEAR:], 0))).sum()
        ranks = ((np.arange(len(flat)) + 0.5) / len(flat) * len(self.sorted)).astype(int)
        sliced = np.sqrt(np.mean(np.square(np.sort(flat @ self.directions, axis=0) - self.sorted[ranks])))
        return {"Frechet, pixels": near, "fine std": float(fine), "sliced W2": float(sliced)}


class Features:
    """Squared Frechet distance in the space of a bundled classifier, of all images and without each unit."""

    def __init__(self, reference: tuple[np.ndarray, np.ndarray] | None = None, name: str = "fashion-features"):
        self.network, self.reference = checkpoints.load(name), reference

    @torch.inference_mode()
    def rows(self, images: np.ndarray) -> np.ndarray:
        """Features (N, d) of uint8 images (N, H, W, C), or (N, H, W) of one channel."""
        pixels = torch.from_numpy(images).reshape(*images.shape[:3], -1).permute(0, 3, 1, 2)
        return torch.cat([self.network(part)[0] for part in pixels.split(500)]).double().numpy()

    def __call__(self, images: np.ndarray) -> dict[str, Any]:
        rows, unit = self.rows(images), np.arange(len(images)) * UNITS // len(images)

        def distance(kept: np.ndarray) -> float:
            return frechet_distance(kept.mean(0), np.cov(kept, rowvar=False), *self.reference)

        return {"Frechet, features": distance(rows), "without": [distance(rows[unit != k]) for k in range(UNITS)]}


def mixture(images: int) -> tuple[str, Callable[[Plan], Tensor], Measure]:
    """The bundled mixture, exact; images of equally many of each class, in turn."""
    model, features = checkpoints.load("fashion-mixture"), Features()
    samples = exact(10**6, np.arange(20_000) % model.classes)
    rows = features.rows(samples)
    features.reference = rows.mean(0), np.cov(rows, rowvar=False)
    pixels = Pixels(*moments(model), samples.reshape(len(samples), -1) / 127.5 - 1)
    weights = model.weights.numpy()

    def measure(x: Tensor) -> dict[str, Any]:
        labels = torch.arange(images) % model.classes
        parts = zip(x.double().split(500), labels.split(500), strict=True)
        joint = torch.cat([model.log_joint(part, CLEAN, own) for part, own in parts])
        shares = np.bincount(joint.argmax(1).numpy(), minlength=len(weights)) / images
        modes = {
            "mode weights": float((np.square(shares - weights) / weights).sum()),
            "log-density": float(joint.logsumexp(1).mean()),
        }
        return {**features(to_uint8(x)), **pixels(x.flatten(1).double().numpy()), **modes}

    def draw(made: Plan) -> Tensor:
        return seeds.sample(
            model, model.shape, seed=range(images), plan=made, labels=torch.arange(images) % model.classes, batch=500
        )

    return "accuracy", draw, measure


def clothes() -> np.ndarray:
    """Training images of `fashion-unet`, uint8 (N, 1, H, W)."""
    from recipes import fashion

    return fashion.load("train")[0][::3]


def drawings() -> np.ndarray:
    """Training images of `emoji-unet`, uint8 (N, 3, H, W), as many of each class."""
    from recipes import emoji
    from recipes.references import in_turn

    return in_turn(emoji.read("train"), 20_000).transpose(0, 3, 1, 2)


def network(
    images: int, name: str, judge: str, known: str, training: Callable[[], np.ndarray]
) -> tuple[str, Callable[[Plan], Tensor], Measure]:
    """A bundled network, in 16 bits and compiled, against its training set: the statistics `known` of the classifier
    `judge`, and the pixels of `training`."""
    model = tuned(checkpoints.load(name), dtype="bf16", compiled=True)
    statistics = load_statistics(bundled_statistics()[known])
    features = Features((statistics.mu, statistics.sigma), judge)
    samples = training()
    flat = samples.reshape(len(samples), -1) / 127.5 - 1
    pixels = Pixels(flat.mean(0), np.cov(flat, rowvar=False), flat)
    labels = torch.arange(images) % model.classes

    def draw(made: Plan) -> Tensor:
        return seeds.sample(model, model.shape, seed=range(images), plan=made, labels=labels, batch=100)

    return "law", draw, lambda x: {**features(to_uint8(x)), **pixels(x.flatten(1).double().numpy())}


def lone(images: int, *, dim: int, network: bool) -> tuple[str, Callable[[Plan], Tensor], Measure]:
    """A mixture in few dimensions, or a small network trained on its samples."""
    truth = small.law(dim)
    model = small.learned(truth, Path(KEPT.format(dim))) if network else truth
    return (
        "law" if network else "accuracy",
        lambda made: seeds.sample(model, (dim,), seed=range(images), plan=made),
        small.Distances(truth),
    )


MODELS = {
    "mixture": mixture,
    "unet": functools.partial(
        network, name="fashion-unet", judge="fashion-features", known="fashion-mnist", training=clothes
    ),
    "emoji": functools.partial(network, name="emoji-unet", judge="emoji-features", known="emoji", training=drawings),
    "small": functools.partial(lone, dim=32, network=False),
    "small-learned": functools.partial(lone, dim=32, network=True),
    "plane": functools.partial(lone, dim=2, network=False),
    "plane-learned": functools.partial(lone, dim=2, network=True),
}


def difference(row: dict[str, Any], rule: dict[str, Any]) -> tuple[float, float]:
    """Of the Frechet distance in features to the rule's, and its jackknife error."""
    apart = np.subtract(row["without"], rule["without"])
    return row["Frechet, features"] - rule["Frechet, features"], math.sqrt(
        (UNITS - 1) / UNITS * np.square(apart - apart.mean()).sum()
    )


def report(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of all changes."""
    names = [name for name in rows[0] if name not in ("nfe", "change", "without", "setting")]
    titles = ["calls", "change", *names, *(["difference"] if "without" in rows[0] else [])]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        rule = next(r for r in rows if r["nfe"] == row["nfe"] and r["change"] == "the rule")
        line = [str(row["nfe"]), row["change"], *(f"{row[name]:.4g}" for name in names)]
        if "without" in row:
            line.append("" if row is rule else "{:+.4f} +- {:.4f}".format(*difference(row, rule)))
        lines.append(line)
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nfe", type=int, nargs="+", default=[5, 6, 10, 20])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--only", nargs="+", help="these changes alone")
    given = parser.parse_args()
    rows = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    aim, draw, measure = MODELS[given.model](given.images)
    for nfe in given.nfe:
        for change, chosen in changes(auto.setting(nfe, aim)).items():
            if any((row["nfe"], row["change"]) == (nfe, change) for row in rows) or (
                given.only and change not in ("the rule", *given.only)
            ):
                continue
            rows.append({"nfe": nfe, "change": change, "setting": vars(chosen), **measure(draw(plan(chosen, nfe)))})
            with replacing(given.out, shared=True) as part:
                part.write_text(json.dumps({"images": given.images, "aim": aim, "rows": rows}, indent=1) + "\n")
    print(report(rows))


if __name__ == "__main__":
    main()
