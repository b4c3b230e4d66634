"""What a run is given, checked: for whom it draws, what it starts from, what it tells the model, and where the state
is."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds import conditions, watch
from seeds.denoisers import Rows, facts
from seeds.errors import InputError
from seeds.modules import check_device, moved, refuse_training
from seeds.noise import part_list, part_of, seed_list
from seeds.plans import Point
from seeds.stepper import GradientError


class Inputs:
    """The tensors and numbers of a run, once they are found to fit; they are where the denoiser is, or where the caller
    says.

    Attributes:
        facts: what is known of the denoiser.
        denoiser: on the device.
        shape: of one sample.
        seeds: B of them.
        given: what the run starts from: "x", "data", or "" for noise alone.
        x, data: (B, *shape) or None.
        labels: with a row for each sample, or None.
        grad: False, True or "checkpoint".
        dtype, device: of the state.
    Raises: ValueError naming the argument, its value and the rule it broke, as `sample` documents them.
    """

    def __init__(
        self,
        denoiser: Any,
        shape: Sequence[int],
        *,
        seed: int | Sequence[int],
        x: Any = None,
        data: Any = None,
        labels: Any = None,
        grad: bool | str = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        self.facts, self.seeds, self.dtype, self.grad = facts(denoiser), seed_list(seed), dtype, grad
        refuse_training(denoiser)
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise InputError(
                f"`dtype` = {dtype!r} must be a floating point dtype of torch, as torch.float32: it is the state's."
            )
        if grad not in (False, True, "checkpoint"):
            raise InputError(f"`grad` must be False, True or 'checkpoint', but is {grad!r}.")
        if not self.seeds:
            raise InputError("`seed` is empty: give an int, or a sequence with one int for each sample.")
        self.shape = _shape(shape, self.facts.shape)
        x, data = (None if value is None else torch.as_tensor(value) for value in (x, data))
        self.device = _device(self.facts.device, device, x if x is not None else data)
        self.denoiser = denoiser if device is None else moved(denoiser, self.device)
        self._said = data if x is None else x
        self._take_state(x, data)
        self.labels = self._labels(labels)
        self._check_gradients()

    def _take_state(self, x: Tensor | None, data: Tensor | None) -> None:
        if x is not None and data is not None:
            raise InputError(
                "`x` (the state at the start level) and `data` (clean data to noise there) exclude each other: give "
                "one of them."
            )
        self.given = "x" if x is not None else "data" if data is not None else ""
        self.x, self.data = self._rows("x", x), self._rows("data", data)

    def _rows(self, name: str, value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        if not value.is_floating_point():
            raise InputError(
                f"`{name}` is {value.dtype}: give floating point numbers in the scale of the model's data, as images / "
                "127.5 - 1."
            )
        if value.shape == self.shape and name == "data":
            value = value.expand(len(self.seeds), *self.shape)
        if value.shape != (len(self.seeds), *self.shape):
            raise InputError(
                f"`{name}` has shape {tuple(value.shape)}, but {len(self.seeds)} seeds of shape {self.shape} need "
                f"{(len(self.seeds), *self.shape)}."
            )
        taken = value.to(self.device, self.dtype)
        if not torch.isfinite(taken).all():
            bad = [seed for seed, row in zip(self.seeds, taken, strict=True) if not torch.isfinite(row).all()]
            what = (
                "NaN or inf"
                if not torch.isfinite(value).all()
                else f"values beyond {self.dtype}, {torch.finfo(self.dtype).max:.3g},"
            )
            raise InputError(
                f"`{name}` holds {what} for {len(bad)} of {len(self.seeds)} seeds ({watch.some(bad)}), before any "
                "model call."
            )
        return taken

    def parts(self, part: int | Sequence[int] | None, goes_on: bool) -> list[int]:
        """The part of each seed: the caller's, else 0 where a run begins with noise or goes on, else a hash of the
        state that it begins anew from."""
        if part is not None:
            return part_list(part, len(self.seeds))
        if goes_on or self._said is None:
            return [0] * len(self.seeds)
        return part_of(self._said[None]) * len(self.seeds) if self._said.shape == self.shape else part_of(self._said)

    def state(self, at: Point, rows: Rows, draw: Callable[[int], Tensor]) -> Tensor:
        """(rows, *shape) the state at the start level; draw -1 is the initial one."""
        if self.x is not None:
            return self.x[rows]
        if self.data is not None:
            return self.data[rows].mul(at.alpha).add_(draw(-1), alpha=at.sigma)
        return draw(-1) * at.sigma

    def explain(self, error: RuntimeError) -> None:
        """Raises: ValueError if a model's own error may come of a `shape` with the batch in it, which only the model
        can know."""
        if type(error) is RuntimeError and self.facts.shape is None and len(self.shape) > 3:
            raise InputError(
                f"The denoiser fails on states of shape {(len(self.seeds), *self.shape)}: "
                f"{str(error).partition(chr(10))[0]} `shape` = {self.shape} is that of one sample, without the batch: "
                f"is it {self.shape[1:]}, and seed=range({self.shape[0]})?"
            ) from error

    def _labels(self, labels: Any) -> Any:
        if labels is None:
            return None
        if conditions.nested(labels):
            return conditions.prepared(labels, len(self.seeds), self.device)
        rows = torch.as_tensor(labels)
        rows = rows.to(torch.float32 if rows.is_floating_point() else torch.int64)
        rows = rows.expand(len(self.seeds)) if rows.ndim == 0 else rows
        if len(rows) != len(self.seeds):
            raise InputError(
                f"`labels` has {len(rows)} entries for {len(self.seeds)} seeds: give one for each, or a single int for "
                "all."
            )
        classes = self.facts.classes
        if classes and rows.ndim == 1 and not ((rows >= 0) & (rows < classes)).all():
            raise InputError(f"`labels` must be from 0 to {classes - 1} for this model, but are {rows.tolist()}.")
        return rows.to(self.device)

    def _check_gradients(self) -> None:
        for name, value in (("x", self.x), ("data", self.data), ("labels", self.labels)):
            if not self.grad and torch.is_grad_enabled() and conditions.need_gradients(value):
                raise GradientError(
                    f"`{name}` asks for a gradient, but a run keeps none: pass grad=True, or grad='checkpoint' for "
                    f"less memory, or detach `{name}`."
                )


def starts(start: Any, count: int) -> list[tuple[Any, Rows]]:
    """The different starts of `count` samples, and the rows of those that begin there.

    Args:
        start: one for all, or for each sample: ("nsr", values), or a list of places.
    Raises: ValueError if they are more or fewer than `count`.
    """
    each = _each_place(start)
    if each is None:
        return [(start, slice(None))]
    if len(each) != count:
        raise InputError(f"`start` has {len(each)} places for {count} seeds: give one for each, or one for all.")
    groups: dict[Any, list[int]] = {}
    for row, place in enumerate(each):
        groups.setdefault(place, []).append(row)
    return list(groups.items()) if len(groups) > 1 else [(each[0], slice(None))]


def _each_place(start: Any) -> list[Any] | None:
    """A place for each sample, from ("nsr", values) or a list of places; None if there is one for all."""

    def several(values: Any) -> bool:
        return isinstance(values, (list, tuple)) or getattr(values, "ndim", 0) == 1

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return (value[0], plain(value[1]))
        return value.item() if isinstance(value, (Tensor, np.generic, np.ndarray)) and value.ndim == 0 else value

    if isinstance(start, tuple) and len(start) == 2 and isinstance(start[0], str):
        return [(start[0], plain(value)) for value in start[1]] if several(start[1]) else None
    return [plain(place) for place in start] if several(start) else None


def _shape(shape: Sequence[int], own: tuple[int, ...] | None) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        sizes = (-1,)
    if any(n < 0 for n in sizes):
        raise InputError(
            f"`shape` must be the sizes of one sample, without the batch, as (3, 32, 32), but is {shape!r}."
        )
    if own is not None and sizes[1:] == tuple(own) and sizes != tuple(own):
        raise InputError(
            f"`shape` = {sizes} has the batch in it: one sample of this model is {tuple(own)}. Leave the {sizes[0]} "
            f"out; as many samples are drawn as `seed` has numbers, as seed=range({sizes[0]})."
        )
    return sizes


def _device(own: torch.device, device: torch.device | str | None, given: Tensor | None) -> torch.device:
    if device is None:
        found = own if given is None else given.device
    else:
        try:
            found = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"`device` = {device!r} is no device of torch's, as 'cpu', 'cuda' or 'mps': "
                f"{str(error).splitlines()[0]}"
            ) from error
    if found.type == "meta":
        raise InputError(
            "`device` is 'meta', which holds shapes without numbers: nothing can be drawn there. Load the model on "
            "'cpu', 'cuda' or 'mps'."
        )
    if device is not None:
        check_device(found)
    return found
