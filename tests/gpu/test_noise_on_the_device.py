"""Noise made on the device: the bits of the CPU, in bounded memory, and the host waits for none of it."""

import hashlib

import numpy as np
import pytest
import torch
from devices import CUDA, Watch, everywhere, on_gpus, unwaited

import seeds
from seeds.noise import CHURN, INITIAL, NOISES, PATH, Place, Together, draws, gaussian, maker, rademacher
from seeds.noise import device as drawing

with_float64 = pytest.mark.parametrize("device", ["cpu", CUDA])
SEEDS = [0, 1, 2**63 + 1, 2**64 - 1]


def half(x, at):
    return x * (0.5 * at.alpha)


@with_float64
def test_golden_values(device):
    """Those of tests/unit/test_noise.py: whoever changes a bit of these changes everybody's images."""
    where = torch.device(device)
    block = gaussian(SEEDS, 5, (3, 7, 9), device=where)
    assert block.device.type == device and block.dtype == torch.float32
    assert (
        hashlib.sha256(block.cpu().numpy().tobytes()).hexdigest()
        == "2224d7f82bcdc36827f74d09acb572e5c2d817aae9a4636726e318c6b6caa553"
    )
    assert [v.hex()[:11] for v in gaussian(7, 0, (4,), device=where)[0].tolist()] == [
        "-0x1.562f3c",
        "-0x1.2ffa08",
        "0x1.fede500",
        "0x1.566d540",
    ]
    assert rademacher(7, 0, (9,), device=where)[0].tolist() == [-1, -1, 1, 1, 1, -1, -1, 1, 1]


@with_float64
@pytest.mark.parametrize("chunk", [8, 24, 1000, drawing.CHUNK])
@pytest.mark.parametrize("shape", [(), (1,), (3, 0), (8,), (3, 7, 9), (300,)])
def test_the_bits_are_those_of_the_cpu_in_any_chunks(device, chunk, shape, monkeypatch):
    monkeypatch.setattr(drawing, "CHUNK", chunk)
    for make in NOISES.values():
        for draw, stream in ((-1, INITIAL), (0, PATH), (3, CHURN), (2**30 - 1, PATH)):
            made = make(SEEDS, draw, shape, stream, device=torch.device(device))
            assert made.shape == (4, *shape) and torch.equal(made.cpu(), make(SEEDS, draw, shape, stream))
    assert gaussian([], 0, shape, device=torch.device(device)).shape == (0, *shape)


@with_float64
@pytest.mark.parametrize("part", [7, [0, 1, 2**31, 2**32 - 1]])
def test_parts_are_those_of_the_cpu(device, part):
    assert torch.equal(
        gaussian(SEEDS, 5, (9,), PATH, part, device=torch.device(device)).cpu(), gaussian(SEEDS, 5, (9,), PATH, part)
    )


@with_float64
def test_a_million_values_are_those_of_the_cpu(device):
    """All octaves of the table but the last few, and products of every size."""
    assert torch.equal(
        gaussian(range(3, 11), 2, (1 << 17,), device=torch.device(device)).cpu(), gaussian(range(3, 11), 2, (1 << 17,))
    )


