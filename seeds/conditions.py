"""What a model is told beside the state: labels, or dicts and tuples of tensors with one row for each sample."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds.errors import InputError


def nested(labels: Any) -> bool:
    """Several conditions: a dict, or a tuple that holds more than plain numbers."""
    return isinstance(labels, Mapping) or (
        isinstance(labels, tuple)
        and any(isinstance(it, (Mapping, tuple)) or getattr(it, "ndim", 0) > 0 for it in labels)
    )


def transform(change: Callable[[str, Any], Any], labels: Any, name: str = "`labels`") -> Any:
    """The conditions with every leaf changed by `change(name, leaf)`; dicts and tuples, named ones too, keep their
    kind."""
    if isinstance(labels, Mapping):
        changed = {key: transform(change, value, f"{name}[{key!r}]") for key, value in labels.items()}
        return changed if type(labels) is dict else type(labels)(changed)  # type: ignore[call-arg]
    if isinstance(labels, tuple):
        items = [transform(change, value, f"{name}[{k}]") for k, value in enumerate(labels)]
        return type(labels)(*items) if hasattr(labels, "_fields") else tuple(items)
    return change(name, labels)


def prepared(labels: Any, count: int, device: torch.device) -> Any:
    """Dicts and tuples of conditions as a run hands them on: arrays and lists are tensors, each on the device, with a
    row for each of `count` samples.

    A tensor without dimensions is of all samples, and so is what is no tensor. float64, which not every device has,
    becomes float32.

    Raises: ValueError naming the condition that has another number of rows.
    """

    def prepare(name: str, leaf: Any) -> Any:
        if isinstance(leaf, (list, np.ndarray)):
            leaf = torch.as_tensor(np.asarray(leaf))
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf.ndim and len(leaf) != count:
            raise InputError(f"{name} has {len(leaf)} rows for {count} seeds: give one for each.")
        return leaf.to(device, torch.float32 if leaf.dtype == torch.float64 else leaf.dtype)

    return transform(prepare, labels)


def sent(value: Tensor, device: torch.device) -> Tensor:
    """A few numbers of the host's on the device, for each model call: nobody waits for the copy. (CUDA takes it from
    pinned memory; MPS waits.)"""
    if value.device.type == "cpu" and device.type == "cuda" and not value.requires_grad:
        value = value.pin_memory()
    return value.to(device, non_blocking=device.type != "mps")


def rows(labels: Any, part: slice | list[int]) -> Any:
    """The conditions of some of the samples."""
    return transform(lambda _, leaf: leaf[part] if isinstance(leaf, Tensor) and leaf.ndim else leaf, labels)


def need_gradients(labels: Any) -> bool:
    """Some condition asks for a gradient."""
    found: list[bool] = []
    transform(lambda _, leaf: found.append(isinstance(leaf, Tensor) and leaf.requires_grad), labels)
    return any(found)
