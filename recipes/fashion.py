"""Fashion-MNIST from its IDX files (Debian package dataset-fashion-mnist; Xiao et al. 2017, arXiv:1708.07747; MIT
licence)."""

import gzip
from pathlib import Path

import numpy as np

ROOT = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in a gzipped IDX file: 0, 0, 8, ndim, then ndim big-endian 32-bit sizes, then the bytes.

    Raises: ValueError if the header is not that of unsigned bytes or the length does not fit the sizes.
    """
    data = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4) if data[:3] == b"\0\0\x08" else None
    if shape is None or len(data) != 4 + 4 * data[3] + shape.prod():
        raise ValueError(
            f"{path} is not an IDX file of unsigned bytes, or it is cut short; install dataset-fashion-mnist again."
        )
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def load(split: str, root: Path = ROOT) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, 1, 28, 28) uint8, labels (N,) int64) of split "train" (N = 60,000) or "t10k" (N = 10,000)."""
    images = read_idx(root / f"{split}-images-idx3-ubyte.gz")
    return images[:, None], read_idx(root / f"{split}-labels-idx1-ubyte.gz").astype(np.int64)
