"""Denoisers: every kind of network read right, on its own schedule and on others; guidance and bounds by hand; wrong readings found and named."""

import math
import re

import numpy as np
import pytest
import torch

import seeds
from seeds.plans import Point
from seeds.predictions import PREDICTIONS
from seeds.schedules import EDM, VP, Cosine, Discrete, Flow

SCHEDULES = {"vp": VP(), "edm": EDM(), "flow": Flow(), "cosine": Cosine(), "discrete": Discrete.linear()}
SD = 0.4
MEAN, STD, WEIGHT = torch.tensor([-0.8, 0.1, 0.7]), torch.tensor([0.2, 0.3, 0.15]), torch.tensor([0.3, 0.5, 0.2])


def best(x, alpha, sigma):
    """E[data | x] where every pixel is a mixture of three Gaussians."""
    variance = alpha**2 * STD**2 + sigma**2
    away = x.double()[..., None] - alpha * MEAN
    log = WEIGHT.log() - variance.log() / 2 - away.square() / (2 * variance)
    return (torch.softmax(log, -1) * (MEAN + alpha * STD**2 / variance * away)).sum(-1).to(x.dtype)


def network(output, schedule):
    """A perfect network of that kind, with the formulas of its paper: it sees its own schedule's state and time, nothing else."""

    def answer(x, t):
        assert t.shape == (len(x),) and (t == t[0]).all()
        alpha, sigma = float(schedule.alpha(float(t[0]))), float(schedule.sigma(float(t[0])))
        if output == "edm_raw":  # Karras et al. 2022, Table 1: c_in, c_skip, c_out of y = x / alpha
            nsr = sigma / alpha
            y = x * math.sqrt(nsr**2 + SD**2)
            return (best(y * alpha, alpha, sigma) - SD**2 / (nsr**2 + SD**2) * y) / (nsr * SD / math.sqrt(nsr**2 + SD**2))
        d = best(x, alpha, sigma)
        eps = (x - alpha * d) / sigma
        return {"data": d, "noise": eps, "v": alpha * eps - sigma * d, "flow": eps - d}[output]

    return answer


def at(schedule, nsr):
    t = float(schedule.t_of_nsr(nsr))
    return Point(t, float(schedule.alpha(t)), float(schedule.sigma(t)))


def samples(count=16):
    generator = torch.Generator().manual_seed(0)
    which = torch.multinomial(WEIGHT, count * 64, True, generator=generator)
    return (MEAN[which] + STD[which] * torch.randn(count * 64, generator=generator)).view(count, 1, 8, 8)


@pytest.mark.parametrize("plans", SCHEDULES)
@pytest.mark.parametrize("own", SCHEDULES)
@pytest.mark.parametrize("output", PREDICTIONS)
def test_a_network_of_any_kind_says_d_on_any_schedule(output, own, plans):
    """The state and the time handed to it are its own, whatever schedule the plan runs on."""
    between = (lambda nsr: nsr) if own == "discrete" else None  # this network takes times between whole steps
    wrapped = seeds.wrap(network(output, SCHEDULES[own]), output, schedule=SCHEDULES[own], sd=SD, round_nsr=between)
    for nsr in (0.02, 0.5, 3.0, 50.0):
        here = at(SCHEDULES[plans], nsr)
        data = samples(2).double()
        x = here.alpha * data + here.sigma * torch.randn(data.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        kept = x.clone()
        found = wrapped(x, here)
        assert found.dtype == torch.float64 and torch.equal(x, kept)
        torch.testing.assert_close(found, best(x, here.alpha, here.sigma), rtol=1e-4, atol=1e-4)  # the time is float32


def test_on_its_own_schedule_a_point_reaches_the_network_bit_for_bit():
    seen = []
    for here in (Point(0.3, float(VP().alpha(0.3)), float(VP().sigma(0.3))), Point(1e-3, float(VP().alpha(1e-3)), float(VP().sigma(1e-3)))):
        wrapped = seeds.wrap(lambda x, t: x, "data", schedule="vp", time=lambda point: seen.append(point) or 0.0)
        wrapped(torch.ones(1, 2), here)
        assert seen[-1] == here


TIMES = [("t", 0.3), ("nsr", 3 / 7), ("lam", math.log(7 / 3)), ("sigma", 0.3), ("alpha", 0.7), (lambda point: 1000 * point.t, 300.0)]


@pytest.mark.parametrize(("time", "value"), TIMES)
def test_the_time_a_network_takes(time, value):
    seen = []
    seeds.wrap(lambda x, t: seen.append(t) or x, "data", schedule="flow", time=time)(torch.ones(3, 2), Point(0.3, 0.7, 0.3))
    assert seen[0].shape == (3,) and seen[0].dtype == torch.float32
    assert seen[0].tolist() == pytest.approx([value] * 3, rel=1e-6)


def test_a_half_precision_network_leaves_the_state_as_it_is():
    seen = []

    def half(x, t):
        seen.append((x.dtype, t.dtype, float(t[0])))
        return network("noise", VP())(x.float(), t).to(torch.bfloat16)

    here = at(VP(), 0.7)
    x = here.alpha * samples(2) + here.sigma * 0.3
    found = seeds.wrap(half, "noise", schedule="vp", dtype=torch.bfloat16)(x, here)
    assert seen[0][:2] == (torch.bfloat16, torch.float32) and seen[0][2] == pytest.approx(here.t, rel=1e-7)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, best(x, here.alpha, here.sigma), rtol=0.02, atol=0.02)


