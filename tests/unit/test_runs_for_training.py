"""What policy gradients, video with sound, and walks between seeds ask of a run: the law of each step, noise by its
fraction, states of several tensors."""

import itertools
import math

import numpy as np
import pytest
import torch

import seeds
from seeds import noise
from seeds.densities import step_logprob
from seeds.exact import Gaussian
from seeds.integrals import Eta
from seeds.joint import joint

EDM = seeds.EDM()
MODEL = Gaussian(0.3, 0.7, shape=(2,), schedule=EDM)
GRID = {"schedule": EDM, "grid": np.array([20.0, 4.0, 1.0, 0.3])}


def trajectory(plan, count=3):
    calls = seeds.iterate(MODEL, (2,), seed=range(count), plan=plan, dtype=torch.float64)
    states, answers = zip(*((call.x.clone(), call.denoised.clone()) for call in calls), strict=True)
    return [*states, calls.result], list(answers)


@pytest.mark.parametrize("solver", ["seeds-1", "seeds-2", "seeds-3", "seeds-4", "euler-maruyama"])
def test_densities_of_the_steps_add_up_to_that_of_the_whole_run(solver):
    """The states are Gaussian, given the answers: the sum is the density of all rows' noise under its covariance,
    stages and shared draws included."""
    plan = seeds.plan(solver, **GRID, final="none")
    states, answers = trajectory(plan)
    laws = [step_logprob(plan, i, states, answers) for i in range(plan.nfe)]
    weights = np.zeros((plan.nfe, len(plan.draws)))
    for i, row in enumerate(plan.rows):
        weights[i, [j for j, _ in row.z]] = [weight for _, weight in row.z]
    made = [sum([w * states[j] for j, w in row.x] + [w * answers[j] for j, w in row.d]) for row in plan.rows]
    left = torch.stack([states[i + 1] - made[i] for i in range(plan.nfe)]).double()
    new = [i for i, law in enumerate(laws) if law is not None]
    covariance = torch.tensor(weights[new] @ weights[new].T)
    whole = torch.distributions.MultivariateNormal(torch.zeros(len(new), dtype=torch.float64), covariance)
    expected = whole.log_prob(left[new].permute(1, 2, 0)).sum(1)
    torch.testing.assert_close(sum(laws[i].logprob for i in new), expected, rtol=1e-6, atol=1e-6)
    assert len(new) == len(plan.draws)


def test_a_step_of_one_call_is_the_gaussian_of_its_row_and_its_gradient_is_right():
    plan = seeds.plan("seeds-1", **GRID, final="none")
    states, answers = trajectory(plan)
    (row, draw) = plan.rows[1], dict(plan.rows[1].z)
    answers[1].requires_grad_()
    law = step_logprob(plan, 1, states, answers)
    mean = row.x[0][1] * states[1] + row.d[0][1] * answers[1]
    normal = torch.distributions.Normal(mean, law.std)
    assert law.std == pytest.approx(next(iter(draw.values())))
    torch.testing.assert_close(law.logprob, normal.log_prob(states[2]).sum(1))
    (gradient,) = torch.autograd.grad(law.logprob.sum(), answers[1])
    torch.testing.assert_close(gradient, row.d[0][1] * (states[2] - mean.detach()) / law.std**2)


def test_a_row_without_noise_has_no_density_and_too_few_states_are_named():
    plan = seeds.plan("erk-1", **GRID)
    states, answers = trajectory(plan)
    assert all(step_logprob(plan, i, states, answers) is None for i in range(plan.nfe))
    with pytest.raises(ValueError, match="needs 4 states and 3 answers, but there are 2 and 1"):
        step_logprob(plan, 2, states[:2], answers[:1])


