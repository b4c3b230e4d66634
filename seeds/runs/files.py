"""Files of a run: written whole or not at all, named by their seed."""

import hashlib
import io
import json
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seeds.metrics.images import ImageSet
from seeds.storage import there

GRID_SIZE = 896
"""Pixels that the grid of a run is enlarged to, at most."""


_NUMBERS = re.compile(r"\[\n\s+-?\d[-+.e\d,\s]*\]")
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def name_of(seed: int, subdirs: bool) -> str:
    """000042.png or, with subdirs, 000000/000042.png: one folder for each thousand seeds."""
    return f"{seed - seed % 1000:06d}/{seed:06d}.png" if subdirs else f"{seed:06d}.png"


def png(image: np.ndarray) -> bytes:
    """A uint8 image (H, W, 1 | 3) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def read(path: Path) -> np.ndarray:
    """The uint8 image (H, W, 1 | 3) of such a file."""
    with Image.open(path) as image:
        return np.atleast_3d(np.asarray(image))


def whole(path: Path) -> bool:
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


def grid(paths: Sequence[Path]) -> bytes:
    """The images of these files side by side, in rows of a square, as a PNG file; small ones enlarged by a whole number, so that one can see them."""
    images = [read(path) for path in paths]
    columns = int(np.ceil(np.sqrt(len(images))))
    images += [np.zeros_like(images[0])] * (-len(images) % columns)
    whole = np.concatenate([np.concatenate(images[at : at + columns], axis=1) for at in range(0, len(images), columns)])
    times = max(1, GRID_SIZE // max(whole.shape[:2]))
    return png(whole.repeat(times, axis=0).repeat(times, axis=1))


def sums(folder: Path, names: Iterable[str]) -> bytes:
    """The lines that `sha256sum` prints for these files, in the order of their names."""
    return "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(names)).encode()


def digest(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 over `sums`."""
    return hashlib.sha256(sums(folder, names)).hexdigest()


def fingerprint(images: ImageSet) -> str:
    """SHA-256 of the file that holds a set of images; of a folder, `digest` over its images."""
    if images.path.is_dir():
        return digest(images.path, images.files)
    total = hashlib.sha256()
    with images.path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def json_bytes(record: dict[str, Any]) -> bytes:
    """A record as a text file; a list of numbers is one line of it."""
    text = json.dumps(record, indent=2, allow_nan=False)
    return (_NUMBERS.sub(lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text) + "\n").encode()


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as an npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def record(path: Path, data: bytes, kind: str = "job") -> dict[str, Any]:
    """The record of a run (`kind` "job") or a study that `data`, read from `path`, holds. Raises: ValueError if it is none."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    lists = ("rows", "arguments") if kind == "study" else ()
    wanted = {kind: dict, "status": str, **dict.fromkeys(lists, list)}
    if not isinstance(found, dict) or not all(isinstance(found.get(key), of) for key, of in wanted.items()):
        raise ValueError(
            f"{path} is not the record of a {'run' if kind == 'job' else kind}. Bring the record back, or choose another folder."
        )
    return found
