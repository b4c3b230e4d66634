"""What the front door says of itself: the plan that it would make, the result of a loop, words that are slips, shapes
with the batch in them."""

import pytest
import torch

import seeds
from seeds.planning import Request, plan_for

SHAPE = (1, 4, 4)
KNOWN = (0.01, 50.0)


def model(x, at, labels=None):
    return 0.5 * x


def wrapped(**facts):
    return seeds.wrap(lambda x, t: x, "noise", schedule="vp", **facts)


@pytest.mark.parametrize("asked", [
    {}, {"solver": "erk-2", "grid": "uniform_lam"}, {"schedule": "edm", "start": ("nsr", 2.0)},
    {"grid": "linear_t", "nsr_max": 9.0, "stop": 3}, {"sigmas": [3.0, 1.0, 0.0], "steps": None}, {"round_nsr": None},
    {"rho": 5.0, "eta": 0.5, "s_noise": 1.1, "prediction": "v"},
])  # fmt: skip
def test_the_plan_for_a_model_is_the_plan_of_sample(asked):
    asked = {"steps": 5, "solver": "seeds-3"} | asked
    denoiser, plans = wrapped(nsr_range=KNOWN, round_nsr=lambda nsr: nsr * 1.01), []
    calls = seeds.iterate(denoiser, SHAPE, seed=1, **asked)
    plans = [seeds.plan_for(denoiser, **asked), calls.plan]
    assert plans[0] == plans[1]
    assert (plans[0].start.nsr <= KNOWN[1] * 1.02) and (
        asked.get("sigmas") or plans[0].rows[-1].at.nsr >= KNOWN[0] or "stop" in asked
    )


def test_rounding_is_the_denoisers_own_unless_another_is_asked_for():
    denoiser = wrapped(round_nsr=lambda nsr: nsr * 1.01)
    own, none = (plan_for(denoiser, solver="seeds-3", steps=3, **asked) for asked in ({}, {"round_nsr": None}))
    assert own != none == seeds.plan("seeds-3", steps=3, schedule="vp")
    assert (
        own
        == seeds.plan("seeds-3", steps=3, schedule="vp", round_nsr=denoiser.round_nsr)
        == plan_for(denoiser, solver="seeds-3", steps=3, round_nsr="own")
    )
    assert seeds.iterate(denoiser, SHAPE, seed=1, solver="seeds-3", steps=3, round_nsr=None).plan == none


def test_ends_that_are_asked_for_go_before_the_networks():
    assert plan_for(wrapped(nsr_range=KNOWN), solver="seeds-3", steps=3, nsr_max=70.0).start.nsr == pytest.approx(
        70, rel=1e-12
    )
    assert plan_for(wrapped(nsr_range=KNOWN), solver="seeds-3", steps=3, nsr_max=None).start.nsr == pytest.approx(
        50, rel=1e-12
    )


def test_every_argument_of_a_plan_is_handed_on():
    """Each changes the plan, from each of the doors."""
    base = {"solver": "seeds-2", "steps": 4, "schedule": "vp"}
    changes = [
        {"solver": "seeds-1"}, {"steps": 3}, {"schedule": "edm"}, {"grid": "uniform_lam"},
        {"sigmas": [9.0, 3.0, 2.0, 1.0, 0.3]}, {"prediction": "noise"}, {"eta": 0.3}, {"final": "none"}, {"start": 1},
        {"stop": 2}, {"s_noise": 1.2}, {"prediction": "edm_raw", "sd": 0.7}, {"round_nsr": lambda nsr: nsr * 1.5},
        {"nsr_min": 0.1}, {"nsr_max": 5.0}, {"rho": 3.0}, {"variant": "2b"},
        {"round_nsr": lambda nsr: nsr * 1.5, "stages": "free"}, {"steps": None, "nfe": 5}, {"start_at": "mean"},
        {"fraction": 0.5},
    ]  # fmt: skip
    seen = [seeds.plan(**base)]
    for change in changes:
        plan = seeds.plan(**base | change)
        assert plan not in seen
        seen.append(plan)
        assert plan_for(model, **base | change) == plan == seeds.iterate(model, SHAPE, seed=1, **base | change).plan
    base = {"schedule": "vp", "nfe": 8}
    for change in ({"aim": "accuracy"}, {"solver": "auto", "eta": 0.3}):
        plan = seeds.plan(**base | change)
        assert (
            plan not in seen
            and plan_for(model, **base | change) == plan == seeds.iterate(model, SHAPE, seed=1, **base | change).plan
        )
        changes.append(change)
    named = {name for change in [base, *changes] for name in change}
    assert named >= set(Request.__dataclass_fields__) - {"options", "nsr_range", "rule_levels"}


