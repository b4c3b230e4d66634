"""Every solver in k-diffusion's protocol: what the protocol promises to scripts and hosts, and that the result is that
of `seeds.sample`."""

import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import seeds
from seeds import auto, noise
from seeds.exact import Gaussian
from seeds.integrations import hosts, k_diffusion
from seeds.plans import Point

SIGMAS = torch.tensor([80.0, 20.0, 5.0, 1.2, 0.3, 0.05, 0.0])
MODEL = Gaussian(0.3, 0.7, shape=(2,), schedule=seeds.EDM())
NAMES = [name for name in dir(k_diffusion) if name.startswith("sample_") and name != "sample_auto"]


def model(x, sigma, **extra):
    """A model of the protocol: D(x, sigma), sigma one for each image."""
    assert sigma.shape == (len(x),)
    return MODEL(x, Point(float(sigma[0]), 1.0, float(sigma[0]))).to(x.dtype)


def flow_model(x, t, **extra):
    return MODEL(x, Point(float(t[0]), 1 - float(t[0]), float(t[0])))


X = 80 * noise.gaussian(range(5), -1, (2,))


@pytest.mark.parametrize("solver", ["auto", *seeds.SOLVERS])
def test_the_result_is_that_of_sample_with_the_same_noise(solver):
    run = k_diffusion.sample_auto if solver == "auto" else k_diffusion.sampler(seeds.SOLVERS[solver])
    drawn = run(model, X, SIGMAS, {"seed": [4, 9, 2, 0, 7]}, disable=True)
    same = seeds.sample(MODEL, (2,), seed=[4, 9, 2, 0, 7], x=X, sigmas=SIGMAS, solver=solver, part=noise.part_of(X))
    torch.testing.assert_close(drawn, same, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_signature_is_the_protocols(name):
    parameters = inspect.signature(getattr(k_diffusion, name)).parameters
    assert list(parameters)[:6] == ["model", "x", "sigmas", "extra_args", "callback", "disable"]
    solver = next(s for s in seeds.SOLVERS.values() if k_diffusion._name(s) == name)
    assert ("eta" in parameters) == (solver.noise == "eta") and ("noise_sampler" in parameters) == (
        solver.noise is not None
    )
    assert set(solver.options) <= set(parameters)


def test_solvers_of_ones_own_have_a_sampler_and_unknown_ones_do_not():
    with pytest.raises(AttributeError, match=r"has no sampler 'sample_seeds_9'\. It has sample_auto, sample_seeds_1, "):
        k_diffusion.sample_seeds_9  # noqa: B018
    assert k_diffusion.sample_seeds_3.__name__ == "sample_seeds_3"


def test_the_default_chooses_for_the_sigmas_and_begins_at_the_mean_where_it_is_asked():
    parameters = list(inspect.signature(k_diffusion.sample_auto).parameters)
    assert parameters[:6] == ["model", "x", "sigmas", "extra_args", "callback", "disable"] and {
        "eta",
        "aim",
        "start_at",
    } < set(parameters)
    rule, seeds_of = auto.setting(len(SIGMAS) - 1, "accuracy"), {"seed": [4, 9, 2, 0, 7]}
    for asked in ({"start_at": "mean"}, {}, {"eta": 0.5, "k": 1}):
        drawn = k_diffusion.sample_auto(model, X, SIGMAS, seeds_of, disable=True, aim="accuracy", **asked)
        named = {
            "eta": rule.eta,
            **rule.options({name: value for name, value in asked.items() if name == "k"}),
            **asked,
        }
        torch.testing.assert_close(
            drawn, k_diffusion.sample("adams", model, X, SIGMAS, seeds_of, disable=True, **named)
        )


@pytest.mark.parametrize("last, goes_on", [(0.06, True), (0.03, True), (0.34, False)])
def test_the_accurate_default_extrapolates_from_levels_as_low_as_the_rules_and_denoises_from_higher_ones(last, goes_on):
    """From 0.34, where `sgm_uniform` of ten calls ends, the rule's last step would overshoot: 20 times the error."""
    row = hosts.plan_at("auto", [*np.geomspace(14.6, last, 10).tolist(), 0.0], aim="accuracy").rows[-1]
    denoises = (row.x, row.d) == ((), ((9, 1.0),))
    assert denoises != goes_on


@pytest.mark.parametrize("name", ["sample_erk_3", "sample_seeds_3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_callback_writes_into_the_state_goes_into_the_whole_step(name, dtype):
    run, kept = getattr(k_diffusion, name), []
    more = {"noise_sampler": lambda sigma, sigma_next: torch.ones_like(X)} if "seeds" in name else {}

    def halve(call):
        if call["i"] == 2:
            kept.append(call["x"].mul_(0.5).clone())

    def constant(x, sigma):
        return torch.full_like(x, 0.3)

    whole = run(constant, X.to(dtype), SIGMAS[:-1], callback=halve, disable=True, **more)
    torch.testing.assert_close(whole, run(constant, kept[0], SIGMAS[2:-1], disable=True, **more))


def test_callback_once_a_step_with_the_dict_of_the_protocol():
    told = []
    k_diffusion.sample_seeds_3(model, X, SIGMAS, callback=told.append, disable=True)
    assert [call["i"] for call in told] == list(range(6)) and all(
        set(call) == {"x", "i", "sigma", "sigma_hat", "denoised"} for call in told
    )
    assert [float(call["sigma"]) for call in told] == pytest.approx(SIGMAS[:-1].tolist())
    assert told[0]["denoised"].shape == X.shape and isinstance(told[0]["sigma"], torch.Tensor)


def test_noise_sampler_is_asked_once_for_each_stretch_from_noisier_to_cleaner():
    asked = []

    def sampler(sigma, sigma_next):
        asked.append((float(sigma), float(sigma_next)))
        return torch.zeros_like(X)

    k_diffusion.sample_seeds_2(model, X, SIGMAS, noise_sampler=sampler, disable=True)
    assert len(asked) == 10 and all(a > b for a, b in asked)
    assert (
        asked[0][0] == pytest.approx(80) and asked[1] == pytest.approx((40, 20)) and asked[-1][1] == pytest.approx(0.05)
    )


def test_sigmas_that_end_above_zero_give_the_state_there_and_samplers_in_a_row_draw_fresh_noise():
    """On data N(m, s^2) the variance of two chained parts is that of one run of the same levels."""
    x = 80 * noise.gaussian(range(20000), -1, (2,))
    high, low = SIGMAS[:4], SIGMAS[3:]
    whole = k_diffusion.sample_seeds_2(model, x, SIGMAS, {"seed": 0}, disable=True)
    middle = k_diffusion.sample_seeds_2(model, x, high, {"seed": 0}, disable=True)
    assert middle.std() == pytest.approx(np.hypot(1.2, 0.7), rel=0.1)
    chained = k_diffusion.sample_seeds_2(model, middle, low, {"seed": 0}, disable=True)
    assert chained.var().item() == pytest.approx(whole.var().item(), rel=0.03)


def test_an_image_has_its_own_seed_and_the_noise_of_it_in_any_batch():
    together = k_diffusion.sample_seeds_3(model, X, SIGMAS, {"seed": 3}, disable=True)
    alone = k_diffusion.sample_seeds_3(model, X[2:3], SIGMAS, {"seed": [5]}, disable=True)
    torch.testing.assert_close(together[2:3], alone, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="has 2 numbers for 5 images"):
        k_diffusion.sample_seeds_3(model, X, SIGMAS, {"seed": [1, 2]}, disable=True)


def test_flow_begins_at_snr_0_and_has_the_exact_variance():
    """On data N(m, s^2), from t = 1: ancestral samplers that are written for alpha = 1 are far off there."""
    x = noise.gaussian(range(20000), -1, (2,))
    t = torch.linspace(1, 0, 41)
    drawn = k_diffusion.sample_seeds_3(flow_model, x, t, {"seed": 1}, disable=True, flow=True)
    assert drawn.mean().item() == pytest.approx(0.3, abs=0.02) and drawn.std().item() == pytest.approx(0.7, rel=0.02)


def test_a_seed_is_of_the_noise_and_handed_on_only_to_a_model_that_takes_it():
    def strict(x, sigma):
        return model(x, sigma)

    def taking(x, sigma, seed=None):
        assert seed == 3
        return model(x, sigma)

    first = k_diffusion.sample_seeds_1(strict, X, SIGMAS, {"seed": 3}, disable=True)
    assert torch.equal(first, k_diffusion.sample_seeds_1(taking, X, SIGMAS, {"seed": 3}, disable=True))


def test_states_given_to_a_callback_may_be_kept():
    kept, sums = [], []
    k_diffusion.sample_seeds_2(
        model,
        X,
        SIGMAS,
        {"seed": 3},
        lambda call: (kept.append(call["x"]), sums.append(float(call["x"].sum()))),
        disable=True,
    )
    assert [float(x.sum()) for x in kept] == sums


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes_are_the_models_alone(dtype):
    asked = []

    def narrow(x, sigma, **extra):
        asked.append(x.dtype)
        return model(x, sigma)

    drawn = k_diffusion.sample_seeds_2(narrow, X.to(dtype), SIGMAS, {"seed": 0}, disable=True)
    exact = hosts.plan_at("seeds-2", SIGMAS.tolist())
    state = seeds.sample(MODEL, (2,), seed=range(5), x=X.to(dtype).float(), plan=exact, part=noise.part_of(X.to(dtype)))
    assert set(asked) == {dtype} == {drawn.dtype}
    torch.testing.assert_close(drawn.float(), state, rtol=0, atol=0.05)


class Waits(TorchDispatchMode):
    """Counts what would wait for a device: values taken to Python."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["sample_seeds_3", "sample_erk_2"])
def test_nothing_waits_for_the_device_in_the_loop(name):
    with Waits() as waits:
        getattr(k_diffusion, name)(lambda x, sigma: 0.5 * x, X, SIGMAS, disable=True)
    assert waits.count == 0, "sigmas.tolist() before the loop is no scalar read; the loop has none"


def test_levels_that_rise_or_make_no_step_are_refused():
    with pytest.raises(ValueError, match=r"sigmas\[1\] = 1 is followed by 3. Levels that go back up are several runs"):
        k_diffusion.sample_seeds_1(model, X, torch.tensor([2.0, 1.0, 3.0]), disable=True)
    with pytest.raises(ValueError, match="holds 1 different levels"):
        k_diffusion.sample_seeds_1(model, X, torch.tensor([2.0, 2.0]), disable=True)
    repeated = k_diffusion.sample_seeds_1(model, X, torch.tensor([2.0, 2.0, 1.0, 0.0]), {"seed": 0}, disable=True)
    assert torch.equal(
        repeated, k_diffusion.sample_seeds_1(model, X, torch.tensor([2.0, 1.0, 0.0]), {"seed": 0}, disable=True)
    )


def bounded(x, sigma, **extra):
    return torch.tanh(x / (1 + sigma.reshape(-1, 1)))


def slope(x, sigma):
    return (x - bounded(x, sigma.expand(len(x)))) / sigma


def heun(x, a, b, z):
    moved = x + slope(x, a) * (b - a)
    return moved if b == 0 else x + (slope(x, a) + slope(moved, b)) / 2 * (b - a)


def dpm_2(x, a, b, z):
    middle = (a * b).sqrt()
    at = a if b == 0 else middle
    return x + slope(x + slope(x, a) * (at - a), at) * (b - a)


def euler_ancestral(x, a, b, z):
    up = (b**2 * (a**2 - b**2) / a**2).sqrt()
    return x + slope(x, a) * ((b**2 - up**2).sqrt() - a) + up * z


@pytest.mark.parametrize(
    "step, name, options",
    [
        (heun, "sample_rk_2", {}),
        (dpm_2, "sample_erk_2", {"prediction": "noise"}),
        (euler_ancestral, "sample_seeds_1", {}),
    ],
    ids=["Heun", "DPM2", "Euler a"],
)
def test_samplers_that_people_know_are_the_same_numbers_under_our_names(step, name, options):
    z, x = noise.gaussian(range(5), 3, (2,)), X
    for a, b in pairwise(SIGMAS):
        x = step(x, a, b, z)
    if "seeds" in name:
        options = {"noise_sampler": lambda sigma, sigma_next: z}
    torch.testing.assert_close(
        getattr(k_diffusion, name)(bounded, X, SIGMAS, disable=True, **options), x, rtol=1e-5, atol=1e-5
    )
