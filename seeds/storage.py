"""What is written to disk, wherever in the package: files that are whole or absent, tensors in them, and the hash of a
set of tensors."""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from seeds.errors import InputError

T = TypeVar("T")


@contextmanager
def replacing(path: Path, *, shared: bool = False, over: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place at the end of the block: whatever happens, `path` is the
    old file, the new one or absent.

    Args:
        shared: several processes may write `path` at once, on several machines too, so the temporary name is this
            writer's own; what those leave that are killed, `sweep` removes. Else it depends on `path` only: at most one
            is left, and the next write takes it over.
        over: False leaves a file that is there at the end as it is. Of several processes that then make one, one does.
    Raises: FileExistsError if there is one that is to stay.
    """
    own = f".{os.getpid()}-{secrets.token_hex(4)}" if shared else ""
    part = path.with_name(f".{path.name}{own}.part")
    try:
        yield part
        if over:
            os.replace(part, path)
        else:
            _take(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


def sweep(folder: Path, name: str = "") -> None:
    """Removes what killed writers of shared files left in a folder and below; with `name`, of that file in the folder
    itself only.

    A writer of `atomic` or `create` that is alive writes again.
    """
    left = re.compile(rf"\.{re.escape(name) or '.+'}\.\d+-[0-9a-f]{{8}}\.part")
    for path in list(folder.glob(".*.part") if name else folder.rglob(".*.part")):
        if left.fullmatch(path.name):
            path.unlink(missing_ok=True)


def special(path: Path) -> bool:
    """Whether a pipe, a socket or a device is there, of which a reader might wait for ever. Links are followed."""
    mode = path.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def there(path: Path) -> bool:
    """Whether there is a file or folder. Raises: ValueError for what is `special`."""
    try:
        if special(path):
            raise InputError(
                f"{path} is a pipe, a socket or a device, and no file. Take it away, or choose another place."
            )
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def atomic(path: Path, data: bytes | Callable[[Path], Any], *, over: bool = True) -> bool:
    """Writes a file, and its folder where there is none, so that it is whole or absent whatever happens, whoever else
    writes it.

    Args:
        data: what it holds, or a function that writes that to the path it is given.
        over: False leaves a file that is there; of several processes that then make one at once, one is told True.
    Returns: whether it was written.
    Raises: OSError in one sentence that names the file and the way out.
    """

    def written() -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True, over=over) as part:
            part.write_bytes(data) if isinstance(data, bytes) else data(part)
        return True

    try:
        for _ in range(2):
            with suppress(FileNotFoundError):  # another process has swept the temporary file, or the folder, away
                return written()
        return written()
    except OSError as error:
        if isinstance(error, FileExistsError) and not over and path.exists():
            return False
        raise OSError(
            f"{path} cannot be written: {error.strerror or error}. The files that are there are whole; when the cause "
            "is gone, the same command with --resume makes the rest."
        ) from error


def _take(part: Path, path: Path) -> None:
    """Makes `part` be `path` too, if there is none."""
    try:
        os.link(part, path)
    except OSError as error:  # there is one, or the file system has no links
        if isinstance(error, FileExistsError) or path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(part, path)


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, in the order of its elements."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


_DTYPES = {  # widest first, the order of the data
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def pack(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, separators: tuple[str, str] = (",", ":")
) -> Iterator[bytes | memoryview]:
    """A safetensors file in parts: header length (8 bytes, little endian) and header (sorted JSON, padded to 8), then
    each tensor, widest dtypes first.

    The same tensors and metadata are the same bytes. The library's own writer puts the metadata in an order that
    differs from run to run, and needs the tensors in memory three times.

    Args:
        tensors: on the CPU, of any strides.
        separators: of the header's JSON.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    rank = list(_DTYPES)
    order = sorted(tensors, key=lambda name: (rank.index(tensors[name].dtype), name))
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": _DTYPES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, sort_keys=True, separators=separators).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        yield tensor_bytes(tensors[name])


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor.detach().cpu()))
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file of any size."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def sums(folder: Path, names: Iterable[str]) -> bytes:
    """The lines that `sha256sum` prints for these files, in the order of their names."""
    return "".join(f"{hash_file(folder / name)}  {name}\n" for name in sorted(names)).encode()


def digest(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 over `sums`."""
    return hashlib.sha256(sums(folder, names)).hexdigest()
