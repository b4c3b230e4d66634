"""The job: which images are to be drawn, cut into units that any process may draw."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds.denoisers import Changed, ask, facts, guide, state
from seeds.errors import InputError
from seeds.images import ImageSet, Piece, fingerprint
from seeds.noise import seed_list, uniform_labels
from seeds.plans import Plan, Point
from seeds.runs.decoding import Pixels
from seeds.runs.identity import Identity
from seeds.runs.peers import Sampler
from seeds.runs.seed_text import check_distinct, parse_seeds, show_seeds
from seeds.runs.tally import Tally
from seeds.sampling import sample

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32, "fp16": torch.float32}
"""Of the state, by the name of what is asked for: a network may compute in 16 bits, a state does not."""


@dataclass(frozen=True)
class Job:
    """What is drawn: jobs that are equal make equal images.

    Attributes:
        denoiser: D(x, at) of images, `shape` (1 | 3, H, W), or of latents, with a `decode`.
        plan: what to run; or a sampler of others.
        seeds: distinct; each is one image.
        model, model_hash: what to write down about the denoiser.
        batch: the list of seeds is cut, in order, into units of this many, and each unit is sampled as a whole. Matrix
            products depend on their shapes, so another batch size may change a pixel by 1.
        label: the class of all images; several take turns, seed by seed; None draws one for each seed, from the seed's
            own stream.
        guidance: scale of classifier-free guidance; 1 is none.
        noise: "gaussian" or "two-point".
        dtype: of the state, "float32" or "float64"; or of the network, "bf16" or "fp16", written down here:
            `seeds.tuning.tuned` makes it so.
        compiled: whether the network is compiled, written down here.
        device: where the model is.
        data_range, decode, decode_batch: how samples become images, see `Pixels`; None: as the denoiser says.
        data: images, one for each seed in order, that are noised at the plan's start: image-to-image.
        identity: what the network is known by; None: it is asked when it is needed.
    Raises: ValueError naming what does not fit the model.
    """

    denoiser: Any
    plan: Plan | Sampler
    seeds: Sequence[int]
    model: str = ""
    model_hash: str = ""
    batch: int = 64
    label: int | Sequence[int] | None = None
    guidance: float = 1.0
    noise: str = "gaussian"
    dtype: str = "float32"
    device: str = "cpu"
    compiled: bool = False
    data_range: tuple[float, float] | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    decode_batch: int | None = None
    data: ImageSet | None = None
    identity: Identity | None = None

    def __post_init__(self) -> None:
        known = facts(self.denoiser)
        shape, classes = known.shape, known.classes
        if shape is None or (self.pixels.decode is None and (len(shape) != 3 or shape[0] not in (1, 3))):
            raise InputError(
                f"The model's `shape` is {shape}, but images are (1, H, W) or (3, H, W). Give a latent model its "
                "`decode`, the function from latents to images; of all else take seeds.sample in Python."
            )
        for label in self._asked:
            if not 0 <= label < classes:
                have = f"classes 0 to {classes - 1}. Pick one of them." if classes else "no classes. Leave it out."
                raise InputError(f"`class` = {label}, but this model has {have}")
        if self.label is not None and not self._asked:
            raise InputError("`class` is empty. Give a class, several with commas between, or leave it out.")
        if self.guidance != 1 and not classes:
            raise InputError(
                f"`guidance` = {self.guidance:g} sharpens a class, but this model has no classes. Leave it out."
            )
        if self.batch < 1:
            raise InputError(f"`batch` must be at least 1, but is {self.batch}.")
        if self.dtype not in DTYPES:
            raise InputError(f"`dtype` must be one of {', '.join(DTYPES)}, but is {self.dtype!r}.")
        if self.dtype == "float64" and self.device != "cpu":
            raise InputError(
                f"`dtype` float64 works on the CPU only, but `device` is {self.device}. Use float32 there."
            )
        check_distinct(seed_list(self.seeds))
        if self.data is not None and self.data.count < len(self.seeds):
            raise InputError(
                f"`data` = {self.data.path} holds {self.data.count} images, but there are {len(self.seeds)} seeds: one "
                "is needed for each."
            )

    @classmethod
    def from_facts(cls, recorded: Mapping[str, Any], denoiser: Any, plan: Plan | Sampler, **own: Any) -> "Job":
        """The job of which `facts` were recorded, to be drawn by this denoiser.

        Args:
            own: what is known of the denoiser now: model, model_hash, device.
        """
        label, null = recorded["class"], recorded.get("null")
        return cls(
            denoiser if null is None else state(denoiser, null=torch.tensor(null) if isinstance(null, list) else null),
            plan,
            parse_seeds(recorded["seeds"]),
            batch=recorded["batch"],
            label=tuple(label) if isinstance(label, list) else label,
            data_range=tuple(recorded["data_range"]),
            **{name: recorded[name] for name in ("guidance", "noise", "dtype", "compiled", "decode_batch")},
            **own,
        )

    @cached_property
    def pixels(self) -> Pixels:
        """How samples become images."""
        return Pixels.of(self.denoiser, data_range=self.data_range, decode=self.decode, batch=self.decode_batch)

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image. A latent model decodes one to know. Raises: ValueError if `decode` makes no images."""
        blank = torch.zeros(1, *self.denoiser.shape, dtype=DTYPES[self.dtype], device=self.device)
        channels, height, width = self.pixels.decoded(blank).shape[1:]
        return height, width, channels

    @cached_property
    def network(self) -> Identity:
        """What the network is known by."""
        if self.identity is not None:
            return self.identity
        decode = self.pixels.decoded if self.pixels.decode else None
        points = [at for at in self.plan.points() if 0 < at.sigma and 0 < at.alpha]
        own = points and facts(self.denoiser).schedule is None
        levels = [points[0], points[len(points) // 2], points[-1]] if own else []
        return Identity.of(self.denoiser, decode=decode, levels=levels, dtype=DTYPES[self.dtype], device=self.device)

    @property
    def _asked(self) -> tuple[int, ...]:
        """The classes that were asked for."""
        return () if self.label is None else (self.label,) if isinstance(self.label, int) else tuple(self.label)

    @cached_property
    def _label_of(self) -> Mapping[int, int]:
        """The class of each seed: several take turns."""
        return {seed: self._asked[place % len(self._asked)] for place, seed in enumerate(self.seeds)}

    def labels(self, seeds: Sequence[int]) -> Tensor | None:
        """int64 (B,), the classes of these seeds; None if the model has none."""
        classes = facts(self.denoiser).classes
        if not classes:
            return None
        if self.label is None:
            return uniform_labels(seeds, classes)
        return torch.tensor([self._label_of[seed] for seed in seeds])

    @property
    def units(self) -> list[Sequence[int]]:
        """The work: slices of the list of seeds. Any of them may be drawn by any process, in any order."""
        return [self.seeds[at : at + self.batch] for at in range(0, len(self.seeds), self.batch)]

    def images(
        self, unit: Sequence[int], asked: Callable[[int], Any] | None = None, tally: Tally | None = None
    ) -> np.ndarray:
        """(B, H, W, C) uint8, the images of a unit.

        Args:
            asked: called before each model call with the number of images it is asked about.
            tally: counts the pixels.
        Raises: FloatingPointError if the model made NaN or inf.
        """
        denoiser = self.denoiser if self.guidance == 1 else guide(self.denoiser, self.guidance)
        return self.pixels.images(
            self.samples(unit, denoiser if asked is None else Changed(denoiser, partial(_counted, asked))), tally
        )

    def samples(self, unit: Sequence[int], denoiser: Any, noise: Callable[..., Tensor] | None = None) -> Tensor:
        """(B, *shape), the samples of a unit, drawn by a denoiser of the same facts as the job's; from its noise, or
        another."""
        if isinstance(self.plan, Sampler):
            like = {"dtype": DTYPES[self.dtype], "device": self.device}
            labels = self.labels(unit)
            return self.plan.run(denoiser, unit, None if labels is None else labels.to(self.device), noise, **like)
        return sample(
            denoiser,
            self.denoiser.shape,
            seed=unit,
            plan=self.plan,
            labels=self.labels(unit),
            data=self._data(unit),
            noise=self.noise if noise is None else noise,
            dtype=DTYPES[self.dtype],
            device=self.device,
        )

    def _data(self, unit: Sequence[int]) -> Tensor | None:
        """What a unit's samples begin from."""
        if self.data is None:
            return None
        number = self.seeds.index(unit[0]) // self.batch
        piece = next(self.data.pieces(self.batch, len(self.seeds), lambda other: other == number))
        return self.pixels.samples(piece.images, self.denoiser.shape, DTYPES[self.dtype], self.device)

    def pieces(
        self,
        owns: Callable[[int], bool] = lambda number: True,
        asked: Callable[[int], Any] | None = None,
        tally: Tally | None = None,
    ) -> Iterator[Piece]:
        """The images of all units whose number `owns` says yes to, as `ImageSet.pieces` gives those of a folder."""
        for number, unit in enumerate(self.units):
            if owns(number):
                yield Piece(number * self.batch, self.images(unit, asked, tally))

    def facts(self, version: str, threads: int) -> dict[str, Any]:
        """Everything that decides the bytes, as JSON-able values; `different` compares them."""
        null = facts(self.denoiser).null if self.guidance != 1 else None
        return {
            "model": self.model,
            "model_sha256": self.model_hash,
            "network": self.network.facts(),
            "solver": self.plan.solver,
            "nfe": self.plan.nfe,
            "plan_sha256": self.plan.digest,
            "seeds": show_seeds(self.seeds),
            "batch": self.batch,
            "class": self.label if self.label is None or isinstance(self.label, int) else list(self.label),
            "guidance": self.guidance,
            "null": null.tolist() if isinstance(null, (Tensor, np.ndarray)) else null,
            "noise": self.noise,
            "dtype": self.dtype,
            "compiled": self.compiled,
            "data_range": list(self.pixels.data_range),
            "decode_batch": self.pixels.batch if self.pixels.decode else None,
            "data_sha256": None if self.data is None else fingerprint(self.data),
            "device": self.device.partition(":")[0],
            "threads": threads,
            "version": version,
            "torch": torch.__version__,
        }


def _counted(asked: Callable[[int], Any], inner: Any, x: Tensor, at: Point, labels: Tensor | None) -> Tensor:
    asked(len(x))
    return ask(inner, x, at, labels)
