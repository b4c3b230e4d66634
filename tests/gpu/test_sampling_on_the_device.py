"""Sampling on the device: what the CPU draws to rounding, without waiting, without float64, in the memory that the plan
counts."""

import itertools
from dataclasses import replace

import pytest
import torch
from devices import CUDA, Watch, everywhere, unwaited
from models import SHAPE, mixture, network

import seeds
from seeds.noise import device as drawing
from seeds.planning import plan_for
from seeds.predictions import PREDICTIONS
from seeds.solvers import SOLVERS
from seeds.stepper import Stepper, run

SEEDS = [3, 2**63 + 1]
LABELS = [1, 3]
CASES = [
    (name, form) for name, solver in SOLVERS.items() for form in (PREDICTIONS if solver.interpolates else ["data"])
]
every_case = pytest.mark.parametrize(("solver", "prediction"), CASES)
every_solver = pytest.mark.parametrize("solver", SOLVERS)


@pytest.fixture(scope="module")
def exact():
    return mixture()


@pytest.fixture(scope="module")
def networks():
    """A small network, and the same in float64."""
    return network(), network(dtype=torch.float64)


def plan_of(model, solver, prediction="data", **options):
    """Up to 10 calls, at levels where float32 holds five digits of the state."""
    how = {"nsr_min": 0.1, "nsr_max": 5.0, **({"prediction": prediction} if SOLVERS[solver].interpolates else {})}
    calls = plan_for(model, solver, steps=1, **how).nfe - 1
    return plan_for(model, solver, steps=9 // calls, **(how | options))


def drawn(model, plan, device, **how):
    return seeds.sample(model, SHAPE, seed=SEEDS, plan=plan, device=device, **{"labels": LABELS, **how})


def loop(calls, count):
    """The calls, without what is read after the last."""
    return itertools.islice(calls, count)


def assert_same(found, want):
    """To 1e-5 of 1, or of the largest value: one step of four stages makes more of a random network than data are."""
    found, want = found.cpu().double(), want.cpu().double()
    torch.testing.assert_close(found, want, rtol=0, atol=1e-5 * max(1.0, want.abs().max().item()))


@everywhere
@every_case
def test_the_device_draws_what_the_cpu_draws_in_float64(device, solver, prediction, exact, networks):
    """Of an exact model and of a network, to 1e-5."""
    for model, wide in ((exact, exact), networks):
        plan = plan_of(model, solver, prediction)
        assert plan.nfe <= 10
        found = drawn(model.to(device) if hasattr(model, "to") else model, plan, device)
        assert found.device.type == device and found.dtype == torch.float32
        assert_same(found, drawn(wide, plan, "cpu", dtype=torch.float64))


@pytest.mark.parametrize(("solver", "where"), [*((solver, "cpu") for solver in SOLVERS), ("seeds-2", "auto")])
def test_on_a_pretended_device_nothing_is_waited_for_and_nothing_mixed(solver, where, pretended, exact):
    """Projections, labels, guidance and bounds included; with noise from the CPU, and with the device's own."""
    model = seeds.threshold(seeds.guide(exact, 2.0), 1.5)
    plan = plan_of(exact, solver)
    given = {"seed": SEEDS, "labels": LABELS, "device": pretended, "project": lambda x, at, draw: x.lerp(draw, 0.1)}
    # carries the law there
    exact(torch.empty(2, *SHAPE, device=pretended), plan.start, labels=torch.tensor(LABELS).to(pretended))
    with Watch(pretended) as watch:
        for call in loop(seeds.iterate(model, SHAPE, plan=plan, noise_device=where, **given), plan.nfe):
            assert call.x.device == call.denoised.device == pretended
    assert set(watch.dtypes) == ({torch.float32} if where == "cpu" else {torch.float32, torch.float64})


@everywhere
@every_solver
def test_the_loop_waits_for_nothing_and_makes_no_float64(device, solver, networks):
    """Of the operations, on any device; on CUDA, by torch's own word."""
    model = networks[0].to(device)
    plan, labels = plan_of(model, solver), torch.tensor(LABELS)
    calls = seeds.iterate(model, SHAPE, seed=SEEDS, plan=plan, labels=labels, device=device, noise_device="cpu")
    next(calls)  # labels and constants are there
    with unwaited(device) as watch:
        assert len(list(loop(calls, plan.nfe - 1))) == plan.nfe - 1
    assert set(watch.dtypes) == {torch.float32}


def told_much(model, device):
    """Guided by a label that means none, each image by its own scale, bounded by a quantile, inpainted: whatever holds
    numbers of the host's."""
    scale, mask = torch.tensor([1.5, 2.0], dtype=torch.float64), torch.ones(SHAPE, device=device)
    return seeds.threshold(
        seeds.guide(model, scale, null=0), 1.5, quantile=0.9
    ), lambda x, at, draw: mask * x + (1 - mask) * at.sigma * draw


def test_nobody_waits_for_what_a_pretended_device_is_told(pretended, exact, monkeypatch):
    """Scales and nulls, of one number and of several, are copied without waiting, and nothing is made there of the
    host's numbers."""
    tensor_of = torch.as_tensor

    def as_tensor(value, **where):
        assert not where, "a tensor made on the device of numbers: the host waits for it"
        return tensor_of(value)

    for null, labels in ((0, torch.tensor(LABELS)), (torch.tensor([0.0, 1, 0, 0]), torch.eye(4)[LABELS])):
        model, project = told_much(exact, pretended)
        model = replace(model, inner=replace(model.inner, none=null))
        plan = plan_of(exact, "seeds-2")
        how = {"seed": SEEDS, "labels": labels, "device": pretended, "project": project, "plan": plan}
        calls = seeds.iterate(
            model, SHAPE, noise=lambda draw, lam0, lam1, shape: torch.empty(shape, device=pretended), **how
        )
        next(calls)
        with Watch(pretended, fed=False), monkeypatch.context() as changed:
            changed.setattr(torch, "as_tensor", as_tensor)
            assert len(list(loop(calls, plan.nfe - 1))) == plan.nfe - 1


@everywhere
def test_guidance_bounds_and_projections_wait_for_nothing(device, networks):
    model, project = told_much(networks[0].to(device), device)
    plan = plan_of(networks[0], "seeds-2")
    given = {"seed": SEEDS, "plan": plan, "labels": torch.tensor(LABELS), "device": device, "project": project}
    calls = seeds.iterate(model, SHAPE, noise_device="cpu", **given)
    next(calls)
    with unwaited(device):
        assert len(list(loop(calls, plan.nfe - 1))) == plan.nfe - 1


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_float64_on_the_device_is_the_noises_scratch(device, exact, monkeypatch):
    monkeypatch.setattr(drawing, "ABLE", ("cpu", "cuda"))
    plan = plan_of(exact, "seeds-3")
    drawn(exact, plan, device)  # the law is there
    with Watch(device, numbers=device == "cpu") as watch:
        list(
            loop(
                seeds.iterate(exact, SHAPE, plan=plan, seed=SEEDS, labels=torch.tensor(LABELS), device=device), plan.nfe
            )
        )
    assert watch.dtypes[torch.float64] <= drawing.cubics().shape[0]  # one coefficient of the whole table


@everywhere
@every_solver
def test_memory_is_what_the_plan_counts(device, solver):
    """Of states, answers and draws, none of which the model keeps."""
    plan = seeds.plan(solver, steps=3, schedule="vp")
    x = torch.ones(1 << 16, device=device)
    with Watch(device) as watch:
        run(plan, lambda x, at: x * 0.5, x, lambda j: torch.ones(1 << 16, device=device))
    assert watch.peak <= plan.memory * x.nbytes  # besides x itself, which the caller keeps
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(plan, lambda x, at: x * 0.5, x, lambda j: torch.ones(1 << 16, device=device))
        assert torch.cuda.max_memory_allocated() - before <= plan.memory * x.nbytes


@everywhere
@pytest.mark.parametrize("solver", ["seeds-1", "seeds-3"])
def test_steps_of_a_stepper_compile(device, solver):
    """As one graph; built by the device's own compiler where there is a device."""
    torch._dynamo.reset()
    plan = seeds.plan(solver, steps=2, schedule="vp")
    draws = [torch.full(SHAPE, 0.1 * j, device=device) for j in range(len(plan.draws))]

    def steps(x):
        stepper = Stepper(plan, x, draws.__getitem__)
        while not stepper.done:
            stepper.advance(stepper.x * 0.5)
        return stepper.x

    x = torch.linspace(-3, 3, 192, device=device).view(SHAPE)
    compiled = torch.compile(steps, fullgraph=True, backend="inductor" if device == "cuda" else "eager")
    assert_same(compiled(x), steps(x))


@pytest.mark.gpu("cuda")
@pytest.mark.parametrize("solver", ["seeds-1", "seeds-3"])
def test_a_run_is_captured_in_a_cuda_graph(solver):
    plan = seeds.plan(solver, steps=3, schedule="vp")
    x, draws = torch.zeros(SHAPE, device="cuda"), [torch.zeros(SHAPE, device="cuda") for _ in plan.draws]

    def steps():
        return run(plan, lambda x, at: x * 0.5, x, draws.__getitem__)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        steps()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = steps()
    for k in (1, 2):
        for j, tensor in enumerate((x, *draws)):
            tensor.copy_(torch.linspace(-k, k + j, 192).view(SHAPE))
        graph.replay()
        assert_same(out, steps())


@everywhere
def test_labels_guidance_bounds_and_projections(device, networks):
    """One index for all, one each, soft rows; guided inside an interval; clipped and by quantile; inpainted."""
    model, wide = networks
    model.to(device)
    mask = torch.zeros(SHAPE)
    mask[:, :, :4] = 1

    def inpaint(x, at, draw):
        return mask.to(x) * x + (1 - mask.to(x)) * (at.alpha * 0.3 + at.sigma * draw)

    rows = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0, 1]])
    plan = plan_for(model, "seeds-2", steps=2, nsr_min=0.1, nsr_max=3.0)
    for change in (
        lambda it: it,
        lambda it: seeds.guide(it, 2.0),
        lambda it: seeds.guide(it, lambda at: 2.0 if at.nsr < 1 else 1.0),
        lambda it: seeds.threshold(it, 1.0),
        lambda it: seeds.threshold(it, 1.0, quantile=0.9),
    ):
        for labels in (2, LABELS, rows.to(device)):
            given = {"labels": labels, "project": inpaint}
            assert_same(
                drawn(change(model), plan, device, **given),
                drawn(change(wide), plan, "cpu", dtype=torch.float64, **given),
            )


@everywhere
def test_an_images_noise_is_the_same_whatever_the_batch_and_the_part(device, networks):
    model = networks[0].to(device)
    whole = plan_of(model, "seeds-2")
    batched = drawn(model, whole, device, batch=1)
    assert_same(batched, drawn(model, whole, device))
    data = torch.linspace(-1, 1, 192).view(SHAPE)
    part = plan_of(model, "seeds-2", start=2)
    assert_same(
        drawn(model, part, device, data=data.to(device)),
        drawn(networks[1], part, "cpu", data=data.double(), dtype=torch.float64),
    )


@everywhere
def test_what_is_not_finite_is_told_once_after_the_loop(device):
    def broken(x, at):
        return x * float("nan")

    with pytest.raises(FloatingPointError, match=r"2 of 2 seeds \(3, 9223372036854775809\)"):
        seeds.sample(broken, (4,), seed=SEEDS, solver="seeds-3", steps=2, schedule="vp", device=device)
