"""Feeds mutated checkpoints to the reader and reports what came of them: nothing may run, and only CheckpointError may
be raised.

    python trials/fuzz_checkpoints.py tests/data/edm --count 20000

Mutations: bit flips, truncations, extreme lengths and indices, opcodes replaced, inserted, dropped, doubled and
exchanged, calls of
os.system and exec spliced in, slices deleted, doubled and swapped between files. An audit hook counts every import,
compilation, execution, process, socket and file write while a file is read; the address space is limited to `--memory`
above the start, so that a larger allocation fails on the spot.
"""

import argparse
import collections
import contextlib
import json
import os
import pickletools
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

from seeds.checkpoints import CheckpointError, files

FLAG = "SEEDS_FUZZ_PWNED"
_CODE = f"import os; os.environ['{FLAG}'] = '1'".encode()
HOSTILE = [
    b"cos\nsystem\n\x8c\x05false\x85R",
    b"\x8c\x05posix\x8c\x06system\x93\x8c\x05false\x85R",
    b"cbuiltins\nexec\n" + b"\x8c" + bytes([len(_CODE)]) + _CODE + b"\x85R",
    b"ctorch.serialization\nos.system\n\x8c\x05false\x85R",
    b"ctorch.storage\n_load_from_bytes\nC\x10\x80\x04cos\nsystem\n.  \x85R",
    b"Nr\xff\xff\xff\x7f",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b")" + b"2\x86" * 60,
    b")" + b"\x94h\x00h\x00\x86" * 60,
    b"\x82\x01\x83\x01\x00\x84\x01\x00\x00\x00",
    b"Vos\nQ",
    b"\x97\x98\x96\x08\x00\x00\x00\x00\x00\x00\x00",
    b"(" * 40 + b"t" * 39,
]
_WATCHED = (
    "exec",
    "compile",
    "import",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
)
_EXTREMES = [
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x00",
    b"\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xff" * 4,
    b"\x00\x00\x00\x80",
    b"\xff" * 7 + b"\x7f",
    b"\xff" * 8,
]


class Watch:
    """Counts watched audit events while it is on. Hooks cannot be taken away again, so there is one."""

    def __init__(self) -> None:
        self.on, self.seen = False, collections.Counter[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and (event in _WATCHED or (event == "open" and args[1] not in ("r", "rb", None))):
            self.seen[event] += 1

    @contextlib.contextmanager
    def watching(self):
        self.on = True
        try:
            yield
        finally:
            self.on = False


def mutate(rng: random.Random, base: bytes, starts: list[int], other: bytes) -> bytes:
    """One to three mutations of `base`; `starts` are the positions of its opcodes, `other` lends slices."""
    data = bytearray(base)
    for _ in range(rng.choices((1, 2, 3), (6, 3, 1))[0]):
        index = rng.randrange(len(starts) - 1)
        # one opcode with its argument, as long as nothing before it moved
        begin, end = starts[index], starts[index + 1]
        kind = rng.randrange(16)
        if kind < 5:  # a bit of an argument
            while end == begin + 1:
                index = rng.randrange(len(starts) - 1)
                begin, end = starts[index], starts[index + 1]
            at = rng.randrange(begin + 1, end)
            data[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1])
        elif kind < 7:
            data[begin:end] = b"" if kind == 5 else data[begin:end] * 2
        elif kind < 9:  # another opcode and argument of the same file
            index = rng.randrange(len(starts) - 1)
            data[begin:end] = base[starts[index] : starts[index + 1]]
        elif kind == 9:
            extreme = rng.choice(_EXTREMES)
            data[begin + 1 : begin + 1 + len(extreme)] = extreme
        elif kind == 10:
            data[begin : begin + 1] = bytes([rng.randrange(256)])
        elif kind == 11:
            data[begin:begin] = bytes([rng.randrange(256)]) + rng.randbytes(rng.randrange(9))
        elif kind == 12:
            data[begin:begin] = rng.choice(HOSTILE)
        elif kind == 13:
            data[begin : begin + rng.randrange(400)] = data[begin : begin + rng.randrange(400)] * rng.choice([0, 2, 5])
        elif kind == 14:
            at = rng.randrange(len(other))
            data[begin : begin + rng.randrange(400)] = other[at : at + rng.randrange(400)]
        else:
            del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def fuzz(corpus: list[bytes], count: int, seed: int, watch: Watch) -> dict[str, Any]:
    """Reads `count` mutants; returns counts of outcomes, and the events and errors that must not be."""
    rng = random.Random(seed)
    starts = [[position for _, _, position in pickletools.genops(data)] for data in corpus]
    weights = [1 / len(data) for data in corpus]
    for data in corpus:  # once each before watching: first calls import and compile
        files.read_pickle(data, name="warm-up")
    loaded, reasons, crashes = 0, collections.Counter[str](), []
    for _ in range(count):
        i, j = rng.choices(range(len(corpus)), weights)[0], rng.randrange(len(corpus))
        mutant = mutate(rng, corpus[i], starts[i], corpus[j])
        try:
            with watch.watching():
                files.read_pickle(mutant, name="mutant")
            loaded += 1
        except CheckpointError as error:
            if "\n" in str(error) or len(str(error)) > 400:
                crashes.append(f"not one sentence: {error}")
            reasons[" ".join(str(error).split()[:4])] += 1
        except BaseException as error:
            crashes.append(f"{type(error).__name__}: {error}")
    return {
        "mutants": count,
        "loaded": loaded,
        "refused": sum(reasons.values()),
        "refused_because": dict(reasons.most_common(12)),
        "other_errors": crashes[:20],
        "code_run": dict(watch.seen) | ({"payload": 1} if FLAG in os.environ else {}),
    }


def limit_memory(more: int) -> None:
    """Lets this process have `more` bytes of address space beyond what it has, and no more: a larger allocation is a
    MemoryError on the spot."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of good .pkl files to mutate")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, default=1 << 30, help="bytes of address space above the start")
    args = parser.parse_args()
    corpus = [path.read_bytes() for path in sorted(args.folder.rglob("*.pkl")) if not path.name.startswith("bad_")]
    limit_memory(args.memory)
    begun = time.perf_counter()
    report = fuzz(corpus, args.count, args.seed, Watch())
    report |= {"seconds": round(time.perf_counter() - begun, 1), "cpu_seconds": round(time.process_time(), 1)}
    report["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(report, indent=2))
    return 1 if report["other_errors"] or report["code_run"] else 0


if __name__ == "__main__":
    sys.exit(main())
