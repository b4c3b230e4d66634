"""A sampling job on disk: one file for each seed, a record of what made them, and resume."""

import hashlib
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seeds.distributed import Group
from seeds.errors import InputError
from seeds.images import grid, png, read_png, whole_png
from seeds.runs import packing
from seeds.runs.identity import check_agreed
from seeds.runs.job import Job
from seeds.runs.packing import RECORD
from seeds.runs.progress import Progress
from seeds.runs.records import DONE, NAMES, NETWORK, Claim, claim, different, json_bytes, name_of, read_record
from seeds.runs.tally import Tally
from seeds.storage import atomic, digest, sums, sweep, there

GRID = "grid.png"
SUMS = "SHA256SUMS"
SHOWN = 5
"""Images that are named, where many are wrong."""
SEEN = 60
"""Seconds in which each machine sees what another has written into a folder that they share; NFS takes up to a
minute."""
IN_GRID = 64
THREADS = 1024


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

    Every file is whole or absent at any time, and run.json is there from the start (status "running"), so a job that
    was killed is completed by `resume`, with the bytes of an unbroken run. Units are dealt out to the shards, and those
    of a shard to the processes of the group, so the bytes depend on neither.

    Args:
        out: a folder; or a file that ends in .zip or .npz, which is made from the folder `out`.parts when all images
            are there (`archive`).
        subdirs: a folder for each thousand seeds.
        resume: complete the run in the folder, if there is one. Processes that an elastic agent started anew do.
        shard: (i, n), 1 <= i <= n: only every n-th unit, for n jobs without a group that fill one folder. Whichever
            ends last closes the record.
        group: the processes that draw together.
        threads: of torch; None is those of the run resumed, or torch's own choice. Restored at the end.
        version, command: to be written down.
        progress: a bar on stderr, where that is a terminal.
    Raises:
        ValueError: the folder holds a run and `resume` is not asked for, or another run than this one, or images of no
            run.
        OSError: a file cannot be written. What is there is whole.
        FloatingPointError: the model made NaN or inf. Nothing of that unit is written.
    Warns: UserWarning at the end, if the pixels say that the data may have another range than `job.data_range`.
    """
    group = group or Group()
    part, parts = shard
    if not 1 <= part <= parts:
        raise InputError(f"`shard` = {part}/{parts}: the first number runs from 1 to the second.")
    begun = _Run(Folder(out, job, subdirs), group, resume or group.again, parts, threads, version, command)
    claim = Claim(*group.once(begun.begin))
    if claim.state == "done":
        return claim.record | {"drawn": 0, "seconds": 0.0}
    check_agreed(job.network, group)
    started, tally, record = time.perf_counter(), Tally(), claim.record
    todo = begun.folder.missing(group.share(job.units[part - 1 :: parts]), checked=begun.resume)
    with limited(record["job"]["threads"]):
        drawn = _draw(begun.folder, todo, group, progress, tally)
    record |= {"drawn": drawn, "seconds": round(time.perf_counter() - started, 3)}
    if warning := tally.total(group).warning(job.pixels.data_range):
        record["warning"] = warning
    record = group.once(partial(begun.close, record))
    if warning:
        warnings.warn(warning, stacklevel=2)
    return record


@dataclass(frozen=True)
class _Run:
    """A call of `run`: how a run begins and ends, on rank 0."""

    folder: "Folder"
    group: Group
    resume: bool
    parts: int
    threads: int | None
    version: str
    command: str

    def begin(self, joined: bool = False) -> Claim:
        """Takes the folder: the claim, with the record of the run that has begun, or is done. Raises: ValueError if it
        may not begin.

        Args:
            joined: this process has begun there, and another may have gone on.
        """
        folder = self.folder
        claim = folder.claim(self.resume or joined, self._facts, joining=self.parts > 1)
        self.group.begin()
        if self.resume:
            folder.sweep()
        if claim.state == "done":
            folder.settle(self._facts(claim.record))
            return claim
        record = self._record(claim.record)
        if not folder.write(record, over=claim.state == "resumed"):
            return self.begin(joined)  # another process was faster
        if not folder.packed:
            return Claim(claim.state, record)
        folder.remove()  # the other shards have closed the run meanwhile
        return self.begin(joined=True)

    def close(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record of a run that is done, or of one that waits for other shards. Raises: OSError if images are
        missing."""
        folder = self.folder
        wait = SEEN if self.parts == 1 < self.group.world else 0
        left = 0 if folder.packed else sum(map(len, folder.awaited(wait)))
        if left and self.parts == 1:
            raise OSError(
                f"{folder.root} misses {left} of {len(folder.job.seeds)} images at the end of the run: the processes "
                "do not see one folder, or somebody took files away. Give all of them the same --out, on a disk they "
                "share; with --resume the same command makes the rest."
            )
        # those of other shards: the last of them closes the record
        return record | {"missing": left} if left else folder.finish(record)

    def _facts(self, before: dict[str, Any] | None) -> dict[str, Any]:
        """What identifies the run, with the threads of the one before, if there was one."""
        threads = self.threads or (before["job"].get("threads") if before else None) or torch.get_num_threads()
        return {**self.folder.job.facts(self.version, threads), "subdirs": self.folder.subdirs}

    def _record(self, before: dict[str, Any] | None) -> dict[str, Any]:
        job, facts = self.folder.job, self._facts(before)
        if before is not None:
            facts |= {key: before["job"][key] for key in (NETWORK, *NAMES) if key in before["job"]}  # who drew it first
        labels = job.labels(job.seeds)
        return {
            "status": "running",
            "job": facts,
            "command": self.command,
            "environment": environment(job.device),
            **({} if labels is None else {"labels": labels.tolist()}),
            "plan": job.plan.to_json(),
        }


