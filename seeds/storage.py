"""What is written to disk, wherever in the package: files that are whole or absent, and the hash of a set of tensors."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place at the end of the block: whatever happens, `path` is the old file, the new one or absent.

    Args:
        shared: several processes may write `path` at once, so the temporary name is the process' own. Else it depends on `path` only: a writer that
            was killed leaves at most one, and the next write takes it over.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, in the order of its elements."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor.detach().cpu()))
    return digest.hexdigest()
