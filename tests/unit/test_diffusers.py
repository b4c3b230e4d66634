"""The scheduler of diffusers: the run of `seeds.sample`, from any configuration, with noise of an image's own, and
nothing left of an earlier run."""

import copy
import itertools
import warnings

import diffusers
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import seeds
from seeds import auto, noise
from seeds.integrations.configs import OUTPUTS, SPACINGS
from seeds.integrations.diffusers import SEEDSScheduler, denoiser
from seeds.laws.responses import Gaussians
from seeds.stepper import run
from trials import hosts_equality

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # diffusers' own, beside NumPy 2
SHAPE = (2, 8, 8)
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FLOW = {"shift": 3.0, "prediction_type": "flow_prediction"}
EDM = {"kind": "edm", "sigma_min": 0.02}
KINDS = {"discrete": SD, "flow": FLOW, "edm": EDM}


class Small(torch.nn.Module):
    """A network with the interface of diffusers' own: bounded, not linear, and it knows its time."""

    def __init__(self):
        super().__init__()
        self.config = {"in_channels": 2, "sample_size": 8}
        self.weight = torch.nn.Parameter(0.3 * noise.gaussian(7, 0, (2, 2, 3, 3))[0])
        self.asked = []

    def forward(self, x, time, return_dict=True):
        self.asked.append(float(torch.as_tensor(time).reshape(-1)[0]))
        bias = torch.sin(torch.as_tensor(time, dtype=torch.float32)).reshape(-1, 1, 1, 1)
        return (torch.tanh(torch.nn.functional.conv2d(x.float(), self.weight, padding=1) + 0.1 * bias).to(x.dtype),)


NET = Small().eval()


@torch.no_grad()
def loop(scheduler, x, network=NET, begin=0, **kwargs):
    """The loop of every pipeline."""
    scheduler.set_begin_index(begin)
    for t in scheduler.timesteps[begin:]:
        answer = network(scheduler.scale_model_input(x, t), t)[0]
        x = scheduler.step(answer, t, x, **kwargs, return_dict=False)[0]
    return x


def start(scheduler, count=3):
    return noise.gaussian(range(count), -1, SHAPE) * scheduler.init_noise_sigma


def sampled(scheduler, x, seed, begin=0):
    """The same run in the package's own loop, by the network as a denoiser."""
    scheduler.set_begin_index(begin)
    return seeds.sample(denoiser(NET, scheduler), SHAPE, seed=seed, x=x, plan=scheduler.plan)


SOLVERS = ["auto"] + [
    name for name, it in seeds.SOLVERS.items() if not it.source or name in ("unipc", "er-sde-3", "dpmpp-2m-sde", "tcd")
]
RUNS = [
    (solver, output, SPACINGS[(i + k) % len(SPACINGS)])
    for i, (solver, output) in enumerate(itertools.product(SOLVERS, OUTPUTS))
    for k in (0, 3)
]


@pytest.mark.parametrize("solver, output, spacing", RUNS)
def test_a_run_is_that_of_sample_with_the_same_noise(solver, output, spacing):
    scheduler = SEEDSScheduler(**SD, solver=solver, prediction_type=output, timestep_spacing=spacing, start_at="zero")
    scheduler.set_timesteps(8)
    scheduler.set_seeds([5, 6, 7])
    x = start(scheduler)
    torch.testing.assert_close(loop(scheduler, x), sampled(scheduler, x, [5, 6, 7]), rtol=1e-5, atol=1e-5)
    assert len(scheduler.timesteps) == 8


UNET = hosts_equality.network()