def test_iterate_has_the_result_of_sample_at_its_end():
    how = {"seed": [1, 2], "solver": "seeds-2", "steps": 3, "schedule": "vp"}
    calls = seeds.iterate(model, SHAPE, **how)
    first = next(calls)
    assert (first.i, first.nfe, first.completes) == (0, 1, False)
    with pytest.raises(
        ValueError, match="`result` is there when all 7 calls are made, but 1 are: run the loop to its end"
    ):
        print(calls.result)
    rest = list(calls)
    assert [call.completes for call in rest] == [True, False, True, False, True, True] and rest[
        -1
    ].nfe == calls.plan.nfe == 7
    assert torch.equal(calls.result, seeds.sample(model, SHAPE, **how)) and list(calls) == []
    assert torch.equal(calls.result, calls.result)


def test_a_loop_that_is_left_has_no_result():
    calls = seeds.iterate(model, SHAPE, seed=1, solver="seeds-1", steps=3, schedule="vp")
    next(calls)
    calls.close()
    assert list(calls) == []
    with pytest.raises(ValueError, match="4 calls are made, but 1 are"):
        print(calls.result)


def test_completed_steps_are_those_that_a_projection_follows():
    projected, how = [], {"seed": 1, "solver": "seeds-3", "steps": 3, "schedule": "flow"}
    calls = list(seeds.iterate(model, SHAPE, project=lambda x, at, draw: projected.append(at) or x, **how))
    assert [call.completes for call in calls].count(True) == len(projected) == 4


PLAN = seeds.plan("seeds-1", steps=2, schedule="vp")


@pytest.mark.parametrize("door", [seeds.sample, seeds.iterate])
@pytest.mark.parametrize(("words", "slip"), [
    (r"`shedule` = 'vp' is no option of seeds-3 \(it takes: .*\), nor of this grid. Did you mean `schedule`\?",
        {"shedule": "vp"}),
    (r"`lables` = .* Did you mean `labels`\?", {"lables": 3}),
    (r"`varient` = '3' is no option .* Did you mean `variant`\?", {"varient": "3", "solver": "seeds-2"}),
    (r"`roh` = 7 is no option .* Did you mean `rho`\?", {"roh": 7}),
    (r"`num_inference_steps` is no argument here. Say nfe=", {"num_inference_steps": 20}),
    (r"`lables` is no argument here, nor an option of any solver or grid. Did you mean `labels`\?",
        {"plan": PLAN, "lables": 3, "steps": None}),
    (r"`plan` already fixes the run, but `rho` is given too", {"plan": PLAN, "rho": 3, "steps": None}),
    (r"`plan` already fixes the run, but `round_nsr` is given too", {"plan": PLAN, "round_nsr": None, "steps": None}),
    (r"`plan` already fixes the run, but `prediction` is given too",
        {"plan": PLAN, "prediction": "data", "steps": None}),
])  # fmt: skip
def test_a_slip_is_told_what_was_meant(door, words, slip):
    asked = ({"steps": 2} if "plan" in slip else {"steps": 2, "solver": "seeds-3"}) | slip
    with pytest.raises(ValueError, match=words):
        door(
            wrapped(),
            SHAPE,
            seed=1,
            **{name: value for name, value in asked.items() if value is not None or name == "round_nsr"},
        )


def test_a_long_value_does_not_hide_the_sentence():
    with pytest.raises(ValueError, match=r"`lables` = .{60} is no option") as caught:
        seeds.sample(wrapped(), SHAPE, seed=1, solver="seeds-3", steps=2, lables=list(range(1000)))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("count", [1, 3])
def test_a_shape_with_the_batch_in_it_is_told_so(count):
    with pytest.raises(
        ValueError,
        match=rf"`shape` = \({count}, 1, 4, 4\) has the batch in it: one sample of this model is \(1, 4, 4\). "
        rf".*seed=range\({count}\)",
    ):
        seeds.sample(wrapped(shape=SHAPE), (count, *SHAPE), seed=range(count), solver="seeds-3", steps=2)
    conv = torch.nn.Conv2d(1, 1, 3, padding=1).eval()
    with pytest.raises(
        ValueError,
        match=rf"fails on states of shape \(2, {count}, 1, 4, 4\): .* `shape` = \({count}, 1, 4, 4\) .*: is it \(1, 4, "
        rf"4\)",
    ):
        seeds.sample(
            seeds.wrap(lambda x, t: conv(x), "noise", schedule="vp"),
            (count, *SHAPE),
            seed=range(2),
            solver="seeds-3",
            steps=2,
        )


def test_other_sizes_than_a_networks_own_are_the_callers_business():
    assert seeds.sample(wrapped(shape=SHAPE), (1, 8, 8), seed=1, solver="seeds-3", steps=1).shape == (1, 1, 8, 8)


def test_a_models_own_error_is_its_own():
    def broken(x, at):
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        seeds.sample(broken, SHAPE, seed=1, solver="seeds-3", steps=1, schedule="vp")


def test_a_bare_network_is_told_to_be_wrapped():
    with pytest.raises(ValueError, match=r"`denoiser` is a bare network, Conv2d.*seeds.wrap\(network"):
        seeds.sample(torch.nn.Conv2d(1, 1, 3), SHAPE, seed=1, solver="seeds-3", steps=1, schedule="vp")
