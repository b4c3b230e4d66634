"""The files of a report, in the folder of its curves.json."""

from pathlib import Path

from seeds.report.figures import plots
from seeds.report.html import page
from seeds.report.points import StudyRecord, check
from seeds.report.table import csv_text
from seeds.storage import atomic


def write(record: StudyRecord, folder: Path) -> list[Path]:
    """Writes curves.csv, index.html and the plots, each whole or not at all; returns their paths.

    Pictures are read from `folder`; one that is not there, or would lie outside it, is left out of the page.

    Raises: ValueError if this is no record of a curves study; OSError naming a file that cannot be written; ImportError
        without matplotlib, when the table and the page are there already.
    """
    check(record)
    made = {"curves.csv": csv_text(record).encode(), "index.html": page(record, pictures(record, folder)).encode()}
    for name, data in made.items():
        atomic(folder / name, data)
    figures = plots(record)
    for name, data in figures.items():
        atomic(folder / name, data)
    return [folder / name for name in (*made, *figures)]


def pictures(record: StudyRecord, folder: Path) -> dict[int, bytes]:
    """The pictures of the rows, by row number."""
    root = folder.resolve()
    named = {row["row"]: (root / row["picture"]).resolve() for row in record["rows"] if row.get("picture")}
    return {number: path.read_bytes() for number, path in named.items() if path.is_relative_to(root) and path.is_file()}
