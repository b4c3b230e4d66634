"""The one error of `seeds.metrics`, and the checks that every metric makes of its arrays."""

import numpy as np

from seeds.errors import SeedsError

BLOCK = 1024
"""Rows that are looked at, or summed, or of a matrix of all pairs, at a time."""
UNITS = 10
"""Units of a jackknife, at most: its interval is of nine degrees of freedom then."""


class MetricError(SeedsError, ValueError):
    """A metric cannot be computed from what it was given: the sentence names the argument, the value, the rule and the
    way out."""


def as_matrix(given, what: str, dtype=None) -> np.ndarray:
    """A matrix (N, d) of real numbers, an array or a tensor, as an array.

    Args:
        what: what a refusal calls it.
        dtype: of the result; None keeps float32 and float64 as they are, and copies nothing.
    Raises: MetricError for what is no array of real numbers, another shape, or no columns.
    """
    import torch

    rows = given
    try:
        if isinstance(rows, torch.Tensor):
            rows = rows.detach().cpu()
            rows = rows.float() if rows.dtype == torch.bfloat16 else rows  # NumPy has no bfloat16
        raw = np.asarray(rows)
        if isinstance(rows, np.ma.MaskedArray) or raw.dtype.kind not in "fiub":
            raise TypeError
    except (TypeError, ValueError):
        kind = getattr(given, "dtype", None)
        if isinstance(given, torch.Tensor) and given.layout != torch.strided:
            kind = given.layout  # not dense
        raise MetricError(
            f"{what} must be an array or a tensor of real numbers, none of them masked, but is {type(given).__name__}"
            f"{f' of {kind}' if kind is not None else ''}."
        ) from None
    as_is = dtype is None and raw.dtype in (np.float32, np.float64)
    array = raw if as_is else np.asarray(raw, dtype=dtype or np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise MetricError(
            f"{what} must have shape (N, d), a row for each image, but has shape {array.shape}. Flatten or pool it "
            "first."
        )
    return array


def as_features(features, name: str = "features", least: int = 2, first: int = 0, dtype=np.float64) -> np.ndarray:
    """`as_matrix` of an argument, refused by name if it is not finite, or has fewer than `least` rows.

    Raises: MetricError, also for a value that is not finite (the first such row is named, counted from `first`).
    """
    array = as_matrix(features, f"`{name}`", dtype)
    if len(array) < least:
        raise MetricError(f"`{name}` has N = {len(array)} rows; this needs at least {least}. Give more images.")
    for at in range(0, len(array), BLOCK):
        finite = np.isfinite(array[at : at + BLOCK]).all(axis=1)
        if not finite.all():
            raise MetricError(
                f"`{name}` holds a NaN or an infinity, first in row {first + at + int(np.argmin(finite))}. "
                "Look at that image, or at a network running in half precision; no metric can be trusted after it."
            )
    return array


def as_gaussian(mu, sigma, number: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) as float64, the covariance symmetric to the bit.

    Args:
        number: what the arguments are called by after `mu` and `sigma`.
    Raises: MetricError for other shapes, d = 0, values that are not finite, or a `sigma` that differs from its
        transpose by more than rounding.
    """
    mu, sigma = np.asarray(mu, np.float64), np.asarray(sigma, np.float64)
    if mu.ndim != 1 or not mu.size or sigma.shape != (mu.size, mu.size):
        raise MetricError(
            f"`mu{number}` and `sigma{number}` must have shapes (d,) and (d, d), but have {mu.shape} and {sigma.shape}."
        )
    for name, array in (("mu", mu), ("sigma", sigma)):
        if not np.isfinite(array).all():
            raise MetricError(
                f"`{name}{number}` holds a NaN or an infinity. Look for the image, or the file, that it came from."
            )
    skew = np.abs(sigma - sigma.T).max()
    if skew > 1e-5 * np.abs(sigma).max():
        raise MetricError(
            f"`sigma{number}` is not symmetric: it differs from its transpose by {skew:.3g}, so it is no covariance."
        )
    return mu, (sigma + sigma.T) / 2


def check_whole(name: str, value: int) -> None:
    """Raises: MetricError unless `value` is a whole number, of Python or NumPy."""
    if not isinstance(value, (int, np.integer)):
        raise MetricError(f"`{name}` is {value!r}, but must be a whole number.")


def same_width(first: int, second: int, names: tuple[str, str] = ("`features`", "`reference`")) -> None:
    """Raises: MetricError if two sets of these names have different dimensions d."""
    if first != second:
        raise MetricError(
            f"{names[0]} has d = {first} and {names[1]} d = {second}: they come from different extractors. Extract "
            "both with the same one."
        )


def check_splits(splits: int, rows: int) -> None:
    """Raises: MetricError unless each of `splits` splits gets one of `rows` rows."""
    check_whole("splits", splits)
    if not 1 <= splits <= rows:
        raise MetricError(f"`splits` is {splits}, but must lie between 1 and N = {rows}, the number of images.")


def check_units(units: int, rows: int, of: str = "images", most: int = UNITS) -> None:
    """Raises: MetricError unless `units` is from 2 to `most`, and each unit gets 2 of the `rows` rows of `of`."""
    check_whole("units", units)
    if units < 2:
        raise MetricError(f"`units` is {units}; an interval needs at least 2.")
    if units > most:
        raise MetricError(
            f"`units` is {units}, but at most {most}: more parts say no more of the error, and cost more."
        )
    if rows < 2 * units:
        few, more = f"N = {rows} is", "more images"
        if of != "images":
            few, more = f"The {of} has N = {rows} rows, which is", f"a larger {of}"
        raise MetricError(f"{few} too small for {units} units of at least 2 rows. Give {more} or fewer units.")