def test_labels_are_handed_on_only_where_there_are_any():
    seen = []

    def network(x, t, *labels):
        seen.append(labels)
        return x

    wrapped, here, given = seeds.wrap(network, schedule="vp"), at(VP(), 1.0), torch.tensor([3, 4])
    wrapped(torch.ones(2, 1), here), wrapped(torch.ones(2, 1), here, labels=given)
    assert seen[0] == () and seen[1][0] is given


def test_a_discrete_schedule_brings_its_rounding():
    table = Discrete.linear()
    assert seeds.wrap(lambda x, t: x, schedule=table).round_nsr(0.5) == table.round_nsr(0.5)
    assert seeds.wrap(lambda x, t: x, schedule=table, round_nsr=abs).round_nsr is abs
    assert seeds.wrap(lambda x, t: x, schedule="vp").round_nsr is None


@pytest.mark.parametrize("plans", ["discrete", "vp", "edm"])
def test_between_the_levels_of_a_table_the_network_is_told_the_nearest_and_scaled_exactly(plans):
    table, told = Discrete.linear(), []
    wrapped = seeds.wrap(lambda x, t: told.append((x, t)) or torch.full_like(x, 0.25), "noise", schedule=table)
    for t, nearest in ((417.0, 417.0), (417.4, 417.0), (417.6, 418.0), (0.2, 0.0), (998.7, 999.0)):
        here = at(SCHEDULES[plans], float(table.nsr(t)))
        x = torch.full((2, 1), 0.5 * here.sigma, dtype=torch.float64)
        found = wrapped(x, here)
        assert told[-1][1].tolist() == [nearest, nearest]
        torch.testing.assert_close(told[-1][0], x * float(table.sigma(t)) / here.sigma)  # its own state at t, not at the nearest level
        torch.testing.assert_close(found, (x - 0.25 * here.sigma) / here.alpha)


def test_a_level_that_is_known_up_to_rounding_errors_is_not_moved():
    """3 (1 + 1e-13) is rounded up to 4 by `ceil`, though the network knows it: it is 3."""
    told = []
    wrapped = seeds.wrap(lambda x, time: told.append(float(time[0])) or x, schedule="vp", time="nsr", round_nsr=np.ceil)
    for nsr in (3 * (1 - 1e-13), 3.0, 3 * (1 + 1e-13), 2.5):
        wrapped(torch.ones(1, 2), at(VP(), nsr))
    assert told == pytest.approx([3, 3, 3, 3], rel=1e-6)


def test_the_parameters_of_the_network_tell_the_device():
    module = torch.nn.Linear(2, 2)
    assert list(seeds.wrap(module, schedule="vp").parameters()) == list(module.parameters())
    assert list(seeds.wrap(lambda x, t: x, schedule="vp").parameters()) == []


@pytest.mark.parametrize(("make", "words"), [
    (lambda: seeds.wrap(abs, "eps", schedule="vp"), "`output` must be one of data, noise, v, flow, edm_raw, but is 'eps'.*check_model"),
    (lambda: seeds.wrap(abs, schedule="vp", time="step"), "`time` must be t, lam, nsr, sigma, alpha or a function of the Point, but is 'step'"),
    (lambda: seeds.wrap(abs, schedule="pv"), "There is no schedule 'pv'"),
    (lambda: seeds.wrap(lambda x, t: x, "noise", schedule="flow")(torch.ones(1, 1), Point(1.0, 0.0, 1.0)), "cannot say D at SNR 0"),
    (lambda: seeds.wrap(lambda x, t: x, "v", schedule="vp")(torch.ones(1, 1), Point(1.0, 0.0, 1.0)), "VP does not reach SNR 0"),
    (lambda: seeds.wrap(lambda x, t: (x,), schedule="vp")(torch.ones(1, 1), at(VP(), 1.0)), r"returned a tuple.*`lambda x, t: unet\(x, t\)\.sample`"),
    (
        lambda: seeds.wrap(lambda x, t: torch.cat([x, x], 1), schedule="vp")(torch.ones(1, 3, 2, 2), at(VP(), 1.0)),
        r"of shape \(1, 6, 2, 2\), but .* \(1, 3, 2, 2\).*variance",
    ),
])  # fmt: skip
def test_wrong_networks_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("output", ["data", "v", "flow"])
def test_at_snr_0_the_other_outputs_say_the_mean(output):
    found = seeds.wrap(network(output, Flow()), output, schedule="flow")(torch.zeros(2, 1), Point(1.0, 0.0, 1.0))
    torch.testing.assert_close(found, torch.full((2, 1), float(WEIGHT @ MEAN)), rtol=1e-6, atol=1e-6)