class Folder:
    """The files of a job: those of a folder, or of an archive that is made of one when all images are there.

    Attributes:
        root: the folder; of an archive, `out`.parts beside it.
        archive: `out`, if it is one.
    """

    def __init__(self, out: Path, job: Job, subdirs: bool):
        self.archive = out if out.suffix.lower() in packing.KINDS else None
        self.root = out.with_name(out.name + ".parts") if self.archive else out
        self.job, self.subdirs = job, subdirs

    @property
    def packed(self) -> Path | None:
        """The archive, once it is made."""
        return self.archive if self.archive and there(self.archive) else None

    def claim(self, resume: bool, facts: Callable[[dict[str, Any]], dict[str, Any]], joining: bool = False) -> Claim:
        """What the folder is to the job. Raises: ValueError if it is none of its.

        Args:
            facts: what identifies the run, given the record of the one before.
            joining: another shard may have begun the run.
        """
        packed, foreign, before = self.packed, None, None
        if packed:
            before = packing.record(packed)
        elif self.root.is_file():
            kinds = " or ".join(packing.KINDS)
            raise InputError(f"`out` = {self.root} is a file. Give a folder, or a name that ends in {kinds}.")
        elif (before := self.read()) is None:
            foreign = self.foreign()
        else:
            resume = resume or (joining and before["status"] != DONE)
        result = claim(
            packed or self.root,
            RECORD,
            "run",
            before,
            foreign=foreign,
            resume=resume,
            differences=lambda old: different(old["job"], facts(old)),
        )
        if result.state != "done" or packed:
            return result
        recorded = result.record.get("files")
        if not self.missing(self.job.units) and self.digest() == recorded:
            return result
        if self.missing(self.job.units, checked=True):
            return Claim("resumed", before)
        raise InputError(self.changed(recorded))

    def foreign(self) -> Path | None:
        """A file of no run, if there is one."""
        others = self.root.glob("[!.]*" if self.archive else "[!.]*.png")
        file = next(chain(others, (path for path in map(self.path, self.job.seeds) if path.exists())), None)
        return None if (self.root / RECORD).exists() else file  # there is one: another process has just begun the run

    def sweep(self) -> None:
        """Removes what killed writers have left."""
        sweep(self.root)
        if self.archive:
            sweep(self.archive.parent, self.archive.name)

    def settle(self, facts: dict[str, Any]) -> None:
        """Brings back what belongs to a run that is done, and takes away what does not."""
        if not self.archive:
            self.mend()
        elif (left := self.read()) is not None and not different(left["job"], facts):
            self.remove()  # who packed it was killed before this

    def finish(self, record: dict[str, Any]) -> dict[str, Any]:
        """Closes the run, all of whose images are there; the record."""
        try:
            record = record | {"status": DONE, "files": self.digest()}
            if not self.archive:
                self.mend(again=True)
                self.write(record)
                sweep(self.root)
                return record
            paths = list(map(self.path, self.job.seeds))
            packing.pack(self.archive, paths, self.job.seeds, record, record.get("labels"))
        except OSError:
            if not (packed := self.packed):
                raise
            record = packing.record(packed) | {"drawn": record["drawn"]}  # another shard has closed it meanwhile
        self.remove()
        return record

    def path(self, seed: int) -> Path:
        """The file of a seed."""
        return self.root / name_of(seed, self.subdirs)

    def missing(self, units: Sequence[Sequence[int]], checked: bool = False) -> list[Sequence[int]]:
        """The units of which a file is not there yet; with `checked`, also those of which one is damaged."""
        good = whole_png if checked else there
        return [unit for unit in units if not all(good(self.path(seed)) for seed in unit)]

    def awaited(self, seconds: float) -> list[Sequence[int]]:
        """Units of which a file is missing, and still is after so many seconds."""
        until = time.monotonic() + seconds
        while (missing := self.missing(self.job.units)) and time.monotonic() < until:
            time.sleep(0.5)
        return missing

    def read(self) -> dict[str, Any] | None:
        """What run.json says; None if there is none."""
        path = self.root / RECORD
        there(path)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return read_record(path, data)

    def write(self, record: dict[str, Any], over: bool = True) -> bool:
        """Writes run.json; not `over` another: False if a process was faster."""
        return atomic(self.root / RECORD, json_bytes(record), over=over)

    @property
    def names(self) -> list[str]:
        """The paths of all images from the folder."""
        return [name_of(seed, self.subdirs) for seed in self.job.seeds]

    def mend(self, again: bool = False) -> None:
        """Makes of the images what lies beside them: grid.png and SHA256SUMS, where they are lost or broken, or
        `again`."""
        if again or not whole_png(self.root / GRID):
            atomic(self.root / GRID, png(grid([read_png(self.path(seed)) for seed in self.job.seeds[:IN_GRID]])))
        if again or not (self.root / SUMS).exists():
            atomic(self.root / SUMS, sums(self.root, self.names))

    def digest(self) -> dict[str, Any]:
        """What a record says of the images."""
        return {"count": len(self.job.seeds), "sha256": digest(self.root, self.names)}

    def changed(self, recorded: dict[str, Any] | None) -> str:
        """A sentence about whole images that are not those of which `digest` was recorded: which, if SHA256SUMS is
        still that of the record."""
        try:
            before = (self.root / SUMS).read_bytes()
        except OSError:
            before = b""
        which = f" ({SUMS}, which would tell which, is not that of the record)"
        if recorded is not None and hashlib.sha256(before).hexdigest() == recorded["sha256"]:
            old, now = (text.decode().splitlines() for text in (before, sums(self.root, self.names)))
            names = [line.partition("  ")[2] for line in now if line not in {*old}]
            more = ", ..." if len(names) > SHOWN else ""
            which = f": {', '.join(names[:SHOWN])}{more} ({len(names)} of {len(now)})"
        return (
            f"{self.root} holds other images than its record says, so somebody has changed them{which}. Take away "
            "those that are not of the run, and --resume draws them; or draw into another folder."
        )

    def remove(self) -> None:
        """Takes away what the run has made, and its folders where nothing else is in them. What cannot be taken away
        stays."""
        paths = [*map(self.path, self.job.seeds), self.root / RECORD]
        with suppress(OSError):
            sweep(self.root)
        for path in paths:
            with suppress(OSError):
                path.unlink()
        for folder in sorted({path.parent for path in paths}, reverse=True):  # the root last
            with suppress(OSError):
                folder.rmdir()