@pytest.mark.parametrize("solver, output, spacing", RUNS[::9])
def test_so_it_is_with_a_network_of_diffusers(solver, output, spacing):
    """All of them: python -m trials.hosts_equality."""
    assert hosts_equality.spaced(UNET, solver, output, spacing, calls=5) < 1e-5


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [1, "stages"])
def test_so_are_parts_of_runs_runs_of_given_levels_and_both_layouts(solver, kind, layout):
    scheduler = SEEDSScheduler(**KINDS[kind], solver=solver, calls_per_step=layout, start_at="zero")
    scheduler.set_seeds([5, 6, 7])
    scheduler.set_timesteps(4 if layout == "stages" else 9)
    for begin in {0, scheduler.order, 4, len(scheduler.timesteps) - 1} & set(range(len(scheduler.timesteps))):
        x = scheduler.add_noise(
            noise.gaussian(range(3), 5, SHAPE),
            noise.gaussian(range(3), 6, SHAPE),
            scheduler.timesteps[begin : begin + 1],
        )
        torch.testing.assert_close(
            loop(scheduler, x, begin=begin), sampled(scheduler, x, [5, 6, 7], begin), rtol=1e-5, atol=1e-5
        )
    sigmas = [0.9, 0.7, 0.5, 0.3, 0.1] if kind == "flow" else [12.0, 5.0, 2.0, 0.7, 0.2]
    scheduler.set_timesteps(sigmas=[*sigmas, 0.0])
    assert len(scheduler.timesteps) == scheduler.order * 5 - (scheduler.order - 1) == len(scheduler.sigmas) - 1
    x = start(scheduler)
    torch.testing.assert_close(loop(scheduler, x), sampled(scheduler, x, [5, 6, 7]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solver", ["seeds-1", "seeds-2", "seeds-3", "adams"])
def test_every_number_of_calls_is_met_at_whole_steps_that_are_different(solver):
    scheduler = SEEDSScheduler(**SD, solver=solver)
    for count in (1, 2, 3, 7, 50, 200):
        scheduler.set_timesteps(count)
        told = scheduler.timesteps.tolist()
        assert len(told) == count and all(a > b for a, b in itertools.pairwise(told)) and scheduler.plan.nfe == count
    with pytest.raises(ValueError, match="1001 model calls are more than the 1000 steps that the network knows"):
        scheduler.set_timesteps(1001)


def test_the_layout_of_multi_stage_hosts_has_the_starts_of_steps_where_the_host_has_them():
    levels = SEEDSScheduler(**SD, solver="seeds-1")
    levels.set_timesteps(6)
    for solver, order in (("seeds-2", 2), ("seeds-3", 3)):
        scheduler = SEEDSScheduler(**SD, solver=solver, calls_per_step="stages")
        scheduler.set_timesteps(6)
        assert scheduler.order == order and len(scheduler.timesteps) == order * 6 - (order - 1)
        assert torch.equal(scheduler.timesteps[::order], levels.timesteps)
    flow = SEEDSScheduler(**FLOW, solver="seeds-3", calls_per_step="stages")
    flow.set_timesteps(6)
    assert len(flow.timesteps) == 16 and flow.timesteps[0] == 1000


CONFIGS = [
    (
        diffusers.DPMSolverMultistepScheduler,
        {**SD, "use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
        "discrete",
        "noise",
    ),
    (
        diffusers.EulerDiscreteScheduler,
        {**SD, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        "discrete",
        "v",
    ),
    (
        diffusers.DDIMScheduler,
        {**SD, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1},
        "discrete",
        "noise",
    ),
    (diffusers.PNDMScheduler, {**SD, "skip_prk_steps": True, "prediction_type": "epsilon"}, "discrete", "noise"),
    (diffusers.DDPMScheduler, {"variance_type": "learned_range"}, "discrete", "noise"),
    (diffusers.FlowMatchEulerDiscreteScheduler, {"shift": 3.0}, "flow", "flow"),
    (
        diffusers.UniPCMultistepScheduler,
        {"use_flow_sigmas": True, "flow_shift": 5.0, "prediction_type": "flow_prediction"},
        "flow",
        "flow",
    ),
    (diffusers.EDMEulerScheduler, {"sigma_max": 120.0}, "edm", "edm_raw"),
    (diffusers.EDMDPMSolverMultistepScheduler, {"prediction_type": "v_prediction"}, "edm", "-edm_raw"),
]


@pytest.mark.parametrize("made_by, config, kind, out", CONFIGS, ids=[it[0].__name__ for it in CONFIGS])
def test_configurations_of_others_are_taken_without_a_warning(made_by, config, kind, out, caplog, tmp_path):
    other = made_by(**config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = SEEDSScheduler.from_config(other.config, solver="seeds-2", eta=0.5)
    assert not caplog.records and (scheduler.host.kind, scheduler.host.output) == (kind, out)
    scheduler.save_pretrained(tmp_path)
    again = SEEDSScheduler.from_pretrained(tmp_path)
    for it in (scheduler, again):
        it.set_timesteps(7)
    assert (
        torch.equal(scheduler.timesteps, again.timesteps) and again.config.eta == 0.5 and scheduler.plan == again.plan
    )


@pytest.mark.parametrize("name", ["", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"])
@pytest.mark.parametrize("shifting", ["static", "exponential", "linear", "terminal"])
def test_flow_times_are_those_of_the_hosts_own_scheduler(name, shifting):
    config = {"static": {"shift": 3.0}, "terminal": {"shift": 2.0, "shift_terminal": 0.1}}.get(
        shifting, {"use_dynamic_shifting": True, "time_shift_type": shifting}
    )
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(**config, **({name: True} if name else {}))
    ours = SEEDSScheduler.from_config(theirs.config, solver="seeds-1")
    mu = {"mu": 0.8} if "use_dynamic_shifting" in config else {}
    for asked in ({"num_inference_steps": 9}, {"sigmas": np.linspace(1, 1 / 9, 9).tolist()}):
        theirs.set_timesteps(**asked, **mu)
        ours.set_timesteps(**asked, **mu)
        torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=1e-4, atol=0.02)
        torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-4, atol=2e-5)


def test_mu_is_asked_for_where_the_configuration_shifts_by_it_and_sigmas_may_be_final():
    scheduler = SEEDSScheduler(shift=1.0, use_dynamic_shifting=True, solver="seeds-1")
    with pytest.raises(ValueError, match=r"`mu` is missing.*Pass set_timesteps\(\.\.\., mu=\.\.\.\)"):
        scheduler.set_timesteps(5)
    final = SEEDSScheduler(shift=3.0, sigmas_are_final=True, solver="seeds-1")
    final.set_timesteps(sigmas=[0.9, 0.5, 0.1])
    assert final.sigmas.tolist() == pytest.approx([0.9, 0.5, 0.1, 0.0]) and final.timesteps.tolist() == pytest.approx(
        [900, 500, 100]
    )


def test_the_default_has_a_grid_of_its_own_unless_one_is_said():
    """On even steps its noise and its polynomials are worse than any named solver's: docs/hosts.md has the numbers."""
    others = diffusers.DPMSolverMultistepScheduler(**SD, timestep_spacing="leading", use_karras_sigmas=True).config
    runs = {
        "grid": SEEDSScheduler.from_config(others, timestep_spacing="auto"),
        "default": SEEDSScheduler.from_config(others),
        "made": SEEDSScheduler(**SD),
        "named": SEEDSScheduler.from_config(others, solver="seeds-1"),
        "said": SEEDSScheduler.from_config(others, use_karras_sigmas=True),
    }
    for scheduler in runs.values():
        scheduler.set_timesteps(12)
    told = {name: scheduler.timesteps.tolist() for name, scheduler in runs.items()}
    assert told["default"] == told["made"] == told["grid"] != told["named"] == told["said"]
    back = diffusers.HeunDiscreteScheduler.from_config(runs["default"].config)
    assert back.config.timestep_spacing == "linspace", (
        "the way back is open: no spacing was said, and none is handed on"
    )


def test_the_default_ends_where_its_rule_says_also_where_a_hosts_even_flow_times_end_high():
    """Wan's: ten even steps, shifted by 5, end at nsr 0.56."""
    wan = {"use_flow_sigmas": True, "flow_shift": 5.0, "prediction_type": "flow_prediction"}
    theirs = diffusers.UniPCMultistepScheduler(**wan)
    for aim in auto.AIMS:
        scheduler, even = (
            SEEDSScheduler.from_config(theirs.config, aim=aim, **more)
            for more in ({}, {"timestep_spacing": "linspace"})
        )
        for it in (scheduler, even):
            it.set_timesteps(10)
        assert scheduler.plan.rows[-1].at.nsr == pytest.approx(auto.setting(10, aim).nsr_min, rel=1e-6)
        assert even.plan.rows[-1].at.nsr == pytest.approx(5 / 9) and even.plan.rows[-1].d == ((9, 1.0),)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_whole_steps_are_those_of_ddim(spacing):
    theirs = diffusers.DDIMScheduler(timestep_spacing=spacing, steps_offset=1)
    ours = SEEDSScheduler.from_config(theirs.config, solver="seeds-1")
    for it in (theirs, ours):
        it.set_timesteps(20)
    assert torch.equal(ours.timesteps, theirs.timesteps)


@pytest.mark.parametrize("name", ["karras", "exponential", "beta"])
def test_spacings_of_the_noise_level_are_those_of_the_hosts(name):
    theirs = diffusers.EulerDiscreteScheduler(**SD, **{f"use_{name}_sigmas": True})
    ours = SEEDSScheduler.from_config(theirs.config, solver="seeds-1")
    for it in (theirs, ours):
        it.set_timesteps(12)
    assert (ours.timesteps - theirs.timesteps).abs().max() <= 1, "ours are whole steps"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["seeds-1", "seeds-3", "adams"])
def test_nothing_is_left_of_an_earlier_run(kind, solver):
    scheduler = SEEDSScheduler(**KINDS[kind], solver=solver)

    def drawn(count, images):
        scheduler.set_timesteps(count)
        return loop(scheduler, start(scheduler, images))

    first = drawn(7, 3)
    drawn(5, 2)
    assert torch.equal(drawn(7, 3), first)
    assert torch.equal(loop(scheduler, start(scheduler)), first), "also without set_timesteps between"


def test_noise_is_an_images_own_alone_and_in_a_batch():
    scheduler = SEEDSScheduler(**FLOW, solver="seeds-2", eta=1.0)
    scheduler.set_timesteps(6)
    x = start(scheduler)
    together = loop(scheduler, x)
    torch.testing.assert_close(loop(scheduler, x[1:2]), together[1:2], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(together[0], together[1])
    drawn = []
    for rows in (x, x[1:2]):
        loop(scheduler, rows, begin=0)
        loop_noise = scheduler._keyed(scheduler.plan, rows)(0)
        drawn.append(loop_noise)
    assert torch.equal(drawn[0][1:2], drawn[1]), "bit for bit"
    scheduler.set_seeds([1, 2])
    with pytest.raises(ValueError, match="set_seeds was given 2 seeds, but the state holds 3 images"):
        loop(scheduler, x)


def test_a_generator_fixes_the_noise_wholly_and_a_list_of_them_each_images():
    scheduler = SEEDSScheduler(**SD, solver="seeds-1")
    scheduler.set_timesteps(4)
    x = start(scheduler)

    def generators():
        return [torch.Generator().manual_seed(k) for k in range(3)]

    together, one = (
        loop(scheduler, x, generator=generators()),
        loop(scheduler, x, generator=torch.Generator().manual_seed(0)),
    )
    assert torch.equal(together, loop(scheduler, x, generator=generators())) and not torch.equal(together, one)
    torch.testing.assert_close(loop(scheduler, x[2:], generator=generators()[2:]), together[2:], rtol=1e-6, atol=1e-6)


def test_two_copies_do_not_share_noise_and_a_copy_begins_anew():
    scheduler = SEEDSScheduler(**FLOW, solver="seeds-1")
    scheduler.set_timesteps(5)
    x = start(scheduler)
    copies = [scheduler, copy.deepcopy(scheduler), copy.deepcopy(scheduler)]
    copies.append(copy.deepcopy(copies[1]))
    drawn = [it._keyed(it.plan, x)(0) for it in copies]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))
    assert torch.equal(copies[1].timesteps, scheduler.timesteps) and copies[1].timesteps is not scheduler.timesteps
    assert torch.isfinite(loop(copies[1], x)).all() and scheduler.step_index is None


def test_a_state_that_is_not_the_last_returned_takes_its_place():
    """Inpainting puts the known region back after each step, by a new tensor or in place."""
    scheduler = SEEDSScheduler(**SD, solver="seeds-2")
    scheduler.set_timesteps(5)
    results = []
    for in_place in (False, True):
        x = start(scheduler)
        for t in scheduler.timesteps:
            x = scheduler.step(NET(x, t)[0].detach(), t, x).prev_sample
            known = 0.5 * torch.ones_like(x[:, :, :4])
            if in_place:
                x[:, :, :4] = known
            else:
                x = torch.cat([known, x[:, :, 4:]], dim=2)
        results.append(x)
    torch.testing.assert_close(*results)
    assert (results[0][:, :, :4] == 0.5).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_state_keeps_float32_beside_a_model_of_16_bits(dtype):
    scheduler = SEEDSScheduler(**SD, solver="seeds-2", prediction_type="sample")
    scheduler.set_timesteps(30)
    x = start(scheduler).to(dtype)
    narrow = loop(scheduler, x, network=lambda x, t: (NET(x.float(), t)[0].to(dtype),))
    assert narrow.dtype == dtype and scheduler._stepper.x.dtype == torch.float32
    assert (narrow.float() - loop(scheduler, x.float())).abs().max() < (0.05 if dtype == torch.bfloat16 else 0.005)


@pytest.mark.parametrize(
    "config",
    [FLOW, {**SD, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}],
    ids=["flow", "zero SNR"],
)
def test_from_snr_0_the_variance_is_exact(config):
    """On data N(0, s^2) with 50 calls: what the plan makes of the start and of each draw, alone, squared and summed."""
    scheduler = SEEDSScheduler(**config, solver="seeds-3", timestep_spacing="auto")
    scheduler.set_timesteps(50)
    plan = scheduler.plan
    assert scheduler.init_noise_sigma == 1 and plan.start.alpha == 0 and plan.nfe == 50
    assert 0.49 * Gaussians(np.array([0.7])).share(plan)[0] == pytest.approx(0.49, rel=0.01)


def test_every_solver_lays_a_run_that_may_begin_anywhere_or_says_why_it_cannot():
    refused = []
    for solver in seeds.SOLVERS:
        try:
            scheduler = SEEDSScheduler(**FLOW, solver=solver)
        except ValueError:
            refused.append(solver)
            continue
        scheduler.set_timesteps(6)
        for begin in range(6):
            scheduler.set_begin_index(begin)
            assert scheduler.plan.nfe == 6 - begin
    assert refused == ["pfdiff", "edm-stochastic", "restart"]


def test_bad_arguments_are_named():
    scheduler = SEEDSScheduler(**SD)
    with pytest.raises(ValueError, match="`set_timesteps` has not been called"):
        scheduler.step(torch.zeros(1, *SHAPE), 999, torch.zeros(1, *SHAPE))
    with pytest.raises(
        ValueError, match="Give `num_inference_steps`, or one of `timesteps` and `sigmas`; given: nothing"
    ):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="`num_inference_steps` must be a whole number, at least 1, but is 0"):
        scheduler.set_timesteps(0)
    with pytest.raises(ValueError, match="`S_churn`: churn lifts a state before the network is asked"):
        SEEDSScheduler(**SD, solver_options={"S_churn": 4.0})
    for solver in ("restart", "edm-stochastic", "pfdiff"):
        with pytest.raises(ValueError, match=f"`solver` = '{solver}' does not fit into the loop of a host"):
            SEEDSScheduler(**SD, solver=solver)
    with pytest.raises(ValueError, match="`calls_per_step` must be 1 or 'stages'"):
        SEEDSScheduler(**SD, calls_per_step=3)
    with pytest.raises(ValueError, match="There is no timestep_spacing 'even'"):
        SEEDSScheduler(**SD, timestep_spacing="even").set_timesteps(4)
    scheduler.set_timesteps(4)
    with pytest.raises(ValueError, match="`timestep` = 3 is none of this run's timesteps"):
        scheduler.step(torch.zeros(1, *SHAPE), 3, torch.zeros(1, *SHAPE))


def test_a_run_may_begin_at_the_mean_of_the_data():
    scheduler = SEEDSScheduler(**SD, solver="erk-2", start_at="mean", prediction_type="sample")
    scheduler.set_timesteps(6)
    x = start(scheduler)
    scheduler.set_begin_index(0)
    assert scheduler.plan.start_at == "mean"
    same = run(scheduler.plan, denoiser(NET, scheduler), x, lambda j: None)
    torch.testing.assert_close(loop(scheduler, x), same, rtol=1e-5, atol=1e-5)
    scheduler.set_begin_index(2)
    assert scheduler.plan.start_at == "zero", "a state in between holds data"


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_has_the_rules_method_noise_and_grid_for_the_calls_asked_for(kind):
    """Inside the network's levels, at whole steps where those are known; a flow begins at SNR 0, as its pipelines'
    first states do."""
    scheduler = SEEDSScheduler(**KINDS[kind], timestep_spacing="auto", aim="accuracy")
    for count in (1, 4, 11):
        scheduler.set_timesteps(count)
        plan, path, rule = scheduler.plan, scheduler.host.schedule, auto.setting(count, "accuracy")
        assert (plan.solver, plan.nfe, len(scheduler.timesteps)) == ("auto", count, count)
        first = float(path.nsr(path.t_max)) if kind == "flow" else min(rule.nsr_max, float(path.nsr(path.t_max)))
        if count == 1:
            continue
        assert plan.start.nsr == pytest.approx(first, rel=1e-6)
        assert plan.rows[-1].at.nsr == pytest.approx(max(rule.nsr_min, float(path.nsr(path.t_min))), rel=0.3)
        named = seeds.plan(
            "adams",
            schedule=path,
            grid=[row.at.t for row in plan.rows],
            eta=rule.eta,
            start_at=plan.start_at,
            **rule.options({}),
        )
        assert plan.rows == named.rows
    if kind == "flow":  # as Flux and Qwen-Image pass them
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 11, 11))
        assert scheduler.plan.rows == plan.rows
    with pytest.raises(ValueError, match="`aim` = 'law' is of the default, solver='auto', but `solver` is 'seeds-2'"):
        SEEDSScheduler(solver="seeds-2", aim="law")


