"""The loop: resumable to the bit at every call of every solver, thread-safe, careful with memory, compilable."""

import threading

import pytest
import torch
from safetensors.torch import save_file
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

import seeds
from seeds.plans import Plan, Point, Row, readers_of
from seeds.solvers import SOLVERS
from seeds.stepper import Stepper, combine, combine_in_tiles, run

SHAPE = (3, 2, 4, 4)


def model(x, at):
    return torch.tanh(x / (at.alpha + at.sigma)) * 0.7


def noise(j):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1000 + j))


def plan_of(solver, steps=3, **options):
    churn = SOLVERS[solver].noisy
    return seeds.plan(solver, steps=steps, schedule="vp", **churn, **options)


def whole(plan, start):
    return run(plan, model, start, noise)


@pytest.mark.parametrize("prediction", ["data", "v"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_run_in_two_parts_equals_one_run_to_the_bit(solver, prediction, tmp_path):
    plan = plan_of(solver, prediction=prediction if SOLVERS[solver].interpolates else "data")
    start = noise(-1)
    once = whole(plan, start)
    for k in range(plan.nfe + 1):
        first = Stepper(plan, start, noise)
        for _ in range(k):
            first.advance(model(first.x, first.at))
        first.save(tmp_path / "half.safetensors")
        second = Stepper.load(tmp_path / "half.safetensors", plan, noise)
        assert second.i == k
        while not second.done:
            second.advance(model(second.x, second.at))
        assert torch.equal(second.x, once), f"split after call {k}"


@pytest.mark.parametrize("damage", [
    lambda raw: raw[:-5], lambda raw: raw[:40], lambda raw: b"", lambda raw: b"x" * 100,
    lambda raw: raw.replace(b'"i":"2"', b'"i":"7"'), lambda raw: raw.replace(b'"i":"2"', b'"i":"x"'),
    lambda raw: raw.replace(b'"x.2"', b'"x.1"'), lambda raw: raw.replace(b'"d.', b'"e.'),
    lambda raw: raw.replace(b'"d.0"', b'"d.x"'),
])  # fmt: skip
def test_a_damaged_file_is_refused_in_one_sentence(damage, tmp_path):
    plan, file = plan_of("seeds-3", variant="3b"), tmp_path / "run.safetensors"
    stepper = Stepper(plan, noise(-1), noise)
    for _ in range(2):
        stepper.advance(model(stepper.x, stepper.at))
    stepper.save(file)
    whole = file.read_bytes()
    assert damage(whole) != whole
    file.write_bytes(damage(whole))
    with pytest.raises(ValueError, match="is damaged"):
        Stepper.load(file, plan, noise)
    file.write_bytes(whole)
    assert torch.equal(Stepper.load(file, plan, noise).x, stepper.x)
    with pytest.raises(FileNotFoundError):
        Stepper.load(tmp_path / "none", plan, noise)
    with pytest.raises(ValueError, match=r"is a folder, and no file of Stepper.save"):
        Stepper.load(tmp_path, plan, noise)


def test_another_run_is_refused(tmp_path):
    stepper = Stepper(plan_of("seeds-2"), noise(-1), noise)
    stepper.save(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match=r"was written by another run.*Resume with the plan that began it"):
        Stepper.load(tmp_path / "run.safetensors", plan_of("seeds-2", steps=4), noise)
    assert not list(tmp_path.glob("*.part"))


def test_a_file_of_something_else_is_refused(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="holds no run"):
        Stepper.load(tmp_path / "weights.safetensors", plan_of("seeds-1"), noise)


@pytest.mark.parametrize("solver", SOLVERS)
def test_reused_buffers_change_nothing(solver):
    plan, start = plan_of(solver), noise(-1)
    kept = start.clone()
    fresh = Stepper(plan, start, noise, reuse=False)
    while not fresh.done:
        fresh.advance(model(fresh.x, fresh.at))
    assert torch.equal(whole(plan, start), fresh.x)
    assert torch.equal(start, kept), "the caller's state was written to"


@pytest.mark.parametrize("solver", SOLVERS)
def test_draws_that_come_scaled_are_the_same_run_and_only_those_of_one_reader_do(solver):
    plan, start, asked = plan_of(solver), noise(-1), []

    def scaled(j, s):
        asked.append(j)
        return s * noise(j)

    stepper = Stepper(plan, start, noise, scaled=scaled)
    while not stepper.done:
        stepper.advance(model(stepper.x, stepper.at))
    torch.testing.assert_close(stepper.x, whole(plan, start), rtol=1e-5, atol=1e-5)
    assert all(len(readers_of(plan.opening, plan.reads)["z", j]) == 1 for j in asked)
    assert len(asked) == len(plan.draws) or solver not in ("seeds-1", "seeds-2", "seeds-3")


def test_eight_threads_share_a_plan():
    plan = plan_of("seeds-3", steps=8)
    alone = whole(plan, noise(-1))
    found: list = [None] * 8

    def work(k):
        found[k] = whole(plan, noise(-1))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, alone) for one in found)


