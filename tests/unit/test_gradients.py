"""Gradients through a run: right, asked for by name, and one clear sentence where they are not."""

import pytest
import torch

import seeds
from seeds.noise import gaussian
from seeds.solvers import SOLVERS

SHAPE = (4,)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4)).double()


def draw(net, **options):
    options = {"solver": "seeds-2", "steps": 3, "schedule": "edm", "dtype": torch.float64, **options}
    return seeds.sample(lambda x, at: net(x / (1 + at.sigma)), SHAPE, seed=[0, 1], **options)


@pytest.fixture
def seeded():
    with torch.random.fork_rng(devices=[]):
        yield network()


@pytest.mark.parametrize("grad", [True, "checkpoint"])
@pytest.mark.parametrize("solver", [*SOLVERS])
def test_a_run_is_the_same_with_gradients_and_they_are_right(solver, grad, seeded):
    """Against a difference quotient in the direction of the gradient itself."""
    options = {"solver": solver, **SOLVERS[solver].noisy}
    result = draw(seeded, grad=grad, **options)
    assert torch.equal(result.detach(), draw(seeded, **options))
    result.square().sum().backward()
    weight = seeded[0].weight
    size, step = weight.grad.norm(), 1e-4
    direction = weight.grad / size

    def loss(by):
        with torch.no_grad():
            weight.add_(direction, alpha=by)
            found = draw(seeded, **options).square().sum().item()
            weight.sub_(direction, alpha=by)
        return found

    assert (loss(step) - loss(-step)) / (2 * step) == pytest.approx(size.item(), rel=1e-3)


def test_gradients_reach_the_state_the_data_and_the_labels(seeded):
    for name in ("x", "data"):
        given = torch.full((2, 4), 0.5, dtype=torch.float64, requires_grad=True)
        draw(seeded, grad=True, start=1, **{name: given}).sum().backward()
        assert given.grad.abs().sum() > 0
    shift = torch.zeros(2, 4, dtype=torch.float32, requires_grad=True)
    seeds.sample(
        lambda x, at, labels: 0.01 * x + labels["shift"],
        SHAPE,
        seed=[0, 1],
        labels={"shift": shift},
        solver="seeds-3",
        steps=2,
        schedule="edm",
        grad=True,
    ).sum().backward()
    assert shift.grad.abs().sum() > 0


def test_checkpointing_keeps_no_activations(seeded):
    saved = {}
    for grad in (True, "checkpoint"):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda it, kept=kept: kept.append(it.numel()) or it, lambda it: it
        ):
            draw(seeded, grad=grad, batch=1)
        saved[grad] = sum(kept)
    assert saved["checkpoint"] < saved[True]


def test_a_stepper_lets_gradients_flow_when_asked(seeded):
    plan = seeds.plan("seeds-3", steps=2, schedule="edm", variant="3b")
    noise = lambda j: gaussian([0, 1], j, SHAPE).double()  # noqa: E731
    stepper = seeds.Stepper(plan, noise(-1) * plan.start.sigma, noise, grad=True)
    states = []
    while not stepper.done:
        states.append((stepper.x, stepper.x.detach().clone()))
        stepper.advance(seeded(stepper.x))
    stepper.x.sum().backward()
    assert seeded[0].weight.grad.abs().sum() > 0 and all(torch.equal(x.detach(), kept) for x, kept in states), (
        "no state is written over"
    )


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_a_stepper_that_was_not_asked_says_so_in_one_sentence(seeded, error):
    plan = seeds.plan("seeds-2", steps=2, schedule="edm")
    stepper = seeds.Stepper(plan, torch.zeros(2, 4, dtype=torch.float64), lambda j: gaussian([0, 1], j, SHAPE).double())
    with pytest.raises(
        error,
        match=r"The denoised value asks for a gradient, but the Stepper keeps none: .*grad=True.*torch.no_grad\(\)",
    ):
        stepper.advance(seeded(stepper.x))
    with pytest.raises(error, match="The state given asks for a gradient"):
        seeds.Stepper(plan, torch.zeros(2, 4, requires_grad=True), lambda j: None)
    with torch.no_grad():
        stepper.advance(seeded(stepper.x))


@pytest.mark.parametrize("name", ["x", "data"])
def test_a_given_tensor_that_asks_for_a_gradient_in_vain_is_named(name, seeded):
    given = torch.zeros(2, 4, requires_grad=True)
    with pytest.raises(ValueError, match=rf"`{name}` asks for a gradient, but a run keeps none: pass grad=True"):
        draw(seeded, start=1, **{name: given})
    with torch.no_grad():
        draw(seeded, start=1, **{name: given})
    assert not draw(seeded).requires_grad
    with pytest.raises(ValueError, match="`grad` must be False, True or 'checkpoint', but is 'yes'"):
        draw(seeded, grad="yes")
