"""A finished run as one file: a zip of its PNG files, or an npz of its pixels."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipInfo

import numpy as np

from seeds.errors import InputError
from seeds.images import read_png
from seeds.runs.records import json_bytes, read_record
from seeds.storage import atomic

KINDS = (".zip", ".npz")
RECORD = "run.json"


def pack(
    out: Path, images: Sequence[Path], seeds: Sequence[int], record: dict[str, Any], labels: Sequence[int] | None = None
) -> None:
    """Writes `out`, whole or not at all, from the PNG files of the seeds, in their order; nothing is held in memory but
    one image.

    - .zip: the PNG files by their names, stored, and run.json;
    - .npz: `arr_0`, uint8 (N, H, W, C), and `arr_1`, int64 (N,), the labels, if there are any: what ADM's evaluator
      reads; `seeds`, uint64 (N,); `run.json`, the record, as an array of one text.

    The same images make the same bytes, whenever: a ZipInfo is of 1980. Several processes may do so at once.
    """

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
            if out.suffix.lower() == ".zip":
                for path in images:
                    file.writestr(ZipInfo(path.name), path.read_bytes())
                file.writestr(ZipInfo(RECORD), json_bytes(record))
            else:
                with file.open(ZipInfo("arr_0.npy"), "w", force_zip64=True) as array:
                    first = read_png(images[0])
                    header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *first.shape)}
                    np.lib.format.write_array_header_1_0(array, header)
                    for path in images:
                        array.write(read_png(path).tobytes())
                if labels is not None:
                    file.writestr(ZipInfo("arr_1.npy"), _npy(np.array(labels, "<i8")))
                file.writestr(ZipInfo("seeds.npy"), _npy(np.array(seeds, "<u8")))
                file.writestr(ZipInfo(f"{RECORD}.npy"), _npy(np.array(json_bytes(record).decode())))

    atomic(out, write)


def record(path: Path) -> dict[str, Any]:
    """The run.json in an archive. Raises: ValueError if there is none."""
    try:
        with zipfile.ZipFile(path) as file:
            if f"{RECORD}.npy" in file.namelist():
                text = np.lib.format.read_array(io.BytesIO(file.read(f"{RECORD}.npy")), allow_pickle=False)
                data = str(text).encode()
            else:
                data = file.read(RECORD)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        why = f"{path} is there already, and is of no run (it holds no {RECORD}). Choose another file."
        raise InputError(why) from None
    return read_record(path, data)


def _npy(array: np.ndarray) -> bytes:
    """An array as an npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()
