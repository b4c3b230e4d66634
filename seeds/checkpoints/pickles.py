"""Reads a pickle as data: a machine of our own for the few opcodes that data needs. The `pickle` module is not used;
nothing can run.

Each opcode is checked before it acts: its length against the bytes that are there, memo slots against the slots in use,
the stack against the last mark, dictionary keys for being short text (so nothing else is hashed or compared). A global
is looked up as an exact (module, name) pair in a fixed table of inert substitutes; anything else is refused by name.
Memory and time are bounded: no more than `MAX_OPCODES` opcodes act, each on bytes that it takes from the input or on
values that it takes from the stack. Bytes are views into the input; text is at most a few times the input. What a
substitute does with a value that the memo gives it again and again must not depend on the value's size, or be done
once.

The opcodes are described in Python's `pickletools`. Refused although valid: text opcodes of protocol 0, duplication,
extension registry, out-of-band buffers, and persistent ids where the caller has no use for them.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seeds.checkpoints.errors import CheckpointError, bare

MAX_OPCODES = 1_000_000  # the largest published network has 554 tensors and needs about 100,000
MAX_TEXT = 1 << 22  # bytes of one string; the embedded source texts have some 30,000
MAX_KEY = 1 << 10  # characters of a dictionary's key; names of weights have some 30
_PROTOCOLS = range(2, 6)


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """What an allowed global stands for: `make(args)` is called where the pickle would have called the global; it
    checks the arguments."""

    make: Callable[[tuple[Any, ...]], Any]
    label: str = ""


class Inert:
    """A value that may receive a state by the BUILD opcode."""

    def set_state(self, state: Any) -> None:
        raise NotImplementedError


Names = Mapping[tuple[str, str], Name]


class Machine:
    """Runs consecutive pickle streams in one buffer.

    Args:
        data: the bytes; byte strings in the result are views into them.
        names: the allowed globals.
        persistent: called with each persistent id; None refuses them.
        budget: the machine whose opcode allowance this one shares, for pickles inside pickles.
    """

    def __init__(
        self,
        data: memoryview,
        names: Names,
        persistent: Callable[[Any], Any] | None = None,
        budget: "Machine | None" = None,
    ) -> None:
        self.data, self.position, self.names, self.persistent = data, 0, names, persistent
        self._allowance: list[int] = budget._allowance if budget else [MAX_OPCODES]
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []

    def load(self) -> Any:
        """The value of the stream that starts at `position`; `position` then stands behind it. Raises
        CheckpointError."""
        self.stack, self.marks, self.memo = [], [], []
        self._start = self.position
        while True:
            self._allowance[0] -= 1
            if self._allowance[0] < 0:
                raise CheckpointError(
                    f"it has more than {MAX_OPCODES:,} pickle opcodes, far more than any network needs"
                )
            code = self.byte()
            if code == _STOP:
                break
            action = _ACTIONS.get(code)
            if action is None:
                raise CheckpointError(
                    f"it has the pickle opcode 0x{code:02x} at byte {self.position - 1}, which network weights do not "
                    "need"
                )
            action(self)
        if len(self.stack) != 1 or self.marks:
            raise CheckpointError(
                f"its pickle stream ends at byte {self.position} with {len(self.stack)} values instead of one"
            )
        return self.stack[0]

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, as a view."""
        end = self.position + size
        if end > len(self.data):
            raise CheckpointError(
                f"it ends too early: {size:,} bytes are wanted at byte {self.position}, "
                f"{len(self.data) - self.position:,} are left"
            )
        view = self.data[self.position : end]
        self.position = end
        return view

    def byte(self) -> int:
        """The next byte, as a number."""
        if self.position >= len(self.data):
            self.take(1)
        self.position += 1
        return self.data[self.position - 1]

    def number(self, form: str) -> Any:
        """The next number, in a `struct` format of one value."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        self.top()
        return self.stack.pop()

    def top(self) -> Any:
        """The value on top, which must lie above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.damaged("a value is missing")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """The values above the last mark."""
        if not self.marks:
            raise self.damaged("a mark is missing")
        height = self.marks.pop()
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"its pickle stream is damaged before byte {self.position}: {what}")

    # One method for each group of opcodes.

    def protocol(self) -> None:
        version = self.byte()
        if self.position != self._start + 2 or version not in _PROTOCOLS:
            raise CheckpointError(
                f"it declares pickle protocol {version} at byte {self.position - 2}; 2 to 5, at the start, are read"
            )

    def frame(self) -> None:
        size = self.number("<Q")
        if size > len(self.data) - self.position:
            raise CheckpointError(
                f"it ends too early: a frame of {size:,} bytes starts at byte {self.position}, "
                f"{len(self.data) - self.position:,} are left"
            )

    def text(self, form: str) -> None:
        size = self.number(form)
        if size > MAX_TEXT:
            raise CheckpointError(
                f"it holds a text of {size:,} bytes at byte {self.position}; at most {MAX_TEXT:,} are read"
            )
        try:
            self.push(str(self.take(size), "utf-8"))
        except UnicodeDecodeError as error:
            raise CheckpointError(f"the text before byte {self.position} is not UTF-8") from error

    def long(self) -> None:
        self.push(int.from_bytes(self.take(self.byte()), "little", signed=True))

    def tuple_of(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(values)))

    def append(self) -> None:
        value = self.pop()
        self._extend([value])

    def _extend(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise self.damaged(f"items are added to a {type(target).__name__}")
        target.extend(values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self._update([key, value])

    def _update(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self.damaged(f"items are set on a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) or len(key) > MAX_KEY:
                what = (
                    f"of {len(key):,} characters; at most {MAX_KEY:,} are read"
                    if isinstance(key, str)
                    else "that is no text"
                )
                raise CheckpointError(f"a dictionary filled before byte {self.position} has a key {what}")
            target[key] = value

    def put(self, index: int) -> None:
        if index > len(self.memo):
            raise self.damaged(f"memo slot {index} is used before slot {len(self.memo)}")
        self.memo[index : index + 1] = [self.top()]

    def get(self, index: int) -> None:
        if index >= len(self.memo):
            raise self.damaged(f"memo slot {index} is empty")
        self.push(self.memo[index])

    def line(self) -> str:
        """The next line, at most 256 bytes long."""
        piece = bytes(self.data[self.position : self.position + 257])
        length = piece.find(b"\n")
        if length < 0:
            raise CheckpointError(f"a name at byte {self.position} has no end")
        self.position += length + 1
        return piece[:length].decode("ascii", "backslashreplace")

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.damaged("a global's name is no text")
        self.find(module, name)

    def find(self, module: str, name: str) -> None:
        found = self.names.get((module, name))
        if found is None:
            raise CheckpointError(
                f"it asks for {bare(f'{module}.{name}')}, which network weights do not need and which could run code"
            )
        self.push(found)

    def call(self) -> None:
        """REDUCE and NEWOBJ: a Name and its arguments."""
        args, target = self.pop(), self.pop()
        if not isinstance(target, Name) or type(args) is not tuple:
            raise self.damaged(f"a {type(target).__name__} is called")
        self.push(target.make(args))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, Inert):
            raise self.damaged(f"a {type(target).__name__} is given a state")
        target.set_state(state)

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise CheckpointError(f"it refers to an object outside of the file at byte {self.position}")
        self.push(self.persistent(self.pop()))


_STOP = ord(".")
_ACTIONS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.protocol,
    0x95: Machine.frame,
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: Machine.long,
    ord("G"): lambda m: m.push(m.number(">d")),
    0x8C: lambda m: m.text("B"),
    ord("X"): lambda m: m.text("<I"),
    ord("C"): lambda m: m.push(m.take(m.byte())),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    ord("]"): lambda m: m.push([]),
    ord("a"): Machine.append,
    ord("e"): lambda m: m._extend(m.pop_mark()),
    ord("}"): lambda m: m.push({}),
    ord("s"): Machine.set_item,
    ord("u"): lambda m: m._update(m.pop_mark()),
    0x8F: lambda m: m.push([]),  # a set; its order and uniqueness do not matter here
    0x90: lambda m: m._extend(m.pop_mark()),
    0x94: lambda m: m.put(len(m.memo)),
    ord("q"): lambda m: m.put(m.byte()),
    ord("r"): lambda m: m.put(m.number("<I")),
    ord("h"): lambda m: m.get(m.byte()),
    ord("j"): lambda m: m.get(m.number("<I")),
    ord("c"): lambda m: m.find(m.line(), m.line()),
    0x93: Machine.stack_global,
    ord("R"): Machine.call,
    0x81: Machine.call,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent_id,
}
