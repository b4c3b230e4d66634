r"""The draws of `seeds.noise.draws`, made on the device that they are for: the same bits, with no copy from the host
but that of the keys.

Philox4x64-10 (Salmon et al. 2011) in torch's int64, whose sums and products wrap: with |M| = 2^32 m1 + m0 and a = 2^32
a1 + a0, unsigned,

    t = a1 m0 + (a0 m0 >> 32),    u = a0 m1 + (t mod 2^32),    high(a M) = a1 m1 + (t >> 32) + (u >> 32)

none of which passes 2^64, and >> brings in zeros. Then the table of cubics of `seeds.noise.inverse`, in float64. Only
integer operations and those that IEEE 754 rounds exactly are used, each a kernel of its own: a compiler that fuses them
would contract a product and a sum into one rounding, and is kept out.

Needs int64 and float64 on the device. Scratch: at most `CHUNK` values at a time, below 64 MiB whatever the size of the
draw, and 128 KiB for the table, once a device. Some 250 kernels a chunk, full or not, none of which waits for the host:
`seeds.noise.together` fills it.
"""

import functools
import sys

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seeds.errors import InputError
from seeds.noise.inverse import FIRST, SHIFT, cubics

CHUNK = 1 << 20  # values at a time
LOW = (1 << 32) - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
ROUNDS = 10


ABLE = ("cuda",)
"""Kinds of device that draw their own noise. MPS has no float64; on the CPU, NumPy is faster."""


def maker(asked: str, device: torch.device) -> torch.device | None:
    """Where the noise of a state on `device` is to be drawn; None: on the CPU by NumPy, ahead of need.

    Args:
        asked: "auto", the device itself where it is `ABLE`; "cpu"; or the name of the state's device, as "cuda".
    Raises: ValueError for another device, or one that is not able.
    """
    able = device.type in ABLE
    if asked == "auto":
        return device if able else None
    if asked == "cpu":
        return None
    if not able or asked not in (device.type, str(device)):
        way = (
            f"there it is drawn on {str(device)!r} or ahead on the 'cpu'"
            if able
            else "there it is drawn ahead on the 'cpu'"
        )
        raise InputError(
            f"`noise_device` = {asked!r}, but the state is on {str(device)!r}: {way}. 'auto' takes the better."
        )
    return device


def fill(keys: npt.NDArray[np.uint64], count: int, device: torch.device | str, *, signs: bool = False) -> Tensor:
    """(B, count) float32 on `device`: row b is `count` values of the stream with the key words keys[b], as
    `seeds.noise.draws` makes them.

    Args:
        keys: (B, 2) the two words of each row.
        signs: +1 and -1, the values' signs, instead of standard normals.
    """
    if "torch._dynamo" in sys.modules:  # someone compiles: no graph may take this in
        return torch.compiler.disable(_fill)(keys, count, torch.device(device), signs)
    return _fill(keys, count, torch.device(device), signs)


@torch.no_grad()
def _fill(keys: npt.NDArray[np.uint64], count: int, device: torch.device, signs: bool) -> Tensor:
    out = torch.empty(len(keys), count, dtype=torch.float32, device=device)
    blocks = -(-count // 8)  # of four words, eight values
    if not out.numel():
        return out
    schedule = _schedule(keys, device)
    rows, width = max(1, CHUNK // 8 // blocks), min(blocks, CHUNK // 8)
    turn = _signs if signs else _normal
    for row in range(0, len(keys), rows):
        for block in range(0, blocks, width):
            part = out[row : row + rows, 8 * block : 8 * (block + width)]
            words = _philox(schedule[:, :, row : row + rows], block, min(block + width, blocks))
            part.copy_(turn(words).flatten(1)[:, : part.shape[1]])
    return out


def _schedule(keys: npt.NDArray[np.uint64], device: torch.device) -> Tensor:
    """(10, 2, B, 1) int64: the key words of each round, the second first."""
    steps = np.arange(ROUNDS, dtype=np.uint64)[:, None, None] * np.array(WEYL[::-1], np.uint64)[:, None]
    return _upload((steps + keys.T[::-1])[..., None].view(np.int64), device)


def _philox(schedule: Tensor, first: int, end: int) -> Tensor:
    """(B, end - first, 4) int64: the words of blocks first .. end - 1 of each row. Block j has the counter (j + 1, 0,
    0, 0), as NumPy's."""
    _, _, rows, _ = schedule.shape
    even = torch.zeros(2, rows, end - first, dtype=torch.int64, device=schedule.device)  # words 0 and 2
    even[0].add_(torch.arange(first + 1, end + 1, device=schedule.device))
    odd = torch.zeros_like(even)  # words 3 and 1
    for keys in schedule:
        low, high = _products(even)
        even, odd = high.bitwise_xor_(odd).bitwise_xor_(keys).flip(0), low
    return torch.stack((even[0], odd[1], even[1], odd[0]), dim=-1)


def _products(a: Tensor) -> tuple[Tensor, Tensor]:
    """The low and the high words of the unsigned products, 128 bits each, of words 0 and 2 with their multipliers."""
    whole, high, low = _multipliers(a.device)
    a0, a1 = a & LOW, _upper(a)
    t = _upper(a0 * low).add_(a1 * low)
    u = (t & LOW).add_(a0.mul_(high))
    return a * whole, a1.mul_(high).add_(_upper(t)).add_(_upper(u))


def _upper(word: Tensor) -> Tensor:
    """The upper half of an unsigned 64-bit word."""
    return (word >> 32).bitwise_and_(LOW)


def _halves(words: Tensor) -> Tensor:
    """(B, blocks, 4) words to (B, blocks, 8) numbers x = w + 1/2, float64, of 32-bit words w, signed; low half
    first."""
    return torch.stack(((words << 32) >> 32, words >> 32), dim=-1).flatten(2).to(torch.float64).add_(0.5)


def _signs(words: Tensor) -> Tensor:
    return _halves(words).sign_()


def _normal(words: Tensor) -> Tensor:
    """`seeds.noise.inverse.normal`, operation by operation."""
    x = _halves(words)
    size = x.abs()
    segment = (size.view(torch.int64) >> SHIFT).sub_(FIRST)
    c = _table(x.device)
    z = torch.take(c[3], segment).mul_(size)
    for k in (2, 1):
        z.add_(torch.take(c[k], segment)).mul_(size)
    return z.add_(torch.take(c[0], segment)).copysign_(x)


@functools.cache
def _table(device: torch.device) -> Tensor:
    """(4, 32 * 128) float64: the coefficients of the cubics, constant terms first."""
    return _upload(np.ascontiguousarray(cubics().T), device)


@functools.cache
def _multipliers(device: torch.device) -> Tensor:
    """(3, 2, 1, 1) int64: the multipliers, and their upper and lower halves."""
    whole = np.array(MULTIPLIERS, np.uint64)
    return _upload(
        np.stack((whole, whole >> np.uint64(32), whole & np.uint64(LOW))).view(np.int64)[..., None, None], device
    )


def _upload(array: npt.NDArray, device: torch.device) -> Tensor:
    """A copy on the device, which the host does not wait for."""
    host = torch.from_numpy(array)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device, copy=True)
