"""Zips and arrays from elsewhere: what a header promises is held against the bytes that are there, before memory is
taken for it."""

import math
import zipfile
from typing import IO, NamedTuple

import numpy as np

from seeds.errors import InputError

FREE, TIMES = 64 << 20, 100
"""What is read whole may be unpacked to this many bytes, and beyond to so many times its size in the file."""
DEFLATE = 1032
"""No deflated byte gives more than so many."""


class Header(NamedTuple):
    """What an npy file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member that is to be held in memory. Raises: ValueError if it would be unpacked to much more than it is in the
    file."""
    _bounded(archive, archive.getinfo(name))
    return archive.read(name)


def arrays(archive: zipfile.ZipFile, names: set[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays of an npz that it holds. Raises: ValueError if one is not as large as it says, or of
    objects."""
    members = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in names and name != info.filename:
            _bounded(archive, info)
            with archive.open(info) as file:
                read_header(archive, info, file)
                file.seek(0)
                members[name] = np.lib.format.read_array(file, allow_pickle=False)
    return members


def read_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: IO[bytes]) -> Header:
    """The header of an npy file in an archive; the data follow. Raises: ValueError if it is none, or its array is not
    as large as it says, or cannot be, or is of objects."""
    name, there, magic = info.filename.removesuffix(".npy"), _there(archive, info), file.read(8)
    if magic[:6] != b"\x93NUMPY":
        raise InputError(f"its `{name}` is no array")
    read = np.lib.format.read_array_header_1_0 if magic[6] == 1 else np.lib.format.read_array_header_2_0
    header = Header(*read(file))
    if header.dtype.hasobject:
        raise InputError(f"its `{name}` holds Python objects, which are not read")
    size, begun = math.prod(header.shape) * header.dtype.itemsize, file.tell()
    if size != info.file_size - begun or min(header.shape, default=0) < 0 or info.file_size > DEFLATE * there + begun:
        raise InputError(
            f"its `{name}` says that it is {header.dtype} {header.shape}, which does not fit the {there:,} bytes that "
            "are there"
        )
    return header


def _bounded(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    there = _there(archive, info)
    if info.file_size > FREE + TIMES * there:
        raise InputError(
            f"{info.filename} would be unpacked from {there:,} bytes to {info.file_size:,}, more than {TIMES} times as "
            "many"
        )


def _there(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Bytes of a member in the file, whatever its entry says: at most those before the list of members."""
    return min(info.compress_size, archive.start_dir)
