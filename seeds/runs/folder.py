"""A sampling job on disk: one file for each seed, a record of what made them, and resume."""

import json
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seeds.distributed import Group
from seeds.runs import archive, files
from seeds.runs.job import Job
from seeds.runs.progress import Progress
from seeds.storage import atomic, create, sweep

RECORD = "run.json"
GRID = "grid.png"
SEEN = 60
"""Seconds in which each machine sees what another has written into a folder that they share; NFS takes up to a minute."""
DONE = "done"
IN_GRID = 64


def run(
    job: Job,
    out: Path,
    *,
    subdirs: bool = False,
    resume: bool = False,
    shard: tuple[int, int] = (1, 1),
    group: Group | None = None,
    threads: int | None = None,
    version: str = "",
    command: str = "",
    progress: bool = True,
) -> dict[str, Any]:
    """Draws what is missing of a job and returns its record, which is also written to run.json.

    Every file is whole or absent at any time, and run.json is there from the start (status "running"), so a job that was killed is completed by
    `resume`, with the bytes of an unbroken run. Units are dealt out to the shards, and those of a shard to the processes of the group, so the
    bytes depend on neither.

    Args:
        out: a folder; or a file that ends in .zip or .npz, which is made from the folder `out`.parts when all images are there (`archive`).
        subdirs: a folder for each thousand seeds.
        resume: complete the run in the folder, if there is one. Processes that an elastic agent started anew do.
        shard: (i, n), 1 <= i <= n: only every n-th unit, for n jobs without a group that fill one folder. Whichever ends last closes the record.
        group: the processes that draw together.
        threads: of torch; None is those of the run resumed, or torch's own choice. Restored at the end.
        version, command: to be written down.
        progress: a bar on stderr, where that is a terminal.
    Raises:
        ValueError: the folder holds a run and `resume` is not asked for, or another run than this one, or images of no run.
        OSError: a file cannot be written. What is there is whole.
        FloatingPointError: the model made NaN or inf. Nothing of that unit is written.
    """
    group = group or Group()
    part, parts = shard
    if not 1 <= part <= parts:
        raise ValueError(f"`shard` = {part}/{parts}: the first number runs from 1 to the second.")
    resume = resume or group.again
    packed = out.suffix.lower() in archive.KINDS
    folder = Folder(out.with_name(out.name + ".parts") if packed else out, job, subdirs)

    def prepare() -> str:
        if folder.root.is_file():
            raise ValueError(f"`out` = {folder.root} is a file. Give a folder, or a name that ends in {' or '.join(archive.KINDS)}.")
        made = packed and out.exists()
        before = archive.record(out) if made else folder.read()
        if made and not resume:
            raise ValueError(f"{out} is there already. Choose another file, or give --resume if it is of this run.")
        recorded = before["job"].get("threads") if before is not None and (resume or parts > 1) else None
        chosen = threads or recorded or torch.get_num_threads()
        facts = {**job.facts(version, chosen), "subdirs": subdirs}
        folder.check(before, facts, resume, joining=parts > 1, packed=packed)
        group.begin()
        if resume:
            sweep(folder.root)
            sweep(out.parent, out.name)
        if made and (folder.read() or {}).get("job") == facts:  # who packed it was killed before this
            folder.remove()
        if before is not None and before["status"] == DONE and (made or folder.holds(before.get("files"))):
            return json.dumps(before)
        if before is not None and before["status"] == DONE and not folder.missing(job.units, checked=True):
            raise ValueError(
                f"{folder.root} holds other images than its record says, so somebody has changed them. Take away those that are not of the run, and "
                "--resume draws them; or draw into another folder."
            )
        record: dict[str, Any] = {"status": "running", "job": facts, "command": command, "environment": environment(job.device)}
        record["plan"] = job.plan.to_json()
        if before is not None:
            folder.write(record)
        elif not folder.begin(record):
            return prepare()  # another process was faster
        if packed and out.exists() and not made:  # the other shards have closed the run meanwhile
            folder.remove()
            before = archive.record(out)
            folder.check(before, facts, resume=True)
            return json.dumps(before)
        return json.dumps(record)

    record = json.loads(group.once(prepare))
    if record["status"] == DONE:
        return record | {"drawn": 0, "seconds": 0.0}
    started = time.perf_counter()
    todo = folder.missing(group.share(job.units[part - 1 :: parts]), checked=resume)
    with limited(record["job"]["threads"]):
        drawn = _draw(folder, todo, group, progress)

    def close() -> str:
        ended = record | {"drawn": drawn, "seconds": round(time.perf_counter() - started, 3)}
        left = 0 if packed and out.exists() else sum(map(len, folder.awaited(job.units, SEEN if parts == 1 < group.world else 0)))
        if left and parts == 1:
            raise OSError(
                f"{folder.root} misses {left} of {len(job.seeds)} images at the end of the run: the processes do not see one folder, or somebody took "
                "files away. Give all of them the same --out, on a disk they share; with --resume the same command makes the rest."
            )
        if left:  # of other shards: the last of them closes the record
            return json.dumps(ended | {"missing": left})
        try:
            ended |= {"status": DONE, "files": folder.digest()}
            if packed:
                archive.pack(out, [folder.path(seed) for seed in job.seeds], job.seeds, ended)
                folder.remove()
            else:
                folder.write_grid()
                folder.write(ended)
                sweep(folder.root)
        except OSError:
            if not (packed and out.exists()):
                raise
            ended = archive.record(out) | {"drawn": drawn}  # another shard has closed it meanwhile
            folder.remove()
        return json.dumps(ended)

    return json.loads(group.once(close))


