"""Kills `seeds sample` with SIGKILL at random moments, resumes it, and compares every file with an unbroken run's.

    python trials/kill.py --times 20

Prints one line for each kill and exits with 1 if a file differs, is not whole, or is left over. Each run is a process
of its own, forked from this one, so that it is killed while it draws and not while it imports.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from seeds.cli import main as seeds_command

SEEDS, BATCH = 40, 8
FORK = multiprocessing.get_context("fork")


class Slow:
    """Gaussian data, answered slowly enough to be killed inside a unit as well as between two."""

    shape, classes, schedule = (3, 160, 160), 4, "edm"
    asked = None

    def __call__(self, x, at, labels=None):
        if self.asked:
            self.asked.set()
        time.sleep(0.001)
        mean = 0.1 * labels.view(-1, 1, 1, 1).to(x)
        return mean + 0.25 * at.alpha / (0.25 * at.alpha**2 + at.sigma**2) * (x - at.alpha * mean)


def draw(out: Path, asked) -> None:
    """Starts or resumes the run in `out`; sets `asked` at the first question to the model."""
    import kill

    kill.Slow.asked = asked
    with open(os.devnull, "w") as sys.stdout:
        run = (
            f"sample --model kill:Slow --seeds 0-{SEEDS - 1} --batch {BATCH} --nfe 7 --threads 1 --subdirs --resume "
            f"--out"
        )
        sys.exit(seeds_command([*run.split(), str(out)]))


def begin(out: Path):
    """The process that draws, once it has asked the model or has ended."""
    asked = FORK.Event()
    process = FORK.Process(target=draw, args=(out, asked))
    process.start()
    while process.is_alive() and not asked.wait(0.01):
        pass
    return process


def finish(out: Path) -> dict:
    """Lets the run in `out` come to its end; its record."""
    process = begin(out)
    process.join()
    if process.exitcode:
        raise SystemExit(f"The run in {out} ended with exit code {process.exitcode}.")
    return json.loads((out / "run.json").read_text())


def images(out: Path) -> dict[str, bytes]:
    """The PNG files under a folder: relative name -> bytes."""
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png") if not path.name.startswith(".")
    }


def faults(out: Path, expected: dict[str, bytes]) -> list[str]:
    """Files of a finished run that differ, are missing, or should not be there."""
    found = images(out)
    wrong = [name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name)]
    return wrong + [
        path.name
        for path in out.rglob("*")
        if path.is_file() and path.suffix != ".png" and path.name not in ("run.json", "SHA256SUMS")
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, bad, runs = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        length = finish(Path(folder, "whole"))["seconds"]
        expected = images(Path(folder, "whole"))
        out = Path(folder, "killed-0")
        for k in range(options.times):
            moment = chance.uniform(0, length)
            process = begin(out)
            time.sleep(moment)
            process.kill()
            process.join()
            found = images(out)
            torn = [name for name, data in found.items() if data != expected[name]]
            print(
                f"kill {k + 1:2}: {moment:.3f} s after the first call, {len(found):2} of {len(expected)} files there, "
                f"{len(torn)} of them differ"
            )
            bad += len(torn)
            if k == options.times - 1 or len(found) == len(expected) or chance.random() < 0.3:
                wrong = faults(out, expected) if finish(out)["status"] == "done" else ["run.json"]
                print(f"         resumed to the end: {len(wrong)} files differ or are left over {wrong[:3] or ''}")
                bad, runs, out = bad + len(wrong), runs + 1, Path(folder, f"killed-{k + 1}")
    print(f"{options.times} kills in {runs} runs of {len(expected)} files: {bad} faults")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
