"""What the images of an exact model are compared with: samples of the model itself, kept beside the study."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seeds.distributed import Group
from seeds.errors import InputError
from seeds.metrics.features import Extractor
from seeds.metrics.moments import moments_of
from seeds.metrics.references import Statistics, save_statistics
from seeds.metrics.together import in_order
from seeds.runs.job import Job
from seeds.runs.seed_text import show_seeds
from seeds.storage import replacing

FIRST = 1 << 40
"""The seed of the first exact sample; those of a set follow it, those of the other begin at twice this."""
BLOCK = 500


def is_exact(denoiser: Any) -> bool:
    """Whether a denoiser draws from its own law: it has `sample(seed, labels)`, as the laws of `seeds.exact`, by these
    names."""
    draw = getattr(denoiser, "sample", None)
    return callable(draw) and {"seed", "labels"} <= set(inspect.signature(draw).parameters)


def exact_sets(job: Job, extractor: Extractor, folder: Path, count: int, group: Group) -> tuple[Path, Path]:
    """Statistics of `count` or more exact samples, the reference, and as many others as the job has seeds, the floor.

    Their classes are those of the job's seeds, so that the shares of the classes are no part of a distance. Files that
    are there, of the same law, classes and features, are taken as they are; all processes make them together.

    Raises: ValueError under guidance, whose law is another.
    """
    if job.guidance != 1:
        raise InputError(
            f"`guidance` = {job.guidance:g} draws from another law than that of the model's own samples. Give a "
            "reference with --ref, or leave it out."
        )
    times = -(-count // len(job.seeds))
    about = [
        job.model_hash,
        vars(extractor.recipe),
        show_seeds(job.seeds),
        repr(job.label),
        times,
        list(job.pixels.data_range),
    ]
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    reference, floor = folder / f"{key}.ref.npz", folder / f"{key}.exact.npz"

    blocks = [(k, seeds) for k in range(times) for seeds in _blocks(job.seeds)]

    def features() -> Iterator[tuple[int, np.ndarray]]:
        for number, (k, seeds) in enumerate(blocks):
            if group.owns(number):
                yield number, extractor(_images(job, seeds, FIRST + k * len(job.seeds)))

    def write_floor() -> None:
        images = np.concatenate([_images(job, seeds, 2 * FIRST) for seeds in _blocks(job.seeds)])
        with replacing(floor, shared=True) as part, part.open("wb") as file:
            np.savez(file, arr_0=images)

    group.once(lambda: folder.mkdir(parents=True, exist_ok=True))
    if not group.once(reference.exists):
        moments = moments_of(in_order(features(), len(blocks), group))
        about_it = moments.n, extractor.recipe, "float32", f"exact samples of {job.model}"
        group.once(lambda: save_statistics(reference, Statistics(moments.mean, moments.covariance(), *about_it)))
    if not group.once(floor.exists):
        group.once(write_floor)
    return reference, floor


def _blocks(seeds: Sequence[int]) -> list[list[int]]:
    return [list(seeds[at : at + BLOCK]) for at in range(0, len(seeds), BLOCK)]


def _images(job: Job, seeds: Sequence[int], first: int) -> np.ndarray:
    """Exact samples as uint8 (B, H, W, C), of the classes of these seeds, numbered from `first` by their place."""
    place = job.seeds.index(seeds[0])
    own = range(first + place, first + place + len(seeds))
    return job.pixels.images(job.denoiser.sample(own, job.labels(seeds)))
