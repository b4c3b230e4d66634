"""Checkpoints of the EDM family (`*.pkl`): what the pickled objects mean, read with the machine of `pickles`.

The root is a dict whose `ema` entry is the network: nested persistent records (class name, attribute dict, and source
text, which is hashed and dropped, never run). Weights are legacy torch storages inside byte strings, themselves
pickles, read with a second table of names.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seeds.checkpoints.errors import CheckpointError, bare, shown
from seeds.checkpoints.pickles import Inert, Machine, Name

MAX_ENTRIES, MAX_DEPTH, MAX_NAME = 50_000, 12, 200  # the largest published network has some 1,500 entries, 5 deep
_ATTRIBUTES = ("sigma_min", "sigma_max", "sigma_data", "beta_d", "beta_min", "M", "epsilon_t", "C_1", "C_2", "use_fp16")
PUBLISHED_SOURCES = frozenset(
    {
        "5db27dcd96674b95c72d5e6491b879cdc35e24039ada3411b4b46a28ed1fe284",
        "2294828d5f59f5fd008f7141e6b8af2095918f2ce019f280a933e4779b5c3cef",
    }
)
"""SHA-256 of the two published versions of the reference's network file, whose arithmetic `seeds.networks` and
`seeds.preconditioners` have."""
_MAGIC, _LEGACY = 0x1950A86A20F9469CFC6C, 1001

_STORAGES = {
    "FloatStorage": ("f4", torch.float32),
    "DoubleStorage": ("f8", torch.float64),
    "HalfStorage": ("f2", torch.float16),
    "BFloat16Storage": ("i2", torch.bfloat16),
    "LongStorage": ("i8", torch.int64),
    "IntStorage": ("i4", torch.int32),
    "ShortStorage": ("i2", torch.int16),
    "CharStorage": ("i1", torch.int8),
    "ByteStorage": ("u1", torch.uint8),
    "BoolStorage": ("u1", torch.bool),
}


class Record(Inert):
    """A module or other persistent object: its class name and attributes, the hash of its source text, and nothing that
    acts."""

    def __init__(self, class_name: str, state: Any = None, source: str | None = None) -> None:
        self.class_name, self.state, self.source = class_name, state, source

    def set_state(self, state: Any) -> None:
        self.state = state


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """The elements of one torch storage; a view into the file."""

    elements: np.ndarray
    dtype: torch.dtype


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A tensor: a checked window on a storage, in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.size) * self.storage.elements.itemsize

    def tensor(self) -> Tensor:
        """A contiguous copy."""
        elements = self.storage.elements
        strides = tuple(step * elements.itemsize for step in self.stride)
        window = np.lib.stride_tricks.as_strided(elements[self.offset :], self.size, strides, writeable=False)
        native = window.astype(elements.dtype.newbyteorder("="), order="C", copy=True)
        return torch.from_numpy(native).view(self.storage.dtype)


class EDMPickle(NamedTuple):
    """What a checkpoint says: the class of its preconditioner, the arguments as they were given, other attributes, the
    weights in order, and the SHA-256 of the source texts of all modules of its network."""

    class_name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attributes: dict[str, Any]
    state: dict[str, Tensor]
    sources: tuple[str, ...]


def read(data: bytes) -> EDMPickle:
    """Reads a whole checkpoint. Raises CheckpointError with the reason, in words that continue "FILE cannot be read:
    "."""
    if data[:1] != b"\x80":
        raise CheckpointError("it is empty" if not data else "it is not a pickle (of protocol 2 to 5)")
    machine = Machine(memoryview(data), {})
    machine.names = _names(machine)
    root = machine.load()
    if machine.position != len(data):
        raise CheckpointError(f"{len(data) - machine.position:,} bytes follow its pickle")
    record = root.get("ema") if isinstance(root, dict) else None
    if not isinstance(record, Record) or not isinstance(record.state, dict):
        raise CheckpointError("it has no network under the key 'ema'")
    attributes = {key: record.state[key] for key in _ATTRIBUTES if isinstance(record.state.get(key), int | float)}
    sources: set[str] = set()
    tensors = _tensors(record, sources, limit=len(data))
    return EDMPickle(record.class_name, *_arguments(record.state), attributes, tensors, tuple(sorted(sources)))


