"""The job: which images are to be drawn, cut into units that any process may draw."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds.denoisers import Changed, ask, guide
from seeds.metrics.images import Piece, to_uint8
from seeds.noise import seed_list, uniform_labels
from seeds.plans import Plan, Point
from seeds.runs.seed_text import check_distinct, show_seeds
from seeds.sampling import sample

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Job:
    """What is drawn: jobs that are equal make equal images.

    Attributes:
        denoiser: D(x, at) for images: `shape` (1 | 3, H, W), scaled to [-1, 1].
        plan: what to run.
        seeds: distinct; each is one image.
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
    model: str = ""
    model_hash: str = ""
    batch: int = 64
    label: int | None = None
    guidance: float = 1.0
    noise: str = "gaussian"
    dtype: str = "float32"
    device: str = "cpu"

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

    def images(self, unit: Sequence[int], asked: Callable[[int], Any] | None = None) -> np.ndarray:
        """(B, H, W, C) uint8, the images of a unit: 127.5 x + 128, clipped and truncated.

        Args:
            asked: called before each model call with the number of images it is asked about.
        Raises: FloatingPointError if the model made NaN or inf.
        """
        labels = None
        if getattr(self.denoiser, "classes", 0):
            drawn = uniform_labels(unit, self.denoiser.classes)
            labels = drawn if self.label is None else torch.full_like(drawn, self.label)
        denoiser = self.denoiser if self.guidance == 1 else guide(self.denoiser, self.guidance)
        x = sample(
            denoiser if asked is None else Changed(denoiser, partial(_counted, asked)),
            self.denoiser.shape,
            seed=unit,
            plan=self.plan,
            labels=labels,
            noise=self.noise,
            dtype=DTYPES[self.dtype],
            device=self.device,
        )
        return to_uint8(x)

    def pieces(self, owns: Callable[[int], bool] = lambda number: True, asked: Callable[[int], Any] | None = None) -> Iterator[Piece]:
        """The images of all units whose number `owns` says yes to, as `ImageSet.pieces` gives those of a folder."""
        for number, unit in enumerate(self.units):
            if owns(number):
                yield Piece(number * self.batch, self.images(unit, asked))

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
            "device": self.device.partition(":")[0],
            "threads": threads,
            "version": version,
            "torch": torch.__version__,
        }


def _counted(asked: Callable[[int], Any], inner: Any, x: Tensor, at: Point, labels: Tensor | None) -> Tensor:
    asked(len(x))
    return ask(inner, x, at, labels)