# Guidance: an inner denoiser whose answer is its label, 10 where it has none.


def by_label(x, at, labels=None):
    if labels is None:
        return torch.full_like(x, 10.0)
    values = labels @ torch.tensor([1.0, 2.0, 4.0]) if labels.ndim == 2 else labels.to(x.dtype)
    return values.view(-1, 1).expand_as(x)


HERE = Point(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("scale", "want"), [(0.0, [10.0, 10.0]), (1.0, [3.0, 5.0]), (2.0, [-4.0, 0.0]), (0.25, [8.25, 8.75]), (-1.0, [17.0, 15.0])]
)
def test_guidance_by_hand(scale, want):
    found = seeds.guide(by_label, scale)(torch.zeros(2, 3), HERE, labels=torch.tensor([3, 5]))
    torch.testing.assert_close(found, torch.tensor(want)[:, None].expand(2, 3))


def test_guidance_from_a_null_class_and_a_null_row():
    found = seeds.guide(by_label, 3.0, null=7)(torch.zeros(2, 1), HERE, labels=torch.tensor([3, 5]))
    assert found.tolist() == [[7 + 3 * (3 - 7)], [7 + 3 * (5 - 7)]]
    rows = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = seeds.guide(by_label, 2.0, null=[1, 0, 0])(torch.zeros(2, 1), HERE, labels=rows)
    assert found.tolist() == [[1 + 2 * (2 - 1)], [1 + 2 * (4 - 1)]]
    assert seeds.guide(by_label, 0.0, null=7)(torch.zeros(1, 1), HERE, labels=torch.tensor([3])).item() == 7


def test_guidance_in_an_interval_asks_twice_only_there():
    asked = []

    def counting(x, at, labels=None):
        asked.append(labels)
        return by_label(x, at, labels)

    guided = seeds.guide(counting, lambda point: 2.0 if 0.2 < point.nsr < 5 else 1.0)
    labels = torch.tensor([3])
    assert guided(torch.zeros(1, 1), Point(0.1, 1.0, 0.1), labels=labels).item() == 3 and len(asked) == 1
    assert guided(torch.zeros(1, 1), Point(1.0, 1.0, 1.0), labels=labels).item() == -4 and len(asked) == 3
    seeds.guide(counting, 0.0)(torch.zeros(1, 1), HERE, labels=labels)
    assert len(asked) == 4 and asked[-1] is None


def test_guidance_answers_for_its_denoiser_and_needs_labels():
    inner = seeds.wrap(lambda x, t: x, schedule="edm", shape=(1, 2), classes=10, nsr_range=(0.1, 7.0))
    outer = seeds.threshold(seeds.guide(inner, 2.0), 1.0)
    assert (outer.schedule, outer.shape, outer.classes, outer.nsr_range) == (EDM(), (1, 2), 10, (0.1, 7.0))
    assert not hasattr(outer, "no_such_thing")
    with pytest.raises(ValueError, match="Guidance needs `labels`"):
        seeds.guide(by_label, 2.0)(torch.zeros(1, 1), HERE)
    with pytest.raises(ValueError, match="`scale` must be a finite number, but is inf"):
        seeds.guide(by_label, math.inf)


def test_thresholds_by_hand():
    d = torch.tensor([[-4.0, -1.0, 0.5, 2.0], [0.1, 0.2, -0.3, 0.4]])
    static = seeds.threshold(lambda x, at: d, 1.5)(d, HERE)
    torch.testing.assert_close(static, torch.tensor([[-1.5, -1.0, 0.5, 1.5], [0.1, 0.2, -0.3, 0.4]]))
    # dynamic: of |d| = 0.5, 1, 2, 4 the quantile 2/3 is 2; the second sample is inside the limit and stays
    dynamic = seeds.threshold(lambda x, at: d, 1.0, quantile=2 / 3)(d, HERE)
    torch.testing.assert_close(dynamic, torch.tensor([[-1.0, -0.5, 0.25, 1.0], [0.1, 0.2, -0.3, 0.4]]))
    images = d.view(2, 1, 2, 2)
    torch.testing.assert_close(seeds.threshold(lambda x, at: images, 1.0, quantile=2 / 3)(images, HERE), dynamic.view(2, 1, 2, 2))
    labelled = seeds.threshold(by_label, 2.0)(torch.zeros(1, 2), HERE, labels=torch.tensor([5]))
    assert labelled.tolist() == [[2.0, 2.0]]
    for bad in ({"limit": 0.0}, {"limit": math.nan}, {"quantile": 0.0}, {"quantile": 1.5}):
        with pytest.raises(ValueError, match="`limit` must be positive and `quantile` in"):
            seeds.threshold(by_label, **bad)


