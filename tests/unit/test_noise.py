"""Draws: the same bits everywhere, the right law, nothing stored; the inverse normal against SciPy's."""

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtr, ndtri

from seeds.noise import (
    CHURN,
    INITIAL,
    LABELS,
    NOISES,
    PATH,
    gaussian,
    noise,
    part_of,
    rademacher,
    seed_of,
    uniform_labels,
)
from seeds.noise.inverse import CHUNK, CUTS, FIRST, SHIFT, cubics, normal

BIG = 2**63


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def philox(key, blocks):
    """Philox4x64-10 in whole numbers, from its paper; NumPy's first counter is 1."""
    words, mask = [], 2**64 - 1
    for block in range(1, blocks + 1):
        c, (k0, k1) = [block, 0, 0, 0], key
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [b >> 64 ^ c[1] ^ k0, b & mask, a >> 64 ^ c[3] ^ k1, a & mask]
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
        words += c
    return words


@pytest.mark.parametrize("seed", [0, 7, BIG, BIG + 1, 2**64 - 1])
@pytest.mark.parametrize(
    "draw, stream, key",
    [(-1, PATH, 0), (-1, CHURN, 0), (0, PATH, 1), (3, PATH, 13), (3, CHURN, 14), (2**30 - 1, PATH, 2**32 - 3)],
)
def test_the_bits_are_philox_keyed_by_seed_and_draw(seed, draw, stream, key):
    words = np.array(philox((seed, key), 3), np.uint64)
    halves = (
        np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1)
        .astype(np.uint32)
        .reshape(-1)
        .view(np.int32)
    )
    assert gaussian(seed, draw, (24,), stream)[0].tolist() == normal(halves.copy()).tolist()


@pytest.mark.parametrize("part", [1, 77, 2**32 - 1])
def test_the_part_is_the_high_half_of_the_key(part):
    words = np.array(philox((7, (part << 32) + 4 * 3 + PATH), 3), np.uint64)
    halves = (
        np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1)
        .astype(np.uint32)
        .reshape(-1)
        .view(np.int32)
    )
    assert gaussian(7, 3, (24,), part=part)[0].tolist() == normal(halves.copy()).tolist()
    both = gaussian([7, 8, 9], 3, (24,), part=[part, 0, 5])
    assert torch.equal(both[1], gaussian(8, 3, (24,))[0]) and torch.equal(both[2], gaussian(9, 3, (24,), part=5)[0])
    assert torch.equal(rademacher(7, 3, (9,), part=part), gaussian(7, 3, (9,), part=part).sign())


def test_the_part_of_a_state_is_its_own_bits():
    """Whoever changes these changes everybody's image-to-image."""
    states = torch.tensor([[0.5, -1.25], [0.5, 1.25], [0.0, 0.0]])
    assert part_of(states) == [536159676, 73671542, 1958105749]
    assert part_of(states.double()) == part_of(states) and part_of(states[1:2]) == part_of(states)[1:2]
    assert part_of(states.T.contiguous().T) == part_of(states), "its values, not how they lie in memory"
    assert part_of(torch.nextafter(states, torch.tensor(9.0)))[0] != part_of(states)[0]
    assert seed_of(states) == [3033867633894797105, 15036681101164092841, 1786884285633530058] and part_of(states) == [
        1 + k % (2**32 - 1) for k in seed_of(states)
    ]
    assert part_of(torch.tensor([1.0, 2.0])) == part_of(torch.tensor([[1.0], [2.0]]))
    many = part_of(torch.arange(20_000.0))
    assert (
        len(set(many)) > 19_998
        and min(many) > 0
        and max(many) < 2**32
        and stats.kstest(np.array(many) / 2**32, "uniform").pvalue > 0.01
    )


def test_golden_values():
    """Whoever changes a bit of these changes everybody's images."""
    assert sha(cubics()) == "7c744af1ffb26799460c6a478a85ea930e4eba739d8b5b4e54748ed68a57204f"
    block = gaussian([0, 1, BIG + 1, 2**64 - 1], 5, (3, 7, 9))
    assert sha(block.numpy()) == "2224d7f82bcdc36827f74d09acb572e5c2d817aae9a4636726e318c6b6caa553"
    assert [v.hex()[:11] for v in gaussian(7, 0, (4,))[0].tolist()] == [
        "-0x1.562f3c",
        "-0x1.2ffa08",
        "0x1.fede500",
        "0x1.566d540",
    ]
    assert rademacher(7, 0, (9,))[0].tolist() == [-1, -1, 1, 1, 1, -1, -1, 1, 1]
    assert uniform_labels(range(12), 10).tolist() == [4, 6, 7, 8, 3, 7, 5, 4, 2, 5, 3, 3]