MEMORY = {"seeds-1": 4, "seeds-2": 5, "seeds-3": 6, "seeds-4": 9, "erk-1": 4, "erk-2": 6, "erk-3": 8, "erk-4": 10,
          "rk-1": 4, "rk-2": 6,
          "euler-maruyama": 4, "adams": 5}  # fmt: skip


@pytest.mark.parametrize("solver", MEMORY)
def test_memory_is_the_liveness_of_the_plan(solver):
    """State-sized tensors at the peak: the newest state, its answer, the state being made, and what later rows read;
    reused buffers add one."""
    plan, most = plan_of(solver, steps=6), 0
    stepper = Stepper(plan, noise(-1), noise)
    while not stepper.done:
        stepper.advance(model(stepper.x, stepper.at))
        most = max(most, stepper.held)
    assert most <= plan.memory <= MEMORY[solver]


def test_a_stage_that_is_replaced_is_read_as_it_was_made(tmp_path):
    """Only what the model is asked about changes: rows that read the stage in the place of the start make the same."""
    plan = plan_of("seeds-3", steps=2)
    assert plan.reads[1].m and plan.reads[2].m
    stepper = Stepper(plan, noise(-1), noise, reuse=False)
    answers, start = [], stepper.x
    for row in plan.rows[:3]:
        if stepper.i:
            stepper.replace(stepper.x.clone() + 1.0)
            stepper.replace(stepper.x * 2.0)
            stepper.save(tmp_path / "stage.safetensors")
            stepper = Stepper.load(tmp_path / "stage.safetensors", plan, noise)
        answers.append(model(stepper.x, stepper.at))
        stepper.advance(answers[-1])
        as_written = sum(w * start for _, w in row.x) + sum(w * answers[j] for j, w in row.d)
        as_written = as_written + sum(w * noise(j) for j, w in row.z)
        torch.testing.assert_close(stepper.x, as_written, rtol=1e-5, atol=1e-5)


def test_large_states_are_made_in_tiles_to_the_same_bits():
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, 300_001, generator=generator) for _ in range(4)]
    weights = [0.3, -1.7, 0.01, 2.0]
    assert torch.equal(
        combine_in_tiles(torch.empty(3, 300_001), tensors, weights), combine(torch.empty(3, 300_001), tensors, weights)
    )
    strided = [tensor.T for tensor in tensors]
    assert torch.equal(
        combine_in_tiles(torch.empty(300_001, 3), strided, weights), combine(torch.empty(300_001, 3), strided, weights)
    )


def test_a_model_that_returns_its_input_is_safe():
    """In 3b an answer is read after the state it answers about is dropped, and that state's memory is used again."""
    plan, start = plan_of("seeds-3", steps=4, variant="3b"), noise(-1)
    assert torch.equal(run(plan, lambda x, at: x, start, noise), run(plan, lambda x, at: x.clone(), start, noise))
    assert torch.equal(
        run(plan, lambda x, at: x.view(-1).view(SHAPE), start, noise), run(plan, lambda x, at: x.clone(), start, noise)
    )


def test_a_model_that_writes_over_its_answers_is_caught():
    buffer = torch.empty(SHAPE)
    with pytest.raises(ValueError, match=r"same memory at calls 0 and 1.*denoised\.clone\(\)"):
        run(plan_of("seeds-3"), lambda x, at: torch.mul(x, 0.5, out=buffer), noise(-1), noise)
    # no earlier answer is needed: fine
    run(plan_of("seeds-1"), lambda x, at: torch.mul(x, 0.5, out=buffer), noise(-1), noise)


def test_a_model_that_writes_into_its_input_is_caught():
    """The next state is made of it: the result would be wrong, and nothing would show."""
    with pytest.raises(ValueError, match=r"The state was written to at call 0.*x\.clone\(\)"):
        run(plan_of("seeds-3"), lambda x, at: x.mul_(0.5), noise(-1), noise)
    with pytest.raises(ValueError, match="The state was written to at call 0"):
        run(plan_of("erk-1"), lambda x, at: 0.5 * x.clamp_(-1, 1), noise(-1), noise)
    with torch.inference_mode():  # where torch does not count
        run(plan_of("seeds-2"), model, noise(-1), noise)


