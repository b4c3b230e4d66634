"""check_model: what is right is passed, what is wrong in a usual way is named, and nothing is named that is not clearly
so."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from test_denoisers import SCHEDULES, SD, best, network, samples

import seeds
from seeds.exact import Gaussian, GaussianMixture
from seeds.plans import Point
from seeds.predictions import OUTPUTS
from seeds.schedules import EDM, VP, Discrete

TRIAL = runpy.run_path(str(Path(__file__).parents[2] / "trials" / "check_model.py"))
LAW, DATA = TRIAL["modes"]()
LOG4 = "lambda at: math.log(at.nsr) / 4"


def named(model, data=DATA, **given):
    """What the network is said to be; "" if nothing is named."""
    with pytest.raises(ValueError) as caught:
        seeds.check_model(model, data, **given)
    words = str(caught.value)
    return words[words.index("Read as ") + 8 : words.index(" its excess is")] if "Read as" in words else ""


def perfect(output, path, told=lambda t: t, sd=0.5):
    """A perfect network for the two modes that finds t from what it is told."""
    inner = TRIAL["network"](LAW, output, path, "right")
    return lambda x, time, *labels: inner(x, torch.full((1,), told(float(time[0].double())), dtype=torch.float64))


@pytest.mark.parametrize("output", OUTPUTS)
def test_wrappings_of_the_benchmark_are_named_and_none_wrongly(output):
    path = "vp" if output in ("data", "v", "score") else "flow"
    found = [TRIAL["judged"](output, path, mistake, LAW, DATA) for mistake in TRIAL["MISTAKES"]]
    assert [(it.mistake, it.said, it.words) for it in found if not it.right] == []


def test_so_they_are_on_images():
    law, data = TRIAL["images"]()
    found = [TRIAL["judged"]("flow", "flow", mistake, law, data) for mistake in ("right", "both", "range")]
    assert [it.said for it in found] == ["passed", "named", "named"] and all(it.right for it in found)


@pytest.mark.parametrize(("output", "own"), list(zip(OUTPUTS, [*SCHEDULES, "vp"], strict=True)))
def test_the_right_reading_is_passed_also_on_data_with_little_structure(output, own):
    schedule = SCHEDULES[own]
    right = seeds.check_model(seeds.wrap(network(output, schedule), output, schedule=schedule, sd=SD), samples())
    assert right["excess"] <= 1 and set(right) == {
        "excess",
        *(f"excess at nsr {nsr}" for nsr in ("0.1", "0.3", "1", "3")),
    }


@pytest.mark.parametrize(("output", "taken"), [
    ("noise", "data"), ("data", "noise"), ("v", "noise"), ("flow", "v"), ("edm_raw", "data"), ("score", "noise"),
    ("noise", "score"),
])  # fmt: skip
def test_another_output_is_named(output, taken):
    model = seeds.wrap(perfect(output, VP()), taken, schedule="vp")
    sd = " of sd = 0.5" if output == "edm_raw" else ""
    assert named(model) == f"output '{output}'{sd} on VP"


@pytest.mark.parametrize(
    ("own", "taken"), [("vp", "flow"), ("discrete", "edm"), ("flow", "vp"), ("edm", "vp"), ("cosine", "flow")]
)
def test_another_schedule_is_named(own, taken):
    model = seeds.wrap(perfect("noise", SCHEDULES[own]), "noise", schedule=SCHEDULES[taken])
    assert named(model).startswith(f"output 'noise' on {type(SCHEDULES[own]).__name__}")


EDM_TIME = {"schedule": "edm", "time": "sigma"}
TIMES = [
    ("v", VP(), lambda t: t / 1000, {"schedule": "vp"}, "lambda at: 1000 * at.t"),
    ("noise", Discrete.linear(), lambda t: round(1000 * t), {"schedule": Discrete.linear()}, "lambda at: at.t / 1000"),
    ("edm_raw", EDM(), lambda t: math.exp(4 * t), EDM_TIME, LOG4),
    ("data", EDM(), lambda t: math.exp(4 * t), EDM_TIME, LOG4),
    ("flow", seeds.Flow(), lambda t: t / 1000, {"schedule": "flow"}, "lambda at: 1000 * at.t"),
    ("flow", seeds.Flow(), lambda t: 1 - t / 1000, {"schedule": "flow", "time": lambda at: 1000 * at.t},
        "your own, of 1 - t"),
    ("noise", VP(), lambda t: float(VP().t_of_lam(t)), {"schedule": "vp"}, "'lam'"),
]  # fmt: skip


@pytest.mark.parametrize(("output", "path", "told", "wrapping", "code"), TIMES)
def test_a_wrong_time_is_named(output, path, told, wrapping, code):
    found = named(seeds.wrap(perfect(output, path, told), output, **wrapping))
    assert f"output '{output}'" in found and found.endswith(f"on {type(path).__name__} with time={code}")


SCALES = [(2.0, -1.0, "2 x - 1, in [-1, 1]"), (127.5, 127.5, "127.5 (x + 1), in [0, 255]")]


@pytest.mark.parametrize(("a", "b", "words"), SCALES)
def test_another_scale_of_the_data_is_named(a, b, words):
    """The network is for a data + b; those given are in the caller's scale."""

    def eps(x, t):
        at = Point(float(t[0]), 1.0, float(t[0]))
        return (x - (a * LAW((x - b) / a, Point(at.t, 1.0, at.sigma / a)) + b)) / at.sigma

    assert named(seeds.wrap(eps, "noise", schedule="edm")) == f"output 'noise' on EDM, for data as {words}"


