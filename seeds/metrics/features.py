"""Feature extractors: any network or function from images to (N, d), with the name, hash, resizing and channel rule it
is known by."""

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seeds.metrics.checks import MetricError, as_matrix
from seeds.storage import hash_tensors

# rule: channels that come in -> channels the network sees
CHANNELS = {"as-is": {}, "grey": {1: 1}, "rgb": {1: 3, 3: 3}}
_RESIZE = re.compile(r"none|pillow-(bilinear|bicubic|lanczos)-([1-9]\d{0,3})")


@dataclass(frozen=True)
class Recipe:
    """What makes two sets of features comparable: all four fields must agree. It is stored with every statistics file.

    Attributes:
        name: the extractor, for people.
        sha256: 64 hex digits that stand for its weights.
        resize: "none", or "pillow-FILTER-SIZE" with FILTER bilinear, bicubic or lanczos: Pillow makes each uint8 image
            SIZE x SIZE uint8, with antialiasing. What a network does inside is covered by its hash.
        channels: "rgb": grey is repeated to three, RGB passes; "grey": one channel only; "as-is": whatever comes. All
            else is refused.
    """

    name: str
    sha256: str
    resize: str = "none"
    channels: str = "as-is"

    def __post_init__(self):
        if not self.name:
            raise MetricError("`name` is empty; features are stored and compared under a name.")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise MetricError(
                f"`sha256` is {self.sha256!r}, not 64 lower-case hex digits. `sha256sum FILE` prints them."
            )
        if not _RESIZE.fullmatch(self.resize):
            raise MetricError(
                f"`resize` is {self.resize!r}; it is 'none' or 'pillow-FILTER-SIZE' such as 'pillow-bicubic-299'."
            )
        if self.channels not in CHANNELS:
            raise MetricError(f"`channels` is {self.channels!r}; it is one of {', '.join(CHANNELS)}.")

    def __str__(self) -> str:
        return f"{self.name} (sha256 {self.sha256[:12]}..., resize {self.resize}, channels {self.channels})"


