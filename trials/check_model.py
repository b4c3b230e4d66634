"""What `check_model` says of 60 wrappings of networks that are right, each wrong in a usual way: 6 outputs on 2
schedules, as they are, with the sign turned, with the time mirrored, with both, and trained on data of another range.

    python trials/check_model.py [--data modes|images|both] [--only OUTPUT]

The networks know the law of the data exactly, so whatever is not found is not to be found in the error. A wrapping that
is right is to be passed; each other is to be named, or left unnamed with the reason. A wrong name is the one thing that
must not be.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import seeds
from seeds.exact import GaussianMixture
from seeds.plans import Point
from seeds.predictions import OUTPUTS, output

MISTAKES = ("right", "sign", "time", "both", "range")
SCHEDULES = {"vp": seeds.VP(), "flow": seeds.Flow()}
SD = 0.5


def modes() -> tuple[GaussianMixture, Tensor]:
    """One number, at -1 or 1."""
    law = GaussianMixture(torch.tensor([[-1.0], [1.0]]), 0.2)
    return law, law.sample(range(64))


def images() -> tuple[GaussianMixture, Tensor]:
    """Pictures of 12 x 12: four blobs on a dark ground, from -1 to 1, each at its place, in three sizes of
    brightness."""
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    places = [(3.0, 3.0), (8.0, 3.0), (5.0, 8.0), (9.0, 9.0)]
    blobs = torch.stack([torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in places])
    law = GaussianMixture((2 * blobs - 1)[:, None], 0.05, factors=0.4 * blobs[:, None, None])
    return law, law.sample(range(16))


DATA: dict[str, Callable[[], tuple[GaussianMixture, Tensor]]] = {"modes": modes, "images": images}


def network(law: GaussianMixture, name: str, path: seeds.Schedule, mistake: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A perfect network for data of that law, or (x + 1) / 2 of it; with the sign turned, or the time mirrored."""
    sign = -1 if mistake in ("sign", "both") else 1

    def answer(x: Tensor, time: Tensor) -> Tensor:
        t = float(time[0].double())
        t = 1 - t if mistake in ("time", "both") else t
        at = Point(t, float(path.alpha(t)), float(path.sigma(t)))
        scale, skip, out = output(name, at, SD)
        x = x.double() / scale  # raw F is asked about c_in y
        a, b = (0.5, 0.5) if mistake == "range" else (1.0, 0.0)
        denoised = a * law((x - at.alpha * b) / a, Point(t, at.alpha, at.sigma / a)) + b
        return (sign * (denoised - skip * x) / out).float()

    return answer


@dataclass(frozen=True)
class Found:
    """What is said of a wrapping: "passed", "named", or "unnamed"; and whether that is right."""

    name: str
    path: str
    mistake: str
    said: str
    right: bool
    words: str


def judged(name: str, path: str, mistake: str, law: GaussianMixture, data: Tensor) -> Found:
    """Wraps the network as if nothing were wrong with it, and asks."""
    model = seeds.wrap(network(law, name, SCHEDULES[path], mistake), name, schedule=SCHEDULES[path], sd=SD)
    try:
        excess = seeds.check_model(model, data)["excess"]
        return Found(name, path, mistake, "passed", mistake == "right", f"excess {excess:.2f}")
    except ValueError as error:
        words = str(error)
    named = re.search(r"Read as (.*) its excess is [0-9.]+: that is most likely what it is", words)
    if named is None:
        return Found(name, path, mistake, "unnamed", False, words[words.index("at every level") :])
    return Found(name, path, mistake, "named", named[1] == truth(name, path, mistake), named[1])


def truth(name: str, path: str, mistake: str) -> str:
    """What should be named."""
    sd = f" of sd = {SD:g}" if name == "edm_raw" else ""
    sign = " with its sign turned" if mistake in ("sign", "both") else ""
    time = " with time=lambda at: 1 - at.t" if mistake in ("time", "both") else ""
    scale = ", for data as (x + 1) / 2, in [0, 1]" if mistake == "range" else ""
    return f"output {name!r}{sd}{sign} on {type(SCHEDULES[path]).__name__}{time}{scale}"


def table(found: list[Found]) -> str:
    lines = [f"{'output':8} {'on':5} {'mistake':8} {'said':8} what"]
    for it in found:
        mark = " " if it.right else "-" if it.said == "unnamed" else "X"
        lines.append(f"{it.name:8} {it.path:5} {it.mistake:8} {it.said:8} {mark} {it.words}")
    counts = np.array([(it.right, it.said == "unnamed", not it.right and it.said != "unnamed") for it in found]).sum(0)
    return "\n".join(
        [*lines, f"{len(found)} wrappings: {counts[0]} rightly, {counts[1]} left unnamed, {counts[2]} wrongly"]
    )


def run(kind: str, only: str | None = None) -> list[Found]:
    law, data = DATA[kind]()
    return [
        judged(name, path, mistake, law, data)
        for name in OUTPUTS
        if only in (None, name)
        for path in SCHEDULES
        for mistake in MISTAKES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=[*DATA, "both"], default="both")
    parser.add_argument("--only", choices=OUTPUTS)
    given = parser.parse_args()
    for kind in DATA if given.data == "both" else [given.data]:
        print(f"\n{kind}")
        print(table(run(kind, given.only)))


if __name__ == "__main__":
    main()