def test_data_divided_by_their_standard_deviation_are_named():
    law = GaussianMixture(torch.tensor([[-3.0], [9.0]]), 0.6)
    data = law.sample(range(64))
    std = float(data.std())

    def eps(x, t):
        return (x - law(x * std, Point(float(t[0]), 1.0, float(t[0]) * std)) / std) / float(t[0])

    assert (
        named(seeds.wrap(eps, "noise", schedule="edm"), data)
        == f"output 'noise' on EDM, for data as x / {std:.3g}, of standard deviation 1"
    )


def test_what_was_advised_in_error_is_refused():
    """t = 0 is noise and the sign is turned, as in many flow codes: the reading that was once advised for it is
    refused, and the right one is named."""
    model = seeds.wrap(
        perfect("flow", seeds.Flow(), lambda t: 1 - t), "flow", schedule="flow", time=lambda at: 1 - at.t
    )
    assert seeds.check_model(model, DATA)["excess"] < 0.8
    turned = lambda x, t: -perfect("flow", seeds.Flow(), lambda t: 1 - t)(x, t)  # noqa: E731
    assert (
        named(seeds.wrap(turned, "flow", schedule="flow", time=lambda at: 1 - at.t))
        == "output 'flow' with its sign turned on Flow"
    )
    advised = seeds.wrap(turned, "v", schedule=Discrete.linear(), time=lambda at: 1 - at.t)
    assert named(advised).startswith("output 'flow' with its sign turned on Flow with time=")


def test_plain_callables_are_read_too():
    def noise_taken_for_data(x, at):
        return (x - at.alpha * best(x, at.alpha, at.sigma)) / at.sigma

    assert named(noise_taken_for_data, samples(), schedule="vp") == "output 'noise'"
    assert named(lambda x, at: (LAW(x, at) - x) / at.sigma**2, schedule="edm") == "output 'score'"
    assert named(lambda x, at: -LAW(x, at), schedule="flow") == "output 'data' with its sign turned"
    assert (
        named(
            seeds.guide(lambda x, at, labels=None: LAW(x, at) / 2 + 0.5 * x, 1.0),
            labels=torch.zeros(64),
            schedule="edm",
        )
        == ""
    )
    assert seeds.check_model(lambda x, at: best(x, at.alpha, at.sigma), samples(), schedule="cosine")["excess"] <= 1