@dataclass(frozen=True)
class Extractor:
    """Images in, features out: `extractor(images)` with images uint8 (B, H, W, C) gives float32 (B, d).

    Attributes:
        recipe: what it is known by.
        network: called with a uint8 tensor (B, C, H, W) on `device`, and whether features, and classes, are asked for;
            gives features (B, d) and class probabilities (B, classes), or anything in place of what is not asked for.
        classes: whether there are class probabilities.
        device: where the images are sent.
        size: (H, W) of the images that it was made for, after resizing; None takes any.
    """

    recipe: Recipe
    network: Callable[[torch.Tensor, bool, bool], tuple[Any, Any]]
    classes: bool = False
    device: str = "cpu"
    size: tuple[int, int] | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features (B, d), float32. Raises: MetricError for images that are not uint8 (B, H, W, C), or channels or a
        size against the rule."""
        return self._run(images, True, False)[0]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities (B, classes), float32. Raises: as a call; MetricError if the extractor has no classes."""
        if not self.classes:
            raise MetricError(
                f"The extractor {self.recipe.name} gives no class probabilities; an Inception score needs a classifier."
            )
        return self._run(images, False, True)[0]

    def judge(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Features, and class probabilities if there are classes, in one pass where the network can."""
        features, *probabilities = self._run(images, True, self.classes)
        return features, probabilities[0] if probabilities else None

    def check(self, height: int, width: int, channels: int) -> None:
        """Raises: MetricError, as a call does, if images of this shape are none that it takes."""
        self._pixels(np.zeros((1, height, width, channels), np.uint8))

    def _pixels(self, images: np.ndarray) -> torch.Tensor:
        pixels = prepare(images, self.recipe)
        if self.size not in (None, tuple(pixels.shape[2:])):
            have, want = (" x ".join(map(str, size)) for size in (pixels.shape[2:], self.size or ()))
            raise MetricError(
                f"`images` are {have} pixels, but {self.recipe.name} knows {want} only, and nothing is resized "
                f"unasked. Make them {want}, or give other features."
            )
        return pixels

    @torch.no_grad()
    def _run(self, images: np.ndarray, *asked: bool) -> list[np.ndarray]:
        """Of features and classes what is asked for."""
        answers = self.network(self._pixels(images).to(self.device), *asked)
        given = f"What the extractor {self.recipe.name} gave"
        out = [as_matrix(rows, given) for rows, wanted in zip(answers, asked, strict=True) if wanted]
        if any(len(rows) != len(images) for rows in out):
            raise MetricError(f"{given} has {len(out[0])} rows for {len(images)} images. Give one for each.")
        return [rows.astype(np.float32, copy=False) for rows in out]


def prepare(images: np.ndarray, recipe: Recipe) -> torch.Tensor:
    """uint8 images (B, H, W, C) as the uint8 tensor (B, C', H', W') that the recipe's channel rule and resizing make of
    them."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        shape, dtype = getattr(images, "shape", "?"), getattr(images, "dtype", type(images).__name__)
        raise MetricError(
            f"`images` must be a uint8 array (B, H, W, C), but is {dtype} {tuple(shape)}. `to_uint8` makes one of "
            "tensors in [-1, 1]."
        )
    rule, channels = CHANNELS[recipe.channels], images.shape[3]
    if rule and channels not in rule:
        raise MetricError(
            f"`images` have {channels} channels; {recipe.name} (channels {recipe.channels!r}) takes "
            f"{' or '.join(map(str, rule))}."
        )
    if recipe.resize != "none":
        _, kind, size = recipe.resize.split("-")
        how = (int(size), int(size)), Image.Resampling[kind.upper()]
        planes = [Image.fromarray(plane).resize(*how) for image in images for plane in image.transpose(2, 0, 1)]
        images = np.stack(list(map(np.asarray, planes))).reshape(-1, channels, *how[0]).transpose(0, 2, 3, 1)
    if rule and rule[channels] != channels:
        images = np.repeat(images, rule[channels], axis=3)
    return torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C"))


def from_callable(
    function: Callable, name: str, sha256: str, *, resize: str = "none", channels: str = "as-is", device: str = "cpu"
) -> Extractor:
    """An extractor of any function from a uint8 tensor (B, C, H, W) to features (B, d); `sha256` is yours to give."""
    return Extractor(Recipe(name, sha256, resize, channels), lambda images, *_: (function(images), None), device=device)


def pixels(device: str = "cpu") -> Extractor:
    """The pixels themselves, in [-1, 1], as features: images of any shape, all of one."""
    recipe = Recipe("pixels", hashlib.sha256(b"x = u / 127.5 - 1").hexdigest())
    return Extractor(recipe, lambda images, *_: (images.float().div_(127.5).sub_(1).flatten(1), None), device=device)


def from_module(
    module: torch.nn.Module,
    name: str,
    sha256: str | None = None,
    *,
    resize: str = "none",
    channels: str = "grey",
    size: tuple[int, int] | None = None,
    device: str = "cpu",
) -> Extractor:
    """An extractor of a classifier whose forward takes float32 images (B, C, H, W) in [-1, 1], x = u / 127.5 - 1, to
    (features, logits).

    Args:
        module: put in eval mode and on `device`.
        sha256: of the file that holds the weights; by default `storage.hash_tensors` of its parameters and buffers.
        size: (H, W) of the images that the network knows; by default what it says itself, as `module.size`, else any.
    """
    module = module.eval().to(device)

    def network(images: torch.Tensor, *_: bool) -> tuple[torch.Tensor, torch.Tensor]:
        out = module(images.float() / 127.5 - 1)
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise MetricError(
                f"The network {name} gave {type(out).__name__}, not (features, logits). Wrap it, or take "
                "`from_callable`."
            )
        return out[0], out[1].softmax(dim=1)

    recipe = Recipe(name, sha256 or hash_tensors(module.state_dict()), resize, channels)
    return Extractor(recipe, network, True, device, size or getattr(module, "size", None))


def from_torchscript(path: str | Path, sha256: str | None, *, device: str = "cpu") -> Extractor:
    """The standard FID detector, `inception-2015-12-05.pt` or a file with its calls, from a local path; nothing is
    downloaded.

    It is called on uint8 RGB images (B, 3, H, W) of native size, grey repeated to three; it resizes and scales inside.
    Features are `module(images, return_features=True)`, 2048 pooled numbers; class probabilities `module(images,
    no_output_bias=True)`, of a file that takes it.

    Args:
        sha256: of the file, 64 hex digits; required, because a changed detector changes every number. The error prints
            the file's own.
    Raises: MetricError if the file is missing, its hash is another, or it is no TorchScript, or one that gives no
        features.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MetricError(
            f"The feature network {path} cannot be read: {error.strerror}. Give a local TorchScript file."
        ) from error
    own = hashlib.sha256(data).hexdigest()
    if sha256 is None or sha256.lower() != own:
        words = "none was given" if sha256 is None else f"you gave {sha256}"
        raise MetricError(f"`sha256` of {path} is {own}; {words}. Pass the one its publisher states.")
    try:
        with warnings.catch_warnings():  # the detector exists in no newer format
            warnings.filterwarnings("ignore", "`torch.jit.load`", DeprecationWarning)
            module = torch.jit.load(io.BytesIO(data), map_location=device).eval()
    except RuntimeError as error:
        raise MetricError(
            f"{path} is no TorchScript file. Pickled networks are not read; use the `.pt` TorchScript export."
        ) from error
    takes = {argument.name for argument in module.forward.schema.arguments}
    if "return_features" not in takes:
        raise MetricError(
            f"{path} is a TorchScript network without the argument `return_features`, by which a detector is asked for "
            "its features. Give inception-2015-12-05.pt, or a file with its calls."
        )

    def network(images: torch.Tensor, features: bool, classes: bool) -> tuple[Any, Any]:
        return (
            module(images, return_features=True) if features else None,
            module(images, no_output_bias=True) if classes else None,
        )

    return Extractor(Recipe(path.stem, own, "none", "rgb"), network, "no_output_bias" in takes, device)
