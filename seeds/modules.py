"""The networks behind a callable, as far as Python shows them: which they are, where they are, that they are not being
trained."""

import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seeds.errors import InputError

DEEPEST = 6
"""How many callables are looked into, one inside the other."""


def modules(thing: Any) -> list[nn.Module]:
    """The modules that a call of `thing` can reach, each once.

    They are: `thing` itself; the arguments of a partial; what a function closes over, or names among its globals; of an
    object with methods, the attributes that the method called names, and the parts of a list, tuple or dict among
    these. What is passed in another way is not seen.
    """
    return list({id(module): module for module in _look(thing, set(), 0)}.values())


def _look(thing: Any, seen: set[int], depth: int) -> Iterator[nn.Module]:
    if id(thing) in seen or depth > DEEPEST:
        return
    seen.add(id(thing))
    if isinstance(thing, nn.Module):
        yield thing
    for part in _parts(thing):
        yield from _look(part, seen, depth + 1)


def _parts(thing: Any) -> list[Any]:
    """What may hold a network, in `thing`."""
    if isinstance(thing, nn.Module):
        return [getattr(thing, name, None) for name in ("decode", "encode")]  # its other parts are its own to walk
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, (list, tuple)):
        return list(thing)
    if isinstance(thing, types.MethodType):
        return [thing.__self__] if isinstance(thing.__self__, nn.Module) else _named(thing.__self__, thing.__func__)
    if isinstance(thing, types.FunctionType):
        return _of_function(thing)
    if isinstance(thing, (type, types.ModuleType, Tensor)) or type(thing).__module__.partition(".")[0] in (
        "builtins",
        "torch",
        "numpy",
    ):
        return []
    held = vars(thing) if hasattr(thing, "__dict__") else {}
    return [
        *_named(thing, type(thing).__call__ if callable(thing) else None),
        *(held.get(name) for name in ("decode", "encode")),
    ]


def _of_function(function: types.FunctionType) -> list[Any]:
    if (function.__module__ or "").partition(".")[0] in ("torch", "numpy"):
        return []
    cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    names = _names(function.__code__)
    return [
        *cells,
        *(function.__defaults__ or ()),
        *(function.__globals__[name] for name in names if name in function.__globals__),
    ]


def _named(owner: Any, method: Any) -> list[Any]:
    """What a method of `owner` names: attributes of it, its other methods, and what a function does."""
    if not isinstance(method, types.FunctionType):
        return []
    held = vars(owner) if hasattr(owner, "__dict__") else {}
    names = _names(method.__code__)
    others = [
        types.MethodType(other, owner)
        for name in names
        if isinstance(other := getattr(type(owner), name, None), types.FunctionType)
    ]
    return [*(held[name] for name in names if name in held), *others, *_of_function(method)]


def _names(code: types.CodeType) -> list[str]:
    """The names in a code object and in those inside it."""
    inner = [name for const in code.co_consts if isinstance(const, types.CodeType) for name in _names(const)]
    return [*code.co_names, *inner]


def _is_empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:  # named by a function that is defined before the value is
        return True


def acts_in_training(part: nn.Module) -> bool:
    """Whether a module, its own parts aside, computes something else while it is trained: dropout, batch norm, or code
    that asks for `training`."""
    if isinstance(part, torch.jit.ScriptModule):
        return part.original_name.startswith(("Dropout", "BatchNorm", "AlphaDropout", "FeatureAlphaDropout"))
    if isinstance(part, nn.modules.instancenorm._InstanceNorm):
        return part.track_running_stats
    if isinstance(part, (nn.modules.batchnorm._NormBase, nn.RReLU)):
        return True
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p > 0
    if isinstance(part, (nn.MultiheadAttention, nn.RNNBase)):
        return part.dropout > 0
    own = [
        cls
        for cls in type(part).__mro__
        if not cls.__module__.startswith(("torch.nn.modules", "torch._dynamo", "builtins"))
    ]
    methods = [it for cls in own for it in vars(cls).values() if isinstance(it, types.FunctionType)]
    return any("training" in _names(method.__code__) for method in methods)


def refuse_training(thing: Any) -> None:
    """Raises: ValueError if a part of a network behind `thing` is in training mode, and computes something else in
    it."""
    for module in modules(thing):
        acting = next((name for name, part in module.named_modules() if part.training and acts_in_training(part)), None)
        if acting is None:
            continue
        part = f" (its part {acting!r}, a {type(module.get_submodule(acting)).__name__})" if acting else ""
        raise InputError(
            f"The network {type(module).__name__}{part} is in training mode: dropout makes its answers random, batch "
            "norm makes them depend on the rest of the batch and moves its statistics. Call `network.eval()` before "
            "sampling, and `network.train()` to go on training."
        )


def move(thing: Any, device: torch.device | str) -> None:
    """Moves the networks behind `thing`, in place.

    Raises: ValueError if torch cannot.
    """
    for module in modules(thing):
        _moved(module, device)


def moved(thing: Any, device: torch.device | str) -> Any:
    """`thing` on the device: what its own `to` returns, or itself, the networks behind it moved.

    Raises: ValueError if it cannot be moved.
    """
    if callable(getattr(thing, "to", None)):
        return _moved(thing, device)
    move(thing, device)
    return thing


def _moved(thing: Any, device: torch.device | str) -> Any:
    try:
        there = thing.to(device)
    except ValueError:
        raise
    except Exception as error:  # torch's and a user's own `to` fail in their own ways
        why = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"`device` = {str(device)!r}: {type(thing).__name__} cannot be moved there ({why.rstrip('.')}). Put it on "
            "its device before it is wrapped and leave `device` out, or choose another device."
        ) from error
    return thing if there is None else there


def check_device(device: torch.device | str) -> None:
    """Raises: ValueError if there is no such device here, or one that holds no numbers (meta)."""
    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError
    except (RuntimeError, AssertionError, NotImplementedError):
        have = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        raise InputError(f"`device` = {str(device)!r} is not available here. Available: {', '.join(have)}.") from None


def first_tensor(found: list[nn.Module]) -> Tensor | None:
    """The first parameter or buffer of the modules."""
    return next((tensor for module in found for tensor in (*module.parameters(), *module.buffers())), None)
