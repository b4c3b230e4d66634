"""The start at the mean: equal to the plan without it, run from x_0 + alpha_0 D_0 with D_0 held; and only where a run
begins with noise alone."""

import numpy as np
import pytest
import torch

import seeds
from seeds import noise
from seeds.exact import Gaussian, GaussianMixture
from seeds.stepper import Stepper

MIXTURE = GaussianMixture(torch.tensor([[4.0, -1.0], [7.0, 2.0]]), 0.5)


def answers_from(first):
    """A denoiser whose first answer is `first`, whatever it is asked."""
    asked = []

    def denoise(x, at):
        asked.append(at)
        return first if len(asked) == 1 else MIXTURE(x, at)

    return denoise


@pytest.mark.parametrize("schedule", ["edm", "vp"])
@pytest.mark.parametrize("prediction", ["data", "noise", "v"])
@pytest.mark.parametrize("solver", ["seeds-1", "seeds-3", "erk-4", "adams", "rk-2", "euler-maruyama"])
def test_is_the_plan_run_from_there_with_the_first_answer_held(solver, prediction, schedule):
    if not seeds.SOLVERS[solver].interpolates and prediction != "data":
        prediction = "data"
    plain = seeds.plan(solver, steps=6, schedule=schedule, prediction=prediction)
    mean, x0 = plain.at_mean(), plain.start.sigma * noise.gaussian(range(4), -1, (2,)).double()
    first = MIXTURE(x0, plain.rows[0].at)
    draw = lambda j: noise.gaussian(range(4), j, (2,)).double()  # noqa: E731
    results = []
    for plan, start in ((plain, x0 + plain.rows[0].at.alpha * first), (mean, x0)):
        stepper, denoise = Stepper(plan, start, draw), answers_from(first)
        while not stepper.done:
            stepper.advance(denoise(stepper.x, stepper.at))
        results.append(stepper.x)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    assert mean.nfe == plain.nfe and mean.start_at == "mean" and mean.at_mean() is mean


@pytest.mark.parametrize("schedule", ["edm", "vp"])
def test_after_a_churn_before_the_first_call_it_is_of_the_level_that_is_asked_about(schedule):
    """x_0 is the state after the opening, alpha_0 that of the level churned to."""
    plain = seeds.plan("rk-2", steps=6, schedule=schedule, nsr_max=20.0, S_churn=2.0)
    start = plain.start.sigma * noise.gaussian(range(4), -1, (2,)).double()
    draw = lambda j: noise.gaussian(range(4), j, (2,)).double()  # noqa: E731
    at = plain.rows[0].at
    assert plain.opening.z and at.nsr > 20.1
    first = MIXTURE(Stepper(plain, start, draw).x, at)
    results = []
    for plan, begin in ((plain, start + at.alpha * first / plain.opening.scale), (plain.at_mean(), start)):
        stepper, denoise = Stepper(plan, begin, draw), answers_from(first)
        while not stepper.done:
            stepper.advance(denoise(stepper.x, stepper.at))
        results.append(stepper.x)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_the_bias_of_the_start_is_gone_to_first_order():
    """On data N(m, s^2) an ODE keeps k m of the mean's error, k = s^2 / (s^2 + nsr0^2), where it kept m nsr1 / nsr0 of
    the way."""
    data = Gaussian(10.0, 1.0, shape=(1,), schedule=seeds.EDM())
    how = {"solver": "erk-3", "steps": 60, "schedule": "edm", "grid": "uniform_lam"}
    drawn = {
        name: seeds.sample(data, (1,), seed=range(20000), start_at=name, **how).mean().item()
        for name in ("zero", "mean")
    }
    assert drawn["zero"] == pytest.approx(10 - 10 * 1 / 80, abs=0.03) and drawn["mean"] == pytest.approx(10, abs=0.03)


def test_only_where_the_first_state_is_noise_alone():
    plan = seeds.plan("seeds-2", steps=4, schedule="edm", start_at="mean")
    assert plan == seeds.plan("seeds-2", steps=4, schedule="edm").at_mean()
    begun = {"solver": "seeds-2", "steps": 4, "schedule": "edm", "start": ("nsr", 2.0)}
    assert seeds.plan(start_at="mean", **begun) == seeds.plan(**begun)
    data = torch.zeros(3, 2)
    for given in ({"data": data}, {"x": data}):
        with pytest.raises(
            ValueError,
            match=r"`plan` starts at the mean, for runs that begin with noise alone, but `(x|data)` is given",
        ):
            seeds.sample(MIXTURE, (2,), seed=range(3), plan=plan, **given)
    same = [seeds.sample(MIXTURE, (2,), seed=range(3), data=data, start_at=name, **begun) for name in ("zero", "mean")]
    assert torch.equal(*same)
    with pytest.raises(ValueError, match="The second plan starts at the mean"):
        seeds.plan("seeds-1", steps=3, schedule="edm").then(plan)
    with pytest.raises(ValueError, match="cannot start at the mean"):
        seeds.plan(**begun).at_mean()
    with pytest.raises(ValueError, match="`start_at` must be 'zero' or 'mean', but is 'median'"):
        seeds.plan("seeds-1", steps=3, schedule="edm", start_at="median")


def test_at_snr_0_there_is_nothing_to_mend():
    plain = seeds.plan("seeds-2", steps=4, schedule="flow")
    assert plain.start.alpha == 0 and plain.at_mean() is plain


def test_it_is_part_of_the_document_and_moves_with_the_plan():
    plan = seeds.plan("seeds-2", steps=4, schedule="edm", start_at="mean")
    assert (
        seeds.Plan.from_json(plan.to_json()) == plan
        and plan.digest != seeds.plan("seeds-2", steps=4, schedule="edm").digest
    )
    assert plan.about["start_at"] == "mean" and '"format": 2' in plan.to_json()
    moved = plan.on(seeds.VP())
    assert moved.start_at == "mean" and len(moved.rows) == len(plan.rows)
    np.testing.assert_allclose(
        [w for _, w in moved.rows[0].d], [w * moved.rows[1].at.alpha for _, w in plan.rows[0].d], rtol=1e-9
    )
    with pytest.raises(ValueError, match="`start_at` = 'median' should be"):
        seeds.Plan.from_json(plan.to_json().replace('"start_at": "mean"}', '"start_at": "median"}'))