@pytest.mark.parametrize("shape", [(3, 8, 8), (5,), (), (3, 0), (1, 100, 101)])
@pytest.mark.parametrize("make", [gaussian, rademacher])
def test_entry_b_depends_on_seed_b_only(make, shape):
    seeds = [4, 7, 11, 7]
    whole = make(seeds, 3, shape)
    assert whole.shape == (4, *shape) and whole.dtype == torch.float32 and whole.is_contiguous()
    for b in range(4):
        assert torch.equal(whole[b : b + 1], make([seeds[b]], 3, shape)) and torch.equal(
            whole[b], make(seeds[b], 3, shape)[0]
        )
    assert torch.equal(whole[[2, 0]], make([11, 4], 3, shape)) and make([], 3, shape).shape == (0, *shape)


def test_seed_draw_and_stream_each_change_the_values():
    keys = [
        (s, d, stream)
        for s in (0, 1, BIG, BIG + 1, 2**64 - 1)
        for d in range(3)
        for stream in (INITIAL, PATH, CHURN, LABELS)
    ]
    blocks = [tuple(gaussian(s, d, (16,), stream)[0].tolist()) for s, d, stream in keys]
    assert len(set(blocks)) == len(keys) == 60


def test_global_random_state_is_neither_read_nor_changed():
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002
    first = gaussian(1, 0, (9,)), uniform_labels([1, 2], 7)
    assert before[0] == np.random.get_state()[1].tobytes() and torch.equal(before[1], torch.get_rng_state())  # noqa: NPY002
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(3)  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            assert torch.equal(first[0], gaussian(1, 0, (9,))) and torch.equal(first[1], uniform_labels([1, 2], 7))
    finally:
        np.random.set_state(state)  # noqa: NPY002


def words_near_every_segment():
    """The first and last words of each segment of each sign, and words spread over all scales."""
    starts = np.ldexp(1 + np.arange(1 << CUTS) / (1 << CUTS), np.arange(-1, 31)[:, None]).reshape(-1)
    near = np.floor(starts)[:, None] + np.arange(-3, 4)
    spread = np.concatenate([np.geomspace(1, 2**31 - 1, 200_000), np.linspace(0, 2**31 - 1, 200_000)])
    sizes = np.unique(np.clip(np.concatenate([near.reshape(-1), spread]), 0, 2**31 - 1).astype(np.int64))
    return np.concatenate([-1 - sizes[::-1], sizes]).astype(np.int32)


def test_the_inverse_is_exact_before_rounding():
    x = words_near_every_segment() + 0.5
    x = x[x > 0]
    c = cubics()[(x.view(np.int64) >> SHIFT) - FIRST].T
    z, slope, exact = ((c[3] * x + c[2]) * x + c[1]) * x + c[0], (3 * c[3] * x + 2 * c[2]) * x + c[1], -ndtri(x / 2**32)
    assert np.abs(z - exact).max() < 5e-12
    density = np.exp(-(exact**2) / 2) / math.sqrt(2 * math.pi)
    assert np.abs(slope * 2**32 * density + 1).max() < 4e-8


def test_the_values_are_the_inverse_rounded():
    words = words_near_every_segment()
    z, exact = normal(words.copy()), ndtri((words + 0.5) / -(2**32) % 1)
    assert np.abs(z - exact).max() < 2.4e-7 and (np.abs(z - exact) <= 0.501 * np.spacing(np.abs(z)) + 5e-12).all()
    # no step back where segments meet
    assert (np.diff(z[words >= 0]) <= 0).all() and (np.diff(z[words < 0]) <= 0).all()
    assert z.min() == -z.max() and 6.33 < z.max() < 6.34 and np.array_equal(z, -normal(-1 - words))
    assert np.array_equal(np.sign(z), np.where(words < 0, -1, 1))


def test_chunks_do_not_show():
    words = np.arange(3 * CHUNK + 17, dtype=np.int64).astype(np.int32) * 77_777
    assert np.array_equal(
        normal(words.copy()), np.concatenate([normal(part.copy()) for part in np.split(words, [5, CHUNK, CHUNK + 1])])
    )


@pytest.fixture(scope="module")
def sample():
    return gaussian(range(100), 0, (100_000,)).numpy()


def test_moments_of_ten_million(sample):
    z, power = sample.reshape(-1).astype(np.float64), 1.0
    for k in range(1, 7):
        power = power * z
        mean = math.prod(range(1, k, 2)) if k % 2 == 0 else 0
        deviation = math.sqrt((math.prod(range(1, 2 * k, 2)) - mean**2) / z.size)
        assert abs(power.mean() - mean) < 4 * deviation, k