def _draw(folder: Folder, units: Sequence[Sequence[int]], group: Group, progress: bool, tally: Tally) -> int:
    """Draws units into their files, the files of one while the next is drawn; how many images were drawn by all
    processes."""
    job = folder.job
    label, images = f"{job.plan.solver}, {job.plan.nfe} NFE", sum(map(len, units))
    with Progress(group, label, images * job.plan.nfe, images, progress) as bar, ThreadPoolExecutor(1) as writer:
        writing = writer.submit(_write, folder, (), ())
        for unit in units:
            made = job.images(unit, bar.asked, tally)
            writing.result()
            writing = writer.submit(_write, folder, unit, made)
        writing.result()
    return bar.images


def _write(folder: Folder, unit: Sequence[int], images: Iterable[np.ndarray]) -> None:
    for seed, image in zip(unit, images, strict=True):
        atomic(folder.path(seed), png(image))


def environment(device: str) -> dict[str, str]:
    """What else to write down about the machine."""
    cuda, own = device.startswith("cuda"), platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if cuda else own,
    }


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """So many threads of torch, and those of before at the end. Raises: ValueError for more than THREADS, of which a
    process may die."""
    if not 1 <= threads <= THREADS:
        raise InputError(
            f"`threads` = {threads} must be from 1 to {THREADS:,}. More than the machine has cores make nothing faster."
        )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
