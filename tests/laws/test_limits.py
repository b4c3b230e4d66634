"""Limits that must hold to the bit or to rounding: the ODE inside the SDE, one law on every schedule, and both ends of
the process."""

import math

import numpy as np
import pytest
import torch

import seeds
from seeds.laws import responses, states, subjects
from seeds.laws.responses import MIXTURE, mixture_denoiser

NSR = np.geomspace(50.0, 0.01, 7)


@pytest.mark.parametrize(
    "eta", [0.0, 0.1, 1.0, [(-math.inf, 0.0), (-4.0, 0.7)], [(-math.inf, 0.5), (-3.0, 0.0)]], ids=str
)
@pytest.mark.parametrize("solver", ["seeds-1", "seeds-3", "seeds-4", "euler-maruyama"])
def test_the_step_from_snr_zero(solver, eta):
    """x1 = (sigma1/sigma0) e^{-E} x0 + alpha1 D + sigma1 sqrt(1 - e^{-2E}) z, one model call, whatever the solver."""
    plan = seeds.plan(solver, steps=5, schedule="flow", eta=eta)
    assert plan.start.alpha == 0 and plan.start.lam == -math.inf
    row, to = plan.rows[0], plan.rows[1].at
    total = {0.0: 0.0, 0.1: math.inf, 1.0: math.inf}.get(eta if isinstance(eta, float) else -1.0)
    if total is None:
        total = math.inf if eta[0][1] else 0.7 * (to.lam + 4.0)
        assert total > 0.1, "the table's jump lies before the step's end"
    assert row.completes and row.d == ((0, to.alpha),)
    assert dict(row.x).get(0, 0.0) == pytest.approx(to.sigma * math.exp(-total), rel=1e-14)
    assert sum(value for _, value in row.z) == pytest.approx(to.sigma * math.sqrt(-math.expm1(-2 * total)), rel=1e-14)
    per_step = {"seeds-1": 1, "seeds-3": 3, "seeds-4": 5, "euler-maruyama": 1}[solver]
    assert plan.nfe == 1 + 4 * per_step + 1


def test_s_noise_scales_the_noise_from_snr_zero_once():
    plain, louder = (seeds.plan("seeds-2", steps=4, schedule="flow", s_noise=s).rows[0] for s in (1.0, 1.3))
    assert (
        louder.z[0][1] == pytest.approx(1.3 * plain.z[0][1], rel=1e-15) and louder.d == plain.d and louder.x == plain.x
    )


@pytest.mark.parametrize("eta", [0.0, 1.0, 2.5])
def test_snr_zero_is_the_limit_of_small_alpha(eta):
    """With D held, the first step tends to the formula as alpha -> 0 (for eta 0 and >= 1)."""
    exact = seeds.plan("seeds-1", grid=np.array([1.0, 0.9]), schedule="flow", eta=eta, final="none").rows[0]
    near = seeds.plan("seeds-1", grid=np.array([1 - 1e-9, 0.9]), schedule="flow", eta=eta, final="none").rows[0]
    for part in ("x", "d", "z"):
        want, got = dict(getattr(exact, part)).get(0, 0.0), dict(getattr(near, part)).get(0, 0.0)
        assert got == pytest.approx(want, abs=1e-5)


def test_the_final_row_returns_the_denoised_value_itself():
    answers = []

    def denoise(x, at):
        answers.append(mixture_denoiser(x, at))
        return answers[-1]

    plan = seeds.plan("seeds-3", steps=3, schedule="vp")
    assert (
        states(
            plan, denoise, torch.ones(4, dtype=torch.float64), lambda j: torch.full((4,), 0.1 * j, dtype=torch.float64)
        )[-1]
        is answers[-1]
    )


@pytest.mark.parametrize("subject", [it for it in subjects() if it.solver.noise and it.prediction == "data"], ids=str)
def test_s_noise_scales_the_noise_alone(subject):
    one, louder = (subject.plan(sigmas=NSR, schedule="edm", s_noise=s, **subject.noisy) for s in (1.0, 1.3))
    for a, b in zip(one.rows, louder.rows, strict=True):
        assert a.x == b.x and a.d == b.d
        assert [v * 1.3 for _, v in a.z] == pytest.approx([v for _, v in b.z], rel=1e-15)


def test_churn_is_edms():
    """Against Algorithm 2 written out, with a nonlinear model: the network is called at the churned point, before the
    first call and before the last."""
    sigmas, churn, low, high, s_noise = np.array([80.0, 20.0, 3.0, 0.4, 0.002]), 3.0, 0.05, 100.0, 1.01
    plan = seeds.plan(
        "rk-2", sigmas=[*sigmas, 0.0], schedule="edm", S_churn=churn, S_min=low, S_max=high, s_noise=s_noise
    )
    noise = [
        torch.randn(20, generator=torch.Generator().manual_seed(j), dtype=torch.float64) for j in range(len(plan.draws))
    ]
    x = start = 80.0 * torch.randn(20, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    asked, j = [], 0

    def d(x, sigma):
        asked.append(sigma)
        return (x - mixture_denoiser(x, seeds.Point(sigma, 1.0, sigma))) / sigma

    for i, (here, there) in enumerate(zip(sigmas, [*sigmas[1:], 0.0], strict=True)):
        gamma = min(churn / len(sigmas), math.sqrt(2) - 1) if low <= here <= high else 0.0
        lifted = here * (1 + gamma)
        if gamma:
            x, j = x + math.sqrt(lifted**2 - here**2) * s_noise * noise[j], j + 1
        slope = d(x, lifted)
        euler = x + (there - lifted) * slope
        x = euler if there == 0 else x + (there - lifted) * (slope + d(euler, there)) / 2
        assert i < 5
    assert j == len(plan.draws) == 4
    got = states(plan, mixture_denoiser, start, noise.__getitem__)[-1]
    torch.testing.assert_close(got, x, rtol=1e-10, atol=1e-12)
    assert [row.at.nsr for row in plan.rows] == pytest.approx(asked, rel=1e-14)


def test_the_mixture_of_the_laws_is_not_linear():
    at = seeds.Point(0.3, 1.0, 0.3)
    d = mixture_denoiser(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64), at)
    assert abs(float(d[0] + d[2] - 2 * d[1])) > 0.05 and len(MIXTURE[0]) == 3


def test_responses_are_linear_in_start_and_draws():
    plan = seeds.plan("seeds-2", steps=2, schedule="edm")
    got = responses(plan, lambda x, at: 0.5 * x)
    assert got[0].tolist() == [1.0] + [0.0] * len(plan.draws) and (got[-1][1:] != 0).any()