def test_the_default_on_uneven_steps_is_the_rules_for_such_levels():
    """Of a method of two calls a step, for those at which steps begin."""
    for options in ({}, {"evaluate": True}):
        scheduler = SEEDSScheduler(**SD, timestep_spacing="linspace", solver_options=options)
        scheduler.set_timesteps(21)
        starts = [row.at.t for row in scheduler.plan.rows][:: 2 if options else 1]
        path, rule = scheduler.host.schedule, auto.setting(21)
        uneven = rule.on(path.nsr(np.array(starts)))
        named = seeds.plan(
            "adams", schedule=path, grid=starts, eta=uneven.eta, start_at="mean", **uneven.options(options)
        )
        assert scheduler.plan.rows == named.rows and uneven.variable == "nsr^1" != rule.variable
    with pytest.raises(ValueError, match="must fall strictly"):
        SEEDSScheduler(**SD).set_timesteps(timesteps=[999, 500, 100, 3, 3])


def test_the_default_starts_at_the_mean_at_any_number_of_calls():
    for config in ({"kind": "edm"}, {}):
        scheduler = SEEDSScheduler(**config)
        for count in (2, 4, 5, 8, 10, 15, 20, 40):
            scheduler.set_timesteps(count)
            assert scheduler.plan.start_at == "mean"


