"""A study: solvers against model calls; every row is one job, and the record says all that repeats it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from seeds.distributed import Group
from seeds.images import ImageSet
from seeds.metrics.checks import check_splits, check_units
from seeds.metrics.features import Extractor
from seeds.metrics.references import Statistics
from seeds.runs.folder import environment
from seeds.runs.job import Job
from seeds.runs.records import NETWORK
from seeds.runs.seed_text import show_seeds

OF_A_MODEL = ("model", "model_sha256", "data_range", "decode_batch")
"""Facts of a study that are lists where it has several models."""


@dataclass(frozen=True)
class StudyRow:
    """One point of a curve.

    Attributes:
        line: the name of the curve.
        options: of the solver and the grid, as they were given.
        steps: what `nfe_asked` model calls are enough for.
        job: what is drawn.
    """

    line: str
    options: Mapping[str, Any]
    steps: int
    nfe_asked: int
    job: Job

    def work(self, group: Group) -> tuple[int, int]:
        """Model calls and images of this process' share."""
        images = sum(map(len, group.share(self.job.units)))
        return images * self.job.plan.nfe, images

    def facts(self) -> dict[str, Any]:
        """What identifies the row, as JSON-able values."""
        plan = self.job.plan
        return {
            "line": self.line,
            "solver": plan.solver,
            "options": {key: it if isinstance(it, (str, int)) else repr(it) for key, it in self.options.items()},
            "steps": self.steps,
            "nfe": plan.nfe,
            "nfe_asked": self.nfe_asked,
            "seeds": show_seeds(self.job.seeds),
            "images": len(self.job.seeds),
            "plan_sha256": plan.digest,
        }


@dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
        rows: jobs, of one model or of several.
        extractor, statistics, reference: the features, what the images are compared with, and its name and hash.
        baselines: image sets by name, measured in the same way.
        units, splits: parts of the jackknife of the Frechet distance, and splits of the Inception score.
        shown: images of each row to be kept as a picture.
        sources: by what names the extractor is found again: `features`, `sha256`, `device`.
    Raises: MetricError if a row or a baseline has too few images for the units or the splits, or images of a shape that
        the extractor refuses.
    """

    rows: Sequence[StudyRow]
    extractor: Extractor
    statistics: Statistics
    reference: Mapping[str, Any]
    baselines: Mapping[str, ImageSet] = field(default_factory=dict)
    units: int = 10
    splits: int = 10
    shown: int = 10
    sources: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sets = self.baselines.values()
        for count in {*(len(row.job.seeds) for row in self.rows), *(images.count for images in sets)}:
            check_units(self.units, count)
            if self.extractor.classes:
                check_splits(self.splits, count)
        drawn = {job.image_shape for job in self.models.values()}
        for shape in {*drawn, *(next(images.batches(1)).shape[1:] for images in sets)}:
            self.extractor.check(*shape)

    @cached_property
    def models(self) -> dict[str, Job]:
        """The first job of each model, by the model's name."""
        jobs: dict[str, Job] = {}
        for row in self.rows:
            jobs.setdefault(row.job.model, row.job)
        return jobs

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """What each model's network is known by, as JSON-able values, by the model's name."""
        return {name: job.network.facts() for name, job in self.models.items()}

    def row_facts(self, number: int) -> dict[str, Any]:
        """What identifies a row: its own facts, and its model where there are several."""
        job = self.rows[number].job
        own = {"model": job.model, "model_sha256": job.model_hash} if len(self.models) > 1 else {}
        return self.rows[number].facts() | own

    def facts(self, version: str, threads: int) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON-able values."""
        job, *others = (job.facts(version, threads) for job in self.models.values())
        several = {key: [job[key], *(other[key] for other in others)] for key in OF_A_MODEL} if others else {}
        return {
            **{key: job[key] for key in job if key not in ("solver", "nfe", "plan_sha256", "seeds", NETWORK)},
            **several,
            "features": vars(self.extractor.recipe),
            "reference": dict(self.reference),
            "seeds": list(dict.fromkeys(show_seeds(row.job.seeds) for row in self.rows)),
            "nfe": sorted({row.nfe_asked for row in self.rows}),
            "units": self.units,
            "splits": self.splits,
            "shown": self.shown,
            "baselines": {name: str(images.path) for name, images in self.baselines.items()},
        }

    def environment(self) -> dict[str, str]:
        """Versions, platform and device."""
        return {**environment(self.rows[0].job.device), "torch": torch.__version__}
