"""States of several tensors that share one noise level, as of video with sound: a run sees them as one row of numbers
for each sample."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seeds.errors import InputError
from seeds.plans import Point

Shapes = Mapping[str, Sequence[int]] | Sequence[Sequence[int]]
Parts = dict[str, Tensor] | tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Joint:
    """A denoiser of dicts or tuples of tensors as one of rows, made by `joint`; what else is known of the model is that
    of `inner`.

    Attributes:
        inner: D(parts, at) or D(parts, at, labels=...), parts a dict or tuple of (B, *shape): the parts of E[data | all
            parts].
        shapes: of the parts, without the batch.
    """

    inner: Callable[..., Any]
    shapes: Shapes

    @property
    def shape(self) -> tuple[int]:
        """Of a sample as a row."""
        return (sum(math.prod(size) for size in self._sizes()),)

    def __call__(self, x: Tensor, at: Point, labels: Any = None) -> Tensor:
        answer = self.inner(self.split(x), at) if labels is None else self.inner(self.split(x), at, labels=labels)
        return self.row(answer)

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "shapes") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def split(self, x: Tensor) -> Parts:
        """The parts of (B, n) rows: views, in the kind of `shapes`."""
        pieces = x.split([math.prod(size) for size in self._sizes()], dim=1)
        parts = [piece.reshape(len(x), *size) for piece, size in zip(pieces, self._sizes(), strict=True)]
        return dict(zip(self.shapes, parts, strict=True)) if isinstance(self.shapes, Mapping) else tuple(parts)

    def row(self, parts: Parts) -> Tensor:
        """(B, n) rows of parts.

        Raises: ValueError if a part is missing, or has another shape.
        """
        if isinstance(self.shapes, Mapping):
            if not isinstance(parts, Mapping) or set(parts) != set(self.shapes):
                have = sorted(parts) if isinstance(parts, Mapping) else f"a {type(parts).__name__}"
                raise InputError(f"The parts of a state are {sorted(self.shapes)}, but were {have}.")
            values = [parts[name] for name in self.shapes]
        else:
            values = list(parts)  # type: ignore[arg-type]
        sizes = self._sizes()
        found = [tuple(value.shape[1:]) for value in values]
        if found != sizes:
            raise InputError(f"The parts of a state have the shapes {sizes}, without the batch, but were {found}.")
        return torch.cat([value.reshape(len(value), -1) for value in values], dim=1)

    def _sizes(self) -> list[tuple[int, ...]]:
        return [tuple(size) for size in (self.shapes.values() if isinstance(self.shapes, Mapping) else self.shapes)]


def joint(denoiser: Callable[..., Any], shapes: Shapes) -> Joint:
    """A denoiser whose states are dicts or tuples of tensors, for `seeds.sample`.

        both = joint(model, {"video": (4, 8, 32, 32), "sound": (8, 128)})
        parts = both.split(seeds.sample(both, both.shape, seed=range(4), schedule="flow", steps=13))

    Args:
        denoiser, shapes: see `Joint`.
    """
    return Joint(denoiser, shapes)