@pytest.mark.parametrize("path", [EDM, seeds.Flow()], ids=["EDM", "flow from SNR 0"])
def test_a_fraction_is_the_share_of_fresh_noise_in_every_step(path):
    """Flow-CPS: x1 = alpha1 D + sigma1 (sqrt(1 - f^2) eps + f z), whatever the step."""
    t = np.array([1.0, 0.8, 0.3, 0.05]) if isinstance(path, seeds.Flow) else np.array([80.0, 4.0, 1.0, 0.3])
    plan = seeds.plan("seeds-1", schedule=path, grid=t, fraction=0.6, final="none")
    for row, to in zip(plan.rows, plan.points()[1:], strict=True):
        (_, x), (_, z) = row.x[0], row.z[0]
        assert z == pytest.approx(0.6 * to.sigma) and x == pytest.approx(0.8 * to.sigma / row.at.sigma)
        assert row.d[0][1] == pytest.approx(to.alpha - 0.8 * to.sigma / row.at.sigma * row.at.alpha)
    assert seeds.plan("seeds-3", schedule=path, grid=t, fraction=0.0).draws == ()


def test_fractions_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"`fraction` must be from 0 \(the ODE\) to below 1, but is 1\.0"):
        seeds.plan("seeds-1", **GRID, fraction=1.0)
    with pytest.raises(ValueError, match=r"`eta` = 1.0 and `fraction` = 0.5 both say how much noise there is"):
        seeds.plan("seeds-1", **GRID, fraction=0.5, eta=1.0)
    with pytest.raises(ValueError, match="makes noise, but erk-1 solves the ODE"):
        seeds.plan("erk-1", **GRID, fraction=0.5)
    assert Eta.of_fraction(0.5, np.array([0.0, 2.0])).table == ((-math.inf, pytest.approx(-math.log(0.75) / 4)),)


@pytest.mark.parametrize("shapes", [{"video": (2, 3), "sound": (4,)}, ((2, 3), (4,))], ids=["dict", "tuple"])
def test_states_of_several_tensors_share_one_level(shapes):
    asked = []

    def model(parts, at):
        values = parts.values() if isinstance(parts, dict) else parts
        asked.append([tuple(value.shape) for value in values])
        answers = [value / (1 + at.sigma**2) for value in values]
        return dict(zip(parts, answers, strict=True)) if isinstance(parts, dict) else tuple(answers)

    both = joint(model, shapes)
    drawn = seeds.sample(both, both.shape, seed=range(5), schedule=EDM, solver="seeds-3", steps=4)
    parts = both.split(drawn)
    assert type(parts) is type(shapes) and asked[0] == [(5, 2, 3), (5, 4)] and torch.equal(both.row(parts), drawn)
    one = seeds.sample(both, both.shape, seed=[3], schedule=EDM, solver="seeds-3", steps=4)
    torch.testing.assert_close(one[0], drawn[3], rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="The parts of a state"):
        both.row(
            {"video": torch.zeros(1, 2, 3)} if isinstance(shapes, dict) else (torch.zeros(1, 2, 3), torch.zeros(1, 5))
        )


def test_noise_between_seeds_has_unit_variance_and_ends_at_each():
    a, b = range(2000), range(5000, 7000)
    for share in (0.0, 0.3, 0.5, 1.0):
        z = noise.between(a, b, share)(2, 0.0, 1.0, (2000, 4))
        assert z.std().item() == pytest.approx(1.0, abs=0.02)
    run = {"schedule": EDM, "steps": 4, "solver": "seeds-2"}
    ends = [
        seeds.sample(MODEL, (2,), seed=[0, 1], noise=noise.between([4, 5], [8, 9], share), **run) for share in (0, 1)
    ]
    same = [seeds.sample(MODEL, (2,), seed=seed, **run) for seed in ([4, 5], [8, 9])]
    for end, one in zip(ends, same, strict=True):
        torch.testing.assert_close(end, one, rtol=1e-5, atol=1e-5)
    drawn = [seeds.sample(MODEL, (2,), seed=[0], noise=noise.between([4], [8], share), **run) for share in (0.5, 0.501)]
    assert not torch.equal(*drawn) and (drawn[0] - drawn[1]).abs().max() < 0.02
    with pytest.raises(ValueError, match="`first` has 1 seeds and `second` 2"):
        noise.between([1], [1, 2], 0.5)
    assert all(np.isfinite(it.numpy()).all() for it in itertools.chain(ends, same))
