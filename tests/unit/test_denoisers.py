"""Denoisers: every kind of network read right, on its own schedule and on others; guidance and bounds by hand; wrong
readings found and named."""

import copy
import itertools
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

import seeds
from seeds.denoisers import Changed, Facts, ask, facts, state
from seeds.exact import Gaussian
from seeds.plans import Point
from seeds.predictions import OUTPUTS
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
    """A perfect network of that kind, with the formulas of its paper: it sees its own schedule's state and time,
    nothing else."""

    def answer(x, t):
        assert t.shape == (len(x),) and (t == t[0]).all()
        alpha, sigma = float(schedule.alpha(float(t[0]))), float(schedule.sigma(float(t[0])))
        if output == "edm_raw":  # Karras et al. 2022, Table 1: c_in, c_skip, c_out of y = x / alpha
            nsr = sigma / alpha
            y = x * math.sqrt(nsr**2 + SD**2)
            return (best(y * alpha, alpha, sigma) - SD**2 / (nsr**2 + SD**2) * y) / (
                nsr * SD / math.sqrt(nsr**2 + SD**2)
            )
        d = best(x, alpha, sigma)
        eps = (x - alpha * d) / sigma
        return {"data": d, "noise": eps, "v": alpha * eps - sigma * d, "flow": eps - d, "score": -eps / sigma}[output]

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
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_network_of_any_kind_says_d_on_any_schedule(output, own, plans):
    """The state and the time handed to it are its own, whatever schedule the plan runs on."""
    between = (lambda nsr: nsr) if own == "discrete" else None  # this network takes times between whole steps
    wrapped = seeds.wrap(network(output, SCHEDULES[own]), output, schedule=SCHEDULES[own], sd=SD, round_nsr=between)
    for nsr in (0.02, 0.5, 3.0, 50.0):
        here = at(SCHEDULES[plans], nsr)
        data = samples(2).double()
        x = here.alpha * data + here.sigma * torch.randn(
            data.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        kept = x.clone()
        found = wrapped(x, here)
        assert found.dtype == torch.float64 and torch.equal(x, kept)
        torch.testing.assert_close(found, best(x, here.alpha, here.sigma), rtol=1e-4, atol=1e-4)  # the time is float32


def test_on_its_own_schedule_a_point_reaches_the_network_bit_for_bit():
    seen = []
    for here in (
        Point(0.3, float(VP().alpha(0.3)), float(VP().sigma(0.3))),
        Point(1e-3, float(VP().alpha(1e-3)), float(VP().sigma(1e-3))),
    ):
        wrapped = seeds.wrap(lambda x, t: x, "data", schedule="vp", time=lambda point: seen.append(point) or 0.0)
        wrapped(torch.ones(1, 2), here)
        assert seen[-1] == here


TIMES = [
    ("t", 0.3),
    ("nsr", 3 / 7),
    ("lam", math.log(7 / 3)),
    ("sigma", 0.3),
    ("alpha", 0.7),
    (lambda point: 1000 * point.t, 300.0),
]


@pytest.mark.parametrize(("time", "value"), TIMES)
def test_the_time_a_network_takes(time, value):
    seen = []
    seeds.wrap(lambda x, t: seen.append(t) or x, "data", schedule="flow", time=time)(
        torch.ones(3, 2), Point(0.3, 0.7, 0.3)
    )
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
        # its own state at t, not at the nearest level
        torch.testing.assert_close(told[-1][0], x * float(table.sigma(t)) / here.sigma)
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
    (lambda: seeds.wrap(abs, "energy", schedule="vp"),
        "`output` = 'energy'.*Known: data, noise, v, flow, edm_raw, score.*check_model"),
    (lambda: seeds.wrap(abs, schedule="vp", time="step"),
        "`time` must be t, lam, nsr, sigma, alpha or a function of the Point, but is 'step'"),
    (lambda: seeds.wrap(abs, schedule="pv"), "There is no schedule 'pv'"),
    (lambda: seeds.wrap(lambda x, t: x, "noise", schedule="flow")(torch.ones(1, 1), Point(1.0, 0.0, 1.0)),
        "cannot say D at SNR 0"),
    (lambda: seeds.wrap(lambda x, t: x, "v", schedule="vp")(torch.ones(1, 1), Point(1.0, 0.0, 1.0)),
        "VP does not reach SNR 0"),
    (lambda: seeds.wrap(lambda x, t: (x,), schedule="vp")(torch.ones(1, 1), at(VP(), 1.0)),
        r"returned a tuple.*`lambda x, t: unet\(x, t\)\.sample`"),
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
    ("scale", "want"),
    [(0.0, [10.0, 10.0]), (1.0, [3.0, 5.0]), (2.0, [-4.0, 0.0]), (0.25, [8.25, 8.75]), (-1.0, [17.0, 15.0])],
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


def test_a_scale_for_each_image_travels_with_it_in_any_batch():
    guided, labels = seeds.guide(by_label, torch.tensor([0.0, 1.0, 2.0])), torch.tensor([3, 5, 3])
    by_hand = torch.tensor([[10.0], [5.0], [-4.0]])
    torch.testing.assert_close(guided(torch.zeros(3, 1), HERE, labels=labels), by_hand)
    for outer in (guided, seeds.threshold(guided, 100.0), state(guided, classes=10)):
        for batch in (None, 1, 2):
            found = seeds.sample(
                outer, (1,), seed=range(3), labels=labels, solver="seeds-3", steps=2, schedule="edm", batch=batch
            )
            torch.testing.assert_close(found, by_hand)
    for wrong in (2, 4):  # a longer one too: no image takes another's
        with pytest.raises(ValueError, match=f"`scale` has {wrong} entries for 3 images: give guide one for each"):
            seeds.sample(
                seeds.guide(by_label, [1.0] * wrong),
                (1,),
                seed=range(3),
                labels=labels,
                solver="seeds-3",
                steps=2,
                schedule="edm",
                batch=1,
            )
    with pytest.raises(ValueError, match="`scale` has 3 entries for 2 images"):
        guided(torch.zeros(2, 1), HERE, labels=labels[:2])
    for bad in ([1.0, math.nan], torch.ones(2, 2), "much"):
        with pytest.raises(ValueError, match="`scale` must be a finite number, but is"):
            seeds.guide(by_label, bad)


def test_the_null_label_is_the_denoisers_own_and_may_be_a_dict_or_a_tuple():
    def by_text(x, at, labels=None):
        text, size = labels.values() if isinstance(labels, dict) else labels
        return x * 0 + text.sum((1, 2), keepdim=False).view(-1, 1) + 10 * size.view(-1, 1)

    by_text.null = {"text": torch.full((2, 3), -1.0), "size": 7}
    labels = {"text": torch.ones(4, 2, 3), "size": torch.arange(4)}
    found = seeds.guide(by_text, 2.0)(torch.zeros(4, 1), HERE, labels=labels)
    torch.testing.assert_close(found[:, 0], 64 + 2 * (6 + 10.0 * torch.arange(4) - 64))
    found = seeds.guide(by_text, 2.0, null=(0.0, 7))(torch.zeros(4, 1), HERE, labels=tuple(labels.values()))
    torch.testing.assert_close(found[:, 0], 70 + 2 * (6 + 10.0 * torch.arange(4) - 70))
    assert seeds.guide(seeds.wrap(lambda x, t, y: x * y.view(-1, 1), schedule="edm", null=5), 2.0).none == 5
    with pytest.raises(ValueError, match="`null` has no 'size'"):
        seeds.guide(by_text, 2.0, null={"text": 0.0})(torch.zeros(4, 1), HERE, labels=labels)


def module_level(x, t, labels=None):
    return x


def test_guided_and_bounded_denoisers_can_be_pickled():
    x = torch.tensor([[0.5], [3.0]])
    labels = torch.tensor([1, 2])
    for made in (
        seeds.guide(by_label, 2.0, null=3),
        seeds.guide(by_label, torch.tensor([1.0, 3.0])),
        seeds.threshold(seeds.guide(by_label, 2.0), 1.5),
        seeds.threshold(by_label, quantile=0.9),
        state(seeds.threshold(seeds.wrap(module_level, "noise", schedule="vp", data_range=(0, 1))), null=1),
    ):
        again = pickle.loads(pickle.dumps(made))
        torch.testing.assert_close(again(x, HERE, labels=labels), made(x, HERE, labels=labels), rtol=0, atol=0)
        assert facts(again) == facts(made)
        assert repr(copy.deepcopy(made)) == repr(made)


# What is known of a denoiser.


def test_facts_are_read_in_one_place_through_guidance_and_bounds():
    def decode(z):
        return z

    known = {
        "shape": (4, 2),
        "classes": 10,
        "nsr_range": (0.1, 7.0),
        "name": "net",
        "data_range": (0.0, 1.0),
        "decode": decode,
        "encode": abs,
        "decode_batch": 4,
    }
    inner = seeds.wrap(module_level, "data", schedule="vp", null=9, **known)
    for denoiser in (inner, seeds.guide(inner, 2.0), seeds.threshold(seeds.guide(inner, 2.0)), Changed(inner, ask)):
        found = facts(denoiser)
        assert {name: getattr(found, name) for name in known} == known
        assert (found.schedule, found.null, found.device) == (VP(), 9, torch.device("cpu"))
    assert facts(by_label) == Facts() and Facts().data_range == (-1.0, 1.0) and Facts().decode_batch == 16
    assert facts(Gaussian(0.0, 1.0)).data_range == (-1.0, 1.0) and facts(Gaussian(0.0, 1.0)).decode is None
    stated = state(inner, data_range=(0, 255), null=1)
    assert (
        facts(stated) == replace(facts(inner), data_range=(0.0, 255.0), null=1)
        and facts(seeds.guide(stated, 2.0)).null == 1
    )


@pytest.mark.parametrize(("make", "words"), [
    (lambda: seeds.wrap(abs, schedule="vp", data_range=(1, 0)), r"`data_range` must be \(low, high\).*but is \(1, 0\)"),
    (lambda: seeds.wrap(abs, schedule="vp", data_range=1.0), "`data_range` must be"),
    (lambda: seeds.wrap(abs, schedule="vp", decode_batch=0),
        "`decode_batch` must be a whole number, at least 1, but is 0"),
    (lambda: seeds.wrap(None, schedule="vp"), r"`network` must be callable as network\(x, time\), but is 'None'"),
    (lambda: state(abs, range=(0, 1)), "`range` is nothing that is known of a denoiser: these are schedule, shape"),
    (lambda: state(by_label, data_range=(0, math.inf)), "`data_range` must be"),
    (lambda: seeds.wrap(abs, "velocity", schedule="vp"),
        "'v' is alpha eps - sigma data, 'flow' is eps - data. Say which"),
    (lambda: seeds.wrap(abs, schedule="vp", time=lambda at: torch.log(at.sigma))(torch.ones(1, 1), HERE),
        "`time` fails with .*of `math`"),
])  # fmt: skip
def test_wrong_facts_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


class Bare(torch.nn.Module):
    def forward(self, x, timestep, context=None):
        return x


class Own(torch.nn.Module):
    def forward(self, x, at):
        return x * 0


@pytest.mark.parametrize(("given", "words"), [
    (torch.nn.Conv2d(3, 3, 1).eval(), r"is a bare network, Conv2d\(input\).*seeds.wrap\(network, output='noise'"),
    (Bare().eval(), r"is a bare network, Bare\(x, timestep, context\), but a denoiser is called as D\(x, at\)"),
    (None, "must be a callable D.*but is None"),
    ("fashion-unet", "but is 'fashion-unet'"),
    (Own, "is the class Own, which is to be called first"),
])  # fmt: skip
def test_what_is_no_denoiser_is_refused_with_the_way_to_make_one(given, words):
    for ask_about in (
        lambda given: seeds.sample(given, (3, 4, 4), seed=0, solver="seeds-3", steps=2, schedule="edm"),
        seeds.threshold,
        lambda given: seeds.guide(given, 2.0),
    ):
        with pytest.raises(ValueError, match=f"^`denoiser` .*{words}"):
            ask_about(given)
    assert seeds.sample(Own().eval(), (3, 4, 4), seed=0, solver="seeds-3", steps=2, schedule="edm").abs().max() == 0


@pytest.mark.parametrize(("other", "ours"), [
    ("epsilon", "noise"), ("eps", "noise"), ("v_prediction", "v"), ("sample", "data"), ("x0", "data"),
    ("score", "score"), ("V-prediction", "v"),
])  # fmt: skip
def test_the_usual_other_names_of_outputs_lead_to_ours(other, ours):
    assert seeds.wrap(abs, other, schedule="vp").output == ours


def test_thresholds_by_hand():
    d = torch.tensor([[-4.0, -1.0, 0.5, 2.0], [0.1, 0.2, -0.3, 0.4]])
    static = seeds.threshold(lambda x, at: d, 1.5)(d, HERE)
    torch.testing.assert_close(static, torch.tensor([[-1.5, -1.0, 0.5, 1.5], [0.1, 0.2, -0.3, 0.4]]))
    # dynamic: of |d| = 0.5, 1, 2, 4 the quantile 2/3 is 2; the second sample is inside the limit and stays
    dynamic = seeds.threshold(lambda x, at: d, 1.0, quantile=2 / 3)(d, HERE)
    torch.testing.assert_close(dynamic, torch.tensor([[-1.0, -0.5, 0.25, 1.0], [0.1, 0.2, -0.3, 0.4]]))
    images = d.view(2, 1, 2, 2)
    torch.testing.assert_close(
        seeds.threshold(lambda x, at: images, 1.0, quantile=2 / 3)(images, HERE), dynamic.view(2, 1, 2, 2)
    )
    in_0_1 = seeds.threshold(state(lambda x, at: d, data_range=(0, 1)))  # the middle is 0.5, and so is the limit
    torch.testing.assert_close(in_0_1(d, HERE), d.clamp(0, 1))
    twice = seeds.threshold(state(lambda x, at: 2 * d + 3, data_range=(1, 5)), 2.0, quantile=2 / 3)
    torch.testing.assert_close(twice(d, HERE), 2 * dynamic + 3)
    # latents have a range of their own
    assert seeds.threshold(state(by_label, data_range=(0, 1), decode=abs)).limit == 1
    labelled = seeds.threshold(by_label, 2.0)(torch.zeros(1, 2), HERE, labels=torch.tensor([5]))
    assert labelled.tolist() == [[2.0, 2.0]]
    for bad in ({"limit": 0.0}, {"limit": math.nan}, {"quantile": 0.0}, {"quantile": 1.5}):
        with pytest.raises(ValueError, match="`limit` must be positive and `quantile` in"):
            seeds.threshold(by_label, **bad)


def conditional(x, at, labels=None):
    """Two answers, of which guidance makes one."""
    return 0.1 * x if labels is None else 0.1 * x + labels.to(x)[:, None]


PLUS = seeds.guide(conditional, 0.6, plus=True)


@pytest.mark.parametrize("prediction, eta", [("data", 0.0), ("data", 1.0), ("noise", 0.0)])
def test_cfg_plus_plus_keeps_the_noise_of_the_unguided_answer(prediction, eta):
    """Its published step, and with noise the same whose kept part is the unguided noise."""
    path, z = seeds.Flow(), torch.full((2, 3), 0.7)
    t, x = [0.9, 0.5, 0.2], torch.arange(6.0).reshape(2, 3)
    made = seeds.sample(PLUS, (3,), seed=[0, 1], x=x, labels=[1, 2], solver="seeds-1", eta=eta, prediction=prediction,
        schedule=path, grid=t,
        noise=lambda draw, lam0, lam1, shape: z, final="none")  # fmt: skip
    for a, b in itertools.pairwise(t):
        free = 0.1 * x
        guided = free + 0.6 * torch.tensor([[1.0], [2.0]])
        kept = math.exp(-eta * (path.lam(b) - path.lam(a)))
        x = (1 - b) * guided + b * (kept * (x - (1 - a) * free) / a + math.sqrt(1 - kept**2) * z)
    torch.testing.assert_close(made, x, rtol=1e-5, atol=1e-5)


def test_cfg_plus_plus_of_scale_0_is_the_model_without_labels_and_it_stays_outermost():
    run = {"seed": [0, 1], "solver": "seeds-3", "steps": 3, "schedule": "flow"}
    made = seeds.sample(seeds.guide(conditional, 0.0, plus=True), (3,), labels=[1, 2], **run)
    torch.testing.assert_close(made, seeds.sample(conditional, (3,), **run))
    with pytest.raises(ValueError, match=r"put it outermost, as guide\(threshold\(model\), \.\.\.\)"):
        seeds.sample(seeds.threshold(PLUS), (3,), labels=[1, 2], **run)
    bounded = seeds.sample(seeds.guide(seeds.threshold(conditional, 0.2), 0.5, plus=True), (3,), labels=[1, 2], **run)
    assert bounded.abs().max() <= 0.2 + 1e-6


def moment(a, c, k):
    """The integral over [0, c] of a e^(-a (c - u)) u^k du, k = 0 or 1: what a stage or step at c takes of an answer,
    and of its slope in u."""
    whole = -math.expm1(-a * c)
    return whole if k == 0 else c - whole / a


def answers(x):
    """The guided and the unguided answer of PLUS for labels 1 and 2."""
    free = 0.1 * x
    return free + 0.6 * torch.tensor([[1.0], [2.0]]), free


def z_of(draw):
    return torch.linspace(-1, 1.5, 6).reshape(2, 3).roll(draw)


PATH, TIMES, BEGIN = seeds.Flow(), [0.9, 0.6, 0.35, 0.2], torch.arange(6.0).reshape(2, 3)


def plus_run(solver, eta, **options):
    """PLUS through the package's own loop, along TIMES from BEGIN."""
    return seeds.sample(PLUS, (3,), seed=[0, 1], x=BEGIN, labels=[1, 2], solver=solver, eta=eta, schedule=PATH,
        grid=TIMES,
        noise=lambda draw, lam0, lam1, shape: z_of(draw), final="none", **options)  # fmt: skip


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("solver, r", [("seeds-2", [0.5]), ("seeds-3", [1 / 3, 2 / 3])])
def test_stages_of_cfg_plus_plus_start_where_the_guided_data_have_the_unguided_noise(solver, r, eta):
    """The step as docs/hosts.md derives it, written out: x0 moved by alpha0 (D - D_null), guided answers, noise of one
    path."""
    x, draw = BEGIN, 0
    for a, b in itertools.pairwise(TIMES):
        h, guided, at, path = PATH.lam(b) - PATH.lam(a), [], [0.0, *r, 1.0], torch.zeros_like(x)
        t = [a, *PATH.t_of_lam(PATH.lam(a) + np.array(r) * h).tolist(), b]
        state, big = x, (1 + eta) * h
        for i, (c, to) in enumerate(itertools.pairwise(at)):
            answer, free = answers(state)
            guided.append(answer)
            if i == 0:
                moved = x + (1 - a) * (answer - free)
            kept = math.exp(-eta * (to - c) * h)  # of the path's noise, in units of the level's own
            path = kept * path + math.sqrt(1 - kept**2) * z_of(draw + i)
            mean = moment(big, to, 0) * guided[0]
            if solver == "seeds-2":
                mean = moment(big, to, 0) * guided[-1]
            elif i:
                mean = mean + moment(big, to, 1) / c * (guided[-1] - guided[0])
            s = t[i + 1]
            state = s / a * math.exp(-eta * to * h) * moved + (1 - s) * mean + s * path
        x, draw = state, draw + (len(at) - 1 if eta else 0)
    torch.testing.assert_close(plus_run(solver, eta), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction, eta", [("data", 0.0), ("data", 1.0), ("noise", 0.0)])
@pytest.mark.parametrize("k", [2, 3])
def test_earlier_values_of_cfg_plus_plus_are_guided_data_or_unguided_noise(k, prediction, eta):
    """A multistep step, written out: the polynomial in lam through the last k values, integrated by quadrature."""
    x, lam, values, (nodes, weights) = BEGIN, [], [], np.polynomial.legendre.leggauss(20)
    for draw, (a, b) in enumerate(itertools.pairwise(TIMES)):
        guided, free = answers(x)
        lam, values = (
            [*lam, PATH.lam(a)][-k:],
            [*values, guided if prediction == "data" else (x - (1 - a) * free) / a][-k:],
        )
        h = PATH.lam(b) - lam[-1]
        at, dlam = lam[-1] + h * (nodes + 1) / 2, weights * h / 2
        kernel = (1 + eta) * np.exp(-(1 + eta) * (lam[-1] + h - at)) if prediction == "data" else -np.exp(-at)
        total = torch.zeros_like(x)
        for j, value in enumerate(values):
            others = [other for i, other in enumerate(lam) if i != j]
            basis = np.prod([(at - other) / (lam[j] - other) for other in others], axis=0)
            total = total + float(np.sum(dlam * kernel * basis)) * value
        y, kept = (x + (1 - a) * (guided - free)) / (1 - a), math.exp(-(1 + eta) * h) if prediction == "data" else 1.0
        x = (1 - b) * (kept * y + total) + b * math.sqrt(-math.expm1(-2 * eta * h)) * z_of(draw)
    made = plus_run("adams", eta, prediction=prediction, k=k, corrector=0, variable="lam")
    torch.testing.assert_close(made, x, rtol=1e-5, atol=1e-5)
