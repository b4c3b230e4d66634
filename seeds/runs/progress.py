"""One progress report for the work of all processes: a bar where somebody looks on, else a line a minute."""

import sys
import time
from contextlib import suppress
from types import TracebackType

from tqdm import tqdm

from seeds.distributed import Group

EVERY = 0.1
"""Seconds between two words to the others."""
LINE_EVERY = 60.0
"""Seconds between two lines where there is no terminal."""
GONE = (OSError, ValueError, AttributeError)
"""What a stderr raises that is closed, by the other side or this one, or that there is not."""


class Progress:
    """What all processes have done, on rank 0's stderr, by their model calls: a bar on a terminal; elsewhere a line a
    minute, for a log.

    Nothing that happens to stderr (it may be closed, or a pipe that nobody reads any more) ends the work.

    Args:
        label: what stands before it.
        work: model calls to be made by this process, each image on its own.
        images: to be drawn by this process.
        show: False for none.
        even: whether all images cost the same number of calls. Else `say` tells how many those cost that come next, and
            the bar shows the share of the work alone.
    Attributes:
        work, images: of all processes.
    """

    def __init__(self, group: Group, label: str, work: int, images: int, show: bool = True, even: bool = True):
        self.group, self.own, self.told, self.last = group, 0, 0, 0.0
        self.shown, self.name = group.first and show, f"progress {group.turn('progress')}"
        self.label, self.even = label, even
        self.calls, self.drawn, self.told_drawn = work / max(images, 1), 0.0, 0
        self.work, self.images = self._all("work", work), self._all("images", images)
        self.began = self.lined = time.monotonic()
        total, form = self.images if even else self.work, "{n:.0f}/{total} images " * even + "[{elapsed}<{remaining}]"
        self.bar = tqdm(total=total, disable=True)
        with suppress(*GONE):
            if self.shown and sys.stderr.isatty():
                shape = "{desc} {percentage:3.0f}%|{bar}| " + form
                sys.stderr.write("")  # where it is gone, before there is half a bar, which older tqdm cannot close
                self.bar = tqdm(total=total, desc=label, bar_format=shape, file=sys.stderr)

    def asked(self, images: int) -> None:
        """The model was asked about so many images."""
        self.own += images
        self.drawn += images / max(self.calls, 1)
        if time.monotonic() - self.last > EVERY:
            self.look()

    def say(self, label: str, calls: int) -> None:
        """Changes what stands before the bar, and how many model calls an image costs from now on."""
        self.label, self.calls = label, calls
        self.bar.set_description_str(label, refresh=False)

    def look(self) -> None:
        """Tells the others, and shows what all of them have done."""
        done = self.group.count(f"{self.name} done", self.own - self.told)
        drawn = self.group.count(f"{self.name} drawn", int(self.drawn + 1e-6) - self.told_drawn)
        self.told, self.told_drawn, self.last = self.own, int(self.drawn + 1e-6), time.monotonic()
        if not (self.shown and self.work):
            return
        with suppress(*GONE):
            self.bar.update(done / self.work * self.bar.total - self.bar.n)
            if self.bar.disable and self.last - self.lined >= LINE_EVERY:
                self.lined = self.last
                sys.stderr.write(f"{self.line(done, drawn, self.last - self.began)}\n")
                sys.stderr.flush()

    def line(self, done: int, drawn: int, seconds: float) -> str:
        """What a log is told, when so many model calls were made and images drawn in so many seconds."""
        share = done / self.work
        left = tqdm.format_interval(seconds * (1 / share - 1)) if share else "?"
        return (
            f"{self.label}: {drawn:,} of {self.images:,} images, {share:.0%} of the work, {drawn / seconds:,.3g} "
            f"images/s, {left} left"
        )

    def _all(self, name: str, own: int) -> int:
        self.group.count(f"{self.name} {name}", own)
        self.group.wait()
        return self.group.count(f"{self.name} {name}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.look()
            self.group.wait(self.look)
            self.look()
        with suppress(*GONE):
            self.bar.close()
