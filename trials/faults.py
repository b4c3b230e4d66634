"""What goes wrong on a user's machine, tried on the command line: each fault must end in one clear sentence, and
--resume must make good what it broke off.

    python trials/faults.py

Prints every command, its exit code and what it said. Exits with 1 if one ends in anything but a line on stderr and exit
code 1 or 2, or if what is completed afterwards differs from an unbroken run. A full disk and a read-only folder are a
small tmpfs, which takes the right to mount; without it they are counted as not tried.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from seeds.metrics.references import bundled_statistics

HERE = Path(__file__).parent
PAGE = 4096
IMAGES = 40
SAMPLE = f"sample --model faults:Good --solver seeds-2 --steps 2 --batch 4 --seeds 0-{IMAGES - 1} --threads 1"
CURVES = (
    "curves --model faults:Good --line seeds-2 --line erk-1 --nfe 3,5 --seeds 0-149 --batch 32 --units 2 --splits 2 "
    "--threads 1"
)
MEASURED = "--features fashion-features --ref fashion-mnist"


class Good:
    """Gaussian data."""

    shape, schedule, factor = (1, 28, 28), "edm", 1.0

    def __call__(self, x, at, labels=None):
        return self.factor * 0.25 * at.alpha / (0.25 * at.alpha**2 + at.sigma**2) * x


class Broken(Good):
    """Not a number, on purpose."""

    factor = float("nan")


class Trial:
    """Runs commands in a folder and keeps the score."""

    def __init__(self, folder: Path):
        self.folder, self.tried, self.bad, self.untried = folder, 0, 0, 0

    def call(self, *words: object) -> subprocess.CompletedProcess:
        line = [part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])]
        path = os.pathsep.join([str(HERE.parent), str(HERE)])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [sys.executable, "-m", "seeds", *line], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        print(
            f"  $ seeds {' '.join(line)}\n    exit code "
            f"{ran.returncode}{': ' if ran.stderr else ''}{ran.stderr.strip()}",
            flush=True,
        )
        return ran

    def fault(self, name: str, *words: object, says: str) -> None:
        """The command fails in one line that holds `says`."""
        print(name)
        ran = self.call(*words)
        lines = ran.stderr.splitlines()
        clear = (
            len(lines) == 1 and lines[0].startswith("Error: ") and lines[0].endswith((".", ")")) and says in lines[0]
        )
        self.judge(clear and ran.returncode in (1, 2), f"no single sentence with {says!r}")

    def completes(self, expected: object, out: Path, *words: object) -> None:
        """The command succeeds without a word on stderr but of a covariance's rank, and what is in `out` is what an
        unbroken run makes."""
        ran = self.call(*words)
        said = [line for line in ran.stderr.splitlines() if not line.startswith("Warning: the covariance of ")]
        self.judge(ran.returncode == 0 and not said, "it is not completed")
        found = contents(out)
        self.judge(found == expected, "other contents than an unbroken run")
        left = [path.name for path in out.parent.rglob("*") if path.name.endswith((".part", ".parts"))]
        self.judge(not left, f"left over: {left}")

    def judge(self, good: bool, otherwise: str) -> None:
        self.tried, self.bad = self.tried + 1, self.bad + (not good)
        if not good:
            print(f"    WRONG: {otherwise}")

    def not_tried(self, name: str, why: object) -> None:
        self.untried += 1
        print(f"{name}\n    NOT TRIED: {why}")


def contents(out: Path) -> object:
    """What decides a run or a study: bytes of images and archives, numbers and pictures of rows; None if there is
    none."""
    if out.suffix in (".zip", ".npz"):
        if not out.exists():
            return None
        with zipfile.ZipFile(out) as file:
            return {name: file.read(name) for name in file.namelist() if not name.startswith("run.json")}
    pictures = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("[0-9g]*.png")}
    if not (out / "curves.json").exists():
        return pictures
    record = json.loads((out / "curves.json").read_text())
    return (
        pictures,
        record["status"],
        [{key: row.get(key) for key in row if key not in ("seconds", "command")} for row in record["rows"]],
    )


@contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes at `folder`. Raises: OSError where that is not allowed."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True)


def change(folder: Path, option: str) -> None:
    """Makes a file system larger (size=...), read-only (ro) or writable (rw)."""
    _mount("-o", f"remount,{option}", folder)


def _mount(*words: object) -> None:
    if not shutil.which("mount"):
        raise OSError("There is no `mount` here.")
    ran = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if ran.returncode:
        raise OSError(f"`mount`: {ran.stderr.strip()}")


def pages(*folders: Path) -> int:
    """Bytes of all files, each in whole pages."""
    return sum(
        -(-path.stat().st_size // PAGE) * PAGE for folder in folders for path in folder.rglob("*") if path.is_file()
    )


def disks(trial: Trial, name: str, words: str, expected: object, sizes: dict[str, int]) -> None:
    """`words --out` on a disk that is full when so much is written, and on one that is read-only; both are made good,
    and the run completed."""
    for number, (when, size) in enumerate(sizes.items()):
        root = trial.folder / f"{name} {number}".replace(" ", "-").replace(".", "-")
        try:
            with disk(root, size):
                trial.fault(
                    f"disk full {when}: {name}",
                    words,
                    "--out",
                    root / name,
                    says="cannot be written: No space left on device",
                )
                change(root, f"size={2**26}")
                trial.completes(expected, root / name, words, "--resume --out", root / name)
        except OSError as error:
            trial.not_tried(f"disk full {when}: {name}", error)
    root = trial.folder / f"ro-{name.replace('.', '-')}"
    try:
        with disk(root, 2**26):
            change(root, "ro")
            trial.fault(
                f"read-only folder: {name}",
                words,
                "--out",
                root / name,
                says="cannot be written: Read-only file system",
            )
            change(root, "rw")
            trial.completes(expected, root / name, words, "--resume --out", root / name)
    except OSError as error:
        trial.not_tried(f"read-only folder: {name}", error)


def truncated(path: Path, to: Path) -> Path:
    """A copy without its last third."""
    data = path.read_bytes()
    to.write_bytes(data[: 2 * len(data) // 3])
    return to


def samples(trial: Trial) -> None:
    root = trial.folder
    print("unbroken runs")
    for name in ("out", "out.zip", "out.npz"):
        trial.judge(trial.call(SAMPLE, "--out", root / "whole" / name).returncode == 0, "it fails")
    whole = {name: contents(root / "whole" / name) for name in ("out", "out.zip", "out.npz")}
    images = IMAGES * PAGE
    record = -(-(root / "whole/out/run.json").stat().st_size // PAGE) * PAGE
    begun = {"at the first image": PAGE, "in the middle": record + images // 2}
    disks(trial, "out", SAMPLE, whole["out"], {**begun, "at the end": record + images + PAGE})
    for name in ("out.zip", "out.npz"):
        size = (root / "whole" / name).stat().st_size
        disks(trial, name, SAMPLE, whole[name], {**begun, "at the archive": record + images + size // 2 // PAGE * PAGE})

    out = shutil.copytree(root / "whole/out", root / "damaged/out")
    truncated(out / "000007.png", out / "000007.png")
    trial.fault("corrupt PNG among the images", f"fid {out} {MEASURED}", says="000007.png cannot be read")
    print("corrupt PNG in a run that is resumed")
    trial.completes(whole["out"], out, SAMPLE, "--resume --out", out)
    for name in ("out.zip", "out.npz"):
        short = truncated(root / "whole" / name, root / f"short-{name}")
        trial.fault(f"truncated {name}", f"fid {short} {MEASURED}", says=f"{short} cannot be read")
        trial.fault(
            f"truncated {name} in the place of the result", SAMPLE, "--resume --out", short, says="is of no run"
        )
        short.unlink()
        trial.completes(whole[name], short, SAMPLE, "--resume --out", short)
    for name in ("out", "out.zip", "out.npz"):
        to = root / "none" / name
        trial.fault(f"NaN from the model: {name}", SAMPLE.replace("Good", "Broken"), "--out", to, says="NaN or inf")
        trial.fault(
            f"missing model: {name}",
            SAMPLE.replace("faults:Good", "net.safetensors"),
            "--out",
            to,
            says="There is no file net.safetensors",
        )
    reference, other = references(trial)
    for text, path, says in (
        ("reference of other features", other, "other features"),
        ("truncated reference", truncated(reference, root / "short-ref.npz"), "cannot be read"),
        ("missing reference", root / "no.npz", "does not exist"),
    ):
        trial.fault(text, f"fid {root / 'whole/out'} --features fashion-features --ref", path, says=says)
        trial.fault(
            f"{text}: curves",
            CURVES,
            "--out",
            root / "none" / "study",
            f"--features fashion-features --ref {path}",
            says=says,
        )


def references(trial: Trial) -> tuple[Path, Path]:
    """The bundled reference, and one that other features made."""
    path = bundled_statistics()["fashion-mnist"]
    with np.load(path) as file:
        np.savez(trial.folder / "other.npz", **{**file, "sha256": "0" * 64})
    return path, trial.folder / "other.npz"


def studies(trial: Trial) -> None:
    root, words = trial.folder, f"{CURVES} {MEASURED}"
    print("an unbroken study")
    trial.judge(trial.call(words, "--out", root / "whole/study").returncode == 0, "it fails")
    whole = contents(root / "whole/study")
    total = pages(root / "whole/study")
    record = -(-(root / "whole/study/curves.json").stat().st_size // PAGE) * PAGE
    disks(
        trial, "study", words, whole, {"at the record": PAGE, "in the middle": 3 * record, "at the page": total - PAGE}
    )
    out = root / "none" / "study"
    trial.fault("NaN from the model: curves", words.replace("Good", "Broken"), "--out", out, says="NaN or inf")
    trial.fault(
        "missing model: curves",
        words.replace("faults:Good", "net.safetensors"),
        "--out",
        out,
        says="There is no file net.safetensors",
    )
    images = shutil.copytree(root / "whole/out", root / "images")
    truncated(images / "000007.png", images / "000007.png")
    out = root / "based" / "study"
    baseline = f"{words} --baseline own={images}"
    trial.fault("corrupt PNG in a baseline: curves", baseline, "--out", out, says="000007.png cannot be read")
    shutil.copy(root / "whole/out/000007.png", images)
    trial.completes(whole, out, baseline, "--resume --out", out)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        samples(trial)
        studies(trial)
    print(json.dumps({"checks": trial.tried, "wrong": trial.bad, "not tried": trial.untried}))
    return int(trial.bad > 0)


if __name__ == "__main__":
    sys.exit(main())