def test_distribution_of_ten_million(sample):
    z = sample.reshape(-1)
    assert stats.kstest(z[:1_000_000], "norm").pvalue > 0.01
    edges = np.r_[-np.inf, ndtri(np.arange(1, 512) / 512), np.inf]
    assert stats.chisquare(np.histogram(z, np.clip(edges, -9, 9))[0]).pvalue > 0.01
    for level in (3.0, 4.0, 5.0):
        expected = 2 * z.size * ndtr(-level)
        assert abs((np.abs(z) > level).sum() - expected) < 4 * math.sqrt(expected) + 1
    rounded = np.random.default_rng(0).standard_normal(z.size).astype(np.float32)
    assert np.unique(z).size > 0.998 * np.unique(rounded).size  # ties are float32's own


def test_nothing_is_correlated(sample):
    bound = 4.5 / math.sqrt(99 * 100_000)
    seeds, neighbours = (sample[1:] * sample[:-1]).mean(), (sample[:, 1:] * sample[:, :-1]).mean()
    draws = (sample[:50] * gaussian(range(50), 1, (100_000,)).numpy()).mean()
    streams = (sample[:50] * gaussian(range(50), 0, (100_000,), CHURN).numpy()).mean()
    assert max(abs(seeds), abs(neighbours)) < bound and max(abs(draws), abs(streams)) < 1.5 * bound


def test_two_points_are_the_signs():
    two, one = rademacher([3, 9], 4, (50_001,)), gaussian([3, 9], 4, (50_001,))
    assert torch.equal(two, one.sign()) and abs(two.mean()) < 4 / math.sqrt(two.numel())
    assert torch.equal(rademacher([3, 9], -1, (5,)), gaussian([3, 9], -1, (5,)))


def test_labels_are_even_and_their_own():
    labels = uniform_labels(range(50_000), 7)
    assert labels.dtype == torch.int64 and stats.chisquare(torch.bincount(labels, minlength=7).numpy()).pvalue > 0.01
    assert torch.equal(labels[[5, 3]], uniform_labels([5, 3], 7)) and uniform_labels([1, 2], 1).tolist() == [0, 0]
    assert uniform_labels(9, 2**40).item() == philox((9, LABELS), 1)[0] >> 24


def test_lookup():
    assert (
        noise("gaussian") is gaussian
        and noise("two-point") is rademacher
        and noise(max) is max
        and list(NOISES) == ["gaussian", "two-point"]
    )


@pytest.mark.parametrize(
    "make, error, sentence",
    [
        (lambda: gaussian(-1, 0, (1,)), ValueError, r"`seed` = -1 must be at least 0 and below 2\^64"),
        (lambda: gaussian([1, 2**64], 0, (1,)), ValueError, r"`seed` = 18446744073709551616 must be"),
        (lambda: gaussian([1.5], 0, (1,)), TypeError, r"`seed` = 1.5 must be a whole number"),
        (lambda: gaussian("7", 0, (1,)), TypeError, r"`seed` = '7' must be a whole number"),
        (lambda: gaussian(1, -2, (1,)), ValueError, r"`draw` = -2 must be -1 \(the initial draw\) or count from 0"),
        (lambda: gaussian(1, 2**30, (1,)), ValueError, r"below 2\^30"),
        (
            lambda: gaussian([1, 2], 0, (1,), part=2**32),
            ValueError,
            r"`part` = 4294967296 must be at least 0 and below 2\^32",
        ),
        (
            lambda: gaussian([1, 2], 0, (1,), part=[1, 2, 3]),
            ValueError,
            "`part` has 3 numbers for 2 seeds: give one for each",
        ),
        (lambda: gaussian(1, 0, (1,), part=0.5), TypeError, "`part` = 0.5 must be a whole number"),
        (lambda: gaussian(1, None, (1,)), TypeError, r"`draw` = None must be a whole number"),
        (lambda: gaussian(1, 0, (1,), stream=4), ValueError, r"`stream` = 4 must be INITIAL, PATH, CHURN or LABELS"),
        (lambda: uniform_labels(1, 0), ValueError, r"`classes` = 0 must be at least 1"),
        (lambda: uniform_labels(1, 2.0), TypeError, r"`classes` = 2.0 must be a whole number"),
        (
            lambda: noise("uniform"),
            ValueError,
            r"There is no noise 'uniform'. Known: 'gaussian', 'two-point', or pass a callable",
        ),
    ],
)
def test_errors_say_what_to_do(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


def test_a_device_draws_the_parts_too():
    parts, here = [0, 1, 2**32 - 1], torch.device("cpu")
    for make in (gaussian, rademacher):
        assert torch.equal(make([7, 7, 9], 5, (3, 5), part=parts, device=here), make([7, 7, 9], 5, (3, 5), part=parts))
