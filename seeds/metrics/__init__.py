"""Metrics of image sets: arrays in, numbers out. Nothing here samples, solves or opens a network connection."""

from seeds.metrics.checks import MetricError
from seeds.metrics.estimate import Estimate, over_parts
from seeds.metrics.features import Extractor, Recipe, from_callable, from_module, from_torchscript
from seeds.metrics.frechet import RankWarning, frechet, frechet_distance
from seeds.metrics.images import ImageSet, open_images, to_uint8
from seeds.metrics.inception_score import inception_score
from seeds.metrics.kernel import kernel_distance
from seeds.metrics.moments import Moments, UnitMoments
from seeds.metrics.precision_recall import PrecisionRecall, precision_recall
from seeds.metrics.references import Statistics, check_comparable, load_statistics, save_statistics

__all__ = [
    "Estimate",
    "Extractor",
    "ImageSet",
    "MetricError",
    "Moments",
    "PrecisionRecall",
    "RankWarning",
    "Recipe",
    "Statistics",
    "UnitMoments",
    "check_comparable",
    "frechet",
    "frechet_distance",
    "from_callable",
    "from_module",
    "from_torchscript",
    "inception_score",
    "kernel_distance",
    "load_statistics",
    "open_images",
    "over_parts",
    "precision_recall",
    "save_statistics",
    "to_uint8",
]
