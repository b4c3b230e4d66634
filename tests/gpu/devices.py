"""The devices that tests run on, a device that is only pretended, and a watcher of every operation."""

import weakref
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seeds import inputs
from seeds.noise import device as drawing

CUDA, MPS = (pytest.param(kind, marks=pytest.mark.gpu(kind)) for kind in ("cuda", "mps"))
everywhere = pytest.mark.parametrize("device", ["cpu", CUDA, MPS])
on_gpus = pytest.mark.parametrize("device", [CUDA, MPS])

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2", "item"}
"""Operations after which the host waits for what the device has found."""
ATTENDS = "_scaled_dot_product"
"""Attention answers with the state of its dropout as well, two numbers that the host made: nothing is copied."""


class Watch(TorchDispatchMode):
    """Looks at every operation inside: raises where the host would wait for the device, and keeps what the tensors are.

    Args:
        numbers: a tensor of one element may be read: on the CPU nothing tells a coefficient of the host's from a state
            of the device's.
        fed: the host may wait for copies to the device, as of noise from the CPU.
    Attributes:
        dtypes: of all floating point tensors with more than one element that were made on `device`, with the most
            elements of each.
        peak: the most bytes that the tensors made inside held at once.
    """

    def __init__(self, device="cpu", numbers=False, fed=True):
        super().__init__()
        self.numbers, self.fed = numbers, fed
        self.device, self.dtypes, self.held, self.peak, self._known = torch.device(device), {}, 0, 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, given = (
            func.overloadpacket.__name__,
            [it for it in tree_leaves((args, kwargs)) if isinstance(it, torch.Tensor)],
        )
        ours = any(it.device.type == self.device.type and (it.numel() > 1 or not self.numbers) for it in given)
        assert not (ours and name in WAITS), f"{name} makes the host wait for the device"
        out = func(*args, **(kwargs or {}))
        waited = (
            not self.fed
            and not (kwargs or {}).get("non_blocking")
            and any(it.device.type != self.device.type for it in given)
        )
        for made in tree_leaves(out):
            if isinstance(made, torch.Tensor):
                if ours and made.device.type != self.device.type and not name.startswith(ATTENDS):
                    raise AssertionError(f"{name} copies from {self.device} to {made.device}, for which the host waits")
                assert not (waited and made.device.type == self.device.type), (
                    f"{name} copies to {self.device}, for which the host waits"
                )
                self._keep(made)
        return out

    def _keep(self, made):
        if made.device.type != self.device.type:
            return
        if made.is_floating_point() and made.numel() > 1:
            self.dtypes[made.dtype] = max(self.dtypes.get(made.dtype, 0), made.numel())
        where = made.untyped_storage()
        if where._cdata not in self._known:
            self._known[where._cdata] = size = where.nbytes()
            self.held += size
            self.peak = max(self.peak, self.held)
            weakref.finalize(where, self._forget, where._cdata)

    def _forget(self, cdata):
        self.held -= self._known.pop(cdata, 0)


@contextmanager
def unwaited(device, numbers=True):
    """A block in which the host must not wait: by the operations, on any device; on CUDA, by torch's own word too.

    Args:
        numbers: on the CPU a tensor of one element may be read, see `Watch`.
    """
    with Watch(device, numbers=numbers and device == "cpu") as watch:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield watch
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def pretended(monkeypatch):
    """A device that computes nothing, and draws its own noise: torch's "meta". Its tensors have a shape and a dtype
    only, so that whatever would wait for a value, or mixes devices, raises. The front door, which refuses it, lets it
    pass."""
    monkeypatch.setattr(inputs, "_device", lambda denoiser, device, given: torch.device(device))
    monkeypatch.setattr(drawing, "ABLE", (*drawing.ABLE, "meta"))
    return torch.device("meta")