def _arguments(state: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The constructor's positional and keyword arguments; one of the two may be None."""
    args, kwargs = state.get("_init_args"), state.get("_init_kwargs")
    if not isinstance(args, tuple | list | None) or not isinstance(kwargs, dict | None) or args is kwargs is None:
        raise CheckpointError("its network does not say its constructor's arguments")
    return tuple(args or ()), kwargs or {}


def _tensors(record: Record, sources: set[str], limit: int) -> dict[str, Tensor]:
    """Parameters and buffers by dotted name, in the order of torch's state dict; never more bytes than the file has."""
    tensors: dict[str, Tensor] = {}
    total = 0
    for name, view in _walk(record, sources):
        total += view.bytes
        if name in tensors or total > limit:
            raise CheckpointError(
                f"its weights are inconsistent at {bare(name)}: a name twice, or more weights than bytes in the file"
            )
        tensors[name] = view.tensor()
    return tensors


def _walk(root: Record, sources: set[str]) -> Iterator[tuple[str, View]]:
    """Tensors by dotted name: parameters, then buffers, then the children, each in stored order. Collects the hashes of
    source texts."""
    waiting, seen = [("", root, 0)], 0
    while waiting:
        prefix, record, depth = waiting.pop()
        if record.source is not None:
            sources.add(record.source)
        own = _part(record, "_parameters") | _part(record, "_buffers")
        children = _part(record, "_modules")
        seen += 1 + len(own) + len(children)
        if seen > MAX_ENTRIES or depth > MAX_DEPTH or any(len(prefix + name) > MAX_NAME for name in (*own, *children)):
            raise CheckpointError(
                f"its network has more than {MAX_ENTRIES:,} parts, or is nested {MAX_DEPTH} deep, or has endless names"
            )
        for name, value in own.items():
            if value is not None and not isinstance(value, View):
                raise CheckpointError(f"its {bare(prefix + name)} is not a tensor")
            if value is not None:
                yield prefix + name, value
        for name, child in reversed(children.items()):
            if child is not None and not isinstance(child, Record):
                raise CheckpointError(f"its {bare(prefix + name)} is not a module")
            if child is not None:
                waiting.append((f"{prefix}{name}.", child, depth + 1))


def _part(record: Record, key: str) -> dict[str, Any]:
    part = record.state.get(key, {}) if isinstance(record.state, dict) else None
    if not isinstance(part, dict) or len(part) > MAX_ENTRIES or record.state.get("_non_persistent_buffers_set"):
        raise CheckpointError(f"its module of class {bare(record.class_name)} has no proper {key}")
    return part


# What the globals stand for.


def _names(machine: Machine) -> dict[tuple[str, str], Name]:
    """Every global that a checkpoint of the reference training loop asks for, by exact name."""
    return {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): Name(_persistents()),
        ("torch.nn.modules.container", "ModuleDict"): Name(_module_dict),
        ("torch.storage", "_load_from_bytes"): Name(_storages(machine)),
        ("torch._utils", "_rebuild_tensor_v2"): Name(_view),
        ("torch._utils", "_rebuild_parameter"): Name(_parameter),
        ("collections", "OrderedDict"): Name(_empty_dict),
        ("dnnlib.util", "EasyDict"): Name(_empty_dict),
        ("numpy.core.multiarray", "scalar"): Name(_scalar),
        ("numpy._core.multiarray", "scalar"): Name(_scalar),
        ("numpy", "dtype"): Name(_dtype),
    }


def _wrong(what: str) -> CheckpointError:
    return CheckpointError(f"it holds {what} of a form that is not known, or not safe")


def _persistents() -> Callable[[tuple[Any, ...]], Record]:
    """What reads persistent objects. Each source text is hashed once, however many objects share it."""
    hashed: dict[int, tuple[str, str]] = {}

    def persistent(args: tuple[Any, ...]) -> Record:
        match args:
            case (
                {
                    "type": "class",
                    "version": 6,
                    "module_src": str(text),
                    "class_name": str(name),
                    "state": state,
                    **rest,
                },
            ) if not rest:
                if id(text) not in hashed:
                    # `text` is held, so that no other has its id
                    hashed[id(text)] = text, hashlib.sha256(text.encode()).hexdigest()
                return Record(name, state, hashed[id(text)][1])
            case ({"type": "class", "version": int(version)},) if version != 6:
                raise CheckpointError(
                    f"it holds a persistent object of version {shown(version)}; only version 6 is read"
                )
        raise _wrong("a persistent object")

    return persistent


