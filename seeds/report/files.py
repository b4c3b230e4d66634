"""The files of a report, in the folder of its curves.json."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seeds.report.curves import Record, check
from seeds.report.figures import plots
from seeds.report.html import page
from seeds.report.table import csv_text
from seeds.storage import replacing


def write(record: Record, folder: Path) -> list[Path]:
    """Writes curves.csv, index.html and the plots, each whole or not at all; returns their paths.

    Pictures are read from `folder`; one that is not there, or would lie outside it, is left out of the page.

    Raises: ValueError if this is no record of a curves study; OSError naming a file that cannot be written; ImportError without matplotlib, when
        the table and the page are there already.
    """
    check(record)
    written = [
        _put(folder / "curves.csv", csv_text(record).encode()),
        _put(folder / "index.html", page(record, pictures(record, folder)).encode()),
    ]
    return written + [_put(folder / name, data) for name, data in plots(record).items()]


def pictures(record: Record, folder: Path) -> dict[int, bytes]:
    """The pictures of the rows, by row number."""
    root = folder.resolve()
    named = {row["row"]: (root / row["picture"]).resolve() for row in record["rows"] if row.get("picture")}
    return {number: path.read_bytes() for number, path in named.items() if path.is_relative_to(root) and path.is_file()}


def _put(path: Path, data: bytes) -> Path:
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(data)
    return path


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} cannot be written: {error.strerror or error}. The files that are there are whole; write the report again when the cause is gone."
        ) from error