@with_float64
def test_every_segment_of_the_table_is_read_as_on_the_cpu(device):
    starts = np.ldexp(1 + np.arange(128) / 128, np.arange(-1, 31)[:, None]).reshape(-1)
    sizes = np.unique(np.clip(np.floor(starts)[:, None] + np.arange(-2, 3), 0, 2**31 - 1).astype(np.int64))
    sizes = sizes[: len(sizes) // 8 * 8]
    halves = np.concatenate([-1 - sizes, sizes]).astype(np.int32)
    words = torch.from_numpy(halves.view("<i8").reshape(1, -1, 4).astype(np.int64)).to(device)
    found = drawing._normal(words).flatten().to(torch.float32).cpu().numpy()
    assert found.tobytes() == draws.normal(halves.copy()).tobytes()


@with_float64
def test_the_scratch_is_bounded(device):
    keys = np.array([(seed, 21) for seed in range(8)], np.uint64)
    drawing.fill(keys, 8, device)  # the tables
    for rows, count in ((8, drawing.CHUNK // 5), (1, drawing.CHUNK + 9)):
        with Watch(device) as watch:
            made = drawing.fill(keys[:rows], count, device)
        assert watch.dtypes[torch.float64] <= drawing.CHUNK and watch.peak - made.nbytes < 64 << 20


def test_the_host_waits_for_nothing_on_a_pretended_device(pretended):
    gaussian(7, 5, (3,), device=pretended)  # the tables
    with Watch(pretended) as watch:
        assert gaussian(SEEDS, 5, (3, 7, 9), device=pretended).device == pretended
    assert set(watch.dtypes) == {torch.float32, torch.float64}


@pytest.mark.gpu("cuda")
def test_the_host_waits_for_nothing():
    gaussian(SEEDS, 5, (3, 7, 9), device=torch.device("cuda"))
    with unwaited("cuda"):
        gaussian(SEEDS, 6, (3, 7, 9), device=torch.device("cuda"))


def test_no_graph_takes_it_in():
    """A compiler may contract a product and a sum, and another bit comes out."""
    torch._dynamo.reset()
    graphs = []

    def noted(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def noisy(x):
        return x + 1 + gaussian([3, 4], 2, (9,), device=torch.device("cpu"))

    assert torch.equal(torch.compile(noisy, backend=noted)(torch.zeros(2, 9)), noisy(torch.zeros(2, 9)))
    assert graphs and not any("take" in str(node.target) for graph in graphs for node in graph.graph.nodes)


@everywhere
@pytest.mark.parametrize("noise", NOISES)
def test_samples_do_not_know_where_their_noise_was_made(device, noise, monkeypatch):
    monkeypatch.setattr(drawing, "ABLE", ("cpu", "cuda"))
    given = {
        "seed": SEEDS, "solver": "seeds-2", "steps": 3, "schedule": "vp", "noise": noise, "device": device,
        "project": lambda x, at, draw: 0.9 * x + 0.1 * at.sigma * draw,
    }  # fmt: skip
    auto, ahead = (seeds.sample(half, (2, 3, 5), noise_device=where, **given) for where in ("auto", "cpu"))
    assert torch.equal(auto, ahead) and auto.device.type == device
    assert torch.equal(seeds.sample(half, (2, 3, 5), batch=3, **given), auto)


def test_an_able_device_draws_its_own_in_the_callers_thread(monkeypatch):
    monkeypatch.setattr(drawing, "ABLE", ("cpu",))
    monkeypatch.setattr(draws, "_words", None)  # the CPU's way
    assert seeds.sample(half, (4,), seed=1, solver="seeds-3", steps=2, schedule="vp").shape == (1, 4)


def test_where_noise_is_made():
    cpu, cuda, mps = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")
    assert maker("auto", cpu) is maker("auto", mps) is maker("cpu", cuda) is maker("cpu", mps) is None
    assert maker("auto", cuda) == maker("cuda", cuda) == maker("cuda:0", cuda) == cuda
    with pytest.raises(
        ValueError,
        match=r"`noise_device` = 'cuda', but the state is on 'cpu': there it is drawn ahead on the 'cpu'. 'auto' takes",
    ):
        seeds.sample(half, (4,), seed=1, solver="seeds-3", steps=2, schedule="vp", noise_device="cuda")
    with pytest.raises(ValueError, match=r"`noise_device` = 'mps', but the state is on 'mps'"):
        maker("mps", mps)
    with pytest.raises(
        ValueError, match=r"`noise_device` = 'cuda:1', but the state is on 'cuda:0': there it is drawn on 'cuda:0' or"
    ):
        maker("cuda:1", cuda)


@on_gpus
def test_auto_is_the_device_where_it_can_be(device):
    assert maker("auto", torch.device(device)) == (torch.device("cuda") if device == "cuda" else None)


def test_a_run_makes_its_draws_together(monkeypatch):
    """As many as fit into a chunk cost a device as much as one. None is made that a run does not ask for, and none
    twice."""
    monkeypatch.setattr(drawing, "ABLE", ("cpu",))
    made, fill = [], draws.fill
    monkeypatch.setattr(draws, "fill", lambda keys, *rest, **how: made.append(len(keys)) or fill(keys, *rest, **how))
    plan = seeds.plan("seeds-3", steps=4, schedule="vp")
    count = len(plan.draws)
    for chunk, most in ((drawing.CHUNK, count), (3 * 8 * len(SEEDS), 3), (8, 1)):
        monkeypatch.setattr(drawing, "CHUNK", chunk)
        made.clear()
        seeds.sample(half, (8,), seed=SEEDS, plan=plan)
        whole, rest = divmod(count, most)
        assert made == [len(SEEDS) * n for n in (1, *[most] * whole, *[rest] * (rest > 0))]


def test_draws_of_few_values_are_made_together_as_long_as_their_blocks_fit(monkeypatch):
    """A row takes blocks of eight values, whatever it keeps of them."""
    made = []
    monkeypatch.setattr(
        draws, "fill", lambda keys, count, *_, **__: made.append(len(keys)) or torch.zeros(len(keys), count)
    )
    monkeypatch.setattr(drawing, "CHUNK", 800)
    together = Together(lambda j: Place(gaussian, j, PATH), range(9), range(30), 0, (2,), torch.device("cpu"))
    assert [together(j).shape for j in range(9)] == [(30, 2)] * 9 and made == [90] * 3
    assert Together(lambda j: Place(gaussian, j, PATH), range(9), [], 0, (2,), torch.device("cpu"))(3).shape == (0, 2)


def test_draws_of_one_call_are_those_of_many():
    numbers, streams = [0, 3, 3, 2**30 - 1], [PATH, PATH, CHURN, INITIAL]
    for make in NOISES.values():
        for where in (None, torch.device("cpu")):
            alone = [make(s, d, (9,), stream) for s, d, stream in zip(SEEDS, numbers, streams, strict=True)]
            assert torch.equal(make(SEEDS, numbers, (9,), streams, device=where), torch.cat(alone))
    with pytest.raises(ValueError, match="`draw` has 2 numbers for 4 seeds: give one for each, or a single one"):
        gaussian(SEEDS, [1, 2], (9,))
    with pytest.raises(ValueError, match=r"`draw` = \[-1, 2\] has -1, which is gaussian, beside signs: ask for it by"):
        rademacher([1, 2], [-1, 2], (9,))