def test_where_nothing_fits_it_says_what_was_tried_and_names_nothing():
    with pytest.raises(
        ValueError,
        match=r"No other reading fits at all levels \(\d+ tried: 6 outputs with either sign, on VP, EDM.*1000 \* at.t",
    ) as caught:
        seeds.check_model(seeds.wrap(lambda x, t: 40 * x.sin(), "data", schedule="vp"), samples())
    assert "The nearest is output" in str(caught.value) and "Look at the scale of the data" in str(caught.value)
    assert (
        named(seeds.wrap(lambda x, t: torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), schedule="edm"))
        == ""
    )


def test_readings_that_say_the_same_are_named_together_and_others_not_at_all():
    """On VP, raw F for data of standard deviation 1 is -v, and a network that asks for no time fits every time."""
    model = seeds.wrap(perfect("v", VP()), "edm_raw", sd=1.0, schedule="vp")
    with pytest.raises(
        ValueError,
        match=r"Read as output 'v' on VP .*nearly the same here, output 'edm_raw' of sd = 1 with its sign turned on "
        r"VP\)",
    ):
        seeds.check_model(model, DATA)
    # is told a time, and does not look
    blind = seeds.wrap(lambda x, t: 0.8 * x, "noise", schedule="vp", time=lambda at: 1000 * at.t)
    law = Gaussian(torch.zeros(8), 0.75)  # for which E[eps | x] is nearly that, for nsr of 0.5 to 1.5
    assert "with time" not in str(named(blind, law.sample(range(64))))


def test_a_network_that_refuses_what_it_is_asked_says_so():
    def network(x, t):
        assert (t <= 1).all(), "t must be in [0, 1]"
        return 0 * x

    with pytest.raises(
        ValueError, match=r"As output 'data' on EDM, the denoiser fails with AssertionError: t must be in \[0, 1\]\. "
    ):
        seeds.check_model(seeds.wrap(network, "data", schedule="edm"), samples())


def test_a_network_that_is_random_or_depends_on_its_batch_says_so():
    generator = torch.Generator().manual_seed(0)

    def noisy(x, t):
        return LAW(x, Point(1.0, 1.0, float(t[0]))) + 0.02 * torch.randn(x.shape, generator=generator)

    for model in (noisy, lambda x, t: LAW(x, Point(1.0, 1.0, float(t[0]))) - x.mean(0)):
        with pytest.raises(
            ValueError,
            match=r"The denoiser answers the same question differently: by .*depends on the others in its batch",
        ):
            seeds.check_model(seeds.wrap(model, "data", schedule="edm"), DATA)
    with pytest.raises(ValueError, match="is in training mode"):
        seeds.check_model(seeds.wrap(torch.nn.Sequential(torch.nn.Dropout()), "data", schedule="edm"), DATA)


def test_what_is_needed_is_asked_for():
    with pytest.raises(ValueError, match="`schedule` is missing, and the denoiser has none"):
        seeds.check_model(lambda x, at: x, samples())
    for bad in (samples(7), samples().long(), samples() * math.nan):
        with pytest.raises(ValueError, match=f"`data` holds {len(bad)} samples of .*give 8 or more"):
            seeds.check_model(lambda x, at: x, bad, schedule="vp")


def test_labels_are_handed_on_and_levels_stay_inside_the_trained_ones():
    def labelled(x, at, labels=None):
        assert labels is not None and len(labels) == len(x)
        return best(x, at.alpha, at.sigma)

    labelled.nsr_range = (0.25, 2.0)
    found = seeds.check_model(labelled, samples(8), schedule="vp", labels=torch.zeros(8, dtype=torch.int64))
    assert set(found) == {"excess", "excess at nsr 0.3", "excess at nsr 1"}