def names_it_or_they_are_alike(wrong, right: float, words: str) -> bool:
    """A wrong reading is named, unless its error is within 10 % of the right one's (such readings are not told apart, and do no harm). True if named."""
    try:
        excess = seeds.check_model(wrong, samples())["excess"]
    except ValueError as error:
        assert re.search(words, str(error)), f"{error} does not say {words}"
        return True
    assert excess <= 1.1 * right
    return False


@pytest.mark.parametrize("own", SCHEDULES)
@pytest.mark.parametrize("output", PREDICTIONS)
def test_check_model_passes_the_right_reading_and_names_it_for_the_wrong_ones(output, own):
    schedule = SCHEDULES[own]
    right = seeds.check_model(seeds.wrap(network(output, schedule), output, schedule=schedule, sd=SD), samples())
    assert right["excess"] <= 1 and set(right) == {"excess", *(f"excess at nsr {nsr}" for nsr in ("0.1", "0.3", "1", "3"))}
    named = 0
    for taken in PREDICTIONS:
        if taken != output:
            wrong = seeds.wrap(network(output, schedule), taken, schedule=schedule, sd=SD)
            words = rf"As output '{taken}' on .*Read as output '{output}' on {type(schedule).__name__} its excess is 0"
            named += names_it_or_they_are_alike(wrong, right["excess"], words)
    assert named >= 3, "of the four wrong readings, one may be alike"


MISTAKES = [("vp", "flow"), ("vp", "discrete"), ("discrete", "vp"), ("discrete", "edm"), ("flow", "vp"), ("edm", "vp"), ("cosine", "flow")]


def test_check_model_of_a_network_that_refuses_what_it_is_asked_says_so():
    def network(x, t):
        assert (t <= 1).all(), "t must be in [0, 1]"
        return 0 * x

    with pytest.raises(ValueError, match=r"As output 'data' on EDM, the denoiser fails with AssertionError: t must be in \[0, 1\]\. "):
        seeds.check_model(seeds.wrap(network, "data", schedule="edm"), samples())


@pytest.mark.parametrize(("own", "taken"), MISTAKES)
def test_check_model_names_the_schedule(own, taken):
    right = seeds.check_model(seeds.wrap(network("noise", SCHEDULES[own]), "noise", schedule=SCHEDULES[own], sd=SD), samples())
    wrong = seeds.wrap(network("noise", SCHEDULES[own]), "noise", schedule=SCHEDULES[taken], sd=SD)
    named = names_it_or_they_are_alike(wrong, right["excess"], f"Read as output 'noise' on {type(SCHEDULES[own]).__name__} its excess")
    assert named or {own, taken} == {"vp", "discrete"}


def test_check_model_reads_plain_callables_and_knows_when_nothing_fits():
    def noise_taken_for_data(x, at):
        return (x - at.alpha * best(x, at.alpha, at.sigma)) / at.sigma

    with pytest.raises(ValueError, match=r"As output 'data' on VP.*Read as output 'noise' its excess"):
        seeds.check_model(noise_taken_for_data, samples(), schedule="vp")
    assert seeds.check_model(lambda x, at: best(x, at.alpha, at.sigma), samples(), schedule="cosine")["excess"] <= 1
    with pytest.raises(ValueError, match="No other output or schedule fits either: look at the scale of the data"):
        seeds.check_model(seeds.wrap(lambda x, t: 40 * x.sin(), "data", schedule="vp"), samples())
    with pytest.raises(ValueError, match="`schedule` is missing, and the denoiser has none"):
        seeds.check_model(noise_taken_for_data, samples())
    with pytest.raises(ValueError, match="`data` holds 1 samples"):
        seeds.check_model(noise_taken_for_data, samples(1), schedule="vp")


def test_check_model_hands_on_labels():
    def labelled(x, at, labels=None):
        assert labels is not None
        return best(x, at.alpha, at.sigma)

    assert seeds.check_model(labelled, samples(4), schedule="vp", labels=torch.zeros(4, dtype=torch.int64))["excess"] <= 1
