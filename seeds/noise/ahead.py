"""Draws made ahead of need, in one background thread, so that the model never waits for its noise."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType

import torch


class Ahead:
    """Answers `ahead(draw)` with `make(draw)` on the device and in the dtype asked for; the values are those of `make`,
    only sooner.

    `order` lists the draws in the order in which they will be needed. One thread makes them, a few ahead: 4 if those
    fit into 256 MiB, else 2. A draw that is asked for out of that order, again, after `close` or in a forked child is
    made on the spot. For a CUDA device the thread puts draws into pinned memory, and the copy to the device does not
    block. What `make` raises in the thread, the call that needs that draw raises. One caller at a time.

    Use it as a context manager, or call `close`: both end the thread. So does dropping the last reference, and the end
    of the program.

        with Ahead(lambda draw: gaussian(seed, draw, shape), range(-1, len(plan.draws)), device=device) as noise:
            x = run(plan, denoise, noise)
    """

    def __init__(
        self,
        make: Callable[[int], torch.Tensor],
        order: Iterable[int],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._make, self._order, self._next = make, tuple(order), 0
        self._device, self._dtype, self._process = torch.device(device), dtype, os.getpid()
        self._pinned = self._device.type == "cuda"
        self._shelf = _Shelf()
        work = (self._shelf, make, self._order, self._pinned)  # without `self`, which could not be dropped otherwise
        thread = threading.Thread(target=_work, args=work, name="seeds-noise-ahead", daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _end, self._shelf, thread, self._process)

    def __call__(self, draw: int) -> torch.Tensor:
        made = self._take(draw)
        if made is None:
            made = self._make(draw)
        elif isinstance(made, BaseException):
            self.close()
            raise made
        return made.to(self._device, non_blocking=self._pinned).to(self._dtype)

    def _take(self, draw: int) -> "torch.Tensor | BaseException | None":
        """What the thread has made of `draw`; None if it is not the thread's turn."""
        expected = self._next < len(self._order) and draw == self._order[self._next]
        if not expected or not self.close.alive or os.getpid() != self._process:
            return None
        self._next += 1
        return self._shelf.take()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Shelf:
    """A bounded queue that can be shut from either side without waiting."""

    def __init__(self) -> None:
        self.made: deque[torch.Tensor | BaseException] = deque()
        self.shut = False
        self.changed = threading.Condition()

    def put(self, item: torch.Tensor | BaseException, room: int) -> bool:
        """Waits until there is room; False if the shelf was shut."""
        with self.changed:
            self.changed.wait_for(lambda: self.shut or len(self.made) < room)
            self.made.append(item)
            self.changed.notify_all()
            return not self.shut

    def take(self) -> "torch.Tensor | BaseException":
        with self.changed:
            self.changed.wait_for(lambda: self.made)
            self.changed.notify_all()
            return self.made.popleft()


def _work(shelf: _Shelf, make: Callable[[int], torch.Tensor], order: tuple[int, ...], pin: bool) -> None:
    for draw in order:
        try:
            made = make(draw)
            item = made.pin_memory() if pin else made
            room = 3 if 4 * item.nbytes <= 1 << 28 else 1  # one more is in hand
        except BaseException as error:
            shelf.put(error, room=4)
            return
        if not shelf.put(item, room):
            return


def _end(shelf: _Shelf, thread: threading.Thread, process: int) -> None:
    if os.getpid() != process:  # a forked child has neither the thread nor, perhaps, a free lock
        return
    with shelf.changed:
        shelf.shut = True
        shelf.changed.notify_all()
    if thread is not threading.current_thread():  # the garbage collector may run in the maker's thread
        thread.join()
    shelf.made.clear()
