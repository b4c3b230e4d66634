"""What a study keeps of a row on disk."""

import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seeds.images import png
from seeds.storage import atomic


class Judged(NamedTuple):
    """What is known of a unit: features, class probabilities if there are classes, the time it took, and those of its
    images that are shown."""

    features: np.ndarray
    probabilities: np.ndarray | None
    ms: int = 0
    images: np.ndarray | None = None


class RowFiles:
    """Files of a row of a study, under `rows` of its folder: its plan and its picture, which stay, and what is known of
    each unit until the row is done."""

    def __init__(self, out: Path, row: int):
        self.units = out / "rows" / f"{row:03d}"
        self.picture, self.plan = (self.units.with_name(self.units.name + ending) for ending in (".png", ".plan.json"))

    def unit(self, number: int) -> Path:
        return self.units / f"{number:06d}.npz"

    def read(self, number: int, shown: bool) -> Judged | None:
        """A unit, if it is there and whole; with its images if they are to be `shown`."""
        try:
            with self.unit(number).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                probabilities = file["probabilities"] if "probabilities" in file.files else None
                images = file["images"] if shown else None
                return Judged(file["features"], probabilities, int(file["ms"]), images)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            return None

    def write(self, number: int, judged: Judged) -> None:
        arrays = {name: np.asarray(value) for name, value in judged._asdict().items() if value is not None}

        def save(part: Path) -> None:
            with part.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]

        atomic(self.unit(number), save)

    def write_picture(self, images: np.ndarray) -> None:
        """Images (B, H, W, C) side by side."""
        atomic(self.picture, png(np.concatenate(list(images), axis=1)))

    def clear(self) -> None:
        """The row is done."""
        with suppress(OSError):
            for path in self.units.glob("[0-9]*.npz"):
                path.unlink()
            self.units.rmdir()
