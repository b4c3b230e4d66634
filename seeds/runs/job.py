"""The job: which bytes are to be made, which of them are there, and the record of both in run.json."""

import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from seeds.denoisers import Changed, ask, guide
from seeds.noise import seed_list, uniform_labels
from seeds.plan import Plan, Point
from seeds.runs import files
from seeds.runs.seed_text import check_distinct, show_seeds
from seeds.sampling import sample

DTYPES = {"float32": torch.float32, "float64": torch.float64}
RECORD = "run.json"
DONE = "done"
IN_GRID = 64


@dataclass(frozen=True)
class Job:
    """What is drawn, and where to: jobs that are equal make equal files.

    Attributes:
        denoiser: D(x, at) for images: `shape` (1 | 3, H, W), scaled to [-1, 1].
        plan: what to run.
        seeds: distinct; each is one file, `000042.png`, with `subdirs` in `000000/`.
        out: the folder.
        model, model_hash: what to write down about the denoiser.
        batch: the list of seeds is cut, in order, into units of this many, and each unit is sampled as a whole. Matrix products depend on their
            shapes, so another batch size may change a pixel by 1.
        label: the class of all images; None draws one for each seed, from the seed's own stream.
        guidance: scale of classifier-free guidance; 1 is none.
        noise: "gaussian" or "two-point".
        dtype: of the state, "float32" or "float64".
        device: where the model is.
    Raises: ValueError naming what does not fit the model.
    """

    denoiser: Any
    plan: Plan
    seeds: Sequence[int]
    out: Path
    model: str = ""
    model_hash: str = ""
    batch: int = 64
    label: int | None = None
    guidance: float = 1.0
    noise: str = "gaussian"
    dtype: str = "float32"
    device: str = "cpu"
    subdirs: bool = False

    def __post_init__(self) -> None:
        shape, classes = getattr(self.denoiser, "shape", None), getattr(self.denoiser, "classes", 0)
        if shape is None or len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(f"The model's `shape` is {shape}, but PNG files hold (1, H, W) or (3, H, W). Use seeds.sample in Python.")
        if self.label is not None and not 0 <= self.label < classes:
            have = f"classes 0 to {classes - 1}" if classes else "no classes"
            raise ValueError(f"`class` = {self.label}, but this model has {have}. " + ("Pick one of them." if classes else "Leave it out."))
        if self.guidance != 1 and not classes:
            raise ValueError(f"`guidance` = {self.guidance:g} sharpens a class, but this model has no classes. Leave it out.")
        if self.batch < 1:
            raise ValueError(f"`batch` must be at least 1, but is {self.batch}.")
        if self.dtype not in DTYPES:
            raise ValueError(f"`dtype` must be {' or '.join(DTYPES)}, but is {self.dtype!r}.")
        if self.dtype == "float64" and self.device != "cpu":
            raise ValueError(f"`dtype` float64 works on the CPU only, but `device` is {self.device}. Use float32 there.")
        check_distinct(seed_list(self.seeds))

    @property
    def units(self) -> list[Sequence[int]]:
        """The work: slices of the list of seeds. Any of them may be drawn by any process, in any order."""
        return [self.seeds[at : at + self.batch] for at in range(0, len(self.seeds), self.batch)]

    def path(self, seed: int) -> Path:
        """The file of a seed."""
        return self.out / files.name_of(seed, self.subdirs)

    def missing(self) -> list[Sequence[int]]:
        """The units of which a file is not there yet."""
        return [unit for unit in self.units if not all(self.path(seed).exists() for seed in unit)]

    def images(self, unit: Sequence[int], counted: Any) -> Tensor:
        """(B, C, H, W) the images of a unit, `counted` being the denoiser or one that stands for it."""
        labels = None
        if getattr(self.denoiser, "classes", 0):
            drawn = uniform_labels(unit, self.denoiser.classes)
            labels = drawn if self.label is None else torch.full_like(drawn, self.label)
        denoiser = counted if self.guidance == 1 else guide(counted, self.guidance)
        return sample(
            denoiser,
            self.denoiser.shape,
            seed=unit,
            plan=self.plan,
            labels=labels,
            noise=self.noise,
            dtype=DTYPES[self.dtype],
            device=self.device,
        )

    def facts(self, version: str, threads: int) -> dict[str, Any]:
        """Everything that decides the bytes, as JSON-able values."""
        return {
            "model": self.model,
            "model_sha256": self.model_hash,
            "solver": self.plan.solver,
            "nfe": self.plan.nfe,
            "plan_sha256": self.plan.digest,
            "seeds": show_seeds(self.seeds),
            "batch": self.batch,
            "class": self.label,
            "guidance": self.guidance,
            "noise": self.noise,
            "dtype": self.dtype,
            "device": self.device,
            "threads": threads,
            "subdirs": self.subdirs,
            "version": version,
            "torch": torch.__version__,
        }


