"""Random numbers as pure functions of (seed, draw, stream, part, shape): nothing is stored or advanced, and no global
state is read or changed.

Entry b of a draw depends on seed[b], the draw's index, the stream, part[b] and the number of values only: image 4711
has the same noise in any batch, in any order, on any machine, with any NumPy. The bits are Philox4x64-10's (Salmon et
al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed by the two 64-bit words

    (seed, 2^32 * part + 4 * draw + stream)

so that different seeds, draws, streams and parts cannot collide. Two consecutive values share one 64-bit output word,
low half first.

A part is a run among several that follow each other under one seed, each beginning with the state that another has
made: part 0 is the run that begins with noise, and `part_of` numbers the others by what they are given.
"""

import hashlib
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seeds.errors import InputError
from seeds.noise.device import fill
from seeds.noise.inverse import normal

INITIAL, PATH, CHURN, LABELS = range(4)  # streams

DRAWS = 1 << 30
PARTS = 1 << 32

Seeds = int | Iterable[int]
NamedNoise = Callable[..., torch.Tensor]  # (seed, draw, shape, stream, part, *, device) -> (len(seed), *shape)
Each = int | Sequence[int]


def gaussian(
    seed: Seeds,
    draw: Each,
    shape: Sequence[int],
    stream: Each = PATH,
    part: Seeds = 0,
    *,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Standard normals (len(seed), *shape), float32, on the CPU.

    A state of another dtype takes these values widened or rounded, so that it sees the same noise. Each value is the
    inverse normal of 32 bits, see `seeds.noise.inverse`.
    Args:
        seed: one or several integers in [0, 2^64).
        draw, stream: one for all seeds, or one for each. Draws count from 0; -1 is the initial one, whatever the
            stream.
        part: one integer in [0, 2^32) for all seeds, or one for each.
        device: where to make the same values, and leave them; see `seeds.noise.device` for what it must know. None: on
            the CPU, by NumPy.
    Raises: ValueError if a seed, the draw, the stream or a part is out of range, TypeError if one is not an integer.
    """
    return _fill(seed, draw, shape, stream, part, device, signs=False)


def rademacher(
    seed: Seeds,
    draw: Each,
    shape: Sequence[int],
    stream: Each = PATH,
    part: Seeds = 0,
    *,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Two-point noise, +1 or -1 with equal odds: the signs of `gaussian`. Draw -1 stays gaussian: it is a state, not a
    step. Of draws that are one for each seed all are signs, or none."""
    draws = list(draw) if isinstance(draw, Sequence) else [draw]
    if -1 in draws and set(draws) != {-1}:
        raise InputError(f"`draw` = {draws} has -1, which is gaussian, beside signs: ask for it by itself.")
    return _fill(seed, draw, shape, stream, part, device, signs=-1 not in draws)


def uniform_labels(seed: Seeds, classes: int) -> torch.Tensor:
    """One class index in [0, classes) per seed, int64 (len(seed),), from the labels' own stream: floor(classes w /
    2^64), w a 64-bit word.

    A class' probability is off by less than 2^-64.
    """
    if _whole("classes", classes) < 1:
        raise InputError(f"`classes` = {classes} must be at least 1: an unconditional model takes no labels.")
    seeds = seed_list(seed)
    words = _words(seeds, [_key(0, LABELS)] * len(seeds), 1)
    return torch.tensor([int(word) * classes >> 64 for word in words[:, 0]], dtype=torch.int64)


NOISES: dict[str, NamedNoise] = {"gaussian": gaussian, "two-point": rademacher}


def noise(which: str | Callable[..., Any]) -> Callable[..., Any]:
    """The noise of that name, (seed, draw, shape) -> Tensor; a callable is returned as it is."""
    if callable(which):
        return which
    if which not in NOISES:
        raise InputError(f"There is no noise {which!r}. Known: {', '.join(map(repr, NOISES))}, or pass a callable.")
    return NOISES[which]


def between(first: Seeds, second: Seeds, share: float | Sequence[float]) -> Callable[..., torch.Tensor]:
    """Noise on the way from the seeds `first` to the seeds `second`, for `sample(noise=...)`: cos(pi share / 2) z_first
    + sin(pi share / 2) z_second.

    Every draw of the run is standard normal, and moves smoothly with the share: 0 is `first`, 1 is `second`.
    Args:
        first, second: one seed for each image of the run.
        share: one number, or one for each image.
    Raises: ValueError if the counts differ.
    """
    a, b = seed_list(first), seed_list(second)
    if len(a) != len(b):
        raise InputError(f"`first` has {len(a)} seeds and `second` {len(b)}: give as many, one for each image.")
    turn = torch.as_tensor(share, dtype=torch.float64).expand(len(a)) * (math.pi / 2)

    def draw(j: int, lam0: float, lam1: float, shape: Sequence[int], part: Seeds = 0) -> torch.Tensor:
        if shape[0] != len(a):
            raise InputError(
                f"`between` was given {len(a)} seeds, but {shape[0]} images are drawn at once: give one for each, and "
                "no `batch`."
            )
        # a callable is handed projections' draws as -2 - k: they are numbered from the far end
        number = j if j >= -1 else DRAWS - 1 + j
        near, far = (gaussian(seeds, number, shape[1:], part=part) for seeds in (a, b))
        ways = [way.float().view(-1, *[1] * (len(shape) - 1)) for way in (turn.cos(), turn.sin())]
        return ways[0] * near + ways[1] * far

    return draw


def part_of(state: torch.Tensor) -> list[int]:
    """The part that a run begun with `state` (B, *shape) draws from: for each image a number from 1 to 2^32 - 1, a hash
    of its own values.

    1 + (h mod (2^32 - 1)), h the first 8 bytes, low byte first, of the BLAKE2b hash of the image's values as float32,
    low byte first. Another last bit of one value is another part; the dtype and the device that the state is moved to
    afterwards are not asked. Two states of one seed share a part with odds of 2^-32.
    """
    return [1 + word % (PARTS - 1) for word in seed_of(state)]


def seed_of(state: torch.Tensor) -> list[int]:
    """The seed of a run begun with `state` (B, *shape) by somebody who tells none: for each image 64 bits, the hash of
    its values that `part_of` has."""
    rows = state.detach().to("cpu", torch.float32).reshape(len(state), -1).numpy().astype("<f4", copy=False)
    return [int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in rows]


def part_list(part: Seeds, count: int) -> list[int]:
    """The parts as a list, one for each of `count` seeds.

    Raises: ValueError if one is out of range or there are not as many as seeds, TypeError if one is not an integer.
    """
    parts = _whole_numbers("part", part, PARTS, "2^32")
    single = not isinstance(part, Iterable) or getattr(part, "ndim", 1) == 0
    return _each("part", parts[0] if single else parts, count)


def _each(name: str, given: Each, count: int) -> list[int]:
    """One number for each of `count` seeds."""
    if not isinstance(given, Sequence):
        return [given] * count
    if len(given) != count:
        raise InputError(
            f"`{name}` has {len(given)} numbers for {count} seeds: give one for each, or a single one for all."
        )
    return list(given)


def _fill(
    seed: Seeds,
    draw: Each,
    shape: Sequence[int],
    stream: Each,
    part: Seeds,
    device: torch.device | None,
    *,
    signs: bool,
) -> torch.Tensor:
    seeds, count = seed_list(seed), math.prod(shape)
    each = _each("draw", draw, len(seeds)), _each("stream", stream, len(seeds)), part_list(part, len(seeds))
    keys = [_key(*key) for key in zip(*each, strict=True)]
    if device is not None:
        words = np.array(list(zip(seeds, keys, strict=True)), np.uint64).reshape(-1, 2)
        return fill(words, count, device, signs=signs).reshape(len(seeds), *shape)
    words = _words(seeds, keys, (count + 1) // 2)
    # low half first, also on a big-endian machine
    halves = words.astype("<u8", copy=False).view("<i4").astype(np.int32, copy=False)
    turn = _signs if signs else normal
    return (
        torch.from_numpy(turn(halves.reshape(-1)).reshape(halves.shape))[:, :count]
        .reshape(len(seeds), *shape)
        .contiguous()
    )


def _signs(words: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """The word's sign bit put upon the float32 1.0, in the same memory."""
    np.bitwise_and(words, -(1 << 31), out=words)
    np.bitwise_or(words, 0x3F800000, out=words)
    return words.view(np.float32)


def _words(seeds: list[int], keys: list[int], count: int) -> npt.NDArray[np.uint64]:
    """The first `count` words of each seed's own stream, (len(seeds), count)."""
    philox = np.random.Philox(key=0)
    # at the start of a stream; setting it with another key is eight times cheaper than a new Philox
    state: Any = philox.state
    words = np.empty((len(seeds), count), np.uint64)
    for row, seed, key in zip(words, seeds, keys, strict=True):
        state["state"]["key"][:] = seed, key
        philox.state = state
        row[:] = philox.random_raw(count)
    return words


def seed_list(seed: Seeds) -> list[int]:
    """The seeds as a list, one per sample of the batch.

    Raises: ValueError if one is out of range, TypeError if one is not an integer.
    """
    return _whole_numbers("seed", seed, 1 << 64, "2^64")


def _whole_numbers(name: str, given: Seeds, end: int, words: str) -> list[int]:
    # an int, or an array or a tensor that holds one
    single = not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0
    numbers = [_whole(name, number) for number in ([given] if single else given)]  # type: ignore[union-attr]
    for number in numbers:
        if not 0 <= number < end:
            raise InputError(f"`{name}` = {number} must be at least 0 and below {words}.")
    return numbers


def _key(draw: int, stream: int, part: int = 0) -> int:
    """The second word of the key: the part in its high half, the draw and the stream in its low one."""
    draw = _whole("draw", draw)
    if not -1 <= draw < DRAWS:
        raise InputError(f"`draw` = {draw} must be -1 (the initial draw) or count from 0, below 2^30.")
    if stream not in (INITIAL, PATH, CHURN, LABELS):
        raise InputError(f"`stream` = {stream} must be INITIAL, PATH, CHURN or LABELS.")
    return PARTS * part + (INITIAL if draw == -1 else 4 * draw + stream)


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` = {value!r} must be a whole number.") from None