def test_the_default_starts_at_the_mean_where_the_first_state_is_noise_alone():
    scheduler, x = SEEDSScheduler(**SD, prediction_type="sample"), noise.gaussian(range(2), -1, SHAPE)

    def laid(**asked):
        scheduler.set_timesteps(**asked)
        return scheduler

    assert laid(num_inference_steps=5).plan.start_at == "mean" == laid(num_inference_steps=50).plan.start_at
    loop(scheduler, start(scheduler))
    assert scheduler.plan.start_at == "mean", "nothing is left of a run"
    scheduler.set_begin_index(2)
    assert scheduler.plan.start_at == "zero", "image-to-image begins later"
    laid(num_inference_steps=5).add_noise(x, x, scheduler.timesteps[:1])
    assert scheduler.plan.start_at == "zero", "or from data at the first level (strength=1)"
    assert laid(timesteps=[400, 200, 50]).plan.start_at == "zero", "or at times of its own"
    assert laid(num_inference_steps=5).plan.start_at == "mean"
    loop(scheduler, start(scheduler, 2)[:, :, :4, :4].repeat(1, 1, 2, 2))
    scheduler.step(x, scheduler.timesteps[0], x)
    scheduler.add_noise(x, x, scheduler.timesteps[1:2])
    assert scheduler.plan.start_at == "mean", "what an inpainting puts back is no first state"
    assert SEEDSScheduler(**SD, solver="seeds-2").config.start_at is None