def test_answers_of_the_wrong_kind_are_named():
    with pytest.raises(ValueError, match=r"The denoised value has shape \(2, 2\), but the state has \(3, 2, 4, 4\)"):
        run(plan_of("seeds-1"), lambda x, at: torch.zeros(2, 2), noise(-1), noise)
    with pytest.raises(ValueError, match="The denoised value is a tuple, not a tensor"):
        run(plan_of("seeds-1"), lambda x, at: (x,), noise(-1), noise)
    with pytest.raises(ValueError, match=r"is torch.float64 on cpu, but the state is torch.float32.*\.to\(x\)"):
        run(plan_of("seeds-1"), lambda x, at: x.double(), noise(-1), noise)
    done = Stepper(plan_of("seeds-1", steps=1, final="none"), noise(-1), noise)
    done.advance(done.x)
    with pytest.raises(ValueError, match="model calls are all made"):
        done.advance(done.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_of_the_state_is_kept(dtype):
    found = run(plan_of("seeds-2"), lambda x, at: x * 0.5, noise(-1).to(dtype), lambda j: noise(j).to(dtype))
    assert found.dtype == dtype


def test_a_step_compiles_as_one_graph_without_recompiling():
    """Coefficients differ at every step; the graph must not."""
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(combine, fullgraph=True, backend=counter, dynamic=None)
    tensors = [noise(j) for j in range(3)]
    for weights in ([0.3, 0.5, -2.0], [0.7, 0.25, 1.5], [0.9, 0.1, 0.3], [1.1, -0.1, 0.2], [1.3, 0.7, 0.9]):
        out = compiled(torch.empty(SHAPE), tensors, weights)
        torch.testing.assert_close(out, sum(w * t for w, t in zip(weights, tensors, strict=True)))
    assert counter.frame_count <= 2, f"{counter.frame_count} graphs for five steps"


@pytest.mark.parametrize("solver", ["seeds-1", "seeds-3"])
def test_a_call_of_the_stepper_compiles_as_one_graph(solver):
    torch._dynamo.reset()
    plan, draws = plan_of(solver), [noise(j) for j in range(9)]

    def calls(x):
        stepper = Stepper(plan, x, lambda j: draws[j])
        for _ in range(3):
            stepper.advance(model(stepper.x, stepper.at))
        return stepper.x

    torch.testing.assert_close(
        torch.compile(calls, fullgraph=True, backend="eager")(noise(-1)), calls(noise(-1)), rtol=1e-5, atol=1e-6
    )
    stepper, own = (Stepper(plan, noise(-1), lambda j: draws[j]) for _ in range(2))
    torch.compile(stepper.advance, fullgraph=True, backend="eager")(model(own.x, own.at))
    own.advance(model(own.x, own.at))
    assert stepper.i == 1 and torch.equal(stepper.x, own.x)


def test_a_row_that_hands_a_state_on_does_not_give_its_buffer_away():
    at = [Point(s, 1.0, s) for s in (8.0, 4.0, 2.0, 1.0, 0.5)]
    x = [((0, 0.5),), ((1, 1.0),), ((2, 0.5),), ((3, 0.3), (2, 0.1))]
    d = [((0, 0.5),), (), ((2, 0.5),), ((3, 0.5),)]
    plan = Plan("handing on", at[0], tuple(map(Row, at, x, d)), at[4])
    runs = [Stepper(plan, noise(-1), noise, reuse=reuse) for reuse in (True, False)]
    for stepper in runs:
        while not stepper.done:
            stepper.advance(torch.sin(stepper.x))
    assert torch.equal(runs[0].x, runs[1].x)


def test_draws_that_are_not_like_the_state_are_refused(tmp_path):
    stepper = Stepper(plan_of("seeds-2"), noise(-1), noise)
    stepper.save(tmp_path / "run.safetensors")
    for wrong, words in (
        (noise(0)[:1], r"Draw 0 has shape \(1, 2, 4, 4\), but the state has \(3, 2, 4, 4\)"),
        (noise(0).double(), "Draw 0 is torch.float64"),
    ):
        again = Stepper.load(tmp_path / "run.safetensors", plan_of("seeds-2"), lambda j, wrong=wrong: wrong)
        with pytest.raises(ValueError, match=words):
            again.advance(model(again.x, again.at))


class NoFloat64(TorchDispatchMode):
    """A device that has no float64, as MPS, and counts the questions that would wait for it."""

    def __init__(self):
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            assert out.dtype != torch.float64, f"{func} made a float64 tensor"
        self.waits += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return out


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_loop_makes_no_float64_tensor_and_never_waits_for_the_device(solver):
    plan = plan_of(solver)
    draws = {j: noise(j) for j in range(-1, len(plan.draws))}
    with NoFloat64() as watched:
        run(plan, model, draws[-1], draws.__getitem__)
    assert watched.waits == 0
