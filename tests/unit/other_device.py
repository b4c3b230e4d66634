"""A device that is not here: it holds numbers, and refuses tensors of another, as an accelerator does."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

THERE = torch.device("cpu:1")  # a name for which torch asks no driver
ATEN = torch.ops.aten


class There(Tensor):
    """A tensor on that device; its numbers are on the CPU, where nobody else sees them."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=THERE, strides=inner.stride())
        made.inner = inner
        return made

    def __repr__(self) -> str:
        return f"There({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """While it is entered, tensors can be made on the device and moved there."""

    def __enter__(self) -> Any:
        self._before = torch.__future__.get_overwrite_module_params_on_conversion()
        # a parameter that is moved is a new one: of another class
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.__future__.set_overwrite_module_params_on_conversion(self._before)
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Raises: RuntimeError, in torch's words, where tensors of both devices meet; float64 is refused there."""
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, There)]
    asked = kwargs.get("device")
    moves = func in (ATEN._to_copy.default, ATEN.copy_.default)
    if (
        there
        and len(there) < len(tensors)
        and not moves
        and any(one.ndim for one in tensors if not isinstance(one, There))
    ):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {THERE} and cpu! ({func})"
        )
    goes = torch.device(asked) == THERE if asked is not None else bool(there)
    plain = {
        name: torch.device("cpu") if name == "device" and value is not None else value for name, value in kwargs.items()
    }
    inner_args, inner = tree_map(lambda one: one.inner if isinstance(one, There) else one, (args, plain))
    made = func(*inner_args, **inner)
    known = {id(one.inner): one for one in there}

    def out(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        if id(one) in known:  # written in place
            return known[id(one)]
        if goes and not (func is ATEN.copy_.default and not isinstance(args[0], There)):
            if one.dtype == torch.float64:
                raise TypeError(f"Cannot convert a {THERE} Tensor to float64 dtype, which it does not support.")
            return There(one)
        return one

    return tree_map(out, made)
