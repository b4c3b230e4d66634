"""What diffusers asks of all its schedulers, by the names of its own tests (SchedulerCommonTest), written against ours.

Left out, because they need what is not here: test_default_arguments_not_in_config and
test_save_load_compatible_schedulers (they download), and those of single schedulers (their numbers are their own).
"""

import inspect
import json

import diffusers
import pytest
import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from seeds.integrations.diffusers import SEEDSScheduler

CONFIG = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
STEPS = 10
SOLVERS = ["seeds-1", "seeds-3", "seeds-4", "erk-2", "rk-2", "euler-maruyama", "adams"]
KINDS = {
    "discrete": CONFIG,
    "flow": {"num_train_timesteps": 1000, "shift": 3.0, "prediction_type": "flow_prediction"},
    "edm": {"kind": "edm", "sigma_min": 0.02},
}


def dummy_sample():
    count = 4 * 3 * 8 * 8
    return (torch.arange(count).reshape(3, 8, 8, 4) / count).permute(3, 0, 1, 2)


def dummy_noise_deter():
    return torch.flip(dummy_sample(), (0,))


def dummy_model(sample, t):
    t = t if isinstance(t, torch.Tensor) else torch.tensor(t)
    return sample * t / (t + 1)


def step(scheduler, timestep, sample=None, **kwargs):
    return scheduler.step(0.1 * dummy_sample(), timestep, dummy_sample() if sample is None else sample, **kwargs)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=KINDS)
def config(request):
    return KINDS[request.param]


