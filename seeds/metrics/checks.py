"""The one error of `seeds.metrics`, and the checks that every metric makes of its arrays."""

import numpy as np

from seeds.errors import SeedsError

BLOCK = 1024
"""Rows that are looked at, or summed, at a time."""


class MetricError(SeedsError, ValueError):
    """A metric cannot be computed from what it was given: the sentence names the argument, the value, the rule and the
    way out."""


def as_features(features, name: str = "features", least: int = 2, first: int = 0, dtype=np.float64) -> np.ndarray:
    """`features`, an array or a tensor, as an array (N, d), refused by name if it is not a finite matrix of at least
    `least` rows.

    Args:
        dtype: of the result; None keeps float32 and float64 as they are, and copies nothing.

    Raises: MetricError for what is no array of real numbers, another shape, no columns, too few rows, or a value that
            is not finite (the first such row is named, counted from `first`).
    """
    import torch

    if isinstance(features, torch.Tensor):
        features = features.detach().cpu()
        features = features.float() if features.dtype == torch.bfloat16 else features  # NumPy has no bfloat16
    try:
        raw = np.asarray(features)
        if isinstance(features, np.ma.MaskedArray) or raw.dtype.kind == "c":
            raise TypeError
        as_is = dtype is None and raw.dtype in (np.float32, np.float64)
        array = raw if as_is else np.asarray(raw, dtype=dtype or np.float64)
    except (TypeError, ValueError):
        raise MetricError(
            f"`{name}` must be an array or a tensor of real numbers, none of them masked, but is {kind_of(features)}."
        ) from None
    if array.ndim != 2 or array.shape[1] == 0:
        raise MetricError(
            f"`{name}` must have shape (N, d), a row for each image, but has shape {array.shape}. Flatten or pool it "
            "first."
        )
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


def kind_of(given) -> str:
    """What it is, for a sentence: its type, and the dtype of an array or a tensor, or the layout of a tensor that is
    not dense."""
    import torch

    sparse = isinstance(given, torch.Tensor) and given.layout != torch.strided
    of = given.layout if sparse else getattr(given, "dtype", None)
    return type(given).__name__ + (f" of {of}" if of is not None else "")


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


def check_units(units: int, rows: int, least: int, what: str = "units", of: str = "images") -> None:
    """Raises: MetricError unless `units` is at least 2 and each unit gets `least` of the `rows` rows of `of`."""
    check_whole(what, units)
    if units < 2:
        raise MetricError(f"`{what}` is {units}; an interval needs at least 2.")
    if rows < units * least:
        few, more = (
            (f"N = {rows} is", "more images")
            if of == "images"
            else (f"The {of} has N = {rows} rows, which is", f"a larger {of}")
        )
        raise MetricError(f"{few} too small for {units} {what} of at least {least} rows. Give {more} or fewer {what}.")
