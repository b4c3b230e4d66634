"""`seeds ref | fid | is | kid`: reference statistics, and the distance of a set of images to them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from seeds import __version__
from seeds.cli import jobs, models, options
from seeds.cli.options import POSITIVE, FilePath, Flag
from seeds.cli.session import Command, Session, pass_session
from seeds.metrics.checks import UNITS, MetricError, check_splits, check_units

if TYPE_CHECKING:
    from seeds.distributed import Group
    from seeds.images import Piece
    from seeds.metrics.estimate import Estimate
    from seeds.metrics.features import Extractor
    from seeds.metrics.references import Statistics
    from seeds.runs import Job

FEATURES, REFERENCE = "fashion-features", "fashion-mnist"
"""Those of the bundled models."""
MAY_BE = (
    "`--features` may be fashion-features (bundled, for grey images of 28 x 28), emoji-features (for colour of 32 x "
    "32), pixels (of any images), or the path of a TorchScript detector with its --sha256, as "
    "inception-2015-12-05.pt, which gives the FID of papers."
)


_extraction = options.adding(
    Flag(
        "--features",
        "fashion-features, or the path of a TorchScript detector: inception-2015-12-05.pt.",
        default=FEATURES,
    ),
    Flag("--sha256", "SHA-256 of the detector's file; required with one.", metavar="HEX"),
    Flag("--num", "Use the first NUM images in order.  [default: all]", POSITIVE),
    Flag("--batch", "Images looked at, or drawn, at once.", POSITIVE, default=64),
    jobs.device,
)
_images = options.adding(
    click.argument("images", required=False, type=FilePath()),
    _extraction,
    Flag(jobs.MODEL, "Draw the images from this model instead: a bundled name, a file, or module:factory."),
    Flag(
        "--seeds seed_text",
        "Use the images of these seeds only; with --model, draw them.  [default there: 0 to NUM - 1]",
    ),
    jobs.job_options(),
)
_reference = Flag("--ref reference", "Reference statistics: fashion-mnist, or an npz.", default=REFERENCE)
PARTS = Flag("--units", "Parts of the jackknife behind an interval.", click.IntRange(2, UNITS), default=UNITS)
_json = Flag("--json as_json", "Print JSON: the value, the interval, and everything they came from.", is_flag=True)


@click.command(cls=Command)
@Flag("--images", "Folder, zip, npz (arr_0) or IDX file.", FilePath(), required=True)
@_extraction
@Flag("--out", "The npz to write.", FilePath(), required=True)
@Flag("--keep-features", "Store every image's features too; `seeds kid` needs them.", is_flag=True)
@pass_session
def ref(session, images, features, sha256, num, batch, device, out, keep_features):
    """Write the reference statistics of images."""
    from seeds.metrics.moments import moments_of
    from seeds.metrics.references import Statistics, save_statistics
    from seeds.metrics.together import in_order

    extractor, source = extractor_of(session, features, sha256, device), _Source.files(images, num, batch)
    check_shape(extractor, *source.shape)
    if source.count < 2:
        raise MetricError(
            f"N = {source.count} image of {images} is too few: a covariance needs at least 2. Give more images, or a "
            "larger --num."
        )
    _claim(session, out)
    rows: Iterable[np.ndarray] = in_order(source.over(extractor, session.group), len(source.sizes), session.group)
    rows = list(rows) if keep_features else rows
    moments = moments_of(rows)

    def write() -> None:
        kept = np.concatenate(list(rows)) if keep_features else None
        about = moments.n, extractor.recipe, "float32", images.name, kept
        save_statistics(out, Statistics(moments.mean, moments.covariance(), *about), over=session.group.again)

    session.group.once(write)  # all wait: what they do next may read it
    session.say(f"{out}: {moments.n} images, d = {len(moments.mean)}, {extractor.recipe}")


@click.command(cls=Command)
@_reference
@_images
@PARTS
@_json
@pass_session
def fid(session, reference, units, as_json, **asked):
    """Squared Frechet distance of images to a reference (FID when the features are Inception's).

    IMAGES is a folder, zip, npz (arr_0) or IDX file; --model draws them instead.
    """
    from seeds.metrics.frechet import frechet_estimate

    measured = _Measured.of(session, reference, **asked)
    check_units(units, measured.source.count)
    rows = measured.rows(measured.features)
    if session.group.first:
        mu, sigma = measured.statistics.mu, measured.statistics.sigma
        measured.report(frechet_estimate(rows, mu, sigma, units), as_json, units=units)


@click.command("is", cls=Command)
@_images
@Flag("--splits", "Splits of the images, in their order.", POSITIVE, default=10)
@_json
@pass_session
def is_(session, splits, as_json, **asked):
    """Inception score of images, under a classifier.

    IMAGES is a folder, zip, npz (arr_0) or IDX file; --model draws them instead.
    """
    from seeds.metrics.inception_score import inception_score

    measured = _Measured.of(session, None, **asked)
    check_splits(splits, measured.source.count)
    probabilities = measured.rows(measured.extractor.probabilities)
    if session.group.first:
        measured.report(inception_score(probabilities, splits), as_json, splits=splits)


@click.command(cls=Command)
@_reference
@_images
@PARTS
@Flag("--subsets", "Compare within units only: faster, with a larger error.", is_flag=True)
@_json
@pass_session
def kid(session, reference, units, subsets, as_json, **asked):
    """Kernel distance of images to a reference: KID.

    IMAGES is a folder, zip, npz (arr_0) or IDX file; --model draws them instead. The reference must hold features:
    `seeds ref --keep-features`.
    """
    from seeds.metrics.kernel import kernel_distance

    measured = _Measured.of(session, reference, **asked)
    reference_rows = measured.statistics.features
    if reference_rows is None:
        raise MetricError(
            f"The reference {reference} holds no features, only their mean and covariance. Make it with `seeds ref "
            "--keep-features`."
        )
    check_units(units, len(reference_rows), of="reference")
    check_units(units, measured.source.count)
    rows = measured.rows(measured.features)
    if session.group.first:
        distance = kernel_distance(rows, reference_rows, units=units, across=not subsets)
        measured.report(distance, as_json, units=units, subsets=subsets)


@dataclass(frozen=True)
class _Source:
    """Where images come from: a set of files, or a model.

    Attributes:
        pieces: gives this process' pieces; told which numbers are its own, and what to call with the number of images
            asked about.
        sizes: images in each piece.
        shape: (H, W, C) of the images.
        facts: for the report.
        job: of the model.
    """

    pieces: Callable[..., Iterator[Piece]]
    sizes: Sequence[int]
    shape: tuple[int, ...]
    facts: dict[str, Any]
    job: Job | None = None

    @classmethod
    def files(cls, images: Path, num: int | None, batch: int, seeds: Sequence[int] | None = None) -> _Source:
        from seeds.images import open_images
        from seeds.runs import show_seeds

        image_set = open_images(images, seeds)
        count = image_set.count if num is None else num
        sizes = [min(batch, count - at) for at in range(0, count, batch)]
        said = None if seeds is None else show_seeds(seeds)
        facts = {"images": str(images), "num": num, "seeds": said, "batch": batch}
        shape = next(image_set.batches(1)).shape[1:]
        return cls(lambda owns, asked, tally: image_set.pieces(batch, num, owns), sizes, shape, facts)

    @classmethod
    def live(cls, job: Job) -> _Source:
        import torch

        facts = {"job": job.facts(__version__, torch.get_num_threads())}
        return cls(job.pieces, [len(unit) for unit in job.units], job.image_shape, facts, job)

    @property
    def count(self) -> int:
        """How many images."""
        return sum(self.sizes)

    def over(self, function: Callable[[np.ndarray], np.ndarray], group: Group) -> Iterator[tuple[int, np.ndarray]]:
        """(place of its first image, `function` of it) for each of this process' pieces, while progress is told.

        Raises: ValueError if the processes draw with different networks. Warns: UserWarning at the end, as `runs.run`.
        """
        from seeds.runs import Progress, Tally, check_agreed

        if self.job is not None:
            check_agreed(self.job.network, group)
        own, calls, tally = sum(group.share(self.sizes)), self.job.plan.nfe if self.job else 0, Tally()
        with Progress(group, "features", own * (calls + 1), own) as bar:
            for piece in self.pieces(group.owns, bar.asked, tally):
                yield piece.first, function(piece.images)
                bar.asked(len(piece.images))
        if self.job is not None and (warning := tally.total(group).warning(self.job.pixels.data_range)):
            warnings.warn(warning, stacklevel=2)


def _source(session: Session, device: str | None, *, images, num, batch, model, seed_text, **given) -> _Source:
    """The source that a command's arguments name."""
    from seeds.runs import parse_seeds

    if (images is None) == (model is None):
        raise click.UsageError(
            "Give either IMAGES (a folder, zip, npz or IDX file) or --model, whose images are drawn."
        )
    seeds = parse_seeds(seed_text) if seed_text is not None else None
    if model is None:
        if alien := options.typed(given):
            raise click.UsageError(f"`{alien[0]}` is for images that a model draws: give --model instead of IMAGES.")
        return _Source.files(images, num, batch, seeds)
    if seeds is None and num is not None:
        seeds = list(range(num))
    elif seeds is None and not isinstance(given["label"], options.Each):
        raise click.UsageError(
            "Say which images the model is to draw: --seeds 0-9999, or --num 10000 for the first of them."
        )
    source = models.load_model(model, session.device(device))
    seeds = jobs.seeds_of(seeds, given["label"], source) or []
    if num is not None and num > len(seeds):
        raise MetricError(f"`num` = {num} images were asked of {len(seeds)} seeds.")
    return _Source.live(jobs.job(source, seeds[:num], batch, **given))


def check_shape(extractor: Extractor, *shape: int) -> None:
    """Raises: MetricError that says which features there are, if the extractor takes no images of this shape (H, W,
    C)."""
    try:
        extractor.check(*shape)
    except MetricError as error:
        raise MetricError(f"{error} {MAY_BE}") from error


@dataclass(frozen=True)
class _Measured:
    """Images, what looks at them, and what they are compared with.

    Attributes:
        statistics: of the reference, which are of these features; None where there is none.
        facts: what to report of the reference.
    """

    session: Session
    extractor: Extractor
    source: _Source
    statistics: Any
    facts: dict[str, Any]

    @classmethod
    def of(cls, session: Session, reference: str | None, *, features, sha256, device, **asked) -> _Measured:
        """What the arguments of a command name."""
        from seeds.metrics.references import check_comparable

        extractor, statistics, facts = extractor_of(session, features, sha256, device), None, {}
        if reference is not None:
            statistics, reference_sha256 = statistics_of(reference)
            check_comparable(extractor.recipe, len(statistics.mu), statistics)
            facts = {"reference": reference, "reference_sha256": reference_sha256, "reference_n": statistics.n}
        source = _source(session, device, **asked)
        check_shape(extractor, *source.shape)
        return cls(session, extractor, source, statistics, facts)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features, once they are found to be the reference's kind."""
        from seeds.metrics.references import check_comparable

        features = self.extractor(images)
        check_comparable(self.extractor.recipe, features.shape[1], self.statistics)
        return features

    def rows(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """On rank 0 `function` of all images, in their order."""
        from seeds.metrics.together import collected

        return collected(self.source.over(function, self.session.group), self.session.group, self.source.count)

    def report(self, estimate: Estimate, as_json: bool, **facts) -> None:
        """Prints an estimate; as JSON with everything that it came from."""
        if not as_json:
            click.echo(estimate)
            return
        import torch

        made = {"device": self.extractor.device.partition(":")[0], "threads": torch.get_num_threads()}
        made |= {"version": __version__, "torch": torch.__version__}
        asked = self.source.facts | {"features": vars(self.extractor.recipe)} | facts | self.facts
        click.echo(json.dumps(estimate.facts() | asked | made, indent=2))


def _claim(session: Session, out: Path) -> None:
    """Raises: MetricError, before any work, if there is something at `out` or nothing can be written there. Its folder
    is made."""

    def look() -> None:
        if out.exists() and not session.group.again:
            raise MetricError(
                f"`--out` {out} is there already, and is not written over. Choose another file, or take it away."
            )
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=out.parent).close()
        except OSError as error:
            raise MetricError(
                f"`--out` {out} cannot be written: {error.strerror} ({error.filename}). Choose another place."
            ) from error
        session.group.begin()

    session.group.once(look)


def extractor_of(session: Session, features: str, sha256: str | None, device: str | None) -> Extractor:
    """On this process' device: a TorchScript detector by its path (`.pt`, or a file that begins as one), else a
    classifier from a weight file or a bundled name."""
    import torch

    from seeds.metrics.features import from_module, from_torchscript, pixels
    from seeds.modules import check_device

    device = session.device(device) or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    if not features:
        raise MetricError(f"`--features` is empty. {MAY_BE}")
    if features == "pixels":
        return pixels(device)
    path = Path(features)
    if path.suffix == ".pt" or _is_zip(path):
        return from_torchscript(path, sha256, device=device)
    if sha256 is not None:
        absent = "" if path.exists() else ", nor is there such a file"
        raise MetricError(
            f"`--sha256` belongs to a TorchScript file, but `--features` {features} is none{absent}. Give the "
            "detector's path, or leave --sha256 out."
        )
    from seeds.checkpoints import CheckpointError, info, load  # opens weights: not needed for the detector

    try:
        facts, module = info(features), load(features)
    except CheckpointError as error:
        raise MetricError(f"`--features` {features}: {error} {MAY_BE}") from error
    if facts["kind"] != "features":
        raise MetricError(
            f"`--features` {features} is a model of kind {facts['kind']!r}, no feature network. Take fashion-features."
        )
    return from_module(
        module, facts["name"], channels="rgb" if getattr(module, "channels", 1) == 3 else "grey", device=device
    )


def _is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does; every TorchScript file is one."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False  # whoever reads it says why


def statistics_of(reference: str) -> tuple[Statistics, str]:
    """The statistics in a file, or the bundled ones of that name, and the SHA-256 of their file."""
    from seeds.metrics.references import bundled_statistics, load_statistics
    from seeds.storage import hash_file

    if not reference:
        raise MetricError("`--ref` is empty. Give the statistics' file, or the name of bundled ones: fashion-mnist.")
    path = bundled_statistics().get(reference, Path(reference))
    if path.is_dir():
        raise MetricError(
            f"`--ref` {reference} is a folder; a reference is a file of statistics. Make one of the images in it: "
            f"seeds ref --images {reference} --out reference.npz, with the --features of the distance."
        )
    return load_statistics(path), hash_file(path)
