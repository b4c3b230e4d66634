"""The processes that torchrun starts: which of them this one is, which part of the work is its own, and what all of
them have together."""

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar

from seeds.errors import SeedsError

T = TypeVar("T")
LOOK = 0.05
"""Seconds between two looks at the others, while waiting."""
PATIENCE = timedelta(days=7)
"""How long a process waits for the others. One that died is noticed by its elastic agent, which ends or restarts all of
them."""


class LeaderError(SeedsError, RuntimeError):
    """Rank 0 failed; it says why."""


@dataclass(frozen=True)
class Group:
    """The processes of a job. `Group()` is a process on its own; `joined` gives the group that torchrun started.

    Work is cut into pieces that are the same for any number of processes, and dealt out by their place in the list, so
    results do not depend on who makes them. Every method but `share`, `owns`, `count` and `news` must be called by all
    processes, in the same order.

    Attributes:
        rank, world: this process' number from 0, and how many there are.
        local: its number on its own machine, which is the number of its GPU.
        again: whether the elastic agent has started the group anew, and the one before had begun its work (`begin`):
            this one goes on with it. One that was refused, because its folder holds what it was not told to go on with,
            is refused again.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    again: bool = False
    store: Any = None
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def first(self) -> bool:
        """Whether this process speaks for all: it shows the progress and writes the records."""
        return self.rank == 0

    def begin(self) -> None:
        """Notes, for the group that may be started anew, that this one may write: what is refused has been refused."""
        if self.store is not None:
            self.store.set("begun", "")

    def share(self, pieces: Sequence[T]) -> Sequence[T]:
        """This process' part of the work: every world-th piece."""
        return pieces[self.rank :: self.world]

    def owns(self, number: int) -> bool:
        """Whether piece `number` is in this process' share."""
        return number % self.world == self.rank

    def count(self, name: str, more: int = 0) -> int:
        """A counter that all processes add to; returns what it stands at."""
        return self.turn(name, more) if self.store is None else self.store.add(f"count/{name}", more)

    def news(self, text: str) -> bool:
        """Whether no other process has asked this about `text`: it is said by the first, and missed by none. A process
        on its own may call it."""
        if self.store is None:
            return True
        try:
            return self.count(f"said/{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}", 1) == 1
        except RuntimeError:  # the others are gone
            return True

    def once(self, function: Callable[[], T]) -> T:
        """What `function` returns, a JSON-able value, on rank 0, the only one that calls it; rank 0 waits for nobody.

        Raises: on rank 0 what `function` raises, elsewhere LeaderError.
        """
        if self.store is None:
            return function()
        key = f"once/{self.turn('once')}"
        if self.first:
            try:
                value = function()
            except BaseException as error:
                self.store.set(key, json.dumps([None, str(error)]))
                raise
            self.store.set(key, json.dumps([value, None]))
            return value
        self.store.wait([key], PATIENCE)
        value, failed = json.loads(self.store.get(key))
        if failed is not None:
            raise LeaderError(failed)
        return value

    def wait(self, meanwhile: Callable[[], Any] = lambda: None) -> None:
        """Returns when all processes have come here; calls `meanwhile` now and then."""
        if self.store is None:
            return
        name = f"wait/{self.turn('wait')}"
        self.count(name, 1)
        while self.count(name) < self.world:
            meanwhile()
            time.sleep(LOOK)

    def gathered(self, own: T) -> list[T]:
        """On rank 0 what each process gave, in the order of their ranks; elsewhere nothing."""
        if self.store is None:
            return [own]
        import torch.distributed as dist

        parts: list[Any] | None = [None] * self.world if self.first else None
        dist.gather_object(own, parts)
        return parts or []

    def turn(self, name: str, more: int = 1) -> int:
        """1, 2, 3, ...: how often this process has come by; what is done in the same turn belongs together."""
        self._counts[name] = self._counts.get(name, 0) + more
        return self._counts[name]


@contextmanager
def joined() -> Iterator[Group]:
    """The group of this process: the one torchrun started it in, or itself alone.

    `torchrun --nproc_per_node=K -m seeds ...`, also on several machines (--nnodes, --rdzv-backend=c10d). What the
    processes exchange lies in the machines' memory, so they talk through gloo; nccl is there for tensors on a GPU. A
    process whose agent is gone ends at once, so that none is left to write beside the job that is started in its place.

    Raises: ConnectionError if the others cannot be reached.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        yield Group()
        return
    _end_with_parent()
    import torch  # a process on its own does without, until it has something to do
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    try:
        if _agents_store():  # it was there first: if it is not there now, it will not be
            socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=60).close()
        agent, rank, world = next(iter(rendezvous("env://")))
        attempt = _attempt(agent, rank, world)
        *earlier, store = [dist.PrefixStore(f"attempt/{number}", agent) for number in range(1, attempt + 1)]
        again = any(dist.PrefixStore("seeds", past).check(["begun"]) for past in earlier)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    except (OSError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        raise ConnectionError(
            f"This process cannot reach the others, or one of them has ended while they met: {first}."
        ) from error
    if not _agents_store():  # nothing remembers
        again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
    try:
        yield Group(rank, world, int(os.environ.get("LOCAL_RANK", 0)), again, dist.PrefixStore("seeds", store))
    finally:
        dist.destroy_process_group()


def _agents_store() -> bool:
    """Whether the store is the elastic agent's, which outlives the processes."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _attempt(store: Any, rank: int, world: int) -> int:
    """How often processes have met at this store, 1, 2, ...: the same on all of these, and on none of those before.

    An agent's store outlives the processes and keeps all that they wrote: counts, answers, and addresses where nobody
    listens any more. So each process asks under a name of its own, and rank 0 answers every name until all have what
    they asked for.
    """
    if rank:
        own = secrets.token_hex(8)
        store.set(f"asks/{rank}", own)
        attempt = int(store.get(f"answer/{own}"))
        store.add(f"met/{attempt}", 1)
        return attempt
    attempt = store.add("attempts", 1)
    while store.add(f"met/{attempt}", 0) < world - 1:
        for key in (f"asks/{other}" for other in range(1, world)):
            if store.check([key]):
                store.set(f"answer/{store.get(key).decode()}", str(attempt))
        time.sleep(LOOK)
    return attempt


def _end_with_parent() -> None:
    """From now on this process ends when the one that started it, its elastic agent, is gone. What it waits for,
    computes or writes then is lost."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2 * LOOK)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