def check_over(first, second):
    """Two schedulers make the same of the same."""
    results = []
    for scheduler in (first, second):
        scheduler.set_timesteps(STEPS)
        results.append(step(scheduler, scheduler.timesteps[STEPS // 2], generator=generator()).prev_sample)
    assert (results[0] - results[1]).abs().sum() < 1e-5, "Scheduler outputs are not identical"


@pytest.mark.parametrize("solver", SOLVERS)
def test_from_save_pretrained(solver, config, tmp_path):
    scheduler = SEEDSScheduler(**config, solver=solver, timestep_spacing="karras")
    scheduler.save_config(tmp_path)
    check_over(scheduler, SEEDSScheduler.from_pretrained(tmp_path))


@pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # diffusers beside NumPy 2
def test_compatibles(config):
    """All that is named is there, and the levels of a configuration come back from every one that diffusers can make
    here."""
    scheduler, made = SEEDSScheduler(**config), 0
    assert len(scheduler.compatibles) >= 15 and all(it is not None for it in scheduler.compatibles)
    for other in scheduler.compatibles:
        if hasattr(other, "_backends"):  # it needs a package that is not here
            continue
        again = SEEDSScheduler.from_config(other.from_config(scheduler.config).config)
        assert all(
            again.config[key] == scheduler.config[key]
            for key in CONFIG
            if key in inspect.signature(other.__init__).parameters
        )
        made += 1
    assert made >= 12


def test_from_pretrained(tmp_path):
    scheduler = SEEDSScheduler(**CONFIG)
    scheduler.save_pretrained(tmp_path)
    new = SEEDSScheduler.from_pretrained(tmp_path)
    assert dict(scheduler.config) == {
        **dict(new.config),
        "_use_default_values": dict(scheduler.config)["_use_default_values"],
    }
    assert json.loads((tmp_path / "scheduler_config.json").read_text())["_class_name"] == "SEEDSScheduler"


@pytest.mark.parametrize("solver", SOLVERS)
def test_step_shape(solver, config):
    scheduler = SEEDSScheduler(**config, solver=solver)
    scheduler.set_timesteps(STEPS)
    outputs = [step(scheduler, scheduler.timesteps[i]).prev_sample for i in (0, 1)]
    assert outputs[0].shape == outputs[1].shape == dummy_sample().shape


def test_scheduler_outputs_equivalence(config):
    scheduler, outputs = SEEDSScheduler(**config), []
    for return_dict in (True, False):
        scheduler.set_timesteps(STEPS)
        outputs.append(step(scheduler, scheduler.timesteps[0], generator=generator(), return_dict=return_dict))
    named, plain = outputs
    assert isinstance(plain, tuple) and all(
        torch.allclose(a, b, atol=1e-5) for a, b in zip(named.to_tuple(), plain, strict=True)
    )


def test_scheduler_public_api(config):
    scheduler = SEEDSScheduler(**config)
    assert isinstance(scheduler, SchedulerMixin)
    assert "init_noise_sigma" in dir(scheduler) and scheduler.init_noise_sigma > 0
    scaled = scheduler.scale_model_input(dummy_sample(), 0.0)
    assert scaled.shape == dummy_sample().shape
    scheduler.set_timesteps(STEPS)
    scheduler.scale_model_input(dummy_sample(), scheduler.timesteps[0])
    assert "eta" not in inspect.signature(scheduler.step).parameters, "pipelines would pass DDIM's 0.0"
    assert {"timesteps", "sigmas"} <= set(inspect.signature(scheduler.set_timesteps).parameters)


def test_add_noise_device(config):
    scheduler = SEEDSScheduler(**config)
    scheduler.set_timesteps(STEPS)
    scaled = scheduler.scale_model_input(dummy_sample(), scheduler.timesteps[0])
    noised = scheduler.add_noise(scaled, dummy_noise_deter(), scheduler.timesteps[5][None])
    assert noised.shape == scaled.shape and noised.dtype == scaled.dtype


def test_deprecated_kwargs():
    has_kwarg = any(it.kind == it.VAR_KEYWORD for it in inspect.signature(SEEDSScheduler.__init__).parameters.values())
    assert not has_kwarg and not SEEDSScheduler._deprecated_kwargs


def test_trained_betas():
    scheduler = SEEDSScheduler(**{**CONFIG, "num_train_timesteps": 2}, trained_betas=[0.0001, 0.1])
    assert torch.equal(scheduler.betas, torch.tensor([0.0001, 0.1]))


def test_getattr_is_correct():
    scheduler = SEEDSScheduler(**CONFIG)
    scheduler.dummy_attribute = 5
    scheduler.register_to_config(test_attribute=5)
    assert scheduler.dummy_attribute == 5 and scheduler.config.test_attribute == 5
    with pytest.warns(FutureWarning, match="Accessing config attribute `test_attribute` directly"):
        assert scheduler.test_attribute == 5
    with pytest.raises(AttributeError, match="'SEEDSScheduler' object has no attribute 'does_not_exist'"):
        scheduler.does_not_exist  # noqa: B018


@pytest.mark.parametrize("count", [1, 2, 10, 100, 1000])
def test_inference_steps(count):
    scheduler = SEEDSScheduler(**CONFIG, solver="seeds-1")
    scheduler.set_timesteps(count)
    assert len(scheduler.timesteps) == count == len(scheduler.sigmas) - 1 and scheduler.timesteps.dtype == torch.int64


@pytest.mark.parametrize("count", [10, 50, 1000])
def test_timesteps(count):
    SEEDSScheduler(**{**CONFIG, "num_train_timesteps": count}).set_timesteps(STEPS)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_schedules(schedule):
    scheduler = SEEDSScheduler(**{**CONFIG, "beta_schedule": schedule})
    theirs = diffusers.DDPMScheduler(beta_schedule=schedule)
    torch.testing.assert_close(scheduler.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample", "flow_prediction"])
def test_prediction_type(prediction_type):
    scheduler = SEEDSScheduler(**CONFIG, prediction_type=prediction_type)
    scheduler.set_timesteps(STEPS)
    assert torch.isfinite(step(scheduler, scheduler.timesteps[0]).prev_sample).all()


def test_rescale_betas_zero_snr():
    theirs = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    ours = SEEDSScheduler.from_config(theirs.config)
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-4, atol=1e-6)
    assert ours.alphas_cumprod[-1] == 0


def test_full_loop_device():
    scheduler = SEEDSScheduler(**CONFIG)
    scheduler.set_timesteps(STEPS)
    sample = dummy_sample() * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        sample = scheduler.step(
            dummy_model(scheduler.scale_model_input(sample, t), t), t, sample, generator=generator()
        ).prev_sample
    assert torch.isfinite(sample).all()


def test_full_loop_with_noise():
    scheduler = SEEDSScheduler(**CONFIG)
    scheduler.set_timesteps(STEPS)
    timesteps = scheduler.timesteps[4:]
    sample = scheduler.add_noise(dummy_sample(), dummy_noise_deter(), timesteps[:1])
    for t in timesteps:
        sample = scheduler.step(dummy_model(sample, t), t, sample, generator=generator()).prev_sample
    assert torch.isfinite(sample).all() and scheduler.step_index == STEPS


def test_custom_timesteps():
    whole = SEEDSScheduler(**CONFIG)
    whole.set_timesteps(STEPS)
    given = SEEDSScheduler(**CONFIG)
    given.set_timesteps(timesteps=whole.timesteps.tolist())
    assert torch.equal(whole.timesteps, given.timesteps)
    check = [step(it, it.timesteps[0], generator=generator()).prev_sample for it in (whole, given)]
    torch.testing.assert_close(*check)


def test_solver_order_and_type():
    for solver in SOLVERS:
        for interpolation in ("data", "noise"):
            if interpolation == "noise" and solver in ("rk-2", "euler-maruyama"):
                continue
            scheduler = SEEDSScheduler(**CONFIG, solver=solver, interpolation=interpolation)
            scheduler.set_timesteps(STEPS)
            assert torch.isfinite(step(scheduler, scheduler.timesteps[0]).prev_sample).all(), (solver, interpolation)


def test_thresholding():
    for ratio, most in ((0.995, 1.0), (0.9, 1.5)):
        scheduler = SEEDSScheduler(**CONFIG, thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=most)
        scheduler.set_timesteps(STEPS)
        assert step(scheduler, scheduler.timesteps[0], 9 * dummy_sample()).pred_original_sample.abs().max() <= 1


def test_fp16_support():
    scheduler = SEEDSScheduler(**CONFIG, solver="adams")
    scheduler.set_timesteps(STEPS)
    sample = dummy_sample().half()
    for t in scheduler.timesteps:
        sample = scheduler.step(dummy_model(sample, t).half(), t, sample).prev_sample
    assert sample.dtype == torch.float16 and torch.isfinite(sample).all()
