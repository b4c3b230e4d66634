"""From samples to pixels and back: the range of the data, and the decoder and the encoder of a latent model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds.denoisers import check_range, facts
from seeds.errors import InputError
from seeds.images import DATA_RANGE, from_uint8, to_uint8
from seeds.runs.identity import kind_of
from seeds.runs.tally import Tally


@dataclass(frozen=True)
class Pixels:
    """How samples become images.

    Attributes:
        data_range: (low, high) of the data's values: a pixel is 255 (x - low) / (high - low), rounded, and clipped to 0
            ... 255.
        decode: of a latent model: (B, *latent) -> (B, 1 | 3, H, W) images in `data_range`; None: samples are images.
        batch: the most latents that are decoded, or images that are encoded, at once.
        encode: of a latent model: images in `data_range` -> latents.
    Raises: ValueError if one of them is none.
    """

    data_range: tuple[float, float] = DATA_RANGE
    decode: Callable[[Tensor], Tensor] | None = None
    batch: int = 16
    encode: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_range", check_range(self.data_range))
        if self.decode is not None and not callable(self.decode):
            kind = type(self.decode).__name__
            raise InputError(f"`decode` must be a function from latents to images, but is a {kind}.")
        if not isinstance(self.batch, int) or self.batch < 1:
            raise InputError(f"`decode_batch` must be a whole number, at least 1, but is {self.batch!r}.")

    @classmethod
    def of(cls, denoiser: Any, **chosen: Any) -> "Pixels":
        """Those of a denoiser, as `facts` says them; what is `chosen` and not None goes before."""
        known, chosen = facts(denoiser), {name: value for name, value in chosen.items() if value is not None}
        own = {"data_range": known.data_range, "decode": known.decode, "batch": known.decode_batch}
        return cls(**own | {"encode": known.encode} | chosen)

    @torch.no_grad()
    def decoded(self, x: Tensor) -> Tensor:
        """Samples (B, ...) as images (B, C, H, W) in `data_range`. Raises: ValueError if `decode` gives none."""
        if self.decode is None:
            return x
        images = [self.decode(part) for part in x.split(self.batch)]
        for made, part in zip(images, x.split(self.batch), strict=True):
            if not isinstance(made, Tensor) or made.ndim != 4 or made.shape[1] not in (1, 3) or len(made) != len(part):
                raise InputError(
                    f"`decode` made {kind_of(made)} of latents {tuple(part.shape)}, but images are ({len(part)}, 1 | 3,"
                    " H, W). Wrap what picks them out, as `lambda z: vae.decode(z / scale).sample`."
                )
        return torch.cat(images).to(x.dtype)  # a decoder of 16 bits tells 256 levels apart no better than that

    def images(self, x: Tensor, tally: Tally | None = None) -> np.ndarray:
        """Samples as uint8 (B, H, W, C), counted by `tally`. Raises: FloatingPointError for NaN."""
        shown = self.decoded(x)
        images = to_uint8(shown, self.data_range)
        if tally is not None:
            tally.add(shown, images, self.data_range)
        return images

    @torch.no_grad()
    def samples(
        self, images: np.ndarray, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str
    ) -> Tensor:
        """uint8 images (B, H, W, C) as samples (B, *shape), what `images` shows as them. Raises: ValueError if they are
        of another shape."""
        x = from_uint8(images, self.data_range, dtype, device)
        if self.decode is not None:
            if self.encode is None:
                raise InputError(
                    "The model draws latents, but has no `encode`, the function from images to latents: image-to-image "
                    "needs it."
                )
            x = torch.cat([self.encode(part) for part in x.split(self.batch)])
        if x.shape != (len(images), *shape):
            what = "`encode` makes latents of shape" if self.decode else "the images are of shape"
            raise InputError(
                f"The model draws {tuple(shape)}, but {what} {tuple(x.shape[1:])}. Give images of the model's own size."
            )
        return x
