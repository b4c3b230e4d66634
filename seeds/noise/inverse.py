"""The normal distribution's inverse, as a table of cubics that is the same to the last bit on every machine. NumPy
only.

A 32-bit word w, read as a signed integer, stands for x = w + 1/2, one of 2^32 equally likely values without 0; the
normal value is

    z(x) = sign(x) Phi^-1(1 - |x| / 2^32)

|x| runs over 32 octaves [2^e, 2^(e+1)), e = -1 .. 30; each octave is cut into 128 equal segments, and in each segment
z is the cubic through the exact values at four Chebyshev nodes. The octave and the segment are the leading bits of |x|
as a float64. Accuracy, held by tests/unit/test_noise.py: the inverse is off by less than 5e-12 before it is rounded to
float32; its slope, and so the density, by less than 4e-8 of itself. |z| reaches 6.33.

Only integer operations and those that IEEE 754 rounds exactly (+, -, *, /, square root) are used, each by its own NumPy
call; no exp or log of a maths library, whose last bits differ between machines and versions.
"""

import functools
import itertools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CHUNK = 8192  # words at a time: the scratch space (0.5 MiB) stays in the second-level cache
CUTS = 7  # 2^7 segments in each octave
FIRST = 1022 << CUTS  # leading bits of 0.5, the smallest |x|
SHIFT = 52 - CUTS


def normal(words: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Turns random words (n,) into standard normals (n,), in the same memory."""
    out, table = words.view(np.float32), cubics()
    n = min(len(words), CHUNK)
    scratch_x, scratch_size, scratch_z = np.empty((3, n))
    scratch_segment, scratch_c = np.empty(n, np.int64), np.empty((n, 4))
    for at in range(0, len(words), CHUNK):
        word = words[at : at + CHUNK]
        x, size, z = scratch_x[: len(word)], scratch_size[: len(word)], scratch_z[: len(word)]
        segment, c = scratch_segment[: len(word)], scratch_c[: len(word)]
        np.copyto(x, word)
        np.add(x, 0.5, out=x)
        np.absolute(x, out=size)
        np.right_shift(size.view(np.int64), SHIFT, out=segment)
        np.subtract(segment, FIRST, out=segment)
        # "clip" alone writes to `out` without a copy; nothing is ever clipped
        np.take(table, segment, axis=0, out=c, mode="clip")
        np.multiply(c[:, 3], size, out=z)
        for k in (2, 1):
            np.add(z, c[:, k], out=z)
            np.multiply(z, size, out=z)
        np.add(z, c[:, 0], out=z)
        np.copysign(z, x, out=out[at : at + CHUNK], casting="same_kind")
    return out


@functools.cache
def cubics() -> Floats:
    """Coefficients (32 * 128, 4) of z(|x|), constant term first; made once, in some 20 ms."""
    octave = np.ldexp(1.0, np.arange(-1, 31))[:, None]
    left, width = octave * (1 + np.arange(1 << CUTS) / (1 << CUTS)), octave / (1 << CUTS)
    x = [left + width * part for part in CHEBYSHEV]
    z = [upper_tail_inverse(node / 2.0**32) for node in x]
    for order in (1, 2, 3):  # divided differences: z[k] becomes z[x_0, .., x_k]
        for k in range(3, order - 1, -1):
            z[k] = (z[k] - z[k - 1]) / (x[k] - x[k - order])
    c = [z[3]]
    for k in (2, 1, 0):  # Newton's form to powers of x: c <- c (x - x_k) + z[k]
        c = [z[k] - x[k] * c[0], *(low - x[k] * high for low, high in itertools.pairwise(c)), c[-1]]
    table = np.stack(c, axis=-1).reshape(-1, 4)
    table.setflags(write=False)
    return table


# (1 - cos((2k + 1) pi / 8)) / 2
CHEBYSHEV = (0.03806023374435663, 0.30865828381745514, 0.6913417161825449, 0.9619397662556434)
ROOT_HALF_PI = 1.2533141373155003
ROOT_2_PI = 2.5066282746310002


def upper_tail_inverse(p: Floats) -> Floats:
    """z with Q(z) = p, where Q(z) = 1 - Phi(z), for 2^-34 < p < 1/2: Newton's method on log Q, log(a) taken as 2 (a -
    1) / (a + 1)."""
    z = np.sqrt(-1.386 * np.frexp(p)[1])  # sqrt(-2 log p), roughly
    for _ in range(6):
        exp = _exp(-z * z / 2)
        mills = _mills(z, exp)
        q = mills * exp / ROOT_2_PI
        z = np.maximum(z + mills * 2 * (q - p) / (q + p), 0.0)
    return z


def _mills(z: Floats, exp: Floats) -> Floats:
    """Q(z) / Q'(z) up to sign, given exp(-z^2 / 2): a power series below z = 2, a continued fraction above."""
    small, large = np.minimum(z, 2.0), np.maximum(z, 2.0)
    series = np.ones_like(z)
    for k in range(61, 1, -2):
        series = 1 + small * small / k * series
    fraction = large
    for k in range(100, 0, -1):
        fraction = large + k / fraction
    return np.where(z < 2.0, ROOT_HALF_PI / exp - small * series, 1 / fraction)


def _exp(y: Floats) -> Floats:
    """exp(y) for -32 < y <= 0: a power series for exp(y / 64), squared six times."""
    y, value = y / 64, np.ones_like(y)
    for k in range(14, 0, -1):
        value = 1 + y / k * value
    for _ in range(6):
        value = value * value
    return value
