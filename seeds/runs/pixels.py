"""From samples to pixels: the decoder of a latent model, the range of its data, and what the pixels of a run say of that range."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds.distributed import Group
from seeds.metrics.images import DATA_RANGE, to_uint8

DECODE_BATCH = 16
BEYOND = 0.05
"""How far outside of its range, in parts of it, a value counts as clipped."""
MOSTLY, FEW = 0.5, 0.01
"""Shares of the pixels: more than half clipped, or more than a hundredth so far out as the range is wide, are no model's own overshoot."""
LEAST = 1024
"""Of fewer pixels nothing is said."""
PART = 0.55
"""Pixels that leave out more of the range than the rest of this are said to be in a part of it."""


@dataclass(frozen=True)
class Pixels:
    """How samples become images.

    Attributes:
        data_range: (low, high) of the data's values: a pixel is 255 (x - low) / (high - low), rounded, and clipped to 0 ... 255.
        decode: of a latent model: (B, *latent) -> (B, 1 | 3, H, W) images in `data_range`; None: samples are images.
        batch: the most latents that are decoded, or images that are encoded, at once.
        encode: of a latent model: images in `data_range` -> latents.
    Raises: ValueError if one of them is none.
    """

    data_range: tuple[float, float] = DATA_RANGE
    decode: Callable[[Tensor], Tensor] | None = None
    batch: int = DECODE_BATCH
    encode: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_range", _range(self.data_range))
        if self.decode is not None and not callable(self.decode):
            raise ValueError(f"`decode` must be a function from latents to images, but is a {type(self.decode).__name__}.")
        if not isinstance(self.batch, int) or self.batch < 1:
            raise ValueError(f"`decode_batch` must be a whole number, at least 1, but is {self.batch!r}.")

    @classmethod
    def of(cls, denoiser: Any, **given: Any) -> "Pixels":
        """Those of a denoiser, by its attributes `data_range`, `decode`, `decode_batch` and `encode`; what is `given` and not None goes before."""
        own = {
            "data_range": getattr(denoiser, "data_range", None),
            "decode": getattr(denoiser, "decode", None),
            "batch": getattr(denoiser, "decode_batch", None),
            "encode": getattr(denoiser, "encode", None),
        }
        return cls(**{name: value for name in own if (value := own[name] if given.get(name) is None else given[name]) is not None})

    @torch.no_grad()
    def decoded(self, x: Tensor) -> Tensor:
        """Samples (B, ...) as images (B, C, H, W) in `data_range`. Raises: ValueError if `decode` gives none."""
        if self.decode is None:
            return x
        images = [self.decode(part) for part in x.split(self.batch)]
        for made, part in zip(images, x.split(self.batch), strict=True):
            if not isinstance(made, Tensor) or made.ndim != 4 or made.shape[1] not in (1, 3) or len(made) != len(part):
                what = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
                raise ValueError(
                    f"`decode` made {what} of latents {tuple(part.shape)}, but images are ({len(part)}, 1 | 3, H, W). "
                    "Wrap what picks them out, as `lambda z: vae.decode(z / scale).sample`."
                )
        return torch.cat(images).to(x.dtype)  # a decoder of 16 bits tells 256 levels apart no better than that

    def images(self, x: Tensor, tally: "Tally | None" = None) -> np.ndarray:
        """Samples as uint8 (B, H, W, C), counted by `tally`. Raises: FloatingPointError for NaN."""
        shown = self.decoded(x)
        images = to_uint8(shown, self.data_range)
        if tally is not None:
            tally.add(shown, images, self.data_range)
        return images

    @torch.no_grad()
    def samples(self, images: np.ndarray, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """uint8 images (B, H, W, C) as samples (B, *shape), what `images` shows as them. Raises: ValueError if they are of another shape."""
        low, high = self.data_range
        x = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).to(device, dtype) * ((high - low) / 255) + low
        if self.decode is not None:
            if self.encode is None:
                raise ValueError(
                    "The model draws latents, but has no `encode`, the function from images to latents: image-to-image needs it."
                )
            x = torch.cat([self.encode(part) for part in x.split(self.batch)])
        if x.shape != (len(images), *shape):
            what = "`encode` makes latents of shape" if self.decode else "the images are of shape"
            raise ValueError(f"The model draws {tuple(shape)}, but {what} {tuple(x.shape[1:])}. Give images of the model's own size.")
        return x

    def shape(self, sample: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> tuple[int, ...]:
        """(C, H, W) of the image of a sample of that shape."""
        if self.decode is None:
            return tuple(sample)
        return tuple(self.decoded(torch.zeros(1, *sample, dtype=dtype, device=device)).shape[1:])


def _range(given: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in given)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"`data_range` must be two numbers, low < high, as (-1, 1) or (0, 1), but is {given!r}.")
    return low, high


@dataclass
class Tally:
    """What the pixels of a run are.

    Attributes:
        levels: (256,) how many are at each level.
        clipped, far: how many values lay outside of the range by more than `BEYOND` of it, and by more than all of it.
    """

    levels: np.ndarray = field(default_factory=partial(np.zeros, 256, np.int64))
    clipped: int = 0
    far: int = 0

    def add(self, x: Tensor, images: np.ndarray, data_range: tuple[float, float]) -> None:
        """Counts images (B, C, H, W) in `data_range`, and the pixels that were made of them."""
        low, high = data_range
        outside = (x - (low + high) / 2).abs() / (high - low) - 0.5
        self.clipped += int((outside > BEYOND).sum())
        self.far += int((outside > 1).sum())
        self.levels += np.bincount(images.ravel(), minlength=256)

    def total(self, group: Group) -> "Tally":
        """That of all processes, which all must call this."""
        sums = group.total({"levels": self.levels, "outside": np.array([self.clipped, self.far])})
        return Tally(sums["levels"], *map(int, sums["outside"]))

    def warning(self, data_range: tuple[float, float]) -> str:
        """A sentence, if the pixels say that the data may have another range; else ""."""
        count, (low, high) = int(self.levels.sum()), data_range
        if count < LEAST:
            return ""
        way_out = "If the model's data has another range, say so: --data-range LOW,HIGH, or `data_range` of the denoiser."
        if self.clipped > MOSTLY * count or self.far > FEW * count:
            return f"{self.clipped / count:.0%} of the pixels lay outside of the data's range, {low:g} to {high:g}, and were clipped. {way_out}"
        shares = np.cumsum(self.levels) / count
        first, last = (int(np.searchsorted(shares, share)) for share in (0.001, 0.999))
        if last - first < PART * 255:
            ends = [low + level / 255 * (high - low) for level in (first, last)]
            return f"The pixels lie in a part of the data's range, {low:g} to {high:g}: nearly all from {ends[0]:.2g} to {ends[1]:.2g}. {way_out}"
        return ""
