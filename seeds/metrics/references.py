"""Reference statistics on disk: written with all that makes them comparable, read as plain arrays, never as pickles."""

import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seeds.errors import InputError
from seeds.images.archives import arrays
from seeds.metrics.checks import MetricError, as_features, as_gaussian
from seeds.metrics.features import Recipe
from seeds.names import some
from seeds.storage import replacing

_FORMAT = 1
_RECIPE = ("name", "sha256", "resize", "channels")
_NUMBERS, _TEXTS = ("mu", "sigma", "n", "features"), ("dtype", "source", *_RECIPE)
DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and covariance of a set of images' features, as of `moments.moments_of`, and where they come from.

    Attributes:
        mu, sigma: float64, shapes (d,) and (d, d).
        n: how many images; None in a file from elsewhere.
        recipe: how the features were made; None in a file from elsewhere (EDM's and ADM's say nothing).
        dtype: of the features before they were summed.
        source: the images, in words.
        features: the features themselves, float32 (n, d), if they were kept: the kernel distance and precision and
            recall need them.
    """

    mu: np.ndarray
    sigma: np.ndarray
    n: int | None = None
    recipe: Recipe | None = None
    dtype: str = "unknown"
    source: str = ""
    features: np.ndarray | None = None


def bundled_statistics() -> dict[str, Path]:
    """The statistics that come with the package: name -> file. `fashion-mnist`: the 60,000 training images, in
    `fashion-features` space."""
    return {path.stem.replace("_", "-"): path for path in sorted(DATA.glob("*.npz"))}


def save_statistics(path: str | Path, statistics: Statistics, *, over: bool = True) -> None:
    """Write an npz of `mu`, `sigma`, `n`, `dtype`, `source`, `name`, `sha256`, `resize`, `channels` and `format`; all
    or nothing appears.

    EDM's and ADM's tools read its `mu` and `sigma`.

    Args:
        over: replace a file that is there already.
    Raises: MetricError without a recipe, or if the file cannot be written, or is there and not to be replaced.
    """
    if statistics.recipe is None:
        raise MetricError(
            "`statistics` has no recipe: features must be stored with the name and hash of what made them."
        )
    fields = {key: value for key, value in vars(statistics).items() if key != "recipe" and value is not None}
    path = Path(path)
    try:
        with replacing(path, shared=True, over=over) as part, part.open("wb") as file:
            np.savez(file, format=_FORMAT, **fields, **vars(statistics.recipe))
    except OSError as error:
        left = "What was there before still is" if path.exists() else "Nothing was left there"
        raise MetricError(f"The statistics cannot be written to {path}: {error.strerror}. {left}.") from error


def load_statistics(path: str | Path) -> Statistics:
    """Statistics from an npz of this library, of EDM (`mu`, `sigma`) or of ADM (the same, beside `mu_s`, `sigma_s` and
    images).

    Only plain arrays are read (allow_pickle=False). Raises: MetricError that names the file if it is missing, damaged,
    or holds no finite `mu` (d,) and symmetric `sigma` (d, d), or beside them what is no number `n`, no `features` (n,
    d) or no recipe.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            fields = arrays(archive, {*_NUMBERS, *_TEXTS})
            if missing := sorted({"mu", "sigma"} - set(fields)):
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                raise InputError(f"it holds {some(names)}, but no `{'`, `'.join(missing)}`")
        return _checked(fields)
    except FileNotFoundError:
        raise MetricError(
            f"The reference {path} does not exist. `seeds ref` makes one; bundled: {', '.join(bundled_statistics())}."
        ) from None
    except (OSError, EOFError, ValueError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise MetricError(
            f"The reference {path} cannot be read: {str(error).rstrip('.')}. It is damaged, or no statistics file; "
            "`seeds ref` makes one."
        ) from error


def _checked(found: dict[str, np.ndarray]) -> Statistics:
    """The statistics that the arrays of a file make. Raises: ValueError that says what is wrong with them, MetricError
    among them."""
    for key, value in found.items():
        if key in _NUMBERS and value.dtype.kind not in "iuf":
            raise InputError(f"its `{key}` is {value.dtype}, no real numbers")
        if key in _TEXTS and (value.dtype.kind, value.ndim) != ("U", 0):
            raise InputError(f"its `{key}` is {value.dtype} {value.shape}, no text")
    mu, sigma = as_gaussian(found["mu"], found["sigma"])
    n, features = found.get("n"), found.get("features")
    if n is not None and (n.dtype.kind == "f" or n.ndim or n < 2):
        raise InputError(f"its `n` is {n}, not the number of two or more images")
    if features is not None and as_features(features).shape != (len(features) if n is None else n, mu.size):
        raise InputError(f"its `features` {features.shape} do not belong to its `mu` {mu.shape} of {n} images")
    text = {key: str(found[key]) for key in _TEXTS if key in found}
    recipe = {key: text.pop(key) for key in _RECIPE if key in text}
    made_by = Recipe(**recipe) if len(recipe) == len(_RECIPE) else None
    return Statistics(mu, sigma, None if n is None else int(n), made_by, **text, features=features)


def check_comparable(recipe: Recipe, dim: int, reference: Statistics) -> None:
    """Refuses features against a reference that other features made.

    Raises: MetricError if the dimension or any field of the recipe differs; each difference is named.
    Warns: UserWarning if the reference does not say what made it (EDM's and ADM's files): the dimension is all that
        could be checked.
    """
    if len(reference.mu) != dim:
        raise MetricError(
            f"{recipe.name} gives d = {dim} features, the reference has d = {len(reference.mu)}: other features made "
            "it."
        )
    if reference.recipe is None:
        warnings.warn(
            f"The reference does not say which features made it; {recipe} is taken on trust, only d = {dim} could be "
            "checked.",
            stacklevel=2,
        )
    elif reference.recipe != recipe:
        ours, theirs = vars(recipe), vars(reference.recipe)
        differ = "; ".join(f"{key} {theirs[key]} there, {ours[key]} here" for key in ours if ours[key] != theirs[key])
        raise MetricError(
            f"The reference was made by other features ({differ}), so nothing was compared. Make it anew with `seeds "
            "ref`."
        )