def _module_dict(args: tuple[Any, ...]) -> Record:
    if args:
        raise _wrong("a ModuleDict")
    return Record("ModuleDict")


def _empty_dict(args: tuple[Any, ...]) -> dict[str, Any]:
    if args:
        raise _wrong("an OrderedDict")
    return {}


def _parameter(args: tuple[Any, ...]) -> View:
    match args:
        case (View() as view, bool(), dict()):
            return view
    raise _wrong("a parameter")


def _view(args: tuple[Any, ...]) -> View:
    match args:
        case (Storage() as storage, int(offset), tuple(size), tuple(stride), bool(), dict(), *_) if (
            len(size) == len(stride) <= 8
        ):
            numel = len(storage.elements)
            if all(type(n) is int and 0 <= n <= numel for n in (offset, *size, *stride)):
                last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
                if math.prod(size) <= numel and (last < numel or 0 in size):
                    return View(storage, offset, size, stride)
            raise CheckpointError(f"it holds a tensor that reaches outside of its storage of {numel:,} elements")
    raise _wrong("a tensor")


class _DType(Inert):
    """numpy.dtype of one plain number; its state gives the byte order."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    def set_state(self, state: Any) -> None:
        match state:
            case (3, "<" | ">" | "|" as order, None, None, None, -1, -1, 0):
                self.order = order
            case _:
                raise _wrong("a numpy dtype")


def _dtype(args: tuple[Any, ...]) -> _DType:
    match args:
        case ("f2" | "f4" | "f8" | "i1" | "i2" | "i4" | "i8" | "u1" | "u2" | "u4" | "u8" | "b1" as code, False, True):
            return _DType(code)
    raise _wrong("a numpy dtype")


def _scalar(args: tuple[Any, ...]) -> float | int | bool:
    match args:
        case (_DType() as dtype, memoryview() as raw) if len(raw) == int(dtype.code[1]):
            return np.frombuffer(raw, dtype.order + dtype.code)[0].item()
    raise _wrong("a numpy scalar")


def _storages(outer: Machine) -> Callable[[tuple[Any, ...]], Storage]:
    """What reads storages. Each byte string is read once, however often it is passed: that takes three opcodes a time,
    of a million allowed."""
    read: dict[int, tuple[memoryview, Storage]] = {}

    def storage(args: tuple[Any, ...]) -> Storage:
        match args:
            case (memoryview() as data,):
                if id(data) not in read:
                    read[id(data)] = data, _storage(data, outer)  # `data` is held, so that no other value has its id
                return read[id(data)][1]
        raise _wrong("a storage")

    return storage


def _storage(data: memoryview, outer: Machine) -> Storage:
    """One storage as `torch.save` wrote it before zip files: five pickles, then the element count and the elements."""
    machine = Machine(data, {}, budget=outer)
    magic, version, system = machine.load(), machine.load(), machine.load()
    if (
        magic != _MAGIC
        or version != _LEGACY
        or not isinstance(system, dict)
        or not isinstance(system.get("little_endian"), bool)
    ):
        raise _wrong("a storage")
    machine.names = {("torch", name): Name(_refuse_call, name) for name in _STORAGES}
    machine.persistent = _storage_id
    found = machine.load()
    machine.names, machine.persistent = {}, None
    keys = machine.load()
    match found:
        case _StorageID(kind, key, numel) if keys == [key]:
            pass
        case _:
            raise _wrong("a storage")
    code, dtype = _STORAGES[kind]
    count = machine.number("<q")
    raw = machine.data[machine.position :]
    if count != numel or count * int(code[1]) != len(raw):
        raise CheckpointError(
            f"it holds a storage of {len(raw):,} bytes that says it has {count:,} elements of {code[1]} bytes"
        )
    return Storage(np.frombuffer(raw, ("<" if system["little_endian"] else ">") + code), dtype)


@dataclass(frozen=True, eq=False, slots=True)
class _StorageID:
    kind: str
    key: str
    numel: int


def _storage_id(value: Any) -> _StorageID:
    match value:
        case ("storage", Name(_, kind), str(key), str(), int(numel), None):
            return _StorageID(kind, key, numel)
    raise _wrong("a storage")


def _refuse_call(args: tuple[Any, ...]) -> Any:
    raise _wrong("a storage")
