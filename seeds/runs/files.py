"""Files of a run: written whole or not at all, named by their seed."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from seeds.metrics.images import to_uint8
from seeds.storage import replacing

GRID_SIZE = 896
"""Pixels that the grid of a run is enlarged to, at most."""


@contextmanager
def explained(path: Path, verb: str) -> Iterator[None]:
    """Turns an OSError into one sentence that names the file and the way out."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} cannot be {verb}: {error.strerror or error}. The files that are there are whole; when the cause is gone, the same command "
            "with --resume makes the rest."
        ) from error


def atomic(path: Path, data: bytes) -> None:
    """Writes a file, and its folder where there is none, so that it is whole or absent whatever happens."""
    with explained(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(data)


def name_of(seed: int, subdirs: bool) -> str:
    """000042.png or, with subdirs, 000000/000042.png: one folder for each thousand seeds."""
    return f"{seed - seed % 1000:06d}/{seed:06d}.png" if subdirs else f"{seed:06d}.png"


def pixels(images: Tensor) -> np.ndarray:
    """(B, H, W) or (B, H, W, 3) uint8 from (B, 1 | 3, H, W) in [-1, 1]: x * 127.5 + 128, clipped to 0 .. 255 and truncated."""
    levels = to_uint8(images)
    return levels[..., 0] if levels.shape[-1] == 1 else levels


def png(image: np.ndarray) -> bytes:
    """One image of `pixels` as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def grid(paths: Sequence[Path]) -> bytes:
    """The images of these files side by side, in rows of a square, as a PNG file; small ones enlarged by a whole number, so that one can see them."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.asarray(image))
    columns = int(np.ceil(np.sqrt(len(images))))
    images += [np.zeros_like(images[0])] * (-len(images) % columns)
    whole = np.concatenate([np.concatenate(images[at : at + columns], axis=1) for at in range(0, len(images), columns)])
    times = max(1, GRID_SIZE // max(whole.shape[:2]))
    return png(whole.repeat(times, axis=0).repeat(times, axis=1))


def digest(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 over the lines that `sha256sum` prints for these files in sorted order."""
    total = hashlib.sha256()
    for name in sorted(names):
        total.update(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n".encode())
    return total.hexdigest()