def test_the_last_state_is_returned_where_the_host_says_so():
    for solver in ("seeds-1", "seeds-3", "adams"):
        scheduler = SEEDSScheduler(**SD, solver=solver, final_sigmas_type="sigma_min", timestep_spacing="trailing")
        scheduler.set_timesteps(7)
        assert scheduler.plan.nfe == 7 and scheduler.plan.end.t == 0 and scheduler.plan.end.sigma > 0


class Waits(TorchDispatchMode):
    """Counts what would wait for a device: values taken to Python."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device_after_the_first_step():
    scheduler, counts = SEEDSScheduler(**SD, solver="seeds-3"), []
    scheduler.set_timesteps(8)
    x = start(scheduler)
    for t in scheduler.timesteps:
        with Waits() as waits:
            x = scheduler.step(0.1 * x, t, x).prev_sample
        counts.append(waits.count)
    assert counts[0] <= 1 and not any(counts[1:])


def test_a_pipelines_network_is_a_denoiser_with_its_levels_its_times_and_its_vae():
    class Pipe:
        unet, scheduler = NET, diffusers.EulerDiscreteScheduler(**SD, prediction_type="sample")

    known = denoiser(Pipe(), null=None)
    NET.asked.clear()
    images = seeds.sample(known, known.shape, seed=range(2), solver="seeds-3", steps=3)
    assert known.shape == SHAPE == images.shape[1:] and NET.asked == [int(t) for t in NET.asked]
    assert known.schedule.t_max == 999 and known.round_nsr is not None
    with pytest.raises(ValueError, match="`model` is a Small that has no scheduler"):
        denoiser(NET)
    with pytest.raises(ValueError, match="`model` is a object that has no network"):
        denoiser(object())
