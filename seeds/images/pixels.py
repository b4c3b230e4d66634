"""From values to pixels and back; PNG files, and one picture of many images."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seeds.storage import there

DATA_RANGE = (-1.0, 1.0)
"""The range of the data's values where nothing else is said."""
GRID_SIZE = 896
"""Pixels that a grid is enlarged to, at most."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def to_uint8(x: torch.Tensor, data_range: tuple[float, float] = DATA_RANGE) -> np.ndarray:
    """Images (B, C, H, W) as uint8 (B, H, W, C): 255 (x - low) / (high - low) + 1/2, clipped and truncated; of [-1, 1],
    127.5 x + 128.

    Raises: FloatingPointError for NaN.
    """
    low, high = data_range
    scale = 255 / (high - low)
    if (bad := x.isnan().flatten(1).any(dim=1)).any():
        raise FloatingPointError(
            f"Image {int(bad.int().argmax())} of {len(x)} holds NaN, which is no colour. Look at what made it."
        )
    return (x * scale + (0.5 - low * scale)).clip(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def from_uint8(
    images: np.ndarray,
    data_range: tuple[float, float] = DATA_RANGE,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """uint8 images (B, H, W, C) as values (B, C, H, W): low + pixel (high - low) / 255, which `to_uint8` shows as
    them."""
    low, high = data_range
    pixels = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).to(device, dtype)
    return pixels * ((high - low) / 255) + low


def png(image: np.ndarray) -> bytes:
    """A uint8 image (H, W, 1 | 3) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def read_png(path: Path) -> np.ndarray:
    """The uint8 image (H, W, 1 | 3) of such a file."""
    with Image.open(path) as image:
        return np.atleast_3d(np.asarray(image))


def whole_png(path: Path) -> bool:
    """Whether a PNG file is there, to its end, and all its checksums are right. Raises: as `storage.there`."""
    if not there(path):
        return False
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
        return data.endswith(PNG_END)
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, zlib.error):
        return False


def grid(images: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """uint8 images (H, W, C) side by side, as one; small ones enlarged by a whole number, so that one can see them.

    Args:
        columns: images in a row; None makes a square.
    """
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    tiles = [*images, *[np.zeros_like(images[0])] * (-len(images) % columns)]
    rows = [np.concatenate(tiles[at : at + columns], axis=1) for at in range(0, len(tiles), columns)]
    picture = np.concatenate(rows)
    times = max(1, GRID_SIZE // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)
