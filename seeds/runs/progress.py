"""One progress bar for the work of all processes."""

import time
from types import TracebackType

from tqdm import tqdm

from seeds.distributed import Group

FORM = "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total} images [{elapsed}<{remaining}]"
EVERY = 0.1
"""Seconds between two words to the others."""


class Progress:
    """A bar on rank 0's stderr, where that is a terminal, that moves with the model calls of every process.

    Args:
        label: what stands before the bar.
        images: how many are to be drawn by this process; calls: model calls for each of them.
        show: False for no bar.
    Attributes:
        total: images to be drawn by all processes.
    """

    def __init__(self, group: Group, label: str, images: int, calls: int, show: bool = True):
        self.group, self.calls, self.own, self.told, self.last = group, calls, 0, 0, 0.0
        self.shown, self.name = group.first and show, f"progress {group.turn('progress')}"
        group.count(f"{self.name} images", images)
        group.wait()
        self.total = group.count(f"{self.name} images")
        self.bar = tqdm(total=self.total, desc=label, bar_format=FORM, disable=None if self.shown else True)

    def asked(self, images: int) -> None:
        """The model was asked about so many images."""
        self.own += images
        if time.monotonic() - self.last > EVERY:
            self.look()

    def look(self) -> None:
        """Tells the others, and shows what all of them have done."""
        total = self.group.count(f"{self.name} calls", self.own - self.told)
        self.told, self.last = self.own, time.monotonic()
        if self.shown:
            self.bar.update(total / self.calls - self.bar.n)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.look()
            self.group.wait(self.look)
            self.look()
        self.bar.close()
