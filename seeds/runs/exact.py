"""What the images of an exact model are compared with: samples of the model itself, kept beside the study."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
    recipe, span = vars(extractor.recipe), list(job.pixels.data_range)
    about = [job.model_hash, recipe, show_seeds(job.seeds), repr(job.label), times, span]
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    reference, floor = folder / f"{key}.ref.npz", folder / f"{key}.exact.npz"

    def features() -> Iterator[tuple[int, np.ndarray]]:
        for number, images in enumerate(_blocks(job, FIRST, times)):
            if group.owns(number):
                yield number, extractor(images())

    def write_floor() -> None:
        with replacing(floor, shared=True) as part, part.open("wb") as file:
            np.savez(file, arr_0=np.concatenate([images() for images in _blocks(job, 2 * FIRST)]))

    group.once(lambda: folder.mkdir(parents=True, exist_ok=True))
    if not group.once(reference.exists):
        moments = moments_of(in_order(features(), times * -(-len(job.seeds) // BLOCK), group))
        about_it = moments.n, extractor.recipe, "float32", f"exact samples of {job.model}"
        group.once(lambda: save_statistics(reference, Statistics(moments.mean, moments.covariance(), *about_it)))
    if not group.once(floor.exists):
        group.once(write_floor)
    return reference, floor


def _blocks(job: Job, first: int, times: int = 1) -> Iterator[Callable[[], np.ndarray]]:
    """What draws each block of exact samples, uint8 (B, H, W, C), of the classes of the job's seeds, so many `times`;
    they are numbered from `first` on."""

    def images(seeds: Sequence[int], number: int) -> np.ndarray:
        own = range(number, number + len(seeds))
        return job.pixels.images(job.denoiser.sample(own, job.labels(seeds)))

    for start in range(first, first + times * len(job.seeds), len(job.seeds)):
        for at in range(0, len(job.seeds), BLOCK):
            yield partial(images, job.seeds[at : at + BLOCK], start + at)
