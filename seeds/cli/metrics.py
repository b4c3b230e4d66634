"""`seeds ref | fid | is | kid`: reference statistics, and the distance of a set of images to them."""

import json
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from seeds.metrics.checks import MetricError
from seeds.metrics.estimate import Estimate
from seeds.metrics.features import Extractor, from_module, from_torchscript
from seeds.metrics.frechet import frechet_estimate
from seeds.metrics.images import ImageSet, open_images
from seeds.metrics.inception_score import inception_score
from seeds.metrics.kernel import kernel_distance
from seeds.metrics.moments import Moments, UnitMoments
from seeds.metrics.references import Statistics, check_comparable, load_statistics, save_statistics


class MetricCommand(click.Command):
    """A command that prints a MetricError, exit status 1, and any warning as one sentence each."""

    def invoke(self, context):
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                result = super().invoke(context)
            for warning in caught:
                click.echo(f"Warning: {warning.message}", err=True)
            return result
        except MetricError as error:
            raise click.ClickException(str(error)) from error


def _options(*options):
    def apply(function):
        for option in reversed(options):
            function = option(function)
        return function

    return apply


_images = click.argument("images", type=click.Path(path_type=Path))
_extraction = _options(
    click.option("--features", required=True, help="fashion-features, or the path of a TorchScript detector: inception-2015-12-05.pt."),
    click.option("--sha256", metavar="HEX", help="SHA-256 of the detector's file; required with one."),
    click.option("--num", type=click.IntRange(1), help="Use the first NUM images in order.  [default: all]"),
    click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images a call of the extractor."),
    click.option("--device", default="cpu", show_default=True, help="Where the extractor runs: cpu, cuda, cuda:1, mps."),
)
_reference = click.option("--ref", "reference", required=True, type=click.Path(path_type=Path), help="Reference statistics, an npz.")
_units = click.option("--units", type=click.IntRange(2), default=10, show_default=True, help="Parts of the jackknife behind the interval.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON: the value, the interval, and everything they came from.")


@click.command(cls=MetricCommand)
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder, zip, npz (arr_0) or IDX file.")
@_extraction
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The npz to write.")
@click.option("--keep-features", is_flag=True, help="Store every image's features too; `seeds kid` needs them.")
def ref(images, features, sha256, num, batch, device, out, keep_features):
    """Write the reference statistics of a set of images."""
    extractor, source = _extractor(features, sha256, device), open_images(images)
    blocks = _over(extractor, source, batch, num)
    head, kept = next(blocks), []
    moments = Moments(head.shape[1])
    for rows in chain((head,), blocks):
        moments.update(rows)
        kept += [rows] if keep_features else []
    save_statistics(out, Statistics.of(moments, extractor.recipe, images.name, np.concatenate(kept) if kept else None))
    click.echo(f"{out}: {moments.n} images, d = {moments.dim}, {extractor.recipe}")


@click.command(cls=MetricCommand)
@_images
@_reference
@_extraction
@_units
@_json
def fid(images, reference, features, sha256, num, batch, device, units, as_json):
    """Frechet distance of IMAGES (folder, zip, npz, IDX) to reference statistics."""
    extractor, source, statistics = _extractor(features, sha256, device), open_images(images), load_statistics(reference)
    blocks = _over(extractor, source, batch, num)
    head = next(blocks)
    check_comparable(extractor.recipe, head.shape[1], statistics)
    stream = UnitMoments(head.shape[1], units)
    for rows in chain((head,), blocks):
        stream.update(rows)
    estimate = frechet_estimate(stream, statistics.mu, statistics.sigma)
    _report(estimate, extractor, images, as_json, reference=str(reference), reference_n=statistics.n)


@click.command("is", cls=MetricCommand)
@_images
@_extraction
@click.option("--splits", type=click.IntRange(1), default=10, show_default=True, help="Splits of the images, in their order.")
@_json
def is_(images, features, sha256, num, batch, device, splits, as_json):
    """Inception score of IMAGES (folder, zip, npz, IDX) under a classifier."""
    extractor, source = _extractor(features, sha256, device), open_images(images)
    probabilities = np.concatenate(list(_over(extractor.probabilities, source, batch, num)))
    _report(inception_score(probabilities, splits), extractor, images, as_json, splits=splits)


@click.command(cls=MetricCommand)
@_images
@_reference
@_extraction
@_units
@click.option("--subsets", is_flag=True, help="Compare within units only: faster, with a larger error.")
@_json
def kid(images, reference, features, sha256, num, batch, device, units, subsets, as_json):
    """Kernel distance of IMAGES (folder, zip, npz, IDX) to a reference that keeps its features."""
    extractor, source, statistics = _extractor(features, sha256, device), open_images(images), load_statistics(reference)
    if statistics.features is None:
        raise MetricError(
            f"The reference {reference} holds no features, only their mean and covariance. Make it with `seeds ref --keep-features`."
        )
    blocks = _over(extractor, source, batch, num)
    head = next(blocks)
    check_comparable(extractor.recipe, head.shape[1], statistics)
    estimate = kernel_distance(np.concatenate([head, *blocks]), statistics.features, units=units, across=not subsets)
    _report(estimate, extractor, images, as_json, reference=str(reference), reference_n=statistics.n)


COMMANDS = (ref, fid, is_, kid)


def _extractor(features: str, sha256: str | None, device: str) -> Extractor:
    """A TorchScript detector by its path (`.pt`, or any file with a hash given), else a classifier from a weight file or a bundled name."""
    if sha256 or Path(features).suffix == ".pt":
        return from_torchscript(features, sha256, device=device)
    from seeds.checkpoints import CheckpointError, info, load  # opens weights: not needed for the detector

    try:
        facts, module = info(features), load(features)
    except CheckpointError as error:
        raise MetricError(f"`--features` {features}: {error}") from error
    if facts["kind"] != "features":
        raise MetricError(f"`--features` {features} is a model of kind {facts['kind']!r}, no feature network. Take fashion-features.")
    return from_module(module, facts["name"], channels="grey", device=device)


def _over(function: Callable, source: ImageSet, batch: int, num: int | None) -> Iterator[np.ndarray]:
    """`function` of the images, batch by batch in their order, under a progress bar where someone is looking."""
    with tqdm(total=num or source.count, unit="image", disable=None) as bar:
        for images in source.batches(batch, num):
            yield function(images)
            bar.update(len(images))


def _report(estimate: Estimate, extractor: Extractor, images: Path, as_json: bool, **facts) -> None:
    if not as_json:
        click.echo(estimate)
        return
    numbers = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(estimate).items()}
    click.echo(json.dumps({**numbers, "images": str(images), "features": vars(extractor.recipe), **facts}, indent=2))
