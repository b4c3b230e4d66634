"""Records of curves studies, made up: numbers by a formula, pictures that name their row."""

import io
import math

import numpy as np
from PIL import Image

LINES = (("seeds-1", {}, 1), ("seeds-2", {"variant": "2b"}, 2), ("seeds-3", {}, 3))


def estimate(metric, value, n=500, error=0.03):
    half = 2.262 * error * value
    parts = [value * (1 + error * math.sin(k)) for k in range(10)]
    return {
        "metric": metric, "value": value, "error": error * value, "low": value - half, "high": value + half,
        "method": "jackknife over 10 units", "n": n, "parts": parts,
    }  # fmt: skip


def row(number, name, options, calls, asked, seeds, *, score=True):
    steps = max(1, asked // calls)
    distance = (40 + 7 * math.sin(1 + number)) / (calls * steps) + 1
    return {
        "row": number, "line": " ".join([name, *(f"{key}={value}" for key, value in options.items())]), "solver": name,
        "options": {**options, "grid": "karras"}, "steps": steps, "nfe": calls * steps + 1, "nfe_asked": asked,
        "seeds": seeds, "images": 500, "plan_sha256": f"{name}-{steps}".encode().hex().ljust(64, "0"), "status": "done",
        "frechet": estimate("squared Frechet distance", distance),
        "inception_score": estimate("Inception score", 9 - math.sqrt(distance)) if score else None,
        "seconds": 0.25 * steps * calls + 1 / 3, "picture": f"rows/{number:03d}.png",
        "command": f"seeds curves --out study --row {number}",
    }  # fmt: skip


def record(lines=LINES, nfe=(6, 12, 24, 48), seeds=("0-499",), *, waiting=0, score=True):
    """A study of these lines, budgets and ranges of seeds; the last `waiting` rows are not measured yet."""
    asked = [(line, calls, some) for some in seeds for calls in nfe for line in lines]
    rows = [row(number, *line, calls, some, score=score) for number, (line, calls, some) in enumerate(asked)]
    for held in rows[len(rows) - waiting :]:
        held |= {"status": "waiting", "frechet": None, "inception_score": None, "seconds": None, "picture": None}
    return {
        "format": 1,
        "status": "running" if waiting else "done",
        "study": {
            "model": "toy-mixture", "model_sha256": "5e" * 32,
            "features": {"name": "toy-features", "sha256": "fe" * 32, "resize": 28, "channels": 1},
            "reference": {"name": "toy test set", "sha256": "7e" * 32, "n": 10000},
            "seeds": list(seeds), "nfe": list(nfe), "batch": 250, "units": 10, "splits": 10, "dtype": "float32",
            "device": "cpu", "threads": 1, "class": None, "guidance": 1.0, "noise": "gaussian", "schedule": "edm",
        },
        "environment": {"python": "3.11.9", "numpy": "2.4.6", "torch": "2.13.0", "platform": "Linux", "device": "cpu"},
        "version": "0.1.0",
        "command": "seeds curves --model toy-mixture --out study",
        "baselines": [
            {"name": "10,000 test images", "images": 10000, "frechet": estimate("squared Frechet distance", 0.9),
                "inception_score": None},
        ],
        "rows": rows,
    }  # fmt: skip


def picture(number, count=8, side=28):
    """A strip of `count` small images as a PNG file, other for every number."""
    levels = np.arange(side * side * count, dtype=np.int64).reshape(side, side * count)
    out = io.BytesIO()
    Image.fromarray(((levels * (number + 3)) % 251).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def pictures(record):
    return {held["row"]: picture(held["row"]) for held in record["rows"] if held["picture"]}
