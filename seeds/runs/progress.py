"""One progress bar for the work of all processes."""

import time
from types import TracebackType

from tqdm import tqdm

from seeds.distributed import Group

EVERY = 0.1
"""Seconds between two words to the others."""


class Progress:
    """A bar on rank 0's stderr, where that is a terminal, that moves with the model calls of every process.

    Args:
        label: what stands before the bar.
        work: model calls to be made by this process, each image on its own.
        images: of this process; the bar counts them. None shows the share of the work alone.
        show: False for no bar.
    Attributes:
        images: of all processes.
    """

    def __init__(self, group: Group, label: str, work: int, images: int | None = None, show: bool = True):
        self.group, self.own, self.told, self.last = group, 0, 0, 0.0
        self.shown, self.name = group.first and show, f"progress {group.turn('progress')}"
        self.work, self.images = self._all("work", work), self._all("images", images or 0)
        counted = "{n:.0f}/{total} images " if images is not None else ""
        self.bar = tqdm(
            total=self.work if images is None else self.images,
            desc=label,
            bar_format="{desc} {percentage:3.0f}%|{bar}| " + counted + "[{elapsed}<{remaining}]",
            disable=None if self.shown else True,
        )

    def asked(self, images: int) -> None:
        """The model was asked about so many images."""
        self.own += images
        if time.monotonic() - self.last > EVERY:
            self.look()

    def say(self, label: str) -> None:
        """Changes what stands before the bar."""
        self.bar.set_description_str(label, refresh=False)

    def look(self) -> None:
        """Tells the others, and shows what all of them have done."""
        done = self.group.count(f"{self.name} done", self.own - self.told)
        self.told, self.last = self.own, time.monotonic()
        if self.shown and self.work:
            self.bar.update(done / self.work * self.bar.total - self.bar.n)

    def _all(self, name: str, own: int) -> int:
        self.group.count(f"{self.name} {name}", own)
        self.group.wait()
        return self.group.count(f"{self.name} {name}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.look()
            self.group.wait(self.look)
            self.look()
        self.bar.close()
