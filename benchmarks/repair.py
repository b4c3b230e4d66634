"""Where noise repairs a network: from which number of model calls on, where in nsr, and why.

    python -m benchmarks.repair --out docs/data/repair.json --picture docs/images/repair.png

Minutes of one core; goes on where it was. Three networks: `fashion-unet` and `emoji-unet`, judged by their training
sets, and a small one whose truth is known (benchmarks/small.py), beside its exact denoiser. On each the default's rule
without noise, with its own, and with noise in one band of levels only.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import rule, small
from seeds import auto
from seeds.auto import Setting
from seeds.storage import replacing

BANDS = (0.02, 0.1, 0.3, 1.0, 3.0, 30.0)
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
CALLS = {
    "unet": (5, 10, 20),
    "emoji": (5, 10, 20),
    "small": (5, 6, 7, 8, 10, 15, 20, 40),
    "small-learned": (5, 6, 7, 8, 10, 15, 20, 40),
}
BAND_AT = {"unet": 10, "emoji": 10, "small": 20, "small-learned": 20}
SHOWN = {"unet": "Frechet, features", "emoji": "Frechet, features", "small": "Frechet", "small-learned": "Frechet"}
ETA = 2.0


def wanted(model: str) -> Iterator[tuple[int, str, Setting]]:
    """(calls, name, setting) of each run."""
    for nfe in CALLS[model]:
        chosen = auto.setting(nfe, "law")
        yield nfe, "the rule", chosen
        yield nfe, "no noise", replace(chosen, eta=0.0)
    chosen = auto.setting(BAND_AT[model], "law")
    for low, high in pairwise(BANDS):
        inside = ((-math.inf, 0.0), (-math.log(high), ETA), (-math.log(low), 0.0))
        yield BAND_AT[model], f"{low:g} to {high:g}", replace(chosen, eta=inside)


def picture(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (calls, band, error) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    titles = {
        "unet": "fashion-unet", "emoji": "emoji-unet", "small-learned": "small network", "small": "its exact denoiser"
    }  # fmt: skip
    for color, (model, title) in zip(("C0", "C3", "C1", "C2"), titles.items(), strict=True):
        rows = [row for row in found["rows"] if row["model"] == model]
        value = {(row["nfe"], row["name"]): row[SHOWN[model]] for row in rows}
        ratio = [
            (nfe, value[nfe, "the rule"] / value[nfe, "no noise"]) for nfe in CALLS[model] if (nfe, "no noise") in value
        ]
        calls.plot(*zip(*ratio, strict=True), color=color, marker="o", label=title)
        at = BAND_AT[model]
        gains = [
            (math.sqrt(low * high), value[at, f"{low:g} to {high:g}"] / value[at, "no noise"])
            for low, high in pairwise(BANDS)
            if (at, f"{low:g} to {high:g}") in value
        ]
        band.plot(*zip(*gains, strict=True), color=color, marker="o", label=f"{title}, {at} calls")
    for axis in (calls, band):
        axis.axhline(1, color="gray", linestyle=":")
        axis.set_yscale("log")
        axis.legend(fontsize=8)
    error.plot(LEVELS, found["errors"], color="C1", marker="o")
    calls.set(
        xscale="log", xlabel="model calls", ylabel="Frechet distance: with noise / without", title="the rule's noise"
    )
    calls.set_xticks(shown := CALLS["small"], map(str, shown))
    calls.set_xticks([], minor=True)
    band.set(xscale="log", xlabel="nsr of the band", title="noise in one band of levels only")
    error.set(xscale="log", xlabel="nsr", title="small network: rms error of D / nsr")
    for axis in (calls, band, error):
        axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument(
        "--images", type=int, default=1000, help="of the bundled networks; of the small laws six times as many"
    )
    parser.add_argument("--models", nargs="+", choices=list(CALLS), default=list(CALLS))
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else {"images": given.images, "rows": []}
    truth = small.law(32)
    found["errors"] = small.errors(small.learned(truth, Path(rule.KEPT.format(32))), truth, list(LEVELS))
    for model in given.models:
        _, draw, measure = rule.MODELS[model](given.images if model in ("unet", "emoji") else 6 * given.images)
        for nfe, name, chosen in wanted(model):
            if any((row["model"], row["nfe"], row["name"]) == (model, nfe, name) for row in found["rows"]):
                continue
            found["rows"].append({"model": model, "nfe": nfe, "name": name, **measure(draw(rule.plan(chosen, nfe)))})
            with replacing(given.out, shared=True) as part:
                part.write_text(json.dumps(found, indent=1) + "\n")
    picture(found, given.picture)


if __name__ == "__main__":
    main()
