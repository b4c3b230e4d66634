"""Frechet distance between Gaussians, with the square root's trace from symmetric eigenproblems, and its interval."""

import warnings

import numpy as np
import torch

from seeds.metrics.checks import BLOCK, MetricError, as_features, as_gaussian, check_units, same_width
from seeds.metrics.estimate import Estimate, jackknife, units_of
from seeds.metrics.moments import moments_of


class RankWarning(UserWarning):
    """A covariance is singular: the distance is finite, but depends strongly on the number of images."""


def frechet_distance(mu1, sigma1, mu2, sigma2) -> float:
    r"""Squared Frechet (2-Wasserstein) distance between N(mu1, sigma1) and N(mu2, sigma2); on Inception features, the
    FID.

        |mu1 - mu2|^2 + tr(sigma1) + tr(sigma2) - 2 tr((sigma1 sigma2)^{1/2})

    With sigma_i = R_i R_i^T from the symmetric eigenproblem, the last trace is the sum of the singular values of R_1^T
    R_2. No square root is taken of a rounded zero, so singular covariances cost no digits; nothing complex can come out
    and no jitter is added.

    Args:
        mu1, mu2: means, shape (d,).
        sigma1, sigma2: covariances, shape (d, d), symmetric positive semi-definite. All are used in float64.
    Returns: the distance, >= 0, in units of the features squared.
    Raises: MetricError for shapes that do not fit, values that are not finite, or a matrix that is no covariance.
    Warns: RankWarning if a covariance is singular; it names the rank.
    Source: Dowson and Landau 1982, J. Multivariate Anal. 12, 450; Heusel et al. 2017 (arXiv:1706.08500), equation 6.
    """
    mu1, root1 = _gaussian(mu1, sigma1, "1")
    mu2, root2 = _gaussian(mu2, sigma2, "2")
    same_width(len(mu1), len(mu2), ("`mu1`", "`mu2`"))
    _warn_rank("sigma1", root1)
    _warn_rank("sigma2", root2)
    return _distance(mu1, root1, mu2, root2)


def frechet_estimate(features, mu, sigma, units: int = 10) -> Estimate:
    """Squared Frechet distance of features to N(mu, sigma), with its interval: jackknife over `units_of` their rows.

    The reference counts as exact; its own chance error is not in the interval. Cost: one eigenproblem and one set of
    singular values a unit, about 4 s each at d = 2048 on one core; eight matrices (d, d) beside the features: 0.68 GB
    for 50,000 images.

    Args:
        features: (N, d) of the images in the order of their seeds, at least 2 in each unit.
        mu, sigma: the reference, shapes (d,) and (d, d).
        units: how many, from 2 to 10.
    Raises: as `frechet_distance`; MetricError for more units, or an N that is too small for them.
    Warns: RankWarning if N does not exceed d or the reference is singular; it names the rank.
    """
    rows, (mu, root) = as_features(features, dtype=None), _gaussian(mu, sigma, "")
    check_units(units, len(rows))
    total, unit = moments_of([rows]), units_of(np.arange(len(rows)), units)
    same_width(len(total.mean), len(mu), ("`features`", "the reference"))
    _warn_rank("sigma", root)

    def distance(left_out: int | None) -> float:
        rest = total
        if left_out is not None:
            places = np.flatnonzero(unit == left_out)
            blocks = (rows[places[at : at + BLOCK]] for at in range(0, len(places), BLOCK))  # not all rows twice
            rest = total.plus(moments_of(blocks), -1)
        mean, sigma = rest.mean, rest.covariance()
        del rest  # its (d, d) would be held through the eigenproblem
        rest_root = _root(sigma, "features")
        if left_out is None:
            _warn_rank(f"the covariance of {total.n} images", rest_root)
        return _distance(mean, rest_root, mu, root)

    return jackknife("squared Frechet distance", distance, units, total.n)


def _gaussian(mu, sigma, number: str) -> tuple[np.ndarray, np.ndarray]:
    """Checked float64 mean (d,) and root (d, rank) of a covariance."""
    mu, sigma = as_gaussian(mu, sigma, number)
    return mu, _root(sigma, f"sigma{number}")


def _root(sigma: np.ndarray, name: str) -> np.ndarray:
    """R (d, rank) with R R^T = sigma; eigenvalues within rounding of zero are zero.

    The algebra, here and below, is torch's: its last digits depend on torch's threads, which a run records and
    `--threads` sets, and not on those of numpy's BLAS, which it does not.
    """
    values, vectors = (array.numpy() for array in torch.linalg.eigh(torch.from_numpy(sigma)))
    if values[0] < -1e-6 * abs(values[-1]):
        raise MetricError(
            f"`{name}` has the eigenvalue {values[0]:.3g}, so it is no covariance. Recompute it in float64."
        )
    positive = values > len(values) * np.finfo(np.float64).eps * values[-1]
    root = vectors[:, positive]
    root *= np.sqrt(values[positive])
    return root


def _distance(mu1: np.ndarray, root1: np.ndarray, mu2: np.ndarray, root2: np.ndarray) -> float:
    overlap = float(torch.linalg.svdvals(torch.from_numpy(root1).T @ torch.from_numpy(root2)).sum())
    return max(0.0, float(np.sum((mu1 - mu2) ** 2) + np.sum(root1**2) + np.sum(root2**2) - 2 * overlap))


def _warn_rank(which: str, root: np.ndarray) -> None:
    dim, rank = root.shape
    if rank < dim:
        warnings.warn(
            f"{which} has rank {rank} in {dim} dimensions. The Frechet distance is finite, but moves with the number "
            "of images: use more images than dimensions, or compare equal numbers only.",
            RankWarning,
            stacklevel=3,
        )