class Folder:
    """The files of a job."""

    def __init__(self, root: Path, job: Job, subdirs: bool):
        self.root, self.job, self.subdirs = root, job, subdirs

    def path(self, seed: int) -> Path:
        """The file of a seed."""
        return self.root / files.name_of(seed, self.subdirs)

    def missing(self, units: Sequence[Sequence[int]], checked: bool = False) -> list[Sequence[int]]:
        """The units of which a file is not there yet; with `checked`, also those of which one is damaged."""
        good = files.whole if checked else Path.exists
        return [unit for unit in units if not all(good(self.path(seed)) for seed in unit)]

    def awaited(self, units: Sequence[Sequence[int]], seconds: float) -> list[Sequence[int]]:
        """Those of which a file is missing, and still is after so many seconds."""
        until = time.monotonic() + seconds
        while (missing := self.missing(units)) and time.monotonic() < until:
            time.sleep(0.5)
        return missing

    def read(self) -> dict[str, Any] | None:
        """What run.json says; None if there is none."""
        path = self.root / RECORD
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return files.record(path, data)

    def begin(self, record: dict[str, Any]) -> bool:
        """Writes run.json where there is none; False if another process did so first."""
        return create(self.root / RECORD, files.json_bytes(record))

    def write(self, record: dict[str, Any]) -> None:
        atomic(self.root / RECORD, files.json_bytes(record))

    def write_grid(self) -> None:
        atomic(self.root / GRID, files.grid([self.path(seed) for seed in self.job.seeds[:IN_GRID]]))

    def digest(self) -> dict[str, Any]:
        names = [files.name_of(seed, self.subdirs) for seed in self.job.seeds]
        return {"count": len(names), "sha256": files.digest(self.root, names)}

    def holds(self, recorded: dict[str, Any] | None) -> bool:
        """Whether all files are there, and are those of which `digest` was recorded."""
        return not self.missing(self.job.units) and self.digest() == recorded

    def remove(self) -> None:
        """Takes away what the run has made, and its folders where nothing else is in them. What cannot be taken away stays."""
        own = [*map(self.path, self.job.seeds), self.root / RECORD]
        with suppress(OSError):
            sweep(self.root)
        for path in own:
            with suppress(OSError):
                path.unlink()
        for folder in sorted({path.parent for path in own}, reverse=True):  # the root last
            with suppress(OSError):
                folder.rmdir()

    def check(
        self, before: dict[str, Any] | None, facts: dict[str, Any], resume: bool, joining: bool = False, packed: bool = False
    ) -> None:
        """Raises ValueError if the folder holds what is not this run's, or holds it and nobody asked to go on.

        Args:
            joining: another shard may have begun the run.
            packed: the folder is to become an archive, and must hold nothing else.
        """
        if before is None:
            there = self.root.glob("[!.]*" if packed else "[!.]*.png")
            foreign = next(chain(there, (path for path in map(self.path, self.job.seeds) if path.exists())), None)
            if foreign is not None and not (self.root / RECORD).exists():  # else another process has just begun the run
                raise ValueError(f"{foreign} is there already, and is of no run ({self.root / RECORD} is missing). Choose another folder.")
            return
        if not resume and not (joining and before["status"] != DONE):
            raise ValueError(f"{self.root} holds a run ({before['status']}). Complete it with --resume, or choose another folder.")
        old = before["job"]
        differences = [f"{key} {old.get(key)!r}, now {facts[key]!r}" for key in facts if old.get(key) != facts[key]]
        if differences:
            raise ValueError(
                f"{self.root} holds another run: it has {'; '.join(differences)}. Give --resume what the run was started with (`command` in "
                f"{self.root / RECORD}), or choose another folder."
            )


def _draw(folder: Folder, units: Sequence[Sequence[int]], group: Group, progress: bool) -> int:
    """Draws units into their files, the files of one while the next is drawn; how many images were drawn by all processes."""
    job = folder.job
    label, images = f"{job.plan.solver}, {job.plan.nfe} NFE", sum(map(len, units))
    writing: Future[None] | None = None
    with Progress(group, label, images * job.plan.nfe, images, progress) as bar, ThreadPoolExecutor(1) as writer:
        for unit in units:
            made = job.images(unit, bar.asked)
            if writing is not None:
                writing.result()
            writing = writer.submit(_write, folder, unit, made)
        if writing is not None:
            writing.result()
    return bar.images


def _write(folder: Folder, unit: Sequence[int], images: np.ndarray) -> None:
    for seed, image in zip(unit, images, strict=True):
        atomic(folder.path(seed), files.png(image))


def environment(device: str) -> dict[str, str]:
    """What else to write down about the machine."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": name,
    }


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """So many threads of torch, and those of before at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