def run(
    job: Job, *, resume: bool = False, threads: int | None = None, version: str = "", command: str = "", progress: bool = True
) -> dict[str, Any]:
    """Draws what is missing of a job and returns its record, which is also written to run.json.

    Every file is whole or absent at any time, and run.json is there from the start (status "running"), so a job that was killed is completed by
    `resume`, with the bytes of an unbroken run.

    Args:
        resume: complete the run in the folder, if there is one.
        threads: of torch; None is those of the run resumed, or torch's own choice. Restored at the end.
        version, command: to be written down.
        progress: a bar on stderr, where that is a terminal.
    Raises:
        ValueError: the folder holds a run and `resume` is not asked for, or another run than this one, or images of no run.
        OSError: a file cannot be written. What is there is whole.
        FloatingPointError: the model made NaN or inf. Nothing of that unit is written.
    """
    before = _record(job.out)
    recorded = before["job"].get("threads") if before is not None and resume else None
    chosen = threads or recorded or torch.get_num_threads()
    facts = job.facts(version, chosen)
    _check_folder(job, before, facts, resume)
    todo = job.missing()
    if before is not None and before["status"] == DONE and not todo:
        return before
    record: dict[str, Any] = {"status": "running", "job": facts, "command": command, "environment": _environment(job.device)}
    record["plan"] = job.plan.to_json()
    _write(job.out, record)
    started = time.perf_counter()
    with _threads(chosen):
        _draw(job, todo, progress)
    record |= {"status": DONE, "drawn": sum(map(len, todo)), "seconds": round(time.perf_counter() - started, 3)}
    files.atomic(job.out / "grid.png", files.grid([job.path(seed) for seed in job.seeds[:IN_GRID]]))
    names = [files.name_of(seed, job.subdirs) for seed in job.seeds]
    record["files"] = {"count": len(names), "sha256": files.digest(job.out, names)}
    _write(job.out, record)
    return record


def _draw(job: Job, units: Sequence[Sequence[int]], progress: bool) -> None:
    form = "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total} images [{elapsed}<{remaining}]"
    total, nfe = sum(map(len, units)), job.plan.nfe
    with tqdm(total=total, desc=f"{job.plan.solver}, {nfe} NFE", bar_format=form, disable=None if progress else True) as bar:

        def ticking(inner: Any, x: Tensor, at: Point, labels: Tensor | None) -> Tensor:
            bar.update(len(x) / nfe)
            return ask(inner, x, at, labels)

        for unit in units:
            images = files.pixels(job.images(unit, Changed(job.denoiser, ticking)))
            for seed, image in zip(unit, images, strict=True):
                files.atomic(job.path(seed), files.png(image))


def _record(out: Path) -> dict[str, Any] | None:
    """What run.json says; None if there is none."""
    path = out / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        record = None
    if not isinstance(record, dict) or "status" not in record or not isinstance(record.get("job"), dict):
        raise ValueError(f"{path} is not the record of a run. Choose another folder, or delete it.")
    return record


def _check_folder(job: Job, before: dict[str, Any] | None, facts: dict[str, Any], resume: bool) -> None:
    if before is None:
        foreign = next((path for path in map(job.path, job.seeds) if path.exists()), None)
        if foreign is not None:
            raise ValueError(f"{foreign} is there already, and is of no run ({job.out / RECORD} is missing). Choose another folder.")
        return
    if not resume:
        raise ValueError(f"{job.out} holds a run ({before['status']}). Complete it with --resume, or choose another folder.")
    old = before["job"]
    differences = [f"{key} {old.get(key)!r}, now {facts[key]!r}" for key in facts if old.get(key) != facts[key]]
    if differences:
        raise ValueError(
            f"{job.out} holds another run: it has {'; '.join(differences)}. Give --resume what the run was started with (`command` in "
            f"{job.out / RECORD}), or choose another folder."
        )


def _write(out: Path, record: dict[str, Any]) -> None:
    files.atomic(out / RECORD, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


def _environment(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()
    return {"python": platform.python_version(), "numpy": np.__version__, "platform": platform.platform(), "device": name}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
