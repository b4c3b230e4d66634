"""Draws made on a device several at a time."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch

from seeds.noise import device
from seeds.noise.draws import NamedNoise, Seeds, part_list


class Place(NamedTuple):
    """Where a draw of a run is found: its kind of noise, its number and its stream."""

    kind: NamedNoise
    draw: int
    stream: int


class Together:
    """Answers `together(j)` with draw j of a run, made on a device with those that follow it.

    A device needs some 250 kernels for `device.CHUNK` values, and as many for one: so as many draws as fit into a chunk
    are made at once, and those that nobody has asked for yet are kept. A draw that is asked for again, or out of order,
    is made anew.

    Args:
        place: of draw j.
        order: the draws of the run in the order in which they will be needed.
        seeds, parts, shape: as for `gaussian`.
        where: the device.
    """

    def __init__(
        self,
        place: Callable[[int], Place],
        order: Iterable[int],
        seeds: Sequence[int],
        parts: Seeds,
        shape: Sequence[int],
        where: torch.device,
    ) -> None:
        self.place, self.order, self.shape, self.where = place, list(order), shape, where
        self.seeds, self.parts = list(seeds), part_list(parts, len(seeds))
        blocks = -(-math.prod(shape) // 8)  # of eight values, each of one image
        self.most = max(1, device.CHUNK // 8 // max(1, len(seeds) * blocks))
        self.made: dict[int, torch.Tensor] = {}

    def __call__(self, j: int) -> torch.Tensor:
        if j not in self.made:
            self._make(j)
        return self.made.pop(j)

    def _make(self, j: int) -> None:
        """Draw j and its followers of the same kind."""
        kind, first, _ = self.place(j)
        after = self.order[self.order.index(j) :][: self.most] if j in self.order else [j]
        alike = list(takewhile(lambda i: self.place(i).kind is kind and (self.place(i).draw < 0) == (first < 0), after))
        places = [place for place in map(self.place, alike) for _ in self.seeds]
        made = kind(
            self.seeds * len(alike),
            [it.draw for it in places],
            self.shape,
            [it.stream for it in places],
            self.parts * len(alike),
            device=self.where,
        )
        self.made = dict(zip(alike, made.view(len(alike), len(self.seeds), *self.shape), strict=True))
